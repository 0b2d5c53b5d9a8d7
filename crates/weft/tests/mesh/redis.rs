//! Redis, of which the proxies see bytes only, with its own client: who may call it, and by IPv6.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::lab::{Lab, Process, output, wait_until};

/// A server at a port that was free.
pub struct Redis {
    pub address: SocketAddr,
    _process: Process,
}

impl Redis {
    /// Starts a server at `ip`, and waits until it answers.
    pub fn start(lab: &Lab, ip: IpAddr) -> Redis {
        // Redis cannot be told to take any port. One that somebody else takes first is seen by
        // its end, and another is tried.
        loop {
            let address = SocketAddr::new(ip, free_port());
            let mut command = Command::new("redis-server");
            let (port, ip) = (address.port().to_string(), ip.to_string());
            command.args(["--port", &port, "--bind", &ip, "--save", "", "--appendonly", "no"]);
            command.arg("--dir").arg(&lab.directory);
            let process = Process::start(&lab.directory, "redis", &mut command);
            let (mut is_ready, mut is_taken) = (false, false);
            wait_until("redis listens", || {
                let said = process.said();
                is_ready = said.contains("Ready to accept connections");
                is_taken = said.contains("Address already in use");
                is_ready || is_taken
            });
            if is_ready {
                return Redis { address, _process: process };
            }
        }
    }
}

/// A port that nobody has just now.
pub fn free_port() -> u16 {
    crate::app::run_local(async {
        let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let options = weft_world::ListenerOptions::default();
        weft_net::world().network.listen(any, options).unwrap().local_address().port()
    })
}

/// The client, which calls `address`.
pub fn client(address: SocketAddr) -> Command {
    let mut command = Command::new("timeout");
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    command.args(["20", "redis-cli", "-h", &host, "-p", &port]);
    command
}

/// Whether redis answers at `address`; otherwise the connection has ended without a word of it.
pub fn answers(address: SocketAddr) -> bool {
    let said = output(client(address).arg("ping"));
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let errors = String::from_utf8_lossy(&said.stderr).into_owned();
    let is_answered = text == "PONG\n";
    let is_ended = ["Server closed the connection", "Connection reset by peer"]
        .iter()
        .any(|end| text.contains(end) || errors.contains(end));
    assert!(is_answered != is_ended, "{}: {text}{errors}", said.status);
    is_answered
}
