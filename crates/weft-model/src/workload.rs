//! A workload: a running thing that Services select.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::address::{Address, Network};
use crate::guards::GuardScope;
use crate::health_check::HealthCheck;
use crate::identity::SpiffeId;
use crate::locality::Locality;
use crate::mtls::MtlsMode;
use crate::name::ObjectName;
use crate::protocol::Protocol;
use crate::subset::Label;
use crate::units::Port;

/// A running thing that Services select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Namespace and name.
    pub name: ObjectName,
    /// Which of the instances that had this name it is; grows.
    pub generation: u64,
    /// Who it is; nobody if it is not of the mesh.
    pub identity: Option<SpiffeId>,
    /// The network in which its addresses mean it.
    pub network: Network,
    /// Its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Where it runs.
    pub locality: Option<Locality>,
    /// Whether it may be called.
    pub health: Health,
    /// The ports of its application that something is known of.
    pub ports: BTreeMap<Port, WorkloadPort>,
    /// Which traffic its other ports take.
    pub mtls: MtlsMode,
    /// The Services that select it, each with its ports and the ports here that they lead to.
    pub services: BTreeMap<ObjectName, BTreeMap<Port, Port>>,
    /// The labels by which requests for its Services choose among their workloads.
    pub labels: BTreeMap<Label, Label>,
    /// Where its proxy takes tunnels.
    pub tunnel: Tunnel,
    /// How its proxy finds out whether its application serves.
    pub health_checks: BTreeSet<HealthCheck>,
}

/// A port of a workload's application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkloadPort {
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Which traffic it takes, after all policies.
    pub mtls: MtlsMode,
}

/// Whether a workload may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Yes.
    Healthy,
    /// It is there and does not serve, as a check has found, or nobody has heard of it for a while.
    Unhealthy,
    /// It is about to end: nothing new is sent there.
    Draining,
}

/// Where a workload's proxy takes tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// Nowhere: there is no proxy.
    None,
    /// At each port of the application itself, where it is captured, but for those that lead
    /// elsewhere.
    PerPort {
        /// Ports of the application, each with the port that takes its tunnels.
        elsewhere: BTreeMap<Port, Port>,
    },
    /// For all ports here.
    One(SocketAddr),
}

impl Workload {
    /// Where the tunnel for `port` of the application begins, if there is one.
    pub fn tunnel_address(&self, port: Port) -> Option<SocketAddr> {
        match &self.tunnel {
            Tunnel::None => None,
            Tunnel::PerPort { elsewhere } => {
                let port = elsewhere.get(&port).unwrap_or(&port);
                Some(SocketAddr::new(*self.addresses.first()?, port.get()))
            }
            Tunnel::One(address) => Some(*address),
        }
    }

    /// Its addresses, each in its network.
    pub fn network_addresses(&self) -> impl Iterator<Item = Address> {
        self.addresses.iter().map(|ip| Address { network: self.network.clone(), ip: *ip })
    }

    /// The scopes whose policies guard it, for whichever port.
    pub fn guard_scopes(&self) -> BTreeSet<GuardScope> {
        let mut scopes: BTreeSet<_> =
            self.services.keys().cloned().map(GuardScope::Service).collect();
        scopes.insert(GuardScope::Mesh);
        scopes.insert(GuardScope::Namespace(self.name.own_namespace()));
        scopes.insert(GuardScope::Workload(self.name.clone()));
        scopes
    }

    /// Those of them that guard `port` of the application: of Services, the ones that lead there.
    pub fn guard_scopes_of(&self, port: Port) -> BTreeSet<GuardScope> {
        let leads_here = |service: &ObjectName| {
            self.services.get(service).is_some_and(|ports| ports.values().any(|to| *to == port))
        };
        let mut scopes = self.guard_scopes();
        scopes.retain(|scope| match scope {
            GuardScope::Service(service) => leads_here(service),
            GuardScope::Mesh | GuardScope::Namespace(_) | GuardScope::Workload(_) => true,
        });
        scopes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn workload(tunnel: Tunnel) -> Workload {
        let services = [("shop/web", 80, 8080), ("shop/admin", 80, 9090)];
        let services = services.map(|(name, from, to)| {
            (name.parse().unwrap(), BTreeMap::from([(port(from), port(to))]))
        });
        Workload {
            name: "shop/web-1".parse().unwrap(),
            generation: 1,
            identity: None,
            network: Network::default(),
            addresses: BTreeSet::from(["10.0.0.1".parse().unwrap()]),
            locality: None,
            health: Health::Healthy,
            ports: BTreeMap::new(),
            mtls: MtlsMode::Strict,
            services: services.into(),
            labels: BTreeMap::new(),
            tunnel,
            health_checks: BTreeSet::new(),
        }
    }

    #[test]
    fn the_tunnel_is_where_it_says() {
        let of = |tunnel, number| workload(tunnel).tunnel_address(port(number));
        let address = |text: &str| Some(text.parse().unwrap());
        assert_eq!(of(Tunnel::None, 80), None);
        assert_eq!(of(Tunnel::One("127.0.0.1:7".parse().unwrap()), 80), address("127.0.0.1:7"));
        let elsewhere = BTreeMap::from([(port(80), port(15008))]);
        assert_eq!(
            of(Tunnel::PerPort { elsewhere: elsewhere.clone() }, 80),
            address("10.0.0.1:15008")
        );
        assert_eq!(of(Tunnel::PerPort { elsewhere }, 81), address("10.0.0.1:81"));
    }

    #[test]
    fn a_service_guards_the_ports_that_it_leads_to() {
        let scopes = |number| -> Vec<String> {
            let scopes = workload(Tunnel::None).guard_scopes_of(port(number));
            scopes.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            scopes(8080),
            ["mesh", "namespace/shop", "service/shop/web", "workload/shop/web-1"]
        );
        assert_eq!(scopes(80), ["mesh", "namespace/shop", "workload/shop/web-1"]);
        assert_eq!(workload(Tunnel::None).guard_scopes().len(), 5);
    }
}
