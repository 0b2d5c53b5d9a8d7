//! Routes of the caller's namespace for a Service of another one, seen by curl.

use std::process::Command;

use crate::app::{App, Executed};
use crate::lab::{Lab, PortSpec, Proxy, Spec, output, succeeded, wait_until};

/// The callers, each the only one of its namespace.
const CALLERS: [&str; 3] = ["shop/web", "other/web", "third/web"];

const ROUTES: &str = "
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { selector: { app: nobody }, ports: [{ port: 80 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: cart, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: cart }]
  rules:
  - matches: [{ path: { value: /only } }]
    backendRefs: [{ name: cart-v1, port: 80 }]
  - backendRefs: [{ name: cart-v1, port: 80 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: mine, namespace: other }
spec:
  parentRefs: [{ group: '', kind: Service, name: cart, namespace: shop }]
  rules:
  - matches: [{ path: { value: /mine } }]
    backendRefs: [{ name: cart-v2, namespace: shop, port: 80 }]
";

/// Status and body of what curl is answered through `caller`.
fn ask(caller: &Proxy, path: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "20", "-w", " %{http_code}"]);
    let said = succeeded(output(curl.arg(format!("http://{}{path}", caller.addresses[0]))));
    said.replace('\n', " ")
}

#[test]
fn a_namespace_replaces_the_routes_of_a_service_for_itself_alone() {
    let lab = Lab::new();
    lab.apply(ROUTES);
    let apps = ["cart-v1", "cart-v2"].map(|name| (name, App::start(name, &Executed::default())));
    let _servers = apps.each_ref().map(|(name, app)| {
        let service = format!("shop/{name}");
        let services = &[&*service];
        let ports = vec![PortSpec::web(None, app.address)];
        lab.proxy(&Spec { name, account: &service, services, ports, ..Spec::default() })
    });
    let callers = CALLERS.map(|account| {
        let name = account.replace('/', "-");
        let calls = &[("shop/cart", 80)];
        lab.proxy(&Spec { name: &name, account, calls, ..Spec::default() })
    });
    let [shop, other, third] = &callers;
    wait_until("all callers know of the backends", || {
        ask(shop, "/").ends_with("200") && ask(other, "/mine").ends_with("200")
    });
    for caller in [shop, third] {
        for path in ["/", "/only", "/mine"] {
            assert_eq!(ask(caller, path), "hello from cart-v1 200", "{path}");
        }
    }
    // Nothing is left of the Service's own routes, and nothing goes to it where none matches.
    assert_eq!(ask(other, "/mine"), "hello from cart-v2 200");
    for path in ["/", "/only"] {
        assert!(ask(other, path).ends_with(" 404"), "{path}: {}", ask(other, path));
    }
    // Whoever asks is known by its certificate: no header makes it another.
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "20", "-H", "x-forwarded-client-cert: other", "-H"]);
    curl.arg("weft-namespace: other").arg(format!("http://{}/mine", shop.addresses[0]));
    assert_eq!(succeeded(output(&mut curl)), "hello from cart-v1");

    // Only those that go by it are counted, and only they are told of it.
    wait_until("one proxy of one holds the route", || {
        let table = succeeded(lab.weft(&["get", "httproute", "mine", "-n", "other"]));
        table.lines().nth(1).is_some_and(|row| row.contains(" yes ") && row.contains("1/1"))
    });
    let explained = |account: &str| {
        let url = "http://cart.shop/mine";
        succeeded(lab.weft(&["explain", "GET", url, "--from", account]))
    };
    let said = explained("other/web");
    for part in [
        "rule 0 of http/other/mine",
        "it holds for callers of the namespace other alone",
        "the caller's namespace has routes of its own for this port",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = explained("third/web");
    assert!(said.contains("of http/shop/cart") && !said.contains("other/mine"), "{said}");

    succeeded(lab.weft(&["delete", "httproute", "mine", "-n", "other"]));
    wait_until("the Service's own routes hold again", || {
        ask(other, "/only") == "hello from cart-v1 200"
    });
}
