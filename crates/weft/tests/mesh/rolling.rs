//! Replicas are restarted one after the other, again and again, under load.

use crate::app::{App, Executed};
use crate::lab::{Lab, Proxy, take_turn, wait_until};
use crate::load::{Kind, Load};

/// How often all replicas are restarted.
const ROUNDS: usize = 20;

/// Requests a second.
const RATE: u32 = 500;

/// A machine that is busy elsewhere lets requests pile up. That a proxy sheds load then is right,
/// and not what is asked here.
const LIMITS: &str = "
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: { name: cart, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: cart }]
  limits: { pending: 4000, requests: 4000, connections: 4000 }
";

const NAMES: [&str; 3] = ["cart-1", "cart-2", "cart-3"];

fn restarted_under_load(kind: Kind, protocol: &str) {
    let _turn = take_turn();
    let lab = Lab::new();
    let executed = Executed::default();
    let mut replicas = NAMES.map(|name| {
        let app = App::start(name, &executed);
        let proxy: Proxy = lab.replica(name, Some(protocol), &app);
        (name, app, proxy)
    });
    lab.apply(LIMITS);
    let caller = lab.caller("web");
    let load = Load::start(caller.addresses[0], kind, RATE);
    for _ in 0..ROUNDS {
        for (name, _, proxy) in &mut replicas {
            proxy.terminate();
            proxy.start_again();
            // It is back when it is called again.
            let before = load.tally();
            wait_until(&format!("{name} answers again"), || {
                let lately = load.tally().since(&before);
                assert_eq!(lately.failed, 0, "{}", load.tally().failures.join("\n"));
                lately.by(name) > 0
            });
        }
    }
    let tally = load.end_whole();
    eprintln!("{kind:?}: {} requests over {} restarts", tally.sent, ROUNDS * NAMES.len());
    assert_eq!(executed.repeated(), Vec::<String>::new(), "these were executed more than once");
    assert_eq!(executed.len() as u64, tally.answered());
}

#[test]
fn http1_outlives_rolling_restarts() {
    restarted_under_load(Kind::Http1, "http");
}

#[test]
fn http2_outlives_rolling_restarts() {
    restarted_under_load(Kind::Http2, "http2");
}

#[test]
fn grpc_outlives_rolling_restarts() {
    restarted_under_load(Kind::Grpc, "grpc");
}
