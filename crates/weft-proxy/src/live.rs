//! What lives is judged again when that by which it was let in changes, and is ended when nothing
//! moves in it for too long.
//!
//! Neither costs a timer: all that lives has a place here, and one task wakes those whose time has
//! come, once a second.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use weft_decide::idle::Stillness;
use weft_identity::PeerFacts;

use crate::Proxy;
use crate::error::ProxyError;
use crate::time::SWEEP_INTERVAL;

/// All that lives on a worker, and the count of changes.
#[derive(Clone, Default)]
pub(crate) struct Live(Rc<Shared>);

#[derive(Default)]
struct Shared {
    changes: Cell<u64>,
    /// The time since the start, as of the last tick: reading it costs next to nothing.
    now: Cell<Duration>,
    /// What lives; free places are to be filled again.
    places: RefCell<Vec<Place>>,
    free: RefCell<Vec<usize>>,
}

#[derive(Default)]
struct Place {
    /// The task to be woken by a change.
    waker: Option<Waker>,
    /// When it is to be woken to see whether anything has moved.
    due: Option<Duration>,
}

impl Live {
    /// Notes that something changed: everything that lives looks whether it may go on.
    pub(crate) fn change(&self) {
        self.0.changes.set(self.0.changes.get() + 1);
        let places = self.0.places.borrow();
        let wakers: Vec<_> = places.iter().filter_map(|place| place.waker.clone()).collect();
        drop(places);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Notes that it is `now`, counted from the start: whoever is due looks whether it is over.
    pub(crate) fn tick(&self, now: Duration) {
        self.0.now.set(now);
        let mut places = self.0.places.borrow_mut();
        let due = |place: &mut Place| {
            place.due.take_if(|due| *due <= now).and_then(|_| place.waker.clone())
        };
        let wakers: Vec<_> = places.iter_mut().filter_map(due).collect();
        drop(places);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many changes there were so far. Who notes it before something is judged, and watches
    /// [`since`](Watch::since) then, misses none.
    pub(crate) fn changes(&self) -> u64 {
        self.0.changes.get()
    }

    /// Begins to watch for changes from now on.
    pub(crate) fn watch(&self) -> Watch {
        let Shared { changes, places, free, .. } = &*self.0;
        let mut places = places.borrow_mut();
        let place = free.borrow_mut().pop().unwrap_or_else(|| {
            places.push(Place::default());
            places.len() - 1
        });
        Watch { shared: self.0.clone(), place, seen: changes.get(), still: None, due: None }
    }

    /// The same, and for what stands still for longer than `limit`.
    pub(crate) fn watch_moving(&self, limit: Duration) -> Watch {
        self.watch().moving(limit)
    }

    /// The same for what is exchanged with `peer`, and was decided when there were so many
    /// `changes`: if there were more since then, or since the peer was last judged, it is judged at
    /// once.
    pub(crate) fn watch_peer(&self, peer: Option<&Peer>, changes: u64, limit: Duration) -> Watch {
        let judged = peer.map_or(changes, |peer| peer.judged.get().min(changes));
        self.watch_moving(limit).since(judged)
    }
}

/// Watches for changes, and for what stands still.
pub(crate) struct Watch {
    shared: Rc<Shared>,
    place: usize,
    seen: u64,
    still: Option<Stillness>,
    /// When its place is due, as far as it is known here. The place is told with the waker.
    due: Option<Duration>,
}

impl Watch {
    /// The same, as if it had begun when there were so many `changes`.
    fn since(mut self, changes: u64) -> Watch {
        self.seen = changes;
        self
    }

    /// The same, also for what stands still for longer than `limit` from now on.
    pub(crate) fn moving(mut self, limit: Duration) -> Watch {
        let still = Stillness::new(limit, SWEEP_INTERVAL, self.shared.now.get());
        (self.due, self.still) = (Some(still.over_at()), Some(still));
        self
    }

    /// Whether something changed since this was last asked; if not, the task is woken when it does.
    fn has_changed(&mut self, cx: &Context<'_>) -> bool {
        let changes = self.shared.changes.get();
        if changes != self.seen {
            self.seen = changes;
            return true;
        }
        let mut places = self.shared.places.borrow_mut();
        let Place { waker, due } = &mut places[self.place];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            (*waker, *due) = (Some(cx.waker().clone()), self.due);
        }
        false
    }

    /// How long it has to stand still, if it has for too long. `count` is what it has moved.
    ///
    /// What moves only notes when it last did; its place is made due anew once it was.
    fn is_still(&mut self, count: u64) -> Option<Duration> {
        let still = self.still.as_mut()?;
        let now = self.shared.now.get();
        still.note(count, now);
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        if still.is_over(now) {
            return Some(still.limit());
        }
        self.due = Some(still.over_at());
        self.shared.places.borrow_mut()[self.place].due = self.due;
        None
    }

    /// Drives `future`, unless `judge`, which is asked after each change, is against it.
    pub(crate) async fn over<T>(
        &mut self,
        judge: impl FnMut() -> Result<(), ProxyError>,
        future: impl Future<Output = T>,
    ) -> Result<T, ProxyError> {
        self.over_moving(judge, &Cell::new(0), future).await
    }

    /// The same, as long as `moved`, which `future` counts up by all that it moves, does not stand
    /// still for longer than the limit.
    ///
    /// # Errors
    /// [`ProxyError::StoodStill`], and what `judge` says.
    pub(crate) async fn over_moving<T>(
        &mut self,
        mut judge: impl FnMut() -> Result<(), ProxyError>,
        moved: &Cell<u64>,
        future: impl Future<Output = T>,
    ) -> Result<T, ProxyError> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            while self.has_changed(cx) {
                judge()?;
            }
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            match self.is_still(moved.get()) {
                Some(limit) => Poll::Ready(Err(ProxyError::StoodStill { limit })),
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.places.borrow_mut()[self.place] = Place::default();
        self.shared.free.borrow_mut().push(self.place);
    }
}

/// Who is at the other end of a tunnel.
pub(crate) struct Peer {
    /// What it can be judged by again.
    facts: PeerFacts,
    /// How many changes there were when it was last found good.
    judged: Cell<u64>,
}

impl Peer {
    /// A peer with `facts`, whose handshake began when there were so many `changes`: what came
    /// while it went on, or since, it may not know.
    pub(crate) fn new(facts: PeerFacts, changes: u64) -> Peer {
        Peer { facts, judged: Cell::new(changes) }
    }
}

/// Whether a live connection with `peer` may go on. Nothing is asked twice about the same state of
/// things.
///
/// # Errors
/// [`ProxyError::PeerRevoked`].
pub(crate) fn judge_peer(proxy: &Proxy, peer: Option<&Peer>) -> Result<(), ProxyError> {
    let (Some(tls), Some(peer)) = (&proxy.tls, peer) else { return Ok(()) };
    let changes = proxy.live.changes();
    if peer.judged.get() == changes {
        return Ok(());
    }
    match tls.judge(&peer.facts, proxy.world.clock.wall()) {
        Err(reason) if reason.is_urgent() => Err(ProxyError::PeerRevoked(Box::new(reason))),
        _ => {
            peer.judged.set(changes);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_change_is_judged_once_and_ends_what_it_forbids() {
        let live = Live::default();
        let judged = Cell::new(0);
        let mut watch = live.watch();
        let judge = || {
            judged.set(judged.get() + 1);
            if judged.get() < 2 { Ok(()) } else { Err(ProxyError::ClientGone) }
        };
        let mut over = pin!(watch.over(judge, pending::<()>()));
        assert!(poll(over.as_mut()).is_pending() && judged.get() == 0);
        live.change();
        assert!(poll(over.as_mut()).is_pending() && judged.get() == 1);
        assert!(poll(over.as_mut()).is_pending() && judged.get() == 1);
        live.change();
        assert!(matches!(poll(over.as_mut()), Poll::Ready(Err(ProxyError::ClientGone))));
    }

    #[test]
    fn what_changed_before_it_is_driven_is_judged_as_well() {
        let live = Live::default();
        let mut watch = live.watch();
        live.change();
        let forbid = || Err(ProxyError::ClientGone);
        let over = pin!(watch.over(forbid, std::future::ready(())));
        assert!(matches!(poll(over), Poll::Ready(Err(ProxyError::ClientGone))));
        let ended = |mut watch: Watch| poll(pin!(watch.over(forbid, std::future::ready(()))));
        let changes = live.changes();
        assert!(matches!(ended(live.watch().since(changes)), Poll::Ready(Ok(()))));
        assert!(matches!(ended(live.watch().since(changes - 1)), Poll::Ready(Err(_))));
    }

    #[test]
    fn places_are_used_again() {
        let live = Live::default();
        for _ in 0..10 {
            let (_one, _other) = (live.watch(), live.watch());
        }
        assert_eq!(live.0.places.borrow().len(), 2);
    }

    const fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn what_stands_still_is_ended_and_what_moves_is_not() {
        let (live, moved) = (Live::default(), Cell::new(0));
        live.tick(seconds(5));
        let mut watch = live.watch_moving(seconds(60));
        let mut over = pin!(watch.over_moving(|| Ok(()), &moved, pending::<()>()));
        assert!(poll(over.as_mut()).is_pending());
        let due = || live.0.places.borrow()[0].due;
        assert_eq!(due(), Some(seconds(66)));
        live.tick(seconds(40));
        moved.set(1);
        assert!(poll(over.as_mut()).is_pending());
        assert_eq!(due(), Some(seconds(66)), "it is moved only when it ends");
        live.tick(seconds(66));
        assert_eq!(due(), None, "it was woken");
        assert!(poll(over.as_mut()).is_pending());
        assert_eq!(due(), Some(seconds(101)));
        live.tick(seconds(101));
        let ended = poll(over.as_mut());
        assert!(matches!(ended, Poll::Ready(Err(ProxyError::StoodStill { .. }))), "{ended:?}");
    }

    #[test]
    fn a_place_that_is_used_again_is_not_due_for_its_former_owner() {
        let live = Live::default();
        {
            let mut watch = live.watch_moving(seconds(60));
            let none = Cell::new(0);
            let over = pin!(watch.over_moving(|| Ok(()), &none, pending::<()>()));
            assert!(poll(over).is_pending());
        }
        let _next = live.watch();
        assert!(live.0.places.borrow()[0].due.is_none());
    }
}
