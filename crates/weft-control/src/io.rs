//! A stream of ours as hyper wants it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use weft_world::{Stream, StreamExt};

/// How much is read at once, in bytes. Requests and answers here are small.
const READ_BYTES: usize = 16 * 1024;

/// What a client of HTTP/2 sends first. Source: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A [`Stream`] with hyper's traits.
pub struct HyperIo {
    stream: Box<dyn Stream>,
    buffer: Box<[u8]>,
    /// What was read of the stream before, and is still to be given.
    ahead: Vec<u8>,
}

impl HyperIo {
    /// `stream` with hyper's traits.
    pub fn new(stream: Box<dyn Stream>) -> HyperIo {
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        HyperIo { stream, buffer, ahead: Vec::new() }
    }

    /// Whether the peer begins with the preface of HTTP/2. Whatever it is, hyper gets it too.
    ///
    /// # Errors
    /// As the stream's; so does its end before anything came.
    pub(crate) async fn begins_http2(&mut self) -> io::Result<bool> {
        while self.ahead.len() < PREFACE.len() && PREFACE.starts_with(&self.ahead) {
            let rest = PREFACE.len() - self.ahead.len();
            let count = self.stream.read(&mut self.buffer[..rest]).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.ahead.extend_from_slice(&self.buffer[..count]);
        }
        Ok(self.ahead == PREFACE)
    }
}

impl Read for HyperIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let HyperIo { stream, buffer, ahead } = self.get_mut();
        if !ahead.is_empty() {
            let count = cursor.remaining().min(ahead.len());
            cursor.put_slice(&ahead[..count]);
            ahead.drain(..count);
            return Poll::Ready(Ok(()));
        }
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
