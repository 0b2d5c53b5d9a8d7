//! What fails on one side of an exchange, as the other side sees it; and what is tried again.

use ::h2::Reason;
use weft_http::RequestHead;

use super::raw::{END_HEADERS, HEADERS, Peer, RST_STREAM, block};
use super::*;
use crate::exchange::{Piece, Source};
use crate::h1;

/// A caller by the `h2` crate, a proxy, and a server that sends what it likes.
async fn between() -> (::h2::client::SendRequest<Bytes>, Peer, Log) {
    let (downstream, client) = pipe();
    let (upstream, server) = pipe();
    let log = proxy(downstream, upstream);
    let send = caller(client).await;
    (send, Peer::server(server).await, log)
}

#[test]
fn an_answer_that_breaks_off_is_broken_off() {
    run(async {
        let (mut send, mut peer, log) = between().await;
        let (response, _) = send.send_request(get("/"), true).unwrap();
        let id = peer.next_of(&[HEADERS]).await.stream;
        peer.send(HEADERS, END_HEADERS, id, &block(&[(":status", "200")])).await;
        let mut response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        peer.send(RST_STREAM, 0, id, &u32::from(Reason::CANCEL).to_be_bytes()).await;
        let error = response.body_mut().data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        until("it is recorded", || log.borrow().len() == 1).await;
        assert!(matches!(log.borrow()[..], [Err(ProxyError::UpstreamBroke { .. })]));
    });
}

#[test]
fn a_caller_that_gives_up_takes_the_request_back() {
    run(async {
        let (mut send, mut peer, log) = between().await;
        // Before the answer, and in the midst of it.
        for has_answered in [false, true] {
            let (response, stream) = send.send_request(get("/"), true).unwrap();
            let id = peer.next_of(&[HEADERS]).await.stream;
            if has_answered {
                peer.send(HEADERS, END_HEADERS, id, &block(&[(":status", "200")])).await;
                drop(response.await.unwrap());
            } else {
                drop(response);
            }
            drop(stream);
            let frame = peer.next_of(&[RST_STREAM]).await;
            assert_eq!((frame.stream, frame.code()), (id, u32::from(Reason::CANCEL)));
        }
        until("they are recorded", || log.borrow().len() == 2).await;
        let gone = |result: &Result<(), ProxyError>| matches!(result, Err(ProxyError::ClientGone));
        assert!(log.borrow().iter().all(gone));
    });
}

#[test]
fn a_server_that_fails_before_it_answers_is_told_with_a_reason() {
    run(async {
        let (mut send, mut peer, _) = between().await;
        let (response, _) = send.send_request(get("/"), true).unwrap();
        let id = peer.next_of(&[HEADERS]).await.stream;
        peer.send(RST_STREAM, 0, id, &u32::from(Reason::INTERNAL_ERROR).to_be_bytes()).await;
        let mut response = response.await.unwrap();
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers()["weft-reason"], "upstream-closed");
        let (body, _) = read_all(response.body_mut()).await.unwrap();
        assert_eq!(response.headers()["content-length"], body.len().to_string());
    });
}

#[test]
fn what_one_server_refused_is_sent_to_the_next() {
    run(async {
        let (downstream, client) = pipe();
        let (first, refusing) = pipe();
        let (second, answering) = pipe();
        let proxied = spawn_local(async move {
            let (_, clock) = clock();
            let mut one = connect(first, Rc::clone(&clock)).await.open().unwrap();
            let mut other = connect(second, Rc::clone(&clock)).await.open().unwrap();
            let mut server = Server::new(downstream, clock);
            let Incoming { mut head, size, mut stream } = server.accept().await.unwrap();
            let driving = spawn_local(async move { while server.accept().await.is_some() {} });
            let mut response = ResponseHead::default();
            let mut exchange = Exchange::new(&mut head, size.unwrap(), &mut response, &mut stream);
            exchange.keep_body();
            let error = exchanged(&mut exchange, &mut one).await.unwrap_err();
            assert_eq!(error.verdict().outcome, weft_decide::retry::Outcome::Unprocessed);
            assert!(exchange.is_replayable());
            exchanged(&mut exchange, &mut other).await.unwrap();
            [driving]
        });
        let mut send = caller(client).await;
        let (response, mut stream) = send.send_request(post("/"), false).unwrap();
        stream.send_data(Bytes::from_static(b"kept"), false).unwrap();
        let mut peer = Peer::server(refusing).await;
        // It has the first bytes already.
        let id = peer.next_of(&[raw::DATA]).await.stream;
        peer.send(RST_STREAM, 0, id, &u32::from(Reason::REFUSED_STREAM).to_be_bytes()).await;
        application(answering, |mut request, mut respond| async move {
            let (body, _) = read_all(request.body_mut()).await.unwrap();
            let mut stream = respond.send_response(::http::Response::new(()), false).unwrap();
            stream.send_data(body.into(), true).unwrap();
        });
        settle().await;
        stream.send_data(Bytes::from_static(b" and new"), true).unwrap();
        let mut response = response.await.unwrap();
        assert_eq!(read_all(response.body_mut()).await.unwrap().0, b"kept and new");
        let [driving] = proxied.await.unwrap();
        driving.abort();
    });
}

/// An application that gives back what it is sent, as it comes.
async fn echo(mut request: ::http::Request<::h2::RecvStream>, mut respond: Respond) {
    let mut stream = respond.send_response(::http::Response::new(()), false).unwrap();
    while let Some(piece) = request.body_mut().data().await {
        let mut piece = piece.unwrap();
        request.body_mut().flow_control().release_capacity(piece.len()).unwrap();
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len());
            let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
            stream.send_data(piece.split_to(room.min(piece.len())), false).unwrap();
        }
    }
    stream.send_data(Bytes::new(), true).unwrap();
}

#[test]
fn large_bodies_pass_both_ways_between_the_protocols() {
    const BYTES: usize = 4 * 1024 * 1024;
    let bytes: Rc<Vec<u8>> = Rc::new((0..BYTES).map(|at| (at % 251).to_le_bytes()[0]).collect());
    run(async move {
        // From HTTP/1.1 through two connections of HTTP/2, and back.
        let (downstream, client) = pipe();
        let (upstream, server) = pipe();
        let (middle, peer) = pipe();
        application(server, echo);
        proxy(Box::new(Pipe(peer)), upstream);
        spawn_local(async move {
            let (_, clock) = clock();
            let mut upstream = connect(middle, clock).await.open().unwrap();
            let mut server = h1::Server::new(downstream, Buffer::default());
            let (mut head, mut response) = (RequestHead::default(), ResponseHead::default());
            let size = poll_fn(|cx| server.poll_request(cx, &mut head)).await.unwrap().unwrap();
            let mut exchange = Exchange::new(&mut head, size, &mut response, &mut server);
            exchanged(&mut exchange, &mut upstream).await.unwrap();
        });
        let (reading, mut writing) = tokio::io::split(client);
        let sent = Rc::clone(&bytes);
        spawn_local(async move {
            let head = format!("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {BYTES}\r\n\r\n");
            writing.write_all(head.as_bytes()).await.unwrap();
            writing.write_all(&sent).await.unwrap();
            writing
        });
        // Read as HTTP/1.1 is read.
        let mut client = h1::Client::new(Box::new(Reading(reading)));
        let mut head = ResponseHead::default();
        let reply = poll_fn(|cx| client.poll_head(cx, &mut head)).await.unwrap();
        assert_eq!((head.status, reply), (200, crate::exchange::Reply::Final(BodySize::Unknown)));
        let mut read = 0;
        while poll_fn(|cx| client.poll_piece(cx)).await.unwrap() == Piece::Data {
            let piece = client.piece();
            assert!(*piece == bytes[read..read + piece.len()], "at {read}");
            read += piece.len();
            client.consume(piece.len());
        }
        assert_eq!(read, BYTES);
    });
}

/// A stream that is only read.
struct Reading(tokio::io::ReadHalf<DuplexStream>);

impl Stream for Reading {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
