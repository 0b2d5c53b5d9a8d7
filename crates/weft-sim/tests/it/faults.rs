//! Faults that are put in on purpose, by the clock.

use weft_model::{
    Abort, AbortStatus, AbortWith, Delay, Fault, Percent, Protocol, TimeBound, Timeouts,
};
use weft_sim::http2;

use crate::shop::{Executed, Plan, Shop, route, together, within};
use crate::*;

const ALL: Percent = Percent::new(100).unwrap();

fn bound(millis: u64) -> TimeBound {
    TimeBound::from_millis(millis).unwrap()
}

/// One that holds all requests for two seconds, as many at a time as `active_max` says.
fn slow(active_max: u32) -> Fault {
    Fault {
        policy: "shop/slow".parse().unwrap(),
        headers: vec![],
        delay: Some(Delay { percent: ALL, time: bound(2_000) }),
        abort: None,
        active_max: active_max.try_into().unwrap(),
    }
}

fn shop(fault: Fault, timeouts: Timeouts) -> (Shop, Executed) {
    let shop = Shop::new(1, Plan::of(1, Protocol::Http));
    shop.registry.apply(
        [route(|rule| {
            rule.timeouts = timeouts;
            rule.faults = vec![fault];
        })],
        [],
    );
    (shop, Executed::default())
}

fn head() -> weft_http::RequestHead {
    http2::head("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn a_request_is_held_once_and_goes_on() {
    let (shop, executed) = shop(slow(1), Timeouts::default());
    let status = shop.sim.run(async {
        shop.serve(0, &executed);
        shop.client().await.ask(&head(), b"").await.unwrap().head.status
    });
    assert_eq!(status.unwrap(), 200);
    let [record] = &shop.records()[..] else { panic!("one request") };
    assert!((seconds(2)..seconds(3)).contains(&record.duration), "{:?}", record.duration);
    assert_eq!((record.attempts, record.reason), (1, None));
    assert_eq!(record.fault.as_deref(), Some("fault/shop/slow spec.delay"));
    assert_eq!(executed.borrow().len(), 1);
}

#[test]
fn what_is_held_longer_than_it_may_take_ends_when_that_is_over() {
    let timeouts = Timeouts::new(Some(bound(500)), None).unwrap();
    let (shop, executed) = shop(slow(1), timeouts);
    let status = shop.sim.run(async {
        shop.serve(0, &executed);
        shop.client().await.ask(&head(), b"").await.unwrap().head.status
    });
    assert_eq!(status.unwrap(), 504);
    let [record] = &shop.records()[..] else { panic!("one request") };
    assert_eq!((record.duration, record.attempts), (Duration::from_millis(500), 0));
    assert_eq!(record.reason, Some("request-timeout"));
    assert_eq!(executed.borrow().len(), 0);
}

#[test]
fn no_more_are_held_than_may_be_and_who_goes_makes_room() {
    let (shop, executed) = shop(slow(2), Timeouts::default());
    let answered = shop.sim.run(async {
        shop.serve(0, &executed);
        let (sim, client, head) = (&shop.sim, &shop.client().await, &head());
        // When each asks, and for how long it waits: the first gives up before the last comes.
        let callers = [(0, 1_000), (0, 9_000), (0, 9_000), (1_500, 9_000)];
        let ask = |(wait, patience)| async move {
            sim.sleep(Duration::from_millis(wait)).await;
            let asked = within(sim, Duration::from_millis(patience), client.ask(head, b"")).await;
            asked.map(|answer| answer.unwrap().head.status)
        };
        together(callers.map(ask)).await
    });
    assert_eq!(answered.unwrap(), [None, Some(200), Some(200), Some(200)]);
    let records = shop.records();
    let of = |field: &str| {
        let fault = format!("fault/shop/slow {field}");
        records.iter().filter(|record| record.fault.as_deref() == Some(&fault)).count()
    };
    assert_eq!((records.len(), of("spec.delay"), of("spec.maxActive")), (4, 3, 1));
    assert_eq!(executed.borrow().len(), 3, "but for the one that was given up");
}

#[test]
fn what_fails_on_purpose_is_tried_nowhere() {
    let with = AbortWith::Http(AbortStatus::new(503).unwrap());
    let fault = Fault { delay: None, abort: Some(Abort { percent: ALL, with }), ..slow(1) };
    let (shop, executed) = shop(fault, Timeouts::default());
    let answer = shop.sim.run(async {
        shop.serve(0, &executed);
        shop.client().await.ask(&head(), b"").await.unwrap()
    });
    let answer = answer.unwrap();
    assert_eq!(answer.head.status, 503);
    assert_eq!(answer.reason().as_deref(), Some("fault-injected"));
    let [record] = &shop.records()[..] else { panic!("one request") };
    assert_eq!((record.attempts, record.reason), (0, Some("fault-injected")));
    assert!(record.is_failure());
    assert_eq!(executed.borrow().len(), 0);
}
