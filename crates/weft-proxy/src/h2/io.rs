//! A [`Stream`] as the codec wants it, and what is known of the connection on it.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weft_world::Stream;

use crate::failure::Failure;

/// What is known of a connection, for all of its streams.
#[derive(Default)]
pub(super) struct Link {
    signs: Cell<u64>,
    failure: RefCell<Option<Failure>>,
}

impl Link {
    /// How often bytes have come, or what could not leave did leave: while it changes, the peer
    /// lives. One that reads slowly answers a ping only once it has read what was sent before.
    pub(super) fn signs(&self) -> u64 {
        self.signs.get()
    }

    /// Notes a sign of life.
    fn lives(&self) {
        self.signs.set(self.signs.get().wrapping_add(1));
    }

    /// Says why the connection has ended. What was said first holds.
    pub(super) fn fail(&self, error: io::Error) {
        self.failure.borrow_mut().get_or_insert_with(|| Failure::of(error));
    }

    /// Why the connection has ended, as an error for one of its streams.
    pub(super) fn error(&self) -> Option<io::Error> {
        self.failure.borrow().as_ref().map(Failure::to_error)
    }

    /// The refusal of the tunnel, if it has ended so. Nothing reached the application then.
    pub(super) fn refusal(&self) -> Option<io::Error> {
        let failure = self.failure.borrow();
        failure.as_ref().filter(|failure| failure.is_refusal()).map(Failure::to_error)
    }

    /// Keeps `error`, which the codec would reduce to its text.
    fn keep(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        self.fail(error);
        kind.into()
    }
}

/// How much of what still comes is thrown away at the end of a connection, in bytes.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// The bytes of a connection.
pub(super) struct Io {
    stream: Box<dyn Stream>,
    link: Rc<Link>,
    /// How much may still be read and thrown away at the end.
    linger: usize,
    is_shut: bool,
    /// Whether the peer has to take something before more can leave.
    is_stopped: bool,
}

impl Io {
    pub(super) fn new(stream: Box<dyn Stream>, link: Rc<Link>) -> Io {
        Io { stream, link, linger: 0, is_shut: false, is_stopped: false }
    }

    /// As [`Io::new`], for the side that ends the connection: it does so only once the peer has, or
    /// has sent too much. A close with unread bytes, such as a last window update, would reset the
    /// connection, and the peer might never read the last answers and GOAWAY.
    pub(super) fn lingering(stream: Box<dyn Stream>, link: Rc<Link>) -> Io {
        Io { linger: LINGER_BYTES_MAX, ..Io::new(stream, link) }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(())); // To read nothing would look like the end.
        }
        let count = ready!(self.stream.poll_read(cx, buffer.initialize_unfilled()))
            .map_err(|error| self.link.keep(error))?;
        buffer.advance(count);
        if count > 0 {
            self.link.lives();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.poll_write(cx, buffers);
        let was_stopped = std::mem::replace(&mut self.is_stopped, written.is_pending());
        if was_stopped && matches!(written, Poll::Ready(Ok(1..))) {
            self.link.lives();
        }
        written.map_err(|error| self.link.keep(error))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx).map_err(|error| self.link.keep(error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(self.stream.poll_close(cx)).map_err(|error| self.link.keep(error))?;
            self.is_shut = true;
        }
        let mut unread = [0; 4096];
        while self.linger > 0 {
            match ready!(self.stream.poll_read(cx, &mut unread)) {
                Ok(0) | Err(_) => break,
                Ok(count) => self.linger = self.linger.saturating_sub(count),
            }
        }
        Poll::Ready(Ok(()))
    }
}
