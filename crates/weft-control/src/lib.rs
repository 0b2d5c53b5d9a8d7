//! The control plane: takes the resources that users apply, and keeps them.
//!
//! Deliberately absent: the grammar of resources (that is `weft-crd`'s), Kubernetes, and what
//! happens to a request.

pub mod api;
mod resources;

pub use resources::{ApplyError, Resources};
