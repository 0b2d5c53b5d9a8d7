//! Copies of a request's body, each of which is read at a pace of its own.
//!
//! Whose copy is not read fast enough loses it: nobody waits for it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use weft_http::{BodySize, Fields, ResponseHead};

use crate::error::StreamError;
use crate::exchange::{Downstream, Piece, Sink, Source};
use crate::replay::{REQUEST_BYTES_MAX, release, reserve};

/// Where a body is copied to.
#[derive(Default)]
pub(crate) struct Copies(Vec<Rc<RefCell<Queue>>>);

/// What was copied and is not read yet.
#[derive(Default)]
struct Queue {
    bytes: BytesMut,
    /// How much was copied, and not consumed.
    kept: usize,
    state: State,
    trailers: Fields,
    reader: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// More may come.
    #[default]
    Open,
    /// All is there.
    Whole,
    /// The rest was not copied, since it was not read fast enough.
    Behind,
    /// The rest never came.
    Cut,
}

impl Copies {
    /// One copy more, of a body of `size`.
    pub(crate) fn open(&mut self, size: BodySize) -> Copied {
        let queue = Rc::new(RefCell::new(Queue::default()));
        if size == BodySize::None {
            queue.borrow_mut().state = State::Whole;
        }
        self.0.push(queue.clone());
        Copied { queue, piece: Bytes::new(), trailers: Fields::default() }
    }

    /// Copies `piece`, which is the next one.
    pub(crate) fn add(&mut self, piece: &[u8]) {
        for queue in &self.0 {
            queue.borrow_mut().add(piece);
        }
    }

    /// Notes that the body has ended; once is enough.
    pub(crate) fn end(&mut self, trailers: &Fields) {
        for queue in self.0.drain(..) {
            let mut queue = queue.borrow_mut();
            queue.trailers.clone_from(trailers);
            queue.becomes(State::Whole);
        }
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.0.iter().for_each(|queue| queue.borrow_mut().becomes(State::Cut));
    }
}

impl Queue {
    fn add(&mut self, piece: &[u8]) {
        if self.state != State::Open {
            return;
        }
        if self.kept + piece.len() > REQUEST_BYTES_MAX || !reserve(piece.len()) {
            return self.becomes(State::Behind);
        }
        self.kept += piece.len();
        self.bytes.extend_from_slice(piece);
        self.wake();
    }

    fn becomes(&mut self, state: State) {
        if self.state == State::Open {
            self.state = state;
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn consumed(&mut self, count: usize) {
        self.kept -= count;
        release(count);
    }
}

/// One copy of a body; and a caller that does not care for the answer.
pub(crate) struct Copied {
    queue: Rc<RefCell<Queue>>,
    piece: Bytes,
    trailers: Fields,
}

impl Copied {
    /// Whether the rest was not copied, since it was not read fast enough.
    pub(crate) fn is_behind(&self) -> bool {
        self.queue.borrow().state == State::Behind
    }
}

impl Source for Copied {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        let mut queue = self.queue.borrow_mut();
        if self.piece.is_empty() {
            self.piece = queue.bytes.split().freeze();
        }
        if !self.piece.is_empty() {
            return Poll::Ready(Ok(Piece::Data));
        }
        match queue.state {
            State::Open => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Whole => {
                self.trailers = std::mem::take(&mut queue.trailers);
                Poll::Ready(Ok(Piece::End))
            }
            State::Behind | State::Cut => Poll::Ready(Err(StreamError::Closed)),
        }
    }

    fn piece(&self) -> &[u8] {
        &self.piece
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count);
        self.queue.borrow_mut().consumed(count);
    }

    fn trailers(&self) -> &Fields {
        &self.trailers
    }
}

/// The answer is thrown away.
impl Sink for Copied {
    fn poll_send(&mut self, _: &mut Context<'_>, piece: &[u8]) -> Poll<Result<usize, StreamError>> {
        Poll::Ready(Ok(piece.len()))
    }

    fn end(&mut self, _: &Fields) -> Result<(), StreamError> {
        Ok(())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Poll::Ready(Ok(()))
    }
}

impl Downstream for Copied {
    fn send_head(&mut self, _: &ResponseHead, _: BodySize) {}

    fn end_after_answer(&mut self) {}

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let mut queue = self.queue.borrow_mut();
        queue.becomes(State::Cut);
        let kept = queue.kept;
        queue.consumed(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(copied: &mut Copied) -> Poll<Result<Vec<u8>, StreamError>> {
        let mut cx = Context::from_waker(Waker::noop());
        copied.poll_piece(&mut cx).map_ok(|piece| match piece {
            Piece::Data => {
                let bytes = copied.piece().to_vec();
                copied.consume(bytes.len());
                bytes
            }
            Piece::End => Vec::new(),
        })
    }

    fn found(copied: &mut Copied) -> Vec<u8> {
        match read(copied) {
            Poll::Ready(Ok(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_copy_is_read_at_its_own_pace() {
        let mut copies = Copies::default();
        let [mut one, mut other] = [(); 2].map(|()| copies.open(BodySize::Unknown));
        assert!(read(&mut one).is_pending());
        copies.add(b"ab");
        assert_eq!(found(&mut one), b"ab");
        copies.add(b"c");
        let mut trailers = Fields::default();
        trailers.append("x", b"1");
        copies.end(&trailers);
        assert_eq!([found(&mut one), found(&mut one)], [b"c".to_vec(), vec![]]);
        assert_eq!([found(&mut other), found(&mut other)], [b"abc".to_vec(), vec![]]);
        assert_eq!(other.trailers().get("x"), Some(&b"1"[..]));
        let mut empty = Copies::default().open(BodySize::None);
        assert_eq!(found(&mut empty), b"", "what has no body has no end that could be missed");
    }

    #[test]
    fn whose_copy_is_not_read_loses_it_and_its_memory() {
        let mut copies = Copies::default();
        let [mut slow, mut fast] = [(); 2].map(|()| copies.open(BodySize::Unknown));
        for _ in 0..2 {
            copies.add(&[0; REQUEST_BYTES_MAX]);
            assert_eq!(found(&mut fast).len(), REQUEST_BYTES_MAX);
        }
        assert!(slow.is_behind() && !fast.is_behind());
        assert_eq!(found(&mut slow).len(), REQUEST_BYTES_MAX);
        assert!(matches!(read(&mut slow), Poll::Ready(Err(StreamError::Closed))));
        drop((slow, fast));
        assert_eq!(crate::replay::kept(), 0);
    }

    #[test]
    fn what_its_caller_breaks_off_is_not_taken_for_whole() {
        let mut copies = Copies::default();
        let mut copied = copies.open(BodySize::Length(2));
        copies.add(b"a");
        drop(copies);
        assert_eq!(found(&mut copied), b"a");
        assert!(matches!(read(&mut copied), Poll::Ready(Err(StreamError::Closed))));
        assert!(!copied.is_behind());
    }
}
