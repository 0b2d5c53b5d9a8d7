//! A stream of ours as hyper wants it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use weft_world::Stream;

/// How much is read at once, in bytes. Requests and answers here are small.
const READ_BYTES: usize = 16 * 1024;

/// A [`Stream`] with hyper's traits.
pub struct HyperIo {
    stream: Box<dyn Stream>,
    buffer: Box<[u8]>,
}

impl HyperIo {
    /// `stream` with hyper's traits.
    pub fn new(stream: Box<dyn Stream>) -> HyperIo {
        HyperIo { stream, buffer: vec![0; READ_BYTES].into_boxed_slice() }
    }
}

impl Read for HyperIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let HyperIo { stream, buffer } = self.get_mut();
        let most = cursor.remaining().min(buffer.len());
        let count = ready!(stream.poll_read(cx, &mut buffer[..most]))?;
        cursor.put_slice(&buffer[..count]);
        Poll::Ready(Ok(()))
    }
}

impl Write for HyperIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_close(cx)
    }
}
