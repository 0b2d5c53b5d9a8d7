//! What a worker has under way towards a backend, and the limits on it.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use weft_decide::limits::{self, LimitReached, UnderWay};
use weft_model::Limits;
use weft_telemetry::metrics::{BackendUse, Limited, Locality};

/// What a worker has under way towards a backend. It outlives changes of the backend.
#[derive(Clone, Default)]
pub(crate) struct Counts(Rc<Shared>);

#[derive(Default)]
struct Shared {
    /// Kept where scrapes see it.
    used: Arc<BackendUse>,
    /// Told when a connection is given back or ends.
    freed: Notify,
}

/// One of the things that are counted, as long as the value lives.
pub(crate) struct Place {
    shared: Rc<Shared>,
    /// What it is one of; none of them for an exchange on a connection that others share.
    of: Option<Limited>,
}

impl Place {
    fn new(shared: &Rc<Shared>, of: Limited) -> Place {
        shared.used.take(of);
        Place { shared: shared.clone(), of: Some(of) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(of) = self.of {
            self.shared.used.give(of);
        }
        // Whoever waits, waits for a connection.
        if matches!(self.of, None | Some(Limited::Connections)) {
            self.shared.tell_one();
        }
    }
}

impl Shared {
    /// Tells one that waits for a connection to look again.
    fn tell_one(&self) {
        if self.used.in_use(Limited::Pending) > 0 {
            self.freed.notify_one();
        }
    }
}

impl Counts {
    /// What counts it.
    pub(crate) fn used(&self) -> &Arc<BackendUse> {
        &self.0.used
    }

    /// Whether something has a place.
    pub(crate) fn has_any(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    /// From now on, these are the limits, of which that on requests holds if `has_requests`.
    pub(crate) fn limited(&self, limits: &Limits, has_requests: bool) {
        let Limits { requests, pending, connections, .. } = limits;
        let requests = if has_requests { requests.get() } else { 0 };
        self.0.used.set_limit(Limited::Requests, requests);
        self.0.used.set_limit(Limited::Pending, pending.get());
        self.0.used.set_limit(Limited::Connections, connections.get());
    }

    /// An attempt is made at an endpoint that is there.
    pub(crate) fn attempted(&self, at: Locality) {
        self.0.used.attempted(at);
    }

    /// A connection was opened.
    pub(crate) fn opened(&self) {
        self.0.used.opened();
    }

    fn under_way(&self) -> UnderWay {
        let in_use = |of| self.0.used.in_use(of);
        UnderWay {
            requests: in_use(Limited::Requests),
            pending: in_use(Limited::Pending),
            connections: in_use(Limited::Connections),
        }
    }

    /// A place for one more request.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub(crate) fn request(&self, limits: &Limits) -> Result<Place, LimitReached> {
        limits::request(limits, &self.under_way())?;
        Ok(Place::new(&self.0, Limited::Requests))
    }

    /// Whether there may be one more connection now.
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        limits::connection(limits, &self.under_way()).is_ok()
    }

    /// A place for one more connection.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub(crate) fn connection(&self, limits: &Limits) -> Result<Place, LimitReached> {
        limits::connection(limits, &self.under_way())?;
        Ok(Place::new(&self.0, Limited::Connections))
    }

    /// A place for an exchange on a connection that others share.
    pub(crate) fn exchange(&self) -> Place {
        Place { shared: self.0.clone(), of: None }
    }

    /// A place for one more who waits for a connection.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub(crate) fn pending(&self, limits: &Limits) -> Result<Place, LimitReached> {
        limits::pending(limits, &self.under_way())?;
        Ok(Place::new(&self.0, Limited::Pending))
    }

    /// Waits until a connection is given back or ends, whereupon another look is worth it.
    ///
    /// # Errors
    /// [`LimitReached`] if too many wait already.
    pub(crate) async fn freed(&self, limits: &Limits) -> Result<(), LimitReached> {
        let _waiting = self.pending(limits)?;
        self.0.freed.notified().await;
        Ok(())
    }

    /// Tells one that waits that a connection was given back.
    pub(crate) fn gave_back(&self) {
        self.0.tell_one();
    }
}
