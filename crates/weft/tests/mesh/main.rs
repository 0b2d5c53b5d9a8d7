//! Whole meshes of real processes on the loopback, under load and faults: what the mesh promises,
//! proved from outside.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod age;
mod app;
mod audit;
mod authority;
mod authorization;
mod balancing;
mod bytes;
mod clock;
mod consumer_route;
mod ejection;
mod endpoint_limits;
mod enforced;
mod explain;
mod failover;
mod faults;
mod features;
mod filters;
mod grpc;
mod grpc_route;
#[path = "../python/grpcio.rs"]
mod grpcio;
mod health_check;
mod identity;
mod ipv6;
mod killed;
mod lab;
mod load;
mod metrics;
mod names;
mod nginx;
mod outage;
mod port_policies;
mod program;
mod redis;
mod restore;
mod rolling;
mod sessions;
mod shift;
mod starts;
mod stream_route;
mod stuck;
mod subsets;
mod tls_origination;
