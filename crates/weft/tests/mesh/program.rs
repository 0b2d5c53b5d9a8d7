//! The application as a process of its own, which ends at once when it is told to: this program
//! itself, started again.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;

use crate::app::{Executed, run_local, serve};

/// What the process is called. It is one if this is there.
const NAME: &str = "WEFT_TEST_PROGRAM_NAME";

/// Where it listens.
const ADDRESS: &str = "WEFT_TEST_PROGRAM_ADDRESS";

/// The file to which it adds what it has executed.
const EXECUTED: &str = "WEFT_TEST_PROGRAM_EXECUTED";

/// Has `command`, which runs this program, be the application called `name`. It says
/// `listening at ` and where.
pub fn prepare(command: &mut Command, name: &str, address: &str, executed: &str) {
    command.args(["program::child", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(NAME, name).env(ADDRESS, address).env(EXECUTED, executed);
}

/// Not a test of its own: what the others start.
#[test]
fn child() {
    let Ok(name) = std::env::var(NAME) else { return };
    let text = |name| std::env::var(name).unwrap();
    let address: SocketAddr = text(ADDRESS).parse().unwrap();
    let file = File::options().create(true).append(true).open(text(EXECUTED)).unwrap();
    run_local(serve(name, Executed::written_to(file), address, |address| {
        println!("listening at {address}");
    }));
}
