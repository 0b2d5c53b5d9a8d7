//! What Weft costs, beside its peers.
fn main() {}
