//! The one binary. What it does is in the library beside it, so that a test can start its proxies
//! as those of another release.
//!
//! Deliberately absent: anything else.

use std::process::ExitCode;

use weft_wire::Release;

fn main() -> ExitCode {
    weft::main(std::env::args_os(), Release::this())
}
