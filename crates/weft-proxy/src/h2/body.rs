//! Bodies: what comes on a stream, and what goes.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use ::h2::{RecvStream, SendStream};
use bytes::{Buf, Bytes};
use weft_http::{BodySize, Fields, GrammarError, http2};

use super::errors::{reset_error, stream_error};
use super::io::Link;
use super::{SEND_BUFFER_BYTES, SEND_BUFFER_PIECES, heads};
use crate::error::StreamError;
use crate::exchange::{Piece, Sink, Source};

/// From this size on, a piece is passed on as it is rather than copied, in bytes. What is smaller
/// may keep much more memory alive than its own.
const SHARED_BYTES_MIN: usize = 4 * 1024;

/// The body that comes.
pub(super) struct Receiving {
    stream: Option<RecvStream>,
    piece: Bytes,
    trailers: Fields,
    may_have_bytes: bool,
    has_ended: bool,
}

impl Receiving {
    /// Nothing has come yet.
    pub(super) fn new() -> Receiving {
        Receiving {
            stream: None,
            piece: Bytes::new(),
            trailers: Fields::default(),
            may_have_bytes: false,
            has_ended: false,
        }
    }

    /// The body of `size` comes on `stream`.
    pub(super) fn begin(&mut self, stream: RecvStream, size: BodySize) {
        self.may_have_bytes = size != BodySize::None;
        self.has_ended = stream.is_end_stream();
        self.stream = Some(stream);
    }

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link,
    ) -> Poll<Result<Piece, StreamError>> {
        if !self.piece.is_empty() {
            return Poll::Ready(Ok(Piece::Data));
        }
        if self.has_ended {
            return Poll::Ready(Ok(Piece::End));
        }
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        while let Some(result) = ready!(stream.poll_data(cx)) {
            self.piece = result.map_err(|error| stream_error(error, link))?;
            if !self.piece.is_empty() {
                let unexpected = GrammarError::Length("a body where there can be none");
                let piece = if self.may_have_bytes { Ok(Piece::Data) } else { Err(unexpected) };
                return Poll::Ready(piece.map_err(StreamError::from));
            }
        }
        let trailers =
            ready!(stream.poll_trailers(cx)).map_err(|error| stream_error(error, link))?;
        if let Some(map) = trailers {
            http2::read_trailers(heads::fields(&map), &mut self.trailers)?;
        }
        self.has_ended = true;
        Poll::Ready(Ok(Piece::End))
    }

    /// How many bytes have come and were not passed on.
    fn kept(&mut self) -> usize {
        self.stream.as_mut().map_or(0, |stream| stream.flow_control().used_capacity())
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count);
        if let Some(stream) = &mut self.stream {
            let released = stream.flow_control().release_capacity(count);
            debug_assert!(released.is_ok(), "no more is released than came");
        }
    }
}

/// What was given to the codec and has not left.
#[derive(Default)]
struct Queue {
    pieces: Cell<usize>,
    /// How many bytes they have.
    bytes: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

/// Some bytes on their way through the codec.
pub(super) struct Chunk {
    bytes: Bytes,
    queue: Rc<Queue>,
}

impl Chunk {
    fn new(bytes: Bytes, queue: &Rc<Queue>) -> Chunk {
        queue.pieces.set(queue.pieces.get() + 1);
        queue.bytes.set(queue.bytes.get() + bytes.len());
        Chunk { bytes, queue: Rc::clone(queue) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.queue.pieces.set(self.queue.pieces.get() - 1);
        self.queue.bytes.set(self.queue.bytes.get() - self.bytes.len());
        if let Some(waker) = self.queue.waiting.take() {
            waker.wake();
        }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.queue.bytes.set(self.queue.bytes.get() - count);
    }
}

/// The body that goes.
pub(super) struct Sending {
    stream: Option<SendStream<Chunk>>,
    /// The last piece, held back until it is known whether it is the last.
    held: Bytes,
    queue: Rc<Queue>,
    /// How many bytes are owed, if that was stated.
    left: Option<u64>,
    may_have_trailers: bool,
    has_ended: bool,
}

impl Sending {
    /// Nothing was sent yet.
    pub(super) fn new() -> Sending {
        Sending {
            stream: None,
            held: Bytes::new(),
            queue: Rc::default(),
            left: None,
            may_have_trailers: true,
            has_ended: false,
        }
    }

    /// The body will be of `size`.
    pub(super) fn expect(&mut self, size: BodySize) {
        self.may_have_trailers = size != BodySize::None;
        self.left = match size {
            BodySize::None => Some(0),
            BodySize::Length(length) => Some(length),
            BodySize::Unknown => None,
        };
    }

    /// The head has been sent, and the body goes on `stream`, unless it has ended.
    pub(super) fn begin(&mut self, stream: SendStream<Chunk>, ends: bool) {
        self.stream = Some(stream);
        self.has_ended = ends;
    }

    /// Nothing more will be sent: the stream was reset.
    pub(super) fn give_up(&mut self) {
        self.has_ended = true;
    }

    /// Whether all of the message was taken.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Ready when the peer wants no more of it, or the connection has ended; with the reason.
    pub(super) fn poll_broken(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<StreamError> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(broken_pipe(link)) };
        stream.poll_reset(cx).map(|result| match result {
            Ok(reason) => reset_error(reason, format!("the peer reset the stream: {reason}")),
            Err(error) => stream_error(error, link),
        })
    }

    /// Why the codec takes nothing for this stream any more.
    fn broken(&mut self, link: &Link) -> StreamError {
        // No waker is needed: the stream has ended, and nothing will be waited for.
        match self.poll_broken(&mut Context::from_waker(Waker::noop()), link) {
            Poll::Ready(error) => error,
            Poll::Pending => broken_pipe(link),
        }
    }

    /// Waits for room, and says for how many of `wanted` bytes.
    fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link,
        wanted: usize,
    ) -> Poll<Result<usize, StreamError>> {
        if self.left.is_some_and(|left| wanted as u64 > left) {
            return Poll::Ready(Err(GrammarError::Length("the body is longer than stated").into()));
        }
        self.push(false, link)?;
        if self.queue.pieces.get() >= SEND_BUFFER_PIECES {
            self.queue.waiting.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(self.broken(link))) };
        stream.reserve_capacity(wanted.min(SEND_BUFFER_BYTES));
        loop {
            let capacity = stream.capacity();
            if capacity > 0 {
                return Poll::Ready(Ok(capacity.min(wanted)));
            }
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(stream_error(error, link))),
                None => return Poll::Ready(Err(self.broken(link))),
            }
        }
    }

    /// How many bytes were taken and have not left: while they do, the peer reads, though it may be
    /// long before it opens its window for more.
    fn kept(&self) -> usize {
        self.held.len() + self.queue.bytes.get()
    }

    /// Takes `bytes`, for which there is room.
    fn hold(&mut self, bytes: Bytes) {
        if let Some(left) = &mut self.left {
            *left -= bytes.len() as u64;
        }
        self.held = bytes;
    }

    /// Gives the codec what is held back. `ends` says that nothing follows.
    fn push(&mut self, ends: bool, link: &Link) -> Result<(), StreamError> {
        if self.held.is_empty() && !ends {
            return Ok(());
        }
        let chunk = Chunk::new(std::mem::take(&mut self.held), &self.queue);
        let sent = self.stream.as_mut().map(|stream| stream.send_data(chunk, ends));
        if matches!(sent, Some(Ok(()))) { Ok(()) } else { Err(self.broken(link)) }
    }

    /// Whether the body may end here.
    fn check_end(&self) -> Result<(), StreamError> {
        match self.left {
            None | Some(0) => Ok(()),
            Some(_) => Err(GrammarError::Truncated.into()),
        }
    }

    fn end(&mut self, trailers: &Fields, link: &Link) -> Result<(), StreamError> {
        if trailers.is_empty() || !self.may_have_trailers {
            self.push(true, link)?;
        } else {
            self.push(false, link)?;
            let map = heads::map(trailers)?;
            let sent = self.stream.as_mut().map(|stream| stream.send_trailers(map));
            if !matches!(sent, Some(Ok(()))) {
                return Err(self.broken(link));
            }
        }
        self.has_ended = true;
        Ok(())
    }
}

fn broken_pipe(link: &Link) -> StreamError {
    StreamError::Io(link.error().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
}

/// The side of the connection that a stream is on.
pub(super) trait Side {
    /// Whether a head waits to be sent.
    fn has_head(&self) -> bool;

    /// Sends the head that waits, if one does. `ends` says that nothing follows it.
    fn send(&mut self, sending: &mut Sending, link: &Link, ends: bool) -> Result<(), StreamError>;

    /// Fails if the peer has given up the exchange.
    fn poll_alive(
        &mut self,
        sending: &mut Sending,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Result<(), StreamError>;
}

/// Both bodies of an exchange. A head is sent together with the first of what follows it.
pub(super) struct Bodies<S: Side> {
    pub(super) side: S,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    pub(super) link: Rc<Link>,
}

impl<S: Side> Bodies<S> {
    pub(super) fn new(side: S, link: Rc<Link>) -> Bodies<S> {
        Bodies { side, receiving: Receiving::new(), sending: Sending::new(), link }
    }

    /// Sends the head if it still waits.
    pub(super) fn start(&mut self, ends: bool) -> Result<(), StreamError> {
        self.side.send(&mut self.sending, &self.link, ends)
    }
}

impl<S: Side> Source for Bodies<S> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        self.receiving.poll_piece(cx, &self.link)
    }

    fn piece(&self) -> &[u8] {
        &self.receiving.piece
    }

    fn shared_piece(&self) -> Option<&Bytes> {
        Some(&self.receiving.piece).filter(|piece| piece.len() >= SHARED_BYTES_MIN)
    }

    fn consume(&mut self, count: usize) {
        self.receiving.consume(count);
    }

    fn trailers(&self) -> &Fields {
        &self.receiving.trailers
    }
}

impl<S: Side> Sink for Bodies<S> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        piece: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        self.start(false)?;
        let count = ready!(self.sending.poll_room(cx, &self.link, piece.len()))?;
        self.sending.hold(Bytes::copy_from_slice(&piece[..count]));
        Poll::Ready(Ok(count))
    }

    fn poll_send_shared(
        &mut self,
        cx: &mut Context<'_>,
        piece: &Bytes,
    ) -> Poll<Result<usize, StreamError>> {
        self.start(false)?;
        let count = ready!(self.sending.poll_room(cx, &self.link, piece.len()))?;
        self.sending.hold(piece.slice(..count));
        Poll::Ready(Ok(count))
    }

    fn end(&mut self, trailers: &Fields) -> Result<(), StreamError> {
        self.sending.check_end()?;
        if self.side.has_head() && (trailers.is_empty() || !self.sending.may_have_trailers) {
            return self.start(true);
        }
        self.start(false)?;
        self.sending.end(trailers, &self.link)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.start(false)?;
        self.sending.push(false, &self.link)?;
        self.side.poll_alive(&mut self.sending, &self.link, cx)?;
        Poll::Ready(Ok(()))
    }

    fn kept(&mut self) -> usize {
        self.receiving.kept() + self.sending.kept()
    }
}

/// Lets a type with a field `bodies` be the source and the sink that its bodies are.
macro_rules! delegate {
    ($stream:ty) => {
        impl $crate::exchange::Source for $stream {
            fn poll_piece(
                &mut self,
                cx: &mut Context<'_>,
            ) -> Poll<Result<$crate::exchange::Piece, StreamError>> {
                self.bodies.poll_piece(cx)
            }

            fn piece(&self) -> &[u8] {
                self.bodies.piece()
            }

            fn shared_piece(&self) -> Option<&bytes::Bytes> {
                self.bodies.shared_piece()
            }

            fn consume(&mut self, count: usize) {
                self.bodies.consume(count);
            }

            fn trailers(&self) -> &weft_http::Fields {
                self.bodies.trailers()
            }
        }

        impl $crate::exchange::Sink for $stream {
            fn poll_send(
                &mut self,
                cx: &mut Context<'_>,
                piece: &[u8],
            ) -> Poll<Result<usize, StreamError>> {
                self.bodies.poll_send(cx, piece)
            }

            fn poll_send_shared(
                &mut self,
                cx: &mut Context<'_>,
                piece: &bytes::Bytes,
            ) -> Poll<Result<usize, StreamError>> {
                self.bodies.poll_send_shared(cx, piece)
            }

            fn end(&mut self, trailers: &weft_http::Fields) -> Result<(), StreamError> {
                self.bodies.end(trailers)
            }

            fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
                self.bodies.poll_flush(cx)
            }

            fn kept(&mut self) -> usize {
                self.bodies.kept()
            }
        }
    };
}

pub(super) use delegate;
