//! The caller's side of HTTP/1.1: requests are read, answers written.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use weft_http::response::{Framing, Keep};
use weft_http::{
    BodyDecoder, BodyEncoder, BodySize, GrammarError, HeadLimits, RequestHead, ResponseHead,
    Version, request, response,
};
use weft_world::{Buffer, Stream};

use super::{Core, Side, with_scratch};
use crate::error::StreamError;
use crate::exchange::Downstream;

/// How much of a connection that is about to be closed is read and thrown away, so that the caller
/// gets the answer rather than a reset, in bytes.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// How much of informational answers may wait to be written, in bytes.
const INFORMATIONAL_BYTES_MAX: usize = 48 * 1024;

/// How much of a body is read before it is asked for, to see whether its caller goes, in bytes. It
/// leaves room in a buffer that is borrowed while something is there.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// The caller's side of a connection.
pub(crate) struct Server {
    core: Core,
    keep_alive: bool,
    is_http10: bool,
    has_responded: bool,
    is_gone: bool,
}

impl Server {
    /// The server's side of `stream`, from which `incoming` was read already.
    pub(crate) fn new(stream: Box<dyn Stream>, incoming: Buffer) -> Server {
        Server {
            core: Core { incoming, ..Core::new(stream) },
            keep_alive: true,
            is_http10: false,
            has_responded: true,
            is_gone: false,
        }
    }

    /// The same for heads within `limits`.
    pub(crate) fn within(mut self, limits: HeadLimits) -> Server {
        self.core.limits = limits;
        self
    }

    /// Whether bytes of a next request are there already.
    pub(crate) fn has_begun(&self) -> bool {
        !self.core.incoming.is_empty()
    }

    /// Waits for the head of the next request, and says how long its body is; `None` if the caller
    /// has ended the connection between two requests.
    pub(crate) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
    ) -> Poll<Result<Option<BodySize>, StreamError>> {
        loop {
            if self.core.may_have_head()
                && let Some(parsed) =
                    request::parse_within(self.core.limits, self.core.incoming.filled(), head)?
            {
                self.core.consume_head(parsed.bytes);
                self.core.decoder = BodyDecoder::new(parsed.size, false);
                self.core.trailers.clear();
                self.keep_alive = parsed.keep_alive;
                self.is_http10 = head.version == Version::Http10;
                self.has_responded = false;
                return Poll::Ready(Ok(Some(parsed.size)));
            }
            if ready!(self.core.poll_fill(cx))? == 0 {
                let is_between = self.core.incoming.is_empty();
                return Poll::Ready(if is_between {
                    Ok(None)
                } else {
                    Err(GrammarError::Truncated.into())
                });
            }
        }
    }

    /// Whether another request may follow on this connection.
    pub(crate) fn can_go_on(&self) -> bool {
        self.keep_alive && self.core.decoder.has_ended() && self.is_whole()
    }

    /// Whether all that was begun was also ended, so that an orderly close is no lie. An answer
    /// that was given up after its end was taken may not have left: nobody waits for that any more.
    pub(crate) fn is_whole(&self) -> bool {
        self.has_responded && self.core.is_flushed && !self.is_gone
    }

    /// The stream, if an answer was broken off for which its end would be taken.
    pub(crate) fn cut_short(&mut self) -> Option<&mut dyn Stream> {
        if self.is_whole() || self.core.encoder != BodyEncoder::UntilClose {
            return None;
        }
        Some(&mut *self.core.stream)
    }

    /// Reads no further requests: the next answer is the last.
    pub(crate) fn give_up(&mut self) {
        self.end_after_answer();
        self.core.decoder = BodyDecoder::Length(0);
    }

    /// Ends the connection in order, so that the last answer arrives: where a reset might overtake
    /// it, which `lingers` says, the caller's end is waited for.
    pub(crate) async fn close(&mut self, lingers: bool) {
        if poll_fn(|cx| self.core.poll_close(cx)).await.is_err() || !lingers {
            return;
        }
        // A close with unread bytes would reset the connection, and the answer might be lost.
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            self.core.incoming.consume(self.core.incoming.len());
            match poll_fn(|cx| self.core.poll_fill(cx)).await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    }
}

impl Side for Server {
    fn core(&self) -> &Core {
        &self.core
    }

    fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    fn body_was_sent(&mut self) {
        self.has_responded = true;
    }
}

impl Downstream for Server {
    fn send_head(&mut self, head: &ResponseHead, size: BodySize) {
        let is_informational = head.status < 200 && head.status != 101;
        if is_informational && self.is_http10 {
            return; // HTTP/1.0 does not know them.
        }
        let (framing, encoder) = match size {
            _ if head.status == 101 => (Framing::Plain, BodyEncoder::UntilClose),
            BodySize::None => (Framing::Plain, BodyEncoder::Length(0)),
            BodySize::Length(length) => (Framing::Plain, BodyEncoder::Length(length)),
            BodySize::Unknown if self.is_http10 => (Framing::UntilClose, BodyEncoder::UntilClose),
            BodySize::Unknown => (Framing::Chunked, BodyEncoder::Chunked),
        };
        if encoder == BodyEncoder::UntilClose {
            self.keep_alive = false;
        }
        if head.status == 101 {
            self.core.decoder = BodyDecoder::UntilClose;
        }
        let keep = match (head.status, self.keep_alive) {
            (101, _) => Keep::Upgrade,
            _ if is_informational => Keep::Implied,
            (_, false) => Keep::Close,
            (_, true) if self.is_http10 => Keep::Told,
            (_, true) => Keep::Implied,
        };
        if !is_informational {
            self.core.encoder = encoder;
        }
        let core = &mut self.core;
        with_scratch(|scratch| {
            response::write(head, size, framing, keep, scratch);
            // A caller that reads slowly may miss informational answers, never a final one.
            let waiting = core.outgoing.len() + scratch.len();
            if !is_informational || waiting <= INFORMATIONAL_BYTES_MAX {
                core.outgoing.push(scratch);
            }
        });
    }

    fn end_after_answer(&mut self) {
        self.keep_alive = false;
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Whoever sends the next request already is still there.
        while !self.is_gone && self.core.incoming.is_empty() {
            match ready!(self.core.poll_fill(cx)) {
                Ok(0) | Err(_) => self.is_gone = true,
                Ok(_) => self.core.skip_empty_lines(),
            }
        }
        if self.is_gone { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.core.decoder.has_ended() {
            return self.poll_gone(cx);
        }
        while !self.is_gone && self.core.incoming.len() < AHEAD_BYTES_MAX {
            match ready!(self.core.poll_fill(cx)) {
                Ok(0) | Err(_) => self.is_gone = true,
                Ok(_) => {}
            }
        }
        if self.is_gone { Poll::Ready(()) } else { Poll::Pending }
    }
}
