//! The control plane is away for a minute, while every proxy is restarted.

use std::time::Duration;

use crate::app::{App, Executed};
use crate::killed::RETRIES;
use crate::lab::{Lab, Proxy, now, since, wait_until, wait_within};
use crate::load::{Kind, Load};

/// How long the control plane is away.
const OUTAGE: Duration = Duration::from_secs(60);

/// Requests a second. There are few, since other tests run beside this one.
const RATE: u32 = 50;

/// The longest time that an endpoint is left out.
const LEFT_OUT: Duration = Duration::from_secs(300);

/// How a proxy is ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Terminated,
    Killed,
}

/// Restarts `proxy`, which is one of two replicas, under load of callers that retry nothing.
fn restart_replica(caller: &Proxy, name: &str, proxy: &mut Proxy, end: End) {
    // What was under way at a proxy that is killed may have been processed: only what may be
    // repeated can be hidden from the caller then.
    let kind = match end {
        End::Terminated => Kind::Http1,
        End::Killed => Kind::Http1Get,
    };
    let load = Load::start(caller.addresses[0], kind, RATE);
    load.more(20);
    match end {
        End::Terminated => proxy.terminate(),
        End::Killed => proxy.kill(),
    }
    // The other one has all of it now.
    let alone = load.more(20);
    assert_eq!(alone.failed, 0, "{name}, {end:?}: {}", load.tally().failures.join("\n"));
    proxy.start_again();
    let before = load.tally();
    // Five requests that were under way when it ended are five failures in a row, for which it is
    // left out for a while, and for longer the next time.
    wait_within(LEFT_OUT, &format!("{name}, {end:?}, answers again"), || {
        load.tally().since(&before).by(name) > 0
    });
    load.end_whole();
}

/// Restarts the proxy of a caller: once it listens again, nothing fails.
fn restart_caller(proxy: &mut Proxy, end: End) {
    match end {
        End::Terminated => proxy.terminate(),
        End::Killed => proxy.kill(),
    }
    proxy.start_again();
    let load = Load::start(proxy.addresses[0], Kind::Http1, RATE);
    load.more(20);
    load.end_whole();
}

const DENY: &str = "
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: closed, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: cart }]
  deny: [{ to: [{ paths: [/things] }] }]
";

#[test]
fn a_minute_without_the_control_plane_costs_nothing_while_all_proxies_restart() {
    let lab = Lab::new();
    let executed = Executed::default();
    let mut replicas = ["cart-1", "cart-2"].map(|name| {
        let app = App::start(name, &executed);
        let mut proxy = lab.replica(name, Some("http"), &app);
        proxy.keep_listeners();
        (name, app, proxy)
    });
    lab.apply(RETRIES);
    let mut callers = ["web-1", "web-2"].map(|name| {
        let mut proxy = lab.caller(name);
        proxy.keep_listeners();
        proxy
    });
    let steady = Load::start(callers[0].addresses[0], Kind::Http1Get, RATE);
    wait_until("both replicas are called", || {
        replicas.iter().all(|(name, ..)| steady.tally().by(name) > 0)
    });

    lab.kill_control();
    let away = now();
    let mut rounds = 0;
    while since(away) < OUTAGE {
        let ends = if rounds % 2 == 0 {
            [End::Terminated, End::Killed]
        } else {
            [End::Killed, End::Terminated]
        };
        for ((name, _, proxy), end) in replicas.iter_mut().zip(ends) {
            restart_replica(&callers[0], name, proxy, end);
            restart_caller(&mut callers[1], end);
        }
        rounds += 1;
    }
    eprintln!("{rounds} rounds of restarts without a control plane");

    lab.start_control();
    lab.apply(DENY);
    let took = wait_within(Duration::from_secs(60), "a change arrives everywhere", || {
        let denied = |proxy: &Proxy| {
            let load = Load::start(proxy.addresses[0], Kind::Http1Get, RATE);
            wait_until("some answers", || load.tally().failed + load.tally().answered() >= 10);
            load.end().answered() == 0
        };
        callers.iter().all(denied)
    });
    eprintln!("the change was in force everywhere within {took:?} after the return");
    // What failed since then was denied, and nothing else.
    let tally = steady.end();
    let other: Vec<_> = tally.failures.iter().filter(|why| !why.contains("(deny-rule)")).collect();
    assert!(other.is_empty(), "{other:?}");
    assert_eq!(executed.repeated_writes(), Vec::<String>::new());
}
