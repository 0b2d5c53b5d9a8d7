//! Callers that break the rules, and what it costs them.

use ::h2::Reason;

use super::raw::*;
use super::*;

/// A caller that sends what it likes, and a proxy that answers by itself: 200, or what is wrong.
async fn hostile() -> (Peer, Log) {
    let (peer, log, _) = watched().await;
    (peer, log)
}

/// The reason for which a connection was ended.
type Fault = Rc<Cell<Option<&'static str>>>;

/// The same, and why the connection was ended.
async fn watched() -> (Peer, Log, Fault) {
    let (stream, client) = pipe();
    let log = Log::default();
    let fault = Fault::default();
    let kept = Rc::clone(&fault);
    let shared = Rc::clone(&log);
    spawn_local(async move {
        let (_, clock) = clock();
        let handle = move |incoming| {
            let log = Rc::clone(&shared);
            async move {
                let result = answer(incoming).await;
                log.borrow_mut().push(result);
            }
        };
        let server = Server::new(stream, clock);
        let fault = super::super::server::serve(server, std::future::pending(), handle).await;
        kept.set(fault.map(|fault| fault.verdict().reason));
    });
    (Peer::caller(client).await, log, fault)
}

/// Reads the whole request and answers it, as an application would.
async fn answer(incoming: Incoming) -> Result<(), ProxyError> {
    use crate::exchange::{Downstream, Piece, Sink, Source};
    let Incoming { mut head, size, mut stream } = incoming;
    if let Err(error) = size {
        let mut response = ResponseHead::default();
        let mut exchange = Exchange::new(&mut head, BodySize::Unknown, &mut response, &mut stream);
        let error = ProxyError::BadRequest(error);
        let head = ResponseHead::with_status(error.verdict().status);
        exchange.answer(&head, error.to_string().as_bytes()).await.unwrap();
        return Err(error);
    }
    while poll_fn(|cx| stream.poll_piece(cx)).await.map_err(ProxyError::BadBody)? == Piece::Data {
        stream.consume(stream.piece().len());
    }
    stream.send_head(&ResponseHead::with_status(200), BodySize::Length(0));
    stream.end(&weft_http::Fields::default()).map_err(ProxyError::BadBody)
}

/// The status in a header block that the codec has made: it is one byte from the static table, or
/// three digits.
fn status(frame: &Frame) -> String {
    match frame.payload[0] {
        0x88 => "200".to_owned(),
        0x8c => "400".to_owned(),
        0x48 => {
            let text = &frame.payload[2..2 + usize::from(frame.payload[1] & 0x7f)];
            assert_eq!(frame.payload[1] & 0x80, 0x80, "the codec compresses by Huffman's code");
            match text {
                [0x69, 0x90, 0xff] => "431".to_owned(),
                other => format!("{other:?}"),
            }
        }
        other => format!("{other:#x}"),
    }
}

#[test]
fn malformed_heads_are_answered_or_reset() {
    run(async {
        let (mut peer, log) = hostile().await;
        let mut stream = 1;
        let with = |field: (&'static str, &'static str)| [&REQUEST[..], &[field]].concat();
        let replaced = |field: (&'static str, &'static str)| {
            let keeps = |old: &&(&str, &str)| old.0 != field.0;
            let mut fields = vec![field];
            fields.extend(REQUEST.iter().filter(keeps));
            fields
        };
        // What the codec refuses is reset as PROTOCOL_ERROR; the rest is refused with a status.
        for (fields, wanted) in [
            (with(("host", "other")), Err(())),
            (with(("host", "shop")), Ok(())),
            (replaced((":authority", "user@shop")), Err(())),
            (replaced((":scheme", "ftp")), Err(())),
            (REQUEST[..2].iter().chain(&REQUEST[3..]).copied().collect(), Err(())),
        ] {
            peer.send(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields)).await;
            let frame = peer.next_of(&[HEADERS, RST_STREAM]).await;
            assert_eq!(frame.kind, HEADERS, "{fields:?}");
            let expected = if wanted.is_ok() { "200" } else { "400" };
            assert_eq!(status(&frame), expected, "{fields:?}");
            stream += 2;
        }
        assert_eq!(log.borrow().iter().filter(|result| result.is_err()).count(), 4);
        for fields in [
            with(("connection", "close")),
            with(("transfer-encoding", "chunked")),
            with(("te", "gzip")),
            with((":path", "/again")),
            with((":unknown", "1")),
            replaced((":path", "")),
            replaced((":path", "a")),
            REQUEST[1..].to_vec(),
            REQUEST[..3].to_vec(),
            vec![
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "shop"),
            ],
        ] {
            let (mut peer, log) = hostile().await;
            peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)).await;
            let frame = peer.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
            assert_ne!(frame.kind, HEADERS, "{fields:?}");
            assert_eq!(frame.code(), u32::from(Reason::PROTOCOL_ERROR), "{fields:?}");
            assert!(log.borrow().is_empty());
        }
    });
}

#[test]
fn connect_is_read_and_left_to_be_refused() {
    run(async {
        let (stream, client) = pipe();
        let (_, clock) = clock();
        let mut server = Server::new(stream, clock);
        let accepting = spawn_local(async move { server.accept().await });
        let mut peer = Peer::caller(client).await;
        let connect = [(":method", "CONNECT"), (":authority", "shop:443")];
        peer.send(HEADERS, END_HEADERS, 1, &block(&connect)).await;
        let incoming = accepting.await.unwrap().unwrap();
        assert_eq!((incoming.head.method(), incoming.head.authority()), ("CONNECT", "shop:443"));
        assert_eq!((incoming.head.target(), incoming.size), ("", Ok(BodySize::Unknown)));
    });
}

#[test]
fn heads_that_are_too_large_are_told_so() {
    run(async {
        let many = [&REQUEST[..], &[("a", "b"); 129]].concat();
        let value = "v".repeat(8_000);
        let large = [&REQUEST[..], &[("a", value.as_str()); 9]].concat();
        for fields in [many, large] {
            let (mut peer, log) = hostile().await;
            let block = block(&fields);
            let mut pieces = block.chunks(16 * 1024).peekable();
            let first = pieces.next().unwrap();
            let last = |is_last| if is_last { END_HEADERS } else { 0 };
            let flags = END_STREAM | last(pieces.peek().is_none());
            peer.send(HEADERS, flags, 1, first).await;
            while let Some(piece) = pieces.next() {
                peer.send(CONTINUATION, last(pieces.peek().is_none()), 1, piece).await;
            }
            assert_eq!(status(&peer.next_of(&[HEADERS]).await), "431");
            until("it is noticed", || log.borrow().len() == 1).await;
            let too_large = ProxyError::BadRequest(weft_http::GrammarError::TooLarge).to_string();
            assert_eq!(log.borrow()[0].as_ref().unwrap_err().to_string(), too_large);
        }
    });
}

#[test]
fn why_a_connection_is_ended_has_a_reason() {
    run(async {
        let on_no_stream = |kind| frame(kind, END_STREAM | END_HEADERS, 0, &block(&REQUEST));
        for bytes in [
            on_no_stream(DATA),
            on_no_stream(HEADERS),
            frame(HEADERS, END_HEADERS, 2, &block(&REQUEST)),
            frame(SETTINGS, 0, 0, &[1]),
        ] {
            let (mut peer, _, fault) = watched().await;
            peer.0.write_all(&bytes).await.unwrap();
            peer.next_of(&[GOAWAY]).await;
            drop(peer);
            until("it is told", || fault.get() == Some("bad-frames")).await;
        }
    });
}

#[test]
fn a_header_block_without_end_ends_the_connection() {
    run(async {
        let (mut peer, _, fault) = watched().await;
        peer.send(HEADERS, END_STREAM, 1, &block(&REQUEST)).await;
        for _ in 0..20 {
            peer.send(CONTINUATION, 0, 1, &block(&[("a", "b")])).await;
        }
        let frame = peer.next_of(&[GOAWAY]).await;
        assert_eq!(frame.code(), u32::from(Reason::ENHANCE_YOUR_CALM));
        assert_eq!(peer.next().await, None);
        drop(peer);
        until("it is told", || fault.get() == Some("enhance-your-calm")).await;
    });
}

#[test]
fn a_body_must_be_as_long_as_stated() {
    run(async {
        for (sent, flags) in [(&b"four"[..], END_STREAM), (b"sixsix", 0)] {
            let (mut peer, log) = hostile().await;
            let fields = [&REQUEST[..], &[("content-length", "5")]].concat();
            peer.send(HEADERS, END_HEADERS, 1, &block(&fields)).await;
            peer.send(DATA, flags, 1, sent).await;
            let frame = peer.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
            assert_eq!((frame.kind, frame.stream), (RST_STREAM, 1));
            assert_eq!(frame.code(), u32::from(Reason::PROTOCOL_ERROR));
            until("it is noticed", || log.borrow().len() == 1).await;
            assert!(matches!(log.borrow()[..], [Err(ProxyError::BadBody(_))]));
        }
        let (mut peer, _) = hostile().await;
        let fields = [&REQUEST[..], &[("content-length", "1"), ("content-length", "1")]].concat();
        peer.send(HEADERS, END_HEADERS, 1, &block(&fields)).await;
        assert_eq!(status(&peer.next_of(&[HEADERS]).await), "400");
    });
}

#[test]
fn floods_of_empty_frames_end_the_connection() {
    run(async {
        let (mut peer, _) = hostile().await;
        peer.send(HEADERS, END_HEADERS, 1, &block(&REQUEST)).await;
        for _ in 0..200 {
            peer.send(DATA, 0, 1, &[]).await;
        }
        let frame = peer.next_of(&[GOAWAY]).await;
        assert_eq!(frame.code(), u32::from(Reason::ENHANCE_YOUR_CALM));
    });
}

#[test]
fn more_bytes_than_the_window_are_refused() {
    run(async {
        let (stream, client) = pipe();
        let (_, clock) = clock();
        let mut server = Server::new(stream, clock);
        let mut peer = Peer::caller(client).await;
        // Nobody takes the body: what comes must stay within the window.
        let taken = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&taken);
        spawn_local(async move {
            while let Some(incoming) = server.accept().await {
                kept.borrow_mut().push(incoming);
            }
        });
        peer.send(HEADERS, END_HEADERS, 1, &block(&REQUEST)).await;
        peer.send(SETTINGS, ACK, 0, &[]).await;
        for _ in 0..=super::super::STREAM_WINDOW / 16_384 {
            peer.send(DATA, 0, 1, &[0; 16_384]).await;
        }
        let frame = peer.next_of(&[RST_STREAM, GOAWAY]).await;
        assert_eq!(frame.code(), u32::from(Reason::FLOW_CONTROL_ERROR));
        assert_eq!(taken.borrow().len(), 1);
    });
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    run(async {
        let (mut peer, _) = hostile().await;
        for number in 0..=super::super::STREAMS_MAX {
            peer.send(HEADERS, END_HEADERS, 1 + 2 * number, &block(&REQUEST)).await;
        }
        let frame = peer.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
        assert_eq!((frame.kind, frame.stream), (RST_STREAM, 201));
        assert_eq!(frame.code(), u32::from(Reason::REFUSED_STREAM));
    });
}

#[test]
fn rapid_resets_end_the_connection() {
    run(async {
        // All at once: before anybody has looked at them.
        let (mut peer, _, fault) = watched().await;
        let request = block(&REQUEST);
        let mut burst = Vec::new();
        for number in 0..100 {
            let stream = 1 + 2 * number;
            burst.extend(frame(HEADERS, END_HEADERS, stream, &request));
            burst.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        }
        peer.0.write_all(&burst).await.unwrap();
        let last = peer.next_of(&[GOAWAY]).await;
        assert_eq!(last.code(), u32::from(Reason::ENHANCE_YOUR_CALM));
        drop(peer);
        until("it is told", || fault.get() == Some("enhance-your-calm")).await;

        // One by one, each after it was begun.
        let (mut peer, log, fault) = watched().await;
        let mut stream = 1;
        let ended = loop {
            peer.send(HEADERS, END_HEADERS, stream, &request).await;
            settle().await;
            peer.send(RST_STREAM, 0, stream, &8u32.to_be_bytes()).await;
            stream += 2;
            let count = usize::try_from(stream / 2).unwrap();
            until("it is noticed", || log.borrow().len() >= count.min(1000)).await;
            if count == 1000 {
                break peer.next_of(&[GOAWAY]).await;
            }
        };
        assert_eq!(ended.code(), u32::from(Reason::ENHANCE_YOUR_CALM));
        drop(peer);
        until("it is told", || fault.get() == Some("enhance-your-calm")).await;
    });
}

#[test]
fn pings_and_settings_are_answered_one_at_a_time() {
    run(async {
        let (mut peer, _) = hostile().await;
        assert_eq!(peer.next_of(&[SETTINGS]).await.flags, 0);
        assert_eq!(peer.next_of(&[SETTINGS]).await.flags, ACK);
        // More than the pipes and the codec hold, while no answer is read: the sender is stopped.
        let (mut reading, mut writing) = tokio::io::split(peer.0);
        let written = Rc::new(Cell::new(0));
        let counter = Rc::clone(&written);
        let flood = spawn_local(async move {
            let ping = frame(PING, 0, 0, &[0; 8]);
            let settings = frame(SETTINGS, 0, 0, &[]);
            while writing.write_all(&ping).await.is_ok()
                && writing.write_all(&settings).await.is_ok()
            {
                counter.set(counter.get() + ping.len() + settings.len());
            }
        });
        settle().await;
        let first = written.get();
        settle().await;
        assert_eq!(written.get(), first, "it is not read on");
        assert!(first <= 4 * PIPE_BYTES, "{first}");
        let mut answers = [0; 4096];
        assert_eq!(reading.read(&mut answers).await.unwrap(), 4096);
        flood.abort();
    });
}

#[test]
fn bytes_that_are_no_http2_end_the_connection() {
    run(async {
        let (stream, mut client) = pipe();
        let (_, clock) = clock();
        let mut server = Server::new(stream, clock);
        client.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await.unwrap();
        assert!(server.accept().await.is_none());
    });
}
