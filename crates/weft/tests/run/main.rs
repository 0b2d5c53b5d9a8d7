//! Programs that nobody changed, each in a network of its own by `weft run`, as an ordinary user
//! and as root. And what README says to try.
//!
//! Needs root, who makes a host for each test and becomes that user there, and the programs that
//! `cargo xtask test` installs. Nothing is sent beyond loopback and the hosts made here.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod addresses;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "../mesh/app.rs"]
mod app;
#[path = "../mesh/authority.rs"]
mod authority;
mod backends;
mod egress;
mod egress_policies;
mod egress_routes;
#[path = "../python/grpcio.rs"]
mod grpcio;
mod http;
mod lab;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "../mesh/load.rs"]
mod load;
mod locality;
mod mariadb;
mod names;
#[path = "../mesh/nginx.rs"]
mod nginx;
mod passing;
mod places;
mod postgres;
#[path = "../mesh/program.rs"]
mod program;
mod readme;
mod redis;
mod rights;
mod rolling;
mod signals;
mod tls_origination;
mod users;
