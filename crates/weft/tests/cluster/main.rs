//! Whole Kubernetes clusters, with pods, their network and DNS, as `lab/lab` starts them.
//!
//! Needs root, and what `cargo xtask test` builds and installs. Everything that is started here is
//! ended here, and the cluster's addresses are reached from this machine only.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod images;
mod lab;
#[path = "../mesh/nginx.rs"]
mod nginx;
#[path = "../../../../xtask/src/oci.rs"]
mod oci;
mod pods;
mod processes;
mod resources;
