//! Simulated time: one line of events for all hosts, and each host's clock on it.
//!
//! The line is exact to the nanosecond. Beneath it the paused clock of `tokio` keeps the whole
//! milliseconds, so that foreign code with timers of `tokio` lives in the same time.
//!
//! Deliberately absent: clocks that run fast or slow. The civil time of a host can be off and can
//! jump, which is what Weft must bear.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use weft_world::{Clock, Moment, Timer, UnixTime};

use crate::keepalive::Probe;
use crate::network::Delivery;

/// Simulated time since the start, in order of time and then of asking.
pub(crate) type EventKey = (Duration, u64);

/// What is going to happen.
pub(crate) enum Event {
    /// A timer ends.
    Wake(Waker),
    /// A segment arrives.
    Deliver(Delivery),
    /// An idle connection is probed.
    Probe(Probe),
    /// The simulation may not go on for longer.
    TimeLimit,
}

/// The present, and all that is going to happen.
pub(crate) struct Timeline {
    runtime: tokio::runtime::Handle,
    start: tokio::time::Instant,
    now: Cell<Duration>,
    events: RefCell<BTreeMap<EventKey, Event>>,
    next_order: Cell<u64>,
    /// The driver sleeps until the time given here, unless it is woken.
    sleeper: RefCell<Option<(Duration, Waker)>>,
}

impl Timeline {
    #[expect(clippy::disallowed_methods, reason = "this is what the simulated time is made of")]
    pub(crate) fn new(runtime: tokio::runtime::Handle) -> Timeline {
        let start = {
            let _entered = runtime.enter();
            tokio::time::Instant::now()
        };
        Timeline {
            runtime,
            start,
            now: Cell::default(),
            events: RefCell::default(),
            next_order: Cell::default(),
            sleeper: RefCell::default(),
        }
    }

    /// Simulated time since the start.
    pub(crate) fn now(&self) -> Duration {
        // A timer of foreign code may have moved the clock beneath.
        self.now.set(self.now.get().max(self.coarse_now()));
        self.now.get()
    }

    /// Where the clock beneath stands.
    fn coarse_now(&self) -> Duration {
        let _entered = self.runtime.enter();
        self.start.elapsed()
    }

    /// The instant of the clock beneath at which `at` can happen, if that is still to come.
    pub(crate) fn instant_before(&self, at: Duration) -> Option<tokio::time::Instant> {
        let whole = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        (whole > self.coarse_now()).then(|| self.start + whole)
    }

    /// Lets `event` happen at `at`, or as soon as all is quiet if that is past.
    pub(crate) fn schedule(&self, at: Duration, event: Event) -> EventKey {
        let key = (at, self.next_order.get());
        self.next_order.set(key.1 + 1);
        self.events.borrow_mut().insert(key, event);
        let too_late = self.sleeper.borrow().as_ref().is_some_and(|(until, _)| at < *until);
        if too_late && let Some((_, waker)) = self.sleeper.take() {
            waker.wake();
        }
        key
    }

    /// Lets an event not happen; without effect if it has.
    pub(crate) fn cancel(&self, key: EventKey) {
        let event = self.events.borrow_mut().remove(&key);
        drop(event); // Only now: what the waker holds may want to cancel, too.
    }

    /// When the next event happens.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.events.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    /// Goes to the next event.
    pub(crate) fn advance(&self) -> Option<Event> {
        let ((at, _), event) = self.events.borrow_mut().pop_first()?;
        self.now.set(self.now().max(at));
        Some(event)
    }

    /// Tells who is to be woken if an event comes up before `until`.
    pub(crate) fn set_sleeper(&self, until: Duration, waker: Waker) {
        self.sleeper.replace(Some((until, waker)));
    }

    /// Forgets all that is going to happen.
    pub(crate) fn clear(&self) {
        drop(self.events.take());
    }

    /// Waits until `at`.
    pub(crate) fn timer(self: &Rc<Self>, at: Duration) -> SimTimer {
        SimTimer { timeline: Rc::clone(self), origin: Duration::ZERO, at, registered: None }
    }

    /// Waits for `duration`.
    pub(crate) fn sleep(self: &Rc<Self>, duration: Duration) -> SimTimer {
        self.timer(self.now().saturating_add(duration))
    }
}

/// How far a host's civil time is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    /// It shows a later time.
    Ahead(Duration),
    /// It shows an earlier time.
    Behind(Duration),
}

impl Skew {
    /// A clock that is right.
    pub const NONE: Skew = Skew::Ahead(Duration::ZERO);
}

/// The clock of one host.
pub(crate) struct SimClock {
    pub(crate) timeline: Rc<Timeline>,
    /// What the clock showed when the simulation started: unlike on each host, as in reality.
    pub(crate) origin: Duration,
    /// The civil time when the simulation started.
    pub(crate) wall_start: UnixTime,
    pub(crate) skew: Rc<Cell<Skew>>,
}

impl Clock for SimClock {
    fn now(&self) -> Moment {
        Moment::from_nanos(0) + self.origin + self.timeline.now()
    }

    fn wall(&self) -> UnixTime {
        let right = self.wall_start.0 + self.timeline.now();
        UnixTime(match self.skew.get() {
            Skew::Ahead(by) => right.saturating_add(by),
            Skew::Behind(by) => right.saturating_sub(by),
        })
    }

    fn timer(&self, at: Moment) -> Box<dyn Timer> {
        let timeline = Rc::clone(&self.timeline);
        let since_start = since_start(at, self.origin);
        Box::new(SimTimer { timeline, origin: self.origin, at: since_start, registered: None })
    }

    fn on_system_clock(&self, _: Duration) -> Duration {
        Duration::MAX
    }
}

/// The simulated time at which a clock that started at `origin` shows `at`.
fn since_start(at: Moment, origin: Duration) -> Duration {
    at.since(Moment::from_nanos(0)).saturating_sub(origin)
}

/// A timer on the line.
pub(crate) struct SimTimer {
    timeline: Rc<Timeline>,
    origin: Duration,
    at: Duration,
    registered: Option<(EventKey, Waker)>,
}

impl SimTimer {
    fn register(&mut self, waker: Waker) {
        self.cancel();
        let key = self.timeline.schedule(self.at, Event::Wake(waker.clone()));
        self.registered = Some((key, waker));
    }

    fn cancel(&mut self) -> Option<Waker> {
        let (key, waker) = self.registered.take()?;
        self.timeline.cancel(key);
        Some(waker)
    }
}

impl Future for SimTimer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.timeline.now() >= self.at {
            self.cancel();
            return Poll::Ready(());
        }
        if !self.registered.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            self.register(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Timer for SimTimer {
    fn reset(&mut self, at: Moment) {
        self.at = since_start(at, self.origin);
        if let Some(waker) = self.cancel() {
            self.register(waker);
        }
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests;
