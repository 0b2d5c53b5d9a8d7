//! What a proxy that starts anew goes by: what is in force now, or what it kept.

use std::time::Duration;

use rustix::process::Signal;

use crate::app::{App, Executed};
use crate::lab::{Answer, Lab, Proxy, ask, now, since};

/// How often something changes while a proxy is down.
const ROUNDS: usize = 10;

/// How long a start waits at most for what the control plane has to say.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// A route of `shop/cart` for `path` and what is below it.
fn route(path: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: cart, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: cart, port: 80 }}]
  rules:
  - matches: [{{ path: {{ value: {path} }} }}]
    backendRefs: [{{ name: cart, port: 80 }}]
"
    )
}

/// The first answer that `caller` gives after its start.
fn first(caller: &mut Proxy) -> Answer {
    caller.start_again();
    ask(caller.addresses[0], "GET", "/a", &[])
}

#[test]
fn a_start_goes_by_what_is_in_force_now() {
    let lab = Lab::new();
    let app = App::start("cart-1", &Executed::default());
    let mut replica = lab.replica("cart-1", Some("http"), &app);
    lab.apply(&route("/"));
    let mut caller = lab.caller("web");
    assert_eq!(ask(caller.addresses[0], "GET", "/a", &[]).status, 200);
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        caller.kill();
        lab.apply(&route("/b"));
        let began = now();
        assert_eq!(first(&mut caller).status, 404, "round {round}");
        slowest = slowest.max(since(began));

        caller.kill();
        lab.apply(&route("/"));
        replica.terminate();
        assert_eq!(first(&mut caller).reason, "no-endpoint", "round {round}");
        caller.kill();
        replica.start_again();
        assert_eq!(first(&mut caller).status, 200, "round {round}");
    }
    assert!(slowest < READY_TIMEOUT, "a start took {slowest:?} though the control plane answers");
    assert!(!caller.log().contains("weft proxy: starting "), "{}", caller.log());
}

#[test]
fn a_start_without_the_control_plane_goes_by_what_was_kept() {
    let lab = Lab::new();
    let app = App::start("cart-1", &Executed::default());
    let _replica = lab.replica("cart-1", Some("http"), &app);
    let mut caller = lab.caller("web");
    assert_eq!(ask(caller.addresses[0], "GET", "/a", &[]).status, 200);

    // It accepts connections, and that is all.
    lab.signal_control(Signal::STOP);
    caller.kill();
    assert_eq!(first(&mut caller).status, 200);
    let said = caller.log();
    assert_eq!(said.matches("starting by what is known of the mesh").count(), 1, "{said}");
    lab.signal_control(Signal::CONT);

    lab.kill_control();
    caller.kill();
    let began = now();
    assert_eq!(first(&mut caller).status, 200);
    let took = since(began);
    assert!(took < READY_TIMEOUT, "{took:?}, though nobody is there to wait for");
    let said = caller.log();
    assert_eq!(said.matches("starting by what is known of the mesh").count(), 2, "{said}");
    // How old it is, as far as that is known, is shown from the start.
    let shown = caller.shown("/metrics");
    assert!(shown.contains("\nweft_config_age_seconds "), "{shown}");
}
