//! The data plane: takes connections, decides by `weft-decide`, carries bytes, records once.
//!
//! `request.rs` is the life of a request and reads from top to bottom; `stream.rs` is that of a
//! connection whose bytes are not looked into. Codecs stand behind [`exchange`], TLS
//! behind [`weft_identity::Tls`], the operating system behind [`weft_world`].
//!
//! Deliberately absent: Kubernetes, the formats that users write, and any rule that is not a call
//! into `weft-decide`.

pub mod backend;
pub mod config;
mod connection;
pub mod error;
pub mod exchange;
mod h1;
mod listener;
pub mod request;
pub mod stream;
mod time;
mod tunnel;

use std::rc::Rc;

use weft_identity::Tls;
use weft_telemetry::Recorder;
use weft_world::World;

pub use listener::{Running, StartError, start};

/// What all connections of one worker share.
pub struct Proxy {
    /// The outside.
    pub world: World,
    /// The own identity, where there is one: without it there are no tunnels.
    pub tls: Option<Rc<dyn Tls>>,
    /// Takes the records.
    pub recorder: Rc<dyn Recorder>,
}
