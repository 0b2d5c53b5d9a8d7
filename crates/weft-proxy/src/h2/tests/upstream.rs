//! Servers' connections: what they take, what their end proves, and what is told in gRPC.

use ::h2::Reason;
use weft_decide::retry::Outcome;
use weft_http::RequestHead;
use weft_model::{AbortCode, AbortWith};
use weft_wire::tunnel::{Answer, InnerProtocol, Preface, Verdict, encode};

use super::super::grpc;
use super::raw::*;
use super::*;
use crate::error::StreamError;
use crate::exchange::{Reply, Sink, Source};

const OK: &[(&str, &str)] = &[(":status", "200")];

/// The head of `GET /` to `shop`.
fn request_head() -> RequestHead {
    let mut head = RequestHead::default();
    weft_http::request::parse(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n", &mut head).unwrap();
    head
}

/// A connection to a server that sends what it likes.
async fn hostile() -> (Connection, Peer) {
    let (stream, server) = pipe();
    let (_, clock) = clock();
    let connection = connect(stream, clock).await;
    (connection, Peer::server(server).await)
}

/// Sends `GET /` on `connection`.
fn ask(connection: &mut Connection) -> super::super::client::ClientStream {
    let mut stream = connection.open().unwrap();
    stream.send_head(&request_head(), BodySize::Length(0));
    stream.end(&weft_http::Fields::default()).unwrap();
    stream
}

/// The final head of the answer.
async fn answered(stream: &mut dyn Upstream) -> Result<(u16, Reply), StreamError> {
    let mut head = ResponseHead::default();
    loop {
        match poll_fn(|cx| stream.poll_head(cx, &mut head)).await? {
            Reply::Informational => {}
            reply => return Ok((head.status, reply)),
        }
    }
}

/// How an exchange by `stream` fails.
async fn failure(stream: &mut dyn Upstream) -> ProxyError {
    let (mut head, mut response) = (request_head(), ResponseHead::default());
    let (downstream, _caller) = pipe();
    let mut downstream = crate::h1::Server::new(downstream, Buffer::default());
    let size = BodySize::Length(0);
    let mut exchange = Exchange::new(&mut head, size, &mut response, &mut downstream);
    exchanged(&mut exchange, stream).await.unwrap_err()
}

/// What that says of whether the application saw the request.
async fn outcome(stream: &mut dyn Upstream) -> Outcome {
    failure(stream).await.verdict().outcome
}

#[test]
fn a_connection_is_shared_within_limits() {
    run(async {
        let (mut connection, mut peer) = hostile().await;
        settle().await;
        assert_eq!((connection.capacity(), connection.open_count()), (100, 0));
        peer.send(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 2]).await;
        settle().await;
        assert_eq!(connection.capacity(), 2, "the server has said so");
        let mut first = ask(&mut connection);
        let second = ask(&mut connection);
        assert!(!first.was_reused() && !first.is_reusable());
        assert_eq!((connection.capacity(), connection.open_count()), (0, 2));
        let mut waiting = connection.clone();
        let waiting = spawn_local(async move { poll_fn(|cx| waiting.poll_ready(cx)).await });
        settle().await;
        assert!(!waiting.is_finished());
        assert_eq!(peer.next_of(&[HEADERS]).await.stream, 1);
        peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(OK)).await;
        assert_eq!(answered(&mut first).await.unwrap(), (200, Reply::Final(BodySize::Length(0))));
        drop(first);
        waiting.await.unwrap().unwrap();
        assert!(connection.open().unwrap().was_reused());

        // An exchange that is dropped is given up.
        drop(second);
        let frame = peer.next_of(&[RST_STREAM]).await;
        assert_eq!((frame.stream, frame.code()), (3, u32::from(Reason::CANCEL)));

        // With the last handle, the connection ends in order.
        drop(connection);
        assert_eq!(peer.next_of(&[GOAWAY]).await.code(), 0);
        assert_eq!(peer.next().await, None);
    });
}

#[test]
fn what_was_provably_not_processed_is_told_from_what_may_have_been() {
    run(async {
        let (mut connection, mut peer) = hostile().await;
        for (reason, expected) in [
            (Reason::REFUSED_STREAM, true),
            (Reason::CANCEL, false),
            (Reason::INTERNAL_ERROR, false),
            (Reason::HTTP_1_1_REQUIRED, false),
        ] {
            let mut stream = ask(&mut connection);
            let id = peer.next_of(&[HEADERS]).await.stream;
            peer.send(RST_STREAM, 0, id, &u32::from(reason).to_be_bytes()).await;
            let error = answered(&mut stream).await.unwrap_err();
            assert_eq!(error.is_unprocessed(), expected, "{reason}: {error}");
        }
        // GOAWAY: what is above the last one was not processed, the others may still be answered.
        let mut below = ask(&mut connection);
        let mut above = ask(&mut connection);
        let id = peer.next_of(&[HEADERS]).await.stream;
        peer.next_of(&[HEADERS]).await;
        let mut payload = id.to_be_bytes().to_vec();
        payload.extend_from_slice(&[0; 4]);
        let mut unsent = connection.open().unwrap();
        peer.send(GOAWAY, 0, 0, &payload).await;
        assert!(answered(&mut above).await.unwrap_err().is_unprocessed());
        assert!(!connection.is_usable() && connection.capacity() == 0);
        assert!(connection.open().is_err_and(|error| error.is_unprocessed()));
        assert_eq!(outcome(&mut unsent).await, Outcome::Unprocessed, "it was only opened");
        peer.send(HEADERS, END_HEADERS | END_STREAM, id, &block(OK)).await;
        assert_eq!(answered(&mut below).await.unwrap().0, 200);
    });
}

#[test]
fn the_end_of_a_connection_proves_nothing_of_what_was_sent() {
    run(async {
        let (mut connection, mut peer) = hostile().await;
        let mut first = connection.open().unwrap();
        spawn_local(async move {
            peer.next_of(&[HEADERS]).await;
        });
        assert_eq!(outcome(&mut first).await, Outcome::Unknown);
        drop(first);
        assert!(connection.open().is_err_and(|error| error.is_unprocessed()));

        let (mut connection, mut peer) = hostile().await;
        let mut first = ask(&mut connection);
        peer.next_of(&[HEADERS]).await;
        peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(OK)).await;
        answered(&mut first).await.unwrap();
        let mut second = connection.open().unwrap();
        spawn_local(async move {
            peer.next_of(&[HEADERS]).await;
        });
        assert_eq!(outcome(&mut second).await, Outcome::BrokeWhenReused);
    });
}

#[test]
fn malformed_answers_are_refused() {
    run(async {
        let (mut connection, mut peer) = hostile().await;
        for (fields, what) in [
            (vec![(":status", "101")], "a change of protocols"),
            (vec![(":status", "200"), ("connection", "close")], "a field of the connection"),
            (vec![("server", "x")], "no status"),
            (vec![(":status", "200"), ("content-length", "5")], "a body that never comes"),
            ([OK, &[("a", "b"); 129]].concat(), "too many fields"),
        ] {
            let mut stream = ask(&mut connection);
            let id = peer.next_of(&[HEADERS]).await.stream;
            peer.send(HEADERS, END_HEADERS | END_STREAM, id, &block(&fields)).await;
            let error = answered(&mut stream).await.unwrap_err();
            assert!(matches!(error, StreamError::Grammar(_)), "{what}: {error}");
        }
        let mut stream = ask(&mut connection);
        let id = peer.next_of(&[HEADERS]).await.stream;
        for _ in 0..40 {
            peer.send(HEADERS, END_HEADERS, id, &block(&[(":status", "103")])).await;
        }
        let error = answered(&mut stream).await.unwrap_err();
        assert!(matches!(error, StreamError::Grammar(_)), "{error}");

        // 204 ends its stream in a frame of its own, which may hold nothing.
        for (body, is_sound) in [(&b""[..], true), (b"x", false)] {
            let mut stream = ask(&mut connection);
            let id = peer.next_of(&[HEADERS]).await.stream;
            peer.send(HEADERS, END_HEADERS, id, &block(&[(":status", "204")])).await;
            peer.send(DATA, END_STREAM, id, body).await;
            assert_eq!(answered(&mut stream).await.unwrap().1, Reply::Final(BodySize::None));
            let piece = poll_fn(|cx| stream.poll_piece(cx)).await;
            assert_eq!(piece.is_ok(), is_sound);
        }
    });
}

#[test]
fn large_pieces_are_passed_on_without_being_copied() {
    run(async {
        let (mut connection, mut peer) = hostile().await;
        let mut answer = ask(&mut connection);
        let id = peer.next_of(&[HEADERS]).await.stream;
        peer.send(HEADERS, END_HEADERS, id, &block(OK)).await;
        answered(&mut answer).await.unwrap();
        for (length, is_shared) in [(100, false), (16_384, true)] {
            peer.send(DATA, 0, id, &vec![7; length]).await;
            poll_fn(|cx| answer.poll_piece(cx)).await.unwrap();
            assert_eq!(answer.piece().len(), length);
            let shared = answer.shared_piece();
            assert_eq!(
                shared.map(|piece| piece.as_ptr()),
                is_shared.then(|| answer.piece().as_ptr())
            );
            answer.consume(length);
        }
    });
}

#[test]
fn a_server_that_is_gone_without_a_word_is_noticed() {
    run(async {
        let (stream, server) = pipe();
        let (time, clock) = clock();
        let mut connection = connect(stream, clock).await;
        let mut peer = Peer::server(server).await;
        let mut stream = ask(&mut connection);
        peer.next_of(&[HEADERS]).await;
        settle().await;
        for _ in 0..3 {
            assert!(connection.is_usable());
            time.advance(super::super::keepalive::INTERVAL);
            settle().await;
        }
        assert!(!connection.is_usable());
        let error = answered(&mut stream).await.unwrap_err();
        assert!(error.to_string().contains("ping"), "{error}");
        assert!(!error.is_unprocessed());
    });
}

#[test]
fn late_frames_of_servers_are_ignored_as_long_as_the_clock_says() {
    run(async {
        for is_over_at_once in [false, true] {
            let (stream, server) = pipe();
            let (time, clock) = clock();
            time.is_over_at_once.set(is_over_at_once);
            let mut connection = connect(stream, clock).await;
            let mut peer = Peer::server(server).await;
            let stream = ask(&mut connection);
            peer.next_of(&[HEADERS]).await;
            drop(stream);
            peer.next_of(&[RST_STREAM]).await;
            peer.send(HEADERS, END_HEADERS, 1, &block(OK)).await;
            assert_eq!(peer.is_reset(1).await, is_over_at_once);
        }
    });
}

#[test]
fn an_idle_connection_is_not_pinged() {
    run(async {
        let (stream, server) = pipe();
        let (time, clock) = clock();
        let mut connection = connect(stream, clock).await;
        let _peer = Peer::server(server).await;
        for _ in 0..10 {
            time.advance(super::super::keepalive::INTERVAL);
            settle().await;
        }
        assert!(connection.is_usable(), "its server says nothing, and was asked nothing");
    });
}

#[test]
fn a_refused_tunnel_is_told_to_each_exchange() {
    run(async {
        let (stream, mut server) = pipe();
        let preface = Preface {
            workload: "shop/cart-1".to_owned(),
            target_port: 80,
            protocol: InnerProtocol::Http2.into(),
            ..Preface::default()
        };
        let tunnel = crate::tunnel::ClientTunnel::open(stream, &preface).await.unwrap();
        let (_, clock) = clock();
        let mut connection = connect(Box::new(tunnel), clock).await;
        let (mut first, mut second) = (connection.open().unwrap(), connection.open().unwrap());
        let (reason, detail) = ("not-me".to_owned(), "this is another".to_owned());
        let refusal = Answer { verdict: Verdict::Refused.into(), reason, detail };
        server.write_all(&encode(&refusal).unwrap()).await.unwrap();
        for stream in [&mut first, &mut second] {
            let error = failure(stream).await;
            let is_told = matches!(&error, ProxyError::TunnelRefused { workload, reason, .. }
                if workload == "shop/cart-1" && reason == "not-me");
            assert!(is_told, "{error}");
        }
    });
}

#[test]
fn odd_requests_of_http1_are_spelled_as_http2_allows() {
    run(async {
        let (mut connection, mut peer) = hostile().await;
        for (request, wanted) in [
            ("GET /a|b<?c>\" HTTP/1.1\r\nHost: shop\r\n\r\n", "/a|b%3C?c%3E%22"),
            ("OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n", "*"),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "/"),
        ] {
            let mut head = RequestHead::default();
            weft_http::request::parse(request.as_bytes(), &mut head).unwrap();
            let mut stream = connection.open().unwrap();
            stream.send_head(&head, BodySize::Length(0));
            stream.end(&weft_http::Fields::default()).unwrap();
            let frame = peer.next_of(&[HEADERS]).await;
            let sent =
                super::super::heads::request(&head, BodySize::Length(0), ::http::uri::Scheme::HTTP)
                    .unwrap();
            assert_eq!(sent.uri().path_and_query().unwrap(), wanted);
            assert_eq!(frame.flags, END_HEADERS | END_STREAM, "{request}");
        }
    });
}

#[test]
fn a_grpc_call_is_told_its_failure() {
    let verdict = ProxyError::NoEndpoint { backend: "cart".to_owned() }.verdict();
    let head = grpc::failure(&verdict, "100 % \"ü\"\nend");
    assert_eq!((head.status, weft_decide::grpc::status(&head.fields)), (200, Some(14)));
    let field = |name| std::str::from_utf8(head.fields.get(name).unwrap()).unwrap();
    assert_eq!(field("grpc-message"), "100 %25 \"%C3%BC\"%0Aend");
    assert_eq!(field("content-type"), "application/grpc");
    assert_eq!(field("weft-reason"), "no-endpoint");
    for (status, code) in [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (504, 4), (418, 2)]
    {
        assert_eq!(grpc::status_of_http(status), code);
    }
    let with = AbortWith::Grpc(AbortCode::new(8).unwrap());
    let injected = ProxyError::FaultInjected { policy: "shop/drill".to_owned(), with }.verdict();
    let head = grpc::failure(&injected, "");
    assert_eq!((injected.status, weft_decide::grpc::status(&head.fields)), (429, Some(8)));
    let long = grpc::failure(&verdict, &"ü".repeat(10_000));
    assert!(long.fields.get("grpc-message").unwrap().len() < 1100);
}

#[test]
fn a_failure_in_grpc_is_one_frame() {
    run(async {
        let (stream, client) = pipe();
        let (_, clock) = clock();
        let mut server = Server::new(stream, clock);
        spawn_local(async move {
            let Incoming { mut head, size, mut stream } = server.accept().await.unwrap();
            let mut response = ResponseHead::default();
            let known = size.unwrap();
            let mut exchange = Exchange::new(&mut head, known, &mut response, &mut stream);
            let error = ProxyError::NoEndpoint { backend: "cart".to_owned() };
            let failure = grpc::failure(&error.verdict(), &error.to_string());
            exchange.answer(&failure, b"").await.unwrap();
            drop(stream);
            assert!(server.accept().await.is_none());
        });
        let mut send = caller(client).await;
        let (response, _) = send.send_request(post("/shop.Cart/Add"), true).unwrap();
        let response = response.await.unwrap();
        assert!(response.body().is_end_stream());
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "cart has no endpoint to call");
    });
}
