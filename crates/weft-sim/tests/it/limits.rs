//! What bounds a caller: its budget for retries, and its limits.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::rc::Rc;

use weft_http::ResponseHead;
use weft_model::{
    Balance, HashOn, Limits, Percent, Protocol, Ratio, Retry, RetryBudget, RetryStatus, TimeBound,
};
use weft_sim::http2::{self, Answer};
use weft_telemetry::Record;

use crate::sharing;
use crate::shop::{Plan, Shop, route, shared, together, within};
use crate::talk::Line;
use crate::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// An application on replica 0 that gives `answer` to everything, after `delay`. Returns the paths
/// of the requests that it has seen.
fn serve(shop: &Shop, answer: &'static [u8], delay: Duration) -> Rc<RefCell<Vec<String>>> {
    serve_at(shop, 0, answer, delay)
}

/// The same on replica `number`.
fn serve_at(
    shop: &Shop,
    number: usize,
    answer: &'static [u8],
    delay: Duration,
) -> Rc<RefCell<Vec<String>>> {
    let (mut listener, world) = (shop.application(number), shop.hosts[number].world());
    let seen: Rc<RefCell<Vec<String>>> = shared();
    let noted = seen.clone();
    drop(shop.hosts[number].spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let (world, noted) = (world.clone(), noted.clone());
            drop(tokio::task::spawn_local(async move {
                let mut line = Line::new(world.clone(), accepted.stream);
                while let Some((target, _)) = line.request().await {
                    noted.borrow_mut().push(target);
                    world.clock.sleep(delay).await;
                    if line.send(answer).await.is_err() {
                        return;
                    }
                }
            }));
        }
    }));
    seen
}

#[test]
fn retries_end_with_their_budget_and_the_record_says_so() {
    let mut plan = Plan::http(1);
    // One retry a second, whatever the share is.
    plan.traffic.retry_budget =
        RetryBudget { percent: Percent::new(0).unwrap(), per_second_min: 1 };
    let shop = Shop::new(1, plan);
    let retry = Retry { statuses: [RetryStatus::new(503).unwrap()].into(), ..Retry::default() };
    shop.registry.apply([route(|rule| rule.retry = Some(retry))], []);
    let done = shop.sim.run(async {
        serve(&shop, BUSY, Duration::ZERO);
        let mut line = shop.call().await;
        for second in 0..3 {
            // Well within one second, as seconds are counted from the start.
            shop.sim.sleep(seconds(second + 1) + Duration::from_millis(100) - shop.sim.now()).await;
            for _ in 0..3 {
                line.send(GET).await.unwrap();
                assert_eq!(line.answer().await.unwrap().0, 503);
            }
        }
    });
    done.unwrap();
    let records = shop.records();
    let seen: Vec<_> = records.iter().map(|one| (one.attempts, one.retry_denied)).collect();
    let second = [(2, None), (1, Some("budget")), (1, Some("budget"))];
    assert_eq!(seen, [second, second, second].concat());
}

/// Asks thrice, with 10 ms between, where each answer takes a second, and `limits` hold. The
/// statuses of the answers, and the reasons that were recorded.
fn ask_thrice(limits: Limits) -> (Vec<u16>, Vec<Option<&'static str>>) {
    let mut plan = Plan::http(1);
    plan.traffic.limits = limits;
    let shop = Shop::new(1, plan);
    let statuses = shop.sim.run(async {
        serve(&shop, OK, seconds(1));
        let mut lines = Vec::new();
        for _ in 0..3 {
            let mut line = shop.call().await;
            line.send(GET).await.unwrap();
            lines.push(line);
            shop.sim.sleep(Duration::from_millis(10)).await;
        }
        let mut statuses = Vec::new();
        for line in &mut lines {
            statuses.push(line.answer().await.unwrap().0);
        }
        statuses
    });
    (statuses.unwrap(), shop.records().iter().map(|record| record.reason).collect())
}

#[test]
fn requests_beyond_a_limit_are_refused_with_its_name() {
    let one = NonZeroU32::MIN;
    let two = NonZeroU32::new(2).unwrap();
    let (statuses, reasons) = ask_thrice(Limits { requests: two, ..Limits::default() });
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(reasons, [None, None, Some("limit-requests")]);

    // One is answered, one waits for its connection, and a third may not wait.
    let limits = Limits { connections: one, pending: one, ..Limits::default() };
    let (statuses, reasons) = ask_thrice(limits);
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(reasons, [None, None, Some("limit-pending")]);
}

#[test]
fn an_endpoint_that_has_as_much_as_it_may_is_not_chosen_and_where_none_is_left_it_is_refused() {
    for balance in [
        Balance::PeakEwma,
        Balance::Random,
        Balance::RoundRobin,
        Balance::Maglev([HashOn::SourceAddress].into()),
    ] {
        let case = format!("{balance:?}");
        let mut plan = Plan::http(2);
        plan.traffic.balance = balance;
        plan.traffic.limits.requests_per_endpoint = NonZeroU32::new(2);
        let shop = Shop::new(1, plan);
        let statuses = shop.sim.run(async {
            (0..2).for_each(|number| drop(serve_at(&shop, number, OK, seconds(1))));
            let mut lines = Vec::new();
            for _ in 0..5 {
                let mut line = shop.call().await;
                line.send(GET).await.unwrap();
                lines.push(line);
                shop.sim.sleep(Duration::from_millis(10)).await;
            }
            let mut statuses = Vec::new();
            for line in &mut lines {
                statuses.push(line.answer().await.unwrap().0);
            }
            // There is room again.
            let mut line = shop.call().await;
            line.send(GET).await.unwrap();
            statuses.push(line.answer().await.unwrap().0);
            statuses
        });
        assert_eq!(statuses.unwrap(), [200, 200, 200, 200, 503, 200], "{case}");
        let records = shop.records();
        let reasons: Vec<_> = records.iter().map(|record| record.reason).collect();
        let refused = Some("limit-requests-per-endpoint");
        assert_eq!(reasons, [None, None, None, None, refused, None], "{case}");
        let of = |workload: &str| {
            let is_of = |record: &&Record| record.workload.as_deref() == Some(workload);
            records.iter().take(4).filter(is_of).count()
        };
        assert_eq!([of("shop/web-0"), of("shop/web-1")], [2, 2], "{case}");
    }
}

/// An application on replica 0 that works on five requests at a time, 50 ms on each, and lets the
/// others wait.
fn serve_five_at_a_time(shop: &Shop) {
    let (mut listener, world) = (shop.application(0), shop.hosts[0].world());
    let free = Rc::new(RefCell::new([world.clock.now(); 5]));
    drop(shop.hosts[0].spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let (world, free) = (world.clone(), free.clone());
            drop(tokio::task::spawn_local(async move {
                let mut line = Line::new(world.clone(), accepted.stream);
                while line.request().await.is_some() {
                    let until = {
                        let mut free = free.borrow_mut();
                        let first = free.iter_mut().min().unwrap();
                        *first = (*first).max(world.clock.now()) + Duration::from_millis(50);
                        *first
                    };
                    world.clock.timer(until).await;
                    if line.send(OK).await.is_err() {
                        return;
                    }
                }
            }));
        }
    }));
}

/// Asks for `time` with so many requests at a time: how long those took that were answered, the
/// longest first, and how many were refused.
async fn press(shop: &Shop, at_a_time: usize, time: Duration) -> (Vec<Duration>, usize) {
    let clock = shop.client.world().clock;
    let until = clock.now() + time;
    let asking = (0..at_a_time).map(|_| async {
        let (mut took, mut refused) = (Vec::new(), 0);
        let mut line = shop.call().await;
        while clock.now() < until {
            let began = clock.now();
            line.send(GET).await.unwrap();
            match line.answer().await.unwrap().0 {
                200 => took.push(clock.now().since(began)),
                _ => {
                    refused += 1;
                    shop.sim.sleep(Duration::from_millis(50)).await;
                }
            }
        }
        (took, refused)
    });
    let all = together(asking).await;
    let refused = all.iter().map(|(_, refused)| refused).sum();
    let mut took: Vec<_> = all.into_iter().flat_map(|(took, _)| took).collect();
    took.sort_unstable_by(|one, other| other.cmp(one));
    (took, refused)
}

#[test]
fn where_latency_says_how_much_may_be_under_way_answers_stay_fast_under_too_much_load() {
    for is_adaptive in [false, true] {
        let mut plan = Plan::http(1);
        if is_adaptive {
            plan.traffic.limits.adaptive_tolerance = Ratio::from_thousandths(1_500);
        }
        let shop = Shop::new(1, plan);
        let done = shop.sim.run(async {
            serve_five_at_a_time(&shop);
            let (took, refused) = press(&shop, 4, seconds(10)).await;
            assert_eq!(refused, 0);
            assert!(took[took.len() / 2] < Duration::from_millis(55), "{took:?}");
            press(&shop, 60, seconds(20)).await;
            press(&shop, 60, seconds(10)).await
        });
        let (took, refused) = done.unwrap();
        let late = took[took.len() / 10];
        // The application is busy all the time, either way.
        assert!(took.len() >= 900, "{}", took.len());
        assert_eq!(refused > 0, is_adaptive, "{refused}");
        assert_eq!(late < Duration::from_millis(300), is_adaptive, "{late:?}");
        let records = shop.records();
        let reasons = records.iter().filter_map(|record| record.reason);
        assert!(reasons.clone().all(|reason| reason == "limit-adaptive"));
        assert_eq!(reasons.count() > 0, is_adaptive);
    }
}

/// One replica that speaks another protocol than HTTP, and so many connections to it.
fn opaque(connections: u32) -> Shop {
    let mut plan = Plan::of(1, Protocol::Opaque);
    plan.traffic.limits.connections = NonZeroU32::new(connections).unwrap();
    Shop::new(1, plan)
}

/// Sends a byte on a new line and gets it back.
async fn echoed(shop: &Shop) -> Line {
    let mut line = shop.call().await;
    line.send(b"x").await.unwrap();
    line.expect(b"x").await.unwrap();
    line
}

/// Sends back all that comes to replica 0.
fn echo(shop: &Shop) {
    let (mut listener, world) = (shop.application(0), shop.hosts[0].world());
    drop(shop.hosts[0].spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let mut line = Line::new(world.clone(), accepted.stream);
            drop(tokio::task::spawn_local(async move {
                let mut byte = [0];
                while line.take(&mut byte).await.is_some() && line.send(&byte).await.is_ok() {}
            }));
        }
    }));
}

#[test]
fn streams_of_bytes_beyond_the_connections_are_refused_and_their_places_are_used_again() {
    let shop = opaque(2);
    let done = shop.sim.run(async {
        echo(&shop);
        let (first, second) = (echoed(&shop).await, echoed(&shop).await);
        let mut third = shop.call().await;
        third.send(b"x").await.unwrap();
        third.ended().await;
        drop(first);
        shop.sim.sleep(seconds(1)).await;
        drop((echoed(&shop).await, second));
        shop.sim.sleep(seconds(1)).await; // Until they are recorded.
    });
    done.unwrap();
    let records = shop.records();
    let reasons: Vec<_> = records.iter().map(|record| record.reason).collect();
    assert_eq!(reasons, [None, None, Some("limit-connections"), None]);
    let expected = "spec.limits.connections is reached: 2 are under way from this client";
    assert!(records[2].detail.ends_with(expected), "{}", records[2].detail);
}

#[test]
fn the_servers_proxy_takes_as_many_streams_of_bytes_as_all_callers_open() {
    let many = Limits::default().connections.get() + 10;
    let shop = opaque(many);
    let done = shop.sim.run(async {
        echo(&shop);
        let mut lines = Vec::new();
        for _ in 0..many {
            lines.push(echoed(&shop).await);
        }
    });
    done.unwrap();
}

#[test]
fn a_caller_that_is_slow_to_say_that_it_speaks_http_waits_as_others_do() {
    let mut plan = Plan::of(1, Protocol::Detect);
    plan.traffic.limits.connections = NonZeroU32::MIN;
    let shop = Shop::new(1, plan);
    let done = shop.sim.run(async {
        serve(&shop, OK, seconds(1));
        let mut first = shop.call().await;
        first.send(GET).await.unwrap();
        shop.sim.sleep(Duration::from_millis(100)).await;
        let mut second = shop.call().await;
        // Meanwhile its server would be dialled, in case that it speaks first.
        shop.sim.sleep(Duration::from_millis(100)).await;
        second.send(GET).await.unwrap();
        assert_eq!(first.answer().await.unwrap().0, 200);
        assert_eq!(second.answer().await.unwrap().0, 200);
    });
    done.unwrap();
}

/// What each of `count` requests of HTTP/2 or gRPC calls is answered with where `limits` hold and
/// each answer takes a second: its status, that of gRPC, and Weft's reason. They come one after the
/// other, from two callers.
fn ask_often(
    protocol: Protocol,
    count: u64,
    limits: Limits,
) -> Vec<(u16, Option<u32>, Option<String>)> {
    let mut plan = Plan::of(1, protocol);
    plan.traffic.limits = limits;
    let shop = Shop::new(1, plan);
    let head = match protocol {
        Protocol::Grpc => http2::call_head("/shop.Web/Buy", ""),
        _ => http2::head("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    };
    let mut answered = ResponseHead::with_status(200);
    if protocol == Protocol::Grpc {
        answered.fields.append("grpc-status", b"0");
    }
    let answers = shop.sim.run(async {
        let _seen = sharing::serve_with(&shop, 0, answered, |_| seconds(1));
        let clients = [shop.client().await, shop.client().await];
        together((0..count).map(|number| {
            let (shop, head) = (&shop, &head);
            let client = &clients[usize::from(number >= 100)];
            async move {
                shop.sim.sleep(Duration::from_millis(number)).await;
                client.ask(head, b"").await.unwrap()
            }
        }))
        .await
    });
    let answers = answers.unwrap();
    let told = |answer: &Answer| (answer.head.status, answer.grpc_status(), answer.reason());
    answers.iter().map(told).collect()
}

#[test]
fn requests_of_http2_and_calls_beyond_a_limit_are_refused_with_its_name() {
    let (one, two) = (NonZeroU32::MIN, NonZeroU32::new(2).unwrap());
    for (protocol, fine, refused) in [
        (Protocol::Http2, (200, None, None), (503, None)),
        (Protocol::Grpc, (200, Some(0), None), (200, Some(14))),
    ] {
        let refused = |reason: &str| (refused.0, refused.1, Some(reason.to_owned()));
        let limits = Limits { requests: two, ..Limits::default() };
        let expected = [fine.clone(), fine.clone(), refused("limit-requests")];
        assert_eq!(ask_often(protocol, 3, limits), expected);

        // A connection carries a hundred. One more may wait for it, and the others may not.
        let limits = Limits { connections: one, pending: one, ..Limits::default() };
        let answers = ask_often(protocol, 104, limits);
        assert_eq!(answers[..101], vec![fine; 101], "{protocol:?}");
        assert_eq!(answers[101..], vec![refused("limit-pending"); 3], "{protocol:?}");
    }
}

/// One replica, with one connection and one request that may wait for it.
fn narrow() -> Plan {
    let one = NonZeroU32::MIN;
    let mut plan = Plan::http(1);
    plan.traffic.limits = Limits { connections: one, pending: one, ..Limits::default() };
    plan
}

#[test]
fn who_goes_while_its_request_waits_makes_room_and_is_not_served() {
    let post = "POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
    let chunked = "POST /second HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (seed, second) in (0..).zip([
        "GET /second HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!("{post}ab"),
        post.to_owned(),
        format!("{chunked}2\r\nab\r\n0\r\n\r\n"),
    ]) {
        let shop = Shop::new(seed, narrow());
        let pause = || shop.sim.sleep(Duration::from_millis(100));
        let done = shop.sim.run(async {
            let seen = serve(&shop, OK, seconds(1));
            let mut lines = Vec::new();
            for (request, is_staying) in [
                ("GET /first HTTP/1.1\r\nHost: a\r\n\r\n", true),
                (&second, false),
                ("GET /third HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ] {
                let mut line = shop.call().await;
                line.send(request.as_bytes()).await.unwrap();
                pause().await;
                if is_staying {
                    lines.push(line);
                }
            }
            for line in &mut lines {
                assert_eq!(line.answer().await.unwrap().0, 200, "{second}");
            }
            seen
        });
        assert_eq!(*done.unwrap().borrow(), ["/first", "/third"], "{second}");
        let reasons: Vec<_> = shop.records().iter().map(|record| record.reason).collect();
        assert_eq!(reasons, [None, Some("client-gone"), None], "{second}");
    }
}

#[test]
fn a_stream_that_is_reset_while_it_waits_is_not_served_either() {
    let plan = Plan { replicas: 2, ..narrow() };
    let shop = Shop::new(1, Plan { service: Protocol::Http2, workload: Protocol::Http2, ..plan });
    let done = shop.sim.run(async {
        let seen = [0, 1].map(|number| sharing::serve(&shop, number, seconds(2)));
        let first = sharing::call(&shop);
        let others = async {
            // The one connection is that to the first replica, and this one's turn is the second's.
            let pause = Duration::from_millis(100);
            shop.sim.sleep(pause).await;
            assert_eq!(within(&shop.sim, pause, sharing::call(&shop)).await, None);
            shop.sim.sleep(pause).await;
            tokio::join!(biased; sharing::call(&shop), sharing::call(&shop))
        };
        let (first, (third, fourth)) = tokio::join!(biased; first, others);
        assert_eq!([first, third, fourth], [Some(200); 3]);
        seen.map(|seen| seen.requests.get())
    });
    assert_eq!(done.unwrap(), [2, 1]);
    let reasons: Vec<_> = shop.records().iter().map(|record| record.reason).collect();
    assert_eq!(reasons, [None, Some("client-gone"), None, None]);
}

#[test]
fn who_waits_for_a_connection_stands_still() {
    let mut plan = narrow();
    plan.traffic.timeouts.stream_idle = TimeBound::new(seconds(30)).unwrap();
    let shop = Shop::new(1, plan);
    let done = shop.sim.run(async {
        let mut listener = shop.application(0);
        let mut first = shop.call().await;
        first.send(GET).await.unwrap();
        let accepted = listener.accept().await.unwrap();
        let mut application = Line::new(shop.hosts[0].world(), accepted.stream);
        application.request().await.unwrap();
        application.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").await.unwrap();
        let mut second = shop.call().await;
        second.send(GET).await.unwrap();
        let moving = async {
            loop {
                application.send(b"x").await.unwrap();
                shop.sim.sleep(seconds(2)).await;
            }
        };
        let status = tokio::select! {
            biased;
            status = within(&shop.sim, seconds(35), second.answer()) => status.flatten(),
            () = moving => None,
        };
        assert_eq!(status.expect("an answer in time").0, 504);
    });
    done.unwrap();
    assert!(shop.records().iter().any(|record| record.reason == Some("idle-timeout")));
}
