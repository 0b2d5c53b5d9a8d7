//! The rest of a request that Weft itself answers, which nobody needs.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use super::{Exchange, Piece};

/// How much of a request that Weft itself answers is thrown away to keep the connection, in bytes.
const DISCARDED_BYTES_MAX: usize = 64 * 1024;

impl Exchange<'_> {
    /// Throws away what there is of the request's body already, and says whether that was all.
    pub(super) fn discard_request(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_discard(cx, &mut { DISCARDED_BYTES_MAX }) == Poll::Ready(true)
    }

    /// Throws away `left` bytes of the request's body, and says whether that was all.
    fn poll_discard(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<bool> {
        while let Ok(piece) = ready!(self.downstream.poll_piece(cx)) {
            let count = if piece == Piece::Data { self.downstream.piece().len() } else { 0 };
            if count == 0 || count > *left {
                return Poll::Ready(piece == Piece::End);
            }
            self.downstream.consume(count);
            *left -= count;
        }
        Poll::Ready(false)
    }

    /// Whether Weft itself has answered the request while the caller was sending it.
    pub fn is_unread(&self) -> bool {
        self.is_unread && !self.awaits_continue()
    }

    /// Waits for the rest of such a request, within limits: some clients lose the answer if they
    /// are told to stop while they send.
    pub async fn linger(&mut self) {
        let mut left = DISCARDED_BYTES_MAX;
        poll_fn(|cx| self.poll_discard(cx, &mut left)).await;
    }
}
