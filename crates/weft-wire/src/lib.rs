//! What proxies and the control plane say to each other, as bytes.
//!
//! Protobuf messages, written by hand as `prost` structures so that no compiler for them is needed,
//! and the frames around them. Everything that is read here comes from outside and is checked.
//!
//! Deliberately absent: sockets, async, and decisions about what was said.

pub mod tunnel;
