//! Kubernetes' API server as the place where resources come from: the only crate that has a client
//! for it.
//!
//! [`Access`] says how the server is reached, [`follow()`] gives all objects of a kind as they are
//! and how they change, each reduced to what is used of it.
//!
//! Deliberately absent: what resources mean, where they are kept, and what is decided by them.

mod access;
mod follow;
mod reduce;

pub use access::{Access, AccessError, Cluster};
pub use follow::{Event, Found, follow};
