//! What changes while requests are under way: endpoints, policies, trust.

use std::future::{pending, ready};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weft_model::{Health, Protocol};
use weft_proxy::mux;
use weft_sim::{seal_client, seal_server};
use weft_wire::ObjectKey;
use weft_wire::tunnel::{Answer, InnerProtocol, Preface, Verdict, encode};

use crate::shop::{Plan, Shop, identity, route, shared, within};
use crate::talk::{Last, Line};
use crate::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &[u8] = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";

#[test]
fn a_request_under_way_is_not_sent_elsewhere_because_its_workload_vanishes() {
    let shop = Shop::new(1, Plan::http(2));
    let executed = shared();
    let done = shop.sim.run(async {
        shop.serve(1, &executed);
        let mut listener = shop.application(0);
        let mut line = shop.call().await;
        line.send(POST).await.unwrap();
        let accepted = listener.accept().await.unwrap().stream;
        let mut application = Line::new(shop.hosts[0].world(), accepted);
        application.request().await.unwrap();
        let key = ObjectKey::Workload("shop/web-0".parse().unwrap());
        shop.registry.apply([], [key]);
        shop.sim.sleep(seconds(1)).await;
        let _gone = application.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let answered = line.answer().await;
        assert!(executed.borrow().is_empty(), "it was executed twice");
        if let Some((status, text)) = answered {
            assert!(status != 200 || text == b"ok", "{status}");
        }
    });
    done.unwrap();
}

#[test]
fn a_port_that_vanishes_is_answered_in_proper_http() {
    let shop = Shop::new(1, Plan::http(1));
    let executed = shared();
    let done = shop.sim.run(async {
        shop.serve(0, &executed);
        let mut line = shop.call().await;
        line.send(GET).await.unwrap();
        assert_eq!(line.answer().await.unwrap().0, 200);
        let mut workload = shop.workload(0, 1);
        workload.ports.clear();
        shop.registry.add_workload(workload);
        line.send(POST).await.unwrap();
        line.expect_answer(503, "not-processed", Last::No).await.unwrap();
        let records = shop.replica(0).records;
        let told: Vec<_> = records.borrow().iter().map(|one| (one.status, one.reason)).collect();
        assert!(told.contains(&(503, Some("unknown-port"))), "{told:?}");
    });
    done.unwrap();
}

#[test]
fn a_service_that_loses_its_workloads_says_so_and_recovers() {
    let shop = Shop::new(1, Plan::http(2));
    let executed = shared();
    let done = shop.sim.run(async {
        shop.serve(0, &executed);
        shop.serve(1, &executed);
        let mut line = shop.call().await;
        line.send(GET).await.unwrap();
        assert_eq!(line.answer().await.unwrap().0, 200);
        let keys = ["shop/web-0", "shop/web-1"];
        shop.registry.apply([], keys.map(|name| ObjectKey::Workload(name.parse().unwrap())));
        line.send(GET).await.unwrap();
        line.expect_answer(503, "no-endpoint", Last::No).await.unwrap();
        shop.registry.add_workload(shop.workload(0, 1));
        line.send(GET).await.unwrap();
        assert_eq!(line.answer().await.unwrap().0, 200);
        shop.registry.apply([], [ObjectKey::Service("shop/web".parse().unwrap())]);
        line.send(GET).await.unwrap();
        line.expect_answer(503, "service-unknown", Last::No).await.unwrap();
    });
    done.unwrap();
}

#[test]
fn rules_that_lead_nowhere_say_so() {
    let shop = Shop::new(1, Plan::http(1));
    let executed = shared();
    let done = shop.sim.run(async {
        shop.serve(0, &executed);
        let mut line = shop.call().await;
        let gone = weft_model::Backend::Service {
            name: "shop/gone".parse().unwrap(),
            port: weft_sim::port(80),
        };
        shop.registry.apply([route(|rule| rule.backends[0].backend = gone)], []);
        line.send(GET).await.unwrap();
        line.expect_answer(500, "no-backend", Last::No).await.unwrap();
        let none = weft_model::Weight::new(0).unwrap();
        shop.registry.apply([route(|rule| rule.backends[0].weight = none)], []);
        line.send(GET).await.unwrap();
        line.expect_answer(503, "no-weight", Last::No).await.unwrap();
        shop.registry.apply([route(|rule| rule.backends.clear())], []);
        line.send(GET).await.unwrap();
        line.expect_answer(500, "no-backend", Last::No).await.unwrap();
        shop.registry.apply([route(|rule| rule.matches.clear())], []);
        line.send(GET).await.unwrap();
        line.expect_answer(404, "no-route", Last::No).await.unwrap();
        shop.registry.apply([route(|_| ())], []);
        line.send(GET).await.unwrap();
        assert_eq!(line.answer().await.unwrap().0, 200);
    });
    done.unwrap();
}

#[test]
fn requests_under_way_outlive_what_they_were_sent_to() {
    for change in 0..4 {
        let shop = Shop::new(change, Plan::http(2));
        let done = shop.sim.run(async {
            let mut listener = shop.application(0);
            let mut line = shop.call().await;
            line.send(GET).await.unwrap();
            let accepted = listener.accept().await.unwrap().stream;
            let mut application = Line::new(shop.hosts[0].world(), accepted);
            application.request().await.unwrap();
            let mut workload = shop.workload(0, 1);
            match change {
                0 => workload.health = Health::Draining,
                1 => workload.health = Health::Unhealthy,
                2 => workload.services.clear(),
                _ => shop.registry.apply([route(|rule| rule.backends.clear())], []),
            }
            shop.registry.add_workload(workload);
            shop.sim.sleep(seconds(1)).await;
            application.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await.unwrap();
            shop.sim.sleep(seconds(1)).await;
            application.send(b"k").await.unwrap();
            assert_eq!(line.answer().await, Some((200, b"ok".to_vec())), "change {change}");
        });
        done.unwrap();
    }
}

/// A tunnel that a test has taken in place of a proxy, and the first stream in it.
pub(crate) struct Taken {
    pub(crate) line: Line,
    serving: JoinHandle<()>,
}

impl Taken {
    /// Waits for the end of the tunnel.
    pub(crate) async fn ended(&mut self) {
        self.line.ended().await;
        (&mut self.serving).await.unwrap();
    }
}

/// Takes a tunnel in place of a proxy, and answers its first request.
pub(crate) async fn answer_tunnel(listener: &mut dyn Listener, host: &Host) -> Taken {
    let socket = listener.accept().await.unwrap().stream;
    let hello = identity("web").to_string().into_bytes();
    let sealed = seal_server(socket, |_| Ok(hello)).await.unwrap();
    let (world, (opened, mut streams)) = (host.world(), mpsc::channel(1));
    let mut line = Line::new(world.clone(), Box::new(sealed));
    let mut length = [0; 2];
    line.take(&mut length).await.unwrap();
    let mut preface = vec![0; usize::from(u16::from_be_bytes(length))];
    line.take(&mut preface).await.unwrap();
    let accepted = Answer { verdict: Verdict::Accepted.into(), ..Answer::default() };
    line.send(&encode(&accepted).unwrap()).await.unwrap();
    let clock = world.clock.clone();
    let serving = tokio::task::spawn_local(async move {
        let hand_on = |stream| {
            opened.try_send(stream).unwrap_or_else(|_| panic!("more than one stream"));
            Some(ready(()))
        };
        let (stream, windows) = (line.into_stream(), mux::Windows::default());
        mux::server::serve(stream, &*clock, &windows, pending(), hand_on).await;
    });
    let mut line = Line::new(world, Box::new(streams.recv().await.unwrap()));
    line.request().await.unwrap();
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    Taken { line, serving }
}

#[test]
fn connections_to_an_endpoint_that_is_gone_are_closed_though_nobody_calls() {
    // The caller's own connection stays, idle, for a quarter of an hour.
    for is_replaced in [false, true] {
        let shop = Shop::new(1, Plan::http(1));
        let done = shop.sim.run(async {
            shop.sim.sleep(seconds(1)).await;
            shop.sim.crash(&shop.hosts[0], weft_sim::Crash::Reset);
            shop.hosts[0].restart();
            let host = &shop.hosts[0];
            let network = host.world().network;
            let mut listener =
                network.listen(shop.at(0, 15008), ListenerOptions::default()).unwrap();
            let mut caller = shop.call().await;
            caller.send(GET).await.unwrap();
            let mut tunnel = answer_tunnel(&mut *listener, host).await;
            assert_eq!(caller.answer().await.unwrap().0, 200);
            if is_replaced {
                // The same address, but another instance.
                shop.registry.add_workload(shop.workload(0, 2));
            } else {
                let key = ObjectKey::Workload("shop/web-0".parse().unwrap());
                shop.registry.apply([], [key]);
            }
            let ended = within(&shop.sim, seconds(5), tunnel.ended()).await;
            assert!(ended.is_some(), "replaced: {is_replaced}");
        });
        done.unwrap();
    }
}

#[test]
fn a_storm_of_changes_neither_starves_nor_breaks_what_is_under_way() {
    let shop = Shop::new(1, Plan::http(3));
    let executed = shared();
    let done = shop.sim.run(async {
        for number in 0..3 {
            shop.serve(number, &executed);
        }
        let storm = async {
            for round in 0..2_000u32 {
                let number = usize::try_from(round % 3).unwrap();
                let mut workload = shop.workload(number, 1);
                workload.health = match round % 5 {
                    0 => Health::Unhealthy,
                    _ => Health::Healthy,
                };
                shop.registry.add_workload(workload);
                shop.sim.sleep(Duration::from_micros(100)).await;
            }
        };
        let calls = async {
            let mut line = shop.call().await;
            for _ in 0..100 {
                line.send(POST).await.unwrap();
                assert_eq!(line.answer().await.unwrap().0, 200);
            }
        };
        tokio::join!(biased; storm, calls);
    });
    done.unwrap();
    assert_eq!(executed.borrow().len(), 100);
}

#[test]
fn a_revocation_closes_what_is_of_the_revoked_and_nothing_else() {
    let shop = Shop::new(1, Plan::http(1));
    let done = shop.sim.run(async {
        let mut listener = shop.application(0);
        let mut line = shop.call().await;
        line.send(GET).await.unwrap();
        let accepted = listener.accept().await.unwrap().stream;
        let mut application = Line::new(shop.hosts[0].world(), accepted);
        application.request().await.unwrap();
        application.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab").await.unwrap();
        let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab";
        line.expect(begun).await.unwrap();
        shop.revoked.borrow_mut().insert(identity("other"));
        shop.registry.add_workload(shop.workload(0, 1));
        let other = within(&shop.sim, seconds(2), line.ended()).await;
        assert!(other.is_none(), "it was another one that was revoked");
        shop.revoked.borrow_mut().insert(identity("client"));
        // The server's proxy learns of it by a change of its own.
        shop.registry.add_workload(shop.workload(0, 1));
        let mut changed = shop.workload(0, 1);
        changed.health = Health::Unhealthy;
        shop.registry.add_workload(changed);
        assert!(within(&shop.sim, seconds(1), application.ended()).await.is_some());
        assert!(within(&shop.sim, seconds(1), line.ended()).await.is_some());
    });
    done.unwrap();
    let records = shop.replica(0).records;
    let reasons: Vec<_> = records.borrow().iter().filter_map(|record| record.reason).collect();
    assert!(reasons.contains(&"peer-revoked"), "{reasons:?}");
}

/// Revokes the identity of `name`, and has both proxies learn of it.
fn revoke(shop: &Shop, name: &str) {
    shop.revoked.borrow_mut().insert(identity(name));
    let mut changed = shop.workload(0, 1);
    changed.health = Health::Unhealthy;
    shop.registry.add_workload(changed);
}

/// Whether replica 0 or the caller's proxy has recorded something for `reason`.
fn has_recorded(shop: &Shop, reason: &str) -> bool {
    let (here, there) = (shop.caller.records.borrow(), shop.replica(0).records);
    let there = there.borrow();
    here.iter().chain(&*there).any(|record| record.reason == Some(reason))
}

#[test]
fn a_peer_that_is_revoked_before_it_says_what_for_gets_nothing() {
    let shop = Shop::new(1, Plan::of(1, Protocol::Opaque));
    let done = shop.sim.run(async {
        let mut listener = shop.application(0);
        shop.sim.sleep(seconds(1)).await;
        let world = shop.client.world();
        let socket = world.network.connect(shop.at(0, 15008)).await.unwrap();
        let hello = identity("client").to_string().into_bytes();
        let sealed = seal_client(socket, &hello).await.unwrap();
        let mut line = Line::new(world, Box::new(sealed));
        shop.sim.sleep(seconds(1)).await;
        revoke(&shop, "client");
        shop.sim.sleep(seconds(1)).await;
        let preface = Preface {
            workload: "shop/web-0".to_owned(),
            generation: 1,
            service: String::new(),
            target_address: Vec::new(),
            target_port: 80,
            protocol: InnerProtocol::Opaque.into(),
            idle_ms: 0,
        };
        line.send(&[&encode(&preface).unwrap()[..], b"hello"].concat()).await.unwrap();
        let called = within(&shop.sim, seconds(5), listener.accept()).await;
        assert!(called.is_none(), "it reached the application");
        assert!(within(&shop.sim, seconds(5), line.ended()).await.is_some(), "it goes on");
    });
    done.unwrap();
    assert!(has_recorded(&shop, "peer-revoked"));
}

#[test]
fn a_server_that_is_revoked_while_its_caller_is_silent_gets_nothing() {
    let shop = Shop::new(1, Plan::of(1, Protocol::Detect));
    let done = shop.sim.run(async {
        let mut listener = shop.application(0);
        let mut line = shop.call().await;
        // It is called to see whether it speaks first.
        let accepted = listener.accept().await.unwrap().stream;
        let mut application = Line::new(shop.hosts[0].world(), accepted);
        shop.sim.sleep(seconds(1)).await;
        revoke(&shop, "web");
        shop.sim.sleep(seconds(1)).await;
        line.send(b"hello\r\n").await.unwrap();
        assert!(application.rest().await.is_empty(), "it got what was not for it any more");
        assert!(within(&shop.sim, seconds(5), line.ended()).await.is_some(), "it goes on");
    });
    done.unwrap();
    assert!(has_recorded(&shop, "peer-revoked"));
}

#[test]
fn what_is_forbidden_while_the_application_is_called_gets_no_byte_to_it() {
    for (is_revoked, reason) in [(true, "peer-revoked"), (false, "policy-changed")] {
        let shop = Shop::new(1, Plan::of(1, Protocol::Opaque));
        let done = shop.sim.run(async {
            let mut listener = shop.application(0);
            let host = &shop.hosts[0];
            // Nothing arrives there until this is mended.
            shop.sim.partition(host, host);
            let mut line = shop.call().await;
            line.send(b"hello").await.unwrap();
            shop.sim.sleep(seconds(1)).await;
            if is_revoked {
                revoke(&shop, "client");
            } else {
                let mut changed = shop.workload(0, 1);
                changed.ports.clear();
                shop.registry.add_workload(changed);
            }
            shop.sim.sleep(seconds(1)).await;
            shop.sim.heal(host, host);
            if let Some(accepted) = within(&shop.sim, seconds(20), listener.accept()).await {
                let mut application = Line::new(host.world(), accepted.unwrap().stream);
                assert!(application.rest().await.is_empty(), "{reason}");
            }
            assert!(within(&shop.sim, seconds(5), line.ended()).await.is_some(), "it goes on");
        });
        done.unwrap();
        assert!(has_recorded(&shop, reason), "{reason}");
    }
}
