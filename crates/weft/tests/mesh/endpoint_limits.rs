//! What one instance gets at a time, as a crowd of curl's and h2load's connections notices it.

use std::net::SocketAddr;
use std::process::Command;

use crate::lab::{Lab, Process, Proxy, output, ready_addresses, succeeded};

/// Servers of `python/busy.py`, each of such a capacity, as instances of `shop/cart` with `limits`,
/// and the proxy of a caller.
struct Busy {
    _servers: Process,
    _replicas: Vec<Proxy>,
    caller: Proxy,
    lab: Lab,
}

impl Busy {
    fn start(capacities: &[&str], limits: &str) -> Busy {
        let lab = Lab::new();
        let script = lab.file("busy.py", include_str!("python/busy.py"));
        let mut command = Command::new("python3");
        command.arg(script).args(capacities);
        let servers = Process::start(&lab.directory, "servers", &mut command);
        let replica =
            |(number, address)| lab.replica_at(&format!("cart-{number}"), Some("http"), address);
        let addresses = ready_addresses(&servers, "listening at ").into_iter().enumerate();
        let replicas = addresses.map(replica).collect();
        let caller = lab.caller("web");
        let policy = format!(
            "
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: {{ name: cart, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: cart }}]
  limits: {limits}
"
        );
        // It is in force for whoever knows of the Service.
        succeeded(output(Command::new("curl").args(["-s", &url(caller.addresses[0])])));
        succeeded(lab.apply_with(&["--wait"], &policy));
        Busy { _servers: servers, _replicas: replicas, caller, lab }
    }

    /// How often Weft refused for `reason`.
    fn refused(&self, reason: &str) -> u64 {
        let shown = self.caller.shown("/metrics");
        let lines = shown.lines().filter(|line| line.starts_with("weft_requests_total{"));
        let of_reason = lines.filter(|line| line.contains(&format!("reason=\"{reason}\"")));
        of_reason.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

#[test]
fn one_instance_gets_no_more_than_it_may_and_the_others_what_they_may() {
    let busy = Busy::start(&["1", "1"], "{ requestsPerEndpoint: 3 }");
    let mut curl = Command::new("curl");
    curl.args(["-sZ", "--parallel-immediate", "--parallel-max", "40", "--max-time", "60"]);
    let said = succeeded(output(curl.arg(format!("{}?[1-40]", url(busy.caller.addresses[0])))));
    let answered: Vec<_> = said.lines().filter(|line| line.len() < 6).collect();
    let refused = busy.refused("limit-requests-per-endpoint");
    // The first six at least have a place; 40 ms later there are two more.
    assert!(answered.len() >= 6 && refused >= 1, "{refused} refused, {said}");
    assert_eq!(answered.len() as u64 + refused, 40, "{said}");
    let most = |server: &str| {
        let of_server = answered.iter().filter_map(|line| line.strip_prefix(server));
        of_server.map(|most| most.trim().parse::<u32>().unwrap()).max()
    };
    assert_eq!((most("0 "), most("1 ")), (Some(3), Some(3)), "{said}");
}

#[test]
fn an_instance_gets_what_its_latency_lets() {
    let busy = Busy::start(&["4"], "{ adaptiveTolerance: 1.5 }");
    let mut h2load = Command::new("h2load");
    h2load.args(["--h1", "-n", "6000", "-c", "100", "-m", "1"]);
    let said = succeeded(output(h2load.arg(url(busy.caller.addresses[0]))));
    assert!(said.contains(" 0 errored, 0 timeout"), "{said}");
    assert!(busy.refused("limit-adaptive") > 0, "{said}");
    let last = succeeded(output(Command::new("curl").args(["-s", &url(busy.caller.addresses[0])])));
    let most: u32 = last.trim().strip_prefix("0 ").unwrap().parse().unwrap();
    // It begins with 20, and does not grow where that is five times what is served at a time.
    assert!((4..=24).contains(&most), "{most} of 100");
    drop(busy.lab);
}
