//! An instance dies without a word: its proxy and its application, or the application alone.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use weft_world::ListenerOptions;

use crate::app::{App, Executed, run_local};
use crate::lab::{Lab, PortSpec, Process, Proxy, Spec, ready_addresses, take_turn, wait_within};
use crate::load::{Kind, Load};

/// Within this after the first failed attempt to reach it, an instance is not called any more.
/// Tests allow ten times as much.
const UNROUTABLE_WITHIN: Duration = Duration::from_secs(1);

/// Failures of requests that may be sent twice are hidden from callers.
const RETRIES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: cart, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: cart, port: 80 }]
  rules:
  - backendRefs: [{ name: cart, port: 80 }]
    retry: { attempts: 2, backoff: 1ms }
";

/// Counts who dials an address at which nobody answers any more.
struct Dials {
    count: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Dials {
    /// Takes connections at `address`, and ends each at once.
    fn count_at(address: SocketAddr) -> Dials {
        let count = Arc::<AtomicU64>::default();
        let counted = count.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            run_local(async {
                let network = weft_net::world().network;
                let mut listener = network.listen(address, ListenerOptions::default()).unwrap();
                let counting = async {
                    loop {
                        drop(listener.accept().await);
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                };
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    () = counting => {}
                }
            });
        });
        Dials { count, stop: Some(stop), thread: Some(thread) }
    }

    fn so_far(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Dials {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn an_instance_that_dies_costs_no_idempotent_request_and_is_left_alone() {
    let _turn = take_turn();
    let lab = Lab::new();
    let executed = Executed::default();
    let names = ["cart-1", "cart-2", "cart-3"];
    let mut replicas = names.map(|name| {
        let app = App::start(name, &executed);
        let proxy = lab.replica(name, Some("http"), &app);
        (app, proxy)
    });
    lab.apply(RETRIES);
    let caller = lab.caller("web");
    let load = Load::start(caller.addresses[0], Kind::Http1Get, 500);
    let before = load.more(1_000);
    assert!(names.iter().all(|name| before.by(name) > 0), "not all are called: {before:?}");

    let [(dead, proxy), ..] = &mut replicas;
    let address = proxy.addresses[0];
    proxy.kill();
    let dials = Dials::count_at(address);
    *dead = App::start("nobody", &executed); // The application goes with its proxy.
    // If it were still called, a third of the requests would dial.
    let mut window = 0;
    let took = wait_within(UNROUTABLE_WITHIN * 10, "the dead instance is not called", || {
        let before = dials.so_far();
        let answered = load.more(250).answered();
        window = dials.so_far() - before;
        window * 25 < answered
    });
    eprintln!(
        "the dead instance was left alone within {took:?}, at {window} dials in the last 250"
    );
    let before = dials.so_far();
    let answered = load.more(2_000).answered();
    let later = dials.so_far() - before;
    assert!(later * 100 < answered, "{later} dials at the dead instance in {answered} requests");
    load.end_whole();
}

/// A program of `python/app.py`, and the proxy beside it.
fn program(lab: &Lab, name: &str) -> (Process, Proxy) {
    let script = lab.file("app.py", include_str!("python/app.py"));
    let mut command = Command::new("python3");
    command.arg(script).arg(name).arg(lab.directory.join("executed"));
    let program = Process::start(&lab.directory, &format!("{name}-program"), &mut command);
    let address = ready_addresses(&program, "listening at ")[0];
    let proxy = lab.proxy(&Spec {
        name,
        account: "shop/cart",
        services: &["shop/cart"],
        ports: vec![PortSpec::web(Some("http"), address)],
        ..Spec::default()
    });
    (program, proxy)
}

#[test]
fn a_program_that_dies_beside_its_proxy_is_left_alone() {
    let _turn = take_turn();
    let lab = Lab::new();
    let [(mut dead, proxy), _other] = ["cart-1", "cart-2"].map(|name| program(&lab, name));
    lab.apply(RETRIES);
    let caller = lab.caller("web");
    let load = Load::start(caller.addresses[0], Kind::Http1, 250);
    let before = load.more(500);
    assert!(["cart-1", "cart-2"].iter().all(|name| before.by(name) > 0), "{before:?}");

    // The proxy writes down what it could not pass on: its port refuses now.
    let tried = || proxy.log().lines().filter(|line| line.contains("direction=inbound")).count();
    assert_eq!(tried(), 0, "{}", proxy.log());
    dead.kill();
    let sent_until_then = load.tally().sent;
    let took = wait_within(UNROUTABLE_WITHIN * 10, "the dead program is not called", || {
        let before = tried();
        let answered = load.more(125).answered();
        ((tried() - before) as u64) * 25 < answered
    });
    let before = tried();
    assert!(before > 0, "it was not called, or this test does not see it");
    let answered = load.more(1_000).answered();
    let later = tried() - before;
    eprintln!("left alone within {took:?}, after {before} requests, then {later} of {answered}");
    assert!((later as u64) * 100 < answered, "{later} of {answered} requests are tried there");

    // What the program may have executed when it died must not be sent to another.
    let tally = load.end();
    let may_fail = |number: &u32| number % 2 == 1 && u64::from(*number) < sent_until_then;
    assert!(tally.failed_numbers.iter().all(may_fail), "{sent_until_then} were sent: {tally:?}");
    let executed = fs::read_to_string(lab.directory.join("executed")).unwrap();
    let mut once = HashSet::new();
    let writes = executed.lines().filter(|line| line.starts_with("POST "));
    let again: Vec<_> = writes.filter(|line| !once.insert(*line)).collect();
    assert!(again.is_empty(), "executed again: {again:?}");
}
