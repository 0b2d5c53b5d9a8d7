//! How callers' connections and exchanges end: in order, broken off, drained, idle, dead.

use std::future::ready;

use ::h2::Reason;

use super::super::keepalive::INTERVAL;
use super::super::server::{DRAIN_TIMEOUT, serve};
use super::*;
use crate::exchange::{Downstream, Sink, Source};
use crate::time::DOWNSTREAM_IDLE_TIMEOUT;

/// A server whose requests are put into a list, to be answered by the test.
struct Listed {
    incoming: Rc<RefCell<Vec<Incoming>>>,
    has_ended: Rc<Cell<bool>>,
    /// The reason for which the connection was ended.
    fault: Rc<Cell<Option<&'static str>>>,
    clock: Rc<TestClock>,
}

impl Listed {
    /// Serves `stream`, and begins to drain when `drain` is ready.
    fn new(stream: Box<dyn Stream>, drain: impl Future<Output = ()> + 'static) -> Listed {
        let (own, clock) = clock();
        let incoming = Rc::<RefCell<Vec<Incoming>>>::default();
        let has_ended = Rc::<Cell<bool>>::default();
        let fault = Rc::<Cell<Option<&'static str>>>::default();
        let (list, ended, why) = (Rc::clone(&incoming), Rc::clone(&has_ended), Rc::clone(&fault));
        spawn_local(async move {
            let handle = move |incoming| {
                list.borrow_mut().push(incoming);
                ready(())
            };
            let fault = serve(Server::new(stream, clock), drain, handle).await;
            why.set(fault.map(|fault| fault.verdict().reason));
            ended.set(true);
        });
        Listed { incoming, has_ended, fault, clock: own }
    }

    /// The next request.
    async fn next(&self) -> Incoming {
        until("a request has come", || !self.incoming.borrow().is_empty()).await;
        self.incoming.borrow_mut().remove(0)
    }

    async fn ended(&self) {
        until("the connection has ended", || self.has_ended.get()).await;
    }
}

fn answer(incoming: &mut Incoming) {
    incoming.stream.send_head(&ResponseHead::with_status(200), BodySize::Length(0));
    incoming.stream.end(&weft_http::Fields::default()).unwrap();
}

#[test]
fn a_caller_that_gives_up_is_noticed() {
    run(async {
        let (stream, client) = pipe();
        let listed = Listed::new(stream, std::future::pending());
        let mut send = caller(client).await;
        // While nothing was answered, and while the answer is under way.
        for has_begun in [false, true] {
            let (response, stream) = send.send_request(get("/"), true).unwrap();
            let mut incoming = listed.next().await;
            if has_begun {
                let stream = &mut incoming.stream;
                stream.send_head(&ResponseHead::with_status(200), BodySize::Unknown);
                poll_fn(|cx| stream.poll_flush(cx)).await.unwrap();
            }
            let mut cx = Context::from_waker(Waker::noop());
            assert!(incoming.stream.poll_gone(&mut cx).is_pending());
            drop((response, stream));
            poll_fn(|cx| incoming.stream.poll_gone(cx)).await;
            assert!(poll_fn(|cx| incoming.stream.poll_flush(cx)).await.is_err());
        }
        // While its request is under way.
        let (response, stream) = send.send_request(post("/"), false).unwrap();
        let mut incoming = listed.next().await;
        drop((response, stream));
        let error = poll_fn(|cx| incoming.stream.poll_piece(cx)).await.unwrap_err();
        assert!(matches!(error, crate::error::StreamError::Io(_)), "{error}");
    });
}

#[test]
fn what_is_not_completed_is_reset() {
    run(async {
        let (stream, client) = pipe();
        let listed = Listed::new(stream, std::future::pending());
        let mut send = caller(client).await;

        // Refused before anybody has seen it.
        let (response, _) = send.send_request(get("/"), true).unwrap();
        listed.next().await.stream.refuse();
        assert_eq!(response.await.unwrap_err().reason(), Some(Reason::REFUSED_STREAM));

        // Given up without an answer.
        let (response, _) = send.send_request(get("/"), true).unwrap();
        drop(listed.next().await);
        assert_eq!(response.await.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));

        // Broken off in the midst of it.
        let (response, _) = send.send_request(get("/"), true).unwrap();
        let mut incoming = listed.next().await;
        incoming.stream.send_head(&ResponseHead::with_status(200), BodySize::Length(9));
        assert_eq!(poll_fn(|cx| incoming.stream.poll_send(cx, b"half")).await.unwrap(), 4);
        poll_fn(|cx| incoming.stream.poll_flush(cx)).await.unwrap();
        let mut response = response.await.unwrap();
        assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "half");
        assert!(incoming.stream.end(&weft_http::Fields::default()).is_err(), "five are owed");
        drop(incoming);
        let error = response.body_mut().data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));

        // More than was stated.
        let (response, _) = send.send_request(get("/"), true).unwrap();
        let mut incoming = listed.next().await;
        incoming.stream.send_head(&ResponseHead::with_status(200), BodySize::Length(1));
        assert!(poll_fn(|cx| incoming.stream.poll_send(cx, b"two")).await.is_err());
        drop((response, incoming));
    });
}

#[test]
fn what_is_refused_is_not_held_against_the_caller() {
    run(async {
        let (stream, client) = pipe();
        let listed = Listed::new(stream, std::future::pending());
        let mut send = caller(client).await;
        for _ in 0..1_100 {
            let (response, _) = send.send_request(get("/"), true).unwrap();
            listed.next().await.stream.refuse();
            assert_eq!(response.await.unwrap_err().reason(), Some(Reason::REFUSED_STREAM));
        }
        assert!(!listed.has_ended.get());
    });
}

#[test]
fn late_frames_of_callers_are_ignored_as_long_as_the_clock_says() {
    run(async {
        for is_over_at_once in [false, true] {
            let (stream, client) = pipe();
            let listed = Listed::new(stream, std::future::pending());
            listed.clock.is_over_at_once.set(is_over_at_once);
            let mut peer = raw::Peer::caller(client).await;
            peer.send(raw::HEADERS, raw::END_HEADERS, 1, &raw::block(&raw::REQUEST)).await;
            drop(listed.next().await);
            peer.next_of(&[raw::RST_STREAM]).await;
            peer.send(raw::DATA, 0, 1, b"late").await;
            assert_eq!(peer.is_reset(1).await, is_over_at_once);
        }
    });
}

#[test]
fn a_drained_connection_completes_its_exchanges() {
    run(async {
        let (stream, client) = pipe();
        let drain = Rc::new(tokio::sync::Notify::new());
        let told = Rc::clone(&drain);
        let listed = Listed::new(stream, async move { told.notified().await });
        let mut send = caller(client).await;
        let (response, _) = send.send_request(get("/"), true).unwrap();
        let mut incoming = listed.next().await;
        drain.notify_one();
        settle().await;
        assert!(send.send_request(get("/"), true).is_err(), "the caller was told");
        assert!(!listed.has_ended.get());
        answer(&mut incoming);
        drop(incoming);
        assert_eq!(response.await.unwrap().status(), 200);
        listed.ended().await;
    });
}

#[test]
fn an_idle_connection_is_ended_in_order() {
    run(async {
        let (stream, client) = pipe();
        let listed = Listed::new(stream, std::future::pending());
        let mut send = caller(client).await;
        let (response, _) = send.send_request(get("/"), true).unwrap();
        let mut incoming = listed.next().await;
        // A request under way is not idle. The caller answers pings meanwhile.
        for _ in 0..100 {
            listed.clock.advance(DOWNSTREAM_IDLE_TIMEOUT / 50);
            settle().await;
        }
        answer(&mut incoming);
        drop(incoming);
        assert_eq!(response.await.unwrap().status(), 200);
        settle().await;
        listed.clock.advance(DOWNSTREAM_IDLE_TIMEOUT / 2);
        settle().await;
        assert!(!listed.has_ended.get());
        listed.clock.advance(DOWNSTREAM_IDLE_TIMEOUT / 2);
        listed.ended().await;
        assert_eq!(listed.fault.get(), None, "that is no fault");
        assert!(send.send_request(get("/"), true).is_err());
    });
}

#[test]
fn a_caller_that_ignores_the_drain_is_cut_off() {
    run(async {
        let (stream, client) = pipe();
        let listed = Listed::new(stream, ready(()));
        let mut peer = raw::Peer::caller(client).await;
        assert_eq!(peer.next_of(&[raw::GOAWAY]).await.code(), 0);
        settle().await;
        assert!(!listed.has_ended.get(), "it may have sent something before it was told");
        listed.clock.advance(DRAIN_TIMEOUT);
        listed.ended().await;
    });
}

#[test]
fn a_connection_that_is_never_begun_is_cut_off() {
    run(async {
        let (stream, client) = pipe();
        let listed = Listed::new(stream, std::future::pending());
        settle().await;
        listed.clock.advance(crate::time::HEAD_TIMEOUT);
        listed.ended().await;
        assert_eq!(listed.fault.get(), Some("head-timeout"));
        drop(client);
    });
}

#[test]
fn a_caller_that_is_gone_without_a_word_is_noticed() {
    run(async {
        let (stream, client) = pipe();
        let listed = Listed::new(stream, std::future::pending());
        let mut peer = raw::Peer::caller(client).await;
        let flags = raw::END_HEADERS | raw::END_STREAM;
        peer.send(raw::HEADERS, flags, 1, &raw::block(&raw::REQUEST)).await;
        let mut incoming = listed.next().await;
        // It answers two pings, and then no more.
        settle().await;
        for _ in 0..2 {
            listed.clock.advance(INTERVAL);
            let ping = peer.next_of(&[raw::PING]).await;
            peer.send(raw::PING, raw::ACK, 0, &ping.payload).await;
            settle().await;
            listed.clock.advance(INTERVAL);
            settle().await;
        }
        listed.clock.advance(INTERVAL);
        settle().await;
        assert!(!listed.has_ended.get());
        listed.clock.advance(INTERVAL);
        listed.ended().await;
        poll_fn(|cx| incoming.stream.poll_gone(cx)).await;
    });
}

#[test]
fn a_caller_that_reads_slowly_is_not_taken_for_dead() {
    run(async {
        let (stream, client) = tokio::io::duplex(1_024);
        let listed = Listed::new(Box::new(Pipe(stream)), std::future::pending());
        let mut peer = raw::Peer::caller(client).await;
        let flags = raw::END_HEADERS | raw::END_STREAM;
        peer.send(raw::HEADERS, flags, 1, &raw::block(&raw::REQUEST)).await;
        let mut incoming = listed.next().await;
        let stream = &mut incoming.stream;
        stream.send_head(&ResponseHead::with_status(200), BodySize::Unknown);
        for _ in 0..30 {
            assert_eq!(poll_fn(|cx| stream.poll_send(cx, &[7; 1_000])).await.unwrap(), 1_000);
            poll_fn(|cx| stream.poll_flush(cx)).await.unwrap();
        }
        // The pings are behind what it has not read yet.
        for _ in 0..8 {
            settle().await;
            listed.clock.advance(INTERVAL);
            let mut some = [0; 2_000];
            peer.0.read_exact(&mut some).await.unwrap();
        }
        assert!(!listed.has_ended.get());
        // Once it reads nothing any more, it is.
        for _ in 0..4 {
            settle().await;
            listed.clock.advance(INTERVAL);
        }
        settle().await;
        poll_fn(|cx| incoming.stream.poll_gone(cx)).await;
    });
}

#[test]
fn dropping_the_server_breaks_off_its_exchanges() {
    run(async {
        let (stream, client) = pipe();
        let (_, clock) = clock();
        let mut server = Server::new(stream, clock);
        let accepting = spawn_local(async move { (server.accept().await, server) });
        let mut send = caller(client).await;
        let (response, _) = send.send_request(get("/"), true).unwrap();
        let (incoming, server) = accepting.await.unwrap();
        drop(server);
        let mut incoming = incoming.unwrap();
        poll_fn(|cx| incoming.stream.poll_gone(cx)).await;
        assert!(response.await.is_err());
    });
}
