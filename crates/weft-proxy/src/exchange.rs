//! A request and its answer, whatever codec carries them.
//!
//! `request.rs` works on an [`Exchange`] and knows no codec. Connection drivers implement
//! [`Downstream`] and [`Upstream`]; one task drives both sides, by the two loops here.

mod discard;
mod transfer;
mod waiting;

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use weft_decide::filters::OnAnswer;
use weft_http::{BodySize, Fields, Known, RequestHead, ResponseHead};

use crate::copies::Copies;
use crate::error::{ProxyError, StreamError};
use crate::replay::{REQUEST_BYTES_MAX, Replay};
use crate::request::REACHED;

use self::transfer::{Keeping, TransferError, poll_transfer};

/// The most informational responses that are passed on for one request.
const INFORMATIONAL_MAX: u32 = 8;

/// What a [`Source`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes, to be seen by [`Source::piece`].
    Data,
    /// The end of the body.
    End,
}

/// Where the body of a message comes from.
pub trait Source {
    /// Waits until there is a piece, or the body has ended.
    ///
    /// # Errors
    /// [`StreamError`]; the body will not be complete.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>>;

    /// The bytes that [`Source::poll_piece`] announced; not empty.
    fn piece(&self) -> &[u8];

    /// The same bytes, where a sink may keep them without copying them.
    fn shared_piece(&self) -> Option<&Bytes> {
        None
    }

    /// Drops `count` bytes from the front of the piece.
    fn consume(&mut self, count: usize);

    /// The trailers, once the body has ended.
    fn trailers(&self) -> &Fields;
}

/// Where the body of a message goes.
pub trait Sink {
    /// Takes some bytes of `piece`, and says how many.
    ///
    /// # Errors
    /// [`StreamError`]; the connection cannot be used further.
    fn poll_send(&mut self, cx: &mut Context<'_>, piece: &[u8])
    -> Poll<Result<usize, StreamError>>;

    /// As [`Sink::poll_send`], of bytes that may be kept without copying them.
    ///
    /// # Errors
    /// As [`Sink::poll_send`].
    fn poll_send_shared(
        &mut self,
        cx: &mut Context<'_>,
        piece: &Bytes,
    ) -> Poll<Result<usize, StreamError>> {
        self.poll_send(cx, piece)
    }

    /// Takes the end of the body.
    ///
    /// # Errors
    /// [`StreamError`] if the body is not as long as was stated.
    fn end(&mut self, trailers: &Fields) -> Result<(), StreamError>;

    /// Pushes out what was taken.
    ///
    /// # Errors
    /// [`StreamError`]; the connection cannot be used further.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;

    /// How many bytes of the connection are kept here on their way, in either direction, as far as
    /// that is known: what was taken and has not left, and what has come and could not be used yet.
    fn kept(&mut self) -> usize {
        0
    }

    /// Whether nothing more is taken before the peer's proxy has room for it, as that one says.
    fn awaits_room(&self) -> bool {
        false
    }
}

/// The caller's side of an exchange.
pub trait Downstream: Source + Sink {
    /// Takes the head of the answer, whose body will be of `size`; 1xx may come before it.
    fn send_head(&mut self, head: &ResponseHead, size: BodySize);

    /// Makes the next answer the last one of the connection. Its head will say so.
    fn end_after_answer(&mut self);

    /// Ready when the caller has gone away. To be asked once the request's body has ended.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The same while nothing of the body is asked for, as far as that can be known: some of what
    /// comes meanwhile is kept, and behind more than that the end is not seen.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_gone(cx)
    }
}

/// The head that an [`Upstream`] answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 1xx: another head follows.
    Informational,
    /// The answer's head; its body follows.
    Final(BodySize),
    /// 101: from now on both sides speak as they like.
    Upgraded,
}

/// The server's side of an exchange.
pub trait Upstream: Source + Sink {
    /// Takes the head of the request, whose body will be of `size`.
    fn send_head(&mut self, head: &RequestHead, size: BodySize);

    /// Waits for a head of the answer, and puts it into `head`.
    ///
    /// # Errors
    /// [`StreamError`]; no answer will come.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<Reply, StreamError>>;

    /// Whether it has served an exchange before this one.
    fn was_reused(&self) -> bool;

    /// Whether the server will keep the connection, as the head of its answer says.
    fn goes_on(&self) -> bool;

    /// Whether it can serve another exchange after this one.
    fn is_reusable(&self) -> bool;

    /// Ready when an idle connection cannot be used any more.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Pushes out what was taken and ends the own direction, where protocols were changed.
    ///
    /// # Errors
    /// [`StreamError`]; the connection cannot be used further.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;
}

/// A request, and the means to answer it.
pub struct Exchange<'c> {
    /// The head of the request.
    pub head: &'c mut RequestHead,
    /// The body of the request, as the head states it.
    pub size: BodySize,
    /// The head of the answer, once there is one.
    pub response: &'c mut ResponseHead,
    /// What is still to be done to the answer's head, whoever gives it.
    pub on_answer: Option<Box<OnAnswer>>,
    /// Who else gets the request.
    pub(crate) copies: Option<Box<Copies>>,
    downstream: &'c mut dyn Downstream,
    replay: Replay,
    /// Whether only as much of the body may be sent as is kept.
    is_held: bool,
    /// Whether the caller's proxy wants to know that the head has reached the application.
    must_tell: bool,
    request_ended: bool,
    /// Whether the caller was told to go on with its body (100).
    has_continued: bool,
    /// Whether all that was taken of the request has left.
    is_flushed: bool,
    has_answered: bool,
    /// Whether Weft itself has answered before all of the request was there.
    is_unread: bool,
    /// How many heads and ends were passed on.
    steps: u64,
    /// Bytes of the request's body that were passed on.
    pub bytes_received: u64,
    /// Bytes of the answer's body that were passed on.
    pub bytes_sent: u64,
}

impl<'c> Exchange<'c> {
    /// An exchange about the request in `head`. `response` is room for the answer's head.
    pub fn new(
        head: &'c mut RequestHead,
        size: BodySize,
        response: &'c mut ResponseHead,
        downstream: &'c mut dyn Downstream,
    ) -> Exchange<'c> {
        Exchange {
            head,
            size,
            response,
            on_answer: None,
            copies: None,
            downstream,
            replay: Replay::default(),
            is_held: false,
            must_tell: false,
            request_ended: false,
            has_continued: false,
            is_flushed: false,
            has_answered: false,
            is_unread: false,
            steps: 0,
            bytes_received: 0,
            bytes_sent: 0,
        }
    }

    /// Keeps what is sent of the request's body, within limits, so that it can be sent again.
    pub fn keep_body(&mut self) {
        self.replay.keep();
    }

    /// Whether the body may be larger than what is kept of it.
    pub fn may_outgrow(&self) -> bool {
        match self.size {
            BodySize::None => false,
            BodySize::Length(length) => length > REQUEST_BYTES_MAX as u64,
            BodySize::Unknown => true,
        }
    }

    /// Sends no more of the body than is kept, until the server's proxy says that the head has
    /// reached the application: until then, the request can be sent elsewhere.
    pub fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Tells the caller's proxy once the head has reached the application.
    pub fn tell_reached(&mut self) {
        self.must_tell = true;
    }

    /// Whether the whole of the request could be sent once more.
    pub fn is_replayable(&self) -> bool {
        self.replay.is_whole() && !self.has_answered
    }

    /// Whether the head of an answer was given to the caller.
    pub fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Whether it is the rest of the request that is waited for, and not the server's word that it
    /// wants that at all.
    pub fn awaits_caller(&mut self) -> bool {
        // No waker is needed: nobody waits any longer.
        let mut cx = Context::from_waker(Waker::noop());
        let is_short = !self.request_ended && self.downstream.poll_piece(&mut cx).is_pending();
        is_short && !self.awaits_continue()
    }

    /// Whether the caller sends its body only once the server says so, and that has not.
    ///
    /// Source: RFC 9110, section 10.1.1.
    fn awaits_continue(&self) -> bool {
        let mut expected = self.head.fields.known(Known::Expect);
        let is_asked = expected.any(|value| value.eq_ignore_ascii_case(b"100-continue"));
        is_asked && !self.has_continued && self.bytes_received == 0
    }

    /// Makes the answer the last one of the caller's connection.
    pub fn end_after_answer(&mut self) {
        self.downstream.end_after_answer();
    }

    /// Sends the request to `upstream` and waits for the head of its answer.
    ///
    /// The body flows meanwhile; informational answers are passed on. Whatever moves changes
    /// `moved`.
    ///
    /// # Errors
    /// [`ProxyError`] for either side.
    pub async fn ask(
        &mut self,
        upstream: &mut dyn Upstream,
        address: SocketAddr,
        moved: &Cell<u64>,
    ) -> Result<Reply, ProxyError> {
        upstream.send_head(self.head, self.size);
        // The end of a body without bytes may have been told to another server only.
        self.request_ended = false;
        self.replay.rewind();
        let mut informational = 0;
        let mut sink_error = None;
        poll_fn(|cx| {
            loop {
                match self.poll_request(cx, upstream) {
                    Err(TransferError::Source(error)) => {
                        return Poll::Ready(Err(body_error(error)));
                    }
                    // It may have answered before it stopped reading: that answer counts.
                    Err(TransferError::Sink(error)) => sink_error = Some(error),
                    Ok(_) if self.must_tell && self.is_flushed => self.tell(),
                    Ok(_) => {}
                }
                match upstream.poll_head(cx, self.response) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(Reply::Informational)) => {
                        let is_told = self.response.fields.values(REACHED).next().is_some();
                        if is_told && std::mem::take(&mut self.is_held) {
                            continue; // It was for this proxy.
                        }
                        self.response.fields.remove_known(|known| known == Known::Weft);
                        self.steps += 1;
                        self.has_continued |= self.response.status == 100;
                        informational += 1;
                        if informational <= INFORMATIONAL_MAX {
                            self.downstream.send_head(self.response, BodySize::None);
                        }
                    }
                    Poll::Ready(Ok(reply)) => return Poll::Ready(Ok(reply)),
                    Poll::Ready(Err(error)) => {
                        let was_reused = upstream.was_reused();
                        return Poll::Ready(Err(answer_error(error, address, was_reused)));
                    }
                }
            }
            if let Some(source) = sink_error.take() {
                let was_reused = upstream.was_reused();
                return Poll::Ready(Err(ProxyError::UpstreamClosed {
                    address,
                    was_reused,
                    source,
                }));
            }
            if self.downstream.poll_flush(cx).is_ready_and(|result| result.is_err())
                || (self.request_ended && self.downstream.poll_gone(cx).is_ready())
            {
                return Poll::Ready(Err(ProxyError::ClientGone));
            }
            moved.set(self.movement(upstream));
            Poll::Pending
        })
        .await
    }

    /// Gives the answer that `upstream` has begun to the caller, to its end. Whatever moves changes
    /// `moved`.
    ///
    /// A server may answer before it was sent the whole request: unless it says that it will close,
    /// it gets the rest.
    ///
    /// # Errors
    /// [`ProxyError`] for either side.
    pub async fn relay(
        &mut self,
        upstream: &mut dyn Upstream,
        reply: Reply,
        address: SocketAddr,
        moved: &Cell<u64>,
    ) -> Result<(), ProxyError> {
        // From here on there is no other answer, whatever happens to this one.
        self.replay.forget();
        self.is_held = false;
        self.steps += 1;
        let Reply::Final(size) = reply else { return self.join(upstream, address, moved).await };
        if !self.request_ended && !upstream.goes_on() {
            self.downstream.end_after_answer();
        }
        self.downstream.send_head(self.response, size);
        self.has_answered = true;
        let (mut is_request_done, mut is_response_ended) = (false, false);
        poll_fn(|cx| {
            if !is_request_done {
                is_request_done = match self.poll_request(cx, upstream) {
                    Ok(is_done) => is_done,
                    // A server may answer without reading all that it was sent.
                    Err(TransferError::Sink(_)) => true,
                    Err(TransferError::Source(error)) => match body_error(error) {
                        ProxyError::ClientGone if is_response_ended => true,
                        error => return Poll::Ready(Err(error)),
                    },
                };
            }
            let is_flushed = self.poll_response(cx, upstream, address, &mut is_response_ended)?;
            moved.set(self.movement(upstream));
            if is_flushed && is_response_ended {
                let is_over = is_request_done || !upstream.goes_on();
                return if is_over {
                    Poll::Ready(Ok(()))
                } else {
                    upstream.poll_broken(cx).map(Ok)
                };
            }
            if self.request_ended && self.downstream.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(ProxyError::ClientGone));
            }
            Poll::Pending
        })
        .await
    }

    /// Lets both sides speak as they like, until the server ends its direction. The caller may have
    /// ended its own before.
    async fn join(
        &mut self,
        upstream: &mut dyn Upstream,
        address: SocketAddr,
        moved: &Cell<u64>,
    ) -> Result<(), ProxyError> {
        self.downstream.send_head(self.response, BodySize::None);
        self.has_answered = true;
        self.request_ended = false;
        let (mut is_closed, mut is_response_ended) = (false, false);
        poll_fn(|cx| {
            if !is_closed {
                match self.poll_request(cx, upstream) {
                    Ok(true) => is_closed = upstream.poll_close(cx).is_ready(),
                    Ok(false) => {}
                    // What the server has said before it stopped reading is still passed on.
                    Err(TransferError::Sink(_)) => is_closed = true,
                    Err(TransferError::Source(error)) => {
                        return Poll::Ready(Err(body_error(error)));
                    }
                }
            }
            let is_flushed = self.poll_response(cx, upstream, address, &mut is_response_ended)?;
            moved.set(self.movement(upstream));
            if is_flushed && is_response_ended { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Answers with `head` and `body`, which are Weft's own.
    ///
    /// # Errors
    /// [`StreamError`] if the caller is gone.
    pub async fn answer(&mut self, head: &ResponseHead, body: &[u8]) -> Result<(), StreamError> {
        debug_assert!(!self.has_answered, "a second answer would be taken for the next request's");
        self.has_answered = true;
        let is_discarded = poll_fn(|cx| Poll::Ready(self.discard_request(cx))).await;
        self.is_unread = !is_discarded;
        if self.is_unread {
            self.downstream.end_after_answer();
        }
        let size = BodySize::Length(body.len() as u64);
        let has_body = self.head.method() != "HEAD";
        self.downstream.send_head(head, if has_body { size } else { BodySize::None });
        let mut sent = if has_body { 0 } else { body.len() };
        let mut has_ended = false;
        poll_fn(|cx| {
            while sent < body.len() {
                sent += ready!(self.downstream.poll_send(cx, &body[sent..]))?;
            }
            if !has_ended {
                has_ended = true;
                self.downstream.end(&Fields::default())?;
            }
            self.downstream.poll_flush(cx)
        })
        .await
    }

    /// Moves what there is of the request, and pushes it out. True once all of it has left.
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut dyn Upstream,
    ) -> Result<bool, TransferError> {
        if !self.request_ended {
            match self.poll_body(cx, upstream) {
                Poll::Ready(result) => {
                    result?;
                    self.request_ended = true;
                    self.steps += 1;
                }
                Poll::Pending => {}
            }
        }
        let flushed = upstream.poll_flush(cx).map_err(TransferError::Sink)?;
        self.is_flushed = flushed.is_ready();
        Ok(self.is_flushed && self.request_ended)
    }

    /// A number that changes with all that moves: what is passed on counts twice, and what comes
    /// and leaves once, so that one does not hide the other.
    fn movement(&mut self, upstream: &mut dyn Upstream) -> u64 {
        // How long its caller may take to read is for the caller's proxy to judge, which knows
        // about each byte; here only that many were read is known.
        self.steps += u64::from(self.downstream.awaits_room());
        let kept = upstream.kept() as u64 + self.downstream.kept() as u64;
        let passed_on = self.bytes_received + self.bytes_sent + self.steps;
        (2 * passed_on).wrapping_sub(kept)
    }

    /// Tells the caller's proxy that the head has reached the application.
    fn tell(&mut self) {
        self.must_tell = false;
        let mut head = ResponseHead::with_status(102);
        head.fields.append(REACHED, b"1");
        self.downstream.send_head(&head, BodySize::None);
    }

    /// Moves the request's body: what another server was sent of it already, then what comes.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut dyn Upstream,
    ) -> Poll<Result<(), TransferError>> {
        while !self.replay.unsent().is_empty() {
            let sent = upstream.poll_send(cx, self.replay.unsent());
            self.replay.advance(ready!(sent).map_err(TransferError::Sink)?);
        }
        let copies = self.copies.as_deref_mut();
        let keeping = Keeping { replay: &mut self.replay, is_held: self.is_held, copies };
        poll_transfer(cx, self.downstream, upstream, &mut self.bytes_received, Some(keeping))
    }

    /// Moves what there is of the answer, and pushes it out. True if all that was taken has left.
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut dyn Upstream,
        address: SocketAddr,
        has_ended: &mut bool,
    ) -> Result<bool, ProxyError> {
        if !*has_ended {
            match poll_transfer(cx, upstream, self.downstream, &mut self.bytes_sent, None) {
                Poll::Ready(Ok(())) => {
                    *has_ended = true;
                    self.steps += 1;
                }
                Poll::Ready(Err(TransferError::Source(source))) => {
                    return Err(ProxyError::UpstreamBroke { address, source });
                }
                Poll::Ready(Err(TransferError::Sink(_))) => return Err(ProxyError::ClientGone),
                Poll::Pending => {}
            }
        }
        match self.downstream.poll_flush(cx) {
            Poll::Ready(Err(_)) => Err(ProxyError::ClientGone),
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Pending => Ok(false),
        }
    }
}

/// What it means that the request's body could not be read.
fn body_error(error: StreamError) -> ProxyError {
    match error {
        StreamError::Io(_) | StreamError::Closed => ProxyError::ClientGone,
        StreamError::Grammar(weft_http::GrammarError::Truncated) => ProxyError::ClientGone,
        error @ StreamError::Grammar(_) => ProxyError::BadBody(error),
    }
}

/// What it means that the head of the answer could not be read.
fn answer_error(error: StreamError, address: SocketAddr, was_reused: bool) -> ProxyError {
    match error {
        StreamError::Grammar(weft_http::GrammarError::Truncated)
        | StreamError::Io(_)
        | StreamError::Closed => crate::tunnel::refusal(error)
            .or_else(crate::failure::refusal)
            .unwrap_or_else(|source| ProxyError::UpstreamClosed { address, was_reused, source }),
        StreamError::Grammar(source) => ProxyError::UpstreamMalformed { address, source },
    }
}

/// A question about a poll that reads better than a match.
trait ReadyAnd<T> {
    /// Whether it is ready, and `condition` holds.
    fn is_ready_and(&self, condition: impl FnOnce(&T) -> bool) -> bool;
}

impl<T> ReadyAnd<T> for Poll<T> {
    fn is_ready_and(&self, condition: impl FnOnce(&T) -> bool) -> bool {
        match self {
            Poll::Ready(value) => condition(value),
            Poll::Pending => false,
        }
    }
}
