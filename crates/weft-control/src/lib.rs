//! The control plane: takes the resources that users apply, and keeps them.
//!
//! [`Resources`] is what it does, [`Api`] who may ask for it over HTTP, [`serve()`] the port, and
//! [`Client`] the other side, for the command line.
//!
//! Deliberately absent: the grammar of resources (that is `weft-crd`'s), Kubernetes, and what
//! happens to a request.

pub mod api;
mod client;
mod io;
mod resources;
mod routes;
mod serve;

pub use client::{Client, ClientError};
pub use resources::{ApplyError, Resources, Watch};
pub use routes::Api;
pub use serve::serve;
