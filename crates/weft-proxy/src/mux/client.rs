//! The client's side: it opens streams.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use weft_wire::mux::STREAMS_MAX;
use weft_world::{Clock, Stream, Timer};

use super::{Driver as Moving, FAREWELL_TIMEOUT, MuxStream, Shared, Windows};

/// A connection to a server, for many streams at a time.
///
/// When it and its streams are gone, or the server has gone away and all streams are over, the
/// connection is ended in order.
pub struct Connection {
    shared: Rc<Shared>,
    moving: Rc<RefCell<Moving>>,
    has_served: bool,
    /// How often bytes had come when that was last asked.
    reads: u64,
}

/// Moves the bytes of a connection, until it ends.
pub struct Driver {
    moving: Rc<RefCell<Moving>>,
    clock: Rc<dyn Clock>,
    /// When it ends, however that goes.
    farewell: Option<Box<dyn Timer>>,
}

/// Opens streams over `stream`, a tunnel that its server has accepted.
pub fn connect(
    stream: Box<dyn Stream>,
    clock: Rc<dyn Clock>,
    windows: &Windows,
) -> (Connection, Driver) {
    let shared = Shared::new(true, windows);
    let moving = Rc::new(RefCell::new(Moving::new(stream, Rc::clone(&shared))));
    let driver = Driver { moving: Rc::clone(&moving), clock, farewell: None };
    (Connection { shared, moving, has_served: false, reads: 0 }, driver)
}

impl Connection {
    /// Whether it takes new streams, if not too many are open.
    pub fn is_usable(&self) -> bool {
        let Shared { goes_away, is_suspect, .. } = &*self.shared;
        !self.shared.has_failed() && !goes_away.get() && !is_suspect.get()
    }

    /// How many streams are open.
    pub fn open_count(&self) -> usize {
        self.shared.held.get()
    }

    /// How many more streams it takes.
    pub fn capacity(&self) -> usize {
        if self.is_usable() { STREAMS_MAX.saturating_sub(self.open_count()) } else { 0 }
    }

    /// Takes note of what has come: that the server has gone away may be known to nobody yet.
    pub fn look(&self) {
        self.moving.borrow_mut().look();
        if self.shared.goes_away.get() {
            self.shared.wake(); // That may have been all that was waited for.
        }
    }

    /// Whether bytes have come since this was last asked.
    pub fn was_used(&mut self) -> bool {
        let reads = self.shared.reads.get();
        std::mem::replace(&mut self.reads, reads) != reads
    }

    /// A new stream, and whether it is not the first.
    pub fn open(&mut self) -> (MuxStream, bool) {
        let has_served = std::mem::replace(&mut self.has_served, true);
        (MuxStream::open(&self.shared), has_served)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.is_released.set(true);
        self.shared.wake();
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Driver { moving, clock, farewell } = &mut *self;
        let mut moving = moving.borrow_mut();
        if moving.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let shared = Rc::clone(&moving.shared);
        if !shared.is_over() {
            return Poll::Pending;
        }
        // A server that does not read is not waited for.
        let timer = farewell.get_or_insert_with(|| clock.timer(clock.now() + FAREWELL_TIMEOUT));
        let has_left = shared.outgoing.borrow().is_empty();
        if Pin::new(timer).poll(cx).is_pending()
            && !(has_left && moving.stream.poll_close(cx).is_ready())
        {
            return Poll::Pending;
        }
        // Nobody is left who could be told whether that went well.
        shared.fail(io::ErrorKind::UnexpectedEof.into());
        Poll::Ready(())
    }
}

impl Shared {
    /// Whether nothing will be said any more: nobody holds a stream, or the server takes no new
    /// ones, and those that there are are over, whoever holds them.
    fn is_over(&self) -> bool {
        let has_none = self.is_released.get() && self.held.get() == 0;
        let are_over = || self.streams.borrow().values().all(|state| state.is_over());
        has_none || (self.goes_away.get() && are_over())
    }
}
