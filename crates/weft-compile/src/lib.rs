//! From resources to what proxies hold: wire objects, findings and status.
//!
//! A [`Compiler`] keeps all resources and what became of them. Each wire object is made by a
//! function of a few resources, which reads them through a `Reader` that writes down what was
//! looked at, also what was not there and what was searched for. So a change makes anew only what
//! had looked at it, and the result is the same as if all had been made from nothing.
//!
//! One resource becomes one wire object; only guards are made of several.
//!
//! Deliberately absent: watching and storing resources, any I/O and clocks; what a resource means
//! by itself, which `weft-crd` has checked before; which addresses Services get, which the store
//! decides and passes in; health and leases of workloads.

mod authorization_policy;
mod backend_policy;
mod backend_tls_policy;
mod balance;
mod compiler;
mod external_service;
mod failover;
mod fault_policy;
mod findings;
mod guards;
mod health_check;
mod memo;
mod mesh;
mod pod;
mod reader;
mod route;
mod service;
mod session;
mod snapshot;
mod status;
mod subset;
mod tls_origination;
mod workload;

pub use compiler::{Compiler, Update};
pub use snapshot::{Assignment, Change, Options};
pub use status::{Condition, ConditionKind, Status};
pub use weft_crd::{REGISTERED_BY, REGISTERED_FOR};
