//! Instances that listen, and say that they do not serve: who finds out, and what becomes of it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::grpcio;
use crate::lab::{Lab, Process, Proxy, output, ready_addresses, succeeded, wait_until};

/// Three servers of `python/health.py` that speak `protocol`, as instances of `shop/cart`.
struct Carts {
    lab: Lab,
    protocol: &'static str,
    replicas: Vec<Proxy>,
    caller: Proxy,
    _servers: Process,
}

impl Carts {
    fn new(protocol: &'static str, health_check: &str) -> Carts {
        let lab = Lab::new();
        let script = lab.file("health.py", include_str!("python/health.py"));
        let mut command = python();
        command.arg(script).arg(protocol).arg(&lab.directory).arg("3");
        let servers = Process::start(&lab.directory, "servers", &mut command);
        let addresses = ready_addresses(&servers, "listening at ");
        let replica =
            |(number, address)| lab.replica_at(&format!("cart-{number}"), Some(protocol), address);
        let replicas = addresses.into_iter().enumerate().map(replica).collect();
        lab.apply(&format!(
            "
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: {{ name: cart, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: cart }}]
  loadBalancing: {{ algorithm: Random }}
  healthCheck: {{ {health_check}, interval: 1s, timeout: 500ms, failureThreshold: 2 }}
"
        ));
        let caller = lab.caller("web");
        Carts { lab, protocol, replicas, caller, _servers: servers }
    }

    /// Which servers answer, of so many requests, none of which may fail.
    fn answering(&self, count: usize) -> BTreeSet<String> {
        let address = self.caller.addresses[0];
        let mut command = match self.protocol {
            "http" => {
                let mut curl = Command::new("curl");
                curl.args(["-s", "--fail", "--max-time", "60"]);
                curl.arg(format!("http://{address}/?[1-{count}]"));
                curl
            }
            _ => {
                let script = self.lab.file("who.py", include_str!("python/who.py"));
                let mut python = python();
                python.arg(script).arg(address.to_string()).arg(count.to_string());
                python
            }
        };
        succeeded(output(&mut command)).lines().map(str::to_owned).collect()
    }

    /// That all are called, that one is called no more once it says that it is not healthy, and
    /// again once it is.
    fn prove(&self) {
        let all = || BTreeSet::from(["0", "1", "2"].map(str::to_owned));
        wait_until("all are called", || self.answering(60) == all());
        let sick = self.lab.file("sick-1", "");
        let others = BTreeSet::from(["0", "2"].map(str::to_owned));
        wait_until("one is not called", || self.answering(60) == others);
        assert_eq!(self.answering(300), others);
        let found = self.lab.weft(&["get", "workload", "cart-1", "-n", "shop", "-o", "yaml"]);
        let found = succeeded(found);
        assert!(found.contains("health: unhealthy"), "{found}");
        let log = self.replicas[1].log();
        assert!(log.contains("the application is not called, its check fails: port 8080"), "{log}");
        fs::remove_file(sick).unwrap();
        wait_until("it is called again", || self.answering(60) == all());
        self.replicas[1].wait_for_log(0, "the application is called again");
    }
}

fn python() -> Command {
    Command::new(grpcio::environment().join("bin/python"))
}

#[test]
fn one_whose_page_says_503_is_not_called() {
    let carts = Carts::new("http", "type: HTTP, path: /healthz");
    carts.prove();
    let metrics = carts.replicas[1].shown("/metrics");
    for outcome in ["passed", "failed"] {
        let line = format!("weft_health_checks_total{{port=\"8080\",outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&line), "{metrics}");
    }
    // It is its own proxy that asks, and nobody else.
    assert!(!carts.caller.shown("/metrics").contains("weft_health_checks_total{"));
}

#[test]
fn one_whose_server_of_grpc_does_not_serve_is_not_called() {
    Carts::new("grpc", "type: GRPC, service: shop.Who").prove();
}

#[test]
fn what_was_said_outlives_the_control_plane_and_what_it_missed_is_said_again() {
    let carts = Carts::new("http", "type: HTTP, path: /healthz");
    let others = BTreeSet::from(["0", "2"].map(str::to_owned));
    let sick = carts.lab.file("sick-1", "");
    wait_until("one is not called", || carts.answering(60) == others);
    carts.lab.kill_control();
    fs::remove_file(sick).unwrap();
    carts.lab.file("sick-2", "");
    carts.replicas[2].wait_for_log(0, "the application is not called");
    carts.replicas[1].wait_for_log(0, "the application is called again");
    // Nobody who calls knows.
    assert_eq!(carts.answering(60), others);
    carts.lab.start_control();
    let others = BTreeSet::from(["0", "1"].map(str::to_owned));
    wait_until("what was missed is known", || carts.answering(60) == others);
}
