//! What a proxy runs by: its listeners and where they lead.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::backend::Backend;

/// What is spoken on a port, as its owner declared it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortProtocol {
    /// HTTP: requests are looked into; other bytes are refused.
    Http,
    /// Bytes that only the applications understand.
    Tcp,
}

/// A listener for what the workload calls.
pub struct Outbound {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What is spoken.
    pub protocol: PortProtocol,
    /// Where it leads.
    pub backend: Rc<Backend>,
}

/// A listener for tunnels to the workload.
pub struct Inbound {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The workload that it stands for, as `NAMESPACE/NAME`.
    pub workload: String,
    /// Which instance of that name.
    pub generation: u64,
    /// The ports of the application.
    pub ports: BTreeMap<u16, InboundPort>,
}

/// A port of the application.
pub struct InboundPort {
    /// What is spoken.
    pub protocol: PortProtocol,
    /// The application.
    pub application: Rc<Backend>,
}
