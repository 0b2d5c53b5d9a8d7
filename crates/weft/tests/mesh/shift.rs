//! Traffic is shifted between two versions of a service, under load.

use std::time::Duration;

use crate::app::{App, Executed};
use crate::lab::{Lab, PortSpec, Spec, take_turn, wait_within};
use crate::load::{Kind, Load, Tally, more};

/// Within this, a change is to be in force everywhere. Tests allow ten times as much.
const ENFORCED_WITHIN: Duration = Duration::from_secs(1);

/// How many requests each share is judged by.
const REQUESTS: u64 = 1_000;

/// Requests a second of each load.
const RATE: u32 = 100;

/// The ports of the Service, and what is sent there.
const PORTS: [(u16, &str, Kind); 3] =
    [(80, "http", Kind::Http1), (81, "http2", Kind::Http2), (82, "grpc", Kind::Grpc)];

fn routes(old: u32, new: u32) -> String {
    let route = |(port, ..): (u16, &str, Kind)| {
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: cart-{port}, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: cart, port: {port} }}]
  rules:
  - backendRefs:
    - {{ name: cart-old, port: {port}, weight: {old} }}
    - {{ name: cart-new, port: {port}, weight: {new} }}
"
        )
    };
    PORTS.map(route).join("---")
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec:
  selector: { app: cart }
  ports:
  - { name: web, port: 80, appProtocol: http }
  - { name: web2, port: 81, appProtocol: http2 }
  - { name: calls, port: 82, appProtocol: grpc }
";

/// Whether `app` got `share` of `tally`, within one percent of all.
fn check_share(tally: &Tally, app: &str, share: f64) {
    let total = tally.answered() as f64;
    let (expected, found) = (total * share, tally.by(app) as f64);
    assert!(
        (found - expected).abs() <= total / 100.0,
        "{app} got {found} of {total}, expected {expected:.0}"
    );
}

#[test]
fn a_shift_is_enforced_everywhere_at_once_and_loses_nothing() {
    let _turn = take_turn();
    let lab = Lab::new();
    let executed = Executed::default();
    let mut running = Vec::new();
    for version in ["cart-old", "cart-new"] {
        let app = App::start(version, &executed);
        let service = format!("shop/{version}");
        let ports = PORTS.iter().map(|(service_port, protocol, _)| PortSpec {
            port: 8000 + service_port,
            service_port: *service_port,
            protocol: Some(protocol),
            application: app.address,
        });
        let proxy = lab.proxy(&Spec {
            name: version,
            account: &service,
            services: &[&service],
            ports: ports.collect(),
            ..Spec::default()
        });
        running.push((app, proxy));
    }
    lab.apply(SERVICE);
    lab.apply(&routes(95, 5));
    let calls = &PORTS.map(|(port, ..)| ("shop/cart", port));
    let callers = ["web-1", "web-2"]
        .map(|name| lab.proxy(&Spec { name, account: "shop/web", calls, ..Spec::default() }));
    let loads: Vec<_> = callers
        .iter()
        .flat_map(|proxy| proxy.addresses.iter().zip(PORTS))
        .map(|(address, (_, _, kind))| Load::start(*address, kind, RATE))
        .collect();
    for tally in more(&loads, REQUESTS) {
        check_share(&tally, "cart-new", 0.05);
    }

    lab.apply(&routes(50, 50));
    // More than 30 % for the new one of 100 requests are out of reach for a share of 5 %.
    let is_new = |lately: &Tally| lately.by("cart-new") * 100 > lately.answered() * 30;
    let took = wait_within(ENFORCED_WITHIN * 10, "the shift is in force everywhere", || {
        more(&loads, 100).iter().all(is_new)
    });
    eprintln!("the shift was seen in force everywhere within {took:?}");
    for tally in more(&loads, REQUESTS) {
        check_share(&tally, "cart-new", 0.5);
    }
    for load in loads {
        load.end_whole();
    }
    assert_eq!(executed.repeated(), Vec::<String>::new());
}
