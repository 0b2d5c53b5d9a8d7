//! Where requests go: endpoints, the connections to them, and whose turn it is.

mod endpoint;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use weft_decide::balance;
use weft_model::Health;
use weft_telemetry::Record;
use weft_world::Moment;

use crate::Proxy;
use crate::error::ProxyError;
use crate::snapshot::{Destination, DestinationName};
use crate::time::BACKEND_IDLE_TIMEOUT;

pub(crate) use endpoint::{Connected, Endpoint};

/// The endpoints of a destination, with what this worker knows of them.
pub(crate) struct Backend {
    name: Rc<str>,
    destination: Arc<Destination>,
    endpoints: Vec<Rc<Endpoint>>,
    turn: Cell<usize>,
    /// Whether it was used since it was last looked over.
    is_used: Cell<bool>,
    /// When it was found used for the last time.
    used: Cell<Moment>,
}

impl Backend {
    /// The backend for `destination`, which keeps what is known from `before`.
    fn new(destination: Arc<Destination>, before: Option<&Backend>, now: Moment) -> Backend {
        let known = before.map_or(&[][..], |before| &before.endpoints);
        let endpoint = |spec: &crate::snapshot::EndpointSpec| {
            let same = known.iter().find(|endpoint| endpoint.is(spec));
            same.cloned().unwrap_or_else(|| Rc::new(Endpoint::new(spec.clone())))
        };
        let endpoints = destination.endpoints.iter().map(endpoint).collect();
        let name = before.map(|before| before.name.clone());
        let name = name.unwrap_or_else(|| destination.name.without_port().into());
        let turn = Cell::new(before.map_or(0, |before| before.turn.get()));
        let (is_used, used) = (Cell::new(true), Cell::new(now));
        Backend { name, destination, endpoints, turn, is_used, used }
    }

    /// Notes in `record` what it is.
    pub(crate) fn describe(&self, record: &mut Record) {
        record.backend = Some(self.name.clone());
        record.backend_port = match &self.destination.name {
            DestinationName::Service(_, port)
            | DestinationName::Workload(_, port)
            | DestinationName::Application(port) => Some(port.get()),
            DestinationName::Listener(_) | DestinationName::Outside(_) => None,
        };
    }

    /// What it is the backend of.
    pub(crate) fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    /// The endpoint to try next.
    ///
    /// # Errors
    /// [`ProxyError::NoEndpoint`].
    pub(crate) fn pick(&self) -> Result<&Rc<Endpoint>, ProxyError> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        self.is_used.set(true);
        let health = |index: usize| self.destination.endpoints[index].health;
        let with = |wanted: Health| {
            balance::round_robin(turn, self.endpoints.len(), |index| {
                health(index) == wanted && !self.endpoints[index].is_draining()
            })
        };
        // Nobody has heard of the unhealthy ones for a while, which does not prove that they are
        // gone; the draining ones would refuse.
        with(Health::Healthy)
            .or_else(|| with(Health::Unhealthy))
            .map(|index| &self.endpoints[index])
            .ok_or_else(|| ProxyError::NoEndpoint { backend: self.name.to_string() })
    }

    /// Closes connections that were idle for too long, or that the other side has closed.
    fn sweep(&self, now: Moment) {
        if self.is_used.take() {
            self.used.set(now);
        }
        self.endpoints.iter().for_each(|endpoint| endpoint.sweep(now));
    }
}

/// The backends that a worker has used.
#[derive(Default)]
pub(crate) struct Backends {
    known: RefCell<HashMap<DestinationName, Rc<Backend>>>,
}

impl Backends {
    /// The backend for `destination`.
    pub(crate) fn of(&self, destination: &Arc<Destination>, now: Moment) -> Rc<Backend> {
        let mut known = self.known.borrow_mut();
        let before = known.get(&destination.name);
        if let Some(backend) = before
            && Arc::ptr_eq(&backend.destination, destination)
        {
            return backend.clone();
        }
        let backend = Backend::new(destination.clone(), before.map(|before| &**before), now);
        let backend = Rc::new(backend);
        if matches!(destination.name, DestinationName::Outside(_)) {
            return backend; // There is no end to these.
        }
        known.insert(destination.name.clone(), backend.clone());
        backend
    }

    /// Closes idle connections to peers that are not to be trusted any more.
    pub(crate) fn judge(&self, proxy: &Proxy) {
        let known = self.known.borrow();
        known.values().flat_map(|backend| &backend.endpoints).for_each(|one| one.judge(proxy));
    }

    /// Closes idle connections, and forgets backends that nobody uses any more. Returns the names
    /// of those that were used since `since`.
    pub(crate) fn sweep(&self, now: Moment, since: Moment) -> Vec<DestinationName> {
        let mut known = self.known.borrow_mut();
        known.retain(|_, backend| {
            backend.sweep(now);
            Rc::strong_count(backend) > 1 || now.since(backend.used.get()) < BACKEND_IDLE_TIMEOUT
        });
        let is_used = |backend: &Backend| backend.used.get() >= since;
        known.iter().filter(|(_, backend)| is_used(backend)).map(|(name, _)| name.clone()).collect()
    }
}
