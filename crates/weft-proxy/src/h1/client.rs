//! The server's side of HTTP/1.1: requests are written, answers read.

use std::task::{Context, Poll, ready};

use weft_http::{
    BodyDecoder, BodyEncoder, BodySize, GrammarError, HeadLimits, RequestHead, ResponseHead,
    request, response,
};
use weft_world::Stream;

use super::{Core, Side, with_scratch};
use crate::error::StreamError;
use crate::exchange::{Reply, Upstream};

/// The server's side of a connection.
pub(crate) struct Client {
    core: Core,
    exchanges: u32,
    is_to_head: bool,
    asked_to_upgrade: bool,
    keep_alive: bool,
    request_ended: bool,
}

impl Client {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Client {
        Client::in_tunnel(stream, false)
    }

    /// The server's side of `stream`, which is one of those that a tunnel carries. If that was kept
    /// for it, it may have ended meanwhile, as any kept connection.
    pub(crate) fn in_tunnel(stream: Box<dyn Stream>, is_kept: bool) -> Client {
        Client {
            core: Core::new(stream),
            exchanges: u32::from(is_kept),
            is_to_head: false,
            asked_to_upgrade: false,
            keep_alive: true,
            request_ended: true,
        }
    }

    /// The same for heads within `limits`.
    pub(crate) fn within(mut self, limits: HeadLimits) -> Client {
        self.core.limits = limits;
        self
    }
}

impl Side for Client {
    fn core(&self) -> &Core {
        &self.core
    }

    fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    fn body_was_sent(&mut self) {
        self.request_ended = true;
    }
}

impl Upstream for Client {
    fn send_head(&mut self, head: &RequestHead, size: BodySize) {
        self.exchanges += 1;
        self.is_to_head = head.method() == "HEAD";
        self.asked_to_upgrade = head.upgrade;
        self.request_ended = false;
        self.keep_alive = true;
        self.core.trailers.clear();
        self.core.encoder = match size {
            BodySize::None => BodyEncoder::Length(0),
            BodySize::Length(length) => BodyEncoder::Length(length),
            BodySize::Unknown => BodyEncoder::Chunked,
        };
        let core = &mut self.core;
        with_scratch(|scratch| {
            request::write(head, size, scratch);
            core.outgoing.push(scratch);
        });
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<Reply, StreamError>> {
        loop {
            if self.core.may_have_head()
                && let Some(parsed) = response::parse_within(
                    self.core.limits,
                    self.core.incoming.filled(),
                    self.is_to_head,
                    head,
                )?
            {
                self.core.consume_head(parsed.bytes);
                if parsed.upgrade && !(self.asked_to_upgrade && self.request_ended) {
                    // Whatever the caller sends next would reach the server unjudged.
                    return Poll::Ready(Err(GrammarError::Head("101 to no upgrade").into()));
                }
                if head.status < 200 && !parsed.upgrade {
                    return Poll::Ready(Ok(Reply::Informational));
                }
                self.keep_alive = parsed.keep_alive;
                if parsed.upgrade {
                    self.keep_alive = false;
                    self.core.decoder = BodyDecoder::UntilClose;
                    self.core.encoder = BodyEncoder::UntilClose;
                    return Poll::Ready(Ok(Reply::Upgraded));
                }
                let ends_with_connection = !parsed.keep_alive && parsed.ends_with_connection;
                self.core.decoder = BodyDecoder::new(parsed.size, ends_with_connection);
                return Poll::Ready(Ok(Reply::Final(parsed.size)));
            }
            if ready!(self.core.poll_fill(cx))? == 0 {
                if self.core.incoming.is_empty() {
                    return Poll::Ready(Err(StreamError::Closed));
                }
                return Poll::Ready(Err(GrammarError::Truncated.into()));
            }
        }
    }

    fn was_reused(&self) -> bool {
        self.exchanges > 1
    }

    fn goes_on(&self) -> bool {
        self.keep_alive
    }

    fn is_reusable(&self) -> bool {
        self.keep_alive
            && self.request_ended
            && self.core.decoder.has_ended()
            && self.core.incoming.is_empty()
            && self.core.outgoing.is_empty()
            && !self.core.stream.is_doubtful()
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Whatever an idle connection does, even sending bytes, ends its use.
        if self.core.stream.is_doubtful() {
            return Poll::Ready(());
        }
        self.core.poll_fill(cx).map(|_| ())
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.core.poll_close(cx)
    }
}
