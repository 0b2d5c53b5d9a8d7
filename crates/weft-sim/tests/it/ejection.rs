//! Endpoints that are worse than their peers, and which of them are left out for it.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::rc::Rc;

use weft_model::{Protocol, Ratio};

use crate::shop::{Plan, Shop, shared};
use crate::talk::Line;
use crate::*;

/// What a replica answers to its requests, by their numbers: a status, after a time.
type Answer = fn(usize) -> (u16, Duration);

/// How many requests each replica has got.
type Counts = Rc<RefCell<Vec<usize>>>;

const PAUSE: Duration = Duration::from_millis(50);

/// Has the application of replica `number` answer as `answer` says.
fn answer_with(shop: &Shop, number: usize, counts: &Counts, answer: Answer) {
    let (mut listener, world) = (shop.application(number), shop.hosts[number].world());
    let counts = counts.clone();
    drop(shop.hosts[number].spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let mut line = Line::new(world.clone(), accepted.stream);
            let (world, counts) = (world.clone(), counts.clone());
            drop(tokio::task::spawn_local(async move {
                while line.request().await.is_some() {
                    counts.borrow_mut()[number] += 1;
                    let (status, after) = answer(counts.borrow()[number]);
                    world.clock.sleep(after).await;
                    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
                    if line.send(head.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }));
        }
    }));
}

/// Replicas, each of which answers as `answers` says of it, by the number of the request.
fn shop(plan: Plan, answers: &[Answer]) -> (Shop, Counts) {
    let shop = Shop::new(1, plan);
    let counts: Counts = shared();
    counts.borrow_mut().resize(answers.len(), 0);
    for (number, answer) in answers.iter().enumerate() {
        answer_with(&shop, number, &counts, *answer);
    }
    (shop, counts)
}

/// Asks for `time`, and says how many requests each replica has got meanwhile.
async fn ask_for(shop: &Shop, counts: &Counts, time: Duration) -> Vec<usize> {
    counts.borrow_mut().fill(0);
    let until = shop.client.world().clock.now() + time;
    while shop.client.world().clock.now() < until {
        let mut line = shop.call().await;
        line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        line.answer().await.unwrap();
        shop.sim.sleep(PAUSE).await;
    }
    counts.borrow().clone()
}

const GOOD: Answer = |_| (200, Duration::from_millis(1));
/// Fails for a third of its requests, never twice in a row.
const FLAKY: Answer = |number| (if number % 3 == 0 { 500 } else { 200 }, Duration::from_millis(1));
const SLOW: Answer = |_| (200, Duration::from_millis(80));
const FORBIDS: Answer = |number| ([403, 429][number % 2], Duration::from_millis(1));

fn plan(replicas: usize) -> Plan {
    let mut plan = Plan::of(replicas, Protocol::Http);
    plan.traffic.ejection.peers.latency = Ratio::from_thousandths(3_000);
    // Where one is slow, each gets some forty in an interval.
    plan.traffic.ejection.peers.requests_min = NonZeroU32::new(30).unwrap();
    plan
}

#[test]
fn one_that_fails_more_often_than_its_peers_is_left_out_and_tried_again() {
    let (shop, counts) = shop(plan(3), &[GOOD, FLAKY, GOOD]);
    let done = shop.sim.run(async {
        let [.., flaky, _] = ask_for(&shop, &counts, seconds(12)).await[..] else { panic!() };
        assert!(flaky >= 50, "{flaky}");
        let without = ask_for(&shop, &counts, seconds(25)).await;
        assert_eq!(without[1], 0, "{without:?}");
        // It is back after half a minute, fails as before, and is left out for longer.
        let again = ask_for(&shop, &counts, seconds(20)).await;
        assert!(again[1] > 30, "{again:?}");
        let without = ask_for(&shop, &counts, seconds(25)).await;
        assert_eq!(without[1], 0, "{without:?}");
    });
    done.unwrap();
}

#[test]
fn one_that_is_slower_than_its_peers_is_left_out_where_that_is_asked_for() {
    for is_asked in [true, false] {
        let mut plan = plan(3);
        if !is_asked {
            plan.traffic.ejection.peers.latency = None;
        }
        let (shop, counts) = shop(plan, &[GOOD, GOOD, SLOW]);
        let done = shop.sim.run(async {
            ask_for(&shop, &counts, seconds(25)).await;
            ask_for(&shop, &counts, seconds(15)).await
        });
        assert_eq!(done.unwrap()[2] == 0, is_asked);
    }
}

#[test]
fn what_says_that_a_request_is_at_fault_is_no_failure() {
    let (shop, counts) = shop(plan(3), &[GOOD, FORBIDS, GOOD]);
    let done = shop.sim.run(async {
        ask_for(&shop, &counts, seconds(12)).await;
        ask_for(&shop, &counts, seconds(12)).await
    });
    let counts = done.unwrap();
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

#[test]
fn what_is_wrong_with_most_is_no_endpoint_s_own_fault() {
    let (shop, counts) = shop(plan(4), &[FLAKY, FLAKY, GOOD, FLAKY]);
    let done = shop.sim.run(async {
        ask_for(&shop, &counts, seconds(12)).await;
        ask_for(&shop, &counts, seconds(12)).await
    });
    let counts = done.unwrap();
    assert!(counts.iter().all(|count| *count > 40), "{counts:?}");
}
