//! The HTTP/1.1 driver: what both sides of a connection have in common.

mod client;
mod server;

use std::io::IoSlice;
use std::task::{Context, Poll, ready};

use weft_http::{BodyDecoder, BodyEncoder, Fields, GrammarError, HEAD_BYTES_MAX, HeadLimits, Step};
use weft_world::{BUFFER_BYTES, Buffer, Stream};

use crate::error::StreamError;
use crate::exchange::{Piece, Sink, Source};

pub(crate) use client::Client;
pub(crate) use server::Server;

/// Bytes that may wait to be written before more is taken.
const OUTGOING_BYTES_MAX: usize = 64 * 1024;

/// The same while memory is scarce: what a small buffer takes.
const OUTGOING_BYTES_SCARCE: usize = 16 * 1024;

/// From this size on, a piece is written from where it is rather than copied.
const DIRECT_BYTES_MIN: usize = 8 * 1024;

/// The first bytes of a head are looked at as they come.
const EARLY_BYTES: usize = 16;

/// From this size on, a read makes the next one larger.
const BULK_BYTES_MIN: usize = 16 * 1024;

/// One side of an HTTP/1.1 connection.
struct Core {
    stream: Box<dyn Stream>,
    incoming: Buffer,
    outgoing: Buffer,
    decoder: BodyDecoder,
    encoder: BodyEncoder,
    trailers: Fields,
    /// How large a head may be that comes.
    limits: HeadLimits,
    /// How much of `incoming` was searched for the end of a head in vain.
    searched: usize,
    /// How much of `incoming` is the piece that was announced.
    piece: usize,
    is_bulk: bool,
    /// Whether all of the last body that was taken to its end has left.
    is_flushed: bool,
}

impl Core {
    fn new(stream: Box<dyn Stream>) -> Core {
        Core {
            stream,
            incoming: Buffer::default(),
            outgoing: Buffer::default(),
            decoder: BodyDecoder::Length(0),
            encoder: BodyEncoder::Length(0),
            trailers: Fields::default(),
            limits: HeadLimits::OUTSIDE,
            searched: 0,
            piece: 0,
            is_bulk: false,
            is_flushed: true,
        }
    }

    /// Reads more into `incoming`; zero if the peer has ended its direction.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        let room = if self.is_bulk { self.incoming.bulk_room() } else { self.incoming.room(1) };
        if room.is_empty() {
            // To read nothing would look like the end.
            return Poll::Ready(Err(GrammarError::TooLarge.into()));
        }
        match self.stream.poll_read(cx, room) {
            Poll::Ready(Ok(count)) => {
                self.incoming.fill(count);
                self.is_bulk = count >= BULK_BYTES_MIN.min(BUFFER_BYTES);
                self.incoming.release_if_empty();
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => {
                self.incoming.release_if_empty();
                Poll::Pending
            }
        }
    }

    /// Drops the empty lines before a head, whose number is not limited.
    ///
    /// Source: RFC 9112, section 2.2.
    fn skip_empty_lines(&mut self) {
        let mut rest = self.incoming.filled();
        while let [b'\r', b'\n', behind @ ..] | [b'\n', behind @ ..] = rest {
            rest = behind;
        }
        let count = self.incoming.len() - rest.len();
        if count > 0 {
            self.incoming.consume(count);
            self.searched = 0;
        }
    }

    /// Whether what came since this was last asked may complete a head.
    ///
    /// A head that comes byte by byte is not parsed at every byte, only at every line; but what is
    /// no head at all is seen by its first bytes.
    fn may_have_head(&mut self) -> bool {
        self.skip_empty_lines();
        let filled = self.incoming.filled();
        let searched = std::mem::replace(&mut self.searched, filled.len());
        let new = &filled[searched..];
        let is_early = searched < EARLY_BYTES;
        let is_complete = new.contains(&b'\n') || filled.len() >= HEAD_BYTES_MAX;
        !new.is_empty() && (is_early || is_complete)
    }

    /// Drops a head that was read.
    fn consume_head(&mut self, bytes: usize) {
        self.incoming.consume(bytes);
        self.searched = 0;
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        loop {
            match self.decoder.step(self.incoming.filled(), &mut self.trailers)? {
                Step::Skip(count) => self.incoming.consume(count),
                Step::Data(count) => {
                    self.piece = count;
                    return Poll::Ready(Ok(Piece::Data));
                }
                Step::End => return Poll::Ready(Ok(Piece::End)),
                Step::More => {
                    if ready!(self.poll_fill(cx))? == 0 {
                        self.decoder.connection_ended()?;
                    }
                }
            }
        }
    }

    fn piece(&self) -> &[u8] {
        &self.incoming.filled()[..self.piece]
    }

    fn consume(&mut self, count: usize) {
        self.decoder.consume(count);
        self.incoming.consume(count);
        self.piece -= count;
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        piece: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        let most = if Buffer::is_scarce() { OUTGOING_BYTES_SCARCE } else { OUTGOING_BYTES_MAX };
        if self.outgoing.len() >= most {
            ready!(self.poll_flush(cx))?;
        }
        if piece.len() >= DIRECT_BYTES_MIN && self.encoder != BodyEncoder::Chunked {
            return self.poll_send_direct(cx, piece);
        }
        let count = piece.len().min(most - self.outgoing.len());
        let piece = &piece[..count];
        self.frame(|encoder, out| {
            encoder.before(count, out);
            out.extend_from_slice(piece);
            encoder.after(count, out)
        })?;
        Poll::Ready(Ok(count))
    }

    /// Writes what waits and then `piece`, without copying it.
    fn poll_send_direct(
        &mut self,
        cx: &mut Context<'_>,
        piece: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        // What is written cannot be taken back: it must be judged before.
        let mut encoder = self.encoder;
        encoder.after(piece.len(), &mut Vec::new())?;
        loop {
            let waiting = self.outgoing.len();
            let slices = [IoSlice::new(self.outgoing.filled()), IoSlice::new(piece)];
            let slices = if waiting == 0 { &slices[1..] } else { &slices[..] };
            let count = ready!(self.stream.poll_write(cx, slices))?;
            self.outgoing.consume(count.min(waiting));
            if let Some(taken) = count.checked_sub(waiting).filter(|&taken| taken > 0) {
                self.encoder.after(taken, &mut Vec::new())?;
                return Poll::Ready(Ok(taken));
            }
        }
    }

    fn end(&mut self, trailers: &Fields) -> Result<(), StreamError> {
        self.is_flushed = false;
        if self.encoder == BodyEncoder::Chunked {
            return self.frame(|encoder, out| encoder.end(trailers, out));
        }
        self.encoder.end(trailers, &mut Vec::new())?;
        Ok(())
    }

    /// Puts what `write` writes into `outgoing`.
    fn frame(
        &mut self,
        write: impl FnOnce(&mut BodyEncoder, &mut Vec<u8>) -> Result<(), GrammarError>,
    ) -> Result<(), StreamError> {
        let Core { encoder, outgoing, .. } = self;
        with_scratch(|scratch| {
            write(encoder, scratch)?;
            outgoing.push(scratch);
            Ok(())
        })
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        while !self.outgoing.is_empty() {
            let slices = [IoSlice::new(self.outgoing.filled())];
            let count = ready!(self.stream.poll_write(cx, &slices))?;
            self.outgoing.consume(count);
        }
        ready!(self.stream.poll_flush(cx))?;
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    /// Pushes out what was taken and ends the own direction.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        ready!(self.poll_flush(cx))?;
        self.stream.poll_close(cx).map_err(StreamError::from)
    }
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Lends a vector that is empty and has room, so that heads are written without allocating.
fn with_scratch<T>(use_it: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        use_it(scratch)
    })
}

/// Either side of a connection: bodies come and go in the same way on both.
trait Side {
    fn core(&self) -> &Core;

    fn core_mut(&mut self) -> &mut Core;

    /// Called once the body that goes out has been taken to its end.
    fn body_was_sent(&mut self);
}

impl<S: Side> Source for S {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        self.core_mut().poll_piece(cx)
    }

    fn piece(&self) -> &[u8] {
        self.core().piece()
    }

    fn consume(&mut self, count: usize) {
        self.core_mut().consume(count);
    }

    fn trailers(&self) -> &Fields {
        &self.core().trailers
    }
}

impl<S: Side> Sink for S {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        piece: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        self.core_mut().poll_send(cx, piece)
    }

    fn end(&mut self, trailers: &Fields) -> Result<(), StreamError> {
        self.core_mut().end(trailers)?;
        self.body_was_sent();
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.core_mut().poll_flush(cx)
    }

    fn kept(&mut self) -> usize {
        self.core().outgoing.len() + self.core().incoming.len()
    }

    fn awaits_room(&self) -> bool {
        self.core().stream.awaits_room()
    }
}

#[cfg(test)]
mod tests;
