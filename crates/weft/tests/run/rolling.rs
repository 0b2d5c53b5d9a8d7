//! Replicas that end and are started anew, program and proxy together, under load.

use std::process::Command;

use crate::grpcio;
use crate::lab::{Lab, Running, lines, must, wait_until};

/// How often all replicas are replaced.
const ROUNDS: usize = 7;

const NAMES: [&str; 3] = ["cart-1", "cart-2", "cart-3"];

/// The programs of a test.
struct Programs {
    server: &'static str,
    client: &'static str,
    /// What they speak.
    protocol: &'static str,
}

fn start(lab: &Lab, name: &str, protocol: &str) -> Running {
    let port = format!("80:8000/{protocol}");
    let options = ["--service", "cart", "--port", &port, "--name", name];
    let mut command = lab.confined("cart", &options);
    command.args(["python3", "server.py"]).env("PYTHONPATH", lab.directory.join("packages"));
    let server = lab.start(name, command);
    server.wait_for("listening");
    server
}

fn replaced_under_load(lab: &Lab, programs: &Programs) {
    lab.file("server.py", programs.server);
    lab.file("client.py", programs.client);
    lab.file("callers.py", include_str!("python/callers.py"));
    let executed = lab.file("executed", "");
    let mut servers = NAMES.map(|name| start(lab, name, programs.protocol));
    let mut command = lab.client("web");
    command.args(["python3", "client.py"]).env("PYTHONPATH", lab.directory.join("packages"));
    let mut client = lab.start("client", command);
    let served = |server: &Running| lines(&server.log(), &["status=200"]).len();
    for _ in 0..ROUNDS {
        for (server, name) in servers.iter_mut().zip(NAMES) {
            wait_until("it is called", || served(server) > 20 || !client.output().is_empty());
            server.signal("TERM");
            server.end();
            *server = start(lab, name, programs.protocol);
        }
    }
    lab.file("enough", "");
    client.end();
    let said = client.output();
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said[2..], ["failed", "0"], "{said:#?}");
    let executed = std::fs::read_to_string(executed).unwrap();
    let mut numbers: Vec<_> = executed.lines().collect();
    assert_eq!(numbers.len().to_string(), said[1], "each was executed once");
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len().to_string(), said[1], "none was executed again");
}

#[test]
fn programs_that_end_at_once_lose_nothing() {
    let server = include_str!("python/server.py");
    let client = include_str!("python/client.py");
    replaced_under_load(&Lab::new(), &Programs { server, client, protocol: "http" });
}

#[test]
fn grpc_servers_that_end_at_once_lose_nothing() {
    let lab = Lab::new();
    // The environment is where others may have no way to it.
    let shell = "cp -r \"$0\"/lib/python3*/site-packages \"$1\" && chmod -R a+rX \"$1\"";
    let mut copy = Command::new("sh");
    copy.args(["-c", shell]).arg(grpcio::environment()).arg(lab.directory.join("packages"));
    must(&mut copy);
    let server = include_str!("python/grpc_server.py");
    let client = include_str!("python/grpc_client.py");
    replaced_under_load(&lab, &Programs { server, client, protocol: "grpc" });
}
