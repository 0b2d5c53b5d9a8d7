//! The real world: the operating system's clock, randomness, sockets and files.
//!
//! The only crate that makes sockets. Its simulated twin is in `weft-sim`.
//!
//! Deliberately absent: HTTP, TLS, and any rule about who may talk to whom.

mod clock;
mod datagram;
mod entropy;
mod files;
mod memory;
pub mod namespace;
mod netlink;
pub mod nft;
mod signal;
mod socket;
mod splice;

use std::rc::Rc;

use weft_world::World;

pub use clock::SystemClock;
pub use datagram::Datagrams;
pub use entropy::SystemEntropy;
pub use files::{SystemFiles, remove_unfinished};
pub use memory::{MemoryLimit, give_back_memory};
pub use netlink::NetlinkError;
pub use signal::{INTERRUPT, Signal, TERMINATE, end_by_closed_pipe, terminated};
pub use socket::SystemNetwork;

/// The operating system as a [`World`], for the calling thread and the network namespace it is in.
///
/// Sockets and timers need a tokio runtime around them.
pub fn world() -> World {
    World {
        clock: Rc::new(SystemClock::new()),
        entropy: Rc::new(SystemEntropy::new()),
        network: Rc::new(SystemNetwork),
        files: Rc::new(SystemFiles),
    }
}
