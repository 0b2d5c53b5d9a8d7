//! One deadline for all attempts of a request of HTTP/2 or a gRPC call, whoever sets it.

use std::cell::RefCell;
use std::rc::Rc;

use weft_http::{Fields, ResponseHead};
use weft_model::{Protocol, Retry, RetryStatus, TimeBound, Timeouts};
use weft_proxy::exchange::Downstream;
use weft_proxy::h2::server::Incoming;
use weft_sim::http2::{self, Answer};
use weft_telemetry::Record;

use crate::shop::{Plan, Shop, route, shared};
use crate::*;

const fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn bound(number: u64) -> Option<TimeBound> {
    TimeBound::from_millis(number)
}

/// What applications have seen of their callers.
#[derive(Default)]
struct Seen {
    /// The time left that each request said, in the order in which they came.
    left: Vec<Option<Duration>>,
    /// When callers gave requests up.
    given_up: Vec<Duration>,
}

/// Lets all applications wait for `delay`, and say UNAVAILABLE then.
fn serve(shop: &Shop, delay: Duration) -> Rc<RefCell<Seen>> {
    let seen: Rc<RefCell<Seen>> = shared();
    for (number, host) in shop.hosts.iter().enumerate() {
        let (listener, world, seen) = (shop.application(number), host.world(), seen.clone());
        let clock = world.clock.clone();
        drop(host.spawn(http2::serve(listener, world, move |incoming| {
            let (clock, seen) = (clock.clone(), seen.clone());
            async move {
                let Incoming { head, mut stream, .. } = incoming;
                seen.borrow_mut().left.push(weft_decide::deadline::asked(&head).unwrap());
                let gone = std::future::poll_fn(|cx| stream.poll_gone(cx));
                tokio::select! {
                    biased;
                    () = gone => {
                        let now = Duration::from_nanos(clock.now().as_nanos());
                        return seen.borrow_mut().given_up.push(now);
                    }
                    () = clock.sleep(delay) => {}
                }
                let mut unavailable = ResponseHead::with_status(200);
                unavailable.fields.append("grpc-status", b"14");
                http2::answer(&mut stream, &unavailable, b"", &Fields::default()).await;
            }
        })));
    }
    seen
}

/// What becomes of a gRPC call with these `fields`, of which each attempt takes `delay` and fails,
/// where rules say `timeouts`: the answer, its record, and what applications have seen.
fn call(
    fields: &str,
    timeouts: Timeouts,
    retries_max: u32,
    delay: Duration,
) -> (Answer, Record, Seen) {
    let shop = Shop::new(1, Plan::of(3, Protocol::Grpc));
    let statuses = [503, 504].map(|status| RetryStatus::new(status).unwrap()).into();
    let backoff_max = TimeBound::from_millis(1).unwrap();
    let retry = Retry { retries_max, statuses, backoff_base: backoff_max, backoff_max };
    shop.registry.apply(
        [route(|rule| {
            rule.timeouts = timeouts;
            rule.retry = Some(retry);
        })],
        [],
    );
    let answered = shop.sim.run(async {
        let seen = serve(&shop, delay);
        let head = http2::call_head("/shop.Web/Buy", fields);
        let answer = shop.client().await.ask(&head, b"body").await.unwrap();
        shop.sim.sleep(millis(100)).await;
        (answer, seen.take())
    });
    let (answer, seen) = answered.unwrap();
    let [record] = &shop.records()[..] else { panic!("one call, and several records") };
    (answer, record.clone(), seen)
}

#[test]
fn the_nearest_deadline_holds_and_is_told_to_all() {
    let request = |number| Timeouts::new(bound(number), None).unwrap();
    for (fields, timeouts, limit, reason) in [
        ("grpc-timeout: 500m\r\n", Timeouts::default(), 500, "caller-timeout"),
        ("grpc-timeout: 500m\r\n", request(700), 500, "caller-timeout"),
        ("grpc-timeout: 2S\r\n", request(700), 700, "request-timeout"),
        ("", request(700), 700, "request-timeout"),
        ("", Timeouts::new(bound(700), bound(300)).unwrap(), 300, "attempt-timeout"),
    ] {
        let (answer, record, seen) = call(fields, timeouts, 5, seconds(60));
        let case = format!("{fields:?} {timeouts:?}");
        assert_eq!((answer.head.status, answer.grpc_status()), (200, Some(4)), "{case}");
        assert_eq!(answer.reason().as_deref(), Some(reason), "{case}");
        assert_eq!((record.reason, record.grpc_status), (Some(reason), Some(4)), "{case}");
        // Whoever answers first says so; a call that may have been processed is sent once.
        assert!(record.duration <= millis(limit), "{case}: {:?}", record.duration);
        assert!(record.duration > millis(limit - 50), "{case}: {:?}", record.duration);
        assert_eq!(record.attempts, 1, "{case}");
        let [Some(left)] = seen.left[..] else { panic!("{case}: {:?}", seen.left) };
        assert!(left <= millis(limit) && left > millis(limit - 50), "{case}: {left:?}");
        // Nobody works on what nobody waits for.
        assert_eq!(seen.given_up.len(), 1, "{case}");
    }
}

#[test]
fn all_attempts_of_a_call_share_one_deadline() {
    for (fields, timeouts, reason) in [
        ("grpc-timeout: 1S\r\n", Timeouts::default(), "caller-timeout"),
        ("", Timeouts::new(bound(1_000), None).unwrap(), "request-timeout"),
    ] {
        let (answer, record, seen) = call(fields, timeouts, 10, millis(300));
        assert_eq!((answer.grpc_status(), answer.reason().as_deref()), (Some(4), Some(reason)));
        assert!(record.duration <= seconds(1), "{:?}", record.duration);
        assert_eq!(record.attempts, 4, "after 0, 300, 600 and 900 ms");
        let left: Vec<_> = seen.left.iter().map(|left| left.unwrap().as_millis()).collect();
        let [first, second, third, fourth] = left[..] else { panic!("{left:?}") };
        assert!(first > 950, "{left:?}");
        for (longer, shorter) in [(first, second), (second, third), (third, fourth)] {
            assert!((300..350).contains(&(longer - shorter)), "{left:?}");
        }
        assert_eq!(seen.given_up.len(), 1, "the last one");
    }
}

#[test]
fn requests_of_http2_are_sent_again_within_one_deadline() {
    let shop = Shop::new(1, Plan::of(3, Protocol::Http2));
    let timeouts = Timeouts::new(bound(1_000), bound(300)).unwrap();
    let backoff_base = TimeBound::from_millis(1).unwrap();
    let retry = Retry { retries_max: 10, backoff_base, ..Retry::default() };
    shop.registry.apply(
        [route(|rule| {
            rule.timeouts = timeouts;
            rule.retry = Some(retry);
        })],
        [],
    );
    let done = shop.sim.run(async {
        let seen = serve(&shop, seconds(60));
        let client = shop.client().await;
        for method in ["GET", "POST"] {
            let head = http2::head(&format!("{method} /a HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(client.ask(&head, b"").await.unwrap().head.status, 504, "{method}");
        }
        shop.sim.sleep(millis(100)).await;
        seen.take()
    });
    let seen = done.unwrap();
    let [get, post] = &shop.records()[..] else { panic!("two requests") };
    assert_eq!((get.reason, post.reason), (Some("request-timeout"), Some("attempt-timeout")));
    assert_eq!((get.duration, post.duration), (seconds(1), millis(300)));
    assert_eq!(get.attempts, 4, "after 0, 300, 600 and 900 ms");
    assert_eq!(post.attempts, 1, "it may have been processed");
    assert_eq!(seen.given_up.len(), 5);
}

#[test]
fn a_deadline_that_cannot_be_read_is_refused_and_one_that_is_over_is_answered_at_once() {
    let none = Timeouts::default();
    for (fields, grpc_status, reason) in [
        ("grpc-timeout: 1\r\n", 13, "bad-timeout"),
        ("grpc-timeout: 1S\r\ngrpc-timeout: 2S\r\n", 13, "bad-timeout"),
        ("grpc-timeout: 0m\r\n", 4, "caller-timeout"),
    ] {
        let (answer, _, seen) = call(fields, none, 5, seconds(60));
        assert_eq!(answer.grpc_status(), Some(grpc_status), "{fields:?}");
        assert_eq!(answer.reason().as_deref(), Some(reason), "{fields:?}");
        assert!(seen.left.is_empty(), "{fields:?}");
    }
}
