//! Replicas that end and are started anew, program and proxy together, under load.

use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::app::run_local;
use crate::grpcio;
use crate::lab::{Lab, Running, lines, must, wait_until};
use crate::load::{Kind, Load};
use crate::program;

/// How often all replicas are replaced.
const ROUNDS: usize = 20;

const NAMES: [&str; 3] = ["cart-1", "cart-2", "cart-3"];

/// This program, where the ordinary user finds it.
const ITSELF: &str = "./tests";

/// Tells this program that it is the caller of HTTP/2.
const CALLER: &str = "WEFT_TEST_CALLER";

/// The programs of a test.
struct Programs {
    /// Completes the command of the server with this name.
    server: fn(&mut Command, &str),
    /// Completes the command of the client.
    client: fn(&mut Command),
    /// What they speak.
    protocol: &'static str,
}

fn start(lab: &Lab, name: &str, programs: &Programs) -> Running {
    let port = format!("80:8000/{}", programs.protocol);
    let options = ["--service", "cart", "--port", &port, "--name", name];
    let mut command = lab.confined("cart", &options);
    (programs.server)(&mut command, name);
    let server = lab.start(name, command);
    server.wait_for("listening");
    server
}

fn replaced_under_load(lab: &Lab, programs: &Programs) {
    let executed = lab.file("executed", "");
    let mut servers = NAMES.map(|name| start(lab, name, programs));
    let mut command = lab.client("web");
    (programs.client)(&mut command);
    let mut client = lab.start("client", command);
    let served = |server: &Running| lines(&server.log(), &["status=200"]).len();
    let has_ended = |client: &Running| client.output().contains("sent\n");
    for _ in 0..ROUNDS {
        for (server, name) in servers.iter_mut().zip(NAMES) {
            wait_until("it is called", || served(server) > 20 || has_ended(&client));
            server.signal("TERM");
            server.end();
            *server = start(lab, name, programs);
        }
    }
    lab.file("enough", "");
    client.end();
    let said = client.output();
    let said: Vec<_> = said.lines().skip_while(|line| *line != "sent").collect();
    assert_eq!(said[2..4], ["failed", "0"], "{said:#?}");
    let executed = std::fs::read_to_string(executed).unwrap();
    let mut numbers: Vec<_> = executed.lines().collect();
    assert_eq!(numbers.len().to_string(), said[1], "each was executed once");
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len().to_string(), said[1], "none was executed again");
}

/// Python with its script, `server.py` or `client.py`.
fn python(command: &mut Command, script: &str) {
    command.args(["python3", script]).env("PYTHONPATH", "packages");
}

fn python_replaced(lab: &Lab, protocol: &'static str, server: &str, client: &str) {
    lab.file("server.py", server);
    lab.file("client.py", client);
    lab.file("callers.py", include_str!("python/callers.py"));
    let server = |command: &mut Command, _: &str| python(command, "server.py");
    let client = |command: &mut Command| python(command, "client.py");
    replaced_under_load(lab, &Programs { server, client, protocol });
}

#[test]
fn programs_that_end_at_once_lose_nothing() {
    let server = include_str!("python/server.py");
    let client = include_str!("python/client.py");
    python_replaced(&Lab::new(), "http", server, client);
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
    python_replaced(&lab, "grpc", server, client);
}

#[test]
fn http2_servers_that_end_at_once_lose_nothing() {
    let lab = Lab::new();
    std::fs::copy(std::env::current_exe().unwrap(), lab.directory.join(ITSELF)).unwrap();
    let server = |command: &mut Command, name: &str| {
        program::prepare(command.arg(ITSELF), name, "0.0.0.0:8000", "executed");
    };
    let client = |command: &mut Command| {
        command.args([ITSELF, "rolling::caller", "--exact", "--nocapture"]).env(CALLER, "1");
    };
    replaced_under_load(&lab, &Programs { server, client, protocol: "http2" });
}

/// Not a test of its own: 500 requests a second by HTTP/2, until the file `enough` is there.
#[test]
fn caller() {
    if std::env::var_os(CALLER).is_none() {
        return;
    }
    let address = "cart:80".to_socket_addrs().unwrap().next().unwrap();
    let load = Load::start(address, Kind::Http2, 500);
    run_local(async {
        let clock = weft_net::world().clock;
        while !Path::new("enough").exists() && load.tally().failed < 20 {
            clock.sleep(Duration::from_millis(20)).await;
        }
    });
    let tally = load.end();
    println!("\nsent\n{}\nfailed\n{}", tally.sent, tally.failed);
    println!("{}", tally.failures.join("\n"));
}
