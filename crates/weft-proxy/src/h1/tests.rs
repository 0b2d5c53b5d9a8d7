//! What the driver does with bytes that are there at once, and with those that come one by one.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Waker;

use weft_http::{BodySize, RequestHead, ResponseHead, response};

use super::*;
use crate::exchange::Exchange;

/// A connection whose peer has sent `input` at once and waits.
struct Wire {
    input: Vec<u8>,
    output: Rc<RefCell<Vec<u8>>>,
}

impl Stream for Wire {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = self.input.len().min(buffer.len());
        if count == 0 {
            return Poll::Pending;
        }
        buffer[..count].copy_from_slice(&self.input[..count]);
        self.input.drain(..count);
        Poll::Ready(Ok(count))
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut output = self.output.borrow_mut();
        let before = output.len();
        buffers.iter().for_each(|buffer| output.extend_from_slice(buffer));
        Poll::Ready(Ok(output.len() - before))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn wire(input: &[u8]) -> (Box<Wire>, Rc<RefCell<Vec<u8>>>) {
    let output = Rc::default();
    (Box::new(Wire { input: input.to_vec(), output: Rc::clone(&output) }), output)
}

/// What `future` gives, all of whose needs are there.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("something is waited for"),
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_looked_at_by_line() {
    let (stream, _) = wire(b"");
    let mut core = Core::new(stream);
    let head = [b"GET / HTTP/1.1\r\nHost: ", &[b'a'; 10_000][..], b"\r\n\r\n"].concat();
    let mut looks = 0;
    for byte in &head {
        core.incoming.push(&[*byte]);
        looks += usize::from(core.may_have_head());
        assert!(!core.may_have_head(), "nothing has come since");
    }
    assert_eq!(looks, EARLY_BYTES + 2, "the first bytes, and two further line ends");
    core.consume_head(head.len());
    core.incoming.push(b"GET / HTTP/1.1\r\n\r\n");
    assert!(core.may_have_head(), "the next head");
}

#[test]
fn empty_lines_before_a_head_are_not_kept() {
    let (stream, _) = wire(b"");
    let mut core = Core::new(stream);
    for _ in 0..100_000 {
        core.incoming.push(b"\r\n\n");
        assert!(!core.may_have_head() && core.incoming.is_empty());
    }
    core.incoming.push(b"\r");
    core.may_have_head();
    assert_eq!(core.incoming.filled(), b"\r", "the line end may become whole");
}

#[test]
fn nothing_beyond_the_stated_length_is_written() {
    let (stream, output) = wire(b"");
    let mut core = Core::new(stream);
    core.encoder = BodyEncoder::Length(DIRECT_BYTES_MIN as u64);
    let mut cx = Context::from_waker(Waker::noop());
    let sent = core.poll_send(&mut cx, &[b'x'; DIRECT_BYTES_MIN + 1]);
    assert!(matches!(sent, Poll::Ready(Err(StreamError::Grammar(_)))));
    assert!(output.borrow().is_empty());
    let sent = core.poll_send(&mut cx, &[b'x'; DIRECT_BYTES_MIN]);
    assert!(matches!(sent, Poll::Ready(Ok(DIRECT_BYTES_MIN))));
}

/// What Weft answers by itself to `request`, and whether the connection goes on.
fn answered(request: &[u8]) -> (String, bool) {
    let (stream, output) = wire(request);
    let mut server = Server::new(stream, Buffer::default());
    let (mut head, mut response) = (RequestHead::default(), ResponseHead::default());
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(Some(size))) = server.poll_request(&mut cx, &mut head) else {
        panic!("{} is no request", request.escape_ascii());
    };
    let mut exchange = Exchange::new(&mut head, size, &mut response, &mut server);
    now(exchange.answer(&ResponseHead::with_status(503), b"sorry")).unwrap();
    let text = String::from_utf8(output.take()).unwrap();
    assert_eq!(text.contains("Connection: close\r\n"), !server.can_go_on(), "{text}");
    (text, server.can_go_on())
}

#[test]
fn an_answer_of_our_own_keeps_the_connection_if_the_body_is_there() {
    let (text, goes_on) = answered(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(text, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nsorry");
    assert!(goes_on);
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    let chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (head, body, keeps) in [
        (&post[..], &b"body"[..], true),
        (post, b"bodyGET", true),
        (post, b"bod", false),
        (post, b"", false),
        (chunked, b"1\r\nb\r\n0\r\n\r\n", true),
        (chunked, b"1\r\nb\r\n", false),
        (chunked, b"malformed", false),
    ] {
        let request = [head, body].concat();
        assert_eq!(answered(&request).1, keeps, "{}", request.escape_ascii());
    }
    let large = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    assert!(!answered(&[&large[..], &[b'x'; 100_000]].concat()).1, "it is not worth reading");
}

#[test]
fn the_largest_heads_fit_behind_what_waits() {
    // The most that is queued at once: hints, then a final head, as the caller reads nothing.
    let (stream, _) = wire(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut server = Server::new(stream, Buffer::default());
    let mut cx = Context::from_waker(Waker::noop());
    let mut head = RequestHead::default();
    assert!(server.poll_request(&mut cx, &mut head).is_ready());
    let fields = "a:b\n".repeat(120);
    let text = |status: u16, bytes: usize| {
        format!("HTTP/1.1 {status} X\n{fields}X: {}\n\n", "v".repeat(bytes - 600)).into_bytes()
    };
    let mut response = ResponseHead::default();
    for (status, bytes) in [(103, 20_000), (103, 20_000), (103, 20_000), (200, 65_536)] {
        let parsed = response::parse(&text(status, bytes), false, &mut response).unwrap();
        assert!(parsed.is_some());
        crate::exchange::Downstream::send_head(&mut server, &response, BodySize::Unknown);
    }
}
