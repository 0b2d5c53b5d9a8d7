//! What stands in for TLS: a greeting each way, records, and an end that cannot be forged.
//!
//! Real keys would make a run depend on more than its seed. What remains of TLS is what the layers
//! above can notice: a round trip before the first byte, record boundaries, a plain end being told
//! from a truncation, and bytes that are not the plain text.
//!
//! Deliberately absent: any protection, and any judgement about who the peer is. The greetings are
//! the caller's bytes, and the caller judges them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use weft_world::{Stream, StreamExt};

/// The most plain bytes in a record, as in TLS.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// Kind and length.
const HEADER_BYTES: usize = 3;

const HELLO: u8 = 1;
const DATA: u8 = 2;
const CLOSE: u8 = 3;

/// Makes the text on the wire differ from the plain one, so that a scenario can look for leaks.
const MASK: u8 = 0xa5;

/// Kind and plain text.
type Record = (u8, Vec<u8>);

/// A stream that stands in for a TLS stream.
pub struct Sealed {
    inner: Box<dyn Stream>,
    peer_hello: Vec<u8>,
    outgoing: VecDeque<u8>,
    incoming: Vec<u8>,
    plain: VecDeque<u8>,
    closing: bool,
    peer_closed: bool,
}

/// Greets the server with `hello` and waits for its answer.
///
/// # Errors
/// As the stream's; [`io::ErrorKind::UnexpectedEof`] if the server ends it, as when it refuses the
/// greeting; [`io::ErrorKind::InvalidData`] if it speaks otherwise.
///
/// # Panics
/// If `hello` is longer than 16 KiB.
pub async fn seal_client(stream: Box<dyn Stream>, hello: &[u8]) -> io::Result<Sealed> {
    let mut sealed = Sealed::new(stream);
    sealed.put(HELLO, hello);
    StreamExt::write_all(&mut sealed, &[]).await?;
    sealed.peer_hello = sealed.hello().await?;
    Ok(sealed)
}

/// Waits for the client's greeting and sends what `answer` makes of it.
///
/// # Errors
/// As `answer`'s, then without having sent anything, and as [`seal_client`]'s.
///
/// # Panics
/// If the answer is longer than 16 KiB.
pub async fn seal_server(
    stream: Box<dyn Stream>,
    answer: impl FnOnce(&[u8]) -> io::Result<Vec<u8>>,
) -> io::Result<Sealed> {
    let mut sealed = Sealed::new(stream);
    sealed.peer_hello = sealed.hello().await?;
    let hello = answer(&sealed.peer_hello)?;
    sealed.put(HELLO, &hello);
    StreamExt::write_all(&mut sealed, &[]).await?;
    Ok(sealed)
}

impl Sealed {
    fn new(inner: Box<dyn Stream>) -> Sealed {
        Sealed {
            inner,
            peer_hello: Vec::new(),
            outgoing: VecDeque::new(),
            incoming: Vec::new(),
            plain: VecDeque::new(),
            closing: false,
            peer_closed: false,
        }
    }

    /// What the peer greeted with.
    pub fn peer_hello(&self) -> &[u8] {
        &self.peer_hello
    }

    fn put(&mut self, kind: u8, plain: &[u8]) {
        assert!(plain.len() <= RECORD_BYTES_MAX, "a record of {} bytes is too long", plain.len());
        let length = u16::try_from(plain.len()).expect("16 KiB fits in 16 bits");
        self.outgoing.push_back(kind);
        self.outgoing.extend(length.to_be_bytes());
        self.outgoing.extend(plain.iter().map(|byte| byte ^ MASK));
    }

    /// Hands all records to the stream below.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let (front, back) = self.outgoing.as_slices();
            let buffers = [IoSlice::new(front), IoSlice::new(back)];
            let written = ready!(self.inner.poll_write(cx, &buffers))?;
            self.outgoing.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// The next record, its text plain again. None if the peer has ended the stream below.
    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Record>>> {
        loop {
            if let [kind, high, low, ..] = self.incoming[..] {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if !(HELLO..=CLOSE).contains(&kind) || length > RECORD_BYTES_MAX {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                if self.incoming.len() >= HEADER_BYTES + length {
                    let record = self.incoming.drain(..HEADER_BYTES + length);
                    let plain = record.skip(HEADER_BYTES).map(|byte| byte ^ MASK).collect();
                    return Poll::Ready(Ok(Some((kind, plain))));
                }
            }
            let mut buffer = [0; 4_096];
            match ready!(self.inner.poll_read(cx, &mut buffer))? {
                0 => return Poll::Ready(Ok(None)),
                bytes => self.incoming.extend_from_slice(&buffer[..bytes]),
            }
        }
    }

    async fn hello(&mut self) -> io::Result<Vec<u8>> {
        match poll_fn(|cx| self.poll_record(cx)).await? {
            Some((HELLO, hello)) => Ok(hello),
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Stream for Sealed {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.plain.is_empty() && !self.peer_closed {
            match ready!(self.poll_record(cx))? {
                Some((DATA, plain)) => self.plain.extend(plain),
                Some((CLOSE, _)) => self.peer_closed = true,
                Some(_) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        let bytes = self.plain.len().min(buffer.len());
        for (place, byte) in buffer.iter_mut().zip(self.plain.drain(..bytes)) {
            *place = byte;
        }
        Poll::Ready(Ok(bytes))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_drain(cx))?;
        let mut plain = Vec::new();
        for buffer in buffers {
            let bytes = buffer.len().min(RECORD_BYTES_MAX - plain.len());
            plain.extend_from_slice(&buffer[..bytes]);
        }
        if !plain.is_empty() {
            self.put(DATA, &plain);
            if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(plain.len()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        self.inner.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            self.put(CLOSE, &[]);
        }
        ready!(self.poll_drain(cx))?;
        self.inner.poll_close(cx)
    }
}

#[cfg(test)]
mod tests;
