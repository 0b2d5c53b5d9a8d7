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

/// What `caller` says if it goes by what it kept.
const KEPT: &str = "weft proxy: starting by what is known of the mesh";

/// A start of a caller.
struct Start {
    /// Its first answer.
    answer: Answer,
    /// How long that took.
    took: Duration,
    /// Whether it said that it goes by what it kept.
    by_kept: bool,
}

impl Start {
    fn of(caller: &mut Proxy) -> Start {
        let (before, began) = (caller.log().len(), now());
        caller.start_again();
        let answer = ask(caller.addresses[0], "GET", "/a", &[]);
        Start { answer, took: since(began), by_kept: caller.log()[before..].contains(KEPT) }
    }
}

#[test]
fn a_start_goes_by_what_is_in_force_now() {
    let lab = Lab::new();
    let app = App::start("cart-1", &Executed::default());
    let mut replica = lab.replica("cart-1", Some("http"), &app);
    lab.apply(&route("/"));
    let mut caller = lab.caller("web");
    assert_eq!(ask(caller.addresses[0], "GET", "/a", &[]).status, 200);
    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        caller.kill();
        lab.apply(&route("/b"));
        starts.push(("no-route", Start::of(&mut caller)));

        caller.kill();
        lab.apply(&route("/"));
        replica.terminate();
        starts.push(("no-endpoint", Start::of(&mut caller)));

        caller.kill();
        replica.start_again();
        starts.push(("", Start::of(&mut caller)));
    }
    // On a machine that stands still for seconds a start may have to do without, and says so.
    let count = starts.len();
    starts.retain(|(_, start)| !start.by_kept);
    assert!(starts.len() > count / 2, "{} of {count} starts went by the new", starts.len());
    for (reason, Start { answer, .. }) in &starts {
        assert_eq!(answer.reason, *reason, "{answer:?}");
    }
    let fastest = starts.iter().map(|(_, start)| start.took).min();
    assert!(fastest < Some(READY_TIMEOUT), "{fastest:?}, though the control plane answers");
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
    let start = Start::of(&mut caller);
    assert!(start.by_kept && start.took >= READY_TIMEOUT, "{:?}", start.took);
    assert_eq!(start.answer.status, 200);
    lab.signal_control(Signal::CONT);

    lab.kill_control();
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        caller.kill();
        let start = Start::of(&mut caller);
        assert!(start.by_kept, "{}", caller.log());
        assert_eq!(start.answer.status, 200);
        fastest = fastest.min(start.took);
    }
    assert!(fastest < READY_TIMEOUT, "{fastest:?}, though nobody is there to wait for");
    // How old it is, as far as that is known, is shown from the start.
    let shown = caller.shown("/metrics");
    assert!(shown.contains("\nweft_config_age_seconds "), "{shown}");
}
