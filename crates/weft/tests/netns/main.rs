//! Real clients and servers through real proxies, in network namespaces of their own.
//!
//! Needs root, and the programs that `cargo xtask test` installs. Everything that is started here
//! is ended here.

mod certificates;
mod disk;
mod lab;
#[path = "../mesh/nginx.rs"]
mod nginx;
mod overload;
mod strangers;
mod wire;
