//! Services that a proxy knows of already when they are called for the first time, as backends of
//! others or as its own: their own rules hold, as for any other.

use crate::lab::{Lab, Running, must};

/// All requests to `service` go to `backend`.
fn route(service: &str, backend: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: {service}, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: {service}, port: 80 }}]
  rules:
  - {{ backendRefs: [{{ name: {backend}, port: 80 }}] }}
---"
    )
}

/// Starts a server of `service` that answers with its name.
fn serve(lab: &Lab, service: &str) -> Running {
    must(lab.user("mkdir").arg(service));
    lab.file(&format!("{service}/index.html"), format!("{service}\n"));
    let mut command = lab.server(service, "80:8080/http");
    command.args(["python3", "-u", "-m", "http.server", "8080", "--directory", service]);
    let server = lab.start(service, command);
    server.wait_for("Serving HTTP");
    server
}

/// The virtual address of `service`, of IPv4.
fn vip(lab: &Lab, service: &str) -> String {
    let shown =
        must(lab.user("./weft").args(["get", "service", service, "-n", "shop", "-o", "yaml"]));
    let found = shown.split(['"', '\n', ' ']).find(|word| word.starts_with("240."));
    found.unwrap_or_else(|| panic!("{shown}")).to_owned()
}

#[test]
fn a_service_that_is_known_as_a_backend_is_called_by_its_own_rules() {
    let mut lab = Lab::new();
    let _servers = ["cart", "cart-v2", "cart-v3"].map(|service| serve(&lab, service));
    lab.apply(&(route("cart", "cart-v2") + &route("cart-v2", "cart-v3")));
    let address = vip(&lab, "cart-v2");
    let curl =
        format!("curl -sS http://cart/; curl -sS http://{address}/; curl -sS http://cart-v2/");
    let by_rules = "cart-v2\ncart-v3\ncart-v3\n";
    assert_eq!(lab.shell("web", &curl), by_rules);

    // Those of a proxy's own Service hold for what its workload calls too.
    let command = ["sh", "-c", "curl -sS http://cart/"];
    assert_eq!(must(lab.server("cart", "80:8081/http").args(command)), "cart-v2\n");

    // So it is after a start by what was kept. Without the control plane, what was called goes on,
    // and what was a backend only is refused: its rules, if it has any, are not known.
    let words = lab.arguments("kept", &[]);
    let kept = |lab: &Lab, shell: &str| {
        let mut command = lab.user(&words[0]);
        must(command.args(&words[1..]).args(["sh", "-c", shell]))
    };
    assert_eq!(kept(&lab, "curl -sS http://cart/"), "cart-v2\n");
    assert_eq!(kept(&lab, &format!("curl -sS http://{address}/")), "cart-v3\n");
    let last = vip(&lab, "cart-v3");
    lab.stop_control();
    let said = kept(&lab, &format!("{curl}; curl -sS http://{last}/ 2>&1; true"));
    let refused = said.strip_prefix(by_rules).unwrap_or_else(|| panic!("{said}"));
    assert!(refused.starts_with("curl: ("), "{said}");
    lab.start_control();
    assert_eq!(kept(&lab, &format!("curl -sS http://{last}/")), "cart-v3\n");
}
