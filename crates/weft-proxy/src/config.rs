//! What a proxy listens for, and where that leads.

use std::net::SocketAddr;
use std::sync::Arc;

use weft_model::{ObjectName, Port, Protocol, TrustDomain, UnguardedPolicy};

use crate::guard::Guard;
use crate::outbound::Excluded;
use crate::snapshot::{Destination, DestinationName, EndpointSpec, Own, OwnPort, Reach};

/// A listener for what the workload calls.
pub struct Outbound {
    /// Where it listens.
    pub listen: Listen,
    /// Where it leads.
    pub to: OutboundTo,
}

/// Where to listen.
pub enum Listen {
    /// At this address of the proxy's own network.
    At(SocketAddr),
    /// It is open already.
    Open(Box<dyn weft_world::Listener>),
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Listen {
        Listen::At(address)
    }
}

/// Where what the workload calls leads.
#[derive(Clone)]
pub enum OutboundTo {
    /// To this, whatever discovery says.
    Fixed(Arc<Destination>),
    /// To a port of a Service.
    Service(ObjectName, Port),
    /// To a port of a host outside of the mesh.
    Host(Arc<str>, Port),
    /// To where the caller wanted to go before it was redirected.
    Original(Excluded),
}

/// A listener for tunnels to the workload.
pub struct Inbound {
    /// Where it listens.
    pub listen: Listen,
    /// The workload that it stands for.
    pub own: InboundOwn,
}

impl Outbound {
    /// A listener at `listen` that leads to `endpoints`, whatever discovery says; `name` is for
    /// people.
    pub fn fixed(
        listen: SocketAddr,
        name: &str,
        protocol: Protocol,
        endpoints: Vec<EndpointSpec>,
    ) -> Outbound {
        let name = DestinationName::Listener(name.into());
        let destination = Destination::plain(name, protocol, endpoints);
        Outbound { listen: Listen::At(listen), to: OutboundTo::Fixed(Arc::new(destination)) }
    }
}

impl Inbound {
    /// A listener at `listen` for tunnels to `name`, whatever discovery says: each of its ports
    /// with what is spoken there and where the application is. Any identity of the mesh may call.
    pub fn fixed(
        listen: impl Into<Listen>,
        name: ObjectName,
        generation: u64,
        trust_domain: &TrustDomain,
        ports: impl IntoIterator<Item = (Port, Protocol, SocketAddr)>,
    ) -> Inbound {
        let guard = Arc::new(Guard::new([], UnguardedPolicy::AllowMesh, trust_domain));
        let port = |(port, protocol, address): (Port, Protocol, SocketAddr)| {
            let endpoints = vec![EndpointSpec::new(address, Reach::Application)];
            let called = DestinationName::Listener(format!("{name}:{port}").into());
            let application = Arc::new(Destination::plain(called, protocol, endpoints));
            (port, OwnPort { application, guard: guard.clone() })
        };
        let ports = ports.into_iter().map(port).collect();
        let (name, health_checks) = (name.clone(), Default::default());
        let own = Own { name, generation, before: None, locality: None, ports, health_checks };
        Inbound { listen: listen.into(), own: InboundOwn::Fixed(Arc::new(own)) }
    }
}

/// The workload that tunnels are taken for.
#[derive(Clone)]
pub enum InboundOwn {
    /// This one, whatever discovery says.
    Fixed(Arc<Own>),
    /// The own one, as discovery knows it.
    Discovered,
}
