//! What `weft explain` says of a running mesh is what the proxies on both sides then record.

mod clients;
mod draw;
mod generated;
mod lab;
mod proof;
