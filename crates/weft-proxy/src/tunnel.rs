//! The tunnel between two proxies, on both sides: preface, answer, and then the inner protocol.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use thiserror::Error;
use weft_wire::tunnel::{Answer, InnerProtocol, Preface, Verdict, decode, encode};
use weft_world::{Buffer, Stream};

use crate::error::{ProxyError, StreamError};
use crate::prefixed::Prefixed;

/// How much of a refused tunnel is read and thrown away, in bytes: more than a caller sends ahead.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// The client's side: the preface leaves with the first bytes of the inner protocol, and the answer
/// is taken off before the first bytes that come back.
pub(crate) struct ClientTunnel {
    stream: Box<dyn Stream>,
    incoming: Buffer,
    is_open: bool,
    workload: Box<str>,
}

/// A tunnel that the peer refused, on its way through [`io::Error`].
#[derive(Debug, Error)]
#[error("refused by the proxy of {workload}: {reason}: {detail}")]
struct Refusal {
    workload: String,
    reason: String,
    detail: String,
    is_draining: bool,
}

/// The refusal that `error` carries, or the error again.
pub(crate) fn refusal(error: StreamError) -> Result<ProxyError, StreamError> {
    let StreamError::Io(io_error) = error else { return Err(error) };
    match io_error.downcast::<Refusal>() {
        Ok(Refusal { workload, is_draining: true, .. }) => {
            Ok(ProxyError::PeerDraining { workload })
        }
        Ok(Refusal { workload, reason, detail, is_draining: false }) => {
            Ok(ProxyError::TunnelRefused { workload, reason, detail })
        }
        Err(io_error) => Err(StreamError::Io(io_error)),
    }
}

impl ClientTunnel {
    /// Opens a tunnel over the secured `stream`. Nothing is flushed yet.
    ///
    /// # Errors
    /// If the stream breaks.
    pub(crate) async fn open(
        mut stream: Box<dyn Stream>,
        preface: &Preface,
    ) -> io::Result<ClientTunnel> {
        let frame = encode(preface).map_err(io::Error::other)?;
        let mut written = 0;
        while written < frame.len() {
            let rest = [IoSlice::new(&frame[written..])];
            written += poll_fn(|cx| stream.poll_write(cx, &rest)).await?;
        }
        let workload = preface.workload.as_str().into();
        Ok(ClientTunnel { stream, incoming: Buffer::default(), is_open: false, workload })
    }

    /// Pushes out the preface and waits for the answer, before a byte of the inner protocol.
    ///
    /// # Errors
    /// If the stream breaks, or the peer refuses; [`refusal`] tells which.
    pub(crate) async fn opened(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            ready!(self.stream.poll_flush(cx))?;
            let opened = ready!(self.poll_open(cx));
            self.incoming.release_if_empty();
            Poll::Ready(opened)
        })
        .await
    }

    /// Waits for the answer.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let decoded = decode::<Answer>(self.incoming.filled()).map_err(io::Error::other)?;
            if let Some((answer, length)) = decoded {
                self.incoming.consume(length);
                self.is_open = answer.verdict() == Verdict::Accepted;
                return Poll::Ready(if self.is_open { Ok(()) } else { Err(self.refused(answer)) });
            }
            let count = ready!(self.stream.poll_read(cx, self.incoming.room(1)))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.incoming.fill(count);
        }
    }

    fn refused(&self, answer: Answer) -> io::Error {
        let is_draining = answer.verdict() == Verdict::Draining;
        let reason =
            if answer.reason.is_empty() { "unspecified".to_owned() } else { answer.reason };
        let workload = self.workload.to_string();
        io::Error::other(Refusal { workload, reason, detail: answer.detail, is_draining })
    }
}

impl Stream for ClientTunnel {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.is_open {
            let opened = self.poll_open(cx);
            self.incoming.release_if_empty();
            ready!(opened)?;
        }
        if !self.incoming.is_empty() {
            let count = self.incoming.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.incoming.filled()[..count]);
            self.incoming.consume(count);
            return Poll::Ready(Ok(count));
        }
        self.stream.poll_read(cx, buffer)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, buffers)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_close(cx)
    }

    fn unsent(&self) -> usize {
        self.stream.unsent()
    }

    fn break_on_drop(&mut self) {
        self.stream.break_on_drop();
    }
}

/// The server's side: reads the preface, and what came behind it stays to be read.
pub(crate) struct ServerTunnel {
    stream: Prefixed,
}

impl ServerTunnel {
    pub(crate) fn new(stream: Box<dyn Stream>) -> ServerTunnel {
        ServerTunnel { stream: Prefixed::new(stream) }
    }

    /// Waits for the preface.
    ///
    /// # Errors
    /// [`ProxyError::Preface`], [`ProxyError::PrefaceEnded`].
    pub(crate) async fn preface(&mut self) -> Result<Preface, ProxyError> {
        loop {
            if let Some((preface, length)) =
                decode(self.stream.seen()).map_err(ProxyError::Preface)?
            {
                self.stream.consume(length);
                return Ok(preface);
            }
            match poll_fn(|cx| self.stream.poll_more(cx)).await {
                Ok(0) | Err(_) => return Err(ProxyError::PrefaceEnded),
                Ok(_) => {}
            }
        }
    }

    /// Answers that the inner protocol may begin. It leaves with the inner protocol's first bytes.
    pub(crate) async fn accept(mut self) -> io::Result<Prefixed> {
        self.write(Verdict::Accepted, "", "").await?;
        Ok(self.stream)
    }

    /// Answers that nothing reached the application, and ends the tunnel in order.
    pub(crate) async fn refuse(&mut self, error: &ProxyError) -> io::Result<()> {
        let is_draining = matches!(error, ProxyError::Draining);
        let verdict = if is_draining { Verdict::Draining } else { Verdict::Refused };
        self.write(verdict, error.verdict().reason, &error.to_string()).await?;
        poll_fn(|cx| self.stream.poll_close(cx)).await
    }

    /// Reads and throws away what the caller has sent already, until it ends the tunnel: a close
    /// with unread bytes would be a reset, and the refusal might be lost.
    pub(crate) async fn linger(&mut self) {
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            self.stream.consume(self.stream.seen().len());
            match poll_fn(|cx| self.stream.poll_more(cx)).await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    }

    async fn write(&mut self, verdict: Verdict, reason: &str, detail: &str) -> io::Result<()> {
        // A detail that would not fit is only for people: the reason stays.
        let detail = detail.chars().take(512).collect();
        let answer = Answer { verdict: verdict.into(), reason: reason.to_owned(), detail };
        let frame = encode(&answer).map_err(io::Error::other)?;
        let mut written = 0;
        while written < frame.len() {
            let rest = [IoSlice::new(&frame[written..])];
            written += poll_fn(|cx| self.stream.poll_write(cx, &rest)).await?;
        }
        Ok(())
    }
}

/// The name of an inner protocol, for messages.
pub(crate) fn protocol_name(protocol: InnerProtocol) -> &'static str {
    match protocol {
        InnerProtocol::Unspecified => "an unknown protocol",
        InnerProtocol::Http1 => "HTTP/1.1",
        InnerProtocol::Http2 => "HTTP/2",
        InnerProtocol::Opaque => "opaque bytes",
    }
}
