//! Tunnels in steady use are replaced when they are old, and nobody notices.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use weft_model::{Protocol, TimeBound};
use weft_sim::port;
use weft_world::UnixTime;

use crate::sharing;
use crate::shop::{Plan, Shop, identity};
use crate::talk::Line;
use crate::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MINUTE: Duration = seconds(60);
const PAUSE: Duration = seconds(10);

/// How long a tunnel is in steady use: two tunnels cannot do it.
const STEADY: Duration = seconds(155 * 60);

/// How long the one request takes that is longer than any tunnel's age.
const LONG: Duration = seconds(3 * 3_600);

/// A replica that speaks `protocol`, whose exchanges may stand still for as long as it takes.
fn shop(protocol: Protocol) -> Shop {
    let mut plan = Plan::of(1, protocol);
    plan.traffic.timeouts.stream_idle = TimeBound::new(LONG * 2).unwrap();
    Shop::new(1, plan)
}

/// An application of HTTP/1.1 that takes [`LONG`] for its first request, and no time for others.
fn serve(shop: &Shop) {
    let mut listener = shop.application(0);
    let world = shop.hosts[0].world();
    drop(shop.hosts[0].spawn(async move {
        let mut is_first = true;
        while let Ok(accepted) = listener.accept().await {
            let (world, is_long) = (world.clone(), std::mem::take(&mut is_first));
            drop(tokio::task::spawn_local(async move {
                let mut line = Line::new(world.clone(), accepted.stream);
                while line.request().await.is_some() {
                    if is_long {
                        world.clock.sleep(LONG).await;
                    }
                    if line.send(OK).await.is_err() {
                        return;
                    }
                }
            }));
        }
    }));
}

/// What came through each tunnel: how many requests, and when the first one and the last one began.
fn tunnels(shop: &Shop) -> Vec<(usize, Duration)> {
    let (proxy, mut tunnels) = (shop.replica(0), BTreeMap::new());
    for record in proxy.records.borrow().iter() {
        assert_eq!((record.status, record.reason), (200, None));
        let began = record.started.0;
        let (count, first, last) = tunnels.entry(record.downstream).or_insert((0, began, began));
        (*count, *first, *last) = (*count + 1, began.min(*first), began.max(*last));
    }
    tunnels.into_values().map(|(count, first, last)| (count, last - first)).collect()
}

/// That nothing failed, none of the tunnels was used for too long, and none was given up early.
fn expect_renewal(shop: &Shop) {
    let records = shop.caller.records.borrow();
    assert!(records.iter().all(|record| record.reason.is_none() && record.attempts == 1));
    let tunnels = tunnels(shop);
    assert!((3..=4).contains(&tunnels.len()), "{tunnels:?}");
    let oldest = MINUTE * 75 + PAUSE;
    let requests: usize = tunnels.iter().map(|(count, _)| count).sum();
    assert!(tunnels.iter().all(|(_, used)| *used <= oldest), "{tunnels:?}");
    let full = tunnels.iter().filter(|(_, used)| *used >= MINUTE * 45 - PAUSE).count();
    assert!(full >= 2, "{tunnels:?}");
    assert_eq!(records.len(), requests, "each was sent once");
}

#[test]
fn a_tunnel_of_http1_is_replaced_between_two_requests() {
    let shop = shop(Protocol::Http);
    let done = shop.sim.run(async {
        serve(&shop);
        let long = async {
            let mut line = shop.call().await;
            line.send(GET).await.unwrap();
            shop.sim.sleep(LONG - MINUTE).await;
            assert_eq!(line.answer().await, Some((200, b"ok".to_vec())));
        };
        let steady = async {
            shop.sim.sleep(seconds(1)).await;
            let mut line = shop.call().await;
            while shop.sim.now() < STEADY {
                line.send(GET).await.unwrap();
                assert_eq!(line.answer().await, Some((200, b"ok".to_vec())));
                shop.sim.sleep(PAUSE).await;
            }
        };
        tokio::join!(biased; long, steady);
    });
    done.unwrap();
    // The long one shares the first tunnel with others.
    expect_renewal(&shop);
}

#[test]
fn a_tunnel_of_http2_takes_no_more_requests_and_ends_with_its_last_one() {
    let shop = shop(Protocol::Http2);
    let done = shop.sim.run(async {
        let take = |count| if count == 1 { LONG } else { Duration::ZERO };
        let seen = sharing::serve_each(&shop, 0, take);
        let steady = async {
            shop.sim.sleep(seconds(1)).await;
            while shop.sim.now() < STEADY {
                assert_eq!(sharing::call(&shop).await, Some(200));
                shop.sim.sleep(PAUSE).await;
            }
        };
        let (long, ()) = tokio::join!(biased; sharing::call(&shop), steady);
        assert_eq!(long, Some(200), "it went on");
        seen
    });
    done.unwrap();
    expect_renewal(&shop);
}

/// Two connections at most, one of them with a request that takes [`LONG`], and more requests than
/// the other has room for, once that is old: how many tunnels there are then at most, and what
/// became of the requests.
fn ask_beside_a_long_one(connections: u32, count: usize) -> (usize, Vec<Option<u16>>) {
    let mut plan = Plan::of(1, Protocol::Http2);
    plan.traffic.timeouts.stream_idle = TimeBound::new(LONG * 2).unwrap();
    plan.traffic.limits.connections = NonZeroU32::new(connections).unwrap();
    let shop = Shop::new(1, plan);
    let done = shop.sim.run(async {
        let take = |number| if number == 1 { LONG } else { MINUTE };
        let _seen = sharing::serve_each(&shop, 0, take);
        let later = async {
            shop.sim.sleep(MINUTE * 80).await;
            sharing::calls(&shop, count).await
        };
        tokio::join!(biased; sharing::call(&shop), later)
    });
    let (long, statuses) = done.unwrap();
    assert_eq!(long, Some(200), "it went on");
    (tunnels(&shop).len(), statuses)
}

#[test]
fn a_tunnel_that_takes_nothing_new_counts_until_its_last_request_has_ended() {
    let (tunnels, statuses) = ask_beside_a_long_one(2, 150);
    assert_eq!((tunnels, statuses), (2, vec![Some(200); 150]), "the others waited for room");
    // Nor may it keep all others waiting where there is no room for another tunnel.
    let (tunnels, statuses) = ask_beside_a_long_one(1, 10);
    assert_eq!((tunnels, statuses), (1, vec![Some(200); 10]));
}

/// What became of a request on a connection of its own, whose answer is looked for after `pause`:
/// its status.
async fn ask(shop: &Shop, protocol: Protocol, pause: Duration) -> Option<u16> {
    if protocol == Protocol::Http2 {
        return sharing::call(shop).await;
    }
    let mut line = shop.call().await;
    line.send(GET).await.unwrap();
    shop.sim.sleep(pause).await;
    line.answer().await.map(|(status, _)| status)
}

/// Has both proxies judge all that lives.
async fn change(shop: &Shop) {
    let mut changed = shop.workload(0, 1);
    let own = changed.ports[&port(80)];
    changed.ports.insert(port(81), own);
    for workload in [changed, shop.workload(0, 1)] {
        shop.registry.add_workload(workload);
        shop.sim.sleep(seconds(1)).await;
    }
}

#[test]
fn a_tunnel_lives_out_its_age_after_a_certificate_has_expired_and_no_other_is_opened() {
    for (protocol, expired, refused) in [
        (Protocol::Http, "web", "handshake-failed"),
        (Protocol::Http, "client", "connect-failed"),
        (Protocol::Http2, "web", "handshake-failed"),
        // Its proxy does not wait for the word that the tunnel was accepted.
        (Protocol::Http2, "client", "upstream-closed"),
    ] {
        let what = format!("{protocol:?}, {expired}");
        let shop = shop(protocol);
        let ends = &shop.certificates.ends;
        let begun = shop.client.world().clock.wall();
        ends.borrow_mut().insert(identity(expired), UnixTime(begun.0 + MINUTE));
        let done = shop.sim.run(async {
            if protocol == Protocol::Http2 {
                let take = |count| if count == 1 { LONG } else { Duration::ZERO };
                let _seen = sharing::serve_each(&shop, 0, take);
            } else {
                serve(&shop);
            }
            let steady = async {
                shop.sim.sleep(seconds(1)).await;
                for round in 0..250 {
                    assert_eq!(ask(&shop, protocol, Duration::ZERO).await, Some(200), "{what}");
                    shop.sim.sleep(PAUSE).await;
                    if round == 20 {
                        change(&shop).await;
                    }
                }
                shop.sim.sleep(MINUTE * 35).await;
                let status = ask(&shop, protocol, Duration::ZERO).await;
                assert!(matches!(status, Some(502 | 503)), "{what}: {status:?}");
                change(&shop).await;
                // A new certificate.
                ends.borrow_mut().clear();
                assert_eq!(ask(&shop, protocol, Duration::ZERO).await, Some(200), "{what}");
            };
            let (long, ()) = tokio::join!(biased; ask(&shop, protocol, LONG - MINUTE), steady);
            assert_eq!(long, Some(200), "{what}: what was under way went on");
        });
        done.unwrap();
        let records = shop.caller.records.borrow();
        let reasons: Vec<_> = records.iter().filter_map(|record| record.reason).collect();
        assert_eq!(reasons, [refused], "{what}");
    }
}
