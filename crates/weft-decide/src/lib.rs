//! The verbs of the mesh, as pure functions over plain data.
//!
//! The proxy acts on what these return and the simulator checks it: there is no second
//! implementation of a rule.
//!
//! Deliberately absent: I/O, clocks, global randomness, async. Time and random numbers are given by
//! the caller.

pub mod adaptive;
pub mod authorize;
pub mod balance;
pub mod budget;
pub mod deadline;
pub mod egress;
pub mod eject;
pub mod explain;
pub mod failover;
pub mod fault;
pub mod filters;
pub mod grpc;
pub mod health_check;
pub mod idle;
pub mod limits;
pub mod locality;
pub mod normalize;
pub mod panic;
pub mod retry;
pub mod route;
pub mod session;
pub mod subset;
