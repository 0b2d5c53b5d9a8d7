//! The server's side of HTTP/2: requests are written, answers read.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use ::h2::client::{Builder, ResponseFuture, SendRequest};
use ::http::Request;
use ::http::uri::Scheme;
use weft_http::http2::read_response_within;
use weft_http::{BodySize, GrammarError, HeadLimits, RequestHead, ResponseHead};
use weft_world::{Clock, Stream};

use super::body::{Bodies, Chunk, Sending, Side};
use super::errors::{stream_error, unprocessed};
use super::io::{Io, Link};
use super::keepalive::Keepalive;
use super::{
    FRAME_BYTES_MAX, HEADER_LIST_BYTES_MAX, HEADER_TABLE_BYTES, RESET_STREAMS_KEPT,
    RESET_STREAMS_MAX, Room, SERVER_ERRORS_MAX, SMALL_FRAMES_BUDGET, STREAMS_MAX,
    UNSEEN_RESETS_MAX, heads,
};
use crate::error::StreamError;
use crate::exchange::{Reply, Upstream};

/// How many informational answers a server may send for one request.
const INFORMATIONAL_MAX: u32 = 32;

/// Whether a server is asked for signs of life while exchanges are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pings {
    /// After 15 s of silence; 15 s later it is taken for dead. For tunnels to other proxies.
    Sent,
    /// Never. For applications: gRPC servers end the connection of a caller that pings them more
    /// than twice while they have nothing to say. That the host is there is TCP's to find out.
    ///
    /// Source: gRPC's `keepalive.md` (A8), "server enforcement".
    None,
}

/// A server's connection, for many exchanges at a time.
///
/// When it and its streams are gone, the connection is ended in order.
pub struct Connection {
    send: SendRequest<Chunk>,
    shared: Rc<Shared>,
    /// How large the heads of answers may be.
    limits: HeadLimits,
    /// That of requests.
    scheme: Scheme,
}

/// Moves the bytes of a connection, until it ends. Nothing happens while it is not polled.
pub struct Driver {
    connection: Option<Box<::h2::client::Connection<Io, Chunk>>>,
    shared: Rc<Shared>,
    keepalive: Keepalive,
    clock: Rc<dyn Clock>,
}

/// What the streams of a connection share.
struct Shared {
    link: Rc<Link>,
    open: Cell<usize>,
    has_served: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Shared {
    /// Wakes those that wait for a place.
    fn wake(&self) {
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// Begins to speak HTTP/2 over `stream`.
///
/// Nothing is flushed before the driver runs: a request that is made at once leaves together with
/// the preface.
///
/// # Errors
/// [`StreamError`] if the stream breaks; nothing was sent then that could be processed.
pub async fn connect(
    stream: Box<dyn Stream>,
    clock: Rc<dyn Clock>,
    pings: Pings,
) -> Result<(Connection, Driver), StreamError> {
    connect_with_room(Room::WIDE, stream, clock, pings).await
}

/// The same with so much room for what has come and what goes.
///
/// # Errors
/// As [`connect`].
pub async fn connect_with_room(
    room: Room,
    stream: Box<dyn Stream>,
    clock: Rc<dyn Clock>,
    pings: Pings,
) -> Result<(Connection, Driver), StreamError> {
    let link = Rc::<Link>::default();
    let io = Io::new(stream, Rc::clone(&link));
    let (send, mut connection) =
        builder(room, &*clock).handshake(io).await.map_err(|error| stream_error(error, &link))?;
    let pings = match pings {
        Pings::Sent => connection.ping_pong(),
        Pings::None => None,
    };
    let shared = Rc::new(Shared {
        link,
        open: Cell::default(),
        has_served: Cell::default(),
        waiting: RefCell::default(),
    });
    let keepalive = Keepalive::new(pings);
    let connection = Some(Box::new(connection));
    let driver = Driver { connection, shared: Rc::clone(&shared), keepalive, clock };
    let (limits, scheme) = (HeadLimits::OUTSIDE, Scheme::HTTP);
    Ok((Connection { send, shared, limits, scheme }, driver))
}

fn builder(room: Room, clock: &dyn Clock) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        // Until the server has said how many it takes.
        .initial_max_send_streams(STREAMS_MAX as usize)
        .initial_window_size(room.stream)
        .initial_connection_window_size(room.connection)
        .max_concurrent_streams(0)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .header_table_size(HEADER_TABLE_BYTES)
        .max_send_buffer_size(room.send)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .reset_stream_duration(clock.on_system_clock(RESET_STREAMS_KEPT))
        .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
        .max_local_error_reset_streams(Some(SERVER_ERRORS_MAX))
        .data_frame_budget(SMALL_FRAMES_BUDGET);
    builder
}

impl Connection {
    /// The same for heads within `limits`.
    pub fn within(self, limits: HeadLimits) -> Connection {
        Connection { limits, ..self }
    }

    /// The same to a server that is reached by TLS, so that it expects to be asked for `https`.
    pub fn by_tls(self) -> Connection {
        Connection { scheme: Scheme::HTTPS, ..self }
    }

    /// How many exchanges are open.
    pub fn open_count(&self) -> usize {
        self.shared.open.get()
    }

    /// Whether the connection stands and takes exchanges: it has not ended, and the server has not
    /// said that it is about to end it (GOAWAY).
    pub fn is_usable(&mut self) -> bool {
        self.ended().is_none()
    }

    /// How many more exchanges it takes now: at most [`STREAMS_MAX`], and what the server allows.
    pub fn capacity(&mut self) -> usize {
        if !self.is_usable() {
            return 0;
        }
        let allowed = self.send.current_max_send_streams().min(STREAMS_MAX as usize);
        allowed.saturating_sub(self.open_count())
    }

    /// Waits until it takes another exchange.
    ///
    /// # Errors
    /// [`StreamError`] if it takes no more; [`StreamError::is_unprocessed`] is true of it.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if let Some(error) = self.ended() {
            return Poll::Ready(Err(error));
        }
        if self.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        let mut waiting = self.shared.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Begins an exchange, of which nothing is sent before its head is. Beyond
    /// [`Connection::capacity`] it waits within the codec.
    ///
    /// # Errors
    /// [`StreamError`] as [`Connection::poll_ready`].
    pub fn open(&mut self) -> Result<ClientStream, StreamError> {
        if let Some(error) = self.ended() {
            return Err(error);
        }
        let shared = Rc::clone(&self.shared);
        shared.open.set(shared.open.get() + 1);
        let side = Asking { send: self.send.clone(), head: None, response: None, unsent: None };
        Ok(ClientStream {
            was_reused: shared.has_served.get(),
            bodies: Bodies::new(side, Rc::clone(&shared.link)),
            shared,
            limits: self.limits,
            scheme: self.scheme.clone(),
            is_to_head: false,
            informational: 0,
            is_broken: false,
        })
    }

    /// Why it takes no more exchanges, if so.
    fn ended(&mut self) -> Option<StreamError> {
        // No waker is needed: of this handle, no request ever waits.
        match self.send.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => {
                let link = &self.shared.link;
                Some(never_sent(reason(&error, link), link))
            }
            _ => None,
        }
    }
}

impl Clone for Connection {
    fn clone(&self) -> Connection {
        let Connection { send, shared, limits, scheme } = self;
        let (send, shared) = (send.clone(), Rc::clone(shared));
        Connection { send, shared, limits: *limits, scheme: scheme.clone() }
    }
}

/// The error of a request that could not even be begun, for the reason in `text`.
fn never_sent(text: String, link: &Link) -> StreamError {
    // The tunnel's own reason says more.
    link.refusal().map_or_else(|| unprocessed(text), StreamError::Io)
}

/// Why the codec takes no request.
fn reason(error: &::h2::Error, link: &Link) -> String {
    link.error().map_or_else(|| error.to_string(), |known| known.to_string())
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Driver { connection, shared, keepalive, clock } = &mut *self;
        let Some(open) = connection else { return Poll::Ready(()) };
        let is_busy = shared.open.get() > 0;
        if keepalive.poll(cx, &**clock, &shared.link, is_busy).is_ready() {
            let text = "the server has not answered a ping within 15 s";
            shared.link.fail(io::Error::new(io::ErrorKind::TimedOut, text));
        } else {
            // The streams were told why it ended, if it did so badly.
            let _ = ready!(Pin::new(&mut **open).poll(cx));
        }
        *connection = None;
        shared.wake();
        Poll::Ready(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Whoever waits for a place learns that there is none.
        self.connection = None;
        self.shared.wake();
    }
}

/// The server's side of one exchange. Dropped before its end, it resets the stream as CANCEL.
pub struct ClientStream {
    bodies: Bodies<Asking>,
    shared: Rc<Shared>,
    was_reused: bool,
    limits: HeadLimits,
    scheme: Scheme,
    is_to_head: bool,
    informational: u32,
    is_broken: bool,
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.shared.open.set(self.shared.open.get() - 1);
        self.shared.wake();
    }
}

/// Sends one request.
struct Asking {
    send: SendRequest<Chunk>,
    /// The head that waits for what follows it.
    head: Option<Result<Request<()>, GrammarError>>,
    response: Option<ResponseFuture>,
    /// Why the request was never sent.
    unsent: Option<String>,
}

impl Side for Asking {
    fn has_head(&self) -> bool {
        self.head.is_some()
    }

    fn send(&mut self, sending: &mut Sending, link: &Link, ends: bool) -> Result<(), StreamError> {
        let Some(head) = self.head.take() else { return Ok(()) };
        let sent = match head {
            Ok(request) => {
                self.send.send_request(request, ends).map_err(|error| reason(&error, link))
            }
            Err(error) => Err(error.to_string()),
        };
        let (response, stream) = sent.map_err(|text| {
            self.unsent = Some(text.clone());
            never_sent(text, link)
        })?;
        self.response = Some(response);
        sending.begin(stream, ends);
        Ok(())
    }

    fn poll_alive(
        &mut self,
        _: &mut Sending,
        _: &Link,
        _: &mut Context<'_>,
    ) -> Result<(), StreamError> {
        Ok(()) // Whoever waits for the answer learns of it.
    }
}

/// What it means that there is no answer. A stream that its server has reset did not meet the end
/// of a connection that was idle: the server has seen it, and may have done something.
fn failed(error: ::h2::Error, link: &Link, was_reused: &mut bool) -> StreamError {
    *was_reused &= !error.is_reset();
    stream_error(error, link)
}

impl Upstream for ClientStream {
    /// See [`Upstream::send_head`]. A wish to change protocols is not passed on: whoever has one
    /// needs a connection of HTTP/1.1.
    fn send_head(&mut self, head: &RequestHead, size: BodySize) {
        self.is_to_head = head.method() == "HEAD";
        let Bodies { side, sending, .. } = &mut self.bodies;
        sending.expect(size);
        side.head = Some(heads::request(head, size, self.scheme.clone()));
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<Reply, StreamError>> {
        // If it fails, that is kept.
        let _ = self.bodies.start(false);
        let Bodies { side, receiving, link, .. } = &mut self.bodies;
        let Some(response) = &mut side.response else {
            return Poll::Ready(Err(never_sent(side.unsent.clone().unwrap_or_default(), link)));
        };
        if let Some(result) = ready!(response.poll_informational(cx)) {
            let result = result.map_err(|error| failed(error, link, &mut self.was_reused));
            let (parts, ()) = result?.into_parts();
            self.informational += 1;
            if self.informational > INFORMATIONAL_MAX {
                return Poll::Ready(Err(GrammarError::Head("too many informational heads").into()));
            }
            let (status, fields) = (parts.status.as_u16(), heads::fields(&parts.headers));
            read_response_within(self.limits, status, fields, false, self.is_to_head, head)?;
            return Poll::Ready(Ok(Reply::Informational));
        }
        let response = ready!(Pin::new(response).poll(cx))
            .map_err(|error| failed(error, link, &mut self.was_reused))?;
        let (parts, body) = response.into_parts();
        let (status, fields) = (parts.status.as_u16(), heads::fields(&parts.headers));
        let (has_ended, to_head) = (body.is_end_stream(), self.is_to_head);
        let size = read_response_within(self.limits, status, fields, has_ended, to_head, head)?;
        receiving.begin(body, size);
        self.shared.has_served.set(true);
        Poll::Ready(Ok(Reply::Final(size)))
    }

    /// Whether the connection has served an exchange before this one was begun.
    fn was_reused(&self) -> bool {
        self.was_reused
    }

    /// Whether the server still takes what is left of the request, as far as it is known.
    fn goes_on(&self) -> bool {
        !self.is_broken
    }

    /// Never: the connection is reused, the stream is not.
    fn is_reusable(&self) -> bool {
        false
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Bodies { sending, link, .. } = &mut self.bodies;
        let broken = sending.poll_broken(cx, link).map(|_| ());
        self.is_broken |= broken.is_ready();
        broken
    }

    /// Ends the own direction. It leaves with what was taken before.
    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if self.bodies.sending.has_ended() {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(crate::exchange::Sink::end(self, &weft_http::Fields::default()))
    }
}

super::body::delegate!(ClientStream);
