//! A Service: a name and addresses for a set of workloads.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::mtls::MtlsMode;
use crate::name::ObjectName;
use crate::protocol::Protocol;
use crate::traffic::TrafficPolicy;
use crate::units::Port;

/// A name and addresses for a set of workloads. It does not list them: each lists its Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// The addresses that stand for all its workloads.
    pub vips: BTreeSet<Address>,
    /// Its ports, by the number that callers use.
    pub ports: BTreeMap<Port, ServicePort>,
    /// How clients treat it, on ports that say nothing else.
    pub traffic: TrafficPolicy,
}

impl Service {
    /// How clients treat it on `port`.
    pub fn traffic(&self, port: Port) -> &TrafficPolicy {
        let own = self.ports.get(&port).and_then(|port| port.traffic.as_deref());
        own.unwrap_or(&self.traffic)
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name.
    pub name: Option<String>,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Which traffic it takes, after all policies.
    pub mtls: MtlsMode,
    /// How clients treat it, if a policy is for this port.
    pub traffic: Option<Box<TrafficPolicy>>,
}
