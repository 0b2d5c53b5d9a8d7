//! What was sent of a request's body, kept so that it can be sent again.

use std::cell::Cell;

/// How much of one request is kept, in bytes. Beyond, it cannot be sent again.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// How much a worker keeps of all requests together, and of their copies, in bytes.
const WORKER_BYTES_MAX: usize = 4 * 1024 * 1024;

thread_local! {
    /// How much this worker keeps.
    static KEPT: Cell<usize> = const { Cell::new(0) };
}

/// Takes room for `count` bytes more, if a worker may keep so many.
pub(crate) fn reserve(count: usize) -> bool {
    let kept = KEPT.get() + count;
    let has_room = kept <= WORKER_BYTES_MAX;
    if has_room {
        KEPT.set(kept);
    }
    has_room
}

/// Gives back room for `count` bytes.
pub(crate) fn release(count: usize) {
    KEPT.set(KEPT.get() - count);
}

/// How many bytes a worker keeps.
#[cfg(test)]
pub(crate) fn kept() -> usize {
    KEPT.get()
}

/// What was sent of a request's body, as long as all of it could be kept.
#[derive(Default)]
pub(crate) struct Replay {
    bytes: Vec<u8>,
    /// How much of it the present server was sent.
    sent: usize,
    is_kept: bool,
    /// Whether something was sent that is not here.
    is_lost: bool,
}

impl Replay {
    /// Keeps what is sent from now on.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Whether all that was sent is here.
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_lost
    }

    /// Begins anew, for another server.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// What is here and the present server was not sent.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Notes that the present server was sent `count` more bytes of what is here.
    pub(crate) fn advance(&mut self, count: usize) {
        self.sent += count;
    }

    /// How many more bytes can be kept.
    pub(crate) fn room(&self) -> usize {
        if !self.is_kept || self.is_lost {
            return 0;
        }
        (REQUEST_BYTES_MAX - self.bytes.len()).min(WORKER_BYTES_MAX.saturating_sub(KEPT.get()))
    }

    /// Notes that `piece`, the next of the body, was sent.
    pub(crate) fn add(&mut self, piece: &[u8]) {
        if self.is_lost || piece.is_empty() {
            return;
        }
        let has_room = self.bytes.len() + piece.len() <= REQUEST_BYTES_MAX;
        if !self.is_kept || !has_room || !reserve(piece.len()) {
            self.forget();
            self.is_lost = true;
            return;
        }
        self.bytes.extend_from_slice(piece);
        self.sent = self.bytes.len();
    }

    /// Lets go of what is here: the request will not be sent again.
    pub(crate) fn forget(&mut self) {
        if !self.bytes.is_empty() {
            release(self.bytes.len());
            self.is_lost = true;
            self.bytes = Vec::new();
            self.sent = 0;
        }
        self.is_kept = false;
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_sent_again() {
        let mut replay = Replay::default();
        replay.keep();
        replay.add(b"ab");
        replay.add(b"c");
        assert!(replay.is_whole() && replay.unsent().is_empty());
        replay.rewind();
        assert_eq!(replay.unsent(), b"abc");
        replay.advance(1);
        assert_eq!(replay.unsent(), b"bc");
        assert_eq!(KEPT.get(), 3);
        drop(replay);
        assert_eq!(KEPT.get(), 0);
    }

    #[test]
    fn what_is_not_kept_cannot_be_sent_again() {
        let mut replay = Replay::default();
        assert!(replay.is_whole(), "nothing was sent yet");
        replay.add(b"a");
        assert!(!replay.is_whole());

        let mut large = Replay::default();
        large.keep();
        assert_eq!(large.room(), REQUEST_BYTES_MAX);
        large.add(&[0; REQUEST_BYTES_MAX]);
        assert!(large.is_whole() && large.room() == 0);
        large.add(b"a");
        assert!(!large.is_whole() && KEPT.get() == 0, "its memory is given back at once");
    }

    #[test]
    fn a_worker_keeps_so_much_and_no_more() {
        let kept = || {
            let mut replay = Replay::default();
            replay.keep();
            replay.add(&[0; REQUEST_BYTES_MAX]);
            replay
        };
        let all: Vec<_> = (0..WORKER_BYTES_MAX / REQUEST_BYTES_MAX).map(|_| kept()).collect();
        assert!(all.iter().all(Replay::is_whole));
        let mut none = Replay::default();
        none.keep();
        assert!(none.room() == 0 && !kept().is_whole());
        drop(all);
        assert!(kept().is_whole());
    }
}
