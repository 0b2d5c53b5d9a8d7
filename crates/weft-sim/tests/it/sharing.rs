//! Connections of HTTP/2, which many requests share.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::rc::Rc;

use tokio::sync::Notify;
use weft_http::{BodySize, Fields, HeadLimits, RequestHead, ResponseHead};
use weft_model::{Protocol, Retry, RetryStatus};
use weft_proxy::h2::server;
use weft_sim::{Crash, http2};

use crate::shop::{Plan, Shop, route, together, within};
use crate::*;

/// Connections of an application of HTTP/2, and its requests.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    connections: Rc<Cell<usize>>,
    pub(crate) requests: Rc<Cell<usize>>,
}

/// An application of HTTP/2 on replica `number` that answers each request after `delay`.
pub(crate) fn serve(shop: &Shop, number: usize, delay: Duration) -> Seen {
    serve_each(shop, number, move |_| delay)
}

/// The same with a delay by how many requests have come.
pub(crate) fn serve_each(
    shop: &Shop,
    number: usize,
    delay: impl Fn(usize) -> Duration + Copy + 'static,
) -> Seen {
    serve_with(shop, number, ResponseHead::with_status(200), delay)
}

/// The same with `head` as the head of each answer.
pub(crate) fn serve_with(
    shop: &Shop,
    number: usize,
    head: ResponseHead,
    delay: impl Fn(usize) -> Duration + Copy + 'static,
) -> Seen {
    let (seen, mut listener) = (Seen::default(), shop.application(number));
    let (counted, clock) = (seen.clone(), shop.hosts[number].world().clock);
    drop(shop.hosts[number].spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            counted.connections.set(counted.connections.get() + 1);
            let server = server::Server::new(accepted.stream, clock.clone());
            let server = server.within(HeadLimits::MESH);
            let (counted, clock, head) = (counted.clone(), clock.clone(), head.clone());
            drop(tokio::task::spawn_local(async move {
                let handle = |incoming: server::Incoming| {
                    counted.requests.set(counted.requests.get() + 1);
                    let delay = delay(counted.requests.get());
                    let (clock, head) = (clock.clone(), head.clone());
                    async move {
                        let mut stream = incoming.stream;
                        clock.sleep(delay).await;
                        http2::answer(&mut stream, &head, b"", &Fields::default()).await;
                    }
                };
                server::serve(server, std::future::pending(), handle).await;
            }));
        }
    }));
    seen
}

/// What became of one request of HTTP/2 on a connection of its own: its status.
pub(crate) async fn call(shop: &Shop) -> Option<u16> {
    let head = http2::head("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    call_with(shop, &head, BodySize::None, &Fields::default()).await
}

/// The same for a request with this head, no bytes in its body, and these trailers.
pub(crate) async fn call_with(
    shop: &Shop,
    head: &RequestHead,
    size: BodySize,
    trailers: &Fields,
) -> Option<u16> {
    let client = shop.client().await;
    let answer = client.ask_with(head, size, b"", trailers).await;
    answer.ok().map(|answer| answer.head.status)
}

/// Many at once; what became of each.
pub(crate) async fn calls(shop: &Shop, count: usize) -> Vec<Option<u16>> {
    together((0..count).map(|_| call(shop))).await
}

#[test]
fn many_requests_share_few_connections() {
    let shop = Shop::new(1, Plan::of(1, Protocol::Http2));
    let (seen, statuses) = shop
        .sim
        .run(async {
            let seen = serve(&shop, 0, seconds(1));
            (seen, calls(&shop, 250).await)
        })
        .unwrap();
    assert_eq!(statuses, vec![Some(200); 250]);
    assert_eq!(seen.requests.get(), 250);
    assert!((3..=4).contains(&seen.connections.get()), "{} connections", seen.connections.get());
}

#[test]
fn all_that_wait_for_a_connection_learn_that_there_is_none() {
    for how in [Crash::Silent, Crash::Reset] {
        let shop = Shop::new(1, Plan::of(1, Protocol::Http2));
        let statuses = shop.sim.run(async {
            shop.sim.sleep(seconds(1)).await;
            shop.sim.crash(&shop.hosts[0], how);
            // Four attempts of 5 s each.
            within(&shop.sim, seconds(25), calls(&shop, 120)).await
        });
        let statuses = statuses.unwrap().expect("all have ended in time");
        assert_eq!(statuses, vec![Some(503); 120], "{how:?}");
    }
}

#[test]
fn requests_go_on_when_a_connection_says_that_it_ends() {
    let shop = Shop::new(2, Plan::of(2, Protocol::Http2));
    let done = shop.sim.run(async {
        let seen = [serve(&shop, 0, seconds(1)), serve(&shop, 1, seconds(1))];
        let draining = async {
            shop.sim.sleep(Duration::from_millis(1_500)).await;
            shop.replica(0).drain().await;
            shop.sim.crash(&shop.hosts[0], Crash::Reset);
        };
        let calling = async {
            for _ in 0..5 {
                assert_eq!(calls(&shop, 30).await, vec![Some(200); 30]);
            }
        };
        tokio::join!(biased; draining, calling);
        let requests: usize = seen.iter().map(|seen| seen.requests.get()).sum();
        assert_eq!(requests, 150, "each once");
    });
    done.unwrap();
}

#[test]
fn a_limit_on_connections_is_waited_for_and_never_for_ever() {
    let mut plan = Plan::of(2, Protocol::Http2);
    plan.traffic.limits.connections = NonZeroU32::new(1).unwrap();
    let shop = Shop::new(2, plan);
    let done = shop.sim.run(async {
        let _seen = [serve(&shop, 0, seconds(1)), serve(&shop, 1, seconds(1))];
        for _ in 0..5 {
            let statuses = within(&shop.sim, seconds(8), calls(&shop, 4)).await;
            assert_eq!(statuses.expect("none waits for ever"), vec![Some(200); 4]);
        }
    });
    done.unwrap();
}

#[test]
fn a_dead_peer_is_noticed() {
    let shop = Shop::new(1, Plan::of(1, Protocol::Http2));
    let done = shop.sim.run(async {
        let _seen = serve(&shop, 0, seconds(600));
        let calling = calls(&shop, 3);
        let dying = async {
            shop.sim.sleep(seconds(5)).await;
            shop.sim.crash(&shop.hosts[0], Crash::Silent);
        };
        within(&shop.sim, seconds(90), async { tokio::join!(biased; calling, dying).0 }).await
    });
    let statuses = done.unwrap().expect("it is taken for dead");
    assert!(statuses.iter().all(|status| matches!(status, Some(502..=503))), "{statuses:?}");
}

#[test]
fn an_exchange_of_a_shared_connection_that_stands_still_is_ended_alone() {
    let mut plan = Plan::of(1, Protocol::Http2);
    plan.traffic.timeouts.stream_idle = weft_model::TimeBound::new(seconds(60)).unwrap();
    let shop = Shop::new(1, plan);
    let done = shop.sim.run(async {
        let seen = serve_each(&shop, 0, |count| seconds(if count == 1 { 600 } else { 50 }));
        let later = async {
            shop.sim.sleep(seconds(30)).await;
            calls(&shop, 2).await
        };
        (tokio::join!(biased; call(&shop), later), seen.connections.get())
    });
    assert_eq!(done.unwrap(), ((Some(504), vec![Some(200); 2]), 1));
    let records = shop.caller.records.borrow();
    let ended: Vec<_> =
        records.iter().filter_map(|one| Some((one.reason?, one.duration))).collect();
    let [("idle-timeout", passed)] = ended[..] else { panic!("{ended:?}") };
    assert!((seconds(60)..seconds(64)).contains(&passed), "{passed:?}");
}

#[test]
fn a_grpc_call_whose_server_fails_is_sent_again_after_the_statuses_of_its_rule() {
    let shop = Shop::new(1, Plan::of(2, Protocol::Grpc));
    let statuses = [RetryStatus::new(503).unwrap()].into();
    let retry = Retry { statuses, retries_max: 1, ..Retry::default() };
    shop.registry.apply([route(|rule| rule.retry = Some(retry))], []);
    let done = shop.sim.run(async {
        let seen = serve(&shop, 1, Duration::ZERO);
        let (mut listener, clock) = (shop.application(0), shop.hosts[0].world().clock);
        let dying = shop.hosts[0].spawn(async move {
            let server = server::Server::new(listener.accept().await.unwrap().stream, clock);
            let called = Rc::new(Notify::new());
            let handle = |incoming: server::Incoming| {
                called.notify_one();
                async move {
                    let _incoming = incoming;
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                _ = server::serve(server, std::future::pending(), handle) => false,
                () = called.notified() => true,
            }
        });
        let head = http2::call_head("/shop.Web/Buy", "");
        let status = call_with(&shop, &head, BodySize::None, &Fields::default()).await;
        assert!(dying.await.unwrap(), "the test is about one that dies of a call");
        (status, seen.requests.get())
    });
    assert_eq!(done.unwrap(), (Some(200), 1));
    let records = shop.caller.records.borrow();
    assert_eq!((records[0].attempts, records[0].reason), (2, None), "{}", records[0].detail);
}
