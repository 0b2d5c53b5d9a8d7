//! How a body gets from one side to the other.

use std::task::{Context, Poll, ready};

use super::{Piece, Sink, Source};
use crate::copies::Copies;
use crate::error::StreamError;
use crate::replay::Replay;

/// Which side of a transfer failed.
pub(super) enum TransferError {
    Source(StreamError),
    Sink(StreamError),
}

/// Where the pieces of a body are kept as they are sent.
pub(super) struct Keeping<'k> {
    pub(super) replay: &'k mut Replay,
    /// Whether nothing else may be sent.
    pub(super) is_held: bool,
    /// Who else gets them.
    pub(super) copies: Option<&'k mut Copies>,
}

/// Moves a body from `source` to `sink`. Ready once its end was taken, which may not be flushed.
///
/// What is held back is waited for by nobody here: an answer of the server comes before it goes on.
pub(super) fn poll_transfer<A: Source + ?Sized, B: Sink + ?Sized>(
    cx: &mut Context<'_>,
    source: &mut A,
    sink: &mut B,
    bytes: &mut u64,
    mut keeping: Option<Keeping<'_>>,
) -> Poll<Result<(), TransferError>> {
    loop {
        match ready!(source.poll_piece(cx)).map_err(TransferError::Source)? {
            Piece::End => {
                if let Some(Keeping { copies: Some(copies), .. }) = &mut keeping {
                    copies.end(source.trailers());
                }
                return Poll::Ready(sink.end(source.trailers()).map_err(TransferError::Sink));
            }
            Piece::Data => {
                let length = source.piece().len();
                let held = keeping.as_ref().filter(|keeping| keeping.is_held);
                let room = held.map_or(length, |keeping| keeping.replay.room().min(length));
                if room == 0 {
                    return Poll::Pending;
                }
                let sent = match source.shared_piece() {
                    Some(piece) if room == length => sink.poll_send_shared(cx, piece),
                    _ => sink.poll_send(cx, &source.piece()[..room]),
                };
                let count = ready!(sent).map_err(TransferError::Sink)?;
                if let Some(Keeping { replay, copies, .. }) = &mut keeping {
                    replay.add(&source.piece()[..count]);
                    if let Some(copies) = copies {
                        copies.add(&source.piece()[..count]);
                    }
                }
                source.consume(count);
                *bytes += count as u64;
            }
        }
    }
}
