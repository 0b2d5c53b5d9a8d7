//! A mesh that knows IPv6 only: control plane, tunnels, callers and applications.

use std::net::Ipv6Addr;
use std::process::Command;

use crate::app::{App, Executed};
use crate::lab::{Lab, PortSpec, Proxy, Spec, output, succeeded, wait_until};
use crate::redis::{Redis, client};

#[test]
fn requests_and_bytes_go_by_ipv6_alone() {
    let lab = Lab::at("[::1]:0");
    let app = App::start_at("shop-1", &Executed::default(), Ipv6Addr::LOCALHOST.into());
    let redis = Redis::start(&lab, Ipv6Addr::LOCALHOST.into());
    let port = |port, protocol, application| PortSpec {
        port,
        service_port: port,
        protocol: Some(protocol),
        application,
    };
    let server = lab.proxy(&Spec {
        name: "shop-1",
        account: "shop/shop",
        services: &["shop/shop"],
        ports: vec![
            port(8080, "http", app.address),
            port(8081, "http2", app.address),
            port(6379, "tcp", redis.address),
        ],
        listen: Some("[::1]:0".parse().unwrap()),
        ..Spec::default()
    });
    let calls = &[("shop/shop", 8080), ("shop/shop", 8081), ("shop/shop", 6379)];
    let spec = Spec { name: "web", account: "shop/web", calls, ..Spec::default() };
    lab.token(spec.name, spec.account, spec.services);
    let caller = Proxy::start(&lab, spec.name, &spec.text().replace("127.0.0.1", "[::1]"));
    let [http, http2, bytes] = caller.addresses[..] else { panic!("{:?}", caller.addresses) };

    for (address, argument) in [(http, "--http1.1"), (http2, "--http2-prior-knowledge")] {
        let mut curl = Command::new("curl");
        curl.args(["-sSg", "--max-time", "20", argument, &format!("http://{address}/")]);
        assert_eq!(succeeded(output(&mut curl)), "hello from shop-1");
    }
    assert_eq!(succeeded(output(client(bytes).args(["set", "tea", "oolong"]))), "OK\n");
    assert_eq!(succeeded(output(client(bytes).args(["get", "tea"]))), "oolong\n");
    // Mutual TLS by IPv6, as the server's proxy tells.
    wait_until("all is counted, with who called", || {
        let metrics = server.shown("/metrics");
        ["http/1.1", "http/2", "tcp"].iter().all(|protocol| {
            let protocol = format!("protocol=\"{protocol}\"");
            let peer = "peer=\"spiffe://weft.local/ns/shop/sa/web\"";
            metrics.lines().any(|line| line.contains(&protocol) && line.contains(peer))
        })
    });
    assert!(server.addresses.iter().all(std::net::SocketAddr::is_ipv6), "{:?}", server.addresses);
}
