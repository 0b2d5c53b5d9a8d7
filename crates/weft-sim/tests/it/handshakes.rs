//! How many tunnels are opened to one endpoint at a time.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

use weft_model::Protocol;
use weft_proxy::mux;
use weft_sim::{Crash, seal_server};
use weft_wire::mux::STREAMS_MAX;
use weft_wire::tunnel::{Answer, InnerProtocol, Preface, Verdict, decode, encode};
use weft_world::World;

use crate::shop::{Plan, Shop, identity, within};
use crate::talk::Line;
use crate::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The most handshakes that are under way at an endpoint.
const MOST: usize = 8;

/// Handshakes as the server's end sees them.
#[derive(Clone, Default)]
struct Seen {
    under_way: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
    all: Rc<Cell<usize>>,
}

/// Puts something that answers everything with [`OK`] in the place of the only replica's proxy. It
/// takes `delay` for a handshake, of which it counts that time only: the caller's takes longer.
async fn start_slowly(shop: &Shop, delay: Duration) -> Seen {
    start(shop, move |_| delay, Duration::ZERO).await
}

/// The same with a delay by how many handshakes there were before, and `thought` before an answer.
async fn start(
    shop: &Shop,
    delay: impl Fn(usize) -> Duration + 'static,
    thought: Duration,
) -> Seen {
    shop.sim.sleep(seconds(1)).await;
    let host = &shop.hosts[0];
    shop.sim.crash(host, Crash::Reset);
    host.restart();
    let (seen, world) = (Seen::default(), host.world());
    let mut listener = world.network.listen(shop.at(0, 15008), ListenerOptions::default()).unwrap();
    let counted = seen.clone();
    drop(host.spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let (seen, world) = (counted.clone(), world.clone());
            let delay = delay(seen.all.get());
            drop(tokio::task::spawn_local(async move {
                seen.all.set(seen.all.get() + 1);
                seen.under_way.set(seen.under_way.get() + 1);
                seen.most.set(seen.most.get().max(seen.under_way.get()));
                world.clock.sleep(delay).await;
                seen.under_way.set(seen.under_way.get() - 1);
                let hello = identity("web").to_string().into_bytes();
                let sealed = seal_server(accepted.stream, |_| Ok(hello)).await.unwrap();
                answer(&world, Line::new(world.clone(), Box::new(sealed)), thought).await;
            }));
        }
    }));
    seen
}

/// Takes the tunnel and answers what is asked in it.
async fn answer(world: &World, mut line: Line, thought: Duration) {
    let mut length = [0; 2];
    line.take(&mut length).await.unwrap();
    let mut preface = vec![0; usize::from(u16::from_be_bytes(length))];
    line.take(&mut preface).await.unwrap();
    let preface = [&length[..], &preface].concat();
    let (preface, _) = decode::<Preface>(&preface).unwrap().unwrap();
    let accepted = Answer { verdict: Verdict::Accepted.into(), ..Answer::default() };
    line.send(&encode(&accepted).unwrap()).await.unwrap();
    let serve = |stream: Box<dyn Stream>| {
        let (mut line, world) = (Line::new(world.clone(), stream), world.clone());
        async move {
            while line.request().await.is_some() {
                world.clock.sleep(thought).await;
                if line.send(OK).await.is_err() {
                    return;
                }
            }
        }
    };
    let stream = line.into_stream();
    if preface.protocol() == InnerProtocol::Opaque {
        serve(stream).await;
    } else {
        let serve = |stream| Some(serve(Box::new(stream)));
        let windows = mux::Windows::default();
        mux::server::serve(stream, &*world.clock, &windows, pending(), serve).await;
    }
}

/// Asks `count` times at once, each on a connection of its own. What was answered is counted.
async fn burst(shop: &Rc<Shop>, count: usize) -> usize {
    let call = |_| {
        let shop = shop.clone();
        tokio::task::spawn_local(async move {
            let mut line = shop.call().await;
            line.send(GET).await.unwrap();
            let answer = line.answer().await;
            usize::from(answer == Some((200, b"ok".to_vec())))
        })
    };
    let calls: Vec<_> = (0..count).map(call).collect();
    let mut answered = 0;
    for call in calls {
        answered += call.await.unwrap();
    }
    answered
}

#[test]
fn a_burst_at_an_endpoint_that_has_just_started_makes_few_handshakes_at_a_time() {
    for protocol in [Protocol::Http, Protocol::Opaque] {
        let shop = Rc::new(Shop::new(1, Plan::of(1, protocol)));
        let done = shop.sim.run(async {
            let seen = start_slowly(&shop, Duration::from_millis(200)).await;
            assert_eq!(burst(&shop, 100).await, 100, "{protocol:?}: all are answered");
            seen
        });
        let seen = done.unwrap();
        let (most, all) = (seen.most.get(), seen.all.get());
        if protocol == Protocol::Opaque {
            assert_eq!((most, all), (MOST, 100), "each has a tunnel of its own");
        } else {
            assert_eq!((most, all), (1, 1), "one tunnel carries all of them");
        }
        assert!(shop.caller.records.borrow().iter().all(|record| record.attempts == 1));
    }
}

#[test]
fn a_connection_that_comes_back_is_for_who_waits_for_another_tunnel() {
    let shop = Rc::new(Shop::new(1, Plan::http(1)));
    let done = shop.sim.run(async {
        let delay = |before: usize| if before == 0 { Duration::ZERO } else { seconds(8) };
        start(&shop, delay, seconds(1)).await;
        burst(&shop, STREAMS_MAX + 12).await
    });
    assert_eq!(done.unwrap(), STREAMS_MAX + 12);
    let records = shop.caller.records.borrow();
    let late = records.iter().filter(|record| record.duration > seconds(4)).count();
    assert!(late <= 1, "{late} have waited for a handshake, one of which has made it");
}

#[test]
fn a_burst_that_takes_long_ends_well_and_is_not_held_against_the_endpoint() {
    let shop = Rc::new(Shop::new(1, Plan::of(1, Protocol::Opaque)));
    let done = shop.sim.run(async {
        start_slowly(&shop, Duration::from_millis(200)).await;
        let began = shop.sim.now();
        assert_eq!(burst(&shop, 600).await, 600, "all are answered");
        assert!(shop.sim.now() - began > seconds(15), "some have waited for long");
    });
    done.unwrap();
    let records = shop.caller.records.borrow();
    assert_eq!(records.iter().filter(|record| record.attempts > 1).count(), 0);
    assert_eq!(records.iter().filter(|record| record.bytes_sent == 0).count(), 0);
}

#[test]
fn who_has_no_turn_for_a_long_time_is_told_so_and_it_is_not_held_against_the_endpoint() {
    let shop = Rc::new(Shop::new(1, Plan::of(1, Protocol::Opaque)));
    let done = shop.sim.run(async {
        start_slowly(&shop, seconds(9)).await;
        burst(&shop, 200).await
    });
    // Four times 30 s, in which 8 have their turn every 9 s.
    let answered = done.unwrap();
    assert!((90..=120).contains(&answered), "{answered}");
    let records = shop.caller.records.borrow();
    let unanswered: Vec<_> = records.iter().filter(|record| record.bytes_sent == 0).collect();
    assert_eq!(unanswered.len(), 200 - answered);
    assert!(unanswered.iter().all(|record| record.reason == Some("turn-timeout")));
}

#[test]
fn who_waits_for_a_handshake_learns_that_there_is_none() {
    for how in [Crash::Silent, Crash::Reset] {
        let shop = Rc::new(Shop::new(1, Plan::http(1)));
        let done = shop.sim.run(async {
            shop.sim.sleep(seconds(1)).await;
            shop.sim.crash(&shop.hosts[0], how);
            let calls = (0..100).map(|_| {
                let shop = shop.clone();
                tokio::task::spawn_local(async move {
                    let mut line = shop.call().await;
                    line.send(GET).await.unwrap();
                    assert_eq!(line.answer().await.unwrap().0, 503);
                })
            });
            let calls: Vec<_> = calls.collect();
            // Four attempts, each of which may wait for others that take 5 s, and takes as long.
            let ended = within(&shop.sim, seconds(45), async {
                for call in calls {
                    call.await.unwrap();
                }
            });
            assert!(ended.await.is_some(), "{how:?}");
        });
        done.unwrap();
        let reason = if how == Crash::Silent { "connect-timeout" } else { "connect-failed" };
        let records = shop.caller.records.borrow();
        assert!(records.iter().all(|record| record.reason == Some(reason)), "{how:?}");
    }
}
