//! Bytes moved from socket to socket inside the system, without copying them out and in again.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use weft_world::{Spliced, Splicer, Stream};

use crate::socket::SystemStream;

/// What the pipe between the sockets is asked to hold, in bytes. An unprivileged process may have
/// 64 MiB in all; where it has, the pipe keeps the system's own size.
const PIPE_BYTES: usize = 256 * 1024;

/// A pipe between two sockets.
pub struct PipeSplicer {
    entrance: OwnedFd,
    exit: OwnedFd,
    waiting: usize,
}

impl PipeSplicer {
    /// A new pipe, unless the system has none to give.
    pub fn new() -> io::Result<PipeSplicer> {
        let (exit, entrance) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        let _ = fcntl_setpipe_size(&entrance, PIPE_BYTES);
        Ok(PipeSplicer { entrance, exit, waiting: 0 })
    }

    /// Fills the pipe from `source`, which it finds empty.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        source: &SystemStream,
    ) -> Poll<io::Result<usize>> {
        let socket = &source.stream;
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let filled = socket
                .try_io(Interest::READABLE, || move_bytes(socket, &self.entrance, PIPE_BYTES));
            match filled {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// Empties the pipe into `sink`, as far as it takes them.
    fn poll_drain(&mut self, cx: &mut Context<'_>, sink: &SystemStream) -> Poll<io::Result<usize>> {
        let socket = &sink.stream;
        loop {
            ready!(socket.poll_write_ready(cx))?;
            let drained =
                socket.try_io(Interest::WRITABLE, || move_bytes(&self.exit, socket, self.waiting));
            match drained {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }
}

/// Moves at most `count` bytes.
fn move_bytes(from: impl AsFd, to: impl AsFd, count: usize) -> io::Result<usize> {
    loop {
        match splice(&from, None, &to, None, count, SpliceFlags::NONBLOCK | SpliceFlags::MOVE) {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

impl Splicer for PipeSplicer {
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Stream,
        sink: &mut dyn Stream,
    ) -> Poll<io::Result<Spliced>> {
        let (Some(source), Some(sink)) = (system(source), system(sink)) else {
            return Poll::Ready(Ok(Spliced::Impossible));
        };
        if self.waiting == 0 {
            self.waiting = ready!(self.poll_fill(cx, source))?;
            if self.waiting == 0 {
                return Poll::Ready(Ok(Spliced::End));
            }
        }
        let count = ready!(self.poll_drain(cx, sink))?;
        self.waiting -= count;
        Poll::Ready(Ok(Spliced::Bytes(count)))
    }

    fn waiting(&self) -> usize {
        self.waiting
    }
}

/// The socket behind `stream`, if there is nothing else.
fn system(stream: &mut dyn Stream) -> Option<&SystemStream> {
    stream.as_any()?.downcast_ref()
}
