//! The control plane is away for a minute, while every proxy is restarted.

use std::time::Duration;

use crate::app::{App, Executed};
use crate::lab::{Lab, PortSpec, Proxy, Spec, now, since, wait_until, wait_within};
use crate::load::{Kind, Load, more};

/// How long the control plane is away.
const OUTAGE: Duration = Duration::from_secs(60);

/// Requests a second of each load. There are few, since other tests run beside this one.
const RATE: u32 = 30;

/// The longest time that an endpoint is left out.
const LEFT_OUT: Duration = Duration::from_secs(300);

/// The ports of the Service, and what is spoken there.
const PORTS: [(u16, &str); 3] = [(80, "http"), (81, "http2"), (82, "grpc")];

/// What is sent to each of them where nothing may fail.
const ALL: [Kind; 3] = [Kind::Http1, Kind::Http2, Kind::Grpc];

/// What is sent where a proxy is killed. What was under way there may have been processed: only
/// what may be repeated can be hidden from the caller then, and no call of gRPC may.
const REPEATED: [Kind; 2] = [Kind::Http1Get, Kind::Http2Get];

/// Failures of requests that may be sent twice are hidden from callers.
fn retries() -> String {
    let route = |(port, _)| {
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: cart-{port}, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: cart, port: {port} }}]
  rules:
  - backendRefs: [{{ name: cart, port: {port} }}]
    retry: {{ attempts: 2, backoff: 1ms }}
"
        )
    };
    PORTS.map(route).join("---")
}

/// How a proxy is ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Terminated,
    Killed,
}

impl End {
    fn of(self, proxy: &mut Proxy) {
        match self {
            End::Terminated => proxy.terminate(),
            End::Killed => proxy.kill(),
        }
    }
}

/// Load of callers that retry nothing, of each of `kinds` on new connections.
fn start(caller: &Proxy, kinds: &[Kind]) -> Vec<Load> {
    let loads = caller.addresses.iter().zip(kinds);
    loads.map(|(address, kind)| Load::start(*address, *kind, RATE)).collect()
}

/// Restarts `proxy`, which is one of two replicas, under load.
fn restart_replica(caller: &Proxy, name: &str, proxy: &mut Proxy, end: End) {
    let loads = match end {
        End::Terminated => start(caller, &ALL),
        End::Killed => start(caller, &REPEATED),
    };
    more(&loads, 20);
    end.of(proxy);
    // The other one has all of it now.
    for (alone, load) in more(&loads, 20).iter().zip(&loads) {
        assert_eq!(alone.failed, 0, "{name}, {end:?}: {}", load.tally().failures.join("\n"));
    }
    proxy.start_again();
    for load in loads {
        let before = load.tally();
        // Five requests that were under way when it ended are five failures in a row, for which it
        // is left out for a while, and for longer the next time.
        wait_within(LEFT_OUT, &format!("{name}, {end:?}, answers again"), || {
            load.tally().since(&before).by(name) > 0
        });
        load.end_whole();
    }
}

/// Restarts the proxy of a caller under load of the other caller: that does not notice, and once
/// the proxy listens again, nothing fails there either.
fn restart_caller(other: &Proxy, proxy: &mut Proxy, end: End) {
    let beside = start(other, &ALL);
    more(&beside, 5);
    end.of(proxy);
    proxy.start_again();
    let loads = start(proxy, &ALL);
    more(&loads, 20);
    more(&beside, 5);
    loads.into_iter().chain(beside).for_each(|load| drop(load.end_whole()));
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
        let port = |(service_port, protocol)| PortSpec {
            port: 8000 + service_port,
            service_port,
            protocol: Some(protocol),
            application: app.address,
        };
        let mut proxy = lab.proxy(&Spec {
            name,
            account: "shop/cart",
            services: &["shop/cart"],
            ports: PORTS.map(port).into(),
            ..Spec::default()
        });
        proxy.keep_listeners();
        (name, app, proxy)
    });
    lab.apply(&retries());
    let calls = &PORTS.map(|(port, _)| ("shop/cart", port));
    let mut callers = ["web-1", "web-2"].map(|name| {
        let mut proxy = lab.proxy(&Spec { name, account: "shop/web", calls, ..Spec::default() });
        proxy.keep_listeners();
        proxy
    });
    let steady = start(&callers[0], &REPEATED);
    wait_until("both replicas are called", || {
        let by = |name| steady.iter().all(|load| load.tally().by(name) > 0);
        replicas.iter().all(|(name, ..)| by(name))
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
            let [other, restarted] = &mut callers;
            restart_replica(other, name, proxy, end);
            restart_caller(other, restarted, end);
        }
        rounds += 1;
    }
    eprintln!("{rounds} rounds of restarts without a control plane");

    lab.start_control();
    lab.apply(DENY);
    let took = wait_within(Duration::from_secs(60), "a change arrives everywhere", || {
        let denied = |proxy: &Proxy| {
            start(proxy, &REPEATED).into_iter().all(|load| {
                wait_until("some answers", || load.tally().failed + load.tally().answered() >= 10);
                load.end().answered() == 0
            })
        };
        callers.iter().all(denied)
    });
    eprintln!("the change was in force everywhere within {took:?} after the return");
    // What failed since then was denied, also where it was under way, and nothing else.
    for tally in steady.into_iter().map(Load::end) {
        let mut other = tally.failures;
        other.retain(|why| !(why.contains("(deny-rule)") || why.contains("(policy-changed)")));
        assert!(other.is_empty(), "{other:?}");
    }
    assert_eq!(executed.repeated_writes(), Vec::<String>::new());
}
