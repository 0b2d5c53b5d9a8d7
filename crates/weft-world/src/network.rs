//! Byte streams and listeners, as traits small enough to be simulated.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A boxed future that stays on its thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Sockets of one network namespace.
pub trait Network {
    /// Listens at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// As `bind(2)` and `listen(2)`.
    fn listen(
        &self,
        address: SocketAddr,
        options: ListenerOptions,
    ) -> io::Result<Box<dyn Listener>>;

    /// Opens a TCP connection. The system's own timeout is long: the caller sets a shorter one.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;

    /// A way to move bytes between two sockets without looking at them, where there is one.
    fn splicer(&self) -> Option<Box<dyn Splicer>> {
        None
    }
}

/// Moves bytes from one stream to another within the system. It belongs to one direction of one
/// connection, since it may hold bytes on their way.
pub trait Splicer {
    /// Moves some bytes from `source` to `sink`.
    ///
    /// # Errors
    /// As the system's; nobody can tell of which of the two streams. An error is final.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Stream,
        sink: &mut dyn Stream,
    ) -> Poll<io::Result<Spliced>>;

    /// How many bytes are on their way: taken from the source and not given to the sink.
    fn waiting(&self) -> usize;
}

/// What a [`Splicer`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spliced {
    /// So many bytes reached the sink.
    Bytes(usize),
    /// The source has ended.
    End,
    /// These two streams are not bare sockets: copy instead. Nothing was moved.
    Impossible,
}

/// How a listener is set up.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListenerOptions {
    /// Accept connections for addresses that are not the host's own (`IP_TRANSPARENT`).
    pub transparent: bool,
    /// Look up where the client wanted to go before it was redirected (`SO_ORIGINAL_DST`).
    pub redirected: bool,
}

/// Waits for connections.
pub trait Listener {
    /// The next connection.
    ///
    /// # Errors
    /// Only what concerns the listener itself; a connection that failed meanwhile is passed over.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>>;

    /// The address it listens at, with the port that it really got.
    fn local_address(&self) -> SocketAddr;
}

/// A connection that a listener took.
pub struct Accepted {
    /// The bytes.
    pub stream: Box<dyn Stream>,
    /// Who called.
    pub peer: SocketAddr,
    /// Where the caller wanted to go: the address before redirection, or the listener's own.
    pub destination: SocketAddr,
}

/// A two-way stream of bytes with a close in each direction.
///
/// Not `AsyncRead`: a mesh proxy needs neither its generics nor its uninitialised buffers, and a
/// plain trait object costs one indirect call against a system call.
pub trait Stream: Unpin {
    /// Reads into `buffer`, which must not be empty. Zero bytes: the peer has ended its direction.
    ///
    /// # Errors
    /// As `recv(2)`. An error is final.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes some of `buffers`, in order. Zero only if all of them are empty.
    ///
    /// What was taken may still be held back: [`Stream::poll_flush`] pushes it out.
    ///
    /// # Errors
    /// As `send(2)`. An error is final.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Ready once everything written was handed to the system.
    ///
    /// # Errors
    /// As `send(2)`.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Flushes and ends the own direction (FIN, and before it close_notify under TLS).
    ///
    /// # Errors
    /// As `send(2)`.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the peer may be gone without a word, so that nothing new should be begun here.
    fn is_doubtful(&self) -> bool {
        false
    }

    /// Whether nothing more is taken before the peer, whose word that is, has room for it.
    ///
    /// Only of streams that share a connection whose peer is known to be there.
    fn awaits_room(&self) -> bool {
        false
    }

    /// How many of the bytes that were written the peer's system has not taken, as far as that is
    /// known here.
    fn unsent(&self) -> usize {
        0
    }

    /// From now on, to drop it is to break it: its peer sees no end, where it could take one for
    /// the end of what was said. What is unsent then is lost.
    ///
    /// Where an end is proven, by close_notify or by a tunnel's frames, to drop it without one is a
    /// break already.
    fn break_on_drop(&mut self) {}

    /// The stream itself, where it is nothing but a socket, for a [`Splicer`] of its own network.
    fn as_any(&mut self) -> Option<&mut dyn Any> {
        None
    }
}

impl<S: Stream + ?Sized> Stream for Box<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        (**self).poll_read(cx, buffer)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        (**self).poll_write(cx, buffers)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_close(cx)
    }

    fn is_doubtful(&self) -> bool {
        (**self).is_doubtful()
    }

    fn awaits_room(&self) -> bool {
        (**self).awaits_room()
    }

    fn unsent(&self) -> usize {
        (**self).unsent()
    }

    fn break_on_drop(&mut self) {
        (**self).break_on_drop();
    }

    fn as_any(&mut self) -> Option<&mut dyn Any> {
        (**self).as_any()
    }
}

/// The calls of [`Stream`] as futures, for where a poll loop would only be in the way.
pub trait StreamExt: Stream {
    /// See [`Stream::poll_read`].
    fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        poll_fn(move |cx| self.poll_read(cx, buffer))
    }

    /// Writes all of `bytes` and flushes.
    fn write_all(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> {
        let mut written = 0;
        poll_fn(move |cx| {
            while written < bytes.len() {
                written += ready!(self.poll_write(cx, &[io::IoSlice::new(&bytes[written..])]))?;
            }
            self.poll_flush(cx)
        })
    }

    /// See [`Stream::poll_close`].
    fn close(&mut self) -> impl Future<Output = io::Result<()>> {
        poll_fn(|cx| self.poll_close(cx))
    }
}

impl<S: Stream + ?Sized> StreamExt for S {}

impl dyn Listener + '_ {
    /// See [`Listener::poll_accept`].
    pub fn accept(&mut self) -> impl Future<Output = io::Result<Accepted>> {
        poll_fn(|cx| self.poll_accept(cx))
    }
}
