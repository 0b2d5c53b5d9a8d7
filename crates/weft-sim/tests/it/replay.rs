//! What may be sent again arrives whole, once, at one application; what may not is not.

use weft_model::{Retry, RetryStatus, TimeBound, Timeouts};

use crate::shop::{Executed, Plan, Shop, route, shared, sum, within};
use crate::talk::Line;
use crate::*;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Length,
    Chunks,
}

/// Sends a request with `body` as the caller reads what comes back, and returns the answer.
async fn post(shop: &Shop, line: &mut Line, body: &[u8], how: Written) -> Option<(u16, Vec<u8>)> {
    let head = match how {
        Written::Length => format!("Content-Length: {}", body.len()),
        Written::Chunks => "Transfer-Encoding: chunked".to_owned(),
    };
    let mut request = format!("POST /a HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n").into_bytes();
    if how == Written::Chunks {
        for chunk in body.chunks(10_000) {
            request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
    } else {
        request.extend_from_slice(body);
    }
    for piece in request.chunks(30_000) {
        // An answer may come before the request has ended.
        if line.send(piece).await.is_err() {
            break;
        }
        shop.sim.sleep(Duration::from_micros(300)).await;
    }
    line.answer().await
}

const SIZES: [usize; 6] = [0, 5_000, 65_535, 65_536, 65_537, 200_000];

fn assert_once(executed: &Executed, at: usize, body: &[u8], what: &str) {
    let expected = vec![(at, "/a".to_owned(), body.len(), sum(body))];
    assert_eq!(*executed.borrow(), expected, "{what}");
}

/// What replica 0 does so that requests go to replica 1.
#[derive(Clone, Copy, Debug)]
enum Failing {
    Drains,
    HasNoApplication,
    IsGone,
    IsAnother,
}

#[test]
fn a_body_of_any_length_arrives_whole_and_once_although_the_first_endpoint_refuses() {
    for failing in [Failing::Drains, Failing::HasNoApplication, Failing::IsGone, Failing::IsAnother]
    {
        for (number, size) in SIZES.into_iter().enumerate() {
            for how in [Written::Length, Written::Chunks] {
                let shop = Shop::new(number as u64, Plan::http(2));
                let (executed, body) = (shared(), content(size));
                let served = shop.sim.run(async {
                    shop.serve(1, &executed);
                    match failing {
                        Failing::Drains => shop.replica(0).drain().await,
                        Failing::HasNoApplication => {}
                        Failing::IsGone => shop.sim.crash(&shop.hosts[0], weft_sim::Crash::Reset),
                        Failing::IsAnother => {
                            // The caller's proxy has heard of a later instance.
                            shop.sim.crash(&shop.hosts[0], weft_sim::Crash::Reset);
                            shop.restart(0, 2);
                            shop.registry.add_workload(shop.workload(0, 3));
                        }
                    }
                    let mut line = shop.call().await;
                    post(&shop, &mut line, &body, how).await
                });
                let what = format!("{failing:?}, {size} bytes, {how:?}");
                let answer = format!("1 {size}").into_bytes();
                assert_eq!(served.unwrap(), Some((200, answer)), "{what}");
                assert_once(&executed, 1, &body, &what);
                let records = shop.caller.records.borrow();
                assert_eq!((records.len(), records[0].attempts), (1, 2), "{what}");
            }
        }
    }
}

#[test]
fn a_drain_in_the_midst_of_uploads_loses_and_doubles_nothing() {
    for seed in 0..20 {
        let shop = Shop::new(seed, Plan::http(2));
        let mut random = weft_sim::Random::derive(seed, "a drain");
        let executed = shared();
        let sizes: Vec<_> = (0..4).map(|_| random.size(0, 130_000)).collect();
        let drain_at = random.duration(Duration::ZERO, Duration::from_millis(25));
        let done = shop.sim.run(async {
            shop.serve(0, &executed);
            shop.serve(1, &executed);
            let draining = async {
                shop.sim.sleep(drain_at).await;
                shop.replica(0).drain().await;
                // What SIGTERM leads to: nothing of it is left.
                shop.sim.crash(&shop.hosts[0], weft_sim::Crash::Reset);
            };
            let calling = async {
                let mut line = shop.call().await;
                for size in &sizes {
                    let body = content(*size);
                    let answer = post(&shop, &mut line, &body, Written::Length).await;
                    let answer = answer.unwrap();
                    let said = String::from_utf8_lossy(&answer.1).into_owned();
                    assert_eq!(answer.0, 200, "seed {seed}: {said}");
                    assert!(said.ends_with(&format!(" {size}")), "seed {seed}: {said}");
                }
            };
            tokio::join!(biased; draining, calling);
        });
        done.unwrap();
        let executed = executed.borrow();
        let lengths: Vec<_> = executed.iter().map(|(_, _, length, _)| *length).collect();
        assert_eq!(lengths, sizes, "seed {seed}: each once, in order");
    }
}

#[test]
fn what_was_sent_to_an_application_is_not_said_to_be_unprocessed() {
    let shop = Shop::new(3, Plan::http(2));
    let executed = shared();
    let done = shop.sim.run(async {
        shop.serve(1, &executed);
        let mut listener = shop.application(0);
        let world = shop.hosts[0].world();
        let dying = shop.hosts[0].spawn(async move {
            let mut line = Line::new(world, listener.accept().await.unwrap().stream);
            line.request().await.unwrap();
            let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            line.send(ok).await.unwrap();
            // This one is its end, as it is of whoever else gets it; and it listens no more.
            line.request().await.unwrap().0
        });
        let mut line = shop.call().await;
        for target in ["/a", "/a", "/poison"] {
            line.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let status = line.answer().await.unwrap().0;
            assert_eq!(status == 200, target == "/a", "{target}: {status}");
        }
        assert_eq!(dying.await.unwrap(), "/poison", "the test is about the one that had it");
    });
    done.unwrap();
    let targets: Vec<_> = executed.borrow().iter().map(|(_, target, ..)| target.clone()).collect();
    assert_eq!(targets, ["/a"], "it was sent to the next one, too");
    assert_eq!(shop.caller.records.borrow()[2].attempts, 1);
}

#[test]
fn an_old_answer_says_nothing_about_the_next_request() {
    let shop = Shop::new(3, Plan::http(2));
    let retry = Retry {
        statuses: [RetryStatus::new(503).unwrap()].into(),
        retries_max: 1,
        ..Retry::default()
    };
    shop.registry.apply([route(|rule| rule.retry = Some(retry))], []);
    let served = shop.sim.run(async {
        // Both say 503 to their first request; then the first one is gone.
        for number in 0..2 {
            let mut listener = shop.application(number);
            let world = shop.hosts[number].world();
            drop(shop.hosts[number].spawn(async move {
                let mut line = Line::new(world, listener.accept().await.unwrap().stream);
                line.request().await.unwrap();
                line.send(b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                while line.request().await.is_some() {
                    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    if line.send(ok).await.is_err() {
                        return;
                    }
                }
            }));
        }
        let mut line = shop.call().await;
        line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(line.answer().await.unwrap().0, 503);
        assert_eq!(shop.caller.records.borrow()[0].attempts, 2, "the test is about a retry");
        shop.sim.crash(&shop.hosts[0], weft_sim::Crash::Reset);
        // What is sent before that is known is nobody's to send again.
        shop.sim.sleep(Duration::from_millis(20)).await;
        // Two in a row, so that one of them meets the endpoint that is gone.
        for _ in 0..2 {
            line.send(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
            assert_eq!(line.answer().await.unwrap().0, 200);
        }
        let attempts = shop.caller.records.borrow()[1..].iter().map(|r| r.attempts).max();
        assert_eq!(attempts, Some(2), "one of them met the endpoint that is gone");
    });
    served.unwrap();
}

fn millis(number: u64) -> TimeBound {
    TimeBound::from_millis(number).unwrap()
}

#[test]
fn a_deadline_in_the_head_is_answered_and_one_in_the_body_breaks_the_connection() {
    for (is_request, reason) in [(true, "request-timeout"), (false, "attempt-timeout")] {
        for in_body in [false, true] {
            let shop = Shop::new(3, Plan::http(1));
            let bound = Some(millis(500));
            let (request, attempt) = if is_request { (bound, None) } else { (None, bound) };
            let timeouts = Timeouts::new(request, attempt).unwrap();
            shop.registry.apply([route(|rule| rule.timeouts = timeouts)], []);
            let mut listener = shop.application(0);
            let ended = shop.sim.run(async {
                let mut line = shop.call().await;
                line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                let accepted = listener.accept().await.unwrap().stream;
                let mut application = Line::new(shop.hosts[0].world(), accepted);
                application.request().await.unwrap();
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab";
                if in_body {
                    application.send(head).await.unwrap();
                    line.expect(head).await.unwrap();
                    assert!(line.rest().await.is_empty(), "nothing is made up");
                } else {
                    let answer = line.answer().await.unwrap();
                    let text = String::from_utf8(answer.1).unwrap();
                    assert_eq!(answer.0, 504);
                    assert!(text.contains(reason), "{text}");
                }
                // It is told to the application, too.
                application.ended().await;
            });
            ended.unwrap();
            let records = shop.caller.records.borrow();
            let [record] = records.as_slice() else { panic!("{} records", records.len()) };
            assert_eq!((record.reason, record.attempts), (Some(reason), 1));
            assert_eq!(record.duration, Duration::from_millis(500));
        }
    }
}

#[test]
fn what_is_left_of_an_answer_after_its_deadline_does_not_wait_for_the_next_request() {
    let shop = Shop::new(3, Plan::http(1));
    let timeouts = Timeouts::new(Some(millis(1_000)), None).unwrap();
    shop.registry.apply([route(|rule| rule.timeouts = timeouts)], []);
    let mut listener = shop.application(0);
    let done = shop.sim.run(async {
        let mut line = shop.call().await;
        line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let accepted = listener.accept().await.unwrap().stream;
        let mut application = Line::new(shop.hosts[0].world(), accepted);
        application.request().await.unwrap();
        // More than the systems take from the proxy to the caller, and less than with the proxy.
        let body = content(150_000);
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let size = format!("{:x}\r\n", body.len()).into_bytes();
        let whole = [head, size, body, b"\r\n0\r\n\r\n".to_vec()].concat();
        application.send(&whole).await.unwrap();
        shop.sim.sleep(seconds(3)).await;
        let ended = within(&shop.sim, seconds(5), line.answer()).await;
        assert!(ended.is_some(), "neither the rest nor an end has come");
    });
    done.unwrap();
    assert_eq!(shop.caller.records.borrow()[0].reason, Some("request-timeout"));
}

#[test]
fn a_deadline_holds_while_connecting_and_counts_attempts() {
    let shop = Shop::new(3, Plan::http(3));
    let timeouts = Timeouts::new(Some(millis(1_000)), Some(millis(300))).unwrap();
    let retry = Retry { retries_max: 10, ..Retry::default() };
    let rule = route(|rule| {
        rule.timeouts = timeouts;
        rule.retry = Some(retry);
    });
    shop.registry.apply([rule], []);
    let answered = shop.sim.run(async {
        let mut line = shop.call().await;
        for host in &shop.hosts {
            shop.sim.crash(host, weft_sim::Crash::Silent);
        }
        line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        line.answer().await.unwrap()
    });
    let (status, text) = answered.unwrap();
    assert_eq!(status, 504);
    let records = shop.caller.records.borrow();
    let record = &records[0];
    let expected =
        if record.duration >= seconds(1) { "request-timeout" } else { "attempt-timeout" };
    assert!(String::from_utf8(text).unwrap().contains(expected));
    assert!((3..=5).contains(&record.attempts), "{} attempts", record.attempts);
    assert!(record.duration <= seconds(1), "{:?}", record.duration);
    assert_eq!(record.status, 504);
}
