//! TCPRoutes and TLSRoutes, seen by programs that speak neither HTTP nor to proxies: Redis and its
//! client, and OpenSSL's server and client.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use crate::lab::{Lab, PortSpec, Process, Proxy, Spec, output, succeeded, wait_until};
use crate::redis::{Redis, answers, client, free_port};

/// A Service that nothing is part of, so that all that is asked of it goes where a route says.
fn service(name: &str, port: u16) -> String {
    format!(
        "{{ apiVersion: v1, kind: Service, metadata: {{ name: {name}, namespace: shop }},
            spec: {{ selector: {{ app: nobody }}, ports: [{{ port: {port} }}] }} }}"
    )
}

/// A proxy before `application`, which is Service `name` of its own.
fn served(lab: &Lab, name: &str, service_port: u16, application: SocketAddr) -> Proxy {
    let service = format!("shop/{name}");
    let services = &[&*service];
    let ports = vec![PortSpec { port: 8080, service_port, protocol: None, application }];
    lab.proxy(&Spec { name, account: &service, services, ports, ..Spec::default() })
}

fn caller(lab: &Lab, service: &str, port: u16) -> Proxy {
    let calls = &[(service, port)];
    lab.proxy(&Spec { name: "caller", account: "shop/caller", calls, ..Spec::default() })
}

fn wait_until_in_force(lab: &Lab, kind: &str, name: &str) {
    wait_until("the route is in force", || {
        let table = succeeded(lab.weft(&["get", kind, name, "-n", "shop"]));
        table.lines().nth(1).is_some_and(|row| row.contains(" yes ") && row.contains("1/1"))
    });
}

fn tcp_route(backends: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {{ name: store, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: store, port: 6379 }}]
  rules: [{{ backendRefs: [{backends}] }}]
"
    )
}

#[test]
fn connections_to_redis_are_shared_by_weight() {
    let lab = Lab::new();
    let backends = "{ name: store-v1, port: 6379, weight: 3 }, { name: store-v2, port: 6379 }";
    lab.apply(&format!("{}\n---{}", service("store", 6379), tcp_route(backends)));
    let stores = ["store-v1", "store-v2"].map(|name| {
        let redis = Redis::start(&lab, Ipv4Addr::LOCALHOST.into());
        succeeded(output(client(redis.address).args(["set", "name", name])));
        let proxy = served(&lab, name, 6379, redis.address);
        (redis, proxy)
    });
    let caller = caller(&lab, "shop/store", 6379);
    let address = caller.addresses[0];
    wait_until("redis is reached", || answers(address));
    wait_until_in_force(&lab, "tcproute", "store");

    let mut found = BTreeMap::new();
    for _ in 0..200 {
        let said = succeeded(output(client(address).args(["get", "name"])));
        *found.entry(said.trim().to_owned()).or_insert(0) += 1;
    }
    // A share of three quarters, with more than four standard deviations on either side.
    let first = found["store-v1"];
    assert!((125..=175).contains(&first), "{found:?}");
    assert_eq!(first + found["store-v2"], 200, "{found:?}");
    // One connection stays where it is.
    let mut one = client(address);
    one.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut one = one.spawn().unwrap();
    std::io::Write::write_all(&mut one.stdin.take().unwrap(), "get name\n".repeat(50).as_bytes())
        .unwrap();
    let said = succeeded(one.wait_with_output().unwrap());
    let names: Vec<_> = said.lines().filter(|line| line.starts_with("store")).collect();
    assert_eq!(names.len(), 50, "{said}");
    assert!(names.iter().all(|name| *name == names[0]), "{said}");

    let explain = |url: &str| lab.weft(&["explain", "TCP", url, "--from", "shop/caller"]);
    let said = succeeded(explain("tcp://store:6379"));
    for part in ["rule 0 of tcp/shop/store", "a share of 3 in 4", "since a route is for this port"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    wait_until("records name the route", || {
        caller.shown("/metrics").contains("route=\"tcp/shop/store\"")
    });

    // What has no backend is closed, and its share is nobody else's.
    let backends = "{ name: store-v1, port: 6379 }, { name: gone, port: 6379 }";
    lab.apply(&tcp_route(backends));
    wait_until_in_force(&lab, "tcproute", "store");
    let reached = (0..100).filter(|_| answers(address)).count();
    assert!((30..=70).contains(&reached), "{reached}");
    lab.apply(&tcp_route("{ name: store-v1, port: 6379, weight: 0 }"));
    wait_until("nothing is reached", || !answers(address));
    drop(stores);
}

/// A server of OpenSSL whose certificate is for `name`, which answers with a page about itself.
fn tls_server(lab: &Lab, name: &str) -> (Process, SocketAddr) {
    let file = |end: &str| lab.directory.join(format!("{name}.{end}")).display().to_string();
    let (key, certificate) = (file("key"), file("crt"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    make.args(["-keyout", &key, "-out", &certificate, "-days", "2", "-subj"]);
    succeeded(output(make.arg(format!("/CN={name}"))));
    loop {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port());
        let mut server = Command::new("openssl");
        server.args(["s_server", "-www", "-accept", &address.to_string()]);
        server.args(["-key", &key, "-cert", &certificate]);
        let process = Process::start(&lab.directory, &format!("{name}-openssl"), &mut server);
        let (mut is_ready, mut is_taken) = (false, false);
        wait_until("openssl listens", || {
            let said = process.said();
            is_ready = said.contains("ACCEPT");
            is_taken = said.contains("Address already in use");
            is_ready || is_taken
        });
        if is_ready {
            return (process, address);
        }
    }
}

/// Whose certificate a client of OpenSSL gets at `address` that asks for the server `name`; none if
/// the connection is ended.
fn subject(address: SocketAddr, name: Option<&str>) -> Option<String> {
    let mut client = Command::new("timeout");
    client.args(["20", "openssl", "s_client", "-connect", &address.to_string()]);
    match name {
        Some(name) => client.args(["-servername", name]),
        None => client.arg("-noservername"),
    };
    let said = output(client.stdin(Stdio::null()));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let (_, rest) = said.split_once("subject=CN")?;
    Some(rest.trim_start_matches([' ', '=']).lines().next()?.to_owned())
}

const TLS_ROUTES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: { name: wide, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: door }]
  hostnames: ['*.shop.example']
  rules: [{ backendRefs: [{ name: one, port: 443 }] }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: { name: narrow, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: door }]
  hostnames: [two.shop.example]
  rules: [{ backendRefs: [{ name: two, port: 443 }] }]
";

#[test]
fn openssl_reaches_the_server_that_it_names() {
    let lab = Lab::new();
    lab.apply(&format!("{}\n---{TLS_ROUTES}", service("door", 443)));
    let _servers = ["one", "two"].map(|name| {
        let (process, address) = tls_server(&lab, name);
        (process, served(&lab, name, 443, address))
    });
    let caller = caller(&lab, "shop/door", 443);
    let address = caller.addresses[0];
    wait_until("both are reached", || {
        let of = |name| subject(address, Some(name));
        of("a.shop.example").as_deref() == Some("one")
            && of("two.shop.example").as_deref() == Some("two")
    });
    for (name, expected) in [
        (Some("TWO.shop.example"), Some("two")),
        (Some("a.b.shop.example"), Some("one")),
        (Some("shop.example"), None),
        (Some("two.example"), None),
        (None, None),
    ] {
        assert_eq!(subject(address, name).as_deref(), expected, "{name:?}");
    }
    // What is no TLS names nobody.
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}"]);
    let said = output(curl.arg(format!("http://{address}/")));
    assert!(!said.status.success() && said.stdout == b"000", "{said:?}");
    for reason in ["no-route", "bad-hello"] {
        wait_until(&format!("{reason} is counted"), || {
            let metrics = caller.shown("/metrics");
            let reason = format!("reason=\"{reason}\"");
            metrics.lines().any(|line| line.contains("refusals") && line.contains(&reason))
        });
    }

    let explain = |arguments: &[&str]| {
        let all = [&["explain", "TLS", "tls://door:443", "--from", "shop/caller"], arguments];
        String::from_utf8(lab.weft(&all.concat()).stdout).unwrap()
    };
    let said = explain(&["--server-name", "two.shop.example"]);
    for part in ["rule 0 of tls/shop/narrow", "spec.hostnames", "to shop/two, port 443"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(explain(&[]).contains("is for the server `door`"), "{}", explain(&[]));
}
