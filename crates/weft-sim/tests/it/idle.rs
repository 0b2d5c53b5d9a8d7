//! What stands still is ended, what moves is not, and how long that takes is the backend's to say.

use weft_model::{BackendTimeouts, Protocol, TimeBound, Timeouts};
use weft_sim::SimProxy;
use weft_telemetry::Record;

use crate::changes::answer_tunnel;
use crate::shop::{Plan, Shop, route, within};
use crate::talk::{Last, Line, Talk, play};
use crate::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MINUTE: Duration = seconds(60);

fn bound(limit: Duration) -> TimeBound {
    TimeBound::new(limit).unwrap()
}

/// The timeouts of a backend whose exchanges and streams may stand still for `limit`.
fn still(limit: Duration) -> BackendTimeouts {
    BackendTimeouts { stream_idle: bound(limit), ..BackendTimeouts::default() }
}

/// One replica that speaks `protocol`, called as `timeouts` say.
fn shop(protocol: Protocol, timeouts: BackendTimeouts) -> Shop {
    let mut plan = Plan::of(1, protocol);
    plan.traffic.timeouts = timeouts;
    Shop::new(1, plan)
}

/// Has `shop` call its Service as `timeouts` say from now on.
fn change(shop: &Shop, timeouts: BackendTimeouts) {
    let traffic = weft_model::TrafficPolicy { timeouts, ..Default::default() };
    shop.registry.add_service("shop/web", "240.0.0.1", Protocol::Http, traffic);
}

/// The next connection to the application.
async fn accepted(shop: &Shop, listener: &mut dyn Listener) -> Line {
    Line::new(shop.hosts[0].world(), listener.accept().await.unwrap().stream)
}

/// The only thing that `proxy` has recorded.
fn record(proxy: &SimProxy) -> Record {
    let records = proxy.records.borrow();
    let [record] = records.as_slice() else { panic!("{} records", records.len()) };
    record.clone()
}

/// Whether `passed` is `limit`, and as much as it takes to notice it.
fn is_about(passed: Duration, limit: Duration) -> bool {
    passed >= limit && passed < limit + seconds(4)
}

#[test]
fn an_exchange_that_stands_still_is_ended_with_its_reason() {
    for in_body in [false, true] {
        let shop = shop(Protocol::Http, still(MINUTE));
        let done = shop.sim.run(async {
            let mut listener = shop.application(0);
            let mut line = shop.call().await;
            line.send(GET).await.unwrap();
            let mut application = accepted(&shop, &mut *listener).await;
            application.request().await.unwrap();
            if in_body {
                application.send(HALF).await.unwrap();
                line.expect(HALF).await.unwrap();
                line.ended().await;
            } else {
                shop.sim.sleep(MINUTE).await;
                line.expect_answer(504, "idle-timeout", Last::No).await.unwrap();
            }
            application.ended().await;
        });
        done.unwrap();
        let told = record(&shop.caller);
        assert_eq!(told.reason, Some("idle-timeout"));
        assert_eq!((told.attempts, told.bytes_sent), (1, if in_body { 2 } else { 0 }));
        assert!(is_about(told.duration, MINUTE), "{:?}", told.duration);
        assert!(told.detail.contains("60s"), "{}", told.detail);
        assert_eq!(record(&shop.replica(0)).reason, Some("client-gone"));
    }
}

#[test]
fn a_caller_that_never_completes_its_request_is_told_so() {
    let shop = shop(Protocol::Http, still(MINUTE));
    let done = shop.sim.run(async {
        let _listener = shop.application(0);
        let mut line = shop.call().await;
        line.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
        shop.sim.sleep(MINUTE).await;
        line.expect_answer(408, "idle-timeout", Last::Yes).await.unwrap();
    });
    done.unwrap();
    assert_eq!(record(&shop.caller).bytes_received, 3);
}

#[test]
fn a_byte_now_and_then_in_either_direction_keeps_an_exchange() {
    let shop = shop(Protocol::Http, still(MINUTE));
    let done = shop.sim.run(async {
        let mut listener = shop.application(0);
        let mut line = shop.call().await;
        line.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await.unwrap();
        let mut application = accepted(&shop, &mut *listener).await;
        for _ in 0..5 {
            shop.sim.sleep(seconds(50)).await;
            line.send(b"x").await.unwrap();
        }
        assert_eq!(application.request().await.unwrap().1, b"xxxxx");
        shop.sim.sleep(seconds(50)).await;
        let (head, body) = OK.split_at(OK.len() - 2);
        application.send(head).await.unwrap();
        for byte in body {
            shop.sim.sleep(seconds(50)).await;
            application.send(&[*byte]).await.unwrap();
        }
        assert_eq!(line.answer().await, Some((200, b"ok".to_vec())));
    });
    done.unwrap();
    assert_eq!(record(&shop.caller).reason, None);
}

#[test]
fn a_caller_that_does_not_read_its_answer_is_waited_for_that_long() {
    for reads in [false, true] {
        let shop = shop(Protocol::Http, still(MINUTE));
        let size = 2_000_000;
        let done = shop.sim.run(async {
            let mut listener = shop.application(0);
            let mut line = shop.call().await;
            line.send(GET).await.unwrap();
            let mut application = accepted(&shop, &mut *listener).await;
            application.request().await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
            let answer = [head.as_bytes(), &content(size)].concat();
            let sending = shop.hosts[0].spawn(async move { application.send(&answer).await });
            let mut begin = vec![0; head.len()];
            line.take(&mut begin).await.unwrap();
            let mut taken = 0;
            while reads && taken < size {
                shop.sim.sleep(seconds(50)).await;
                let mut some = vec![0; 50_000.min(size - taken)];
                line.take(&mut some).await.unwrap();
                taken += some.len();
            }
            assert_eq!(sending.await.unwrap().is_ok(), reads);
        });
        done.unwrap();
        let told = record(&shop.caller);
        assert_eq!(told.reason, (!reads).then_some("idle-timeout"));
        assert!(reads || is_about(told.duration, MINUTE), "{:?}", told.duration);
    }
}

#[test]
fn an_answer_of_the_proxy_itself_that_nobody_reads_is_not_waited_for() {
    let shop = shop(Protocol::Http, BackendTimeouts::default());
    let count = 2_000;
    let came = shop.sim.run(async {
        let mut line = shop.call().await;
        line.send(&b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(count)).await.unwrap();
        shop.sim.sleep(seconds(100)).await;
        line.rest().await
    });
    let came = String::from_utf8(came.unwrap()).unwrap();
    assert!((1..count).contains(&came.matches("bad-path").count()));
}

#[test]
fn an_opaque_stream_is_kept_by_bytes_and_ended_without() {
    let shop = shop(Protocol::Opaque, still(MINUTE));
    let done = shop.sim.run(async {
        let mut listener = shop.application(0);
        let mut line = shop.call().await;
        line.send(b"a").await.unwrap();
        let mut application = accepted(&shop, &mut *listener).await;
        application.expect(b"a").await.unwrap();
        for _ in 0..5 {
            shop.sim.sleep(seconds(50)).await;
            line.send(b"b").await.unwrap();
            application.expect(b"b").await.unwrap();
        }
        for _ in 0..5 {
            shop.sim.sleep(seconds(50)).await;
            application.send(b"c").await.unwrap();
            line.expect(b"c").await.unwrap();
        }
        let began = shop.sim.now();
        line.ended().await;
        assert!(is_about(shop.sim.now() - began, MINUTE), "{:?}", shop.sim.now() - began);
        application.ended().await;
    });
    done.unwrap();
    let told = record(&shop.caller);
    assert_eq!(told.reason, Some("idle-timeout"));
    assert_eq!((told.bytes_received, told.bytes_sent), (6, 5));
    assert_ne!(record(&shop.replica(0)).reason, Some("idle-timeout"));
}

#[test]
fn two_that_are_both_silent_from_the_start_are_ended_too() {
    for protocol in [Protocol::Opaque, Protocol::Detect] {
        let shop = shop(protocol, still(MINUTE));
        let done = shop.sim.run(async {
            let mut listener = shop.application(0);
            let mut line = shop.call().await;
            let mut application = accepted(&shop, &mut *listener).await;
            line.ended().await;
            application.ended().await;
        });
        done.unwrap();
        let told = record(&shop.caller);
        assert_eq!(told.reason, Some("idle-timeout"), "{protocol:?}");
        assert!(is_about(told.duration, MINUTE), "{:?}", told.duration);
    }
}

#[test]
fn an_hour_is_the_default_for_all() {
    let (get, ok) = ("GET / HTTP/1.1\nHost: a\n\n", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok");
    let nearly = seconds(59 * 60);
    play([
        Talk::new("a slow answer")
            .sends(get)
            .app_gets(get)
            .pause(nearly)
            .app_sends(ok)
            .gets(ok)
            .sends(get)
            .app_gets(get)
            .pause(seconds(3_600))
            .answered(504, "idle-timeout", Last::No),
        Talk::opaque("a quiet stream")
            .sends("a")
            .app_gets("a")
            .pause(nearly)
            .app_sends("b")
            .gets("b")
            .pause(nearly)
            .sends("c")
            .app_gets("c")
            .pause(seconds(3_600))
            .broken()
            .app_ended(),
    ]);
}

#[test]
fn the_server_s_proxy_heeds_what_the_backend_of_its_caller_says() {
    let hours = seconds(3 * 3_600);
    for protocol in [Protocol::Http, Protocol::Opaque] {
        let shop = shop(protocol, still(hours));
        let done = shop.sim.run(async {
            let mut listener = shop.application(0);
            let mut line = shop.call().await;
            line.send(GET).await.unwrap();
            let mut application = accepted(&shop, &mut *listener).await;
            // What the proxies tell each other is not in it.
            application.expect(GET).await.unwrap();
            shop.sim.sleep(hours - MINUTE).await;
            application.send(OK).await.unwrap();
            line.expect(OK).await.unwrap();
        });
        done.unwrap();
    }
}

#[test]
fn unused_connections_are_kept_as_long_as_the_policy_of_the_moment_says() {
    for (at_first, later) in [(10, None), (90, Some(10)), (10, Some(300))] {
        let unused =
            |limit| BackendTimeouts { idle: bound(seconds(limit)), ..BackendTimeouts::default() };
        let shop = shop(Protocol::Http, unused(at_first));
        let done = shop.sim.run(async {
            shop.sim.sleep(seconds(1)).await;
            shop.sim.crash(&shop.hosts[0], weft_sim::Crash::Reset);
            shop.hosts[0].restart();
            let (host, at) = (&shop.hosts[0], shop.at(0, 15008));
            let mut listener = host.world().network.listen(at, ListenerOptions::default()).unwrap();
            let mut line = shop.call().await;
            line.send(GET).await.unwrap();
            let mut tunnel = answer_tunnel(&mut *listener, host).await;
            assert_eq!(line.answer().await.unwrap().0, 200);
            let mut began = shop.sim.now();
            if let Some(later) = later {
                shop.sim.sleep(seconds(5)).await;
                change(&shop, unused(later));
            }
            if later == Some(300) {
                shop.sim.sleep(seconds(200)).await;
                line.send(GET).await.unwrap();
                assert!(
                    within(&shop.sim, seconds(1), tunnel.line.request()).await.is_some(),
                    "kept"
                );
                tunnel.line.send(OK).await.unwrap();
                assert_eq!(line.answer().await.unwrap().0, 200);
                began = shop.sim.now();
            }
            tunnel.ended().await;
            let (passed, limit) = (shop.sim.now() - began, seconds(later.unwrap_or(at_first)));
            assert!(is_about(passed, limit), "{passed:?} instead of {limit:?}");
        });
        done.unwrap();
    }
}

#[test]
fn connecting_takes_as_long_as_the_policy_says() {
    for protocol in [Protocol::Http, Protocol::Http2, Protocol::Opaque] {
        let connect = bound(Duration::from_millis(1_500));
        let shop = shop(protocol, BackendTimeouts { connect, ..BackendTimeouts::default() });
        let done = shop.sim.run(async {
            let mut line = shop.call().await;
            shop.sim.partition(&shop.client, &shop.hosts[0]);
            line.send(GET).await.unwrap();
            if protocol == Protocol::Opaque {
                line.ended().await;
            } else {
                line.expect_answer(503, "connect-timeout", Last::No).await.unwrap();
            }
        });
        done.unwrap();
        let told = record(&shop.caller);
        assert_eq!(told.reason, Some("connect-timeout"), "{protocol:?}");
        assert!(told.detail.contains("within 1.5s"), "{}", told.detail);
        let (passed, least) = (told.duration, connect.duration() * told.attempts);
        assert!(passed >= least && passed < least + seconds(2), "{passed:?}");
    }
}

#[test]
fn a_connection_that_was_upgraded_outlives_the_timeouts_of_its_rule() {
    let ask = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let yes: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let (half, whole) = (Duration::from_millis(500), seconds(1));
    for is_upgraded in [true, false] {
        let shop = shop(Protocol::Http, still(MINUTE));
        let timeouts = Timeouts::new(Some(bound(whole)), Some(bound(half))).unwrap();
        shop.registry.apply([route(|rule| rule.timeouts = timeouts)], []);
        let done = shop.sim.run(async {
            let mut listener = shop.application(0);
            let mut line = shop.call().await;
            line.send(ask).await.unwrap();
            let mut application = accepted(&shop, &mut *listener).await;
            application.request().await.unwrap();
            if !is_upgraded {
                line.expect_answer(504, "attempt-timeout", Last::No).await.unwrap();
                return;
            }
            application.send(yes).await.unwrap();
            line.expect(yes).await.unwrap();
            for _ in 0..5 {
                shop.sim.sleep(seconds(50)).await;
                line.send(b"there").await.unwrap();
                application.expect(b"there").await.unwrap();
                application.send(b"back").await.unwrap();
                line.expect(b"back").await.unwrap();
            }
            // It may not stand still for longer than any other stream.
            let began = shop.sim.now();
            line.ended().await;
            assert!(is_about(shop.sim.now() - began, MINUTE));
        });
        done.unwrap();
        let expected = if is_upgraded { "idle-timeout" } else { "attempt-timeout" };
        assert_eq!(record(&shop.caller).reason, Some(expected));
    }
}

#[test]
fn a_stream_without_upgrade_does_not_outlive_them() {
    let shop = shop(Protocol::Http, BackendTimeouts::default());
    let timeouts = Timeouts::new(Some(bound(seconds(10))), None).unwrap();
    shop.registry.apply([route(|rule| rule.timeouts = timeouts)], []);
    let done = shop.sim.run(async {
        let mut listener = shop.application(0);
        let mut line = shop.call().await;
        line.send(GET).await.unwrap();
        let mut application = accepted(&shop, &mut *listener).await;
        application.request().await.unwrap();
        application.send(HALF).await.unwrap();
        line.expect(HALF).await.unwrap();
        line.ended().await;
    });
    done.unwrap();
    let told = record(&shop.caller);
    assert_eq!((told.reason, told.duration), (Some("request-timeout"), seconds(10)));
}
