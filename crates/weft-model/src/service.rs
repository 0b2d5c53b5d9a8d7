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
    /// How clients treat it.
    pub traffic: TrafficPolicy,
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
}
