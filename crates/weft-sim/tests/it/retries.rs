//! What of HTTP/2 and gRPC is sent again through two proxies, and what is not.

use std::cell::RefCell;
use std::rc::Rc;

use weft_http::{Fields, RequestHead, ResponseHead};
use weft_model::{Percent, Protocol, Retry, RetryBudget, RetryStatus};
use weft_proxy::h2::server::Incoming;
use weft_sim::http2::{self, Answer};

use crate::shop::{Plan, Shop, route, shared, sum, together};
use crate::*;

/// What applications have executed: which replica, and what for.
type Executed = Rc<RefCell<Vec<(usize, String)>>>;

/// What an application does with what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Does it, and says so.
    Serves,
    /// Refuses the stream before it looks at it.
    Refuses,
    /// Does it, and breaks the stream off.
    Resets,
    /// Does it, and answers with this gRPC status and no message.
    Says(u32),
    /// Does it, and sends a message and this gRPC status behind it.
    SaysLate(u32),
    /// Does it, answers with this status, and says that it did not.
    Lies(u16),
}

use Does::{Lies, Refuses, Resets, Says, SaysLate, Serves};

/// Lets the application of replica `number` do `what` with all that it is asked.
fn serve(shop: &Shop, number: usize, executed: &Executed, what: Does) {
    let (listener, world, executed) =
        (shop.application(number), shop.hosts[number].world(), executed.clone());
    drop(shop.hosts[number].spawn(http2::serve(listener, world, move |incoming| {
        handle(number, executed.clone(), what, incoming)
    })));
}

async fn handle(number: usize, executed: Executed, what: Does, incoming: Incoming) {
    let Incoming { head, mut stream, .. } = incoming;
    if what == Refuses {
        return stream.refuse();
    }
    let Ok(body) = http2::read(&mut stream).await else { return };
    executed.borrow_mut().push((number, noted(head.target(), &body)));
    let (mut answered, mut trailers) = (ResponseHead::with_status(200), Fields::default());
    let status = |fields: &mut Fields, status: u32| {
        fields.append("grpc-status", status.to_string().as_bytes());
    };
    let mut body = Vec::new();
    match what {
        Serves => status(&mut trailers, 0),
        Says(code) => status(&mut answered.fields, code),
        SaysLate(code) => {
            body = b"message".to_vec();
            status(&mut trailers, code);
        }
        Lies(code) => {
            answered.status = code;
            answered.fields.append("weft-not-processed", b"draining");
        }
        Refuses | Resets => return drop(stream),
    }
    if head.fields.get("content-type").is_none() {
        trailers.clear();
    }
    http2::answer(&mut stream, &answered, &body, &trailers).await;
}

/// What is noted of a request that was executed.
fn noted(path: &str, body: &[u8]) -> String {
    format!("{path} {} {}", body.len(), sum(body))
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Get,
    Post,
    Call,
}

use Ask::{Call, Get, Post};

impl Ask {
    fn head(self, path: &str) -> RequestHead {
        match self {
            Get => http2::head(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")),
            Post => http2::head(&format!("POST {path} HTTP/1.1\r\nHost: a\r\n\r\n")),
            Call => http2::call_head(path, ""),
        }
    }

    fn body(self) -> &'static [u8] {
        if self == Get { b"" } else { b"body" }
    }

    fn protocol(self) -> Protocol {
        if self == Call { Protocol::Grpc } else { Protocol::Http2 }
    }
}

/// The statuses after which a rule sends again; none has no such rule.
type Rule<'r> = Option<&'r [u16]>;

fn follow(shop: &Shop, statuses: Rule<'_>) {
    let Some(statuses) = statuses else { return };
    let statuses = statuses.iter().map(|status| RetryStatus::new(*status).unwrap()).collect();
    let retry = Retry { retries_max: 1, statuses, ..Retry::default() };
    shop.registry.apply([route(|rule| rule.retry = Some(retry))], []);
}

/// What became of a request: its status, that of gRPC, Weft's reason, and which replicas have
/// executed it.
type Became = (u16, Option<u32>, Option<String>, Vec<usize>);

/// What becomes of `ask` where the first of two replicas does `what`, and the second serves.
fn ask(ask: Ask, rule: Rule<'_>, what: Does) -> Became {
    let shop = Shop::new(1, Plan::of(2, ask.protocol()));
    follow(&shop, rule);
    let executed: Executed = shared();
    let answer = shop.sim.run(async {
        serve(&shop, 0, &executed, what);
        serve(&shop, 1, &executed, Serves);
        shop.client().await.ask(&ask.head("/a"), ask.body()).await.unwrap()
    });
    let executed = executed.borrow();
    let whole = noted("/a", ask.body());
    assert!(executed.iter().all(|(_, found)| *found == whole), "{executed:?}");
    became(&answer.unwrap(), &executed)
}

fn became(answer: &Answer, executed: &[(usize, String)]) -> Became {
    let replicas = executed.iter().map(|(number, _)| *number).collect();
    (answer.head.status, answer.grpc_status(), answer.reason(), replicas)
}

/// What became of an `ask` that the replicas `executed`, and the last of them served.
fn served(ask: Ask, executed: &[usize]) -> Became {
    (200, (ask == Call).then_some(0), None, executed.to_vec())
}

#[test]
fn what_an_application_refused_is_sent_to_the_next_whatever_it_is() {
    for what in [Get, Post, Call] {
        for rule in [None, Some(&[503][..])] {
            assert_eq!(ask(what, rule, Refuses), served(what, &[1]), "{what:?}, {rule:?}");
        }
    }
}

#[test]
fn what_broke_off_is_sent_again_only_if_that_does_no_harm() {
    let failed =
        |status, grpc_status| (status, grpc_status, Some("upstream-closed".to_owned()), vec![0]);
    // Nobody has asked for it, whatever it is.
    assert_eq!(ask(Get, None, Resets), failed(502, None));
    assert_eq!(ask(Post, None, Resets), failed(502, None));
    assert_eq!(ask(Call, None, Resets), failed(200, Some(14)));
    // A rule allows it for what is idempotent, and else for the statuses that it lists.
    assert_eq!(ask(Get, Some(&[]), Resets), served(Get, &[0, 1]));
    assert_eq!(ask(Post, Some(&[503]), Resets), failed(502, None));
    assert_eq!(ask(Post, Some(&[502]), Resets), served(Post, &[0, 1]));
    assert_eq!(ask(Call, Some(&[504]), Resets), failed(200, Some(14)));
    assert_eq!(ask(Call, Some(&[503]), Resets), served(Call, &[0, 1]));
}

#[test]
fn a_stream_that_is_reset_on_a_kept_connection_is_no_end_of_that() {
    let shop = Shop::new(1, Plan::of(1, Protocol::Http2));
    let executed: Executed = shared();
    let answers = shop.sim.run(async {
        let (listener, world, noted) =
            (shop.application(0), shop.hosts[0].world(), executed.clone());
        drop(shop.hosts[0].spawn(http2::serve(listener, world, move |incoming| {
            let what = if incoming.head.target() == "/resets" { Resets } else { Serves };
            handle(0, noted.clone(), what, incoming)
        })));
        let client = shop.client().await;
        let mut statuses = Vec::new();
        for path in ["/a", "/resets", "/b"] {
            statuses.push(client.ask(&Get.head(path), b"").await.unwrap().head.status);
        }
        statuses
    });
    assert_eq!(answers.unwrap(), [200, 502, 200]);
    let executed = executed.borrow();
    let paths: Vec<_> = executed.iter().map(|(_, what)| what.split(' ').next().unwrap()).collect();
    assert_eq!(paths, ["/a", "/resets", "/b"], "none is sent again unasked");
}

#[test]
fn grpc_calls_are_sent_again_after_unavailable_without_a_message() {
    let said = |status: u32| (200, Some(status), None, vec![0]);
    assert_eq!(ask(Call, None, Says(14)), said(14));
    assert_eq!(ask(Call, Some(&[502]), Says(14)), said(14));
    assert_eq!(ask(Call, Some(&[503]), Says(14)), served(Call, &[0, 1]));
    // The caller has the message already.
    assert_eq!(ask(Call, Some(&[503]), SaysLate(14)), said(14));
    for status in [1, 2, 4, 8, 10, 13, 16] {
        let rule = &[500, 502, 503, 504][..];
        assert_eq!(ask(Call, Some(rule), Says(status)), said(status), "{status}");
    }
}

#[test]
fn applications_are_not_believed_that_they_did_nothing() {
    assert_eq!(ask(Post, None, Lies(503)), (503, None, None, vec![0]));
    assert_eq!(ask(Call, None, Lies(503)), (503, None, None, vec![0]));
}

/// How a replica says that nothing has reached its application.
#[derive(Clone, Copy, Debug)]
enum Absent {
    Drains,
    HasNoApplication,
    IsGone,
}

#[test]
fn what_a_proxy_did_not_give_to_its_application_arrives_whole_at_the_next() {
    // More than 64 KiB cannot be kept, and is held back until the application has the head.
    for (what, bytes) in
        [(Get, 0), (Post, 0), (Post, 65_536), (Post, 65_537), (Call, 5), (Call, 200_000)]
    {
        for absent in [Absent::Drains, Absent::HasNoApplication, Absent::IsGone] {
            let case = format!("{absent:?}, {what:?}, {bytes} bytes");
            let shop = Shop::new(1, Plan::of(2, what.protocol()));
            let (executed, body): (Executed, _) = (shared(), content(bytes));
            let answer = shop.sim.run(async {
                serve(&shop, 1, &executed, Serves);
                match absent {
                    Absent::Drains => shop.replica(0).drain().await,
                    Absent::HasNoApplication => {}
                    Absent::IsGone => shop.sim.crash(&shop.hosts[0], weft_sim::Crash::Reset),
                }
                shop.client().await.ask(&what.head("/a"), &body).await.unwrap()
            });
            let executed = executed.borrow();
            assert_eq!(became(&answer.unwrap(), &executed), served(what, &[1]), "{case}");
            assert_eq!(executed[0].1, noted("/a", &body), "{case}");
            assert_eq!(shop.records()[0].attempts, 2, "{case}");
        }
    }
}

/// An application by frames, which knows the streams of requests by their numbers.
struct Frames(Box<dyn Stream>);

impl Frames {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const ENDS: u8 = 1;

    async fn accept(listener: &mut dyn Listener) -> Frames {
        let mut frames = Frames(listener.accept().await.unwrap().stream);
        frames.take(24).await; // The preface.
        frames.send(Frames::SETTINGS, 0, 0, b"").await;
        frames
    }

    async fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while bytes.len() < count {
            assert_eq!(self.0.read(&mut byte).await.unwrap(), 1, "the caller has left");
            bytes.extend_from_slice(&byte);
        }
        bytes
    }

    /// The stream whose request ends next.
    async fn request(&mut self) -> u32 {
        loop {
            let head = self.take(9).await;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            self.take(usize::try_from(length).unwrap()).await;
            let is_of_request = [Frames::DATA, Frames::HEADERS].contains(&head[3]);
            if is_of_request && head[4] & Frames::ENDS != 0 {
                return u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            }
        }
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await.unwrap();
    }

    /// Answers the request of `stream` with 200 and the gRPC status 0.
    async fn answer(&mut self, stream: u32) {
        let field = b"\x00\x0bgrpc-status\x010";
        let status_200 = 0x88;
        let block = [&[status_200], &field[..]].concat();
        self.send(Frames::HEADERS, 4 | Frames::ENDS, stream, &block).await;
    }

    /// Ends the connection for all that comes behind the stream `last`.
    async fn go_away(&mut self, last: u32) {
        self.send(Frames::GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
    }
}

#[test]
fn what_came_behind_the_last_stream_of_an_application_is_sent_again_and_the_rest_is_not() {
    for what in [Get, Post, Call] {
        // To the other replica, or to the only one once more.
        for replicas in [2, 1] {
            let shop = Shop::new(1, Plan::of(replicas, what.protocol()));
            let (executed, last): (Executed, _) = (shared(), replicas - 1);
            let answers = shop.sim.run(async {
                let mut ending = shop.application(0);
                if replicas == 2 {
                    serve(&shop, 1, &executed, Serves);
                }
                let served = executed.clone();
                let (world, first_one) = (shop.hosts[0].world(), noted("/0", what.body()));
                drop(shop.hosts[0].spawn(async move {
                    let mut frames = Frames::accept(&mut *ending).await;
                    let first = frames.request().await;
                    frames.request().await;
                    frames.go_away(first).await;
                    served.borrow_mut().push((0, first_one));
                    frames.answer(first).await;
                    http2::serve(ending, world, move |incoming| {
                        handle(0, served.clone(), Serves, incoming)
                    })
                    .await;
                }));
                let client = shop.client().await;
                let asked = async |path: &str, number: u64| {
                    // The second one would be the other replica's turn.
                    let after = Duration::from_millis(number * 10);
                    shop.sim.sleep(after).await;
                    client.ask(&what.head(path), what.body()).await.unwrap()
                };
                if replicas == 1 {
                    return together([asked("/0", 0), asked("/1", 1)]).await;
                }
                let others = async {
                    shop.sim.sleep(Duration::from_millis(5)).await;
                    client.ask(&what.head("/other"), what.body()).await.unwrap()
                };
                let (answers, _) =
                    tokio::join!(biased; together([asked("/0", 0), asked("/1", 1)]), others);
                answers
            });
            let answers = answers.unwrap();
            let case = format!("{what:?}, {replicas} replicas");
            assert!(answers.iter().all(|answer| answer.head.status == 200), "{case}");
            let executed = executed.borrow();
            let of = |path: &str| {
                let whole = noted(path, what.body());
                let found = executed.iter().filter(|(_, found)| *found == whole);
                found.map(|(number, _)| *number).collect::<Vec<_>>()
            };
            assert_eq!((of("/0"), of("/1")), (vec![0], vec![last]), "{case}");
            let records = shop.records();
            let attempts = |path| {
                records.iter().find(|record| record.target == path).map(|record| record.attempts)
            };
            assert_eq!((attempts("/0"), attempts("/1")), (Some(1), Some(2)), "{case}");
        }
    }
}

#[test]
fn the_budget_bounds_what_may_have_been_processed_and_nothing_else() {
    for (what, expected) in [(Says(14), [2, 1, 1]), (Refuses, [2, 2, 2])] {
        let mut plan = Plan::of(1, Protocol::Grpc);
        // One retry a second, whatever the share is.
        plan.traffic.retry_budget =
            RetryBudget { percent: Percent::new(0).unwrap(), per_second_min: 1 };
        let shop = Shop::new(1, plan);
        follow(&shop, Some(&[503]));
        let executed: Executed = shared();
        let done = shop.sim.run(async {
            serve(&shop, 0, &executed, what);
            let client = shop.client().await;
            for second in 0..3 {
                // Well within one second, as seconds are counted from the start.
                let at = seconds(second + 1) + Duration::from_millis(100);
                shop.sim.sleep(at - shop.sim.now()).await;
                for _ in 0..3 {
                    let answer = client.ask(&Call.head("/a"), Call.body()).await.unwrap();
                    assert_eq!((answer.head.status, answer.grpc_status()), (200, Some(14)));
                }
            }
        });
        done.unwrap();
        let records = shop.records();
        let attempts: Vec<_> = records.iter().map(|record| record.attempts).collect();
        assert_eq!(attempts, [expected, expected, expected].concat(), "{what:?}");
        let denied = records.iter().filter(|record| record.retry_denied == Some("budget"));
        let is_denied = |record: &&weft_telemetry::Record| record.attempts == 1;
        assert_eq!(denied.count(), records.iter().filter(is_denied).count(), "{what:?}");
        if what != Refuses {
            assert_eq!(executed.borrow().len(), 12);
        }
    }
}
