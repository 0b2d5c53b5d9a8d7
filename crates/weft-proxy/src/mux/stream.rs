//! One stream of a connection.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use weft_wire::mux::{
    DATA_BYTES_MAX, Frame, HEADER_BYTES, MuxError, WINDOW_BYTES, WINDOW_BYTES_FIRST,
};
use weft_world::{Buffer, Stream};

use super::{OUTGOING_BYTES_MAX, Shared, Wide};
use crate::error::{NoRoom, ProvenUnprocessed};
use crate::failure::Failure;

/// The least room for which a large piece is divided, in bytes.
const PIECE_BYTES_MIN: usize = 1024;

/// With less room than this part of the window a peer is about to wait.
const LOW_PART: u32 = 8;

/// What a stream and the driver of its connection know of it.
pub(super) struct State {
    /// 0 before its first byte is written.
    pub(super) number: Cell<u32>,
    /// What came and was not read.
    incoming: RefCell<Buffer>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    /// What the peer may still send.
    window: Cell<u32>,
    /// Room for a wide window, once it was needed and to be had.
    wide: RefCell<Option<Wide>>,
    /// What was read and the peer was not told of.
    read: Cell<u32>,
    /// What may still be sent.
    credit: Cell<u32>,
    /// Whether it is among those that have something to say beside data, and what that is.
    pub(super) is_due: Cell<bool>,
    /// Whether it is among those that wait for room.
    pub(super) is_blocked: Cell<bool>,
    /// In which round it wrote last, or began, and how many bytes it wrote in that.
    pub(super) served: Cell<u64>,
    taken: Cell<usize>,
    credit_due: Cell<u32>,
    end_due: Cell<bool>,
    reset_due: Cell<bool>,
    refused_due: Cell<bool>,
    has_ended: Cell<bool>,
    has_peer_ended: Cell<bool>,
    /// Whether its peer has said anything that shows that it has seen it.
    is_answered: Cell<bool>,
    /// Whether nobody reads it any more.
    is_dropped: Cell<bool>,
    /// Why it is over.
    end: RefCell<Option<End>>,
}

/// Why a stream is over.
#[derive(Clone)]
enum End {
    /// Its peer has given it up.
    Reset,
    /// Its server has not seen it, and will not.
    NotSeen,
    /// Its server has no room for it.
    Refused,
    /// Its connection is over.
    Failure(Failure),
}

impl End {
    fn to_error(&self) -> io::Error {
        match self {
            End::Reset => io::ErrorKind::ConnectionReset.into(),
            End::NotSeen => {
                let unprocessed = ProvenUnprocessed("the tunnel takes no more".to_owned());
                io::Error::new(io::ErrorKind::ConnectionReset, unprocessed)
            }
            End::Refused => io::Error::new(io::ErrorKind::ConnectionReset, NoRoom),
            End::Failure(failure) => failure.to_error(),
        }
    }
}

impl State {
    fn new(number: u32) -> Rc<State> {
        let (incoming, reader, writer, read, end) = Default::default();
        let (is_due, is_blocked, credit_due, end_due, reset_due) = Default::default();
        let (refused_due, has_ended, has_peer_ended, is_answered, is_dropped) = Default::default();
        let (served, taken) = Default::default();
        Rc::new(State {
            number: Cell::new(number),
            incoming,
            reader,
            writer,
            window: Cell::new(WINDOW_BYTES_FIRST),
            wide: RefCell::default(),
            read,
            credit: Cell::new(WINDOW_BYTES_FIRST),
            is_due,
            is_blocked,
            served,
            taken,
            credit_due,
            end_due,
            reset_due,
            refused_due,
            has_ended,
            has_peer_ended,
            is_answered,
            is_dropped,
            end,
        })
    }

    /// What it has to say beside data, in this order.
    pub(super) fn frames_due(&self) -> [Option<Frame>; 4] {
        if self.number.get() == 0 {
            return [None; 4]; // Nobody has heard of it.
        }
        let credit = self.credit_due.take();
        [
            (credit > 0).then_some(Frame::Credit(credit)),
            self.end_due.take().then_some(Frame::End),
            self.reset_due.take().then_some(Frame::Reset),
            self.refused_due.take().then_some(Frame::Refused),
        ]
    }

    fn wake_reader(&self) {
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }

    pub(super) fn wake_writer(&self) {
        if let Some(waker) = self.writer.borrow_mut().take() {
            waker.wake();
        }
    }

    fn end(&self, end: End) {
        self.end.borrow_mut().get_or_insert(end);
        self.wake_reader();
        self.wake_writer();
    }

    /// Notes that its peer says something that shows that it has seen it.
    fn note_seen(&self) -> Result<(), MuxError> {
        if matches!(*self.end.borrow(), Some(End::NotSeen | End::Refused)) {
            return Err(MuxError::Answered(self.number.get()));
        }
        self.is_answered.set(true);
        Ok(())
    }

    /// `length` bytes of data are coming.
    pub(super) fn expect(&self, length: usize) -> Result<(), MuxError> {
        self.note_seen()?;
        if self.has_peer_ended.get() {
            return Err(MuxError::Stream(self.number.get()));
        }
        let left = u32::try_from(length).ok().and_then(|l| self.window.get().checked_sub(l));
        self.window.set(left.ok_or(MuxError::Window(self.number.get()))?);
        Ok(())
    }

    /// These bytes, which were expected, have come.
    pub(super) fn take(&self, bytes: &[u8]) {
        if !self.is_dropped.get() {
            self.incoming.borrow_mut().push(bytes);
            self.wake_reader();
        }
    }

    pub(super) fn peer_ends(&self) -> Result<(), MuxError> {
        self.note_seen()?;
        self.has_peer_ended.set(true);
        self.wake_reader();
        Ok(())
    }

    pub(super) fn peer_resets(&self) {
        self.end(End::Reset);
    }

    pub(super) fn was_not_seen(&self) -> Result<(), MuxError> {
        self.end_unprocessed(End::NotSeen)
    }

    pub(super) fn was_refused(&self) -> Result<(), MuxError> {
        self.end_unprocessed(End::Refused)
    }

    /// Nobody has processed it, which must not be said of a stream on which something was answered.
    fn end_unprocessed(&self, end: End) -> Result<(), MuxError> {
        if self.is_answered.get() {
            return Err(MuxError::Answered(self.number.get()));
        }
        self.end(end);
        Ok(())
    }

    /// Whether nothing more is said on it: both sides have ended, or its peer has given it up.
    pub(super) fn is_over(&self) -> bool {
        let have_ended = self.has_ended.get() && self.has_peer_ended.get();
        have_ended || self.end.borrow().is_some()
    }

    pub(super) fn fail(&self, failure: &Failure) {
        self.end(End::Failure(failure.clone()));
    }

    pub(super) fn peer_credits(&self, bytes: u32) -> Result<(), MuxError> {
        self.note_seen()?;
        let credit = self.credit.get() + bytes;
        if credit > WINDOW_BYTES {
            return Err(MuxError::Window(self.number.get()));
        }
        self.credit.set(credit);
        self.wake_writer();
        Ok(())
    }
}

/// One stream of a connection. Dropped before both directions have ended, it is given up.
pub struct MuxStream {
    state: Rc<State>,
    shared: Rc<Shared>,
    /// How often anything had come when it last wrote.
    reads: u64,
}

impl MuxStream {
    /// A new stream of a client. Its server hears of it with its first bytes.
    pub(super) fn open(shared: &Rc<Shared>) -> MuxStream {
        MuxStream::new(shared, State::new(0))
    }

    /// The stream that the client has opened as `number`.
    pub(super) fn accepted(shared: &Rc<Shared>, number: u32) -> MuxStream {
        let state = State::new(number);
        shared.streams.borrow_mut().insert(number, Rc::clone(&state));
        MuxStream::new(shared, state)
    }

    fn new(shared: &Rc<Shared>, state: Rc<State>) -> MuxStream {
        shared.held.set(shared.held.get() + 1);
        state.served.set(shared.round.get());
        MuxStream { state, shared: Rc::clone(shared), reads: 0 }
    }

    pub(super) fn state(&self) -> &Rc<State> {
        &self.state
    }

    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// The number for a stream that has none yet.
    fn next_number(&self) -> io::Result<u32> {
        let Shared { last, goes_away, .. } = &*self.shared;
        // The numbers of four thousand million requests: who has come so far opens another tunnel.
        let number = last.get().checked_add(1);
        let number = number.filter(|_| !goes_away.get() && !self.shared.has_failed());
        number.ok_or_else(|| End::NotSeen.to_error())
    }

    /// Gives it `number`. Its first frame has to be the next one that leaves: who gets a higher
    /// number and is faster would leave the server no way to tell this one from an old one.
    fn begin(&self, number: u32) {
        self.shared.last.set(number);
        self.state.number.set(number);
        self.shared.streams.borrow_mut().insert(number, Rc::clone(&self.state));
    }

    /// How much of its share of the room is left in this round.
    fn share_left(&self) -> usize {
        let is_served = self.state.served.get() == self.shared.round.get();
        let taken = if is_served { self.state.taken.get() } else { 0 };
        self.shared.share.get().saturating_sub(taken)
    }

    /// Notes that `count` bytes were written.
    fn has_written(&self, count: usize) {
        let State { credit, served, taken, .. } = &*self.state;
        credit.set(credit.get() - u32::try_from(count).unwrap_or(0));
        let round = self.shared.round.get();
        let before = if served.replace(round) == round { taken.get() } else { 0 };
        taken.set(before + count);
    }

    /// Notes that `count` bytes were read.
    fn has_read(&self, count: usize) {
        let State { read, window, wide, credit_due, has_peer_ended, .. } = &*self.state;
        read.set(read.get() + u32::try_from(count).unwrap_or(u32::MAX));
        let is_wide = wide.borrow().is_some();
        let whole = if is_wide { WINDOW_BYTES } else { WINDOW_BYTES_FIRST };
        let is_low = window.get() < whole / LOW_PART;
        // A peer that waits is told at once: by what it may send it sees that something moves.
        if has_peer_ended.get() || !(is_low || read.get() >= whole / 2) {
            return;
        }
        let mut count = read.take();
        if is_low && !is_wide {
            // It has more to say than fits.
            wide.replace(self.shared.windows.widen());
            if wide.borrow().is_some() {
                count += WINDOW_BYTES - WINDOW_BYTES_FIRST;
            }
        }
        window.set(window.get() + count);
        credit_due.set(credit_due.get() + count);
        self.shared.is_due(&self.state);
    }

    /// Tells the client that there is no room for it, which nobody has read or written yet.
    pub fn refuse(self) {
        self.state.refused_due.set(true);
    }
}

impl Stream for MuxStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut incoming = self.state.incoming.borrow_mut();
        if !incoming.is_empty() {
            let count = incoming.len().min(buffer.len());
            buffer[..count].copy_from_slice(&incoming.filled()[..count]);
            incoming.consume(count);
            drop(incoming);
            self.has_read(count);
            return Poll::Ready(Ok(count));
        }
        if self.state.has_peer_ended.get() {
            return Poll::Ready(Ok(0));
        }
        if let Some(end) = &*self.state.end.borrow() {
            return Poll::Ready(Err(end.to_error()));
        }
        keep(&self.state.reader, cx);
        Poll::Pending
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(end) = &*self.state.end.borrow() {
            return Poll::Ready(Err(end.to_error()));
        }
        if self.state.has_ended.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let wanted: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let is_new = self.state.number.get() == 0;
        let number = if is_new { self.next_number()? } else { self.state.number.get() };
        if is_new {
            // The ends of others leave before this one begins, or the server might have no place.
            self.shared.speak();
        }
        let credit = self.state.credit.get() as usize;
        if credit == 0 {
            keep(&self.state.writer, cx);
            return Poll::Pending;
        }
        let mut outgoing = self.shared.outgoing.borrow_mut();
        let mut room = OUTGOING_BYTES_MAX.saturating_sub(outgoing.len() + HEADER_BYTES);
        if !outgoing.is_empty() {
            room = room.min(self.share_left()); // Once that has left, there is another round.
        }
        let count = wanted.min(credit).min(DATA_BYTES_MAX);
        if room < count.min(PIECE_BYTES_MIN) {
            keep(&self.state.writer, cx);
            self.shared.block(&self.state);
            return Poll::Pending;
        }
        let count = count.min(room);
        if is_new {
            self.begin(number);
        }
        outgoing.push(&Frame::Data(count).encode(number));
        let mut left = count;
        for buffer in buffers {
            let piece = &buffer[..buffer.len().min(left)];
            outgoing.push(piece);
            left -= piece.len();
        }
        drop(outgoing);
        self.has_written(count);
        self.reads = self.shared.reads.get();
        self.shared.wake();
        Poll::Ready(Ok(count))
    }

    /// What was written leaves when all that is ready has had its turn. Whether it does, who reads
    /// learns: what has come before the end is not lost.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.state.has_ended.replace(true) {
            self.state.end_due.set(true);
            self.shared.is_due(&self.state);
        }
        Poll::Ready(Ok(()))
    }

    fn awaits_room(&self) -> bool {
        self.state.credit.get() == 0 && self.state.end.borrow().is_none()
    }

    fn is_doubtful(&self) -> bool {
        self.shared.is_suspect.get()
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        let State { number, incoming, has_ended, has_peer_ended, .. } = &*self.state;
        self.state.is_dropped.set(true);
        self.state.wide.take();
        let mut unread = incoming.borrow_mut();
        let count = unread.len();
        unread.consume(count);
        let shared = &self.shared;
        shared.streams.borrow_mut().remove(&number.get());
        shared.held.set(shared.held.get() - 1);
        let is_over = self.state.end.borrow().is_some() || number.get() == 0;
        if is_over {
            shared.forget(&self.state);
        } else if !(has_ended.get() && has_peer_ended.get()) {
            self.state.reset_due.set(!self.state.refused_due.get());
            if self.reads == shared.reads.get() {
                // It was given up while nobody said anything: perhaps nobody is there any more.
                shared.is_suspect.set(true);
            }
            shared.is_due(&self.state);
        }
        shared.wake(); // It may have been the last.
    }
}

/// Keeps the waker of `cx` in `place`.
fn keep(place: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut place = place.borrow_mut();
    if !place.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}
