//! The metrics after traffic that is known to the request.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use crate::app::{App, Executed};
use crate::lab::{Lab, Proxy, ask, wait_until};

const RESOURCES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: things, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: cart, port: 80 }]
  rules:
  - matches: [{ path: { type: PathPrefix, value: /things } }]
    backendRefs: [{ name: cart, port: 80 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: others, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: cart, port: 80 }]
  rules:
  - matches: [{ path: { type: PathPrefix, value: /others } }]
    backendRefs: [{ name: cart, port: 80 }]
---
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: cart, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: cart }]
  deny: [{ to: [{ paths: [/things/secret] }] }]
";

/// How much may be under way towards `shop/cart`.
const LIMITS: &str = "
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: { name: cart, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: cart }]
  limits: { requests: 7, pending: 5 }
";

/// The sum of `weft_requests_total` over the series with all of `labels`.
fn requests(proxy: &Proxy, labels: &[(&str, &str)]) -> u64 {
    sum(proxy, "weft_requests_total", labels)
}

/// The sum of `metric` over the series with all of `labels`.
fn sum(proxy: &Proxy, metric: &str, labels: &[(&str, &str)]) -> u64 {
    let text = proxy.shown("/metrics");
    let mut sum = 0;
    for line in text.lines() {
        let rest = line.strip_prefix(metric).and_then(|rest| rest.strip_prefix('{'));
        let Some(rest) = rest else { continue };
        let (inside, value) = rest.split_once('}').unwrap();
        let found: BTreeMap<_, _> = inside
            .split("\",")
            .filter_map(|pair| pair.trim_end_matches('"').split_once("=\""))
            .collect();
        if labels.iter().all(|(name, value)| found.get(name) == Some(value)) {
            sum += value.trim().parse::<u64>().unwrap();
        }
    }
    sum
}

#[test]
fn metrics_count_each_request_by_route_and_peer() {
    let lab = Lab::new();
    let executed = Executed::default();
    let app = App::start("cart-1", &executed);
    let server = lab.replica("cart-1", Some("http"), &app);
    let web = lab.caller("web");
    let calls = &[("shop/cart", 80)];
    let spec = crate::lab::Spec { name: "job", account: "dev/job", calls, ..Default::default() };
    let job = lab.proxy(&spec);
    lab.apply(RESOURCES);
    for caller in [&web, &job] {
        wait_until("routes and policy are in force", || {
            ask(caller.addresses[0], "GET", "/nowhere", &[]).reason == "no-route"
                && ask(caller.addresses[0], "GET", "/things/secret", &[]).reason == "deny-rule"
        });
    }
    let (web_peer, job_peer) =
        ("spiffe://weft.local/ns/shop/sa/web", "spiffe://weft.local/ns/dev/sa/job");
    let (things, others) = ("http/shop/things", "http/shop/others");
    let outbound = |caller, route, status| {
        requests(caller, &[("direction", "outbound"), ("route", route), ("status", status)])
    };
    let inbound = |peer, status| {
        requests(&server, &[("direction", "inbound"), ("peer", peer), ("status", status)])
    };
    let count = || {
        [
            outbound(&web, things, "200"),
            outbound(&web, things, "403"),
            outbound(&web, others, "200"),
            outbound(&job, things, "200"),
            outbound(&job, others, "200"),
            inbound(web_peer, "200"),
            inbound(web_peer, "403"),
            inbound(job_peer, "200"),
            requests(&web, &[("reason", "no-route")]),
            requests(&server, &[("reason", "deny-rule"), ("peer", web_peer)]),
        ]
    };
    let before = count();
    let ask_often = |caller: &Proxy, path: &str, count: u32, status: u16| {
        for _ in 0..count {
            assert_eq!(ask(caller.addresses[0], "GET", path, &[]).status, status);
        }
    };
    ask_often(&web, "/things/a", 13, 200);
    ask_often(&web, "/things/secret", 5, 403);
    ask_often(&web, "/others", 7, 200);
    ask_often(&web, "/nowhere", 3, 404);
    ask_often(&job, "/things/b", 11, 200);
    ask_often(&job, "/others/c", 2, 200);
    let expected = [13, 5, 7, 11, 2, 20, 5, 13, 3, 5];
    // A request is counted when it has ended, which may be a moment after its answer was read.
    wait_until("the counts are right", || {
        let after = count();
        let found: [u64; 10] = std::array::from_fn(|index| after[index] - before[index]);
        let is_too_much = found.iter().zip(&expected).any(|(found, expected)| found > expected);
        assert!(!is_too_much, "{found:?}, and expected is {expected:?}");
        found == expected
    });
    assert!(web.shown("/metrics").contains("weft_control_connected 1"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test's own connections may block")]
fn what_is_under_way_is_shown_beside_its_limit() {
    let lab = Lab::new();
    let app = App::start("cart-1", &Executed::default());
    let server = lab.replica("cart-1", Some("http"), &app);
    let web = lab.caller("web");
    lab.apply(LIMITS);
    let of = |proxy: &Proxy, metric: &str, service: &str, port: &str| {
        ["requests", "pending", "connections"].map(|limit| {
            let labels = [("service", service), ("port", port), ("limit", limit)];
            sum(proxy, metric, &labels)
        })
    };
    let cart = |metric: &str| of(&web, metric, "shop/cart", "80");
    wait_until("the limits are in force, and those that were not set are the defaults", || {
        assert_eq!(ask(web.addresses[0], "GET", "/", &[]).status, 200);
        cart("weft_backend_limit") == [7, 5, 1024]
    });
    // What has ended may be known as such a moment after its answer was read.
    wait_until("nothing is under way", || cart("weft_backend_in_use")[..2] == [0, 0]);
    let kept = cart("weft_backend_in_use")[2];

    // Answers that go on until nobody listens.
    let streams: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(web.addresses[0]).unwrap();
            stream.write_all(b"GET /stream HTTP/1.1\r\nHost: cart\r\n\r\n").unwrap();
            let mut reader = BufReader::new(stream);
            reader.read_line(&mut String::new()).unwrap();
            reader
        })
        .collect();
    // Each takes a connection for itself: one that was kept, or a new one.
    let connections = kept.max(2);
    wait_until("two are under way", || cart("weft_backend_in_use") == [2, 0, connections]);
    let opened = sum(&web, "weft_backend_connections_total", &[("service", "shop/cart")]);
    assert_eq!(opened, 1, "one tunnel carries them");
    // The server's proxy limits only the connections to its application.
    let application = |metric: &str| of(&server, metric, "application", "8080");
    assert!(application("weft_backend_in_use")[2] >= 2);
    assert_eq!(application("weft_backend_limit"), [0, 256, 1024]);
    drop(streams);
    wait_until("they have ended", || cart("weft_backend_in_use")[0] == 0);

    // Neither proxy was told where it is.
    let attempts = |locality| {
        let labels = [("service", "shop/cart"), ("locality", locality)];
        sum(&web, "weft_backend_attempts_total", &labels)
    };
    assert!(attempts("unknown") >= 3);
    assert_eq!(["zone", "region", "elsewhere"].map(attempts), [0, 0, 0]);
    wait_until("that their caller went away is in the log", || {
        web.shown("/metrics").contains("\nweft_access_log_lines_total 2\n")
    });
}
