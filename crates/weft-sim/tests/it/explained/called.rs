//! What is called, and who calls. Shared with the test that explains a mesh of real programs.

/// A port of a Service of the same name, which is also the port of it that is called.
pub struct Called {
    /// The name.
    pub name: &'static str,
    /// The port.
    pub port: u16,
    /// What is declared to be spoken there.
    pub protocol: Option<&'static str>,
    /// Who serves it.
    pub by: By,
}

/// Who serves a Service.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Applications that speak HTTP/1.1, HTTP/2 and gRPC.
    Web,
    /// Those that speak something else, as Redis does.
    Store,
    /// Applications as of [`By::Web`], which get copies alone.
    Shadow,
}

/// How many of [`ALL`] there are where real programs serve them.
const SERVED: usize = 7;

const ALL: [Called; 9] = [
    Called { name: "cart", port: 80, protocol: Some("http"), by: By::Web },
    Called { name: "pay", port: 81, protocol: Some("http2"), by: By::Web },
    Called { name: "calls", port: 82, protocol: Some("grpc"), by: By::Web },
    Called { name: "late", port: 83, protocol: None, by: By::Web },
    Called { name: "open", port: 84, protocol: None, by: By::Web },
    Called { name: "store", port: 85, protocol: Some("tcp"), by: By::Store },
    Called { name: "cache", port: 86, protocol: None, by: By::Store },
    Called { name: "own", port: 87, protocol: Some("tls"), by: By::Store },
    // Nobody calls it.
    Called { name: "shadow", port: 88, protocol: Some("http"), by: By::Shadow },
];

/// What is called, in the order of the callers' listeners. `is_wide` says that there are Services,
/// too, for what only simulated programs speak.
pub fn called(is_wide: bool) -> &'static [Called] {
    if is_wide { &ALL } else { &ALL[..SERVED] }
}

/// What is called where all is drawn, beside the Services: hosts and addresses.
pub enum Extra {
    /// A port of a host outside.
    Host(&'static str, u16),
    /// A port of an address.
    Address(&'static str, u16),
}

/// All of them, after [`called`].
pub const EXTRA: [Extra; 14] = [
    Extra::Host("api.pay.example", 80),
    Extra::Host("api.pay.example", 443),
    Extra::Host("api.pay.example", 5432),
    Extra::Host("api.pay.example", 8080),
    Extra::Host("x.eu.pay.example", 80),
    Extra::Host("nobody.example", 80),
    // Those of the Services cart and late, and a port that is none.
    Extra::Address("240.119.0.1", 80),
    Extra::Address("240.119.0.4", 83),
    Extra::Address("240.119.0.1", 99),
    // Workloads that speak HTTP and something else.
    Extra::Address("240.119.1.1", 8080),
    Extra::Address("240.119.1.4", 8085),
    // Outside, where something may be registered, and where nothing is.
    Extra::Address("198.51.100.200", 80),
    Extra::Address("198.51.100.200", 443),
    Extra::Address("203.0.113.9", 80),
];

/// What the ports of workloads are more than those of Services.
pub const TARGET_OFFSET: u16 = 8000;

/// Each Service of [`called`] has one of each version beside it, to which routes may lead.
pub const VERSIONS: [&str; 2] = ["v1", "v2"];

/// Who calls, as service accounts.
pub const CALLERS: [&str; 2] = ["shop/web", "other/bot"];

/// The Services as resources.
pub fn services(is_wide: bool) -> String {
    let service = |name: &str, selector: &str, port: u16, protocol: Option<&str>| {
        let protocol = protocol.map_or(String::new(), |it| format!(", appProtocol: {it}"));
        // Policies may be for a port by its name.
        let named = if is_wide { "name: main, " } else { "" };
        format!(
            "---
apiVersion: v1
kind: Service
metadata: {{ name: {name}, namespace: shop }}
spec:
  selector: {{ {selector} }}
  ports: [{{ {named}port: {port}, targetPort: {}{protocol} }}]
",
            TARGET_OFFSET + port
        )
    };
    let mut text = service("idle", "nobody: here", 80, Some("http"));
    for Called { name, port, protocol, .. } in called(is_wide) {
        text.push_str(&service(name, &format!("{name}: both"), *port, *protocol));
        for version in VERSIONS {
            let selector = format!("{name}: both, version: {version}");
            text.push_str(&service(&format!("{name}-{version}"), &selector, *port, *protocol));
        }
    }
    text
}
