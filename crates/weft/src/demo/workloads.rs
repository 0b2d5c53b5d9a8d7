//! The workloads of the demo: who calls whom, and how the proxy of each is told so.

use std::net::SocketAddr;

use super::shop::Name;

/// The trust domain of the demo.
pub const TRUST_DOMAIN: &str = "weft.local";

/// A workload of the demo: a program, if it has one, and its proxy.
pub struct Workload {
    /// The name of the instance.
    pub name: &'static str,
    /// Its service account in the namespace `shop`.
    pub account: &'static str,
    /// Its Services; the first is the one that callers name.
    pub services: &'static [&'static str],
    /// What runs behind the proxy, in which version.
    pub program: Option<(Name, &'static str)>,
    protocol: &'static str,
    /// The port of its Services.
    port: u16,
    /// What it calls.
    calls: &'static [Name],
    /// The service account that is to call it.
    pub caller: &'static str,
}

impl Workload {
    /// The Service that callers name.
    pub fn service(&self) -> &'static str {
        self.services.first().copied().unwrap_or(self.name)
    }

    /// What `weft` is called with to be its program, which calls the others at `calls`.
    pub fn arguments(&self, calls: &[SocketAddr]) -> Vec<String> {
        let Some((name, version)) = self.program else { return Vec::new() };
        let mut arguments = vec!["demo-service".to_owned(), name.text().to_owned()];
        arguments.extend(["--instance".to_owned(), self.name.to_owned()]);
        arguments.extend(["--version".to_owned(), version.to_owned()]);
        for (called, address) in self.calls.iter().zip(calls) {
            arguments.extend(["--call".to_owned(), format!("{}={address}", called.text())]);
        }
        arguments
    }

    /// Whether `other` has the same Services, so that either can stand in for the other.
    pub fn is_like(&self, other: &Workload) -> bool {
        self.services == other.services && self.name != other.name
    }
}

const CART_V1: &[&str] = &["cart", "cart-v1"];

/// All workloads, those that are called before those that call.
pub const WORKLOADS: &[Workload] = &[
    cart("cart-v1-1", CART_V1, "v1"),
    cart("cart-v1-2", CART_V1, "v1"),
    cart("cart-v2-1", &["cart", "cart-v2"], "v2"),
    Workload {
        name: "catalog-1",
        account: "catalog",
        services: &["catalog"],
        program: Some((Name::Catalog, "v1")),
        protocol: "grpc",
        port: 80,
        calls: &[],
        caller: "web",
    },
    Workload {
        name: "motto-1",
        account: "motto",
        services: &["motto"],
        program: Some((Name::Motto, "v1")),
        protocol: "tcp",
        port: 7000,
        calls: &[],
        caller: "web",
    },
    Workload {
        name: "web-1",
        account: "web",
        services: &["web"],
        program: Some((Name::Web, "v1")),
        protocol: "http",
        port: 80,
        calls: &[Name::Cart, Name::Catalog, Name::Motto],
        caller: "visitor",
    },
    Workload {
        name: "visitor-1",
        account: "visitor",
        services: &[],
        program: None,
        protocol: "http",
        port: 80,
        calls: &[Name::Web],
        caller: "",
    },
];

const fn cart(
    name: &'static str,
    services: &'static [&'static str],
    version: &'static str,
) -> Workload {
    Workload {
        name,
        account: "cart",
        services,
        program: Some((Name::Cart, version)),
        protocol: "http",
        port: 80,
        calls: &[],
        caller: "web",
    }
}

/// The identity of a service account of the shop.
pub fn identity(account: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/shop/sa/{account}")
}

/// The identities of all workloads, in order, each once.
pub fn identities() -> Vec<String> {
    let mut identities: Vec<_> =
        WORKLOADS.iter().map(|workload| identity(workload.account)).collect();
    identities.sort();
    identities.dedup();
    identities
}

/// The file of the proxy of `workload`, whose program is at `application`.
pub fn config(workload: &Workload, application: Option<SocketAddr>) -> String {
    let Workload { name, account, services, protocol, port, calls, .. } = workload;
    let services: Vec<_> = services.iter().map(|service| format!("shop/{service}")).collect();
    let services = services.join(", ");
    let mut text = format!(
        "\
identity:
  joinToken: {name}-proxy.token
  serviceAccount: shop/{account}
  services: [{services}]
data: {name}-proxy.data
"
    );
    if let Some(application) = application {
        let target = if *protocol == "tcp" { *port } else { 8080 };
        text.push_str(&format!(
            "\
workload:
  name: shop/{name}
  services: [{services}]
  listen: 127.0.0.1:0
  ports:
  - {{ port: {target}, servicePort: {port}, protocol: {protocol}, application: '{application}' }}
"
        ));
    }
    if !calls.is_empty() {
        text.push_str("outbound:\n");
    }
    for called in *calls {
        let of = |workload: &&Workload| workload.service() == called.text();
        let port = WORKLOADS.iter().find(of).map_or(80, |workload| workload.port);
        let called = called.text();
        text.push_str(&format!(
            "- {{ listen: '127.0.0.1:0', service: shop/{called}, port: {port} }}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identity_is_there_once() {
        let accounts = ["cart", "catalog", "motto", "visitor", "web"];
        assert_eq!(identities(), accounts.map(identity));
    }
}
