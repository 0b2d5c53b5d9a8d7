//! A Service whose instances are all killed, and another one that takes over: what curl notices.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::app::{App, Executed};
use crate::lab::{Lab, PortSpec, Proxy, Spec, output, succeeded, wait_until};

fn backup(lab: &Lab, app: &App) -> Proxy {
    lab.proxy(&Spec {
        name: "backup-1",
        account: "shop/backup",
        services: &["shop/backup"],
        ports: vec![PortSpec::web(Some("http"), app.address)],
        ..Spec::default()
    })
}

/// curl with `count` requests, one after the other, each of which is answered with a line: a status
/// and who has answered.
fn curl(address: SocketAddr, count: usize) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "100", "-w", " %{http_code}\n"]);
    curl.arg(format!("http://{address}/?[1-{count}]"));
    curl
}

/// How often each line was said.
fn counted(said: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    said.lines().for_each(|line| *counts.entry(line.to_owned()).or_default() += 1);
    counts
}

#[test]
fn another_service_takes_over_from_one_whose_instances_are_killed() {
    let lab = Lab::new();
    let apps = ["cart-1", "cart-2", "backup-1"];
    let apps = apps.map(|name| App::start(name, &Executed::default()));
    let mut carts = [&apps[0], &apps[1]].map(|app| {
        let name = if std::ptr::eq(app, &apps[0]) { "cart-1" } else { "cart-2" };
        lab.replica(name, Some("http"), app)
    });
    let _backup = backup(&lab, &apps[2]);
    lab.apply(
        "
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: { name: cart, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: cart }]
  loadBalancing: { algorithm: RoundRobin }
  ejection: { baseTime: 2s }
  failover: { backendRef: { name: backup }, minHealthyPercent: 50 }
",
    );
    let caller = lab.caller("web");
    let address = caller.addresses[0];
    let (by_carts, by_backup) =
        (["hello from cart-1 200", "hello from cart-2 200"], "hello from backup-1 200");
    let asked = |count| counted(&succeeded(output(&mut curl(address, count))));
    let before = asked(100);
    assert_eq!(before.keys().collect::<Vec<_>>(), by_carts, "{before:?}");

    carts[0].kill();
    let with_one = asked(100);
    assert_eq!(with_one.keys().collect::<Vec<_>>(), by_carts[1..].iter().collect::<Vec<_>>());

    // The other one is killed under way.
    let running = curl(address, 3_000).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("requests are on their way", || {
        let metrics = caller.shown("/metrics");
        let line = metrics.lines().find(|line| {
            line.starts_with("weft_requests_total") && line.contains("service=\"shop/cart\"")
        });
        line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()) > Some(300.0)
    });
    carts[1].kill();
    let mut after = counted(&succeeded(running.wait_with_output().unwrap()));
    let of_backup = after.remove(by_backup).unwrap_or_default();
    let of_cart = after.remove(by_carts[1]).unwrap_or_default();
    assert!(of_backup > 0 && of_cart > 0, "{of_backup} {of_cart} {after:?}");
    // Of one request at a time, at most the one that was with it may not be sent again.
    assert!(of_backup + of_cart >= 2_999, "{of_backup} {of_cart} {after:?}");
    assert_eq!(asked(300), BTreeMap::from([(by_backup.to_owned(), 300)]));

    carts.iter_mut().for_each(Proxy::start_again);
    wait_until("it serves itself again", || {
        let answers = asked(50);
        answers.keys().collect::<Vec<_>>() == by_carts
    });
}
