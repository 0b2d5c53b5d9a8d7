//! Many streams in one tunnel, so that requests which come at the same time share records and
//! system calls. Each stream carries one HTTP/1.1 connection; the frames are those of
//! `weft_wire::mux`.
//!
//! What a stream writes is put into one buffer, which leaves when everything that was ready has had
//! its turn. Whoever finds that buffer full waits, as for a full socket. Where several wait, each
//! gets its share of it, and who was served longest ago comes first. What a stream has to say
//! beside data is noted at the stream and becomes a frame when there is room: so no peer can make
//! it grow.
//!
//! *Memory.* A stream holds what came and was not read, at most a window of it, and nothing while
//! it is idle. Where memory is limited, few streams at a time get a window of more than a frame.

pub mod client;
pub mod server;
mod stream;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use weft_wire::mux::{DATA_BYTES_MAX, Frame, HEADER_BYTES, MuxError, STREAMS_MAX};
use weft_world::{Buffer, Stream};

use crate::failure::Failure;
use crate::overload::Overload;

pub use self::stream::MuxStream;
use self::stream::State;

/// Bytes that may wait to leave before no more data is taken.
const OUTGOING_BYTES_MAX: usize = 64 * 1024;

/// Bytes that may wait to leave where what waits are short answers to what the peer has said.
const ANSWERS_BYTES_MAX: usize = OUTGOING_BYTES_MAX + 32 * 1024;

/// How many streams may have something to say beside data before no more is read.
const DUE_MAX: usize = 4 * STREAMS_MAX;

/// How many streams of a client are open here before no further ones are: it counts a stream that
/// it has given up no more, while here its end may still be under way.
const OPEN_MAX: usize = 2 * STREAMS_MAX;

/// How long a connection of which nobody wants anything any more has to end in order.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often one turn reads, so that those it wakes get theirs.
const READS_MAX: usize = 4;

/// How many streams a client opens whose peer is [heard](hear).
const HEARD_MAX: usize = 8;

/// How wide the windows of all streams of a worker are.
#[derive(Clone, Default)]
pub struct Windows(Rc<(Overload, Cell<usize>)>);

impl Windows {
    /// As wide as the memory that `overload` knows of allows.
    pub fn new(overload: Overload) -> Windows {
        Windows(Rc::new((overload, Cell::new(0))))
    }

    /// Room for one more wide window, if there is any.
    fn widen(&self) -> Option<Wide> {
        let (overload, wide) = &*self.0;
        (wide.get() < overload.wide_streams_max()).then(|| {
            wide.set(wide.get() + 1);
            Wide(self.clone())
        })
    }
}

/// Room for a wide window.
struct Wide(Windows);

impl Drop for Wide {
    fn drop(&mut self) {
        let (_, wide) = &*self.0.0;
        wide.set(wide.get() - 1);
    }
}

/// What the streams of a connection share.
struct Shared {
    is_client: bool,
    windows: Windows,
    /// Those that have a number and are held by somebody.
    streams: RefCell<BTreeMap<u32, Rc<State>>>,
    /// The highest number so far.
    last: Cell<u32>,
    /// Frames that wait to leave.
    outgoing: RefCell<Buffer>,
    /// Streams that have something to say beside data.
    due: RefCell<VecDeque<Rc<State>>>,
    /// Streams that wait for room, in the order in which they were last served.
    blocked: RefCell<VecDeque<Rc<State>>>,
    /// How often those that waited for room were told to try again.
    round: Cell<u64>,
    /// How many bytes each may write in this round, as long as others have left some.
    share: Cell<usize>,
    driver: RefCell<Option<Waker>>,
    /// Why the connection is over.
    failure: RefCell<Option<Failure>>,
    /// What its peer did wrong, if it is over because of that.
    fault: Cell<Option<MuxError>>,
    /// Whether it takes no new stream, as its server has said.
    goes_away: Cell<bool>,
    /// What the server says first, with the last number that it processes.
    farewell: Cell<Option<u32>>,
    /// Whether nobody will open a stream any more.
    is_released: Cell<bool>,
    /// Streams that are held by somebody, with or without a number.
    held: Cell<usize>,
    /// How often bytes have come.
    reads: Cell<u64>,
    /// Whether a stream was given up while nothing at all came.
    is_suspect: Cell<bool>,
}

impl Shared {
    fn new(is_client: bool, windows: &Windows) -> Rc<Shared> {
        let (streams, last, outgoing, due, blocked) = Default::default();
        let (driver, failure, fault, goes_away, farewell) = Default::default();
        let (is_released, held, reads, is_suspect) = Default::default();
        let (round, share) = (Cell::default(), Cell::new(usize::MAX));
        Rc::new(Shared {
            is_client,
            windows: windows.clone(),
            streams,
            last,
            outgoing,
            due,
            blocked,
            round,
            share,
            driver,
            failure,
            fault,
            goes_away,
            farewell,
            is_released,
            held,
            reads,
            is_suspect,
        })
    }

    /// Has the driver look.
    fn wake(&self) {
        if let Some(waker) = self.driver.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Notes that `state` has something to say beside data.
    fn is_due(&self, state: &Rc<State>) {
        if !state.is_due.replace(true) {
            self.due.borrow_mut().push_back(Rc::clone(state));
        }
        self.wake();
    }

    /// Makes frames of what streams have to say beside data, as far as there is room.
    fn speak(&self) {
        let mut outgoing = self.outgoing.borrow_mut();
        if let Some(last) = self.farewell.take() {
            outgoing.push(&Frame::GoAway.encode(last));
        }
        while outgoing.len() < OUTGOING_BYTES_MAX {
            let Some(state) = self.due.borrow_mut().pop_front() else { return };
            state.is_due.set(false);
            for frame in state.frames_due().into_iter().flatten() {
                outgoing.push(&frame.encode(state.number.get()));
            }
        }
    }

    /// Ends all streams, and keeps why.
    fn fail(&self, error: io::Error) {
        let failure = Failure::of(error);
        for state in self.streams.borrow().values() {
            state.fail(&failure);
        }
        self.failure.borrow_mut().get_or_insert(failure);
        self.unblock();
    }

    /// Has `state` wait for room.
    fn block(&self, state: &Rc<State>) {
        if !state.is_blocked.replace(true) {
            let mut blocked = self.blocked.borrow_mut();
            let served = state.served.get();
            let place = blocked.partition_point(|other| other.served.get() <= served);
            blocked.insert(place, Rc::clone(state));
        }
    }

    /// Has those that wait for room try again.
    fn unblock(&self) {
        let blocked = std::mem::take(&mut *self.blocked.borrow_mut());
        if blocked.is_empty() {
            return; // Those that were told before may not have had their turn.
        }
        self.round.set(self.round.get() + 1);
        let share = (OUTGOING_BYTES_MAX / blocked.len()).max(DATA_BYTES_MAX);
        self.share.set(if blocked.len() > 1 { share } else { usize::MAX });
        for state in blocked {
            state.is_blocked.set(false);
            state.wake_writer();
        }
    }

    /// Forgets `state`, which nobody holds any more and which has nothing to say.
    fn forget(&self, state: &Rc<State>) {
        if state.is_blocked.take() {
            self.blocked.borrow_mut().retain(|other| !Rc::ptr_eq(other, state));
        }
        if state.is_due.take() {
            self.due.borrow_mut().retain(|other| !Rc::ptr_eq(other, state));
        }
    }

    fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }
}

/// Moves the bytes of a connection. Nothing happens while it is not polled.
struct Driver {
    stream: Box<dyn Stream>,
    shared: Rc<Shared>,
    incoming: Buffer,
    /// Data that is coming: for whom, if anybody still wants it, and how much is left.
    data: Option<(Option<Rc<State>>, usize)>,
    /// Streams that the client has opened and nobody has taken yet.
    opened: VecDeque<MuxStream>,
    /// Whether there may be more to read at once.
    has_more: bool,
    /// Why nothing can be written any more.
    broken: Option<io::Error>,
}

impl Driver {
    fn new(stream: Box<dyn Stream>, shared: Rc<Shared>) -> Driver {
        let (incoming, data, opened, has_more, broken) = Default::default();
        Driver { stream, shared, incoming, data, opened, has_more, broken }
    }

    /// Writes and reads what can be. Ready once the connection is over, and its streams know why.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.has_failed() {
            return Poll::Ready(());
        }
        self.shared.driver.replace(Some(cx.waker().clone()));
        // Whether the socket takes more or not, the peer may still have said something.
        if self.broken.is_none()
            && let Poll::Ready(Err(error)) = self.poll_write(cx)
        {
            self.broken = Some(error);
        }
        let mut read = self.poll_read(cx);
        if read.is_pending() && !self.has_more {
            read = self.broken.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
        }
        self.end(read)
    }

    /// Reads what has come and nobody was woken for yet.
    fn look(&mut self) {
        if !self.shared.has_failed() {
            let waker = self.shared.driver.borrow().clone();
            // Who has none was woken, and will look again.
            let waker = waker.as_ref().unwrap_or(Waker::noop());
            let read = self.poll_read(&mut Context::from_waker(waker));
            let _ = self.end(read);
        }
    }

    /// Tells the streams if this is the end.
    fn end(&self, moved: Poll<io::Result<()>>) -> Poll<()> {
        moved.map(|ended| {
            let error = ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            self.shared.fail(error);
        })
    }

    /// Reads what there is. Ready once the peer has ended its direction.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.has_more = false;
        for _ in 0..READS_MAX {
            if self.shared.due.borrow().len() > DUE_MAX {
                return Poll::Pending; // Until the peer reads.
            }
            let read = self.stream.poll_read(cx, self.incoming.room(HEADER_BYTES));
            match read? {
                Poll::Pending => {
                    self.incoming.release_if_empty();
                    return Poll::Pending;
                }
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(count) => self.incoming.fill(count),
            }
            self.shared.reads.set(self.shared.reads.get() + 1);
            self.dispatch().map_err(|error| {
                self.shared.fault.set(Some(error));
                io::Error::new(io::ErrorKind::InvalidData, error)
            })?;
        }
        self.has_more = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready once all that waited to leave was handed to the system.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.shared.speak();
            let mut outgoing = self.shared.outgoing.borrow_mut();
            if outgoing.is_empty() {
                break;
            }
            let written = self.stream.poll_write(cx, &[IoSlice::new(outgoing.filled())]);
            let Poll::Ready(count) = written? else { return Poll::Pending };
            outgoing.consume(count);
            if outgoing.len() < OUTGOING_BYTES_MAX / 2 {
                self.shared.unblock();
            }
        }
        self.stream.poll_flush(cx)
    }

    /// Hands on what has come.
    fn dispatch(&mut self) -> Result<(), MuxError> {
        loop {
            if let Some((state, left)) = &mut self.data {
                let count = self.incoming.len().min(*left);
                if count == 0 {
                    return Ok(());
                }
                if let Some(state) = state {
                    state.take(&self.incoming.filled()[..count]);
                }
                self.incoming.consume(count);
                *left -= count;
                if *left == 0 {
                    self.data = None;
                }
                continue;
            }
            let Some((frame, number)) = Frame::decode(self.incoming.filled())? else {
                return Ok(());
            };
            self.incoming.consume(HEADER_BYTES);
            self.heed(frame, number)?;
        }
    }

    /// Answers what the peer has said about the stream `number`, of which nothing is kept.
    fn answer(&self, frame: Frame, number: u32) -> Result<(), MuxError> {
        let mut outgoing = self.shared.outgoing.borrow_mut();
        if outgoing.len() > ANSWERS_BYTES_MAX {
            return Err(MuxError::Unread);
        }
        outgoing.push(&frame.encode(number));
        drop(outgoing);
        self.shared.wake();
        Ok(())
    }

    /// Does what `frame` for the stream `number` says.
    fn heed(&mut self, frame: Frame, number: u32) -> Result<(), MuxError> {
        if frame == Frame::GoAway {
            if !self.shared.is_client {
                return Err(MuxError::Stream(number));
            }
            self.shared.goes_away.set(true);
            if let Some(above) = number.checked_add(1) {
                let streams = self.shared.streams.borrow();
                streams.range(above..).try_for_each(|(_, state)| state.was_not_seen())?;
            }
            self.shared.unblock(); // Those that have not begun.
            return Ok(());
        }
        let mut state = self.shared.streams.borrow().get(&number).cloned();
        if state.is_none() && number > self.shared.last.get() {
            if self.shared.is_client {
                return Err(MuxError::Stream(number));
            }
            if !self.shared.goes_away.get() {
                self.shared.last.set(number);
                if !matches!(frame, Frame::Data(_)) {
                    // It was given up before it said anything.
                } else if self.shared.held.get() >= OPEN_MAX {
                    self.answer(Frame::Refused, number)?;
                } else {
                    let stream = MuxStream::accepted(&self.shared, number);
                    state = Some(Rc::clone(stream.state()));
                    self.opened.push_back(stream);
                }
            }
        }
        if let Frame::Data(length) = frame {
            if let Some(state) = &state {
                state.expect(length)?;
            }
            self.data = Some((state, length));
            return Ok(());
        }
        let Some(state) = state else { return Ok(()) };
        match frame {
            Frame::End => state.peer_ends()?,
            Frame::Reset => state.peer_resets(),
            Frame::Credit(bytes) => state.peer_credits(bytes)?,
            Frame::Refused if self.shared.is_client => state.was_refused()?,
            Frame::Refused => return Err(MuxError::Stream(number)),
            Frame::Data(_) | Frame::GoAway => {}
        }
        Ok(())
    }
}

/// Plays a peer of `stream` to its end: as the client's side, which opens streams until it is told
/// not to, or as the server's. What is said on a stream is read and sent back; but by its number
/// one is not read, another ended after the first answer, given up, or refused. For `fuzz/`.
///
/// # Panics
/// If it does not come to an end.
pub fn hear(stream: Box<dyn Stream>, is_client: bool) {
    let mut driver = Driver::new(stream, Shared::new(is_client, &Windows::default()));
    let (mut cx, mut streams) = (Context::from_waker(Waker::noop()), Vec::<MuxStream>::new());
    let mut opened = 0;
    for _ in 0..1_000_000 {
        if is_client && opened < HEARD_MAX {
            opened += 1;
            let mut stream = MuxStream::open(&driver.shared);
            let _ = stream.poll_write(&mut cx, &[IoSlice::new(b"hello")]);
            streams.push(stream);
        }
        let ended = driver.poll(&mut cx).is_ready();
        streams.extend(driver.opened.drain(..));
        streams = streams.into_iter().filter_map(|stream| hear_one(stream, &mut cx)).collect();
        if ended {
            return;
        }
    }
    panic!("it does not end");
}

/// Has one stream do what its number says. Returns it if it is not given up.
fn hear_one(mut stream: MuxStream, cx: &mut Context<'_>) -> Option<MuxStream> {
    let is_client = stream.shared().is_client;
    let role = stream.state().number.get() % 8;
    if role == 1 {
        return Some(stream);
    }
    if role == 2 && !is_client {
        stream.refuse();
        return None;
    }
    let mut buffer = [0; 1_000];
    while let Poll::Ready(Ok(count @ 1..)) = stream.poll_read(cx, &mut buffer) {
        let _ = stream.poll_write(cx, &[IoSlice::new(&buffer[..count])]);
        match role {
            3 => return None,
            4 => _ = stream.poll_close(cx),
            _ => {}
        }
    }
    Some(stream)
}

#[cfg(test)]
mod tests;
