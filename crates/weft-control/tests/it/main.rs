//! A real control plane on a port of this machine, and those who call it.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod clock;
mod discovery;
mod enforced;
mod grpcio;
mod lab;
mod leases;
mod registration;
mod silence;
