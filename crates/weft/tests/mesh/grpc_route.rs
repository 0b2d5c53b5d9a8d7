//! GRPCRoutes, seen by grpcio on both ends of two proxies.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::grpcio;
use crate::lab::{Lab, PortSpec, Process, Proxy, Spec, ready_addresses, succeeded, wait_until};

const SERVERS: [&str; 2] = ["calls-v1", "calls-v2"];

/// A caller of `shop/calls`, for which two versions serve, each a Service of its own.
struct Calls {
    lab: Lab,
    caller: Proxy,
    client: Client,
    servers: (Process, Vec<Proxy>),
}

/// One connection of grpcio. Its process ends with this value.
struct Client {
    child: Child,
    asked: ChildStdin,
    said: BufReader<ChildStdout>,
}

/// What became of some calls.
#[derive(Debug)]
struct Said {
    /// Servers and statuses, and how often each was the answer.
    by: BTreeMap<String, u64>,
    /// The metadata that the server got last, what came before its message, or the reason.
    last: Value,
}

impl Client {
    fn start(lab: &Lab, python: &Path, address: SocketAddr) -> Client {
        let script = lab.file("one_channel.py", include_str!("python/one_channel.py"));
        let mut command = Command::new(python);
        command.arg(script).arg(address.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Client { asked: child.stdin.take().unwrap(), said, child }
    }

    fn call(&mut self, path: &str, metadata: &[(&str, &str)], times: u32) -> Said {
        let asked = json!({ "path": path, "metadata": metadata, "times": times });
        writeln!(self.asked, "{asked}").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let by = serde_json::from_value(said["by"].clone()).unwrap();
        Said { by, last: said["last"].clone() }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    /// The one answer that all calls got.
    fn all(&self) -> &str {
        assert_eq!(self.by.len(), 1, "{self:?}");
        self.by.keys().next().unwrap()
    }

    /// The values of `name` among the pairs of `what`.
    fn values(&self, what: &str, name: &str) -> Vec<&str> {
        let pairs = self.last[what].as_array().unwrap().iter();
        pairs.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
    }
}

impl Calls {
    /// Starts it, with `routes`. Nothing is declared of what is spoken.
    fn start(routes: &str) -> Calls {
        let lab = Lab::new();
        let python = grpcio::environment().join("bin/python");
        lab.apply(
            "{ apiVersion: v1, kind: Service, metadata: { name: calls, namespace: shop },
               spec: { selector: { app: nobody }, ports: [{ port: 80 }] } }",
        );
        let script = lab.file("named_servers.py", include_str!("python/named_servers.py"));
        let mut command = Command::new(&python);
        command.arg(script).args(SERVERS);
        let apps = Process::start(&lab.directory, "servers", &mut command);
        let addresses = ready_addresses(&apps, "listening at ");
        let server = |(name, address): (&str, &SocketAddr)| {
            let service = format!("shop/{name}");
            let services = &[&*service];
            let ports = vec![PortSpec::web(None, *address)];
            lab.proxy(&Spec { name, account: &service, services, ports, ..Spec::default() })
        };
        let servers = SERVERS.into_iter().zip(&addresses).map(server).collect();
        let calls = &[("shop/calls", 80)];
        let spec = Spec { name: "caller", account: "shop/caller", calls, ..Spec::default() };
        let caller = lab.proxy(&spec);
        let client = Client::start(&lab, &python, caller.addresses[0]);
        let calls = Calls { lab, caller, client, servers: (apps, servers) };
        calls.lab.apply(routes);
        calls.wait_until_in_force("grpcroute");
        calls
    }

    /// Waits until the route `calls` of `kind` is held by the caller's proxy.
    fn wait_until_in_force(&self, kind: &str) {
        wait_until("the route is in force", || {
            let table = succeeded(self.lab.weft(&["get", kind, "calls", "-n", "shop"]));
            table.lines().nth(1).is_some_and(|row| row.contains(" yes ") && row.contains("1/1"))
        });
    }

    /// How often each of `times` calls without metadata was answered by whom.
    fn call(&mut self, path: &str, times: u32) -> Said {
        self.client.call(path, &[], times)
    }

    /// What `weft explain` says first of the call `path`: its route, rule and match.
    fn explained(&self, path: &str) -> String {
        let url = format!("grpc://calls:80{path}");
        let said = succeeded(self.lab.weft(&["explain", "GRPC", &url, "--from", "shop/caller"]));
        let is_route = |line: &&str| line.trim_start().starts_with("route");
        let route = said.lines().position(|line| is_route(&line)).expect(&said);
        said.lines().skip(route).take(2).collect::<Vec<_>>().join("\n")
    }
}

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: calls, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: calls, port: 80 }]
  rules:
  - matches: [{ method: { method: Get } }]
    backendRefs: [{ name: calls-v1, port: 80 }]
  - name: carts
    matches: [{ method: { service: lab.Carts } }]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{ name: X-Set, value: rule }]
        add: [{ name: X-Added, value: rule }]
        remove: [X-Removed]
    - type: ResponseHeaderModifier
      responseHeaderModifier: { set: [{ name: X-Answer, value: rule }] }
    backendRefs: [{ name: calls-v2, port: 80 }]
  - matches:
    - method: { service: lab.Carts, method: Get }
      headers: [{ name: X-Canary, value: '1' }]
    backendRefs: [{ name: calls-v1, port: 80 }]
  - matches: [{ method: { type: RegularExpression, service: 'lab[.]Num.*', method: '[A-Z]' } }]
    backendRefs: [{ name: calls-v2, port: 80 }]
  - matches: [{ method: { service: lab.Shared } }]
    backendRefs:
    - { name: calls-v1, port: 80, weight: 70 }
    - { name: calls-v2, port: 80, weight: 30 }
    - { name: calls-v3, port: 80, weight: 0 }
  - matches: [{ method: { service: lab.Half } }]
    backendRefs: [{ name: calls-v1, port: 80 }, { name: calls-v3, port: 80 }]
  - matches: [{ method: { service: lab.Copied } }]
    filters:
    - type: RequestMirror
      requestMirror: { backendRef: { name: calls-v2, port: 80 } }
    backendRefs: [{ name: calls-v1, port: 80 }]
  - matches: [{ method: { service: lab.None } }]
    backendRefs: [{ name: calls-v1, port: 80, weight: 0 }]
";

#[test]
fn grpcio_is_led_by_service_method_and_metadata() {
    let mut calls = Calls::start(ROUTE);
    // A service comes before a method of any, and of two that are equal, what has a header.
    for (path, metadata, server) in [
        ("/lab.Any/Get", &[][..], "calls-v1"),
        ("/lab.Carts/Get", &[], "calls-v2"),
        ("/lab.Carts/Get", &[("x-canary", "1")], "calls-v1"),
        ("/lab.Carts/Get", &[("x-canary", "2")], "calls-v2"),
        ("/lab.Carts/Put", &[("x-canary", "1")], "calls-v2"),
        ("/lab.Numbers/A", &[], "calls-v2"),
        ("/lab.Numbers/Ab", &[], "UNIMPLEMENTED"),
        ("/lab.Others/Put", &[], "UNIMPLEMENTED"),
        ("/lab.carts/Put", &[], "UNIMPLEMENTED"),
        ("/lab.None/A", &[], "UNAVAILABLE"),
    ] {
        let said = calls.client.call(path, metadata, 1);
        assert_eq!(said.all(), server, "{path} {metadata:?}: {said:?}");
    }
    assert_eq!(calls.call("/lab.Others/Put", 1).last["reason"], "no-route");
    assert_eq!(calls.call("/lab.None/A", 1).last["reason"], "no-weight");

    let metadata = [("x-set", "mine"), ("x-added", "mine"), ("x-removed", "1")];
    let said = calls.client.call("/lab.Carts/Put", &metadata, 1);
    assert_eq!(said.values("metadata", "x-set"), ["rule"], "{said:?}");
    assert_eq!(said.values("metadata", "x-added").join(","), "mine,rule", "{said:?}");
    assert!(said.values("metadata", "x-removed").is_empty(), "{said:?}");
    assert_eq!(said.values("fields", "x-answer"), ["rule"], "{said:?}");

    // Shares are of calls, although all of them come on one connection.
    let said = calls.call("/lab.Shared/A", 1000);
    let share = |server: &str| said.by.get(server).copied().unwrap_or_default();
    assert_eq!(share("calls-v1") + share("calls-v2"), 1000, "{said:?}");
    assert!((640..760).contains(&share("calls-v1")), "{said:?}");
    let said = calls.call("/lab.Half/A", 400);
    let share = |server: &str| said.by.get(server).copied().unwrap_or_default();
    assert_eq!(share("calls-v1") + share("UNAVAILABLE"), 400, "{said:?}");
    assert!((140..260).contains(&share("UNAVAILABLE")), "{said:?}");
    assert!(said.last["reason"].is_null() || said.last["reason"] == "no-backend", "{said:?}");

    let copies = |calls: &Calls| {
        let metrics = calls.servers.1[1].shown("/metrics");
        let counts = metrics.lines().filter(|line| line.starts_with("weft_requests_total{"));
        counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
    };
    let before = copies(&calls);
    assert_eq!(calls.call("/lab.Copied/A", 5).all(), "calls-v1");
    wait_until("the other server gets a copy of each", || copies(&calls) == before + 5.0);

    let explained = calls.explained("/lab.Carts/Put");
    for part in ["rule 1 `carts` of grpc/shop/calls", "GRPCRoute", "spec.rules[1].matches[0]"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }

    // What is no call matches nothing, and is answered as HTTP has it.
    let url = format!("http://{}/lab.Carts/Put", calls.caller.addresses[0]);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", version]);
        let said = succeeded(crate::lab::output(curl.arg(&url)));
        assert_eq!(said, "404");
    }
}

#[test]
fn of_two_kinds_of_routes_the_more_specific_holds() {
    let http = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: calls, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: calls }]
  rules: [{ backendRefs: [{ name: calls-v1, port: 80 }] }]
";
    let grpc = "
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: calls, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: calls }]
  rules:
  - matches: [{ method: { service: lab.A } }]
    backendRefs: [{ name: calls-v2, port: 80 }]
";
    let mut calls = Calls::start(&format!("{http}---{grpc}"));
    assert_eq!(calls.call("/lab.A/Get", 1).all(), "calls-v2");
    assert_eq!(calls.call("/lab.B/Get", 1).all(), "UNIMPLEMENTED");
    let said = succeeded(calls.lab.weft(&["get", "httproute", "calls", "-n", "shop"]));
    assert!(said.contains("RouteReasonConflicted"), "{said}");
    let said =
        succeeded(calls.lab.weft(&["get", "httproute", "calls", "-n", "shop", "-o", "yaml"]));
    assert!(said.contains("GRPCRoute shop/calls is for port 80 of Service shop/calls"), "{said}");
    succeeded(calls.lab.weft(&["delete", "grpcroute", "calls", "-n", "shop"]));
    calls.wait_until_in_force("httproute");
    // With nothing declared, calls stay calls under a route of HTTP too.
    assert_eq!(calls.call("/lab.B/Get", 1).all(), "calls-v1");
}
