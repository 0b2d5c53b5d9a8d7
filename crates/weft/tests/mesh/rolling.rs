//! Replicas are restarted one after the other, program and proxy, again and again, under load.

use std::net::SocketAddr;
use std::process::Command;

use crate::app::Executed;
use crate::lab::{Lab, Process, ready_addresses, take_turn, wait_until};
use crate::load::{Kind, Load};
use crate::program;

/// How often all replicas are restarted.
const ROUNDS: usize = 20;

/// Requests a second.
const RATE: u32 = 500;

const NAMES: [&str; 3] = ["cart-1", "cart-2", "cart-3"];

/// Starts the program `name` at `address`, and says where that is.
fn start(lab: &Lab, name: &str, address: &str) -> (Process, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let executed = lab.directory.join("executed");
    program::prepare(&mut command, name, address, executed.to_str().unwrap());
    let process = Process::start(&lab.directory, &format!("{name}-program"), &mut command);
    let address = ready_addresses(&process, "listening at ")[0];
    (process, address)
}

fn restarted_under_load(kind: Kind, protocol: &str) {
    let _turn = take_turn();
    let lab = Lab::new();
    let mut replicas = NAMES.map(|name| {
        let (program, address) = start(&lab, name, "127.0.0.1:0");
        (name, program, address, lab.replica_at(name, Some(protocol), address))
    });
    let caller = lab.caller("web");
    let load = Load::start(caller.addresses[0], kind, RATE);
    for _ in 0..ROUNDS {
        for (name, program, address, proxy) in &mut replicas {
            proxy.terminate();
            // It ends at once, whatever its proxy has left under way.
            program.terminate();
            *program = start(&lab, name, &address.to_string()).0;
            proxy.start_again();
            // It is back when it is called again.
            let before = load.tally();
            wait_until(&format!("{name} answers again"), || {
                let lately = load.tally().since(&before);
                assert_eq!(lately.failed, 0, "{}", load.tally().failures.join("\n"));
                lately.by(name) > 0
            });
        }
    }
    let tally = load.end_whole();
    eprintln!("{kind:?}: {} requests over {} restarts", tally.sent, ROUNDS * NAMES.len());
    let written = std::fs::read_to_string(lab.directory.join("executed")).unwrap();
    let executed = Executed::read(&written);
    assert_eq!(executed.repeated(), Vec::<String>::new(), "these were executed more than once");
    assert_eq!(executed.len() as u64, tally.answered());
}

#[test]
fn http1_outlives_rolling_restarts() {
    restarted_under_load(Kind::Http1, "http");
}

#[test]
fn http2_outlives_rolling_restarts() {
    restarted_under_load(Kind::Http2, "http2");
}

#[test]
fn grpc_outlives_rolling_restarts() {
    restarted_under_load(Kind::Grpc, "grpc");
}
