//! Exchanges carried between HTTP/1.1 and HTTP/2 in all four combinations.

use weft_http::RequestHead;

use super::*;
use crate::exchange::{Downstream, Sink};
use crate::h1;
use crate::h2::server::ServerStream;

/// How much a caller takes of an answer that has not said otherwise, in bytes.
const WINDOW: usize = 65_535;

/// A caller, and a proxy that leads it to `handle`; HTTP/2 on both sides.
async fn through<F: Future<Output = ()> + 'static>(
    handle: impl Fn(Asked, Respond) -> F + 'static,
) -> (::h2::client::SendRequest<Bytes>, Log) {
    let (downstream, client) = pipe();
    let (upstream, server) = pipe();
    let log = proxy(downstream, upstream);
    application(server, handle);
    (caller(client).await, log)
}

#[test]
fn heads_bodies_and_trailers_pass_both_ways() {
    run(async {
        let (mut send, log) = through(|mut request, mut respond| async move {
            assert_eq!(request.uri(), "http://shop/cart?item=1");
            assert_eq!(request.headers()["te"], "trailers");
            assert_eq!(request.headers()["cookie"], "a=1; b=2");
            assert_eq!(request.headers().get("content-length"), None);
            let (body, trailers) = read_all(request.body_mut()).await.unwrap();
            assert_eq!(body, b"question");
            assert_eq!(trailers.unwrap()["x-sum"], "8");
            let head = ::http::Response::builder().header("content-type", "application/grpc");
            let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
            stream.send_data(Bytes::from_static(b"answer"), false).unwrap();
            let mut trailers = ::http::HeaderMap::new();
            trailers.insert("grpc-status", "5".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        })
        .await;
        let mut request = post("/cart?item=1");
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        request.headers_mut().append("cookie", "a=1".parse().unwrap());
        request.headers_mut().append("cookie", "b=2".parse().unwrap());
        let (response, mut stream) = send.send_request(request, false).unwrap();
        stream.send_data(Bytes::from_static(b"quest"), false).unwrap();
        settle().await;
        stream.send_data(Bytes::from_static(b"ion"), false).unwrap();
        let mut trailers = ::http::HeaderMap::new();
        trailers.insert("x-sum", "8".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
        let mut response = response.await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let (body, trailers) = read_all(response.body_mut()).await.unwrap();
        assert_eq!(body, b"answer");
        assert_eq!(trailers.unwrap()["grpc-status"], "5");
        until("it is recorded", || matches!(log.borrow()[..], [Ok(())])).await;
    });
}

#[test]
fn heads_that_nothing_follows_end_their_stream() {
    run(async {
        let (mut send, _) = through(|request, mut respond| async move {
            assert!(request.body().is_end_stream(), "one frame for the request");
            let status = request.uri().path()[1..].parse::<u16>().unwrap();
            let response = ::http::Response::builder().status(status);
            let response = match status {
                204 => response,
                _ => response.header("content-length", "5"),
            };
            let bodiless = *request.method() == ::http::Method::HEAD || status != 200;
            let mut stream = respond.send_response(response.body(()).unwrap(), bodiless).unwrap();
            if !bodiless {
                stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
            }
        })
        .await;
        let head = ::http::Request::head("http://shop/200").body(()).unwrap();
        for (request, length, body) in [
            (head, Some("5"), &b""[..]),
            (get("/204"), None, b""),
            (get("/304"), Some("5"), b""),
            (get("/200"), Some("5"), b"hello"),
        ] {
            let (response, _) = send.send_request(request, true).unwrap();
            let mut response = response.await.unwrap();
            let stated = response.headers().get("content-length");
            assert_eq!(stated.map(|value| value.to_str().unwrap()), length);
            assert_eq!(response.body().is_end_stream(), body.is_empty(), "one frame");
            assert_eq!(read_all(response.body_mut()).await.unwrap().0, body);
        }
    });
}

#[test]
fn informational_heads_pass() {
    run(async {
        let (mut send, _) = through(|_, mut respond| async move {
            for link in ["</a>", "</b>"] {
                let hint = ::http::Response::builder().status(103).header("link", link);
                respond.send_informational(hint.body(()).unwrap()).unwrap();
            }
            respond.send_response(::http::Response::new(()), true).unwrap();
        })
        .await;
        let (mut response, _) = send.send_request(get("/"), true).unwrap();
        for link in ["</a>", "</b>"] {
            let hint = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
            assert_eq!(hint.status(), 103);
            assert_eq!(hint.headers()["link"], link);
        }
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

#[test]
fn both_directions_stream_at_the_same_time() {
    run(async {
        let (mut send, log) = through(|mut request, mut respond| async move {
            let mut stream = respond.send_response(::http::Response::new(()), false).unwrap();
            while let Some(piece) = request.body_mut().data().await {
                let piece = piece.unwrap();
                request.body_mut().flow_control().release_capacity(piece.len()).unwrap();
                stream.send_data(piece, false).unwrap();
            }
            // The caller has ended its direction, and is told something more.
            stream.send_data(Bytes::from_static(b"bye"), true).unwrap();
        })
        .await;
        let (response, mut stream) = send.send_request(post("/chat"), false).unwrap();
        let mut response = response.await.unwrap();
        for word in ["one", "two", "three"] {
            stream.send_data(Bytes::from_static(word.as_bytes()), false).unwrap();
            assert_eq!(response.body_mut().data().await.unwrap().unwrap(), word);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(read_all(response.body_mut()).await.unwrap().0, b"bye");
        until("it is recorded", || matches!(log.borrow()[..], [Ok(())])).await;
    });
}

#[test]
fn an_early_answer_spares_the_rest_of_the_request() {
    run(async {
        let (mut send, log) = through(|_, mut respond| async move {
            let head = ::http::Response::builder().status(413).body(()).unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from_static(b"too much"), true).unwrap();
            // With the last reference the codec says NO_ERROR.
        })
        .await;
        let (response, mut stream) = send.send_request(post("/"), false).unwrap();
        let mut response = response.await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(read_all(response.body_mut()).await.unwrap().0, b"too much");
        let reason = poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, ::h2::Reason::NO_ERROR);
        until("it is recorded", || matches!(log.borrow()[..], [Ok(())])).await;
    });
}

/// How far a sender may be ahead of the receiver: on each of two connections a stream's window, and
/// in the proxy and the peers what waits to be sent.
const AHEAD_MAX: usize =
    2 * (super::super::STREAM_WINDOW as usize + PIPE_BYTES) + 8 * super::super::SEND_BUFFER_BYTES;

#[test]
fn a_large_answer_waits_for_a_slow_reader() {
    const BYTES: usize = 64 * 1024 * 1024;
    run(async {
        let sent = Rc::new(Cell::new(0));
        let counter = Rc::clone(&sent);
        let (mut send, log) = through(move |_, mut respond| {
            let sent = Rc::clone(&counter);
            async move {
                let head = ::http::Response::builder().header("content-length", BYTES);
                let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
                while sent.get() < BYTES {
                    stream.reserve_capacity(64 * 1024);
                    let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
                    let count = room.min(BYTES - sent.get());
                    sent.set(sent.get() + count);
                    stream.send_data(vec![7; count].into(), sent.get() == BYTES).unwrap();
                }
            }
        })
        .await;
        let (response, _) = send.send_request(get("/"), true).unwrap();
        let mut response = response.await.unwrap();
        // Nothing is read for a while: the sender has to stop.
        settle().await;
        settle().await;
        assert!(sent.get() > 0 && sent.get() <= AHEAD_MAX, "{}", sent.get());
        let mut read = 0;
        while let Some(piece) = response.body_mut().data().await {
            read += piece.as_ref().unwrap().len();
            assert!(sent.get() - read <= AHEAD_MAX, "{} ahead of {read}", sent.get() - read);
            response.body_mut().flow_control().release_capacity(piece.unwrap().len()).unwrap();
        }
        assert_eq!(read, BYTES);
        until("it is recorded", || matches!(log.borrow()[..], [Ok(())])).await;
    });
}

#[test]
fn a_large_request_waits_for_a_slow_application_and_the_others_go_on() {
    const BYTES: usize = 4 * 1024 * 1024;
    run(async {
        let go_on = Rc::new(Cell::new(false));
        let gate = Rc::clone(&go_on);
        let (mut send, _) = through(move |mut request, mut respond| {
            let gate = Rc::clone(&gate);
            async move {
                if request.uri().path() == "/slow" {
                    while !gate.get() {
                        yield_now().await;
                    }
                    let (body, _) = read_all(request.body_mut()).await.unwrap();
                    assert_eq!(body.len(), BYTES);
                }
                respond.send_response(::http::Response::new(()), true).unwrap();
            }
        })
        .await;
        let (slow, mut stream) = send.send_request(post("/slow"), false).unwrap();
        let sent = Rc::new(Cell::new(0));
        let counter = Rc::clone(&sent);
        let sender = spawn_local(async move {
            while counter.get() < BYTES {
                stream.reserve_capacity(16 * 1024);
                let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
                let count = room.min(BYTES - counter.get());
                counter.set(counter.get() + count);
                stream.send_data(vec![7; count].into(), counter.get() == BYTES).unwrap();
            }
        });
        settle().await;
        assert!(sent.get() > 0 && sent.get() <= AHEAD_MAX, "{}", sent.get());
        let (quick, _) = send.send_request(get("/quick"), true).unwrap();
        assert_eq!(quick.await.unwrap().status(), 200);
        go_on.set(true);
        assert_eq!(slow.await.unwrap().status(), 200);
        sender.await.unwrap();
    });
}

#[test]
fn many_small_pieces_for_a_caller_that_reads_nothing_are_bounded() {
    run(async {
        let (stream, client) = tokio::io::duplex(256);
        let (_, clock) = clock();
        let mut server = Server::new(Box::new(Pipe(stream)), clock);
        let accepting = spawn_local(async move { (server.accept().await, server) });
        let mut peer = raw::Peer::caller(client).await;
        let flags = raw::END_HEADERS | raw::END_STREAM;
        peer.send(raw::HEADERS, flags, 1, &raw::block(&raw::REQUEST)).await;
        let (incoming, mut server) = accepting.await.unwrap();
        let mut stream = incoming.unwrap().stream;
        stream.send_head(&ResponseHead::with_status(200), BodySize::Unknown);
        // Each is to leave by itself, and the connection is given every chance to send it.
        let mut send = |cx: &mut Context<'_>| {
            let sent = stream.poll_send(cx, b"x");
            assert!(stream.poll_flush(cx).is_ready() && server.poll_accept(cx).is_pending());
            sent.map(Result::unwrap)
        };
        let mut count = 0;
        while poll_fn(|cx| Poll::Ready(send(cx).is_ready())).await {
            count += 1;
            // The codec itself holds 16 KiB of frames, with heads of nine bytes.
            assert!(count < 2_000, "as many as the window allows");
        }
        let reader = spawn_local(async move {
            let mut bytes = 0;
            while bytes < count + 1 {
                bytes += peer.next_of(&[raw::DATA]).await.payload.len();
            }
            peer
        });
        assert_eq!(poll_fn(send).await, 1, "it is told when there is room again");
        until("all has come", || {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(server.poll_accept(&mut cx).is_pending());
            reader.is_finished()
        })
        .await;
    });
}

#[test]
fn bytes_that_leave_are_seen_though_the_window_stays_shut() {
    run(async {
        let (stream, client) = tokio::io::duplex(256);
        let (_, clock) = clock();
        let mut server = Server::new(Box::new(Pipe(stream)), clock);
        let accepting = spawn_local(async move { (server.accept().await, server) });
        let mut peer = raw::Peer::caller(client).await;
        let flags = raw::END_HEADERS | raw::END_STREAM;
        peer.send(raw::HEADERS, flags, 1, &raw::block(&raw::REQUEST)).await;
        let (incoming, mut server) = accepting.await.unwrap();
        let mut stream = incoming.unwrap().stream;
        stream.send_head(&ResponseHead::with_status(200), BodySize::Unknown);
        // All that the window of the caller allows, which never opens it again.
        let mut drive = |stream: &mut ServerStream| {
            let mut cx = Context::from_waker(Waker::noop());
            let mut taken = 0;
            while let Poll::Ready(count) = stream.poll_send(&mut cx, &[7; 1_000]) {
                taken += count.unwrap();
                assert!(stream.poll_flush(&mut cx).is_ready());
            }
            assert!(server.poll_accept(&mut cx).is_pending());
            taken
        };
        let mut taken = drive(&mut stream);
        let (mut read, mut seen) = (0, vec![stream.kept()]);
        while read < WINDOW {
            let mut frame = Box::pin(peer.next_of(&[raw::DATA]));
            let frame = poll_fn(|cx| {
                taken += drive(&mut stream);
                seen.push(stream.kept());
                // Nobody else drives the other end.
                cx.waker().wake_by_ref();
                frame.as_mut().poll(cx)
            });
            read += frame.await.payload.len();
        }
        assert_eq!((taken, read, stream.kept()), (WINDOW, WINDOW, 0));
        let fell = seen.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!(fell > 100, "each time that some of it leaves: {seen:?}");
    });
}

/// What `request`, in bytes of HTTP/1.1, is answered by the application behind HTTP/2.
async fn h1_to_h2(request: &[u8], answered: &mut Vec<u8>, upstream: &mut dyn Upstream) {
    let (stream, mut client) = pipe();
    client.write_all(request).await.unwrap();
    let mut server = h1::Server::new(stream, Buffer::default());
    let (mut head, mut response) = (RequestHead::default(), ResponseHead::default());
    let size = poll_fn(|cx| server.poll_request(cx, &mut head)).await.unwrap().unwrap();
    let mut exchange = Exchange::new(&mut head, size, &mut response, &mut server);
    exchanged(&mut exchange, upstream).await.unwrap();
    assert!(server.can_go_on(), "the connection is in order");
    drop(server);
    client.read_to_end(answered).await.unwrap();
}

#[test]
fn http1_callers_reach_http2_servers() {
    run(async {
        let (stream, server) = pipe();
        application(server, |mut request, mut respond| async move {
            assert_eq!(request.uri().authority().unwrap(), "shop:80");
            assert!(request.headers().keys().all(|name| name != "host" && name != "connection"));
            let (body, trailers) = read_all(request.body_mut()).await.unwrap();
            let mut response = ::http::Response::builder();
            for name in ["content-length", "x-mixed"] {
                if let Some(value) = request.headers().get(name) {
                    response = response.header(format!("seen-{name}"), value);
                }
            }
            if *request.method() == ::http::Method::HEAD {
                let response = response.header("content-length", 9).body(()).unwrap();
                respond.send_response(response, true).unwrap();
                return;
            }
            let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
            stream.send_data(body.into(), false).unwrap();
            stream.send_trailers(trailers.unwrap_or_default()).unwrap();
        });
        let (_, clock) = clock();
        let mut connection = connect(stream, clock).await;
        for (request, wanted) in [
            (
                "GET / HTTP/1.1\r\nHost: shop:80\r\nX-Mixed: Case\r\n\r\n",
                "HTTP/1.1 200 OK\r\nseen-x-mixed: Case\r\nTransfer-Encoding: chunked\r\n\r\n\
                 0\r\n\r\n",
            ),
            (
                "HEAD / HTTP/1.1\r\nHost: shop:80\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
            ),
            (
                "POST / HTTP/1.1\r\nHost: shop:80\r\nContent-Length: 4\r\n\r\nbody",
                "HTTP/1.1 200 OK\r\nseen-content-length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                 4\r\nbody\r\n0\r\n\r\n",
            ),
            (
                "POST / HTTP/1.1\r\nHost: shop:80\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n0\r\nx-sum: 3\r\n\r\n",
            ),
        ] {
            let mut answered = Vec::new();
            let mut upstream = connection.open().unwrap();
            h1_to_h2(request.as_bytes(), &mut answered, &mut upstream).await;
            assert_eq!(String::from_utf8(answered).unwrap(), wanted);
        }
        assert_eq!(connection.open_count(), 0);
    });
}

#[test]
fn http2_callers_reach_http1_servers() {
    run(async {
        let (downstream, client) = pipe();
        let (upstream, mut server) = pipe();
        spawn_local(async move {
            let (_, clock) = clock();
            let mut server = Server::new(downstream, clock);
            let mut upstream = h1::Client::new(upstream);
            loop {
                let incoming = server.accept().await.unwrap();
                let mut exchange = std::pin::pin!(carry(incoming, &mut upstream));
                // The bytes of the connection move while it is waited for the next request.
                let ended = poll_fn(|cx| {
                    assert!(server.poll_accept(cx).is_pending(), "one after the other");
                    exchange.as_mut().poll(cx)
                });
                ended.await.unwrap();
            }
        });
        let mut send = caller(client).await;
        let mut grpc = post("/");
        grpc.headers_mut().insert("te", "trailers".parse().unwrap());
        let head = ::http::Request::head("http://shop/").body(()).unwrap();
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (request, body, seen, answer, status, read) in [
            (
                get("/a?b"),
                None,
                "GET /a?b HTTP/1.1\r\nHost: shop\r\n\r\n".to_owned(),
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x\r\nX: 1\r\n\r\nhi"
                    .to_owned(),
                200,
                "hi",
            ),
            (
                head,
                None,
                "HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n".to_owned(),
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".to_owned(),
                200,
                "",
            ),
            (
                get("/"),
                None,
                "GET / HTTP/1.1\r\nHost: shop\r\n\r\n".to_owned(),
                "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n".to_owned(),
                304,
                "",
            ),
            (
                grpc,
                Some("ping"),
                "POST / HTTP/1.1\r\nHost: shop\r\nte: trailers\r\n\
              Transfer-Encoding: chunked\r\n\r\n4\r\nping\r\n0\r\nx-end: 1\r\n\r\n"
                    .to_owned(),
                format!("{chunked}4\r\npong\r\n0\r\nGrpc-Status: 0\r\n\r\n"),
                200,
                "pong",
            ),
        ] {
            let (response, mut stream) = send.send_request(request, body.is_none()).unwrap();
            if let Some(body) = body {
                stream.send_data(Bytes::from_static(body.as_bytes()), false).unwrap();
                let mut trailers = ::http::HeaderMap::new();
                trailers.insert("x-end", "1".parse().unwrap());
                stream.send_trailers(trailers).unwrap();
            }
            let mut received = vec![0; seen.len()];
            server.read_exact(&mut received).await.unwrap();
            assert_eq!(String::from_utf8(received).unwrap(), seen);
            server.write_all(answer.as_bytes()).await.unwrap();
            let mut response = response.await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().get("connection"), None);
            let (bytes, trailers) = read_all(response.body_mut()).await.unwrap();
            assert_eq!(bytes, read.as_bytes());
            assert_eq!(trailers.is_some_and(|map| map["grpc-status"] == "0"), read == "pong");
        }
    });
}
