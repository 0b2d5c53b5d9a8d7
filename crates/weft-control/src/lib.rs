//! The control plane: takes the resources that users apply, and keeps them.
//!
//! [`Resources`] keeps them, [`Issuer`] hands out identities that its [`Ca`] signs, [`Discovery`]
//! tells proxies what the resources come to and hears what they hold, [`Api`] says who may ask for
//! what over HTTP, [`serve()`] is the port. [`Client`] is the other side for the command line,
//! [`Joiner`] and [`Subscriber`] for proxies.
//!
//! Deliberately absent: the grammar of resources (that is `weft-crd`'s), what they mean together
//! (`weft-compile`'s), Kubernetes, and what happens to a request.

pub mod api;
mod ca;
mod client;
mod discovery;
mod grants;
mod grpc;
mod io;
mod issuing;
mod joiner;
mod line;
mod mirror;
mod registration;
mod resources;
mod routes;
#[macro_use]
pub mod say;
mod serve;
mod status;
mod subscriber;
mod timer;

pub use ca::{Ca, CaError, Keys, STATE_FILE};
pub use client::{Client, ClientError};
pub use discovery::{Discovery, DiscoveryError};
pub use grpc::{FrameError, Framer};
pub use io::HyperIo;
pub use issuing::{IssueError, Issuer};
pub use joiner::{JoinError, Joiner};
pub use line::ControlPlane;
pub use mirror::{MIRRORED, Mirror};
pub use resources::{ApplyError, Resources, Watch, check_authorities};
pub use routes::Api;
pub use serve::serve;
pub use subscriber::{Ask, ConnectionState, Observer, Subscriber};
