//! What `weft explain` says of a running mesh is what the proxies on both sides then record.
//!
//! The same is asked of simulated proxies, of far more cases: what is drawn here is drawn there.

#[path = "../../../weft-sim/tests/it/explained/called.rs"]
mod called;
mod clients;
#[path = "../../../weft-sim/tests/it/explained/draw.rs"]
mod draw;
#[path = "../../../weft-sim/tests/it/explained/generated.rs"]
mod generated;
mod lab;
mod proof;
