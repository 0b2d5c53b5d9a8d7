//! Heads as large as may be: what the first proxy takes, the second takes too, whatever they tell
//! each other in between.

use weft_http::{BodySize, Fields, HeadLimits, RequestHead, ResponseHead, request, response};
use weft_model::{Protocol, TimeBound, Timeouts};

use crate::shop::{Plan, Shop, route};
use crate::talk::Line;
use crate::{seconds, sharing};

/// The most fields, and bytes, that an application may write.
const FIELDS_MAX: usize = weft_http::FIELDS_MAX;
const BYTES_MAX: usize = weft_http::HEAD_BYTES_MAX;

/// A request of HTTP/1.1 without its fields. Its body may be too large to be sent again, which the
/// proxies tell each other.
const START: &str = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";

/// What a request takes in HTTP/2, counted as there, besides its fields.
const START_IN_HTTP2: usize = 60;

/// An answer of HTTP/1.1 without its fields. Its body ends with the connection.
const ANSWER: &str = "HTTP/1.1 200 OK\r\n";

/// What an answer takes in HTTP/2 besides its fields.
const ANSWER_IN_HTTP2: usize = "OK".len() + 17 + 28;

/// As many short fields, spelled as short as can be.
fn short(count: usize) -> String {
    (0..count).map(|number| format!("x{number}:y\r\n")).collect()
}

/// Some short fields and a long one, so that a head is `bytes` large with what it has `besides`.
fn long(bytes: usize, besides: usize, overhead: usize) -> String {
    let fields = short(100);
    let short_bytes: usize = fields.lines().map(|line| line.len() - 1 + overhead).sum();
    let value = bytes - besides - short_bytes - "z".len() - overhead;
    format!("{fields}z:{}\r\n", "v".repeat(value))
}

/// One replica that speaks `protocol`, whose callers' proxies have much to tell.
fn shop(protocol: Protocol) -> Shop {
    let bound = |limit| TimeBound::new(seconds(limit)).unwrap();
    let mut plan = Plan::of(1, protocol);
    plan.traffic.timeouts.stream_idle = bound(600);
    let shop = Shop::new(1, plan);
    let timeouts = Timeouts::new(Some(bound(300)), None).unwrap();
    shop.registry.apply([route(|rule| rule.timeouts = timeouts)], []);
    shop
}

/// How a request or an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Http1,
    Http2,
}

use Codec::{Http1, Http2};

/// What becomes of a request with these `fields` and `trailers`, and of its answer with `answer`:
/// the status that the caller sees.
fn ask(caller: Codec, service: Codec, fields: &str, trailers: &str, answer: &str) -> Option<u16> {
    let shop = shop(if service == Http1 { Protocol::Http } else { Protocol::Http2 });
    let status = shop.sim.run(async {
        match service {
            Http1 => {
                let (mut listener, world) = (shop.application(0), shop.hosts[0].world());
                let answer = format!("{ANSWER}{answer}\r\nwell");
                drop(shop.hosts[0].spawn(async move {
                    while let Ok(accepted) = listener.accept().await {
                        let mut line = Line::new(world.clone(), accepted.stream);
                        if line.request().await.is_some() {
                            let _gone = line.send(answer.as_bytes()).await;
                        }
                    }
                }));
            }
            Http2 => {
                let text = format!("{ANSWER}{answer}\r\n");
                let mut head = ResponseHead::default();
                response::parse_within(HeadLimits::MESH, text.as_bytes(), false, &mut head)
                    .unwrap()
                    .unwrap();
                drop(sharing::serve_with(&shop, 0, head, |_| seconds(1)));
            }
        }
        let text = format!("{START}{fields}\r\n");
        match caller {
            Http1 => {
                let mut line = shop.call().await;
                line.send(format!("{text}0\r\n{trailers}\r\n").as_bytes()).await.ok()?;
                line.answer().await.map(|(status, _)| status)
            }
            Http2 => {
                let mut head = RequestHead::default();
                request::parse_within(HeadLimits::MESH, text.as_bytes(), &mut head)
                    .unwrap()
                    .unwrap();
                let mut sent = Fields::default();
                for line in trailers.lines() {
                    let (name, value) = line.split_once(':').unwrap();
                    sent.append(name, value.as_bytes());
                }
                sharing::call_with(&shop, &head, BodySize::Unknown, &sent).await
            }
        }
    });
    status.unwrap()
}

const ALL: [(Codec, Codec); 4] = [(Http1, Http1), (Http1, Http2), (Http2, Http1), (Http2, Http2)];

#[test]
fn what_the_first_proxy_takes_of_a_request_the_second_takes() {
    for (caller, service) in ALL {
        let ask = |fields: &str| ask(caller, service, fields, "", "");
        // Two fields are there already, and have their place in HTTP/2 too.
        assert_eq!(ask(&short(FIELDS_MAX - 2)), Some(200), "{caller:?} to {service:?}");
        assert_eq!(ask(&short(FIELDS_MAX - 1)), Some(431), "{caller:?} to {service:?}");
        let large = |bytes| match caller {
            Http1 => long(bytes, START.len() + "\r\n".len(), ":\r\n".len()),
            Http2 => long(bytes, START_IN_HTTP2, ": \r\n".len()),
        };
        assert_eq!(ask(&large(BYTES_MAX)), Some(200), "{caller:?} to {service:?}");
        assert_eq!(ask(&large(BYTES_MAX + 1)), Some(431), "{caller:?} to {service:?}");
    }
}

#[test]
fn what_the_first_proxy_takes_of_an_answer_the_second_takes() {
    for (caller, service) in ALL {
        let ask = |answer: &str| ask(caller, service, "", "", answer);
        let most = if service == Http1 { FIELDS_MAX } else { FIELDS_MAX - 1 };
        assert_eq!(ask(&short(most)), Some(200), "{service:?} to {caller:?}");
        assert_eq!(ask(&short(most + 1)), Some(502), "{service:?} to {caller:?}");
        let large = |bytes| match service {
            Http1 => long(bytes, ANSWER.len() + "\r\n".len(), ":\r\n".len()),
            Http2 => long(bytes, ANSWER_IN_HTTP2, ": \r\n".len()),
        };
        assert_eq!(ask(&large(BYTES_MAX)), Some(200), "{service:?} to {caller:?}");
        assert_eq!(ask(&large(BYTES_MAX + 1)), Some(502), "{service:?} to {caller:?}");
    }
}

#[test]
fn what_the_first_proxy_takes_of_trailers_the_second_takes() {
    const BYTES_MAX: usize = 16 * 1024;
    for (caller, service) in ALL {
        let ask = |trailers: &str| ask(caller, service, "", trailers, "");
        // However short they are spelled, it counts what they are on their way.
        let large = |bytes: usize| {
            let fields: String = (0..30).map(|number| format!("x{number}:y\r\n")).collect();
            let short: usize = fields.lines().map(|line| line.len() + 3).sum();
            format!("{fields}z:{}\r\n", "v".repeat(bytes - short - "z: \r\n\r\n".len()))
        };
        assert_eq!(ask(&large(BYTES_MAX)), Some(200), "{caller:?} to {service:?}");
        assert_ne!(ask(&large(BYTES_MAX + 1)), Some(200), "{caller:?} to {service:?}");
        assert_eq!(ask(&short(32)), Some(200), "{caller:?} to {service:?}");
        assert_ne!(ask(&short(33)), Some(200), "{caller:?} to {service:?}");
    }
}

#[test]
fn a_target_that_grows_on_its_way_into_http2_is_counted_as_it_will_be() {
    // Each quotation mark is three bytes there.
    for (count, status) in [(21_000, 200), (22_000, 431)] {
        let shop = shop(Protocol::Http2);
        let done = shop.sim.run(async {
            let _seen = sharing::serve(&shop, 0, seconds(1));
            let mut line = shop.call().await;
            let target = format!("/a?{}", "\"".repeat(count));
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            line.send(head.as_bytes()).await.unwrap();
            line.answer().await.map(|(status, _)| status)
        });
        assert_eq!(done.unwrap(), Some(status), "{count} marks");
    }
}
