//! The caller's side of HTTP/2: requests are read, answers written.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use ::h2::server::{Builder, Connection, Handshake, SendResponse};
use ::h2::{Reason, RecvStream};
use ::http::{Request, Response};
use tokio::task::JoinSet;
use weft_http::http2::{Pseudo, read_request_within};
use weft_http::{BodySize, GrammarError, HeadLimits, RequestHead, ResponseHead};
use weft_world::{Clock, Moment, Stream, Timer};

use super::body::{Bodies, Chunk, Sending, Side};
use super::errors::{fault, stream_error};
use super::io::{Io, Link};
use super::keepalive::Keepalive;
use super::{
    CALLER_ERRORS_MAX, FRAME_BYTES_MAX, HEADER_LIST_BYTES_MAX, HEADER_TABLE_BYTES,
    RESET_STREAMS_KEPT, RESET_STREAMS_MAX, Room, SMALL_FRAMES_BUDGET, STREAMS_MAX,
    UNSEEN_RESETS_MAX, heads,
};
use crate::error::{ProxyError, StreamError};
use crate::exchange::Downstream;
use crate::time::{DOWNSTREAM_IDLE_TIMEOUT, HEAD_TIMEOUT};

/// How long a connection without exchanges may take to end once it was told to.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How many exchanges a caller may break off at once before its connection is ended.
///
/// Source: nghttp2's `nghttp2_option_set_stream_reset_rate_limit`, as for [`RESETS_PER_SECOND`].
const RESETS_MAX: u64 = 1000;

/// How many more it may break off with each second that passes.
const RESETS_PER_SECOND: u64 = 33;

/// A caller's connection. Dropping it breaks off its exchanges.
pub struct Server {
    state: State,
    link: Rc<Link>,
    clock: Rc<dyn Clock>,
    resets: Rc<Resets>,
    keepalive: Keepalive,
    /// Ends the opening of the connection, or its time without exchanges.
    timer: Option<Box<dyn Timer>>,
    drain: Drain,
    /// What its caller did wrong, if that is why it ends.
    fault: Option<Box<ProxyError>>,
    /// How large the heads of requests may be.
    limits: HeadLimits,
}

enum State {
    Opening(Box<Handshake<Io, Chunk>>),
    Open(Box<Connection<Io, Chunk>>),
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    Wanted,
    Begun,
}

/// A request, and the means to answer it. It holds one of [`STREAMS_MAX`] places.
pub struct Incoming {
    /// Its head. Where it is malformed, as much of it as was sound.
    pub head: RequestHead,
    /// The body that follows, or why this is no request that could be passed on.
    pub size: Result<BodySize, GrammarError>,
    /// The stream that it came on.
    pub stream: ServerStream,
}

impl Server {
    /// Takes over `stream`, of which no byte was read.
    pub fn new(stream: Box<dyn Stream>, clock: Rc<dyn Clock>) -> Server {
        Server::with_room(Room::WIDE, stream, clock)
    }

    /// The same with so much room for what has come and what goes.
    pub fn with_room(room: Room, stream: Box<dyn Stream>, clock: Rc<dyn Clock>) -> Server {
        let link = Rc::<Link>::default();
        let io = Io::lingering(stream, Rc::clone(&link));
        let handshake = builder(room, &*clock).handshake(io);
        Server {
            state: State::Opening(Box::new(handshake)),
            link,
            resets: Rc::new(Resets::new(clock.now())),
            keepalive: Keepalive::new(None),
            timer: Some(clock.sleep(HEAD_TIMEOUT)),
            clock,
            drain: Drain::No,
            fault: None,
            limits: HeadLimits::OUTSIDE,
        }
    }

    /// The same for heads within `limits`.
    pub fn within(self, limits: HeadLimits) -> Server {
        Server { limits, ..self }
    }

    /// The next request; none once the connection has ended. The bytes of all its exchanges move
    /// only while this is waited for. It may be given up and called again.
    pub async fn accept(&mut self) -> Option<Incoming> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// See [`Server::accept`].
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let next = self.poll_next(cx);
        if matches!(next, Poll::Ready(None)) {
            self.state = State::Over;
        }
        next
    }

    /// Tells the caller to open no further exchanges (GOAWAY). Those that are open, and those that
    /// it has opened before it learns of this, go on; then the connection ends.
    ///
    /// Source: RFC 9113, section 6.8.
    pub fn drain(&mut self) {
        if self.drain == Drain::No {
            self.drain = Drain::Wanted;
            self.timer = None;
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        if let State::Opening(handshake) = &mut self.state {
            match Pin::new(&mut **handshake).poll(cx) {
                Poll::Ready(Ok(mut connection)) => {
                    self.keepalive = Keepalive::new(connection.ping_pong());
                    self.state = State::Open(Box::new(connection));
                    self.timer = None;
                }
                Poll::Ready(Err(error)) => {
                    self.fault = fault(&error).map(Box::new);
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let timer = self.timer.get_or_insert_with(|| self.clock.sleep(HEAD_TIMEOUT));
                    ready!(Pin::new(timer).poll(cx));
                    self.fault = Some(Box::new(ProxyError::OpeningTimeout));
                    return Poll::Ready(None);
                }
            }
        }
        let State::Open(connection) = &mut self.state else { return Poll::Ready(None) };
        loop {
            if self.drain == Drain::Wanted {
                self.drain = Drain::Begun;
                connection.graceful_shutdown();
            }
            if self.resets.are_spent() && self.drain != Drain::Begun {
                self.drain = Drain::Begun;
                self.fault = Some(Box::new(ProxyError::TooManyResets));
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            let is_busy = connection.has_streams();
            if self.keepalive.poll(cx, &*self.clock, &self.link, is_busy).is_ready() {
                return Poll::Ready(None);
            }
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.timer = None;
                    let stream = self.stream(respond);
                    return Poll::Ready(Some(Incoming::new(request, stream, self.limits)));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.fault = self.fault.take().or_else(|| fault(&error).map(Box::new));
                    return Poll::Ready(None);
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {}
            }
            if connection.has_streams() {
                self.timer = None;
                return Poll::Pending;
            }
            let limit = match self.drain {
                Drain::Begun => DRAIN_TIMEOUT,
                Drain::No | Drain::Wanted => DOWNSTREAM_IDLE_TIMEOUT,
            };
            let timer = self.timer.get_or_insert_with(|| self.clock.sleep(limit));
            ready!(Pin::new(timer).poll(cx));
            if self.drain == Drain::Begun {
                return Poll::Ready(None);
            }
            self.drain = Drain::Wanted;
            self.timer = None;
        }
    }

    fn stream(&self, respond: SendResponse<Chunk>) -> ServerStream {
        let side = Answering { respond, head: None, has_begun: false };
        let bodies = Bodies::new(side, Rc::clone(&self.link));
        ServerStream { bodies, resets: Rc::clone(&self.resets), clock: Rc::clone(&self.clock) }
    }
}

/// Serves a connection to its end: `handle` makes the task for each request. Returns what its
/// caller did wrong, if that is why it has ended.
///
/// Once `drain` is ready, the caller is told to open no further exchanges. Dropping this breaks off
/// all tasks.
pub async fn serve<F>(
    mut server: Server,
    drain: impl Future<Output = ()>,
    mut handle: impl FnMut(Incoming) -> F,
) -> Option<Box<ProxyError>>
where
    F: Future<Output = ()> + 'static,
{
    let mut exchanges = JoinSet::new();
    let mut drain = std::pin::pin!(drain);
    let mut is_draining = false;
    loop {
        tokio::select! {
            biased;
            () = &mut drain, if !is_draining => {
                is_draining = true;
                server.drain();
            }
            Some(_) = exchanges.join_next() => {}
            incoming = server.accept() => match incoming {
                Some(incoming) => drop(exchanges.spawn_local(handle(incoming))),
                None => break,
            },
        }
    }
    // Their streams have ended with the connection, which they notice by themselves.
    while exchanges.join_next().await.is_some() {}
    server.fault
}

fn builder(room: Room, clock: &dyn Clock) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(room.stream)
        .initial_connection_window_size(room.connection)
        .max_concurrent_streams(STREAMS_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .header_table_size(HEADER_TABLE_BYTES)
        .max_send_buffer_size(room.send)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .reset_stream_duration(clock.on_system_clock(RESET_STREAMS_KEPT))
        .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
        .max_local_error_reset_streams(Some(CALLER_ERRORS_MAX))
        .data_frame_budget(SMALL_FRAMES_BUDGET);
    builder
}

impl Incoming {
    fn new(request: Request<RecvStream>, mut stream: ServerStream, limits: HeadLimits) -> Incoming {
        let (parts, body) = request.into_parts();
        let pseudo = Pseudo {
            method: parts.method.as_str(),
            scheme: parts.uri.scheme_str(),
            authority: parts.uri.authority().map(|authority| authority.as_str()),
            path: parts.uri.path_and_query().map_or("", |target| target.as_str()),
        };
        let mut head = RequestHead::default();
        let fields = heads::fields(&parts.headers);
        let size = read_request_within(limits, &pseudo, fields, body.is_end_stream(), &mut head);
        stream.bodies.receiving.begin(body, size.unwrap_or(BodySize::Unknown));
        Incoming { head, size, stream }
    }
}

/// How many more exchanges a caller may break off.
struct Resets {
    left: Cell<u64>,
    counted_at: Cell<Moment>,
}

impl Resets {
    fn new(now: Moment) -> Resets {
        Resets { left: Cell::new(RESETS_MAX), counted_at: Cell::new(now) }
    }

    fn count(&self, now: Moment) {
        let passed = now.since(self.counted_at.get()).as_secs();
        if passed > 0 {
            self.counted_at.set(now);
        }
        let left = self.left.get().saturating_add(passed.saturating_mul(RESETS_PER_SECOND));
        self.left.set(left.min(RESETS_MAX).saturating_sub(1));
    }

    fn are_spent(&self) -> bool {
        self.left.get() == 0
    }
}

/// The caller's side of one exchange.
///
/// Dropped before its answer is complete, it resets the stream as INTERNAL_ERROR, so that nobody
/// takes a part for the whole. If only the request was not read to its end, the codec resets it as
/// NO_ERROR behind the answer.
pub struct ServerStream {
    bodies: Bodies<Answering>,
    resets: Rc<Resets>,
    clock: Rc<dyn Clock>,
}

impl ServerStream {
    /// Refuses the request (REFUSED_STREAM): the caller knows that it may send it elsewhere. Only
    /// for one that nobody has seen.
    pub fn refuse(mut self) {
        self.bodies.side.respond.send_reset(Reason::REFUSED_STREAM);
        self.bodies.sending.give_up();
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        let Bodies { side, sending, link, .. } = &mut self.bodies;
        side.poll_reset(sending, link, cx)
    }
}

impl Drop for ServerStream {
    fn drop(&mut self) {
        if self.bodies.sending.has_ended() {
            return;
        }
        // No waker is needed: nothing will be waited for.
        if self.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.resets.count(self.clock.now());
        } else {
            self.bodies.side.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// Answers one request.
struct Answering {
    respond: SendResponse<Chunk>,
    /// The head that waits for what follows it.
    head: Option<Result<Response<()>, GrammarError>>,
    has_begun: bool,
}

impl Answering {
    /// Ready when the caller has given up the exchange.
    fn poll_reset(
        &mut self,
        sending: &mut Sending,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Poll<StreamError> {
        if self.has_begun {
            return sending.poll_broken(cx, link);
        }
        self.respond.poll_reset(cx).map(|result| match result {
            Ok(reason) => stream_error(reason.into(), link),
            Err(error) => stream_error(error, link),
        })
    }
}

impl Side for Answering {
    fn has_head(&self) -> bool {
        self.head.is_some()
    }

    fn send(&mut self, sending: &mut Sending, link: &Link, ends: bool) -> Result<(), StreamError> {
        let Some(head) = self.head.take() else { return Ok(()) };
        let stream =
            self.respond.send_response(head?, ends).map_err(|error| stream_error(error, link))?;
        self.has_begun = true;
        sending.begin(stream, ends);
        Ok(())
    }

    fn poll_alive(
        &mut self,
        sending: &mut Sending,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Result<(), StreamError> {
        // A caller that has the whole answer may well give up the rest of its request.
        if sending.has_ended() {
            return Ok(());
        }
        match self.poll_reset(sending, link, cx) {
            Poll::Ready(error) => Err(error),
            Poll::Pending => Ok(()),
        }
    }
}

impl Downstream for ServerStream {
    fn send_head(&mut self, head: &ResponseHead, size: BodySize) {
        let response = heads::response(head, size);
        let Bodies { side, sending, .. } = &mut self.bodies;
        if head.status < 200 {
            // They are hints: an exchange loses nothing by one that is not sent.
            if let Ok(response) = response {
                let _ = side.respond.send_informational(response);
            }
            return;
        }
        sending.expect(size);
        side.head = Some(response);
    }

    fn end_after_answer(&mut self) {
        // The other exchanges of the connection go on; the stream ends with its answer anyway.
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_reset(cx).map(|_| ())
    }
}

super::body::delegate!(ServerStream);
