//! Traffic is shifted between two versions of a service, under load.

use std::time::Duration;

use crate::app::{App, Executed};
use crate::lab::{Lab, PortSpec, Spec, take_turn, wait_within};
use crate::load::{Kind, Load, Tally, more};

/// Within this, a change is to be in force everywhere. Tests allow ten times as much.
const ENFORCED_WITHIN: Duration = Duration::from_secs(1);

/// How many requests each share is judged by.
const REQUESTS: u64 = 1_500;

fn route(old: u32, new: u32) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: cart, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: cart, port: 80 }}]
  rules:
  - backendRefs:
    - {{ name: cart-old, port: 80, weight: {old} }}
    - {{ name: cart-new, port: 80, weight: {new} }}
"
    )
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { selector: { app: cart }, ports: [{ port: 80, appProtocol: http }] }
";

/// Whether `app` got `share` of `tally`, within five standard deviations.
fn check_share(tally: &Tally, app: &str, share: f64) {
    let total = tally.answered() as f64;
    let expected = total * share;
    let deviation = (total * share * (1.0 - share)).sqrt();
    let found = tally.by(app) as f64;
    assert!(
        (found - expected).abs() <= 5.0 * deviation,
        "{app} got {found} of {total}, expected {expected:.0} with a deviation of {deviation:.1}"
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
        let proxy = lab.proxy(&Spec {
            name: version,
            account: &service,
            services: &[&service],
            ports: vec![PortSpec::web(Some("http"), app.address)],
            ..Spec::default()
        });
        running.push((app, proxy));
    }
    lab.apply(SERVICE);
    lab.apply(&route(95, 5));
    let callers = [lab.caller("web-1"), lab.caller("web-2")];
    let loads = callers.each_ref().map(|proxy| Load::start(proxy.addresses[0], Kind::Http1, 250));
    for tally in more(&loads, REQUESTS) {
        check_share(&tally, "cart-new", 0.05);
    }

    lab.apply(&route(50, 50));
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
