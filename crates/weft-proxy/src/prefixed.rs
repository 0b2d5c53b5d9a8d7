//! A stream whose first bytes were looked at already.

use std::any::Any;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use weft_world::{Buffer, Stream};

use crate::detect::poll_fill;

/// A stream whose first bytes were looked at already, and are still to be read.
pub(crate) struct Prefixed {
    stream: Box<dyn Stream>,
    seen: Buffer,
}

impl Prefixed {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Prefixed {
        Prefixed { stream, seen: Buffer::default() }
    }

    /// What was looked at.
    pub(crate) fn seen(&self) -> &[u8] {
        self.seen.filled()
    }

    /// Looks at more; zero bytes are the end.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        poll_fill(&mut *self.stream, &mut self.seen, cx)
    }

    /// Drops the first `count` bytes of what was looked at.
    pub(crate) fn consume(&mut self, count: usize) {
        self.seen.consume(count);
    }

    /// The stream, and what is to be read before it.
    pub(crate) fn into_parts(self) -> (Box<dyn Stream>, Buffer) {
        (self.stream, self.seen)
    }
}

impl Stream for Prefixed {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.seen.is_empty() {
            return self.stream.poll_read(cx, buffer);
        }
        let count = self.seen.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.seen.filled()[..count]);
        self.seen.consume(count);
        Poll::Ready(Ok(count))
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

    fn as_any(&mut self) -> Option<&mut dyn Any> {
        if self.seen.is_empty() { self.stream.as_any() } else { None }
    }
}
