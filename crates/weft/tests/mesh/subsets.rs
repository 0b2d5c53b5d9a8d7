//! Requests for some of a Service's instances, by curl.

use std::net::SocketAddr;
use std::process::Command;

use crate::app::{App, Executed};
use crate::lab::{Lab, PortSpec, Proxy, Spec, output, succeeded, wait_until};

/// Two versions of `shop/cart`, told apart by the labels that their own Services select.
struct Versions {
    lab: Lab,
    carts: Vec<(App, Proxy)>,
    caller: Proxy,
}

const NAMES: [&str; 3] = ["cart-v1", "cart-v2", "cart-v2b"];

impl Versions {
    fn start() -> Versions {
        let lab = Lab::new();
        let v1 = ("cart-v1", ", version: v1");
        for (name, also) in [("cart", ""), v1, ("cart-v2", ", version: v2")] {
            lab.apply(&format!(
                "
apiVersion: v1
kind: Service
metadata: {{ name: {name}, namespace: shop }}
spec:
  selector: {{ app: cart{also} }}
  ports: [{{ port: 80, targetPort: 8080, appProtocol: http }}]
"
            ));
        }
        let cart = |name: &'static str| {
            let app = App::start(name, &Executed::default());
            let version = format!("shop/{}", &name[..7]);
            let proxy = lab.proxy(&Spec {
                name,
                account: "shop/cart",
                services: &["shop/cart", &version],
                ports: vec![PortSpec::web(Some("http"), app.address)],
                ..Spec::default()
            });
            (app, proxy)
        };
        let carts = NAMES.map(cart).into();
        let caller = lab.caller("web");
        Versions { lab, carts, caller }
    }

    /// Has requests choose as `subset` says.
    fn choose(&self, subset: &str) {
        let policy = format!(
            "
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: {{ name: cart, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: cart }}]
  loadBalancing: {{ algorithm: RoundRobin, subset: {subset} }}
"
        );
        succeeded(self.lab.apply_with(&["--wait"], &policy));
    }

    fn address(&self) -> SocketAddr {
        self.caller.addresses[0]
    }

    /// Which instances answer several requests to `path` with the header, each once.
    fn answering(&self, path: &str, header: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (turn, version) in
            ["--http1.1", "--http2-prior-knowledge"].iter().cycle().take(12).enumerate()
        {
            let answer = succeeded(ask(self.address(), path, header, version));
            let name = NAMES.into_iter().rfind(|name| answer.contains(name));
            found.push(name.unwrap_or_else(|| panic!("{turn}: {answer}")).to_owned());
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn ask(address: SocketAddr, path: &str, header: &str, version: &str) -> std::process::Output {
    let url = format!("http://{address}{path}");
    let mut curl = Command::new("curl");
    output(curl.args(["-s", "-i", "--max-time", "20", "-H", header, version, &url]))
}

#[test]
fn requests_come_to_the_instances_that_they_name() {
    let mut versions = Versions::start();
    versions.choose("{ labels: [{ name: version, header: X-Version }] }");
    assert_eq!(versions.answering("/", "x-version: v1"), ["cart-v1"]);
    assert_eq!(versions.answering("/", "x-version: v2"), ["cart-v2", "cart-v2b"]);
    assert_eq!(versions.answering("/", "x-other: v2"), NAMES);

    // Nobody else is meant, whether there never was one or it is gone.
    let refused = |header: &str, wanted: &str| {
        let answer = succeeded(ask(versions.address(), "/", header, "--http1.1"));
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.to_lowercase().contains("weft-reason: no-endpoint"), "{answer}");
        let said = format!("shop/cart with {wanted} has no endpoint to call");
        versions.caller.wait_for_log(0, &said);
    };
    refused("x-version: v3", "version=v3");
    refused("x-version: v 3", "version=?");

    versions.choose(
        "{ labels: [{ name: version, header: X-Version, default: v1 }], fallback: Default }",
    );
    assert_eq!(versions.answering("/", "x-other: v2"), ["cart-v1"]);
    assert_eq!(versions.answering("/", "x-version: v3"), ["cart-v1"]);
    assert_eq!(versions.answering("/", "x-version: v2"), ["cart-v2", "cart-v2b"]);

    versions.choose("{ labels: [{ name: version, header: X-Version }], fallback: Any }");
    assert_eq!(versions.answering("/", "x-version: v3"), NAMES);
    // An instance that ends leaves its place to the other one of its version, and then to any.
    versions.carts[1].1.terminate();
    assert_eq!(versions.answering("/", "x-version: v2"), ["cart-v2b"]);
    versions.carts[2].1.terminate();
    assert_eq!(versions.answering("/", "x-version: v2"), ["cart-v1"]);
}

#[test]
fn a_route_leads_to_some_instances_of_one_service() {
    let versions = Versions::start();
    versions.choose("{ labels: [{ name: version, header: X-Version, default: v1 }] }");
    let filter = "filters: [{ type: RequestHeaderModifier, \
                  requestHeaderModifier: { set: [{ name: X-Version, value: v2 }] } }]";
    versions.lab.apply(&format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: canary, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: cart }}]
  rules:
  - matches: [{{ path: {{ value: /new }} }}]
    {filter}
    backendRefs: [{{ name: cart, port: 80 }}]
  - matches: [{{ path: {{ value: /some }} }}]
    backendRefs:
    - {{ name: cart, port: 80, weight: 50 }}
    - {{ name: cart, port: 80, weight: 50, {filter} }}
  - backendRefs: [{{ name: cart, port: 80 }}]
"
    ));
    wait_until("the route is in force", || {
        versions.answering("/new", "x: y") == ["cart-v2", "cart-v2b"]
    });
    assert_eq!(versions.answering("/", "x: y"), ["cart-v1"]);
    wait_until("each share comes to its instances", || {
        versions.answering("/some", "x: y") == NAMES
    });
}
