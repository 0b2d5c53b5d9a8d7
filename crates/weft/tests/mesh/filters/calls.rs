//! The same filters with calls of gRPC, by grpcio.

use std::process::Command;

use crate::grpc::Server;
use crate::grpcio;
use crate::lab::{Lab, PortSpec, Spec, output, succeeded, wait_until};

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: calls, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: calls }]
  rules:
  - matches: [{ path: { value: /old.Calls } }]
    filters:
    - type: URLRewrite
      urlRewrite:
        hostname: calls.example
        path: { type: ReplacePrefixMatch, replacePrefixMatch: /lab.Calls }
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{ name: X-Set, value: rule }]
        add: [{ name: X-Added, value: rule }]
        remove: [X-Removed]
    - type: ResponseHeaderModifier
      responseHeaderModifier: { set: [{ name: X-Initial, value: rule }] }
    backendRefs: [{ name: calls, port: 80 }]
  - matches: [{ path: { value: /moved.Calls } }]
    filters: [{ type: RequestRedirect, requestRedirect: { hostname: elsewhere.example } }]
  - matches: [{ path: { value: /gone.Calls } }]
    filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: { set: [{ name: X-Initial, value: rule }] }
";

#[test]
fn calls_of_grpc_are_changed_as_the_route_says() {
    let lab = Lab::new();
    let python = grpcio::environment().join("bin/python");
    let server = Server::start(&lab, &python);
    let ports = vec![PortSpec::web(Some("grpc"), server.address())];
    let services = &["shop/calls"];
    let spec = Spec { name: "calls-1", account: "shop/calls", services, ports, ..Spec::default() };
    let _server = lab.proxy(&spec);
    let calls = &[("shop/calls", 80)];
    let caller = lab.proxy(&Spec { name: "web", account: "shop/web", calls, ..Spec::default() });
    lab.apply(ROUTE);
    wait_until("the route is in force", || {
        let table = succeeded(lab.weft(&["get", "httproute", "calls", "-n", "shop"]));
        table.lines().nth(1).is_some_and(|row| row.contains(" yes ") && row.contains("1/1"))
    });
    let script = lab.file("filtered.py", include_str!("../python/filtered.py"));
    let mut client = Command::new(&python);
    let said = succeeded(output(client.arg(script).arg(caller.addresses[0].to_string())));
    assert!(said.ends_with("done\n"), "{said}");
}
