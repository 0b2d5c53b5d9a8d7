//! The same bytes read by us and by hyper: what both accept, both must read alike.
//!
//! Where we refuse what hyper takes, that is meant, and stands in a table with the reason. That we
//! take what hyper refuses must not happen, but for targets that the `http` crate cannot hold.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use weft_http::{
    BodyDecoder, BodySize, Fields, RequestHead, ResponseHead, Step, request, response,
};
use weft_sim::Random;

use super::{changed, corpus};

/// Names in lower case and values, those of one name in their order.
type Sorted = Vec<(String, Vec<u8>)>;

/// A message as it was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reading {
    /// Method, authority and target of a request; status of a response.
    start: String,
    fields: Sorted,
    body: Vec<u8>,
    trailers: Sorted,
}

/// What a reader made of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    whole: Vec<Reading>,
    is_refused: bool,
}

/// Fields without those that each side handles in its own way, and those that it removes.
fn sorted<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Sorted {
    let all: Sorted = fields
        .map(|(name, value)| (String::from_utf8_lossy(name).to_lowercase(), value.to_vec()))
        .collect();
    let is_option = |name: &str| {
        let options = all.iter().filter(|(name, _)| name == "connection");
        options
            .map(|(_, value)| String::from_utf8_lossy(value))
            .any(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case(name)))
    };
    let is_local = |name: &str| {
        name.starts_with("proxy-") || name.starts_with("weft-") || LOCAL.contains(&name)
    };
    let mut kept: Sorted =
        all.iter().filter(|(name, _)| !is_local(name) && !is_option(name)).cloned().collect();
    kept.sort_by(|(a, _), (b, _)| a.cmp(b));
    kept
}

/// Fields that are compared by what they mean, or that speak of one connection.
const LOCAL: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A body from the start of `input`: its bytes, trailers and length, or whether it is refused.
fn our_body(
    size: BodySize,
    ends_with_connection: bool,
    input: &[u8],
) -> Result<(Vec<u8>, Sorted, usize), bool> {
    let mut decoder = BodyDecoder::new(size, ends_with_connection);
    let (mut body, mut trailers, mut start) = (Vec::new(), Fields::default(), 0);
    loop {
        match decoder.step(&input[start..], &mut trailers).map_err(|_| true)? {
            Step::Skip(count) => start += count,
            Step::Data(count) => {
                body.extend_from_slice(&input[start..start + count]);
                decoder.consume(count);
                start += count;
            }
            Step::More => return Err(false),
            Step::End => return Ok((body, sorted(trailers.iter()), start)),
        }
    }
}

fn our_requests(mut input: &[u8]) -> Outcome {
    let mut whole = Vec::new();
    let mut head = RequestHead::default();
    let is_refused = loop {
        let parsed = match request::parse(input, &mut head) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => break false,
            Err(_) => break true,
        };
        let (body, trailers, length) = match our_body(parsed.size, false, &input[parsed.bytes..]) {
            Ok(read) => read,
            Err(is_refused) => break is_refused,
        };
        input = &input[parsed.bytes + length..];
        let start = format!("{} {} {}", head.method(), head.authority(), head.target());
        whole.push(Reading { start, fields: sorted(head.fields.iter()), body, trailers });
        if !parsed.keep_alive {
            break false;
        }
    };
    Outcome { whole, is_refused }
}

fn our_response(input: &[u8], to_head: bool) -> Outcome {
    let mut whole = Vec::new();
    let mut head = ResponseHead::default();
    let mut start = 0;
    let is_refused = loop {
        let parsed = match response::parse(&input[start..], to_head, &mut head) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => break false,
            Err(_) => break true,
        };
        start += parsed.bytes;
        if head.status < 200 && !parsed.upgrade {
            continue;
        }
        let read = our_body(parsed.size, parsed.ends_with_connection, &input[start..]);
        let (body, trailers, _) = match read {
            Ok(read) => read,
            Err(is_refused) => break is_refused,
        };
        let start = head.status.to_string();
        whole.push(Reading { start, fields: sorted(head.fields.iter()), body, trailers });
        break false;
    };
    Outcome { whole, is_refused }
}

/// A connection whose peer has sent `pieces` and sends no more.
struct Wire {
    pieces: VecDeque<Vec<u8>>,
    /// The peer waits for something before it sends.
    is_waiting: bool,
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_waiting {
            return Poll::Pending;
        }
        let Some(mut piece) = self.pieces.pop_front() else { return Poll::Pending };
        let rest = piece.split_off(piece.len().min(buffer.remaining()));
        if !rest.is_empty() {
            self.pieces.push_front(rest);
        }
        buffer.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_waiting = false;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A body without bytes.
struct Empty;

impl Body for Empty {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

/// Polls until nothing happens any more.
fn settle<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    (0..200).find_map(|_| match future.as_mut().poll(&mut cx) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

async fn their_body(mut body: Incoming, reading: &mut Reading) -> Result<(), hyper::Error> {
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => reading.body.extend_from_slice(&data),
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                let fields = trailers.iter();
                reading.trailers =
                    sorted(fields.map(|(name, value)| (name.as_ref(), value.as_bytes())));
            }
        }
    }
    Ok(())
}

fn their_requests(input: &[u8]) -> Outcome {
    let outcome = Rc::new(RefCell::new(Outcome { whole: Vec::new(), is_refused: false }));
    let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
        let outcome = Rc::clone(&outcome);
        async move {
            let (head, body) = request.into_parts();
            let host = head.headers.get("host").map(|host| host.as_bytes());
            let host = String::from_utf8_lossy(host.unwrap_or_default()).into_owned();
            let authority = head.uri.authority().map_or(host, ToString::to_string);
            let target = match head.uri.path_and_query() {
                Some(_) if head.method == "OPTIONS" && head.uri.path() == "/" && is_bare(&head) => {
                    "*".to_owned()
                }
                target => target.map_or(String::new(), ToString::to_string),
            };
            let start = format!("{} {authority} {target}", head.method);
            let fields = head.headers.iter();
            let fields = sorted(fields.map(|(name, value)| (name.as_ref(), value.as_bytes())));
            let mut reading = Reading { start, fields, ..Reading::default() };
            match their_body(body, &mut reading).await {
                Ok(()) => outcome.borrow_mut().whole.push(reading),
                Err(_) => outcome.borrow_mut().is_refused = true,
            }
            Ok::<_, Infallible>(hyper::Response::new(Empty))
        }
    });
    let wire = Wire { pieces: VecDeque::from([input.to_vec()]), is_waiting: false };
    let served = settle(hyper::server::conn::http1::Builder::new().serve_connection(wire, service));
    let mut outcome = outcome.replace(Outcome { whole: Vec::new(), is_refused: false });
    outcome.is_refused |= matches!(served, Some(Err(_)));
    outcome
}

/// Whether an absolute target ends with the authority.
fn is_bare(head: &hyper::http::request::Parts) -> bool {
    head.uri.authority().is_some() && head.uri.query().is_none()
}

fn their_response(input: &[u8], to_head: bool) -> Outcome {
    let wire = Wire { pieces: VecDeque::from([input.to_vec()]), is_waiting: true };
    let mut outcome = Outcome { whole: Vec::new(), is_refused: false };
    let result = settle(async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(wire).await?;
        let mut connection = pin!(connection);
        let method = if to_head { "HEAD" } else { "GET" };
        let request = hyper::Request::builder().method(method).uri("/").header("host", "a");
        let exchange = async {
            let response = sender.send_request(request.body(Empty).unwrap()).await?;
            let (head, body) = response.into_parts();
            let fields = head.headers.iter();
            let fields = sorted(fields.map(|(name, value)| (name.as_ref(), value.as_bytes())));
            let start = head.status.as_u16().to_string();
            let mut reading = Reading { start, fields, ..Reading::default() };
            their_body(body, &mut reading).await?;
            Ok::<_, hyper::Error>(reading)
        };
        let mut exchange = pin!(exchange);
        poll_fn(|cx| {
            let _ = connection.as_mut().poll(cx);
            exchange.as_mut().poll(cx)
        })
        .await
    });
    match result {
        Some(Ok(reading)) => outcome.whole.push(reading),
        Some(Err(_)) => outcome.is_refused = true,
        None => {}
    }
    outcome
}

fn wire(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

/// Requests that both take.
const ALIKE: &[&str] = &[
    "GET / HTTP/1.1\nHost: a\n\n",
    "GET /a?b=c%20d HTTP/1.1\nhost: a:80\nX: 1\nY: \u{e9}\nx: 2\n\nGET /2 HTTP/1.1\nHost: a\n\n",
    "GET http://b/c?d HTTP/1.1\nHost: a\n\n",
    "GET http://b HTTP/1.1\nHost: a\n\n",
    "OPTIONS * HTTP/1.1\nHost: a\n\n",
    "POST / HTTP/1.1\nHost: a\nContent-Length: 3\n\nabcGET /2 HTTP/1.1\nHost: a\n\n",
    "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n3;x=1\nabc\n01  \nd\n0\n\n\
        GET /2 HTTP/1.1\nHost: a\n\n",
    "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: Chunked\nTrailer: x-t\n\n0\nX-T: 1\n\n",
    "GET / HTTP/1.0\nHost: a\n\n",
    "GET / HTTP/1.0\nHost: a\nConnection: keep-alive\n\nGET /2 HTTP/1.0\nHost: a\n\n",
    "GET / HTTP/1.1\nHost: a\nConnection: close\n\nGET /2 HTTP/1.1\nHost: a\n\n",
    "HEAD / HTTP/1.1\nHost: a\nConnection: x-a, te\nX-A: 1\nKeep-Alive: 1\nTE: trailers\n\n",
    "\nGET / HTTP/1.1\nHost: a\nX:\t1 \t\nY:\n\n",
];

/// Requests that we refuse and hyper takes, each with the reason.
const STRICTER: &[(&str, &str)] = &[
    (
        "POST / HTTP/1.1\nHost: a\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n",
        "RFC 9112, section 6.1: both are an attempt at smuggling, and may be refused",
    ),
    (
        "POST / HTTP/1.1\nHost: a\nContent-Length: 3\nContent-Length: 3\n\nabc",
        "RFC 9110, section 8.6: may be refused, and no honest sender writes it",
    ),
    (
        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked\n\n0\n\n",
        "RFC 9112, section 6.1: an unknown coding should be answered with 501",
    ),
    ("GET / HTTP/1.1\n\n", "RFC 9112, section 3.2: without Host it must be refused"),
    ("GET / HTTP/1.1\nHost: a\nHost: b\n\n", "RFC 9112, section 3.2: so must two of them"),
    ("GET / HTTP/1.1\nHost: a/b\n\n", "RFC 9112, section 3.2: and what is no host"),
    ("GET / HTTP/1.1\nHost: a:65536\n\n", "RFC 3986, section 3.2.3: nor is there such a port"),
    ("GET /#a HTTP/1.1\nHost: a\n\n", "RFC 9112, section 3.2: a target has no fragment"),
    ("GET /\u{e9} HTTP/1.1\nHost: a\n\n", "RFC 3986, section 2: a target is ASCII"),
    ("GET a HTTP/1.1\nHost: a\n\n", "RFC 9112, section 3.2: authority-form is for CONNECT"),
    ("GET * HTTP/1.1\nHost: a\n\n", "RFC 9112, section 3.2.4: asterisk-form is for OPTIONS"),
    ("GET https://a/ HTTP/1.1\nHost: a\n\n", "RFC 9110, section 7.4: it came without TLS"),
];

#[test]
fn what_both_take_both_read_alike() {
    for request in ALIKE {
        let (ours, theirs) = (our_requests(&wire(request)), their_requests(&wire(request)));
        assert_eq!(ours, theirs, "{request}");
        assert!(!ours.is_refused && !ours.whole.is_empty(), "{request}");
    }
}

#[test]
fn where_we_are_stricter_there_is_a_reason() {
    for (request, reason) in STRICTER {
        let (ours, theirs) = (our_requests(&wire(request)), their_requests(&wire(request)));
        assert!(ours.is_refused && ours.whole.is_empty(), "{request} is taken: {reason}");
        assert!(!theirs.is_refused && !theirs.whole.is_empty(), "hyper refuses {request}");
    }
}

/// Whether the `http` crate refuses the target or the authority of a request that we take.
fn is_beyond_their_uri(reading: &Reading) -> bool {
    let mut parts = reading.start.splitn(3, ' ').skip(1);
    let authority = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or_default();
    let uri = |text: &str| text.parse::<hyper::Uri>().is_err();
    uri(target) || (!authority.is_empty() && uri(&format!("http://{authority}{target}")))
}

#[test]
fn requests_changed_at_random_are_never_read_in_two_ways() {
    let mut random = Random::new(1);
    let mut seeds: Vec<Vec<u8>> = ALIKE.iter().map(|request| wire(request)).collect();
    seeds.extend(STRICTER.iter().map(|(request, _)| wire(request)));
    let fuzzed: Vec<Vec<u8>> = corpus("request_head").into_iter().map(|(_, input)| input).collect();
    let mut taken_by_both = 0;
    for _ in 0..50_000 {
        let seeds = if random.chance(0.2) { &fuzzed } else { &seeds };
        let input = changed(random.pick::<Vec<u8>>(seeds), &mut random);
        let shown = || input.escape_ascii().to_string();
        let (ours, theirs) = (our_requests(&input), their_requests(&input));
        for (number, ours) in ours.whole.iter().enumerate() {
            if ours.start.starts_with("CONNECT ") {
                break; // What follows is the service's to say.
            }
            let Some(theirs) = theirs.whole.get(number) else {
                assert!(is_beyond_their_uri(ours), "only we take {ours:?} of {}", shown());
                break;
            };
            assert_eq!(ours, theirs, "{}", shown());
            taken_by_both += 1;
        }
    }
    assert!(taken_by_both > 5_000, "only {taken_by_both}");
}

/// Responses that both take, and whether they answer `HEAD`.
const ANSWERS: &[(&str, bool)] = &[
    ("HTTP/1.1 200 OK\nContent-Length: 3\nX: 1\n\nabc", false),
    ("HTTP/1.1 200\nContent-Length: 0\n\n", false),
    ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3;a=b\nabc\n0\nX-T: 1\n\n", false),
    ("HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Hints\nX: 1\n\nHTTP/1.1 204 No\nY: 1\n\n", false),
    ("HTTP/1.1 304 No\nContent-Length: 3\n\n", false),
    ("HTTP/1.1 200 OK\nContent-Length: 3\n\n", true),
    ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", true),
    ("HTTP/1.0 200 OK\nContent-Length: 3\nConnection: keep-alive\n\nabc", false),
];

#[test]
fn answers_are_read_alike() {
    for (answer, to_head) in ANSWERS {
        let input = wire(answer);
        let (ours, theirs) = (our_response(&input, *to_head), their_response(&input, *to_head));
        assert_eq!(ours, theirs, "{answer}");
        assert_eq!(ours.whole.len(), 1, "{answer}");
    }
}

#[test]
fn answers_changed_at_random_are_never_read_in_two_ways() {
    let mut random = Random::new(2);
    let mut taken_by_both = 0;
    for _ in 0..50_000 {
        let (answer, to_head) = *random.pick(ANSWERS);
        let input = changed(&wire(answer), &mut random);
        let shown = || input.escape_ascii().to_string();
        let (ours, theirs) = (our_response(&input, to_head), their_response(&input, to_head));
        let Some(ours) = ours.whole.first() else { continue };
        assert_eq!(Some(ours), theirs.whole.first(), "{}", shown());
        taken_by_both += 1;
    }
    assert!(taken_by_both > 3_000, "only {taken_by_both}");
}
