//! The orderly end: nothing new comes in, and what is under way comes to its end.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::live::Live;

/// Whether a worker is draining, and how much it still has under way.
#[derive(Clone, Default)]
pub(crate) struct Drain(Rc<Shared>);

#[derive(Default)]
struct Shared {
    is_on: Cell<bool>,
    started: Notify,
    busy: Cell<usize>,
    /// Copies of requests, for which nobody waits.
    copies: Cell<usize>,
    /// Connections from peers, whether something is under way on them or not.
    tunnels: Cell<usize>,
    /// Connections that the workload opened.
    opened: Cell<usize>,
    idle: Notify,
}

impl Drain {
    /// From now on, nothing new is taken for the workload. Whoever waits for something new is told.
    pub(crate) fn start(&self, live: &Live) {
        self.0.is_on.set(true);
        self.0.started.notify_waiters();
        live.change();
    }

    /// Whether nothing new is taken.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_on.get()
    }

    /// Waits until nothing new is taken.
    pub(crate) async fn started(&self) {
        while !self.is_on() {
            self.0.started.notified().await;
        }
    }

    /// Something is under way as long as the value lives.
    pub(crate) fn busy(&self) -> Busy {
        Busy::new(&self.0, |shared| &shared.busy)
    }

    /// A copy of a request is under way as long as the value lives.
    pub(crate) fn copy(&self) -> Busy {
        Busy::new(&self.0, |shared| &shared.copies)
    }

    /// How many copies of requests are under way.
    pub(crate) fn copies(&self) -> usize {
        self.0.copies.get()
    }

    /// A connection from a peer is there as long as the value lives.
    pub(crate) fn tunnel(&self) -> Busy {
        Busy::new(&self.0, |shared| &shared.tunnels)
    }

    /// A connection that the workload opened is there as long as the value lives.
    pub(crate) fn opened(&self) -> Busy {
        Busy::new(&self.0, |shared| &shared.opened)
    }

    /// How much is under way.
    pub(crate) fn count(&self) -> usize {
        self.0.busy.get() + self.0.copies.get()
    }

    /// Waits until nothing is under way, and every peer's connection has ended.
    pub(crate) async fn idle(&self) {
        while self.0.busy.get() > 0 || self.0.tunnels.get() > 0 {
            self.0.idle.notified().await;
        }
    }

    /// Waits until every connection that the workload opened has ended.
    pub(crate) async fn hung_up(&self) {
        while self.0.opened.get() > 0 {
            self.0.idle.notified().await;
        }
    }
}

/// Something under way.
pub(crate) struct Busy {
    shared: Rc<Shared>,
    count: fn(&Shared) -> &Cell<usize>,
}

impl Busy {
    fn new(shared: &Rc<Shared>, count: fn(&Shared) -> &Cell<usize>) -> Busy {
        let cell = count(shared);
        cell.set(cell.get() + 1);
        Busy { shared: shared.clone(), count }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let cell = (self.count)(&self.shared);
        cell.set(cell.get() - 1);
        if cell.get() == 0 {
            self.shared.idle.notify_waiters();
        }
    }
}
