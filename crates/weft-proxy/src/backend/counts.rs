//! What a worker has under way towards a backend, and the limits on it.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;
use weft_decide::limits::{self, LimitReached, UnderWay};
use weft_model::Limits;

/// What a worker has under way towards a backend. It outlives changes of the backend.
#[derive(Clone, Default)]
pub(crate) struct Counts(Rc<Shared>);

#[derive(Default)]
struct Shared {
    requests: Cell<u32>,
    pending: Cell<u32>,
    connections: Cell<u32>,
    /// On connections that several share.
    exchanges: Cell<u32>,
    /// Told when a connection is given back or ends.
    freed: Notify,
}

/// One of the things that are counted, as long as the value lives.
pub(crate) struct Place {
    shared: Rc<Shared>,
    count: fn(&Shared) -> &Cell<u32>,
    is_connection: bool,
}

impl Place {
    fn new(shared: &Rc<Shared>, count: fn(&Shared) -> &Cell<u32>) -> Place {
        let cell = count(shared);
        cell.set(cell.get() + 1);
        Place { shared: shared.clone(), count, is_connection: false }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let cell = (self.count)(&self.shared);
        cell.set(cell.get() - 1);
        // Whoever waits, waits for a connection.
        if self.is_connection && self.shared.pending.get() > 0 {
            self.shared.freed.notify_one();
        }
    }
}

impl Counts {
    fn under_way(&self) -> UnderWay {
        let Shared { requests, pending, connections, .. } = &*self.0;
        let (requests, pending, connections) = (requests.get(), pending.get(), connections.get());
        UnderWay { requests, pending, connections }
    }

    /// A place for one more request.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub(crate) fn request(&self, limits: &Limits) -> Result<Place, LimitReached> {
        limits::request(limits, &self.under_way())?;
        Ok(Place::new(&self.0, |shared| &shared.requests))
    }

    /// A place for one more connection, if there is one now.
    pub(crate) fn connection(&self, limits: &Limits) -> Option<Place> {
        limits::connection(limits, &self.under_way()).ok()?;
        let mut place = Place::new(&self.0, |shared| &shared.connections);
        place.is_connection = true;
        Some(place)
    }

    /// A place for an exchange on a connection that others share.
    pub(crate) fn exchange(&self) -> Place {
        let mut place = Place::new(&self.0, |shared| &shared.exchanges);
        place.is_connection = true;
        place
    }

    /// Waits until a connection is given back or ends, whereupon another look is worth it.
    ///
    /// # Errors
    /// [`LimitReached`] if too many wait already.
    pub(crate) async fn freed(&self, limits: &Limits) -> Result<(), LimitReached> {
        limits::pending(limits, &self.under_way())?;
        let _waiting = Place::new(&self.0, |shared| &shared.pending);
        self.0.freed.notified().await;
        Ok(())
    }

    /// Tells one that waits that a connection was given back.
    pub(crate) fn gave_back(&self) {
        if self.0.pending.get() > 0 {
            self.0.freed.notify_one();
        }
    }
}
