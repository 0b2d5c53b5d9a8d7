//! Instances that are worse than others, as curl notices them: left out, and no more than may be.

use std::net::SocketAddr;
use std::process::Command;

use crate::lab::{Lab, Process, Proxy, output, ready_addresses, succeeded, wait_until};

/// Servers of `python/flawed.py`, each as its entry of `flaws` says, as instances of `shop/cart`.
fn flawed(lab: &Lab, flaws: &[&str]) -> (Process, Vec<Proxy>) {
    let script = lab.file("flawed.py", include_str!("python/flawed.py"));
    let mut command = Command::new("python3");
    let servers = Process::start(&lab.directory, "servers", command.arg(script).args(flaws));
    let addresses = ready_addresses(&servers, "listening at ");
    let replica =
        |(number, address)| lab.replica_at(&format!("cart-{number}"), Some("http"), address);
    let replicas = addresses.into_iter().enumerate().map(replica).collect();
    (servers, replicas)
}

fn policy(lab: &Lab, ejection: &str) {
    lab.apply(&format!(
        "
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: {{ name: cart, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: cart }}]
  loadBalancing: {{ algorithm: Random }}
  ejection: {{ interval: 2s, baseTime: 60s, {ejection} }}
"
    ));
}

/// The status and the server of each of `count` requests, which one curl sends.
fn asked(address: SocketAddr, count: usize) -> Vec<(u16, usize)> {
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "60", "-w", " %{http_code}\n"]);
    let said = succeeded(output(curl.arg(format!("http://{address}/?[1-{count}]"))));
    let answer = |line: &str| {
        let (server, status) = line.split_once(' ').unwrap();
        (status.parse().unwrap(), server.parse().unwrap())
    };
    let answers: Vec<_> = said.lines().map(answer).collect();
    assert_eq!(answers.len(), count, "{said}");
    answers
}

fn wait_until_ejected(caller: &Proxy, cause: &str) {
    let line = format!("weft_ejections_total{{service=\"shop/cart\",cause=\"{cause}\"}} 1");
    wait_until("one is ejected", || {
        asked(caller.addresses[0], 100);
        caller.shown("/metrics").contains(&line)
    });
}

#[test]
fn one_that_fails_for_a_third_of_its_requests_is_left_out() {
    let lab = Lab::new();
    let (_servers, _replicas) = flawed(&lab, &["ok", "30%", "ok"]);
    policy(&lab, "minRequests: 20");
    let caller = lab.caller("web");
    wait_until_ejected(&caller, "failure-rate");
    let answers = asked(caller.addresses[0], 300);
    assert!(answers.iter().all(|(status, server)| *status == 200 && *server != 1), "{answers:?}");
    assert!(caller.shown("/metrics").contains("weft_endpoints_ejected{service=\"shop/cart\"} 1"));
}

#[test]
fn one_that_is_slow_is_left_out_where_that_is_asked_for() {
    let lab = Lab::new();
    let (_servers, _replicas) = flawed(&lab, &["ok", "ok", "100ms"]);
    // With one that is slow, each gets some twenty in an interval.
    policy(&lab, "minRequests: 8, latencyTimesPeers: 4");
    let caller = lab.caller("web");
    wait_until_ejected(&caller, "latency");
    let answers = asked(caller.addresses[0], 300);
    assert!(answers.iter().all(|(_, server)| *server != 2), "{answers:?}");
}

#[test]
fn of_many_that_are_bad_no_more_are_left_out_than_may_be() {
    let lab = Lab::new();
    let (_servers, _replicas) = flawed(&lab, &["ok", "ok", "60%", "60%", "ok"]);
    policy(&lab, "minRequests: 20, consecutiveFailures: 1000, maxEjectedPercent: 20");
    let caller = lab.caller("web");
    wait_until_ejected(&caller, "failure-rate");
    let answers = asked(caller.addresses[0], 300);
    let failed: Vec<_> = answers.iter().filter(|(status, _)| *status == 500).collect();
    assert!(!failed.is_empty(), "one of the two may be left out");
    assert!(failed.iter().all(|(_, server)| *server == failed[0].1), "{failed:?}");
    assert!(caller.shown("/metrics").contains("weft_endpoints_ejected{service=\"shop/cart\"} 1"));
}
