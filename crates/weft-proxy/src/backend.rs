//! Where requests go: endpoints, the connections to them, and whose turn it is.

mod blocks;
mod choice;
mod counts;
mod dialling;
mod endpoint;
mod sharing;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use weft_decide::budget::Budget;
use weft_decide::eject::{self, Bounds, Roster, Terms};
use weft_decide::failover::Tally;
use weft_decide::limits::LimitReached;
use weft_decide::locality;
use weft_model::{BackendTimeouts, Health, Locality, Port};
use weft_telemetry::metrics::Locality as At;
use weft_telemetry::{Event, Record};
use weft_world::Moment;

use crate::Proxy;
use crate::decision;
use crate::error::ProxyError;
use crate::exchange::Upstream;
use crate::outbound::of_service;
use crate::snapshot::{Destination, DestinationName, EndpointSpec};
use crate::time::BACKEND_IDLE_TIMEOUT;

use self::blocks::Blocks;
pub(crate) use self::choice::Tried;
use self::counts::{Counts, Place};
pub(crate) use self::endpoint::{Attempted, Connected, Endpoint};

/// The endpoints of a destination, with what this worker knows of them.
pub(crate) struct Backend {
    name: Rc<str>,
    destination: Arc<Destination>,
    endpoints: Vec<Rc<Endpoint>>,
    roster: Arc<Roster>,
    counts: Counts,
    budget: Arc<Budget>,
    /// How they must fare to be called, those before the others.
    callable: &'static [&'static [Health]],
    /// How far away each of them is.
    distances: Vec<locality::Reach>,
    /// The same for people, who are also told whether it is known.
    places: Vec<At>,
    /// Whether any is known to be nearer than anywhere.
    has_near: bool,
    /// When its endpoints were compared with each other for the last time.
    compared: Cell<Moment>,
    /// How many turns its endpoints have had.
    turns: Cell<u64>,
    /// What the endpoints are called in sessions, in their order; empty where there are none.
    tokens: Box<[u64]>,
    /// Whether it was used since it was last looked over.
    is_used: Cell<bool>,
    /// When it was found used for the last time.
    used: Cell<Moment>,
}

/// A backend that takes over for an attempt, which has its place there as long as the value lives.
pub(crate) struct Instead {
    pub(crate) backend: Rc<Backend>,
    /// None for a stream of bytes that has none.
    pub(crate) place: Option<Place>,
}

impl Backend {
    /// The backend for `destination` as seen from `own`, which keeps what is known from `before`.
    fn new(
        destination: Arc<Destination>,
        before: Option<&Backend>,
        own: Option<&Locality>,
        now: Moment,
    ) -> Backend {
        let known = before.map_or(&[][..], |before| &before.endpoints);
        let roster = before.map(|before| before.roster.clone()).unwrap_or_default();
        let health = |index: usize| before.map(|before| before.destination.endpoints[index].health);
        let endpoint = |spec: &EndpointSpec| {
            let same = known.iter().position(|endpoint| endpoint.is(spec));
            let endpoint = match same {
                Some(index) => known[index].clone(),
                None => Rc::new(Endpoint::new(spec.clone(), &roster)),
            };
            // Of those that were there when the backend was first used nobody knows since when.
            let could_be_called =
                before.is_none() || same.and_then(health) == Some(Health::Healthy);
            if spec.health == Health::Healthy && !could_be_called {
                endpoint.is_callable_from(now);
            }
            endpoint
        };
        let endpoints = destination.endpoints.iter().map(endpoint).collect();
        let name = before.map(|before| before.name.clone());
        let name = name.unwrap_or_else(|| destination.name.without_port().into());
        let turns = Cell::new(before.map_or(0, |before| before.turns.get()));
        let specs = &destination.endpoints;
        let distances: Vec<_> =
            specs.iter().map(|spec| locality::distance(own, spec.locality.as_ref())).collect();
        let place = |(spec, distance): (&EndpointSpec, &locality::Reach)| match distance {
            locality::Reach::Zone => At::Zone,
            locality::Reach::Region => At::Region,
            locality::Reach::All if own.is_some() && spec.locality.is_some() => At::Elsewhere,
            locality::Reach::All => At::Unknown,
        };
        let places = specs.iter().zip(&distances).map(place).collect();
        let has_near = distances.iter().any(|distance| *distance != locality::Reach::All);
        let tokens = choice::tokens(&destination);
        let is_used = Cell::new(before.is_none_or(|before| before.is_used.get()));
        let used = Cell::new(before.map_or(now, |before| before.used.get()));
        let compared = Cell::new(before.map_or(now, |before| before.compared.get()));
        let counts = before.map(|before| before.counts.clone()).unwrap_or_default();
        counts.limited(&destination.traffic.limits, !destination.name.is_own());
        let budget = before.map(|before| before.budget.clone()).unwrap_or_default();
        let callable = decision::callable(&destination);
        Backend {
            name,
            destination,
            endpoints,
            roster,
            counts,
            budget,
            callable,
            distances,
            places,
            has_near,
            compared,
            turns,
            tokens,
            is_used,
            used,
        }
    }

    /// Notes in `record` what it is.
    pub(crate) fn describe(&self, record: &mut Record) {
        record.backend = Some(self.name.clone());
        record.backend_port = self.destination.name.port().map(Port::get);
    }

    /// What it is the backend of.
    pub(crate) fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    /// How long connecting to it and idling may take.
    pub(crate) fn timeouts(&self) -> &BackendTimeouts {
        &self.destination.traffic.timeouts
    }

    /// Its name, for people.
    pub(crate) fn name(&self) -> &Rc<str> {
        &self.name
    }

    /// How much of its traffic was retries lately.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// How many of its endpoints can serve, as far as this worker knows, and not `tried` in vain.
    fn tally(&self, proxy: &Proxy, tried: &Tried) -> Tally {
        let (terms, now) = (self.terms(proxy), proxy.world.clock.now());
        let mut tally = Tally::default();
        for (endpoint, spec) in self.endpoints.iter().zip(&self.destination.endpoints) {
            let health = match spec.health {
                _ if endpoint.is_draining(now) => Health::Draining,
                Health::Healthy if tried.has(endpoint) => Health::Unhealthy,
                health => health,
            };
            tally.add(health, endpoint.standing(&terms));
        }
        tally
    }

    /// The backend that takes over from it for the next attempt, if one does, of a request that was
    /// sent to `tried` already.
    fn other(&self, proxy: &Proxy, tried: &Tried) -> Option<Rc<Backend>> {
        let failover = self.destination.traffic.failover.as_ref()?;
        if !self.tally(proxy, tried).is_too_low(failover) {
            return None;
        }
        let snapshot = proxy.configuration.load();
        let destination = decision::other(&snapshot, &self.destination)?;
        let own = snapshot.own.as_ref().and_then(|own| own.locality.as_ref());
        let other = proxy.backends.of(proxy, &destination, own);
        // Where it cannot serve either, all is as if there was none.
        other.tally(proxy, &Tried::default()).can_serve().then_some(other)
    }

    /// The same with a place there, which `place` takes.
    ///
    /// # Errors
    /// [`ProxyError::Limit`].
    pub(crate) fn instead(
        &self,
        proxy: &Proxy,
        tried: &Tried,
        place: impl FnOnce(&Backend) -> Result<Option<Place>, ProxyError>,
    ) -> Result<Option<Box<Instead>>, ProxyError> {
        let Some(backend) = self.other(proxy, tried) else { return Ok(None) };
        let place = place(&backend)?;
        Ok(Some(Box::new(Instead { backend, place })))
    }

    /// A place for one more request.
    ///
    /// # Errors
    /// [`ProxyError::Limit`].
    pub(crate) fn request_place(&self) -> Result<Place, ProxyError> {
        let place = self.counts.request(&self.destination.traffic.limits);
        place.map_err(|reached| self.overflows(reached))
    }

    /// A place for one more connection; an idle one is closed for it.
    fn connection_place(&self) -> Result<Place, LimitReached> {
        let limits = &self.destination.traffic.limits;
        self.counts.connection(limits).or_else(|reached| {
            let mut endpoints = self.endpoints.iter();
            endpoints.find(|endpoint| endpoint.close_idle()).ok_or(reached)?;
            self.counts.connection(limits)
        })
    }

    /// A place for one more stream of bytes, which has a connection of its own. Those to the own
    /// application have none: the limit is for each of the callers' proxies.
    ///
    /// # Errors
    /// [`ProxyError::Limit`].
    pub(crate) fn stream_place(&self) -> Result<Option<Place>, ProxyError> {
        if self.destination.name.is_own() {
            return Ok(None);
        }
        self.connection_place().map(Some).map_err(|reached| self.overflows(reached))
    }

    /// A place for an exchange on a connection that others share, which those are told of who wait
    /// for a connection once it is free.
    fn exchange_place(&self) -> Place {
        self.counts.exchange()
    }

    /// Waits until there may be a connection.
    async fn connection_freed(&self) -> Result<(), ProxyError> {
        let freed = self.counts.freed(&self.destination.traffic.limits).await;
        freed.map_err(|reached| self.overflows(reached))
    }

    /// A place among those who wait for a connection.
    fn pending_place(&self) -> Result<Place, ProxyError> {
        let place = self.counts.pending(&self.destination.traffic.limits);
        place.map_err(|reached| self.overflows(reached))
    }

    fn overflows(&self, reached: LimitReached) -> ProxyError {
        ProxyError::Limit { backend: self.name.to_string(), reached }
    }

    /// Keeps a connection to `endpoint` for later if it can be used again.
    pub(crate) fn give_back(
        &self,
        endpoint: &Endpoint,
        connected: Connected<Box<dyn Upstream>>,
        now: Moment,
    ) {
        endpoint.give_back(connected, now);
        self.counts.gave_back();
    }

    /// What ejection of its endpoints depends on.
    pub(crate) fn terms(&self, proxy: &Proxy) -> Terms {
        let policy = Bounds::from(&self.destination.traffic.ejection);
        let endpoints = self.endpoints.len();
        Terms { policy, endpoints, now: proxy.now() }
    }

    /// A connection to one of its endpoints was opened.
    fn opened(&self) {
        self.counts.opened();
    }

    /// Leaves out the endpoints that are worse than the others, once in each interval.
    fn compare(&self, proxy: &Proxy, now: Moment) {
        let peers = &self.destination.traffic.ejection.peers;
        if now.since(self.compared.get()) < peers.interval.duration() {
            return;
        }
        self.compared.set(now);
        let measured = self.endpoints.iter().zip(&self.distances);
        let terms = self.terms(proxy);
        let measured: Vec<_> = measured.map(|(one, distance)| one.measured(*distance)).collect();
        for (index, cause) in eject::outliers(peers, &measured) {
            self.endpoints[index].eject(proxy, &self.name, cause, &terms);
        }
    }

    /// Closes connections that were idle for too long, or that the other side has closed.
    fn sweep(&self, now: Moment) {
        if self.is_used.take() {
            self.used.set(now);
        }
        let has_room = || self.counts.has_room(&self.destination.traffic.limits);
        self.endpoints.iter().for_each(|one| one.sweep(now, self.timeouts(), has_room));
    }
}

/// The backends that a worker has used.
#[derive(Default)]
pub(crate) struct Backends {
    /// In an order of their own, so that a run can be repeated.
    known: RefCell<BTreeMap<DestinationName, Rc<Backend>>>,
    /// Those of them that are addresses of registered blocks.
    blocks: RefCell<Blocks>,
    /// Endpoints that are no more, but that requests are still under way at.
    gone: RefCell<Vec<Weak<Endpoint>>>,
}

impl Backends {
    /// The backend for `destination`.
    pub(crate) fn of(
        &self,
        proxy: &Proxy,
        destination: &Arc<Destination>,
        own: Option<&Locality>,
    ) -> Rc<Backend> {
        let now = proxy.world.clock.now();
        let mut known = self.known.borrow_mut();
        let before = known.get(&destination.name);
        if let Some(backend) = before
            && Arc::ptr_eq(&backend.destination, destination)
        {
            return backend.clone();
        }
        let backend = Backend::new(destination.clone(), before.map(|before| &**before), own, now);
        let backend = Rc::new(backend);
        if destination.name.is_unregistered() {
            return backend; // There is no end to these.
        }
        match known.insert(destination.name.clone(), backend.clone()) {
            Some(before) => self.retire(proxy, &before, &backend.endpoints),
            None => {
                let port = destination.name.port().map(Port::get);
                let (service, used) = (&*backend.name, backend.counts.used());
                proxy.recorder.note(Event::Backend { service, port, used });
                if destination.name.is_of_block() {
                    let mut blocks = self.blocks.borrow_mut();
                    blocks.add(destination.name.clone(), |name| forget(proxy, &mut known, name));
                }
            }
        }
        backend
    }

    /// Closes idle connections to the endpoints of `before` that are not among `now`.
    fn retire(&self, proxy: &Proxy, before: &Backend, now: &[Rc<Endpoint>]) {
        let mut gone = self.gone.borrow_mut();
        for endpoint in &before.endpoints {
            if !now.iter().any(|kept| Rc::ptr_eq(kept, endpoint)) {
                endpoint.retire(proxy, &before.name);
                gone.push(Rc::downgrade(endpoint));
            }
        }
    }

    /// Closes idle connections to endpoints that are no more, and to peers that are not to be
    /// trusted any more.
    pub(crate) fn follow(&self, proxy: &Proxy) {
        let snapshot = proxy.configuration.load();
        let own = snapshot.own.as_ref().and_then(|own| own.locality.as_ref());
        let names: Vec<_> = self.known.borrow().keys().cloned().collect();
        for name in names {
            let DestinationName::Service(service, port) = &name else { continue };
            match of_service(&snapshot, service, *port) {
                Ok(destination) => drop(self.of(proxy, &destination, own)),
                Err(_) => {
                    let before = self.known.borrow_mut().remove(&name);
                    before.iter().for_each(|before| self.retire(proxy, before, &[]));
                }
            }
        }
        let known = self.known.borrow();
        known.values().flat_map(|backend| &backend.endpoints).for_each(|one| one.judge(proxy));
    }

    /// Closes idle connections, leaves out endpoints that are worse than others, and forgets
    /// backends that nobody uses any more.
    pub(crate) fn sweep(&self, proxy: &Proxy, now: Moment) {
        self.gone.borrow_mut().retain(|endpoint| {
            // What comes back from the requests that are still under way there is not kept either.
            let endpoint = endpoint.upgrade();
            endpoint.iter().for_each(|endpoint| endpoint.close_all());
            endpoint.is_some()
        });
        let mut known = self.known.borrow_mut();
        known.retain(|_, backend| {
            backend.sweep(now);
            backend.compare(proxy, now);
            // What is under way counts for the limits of who comes next.
            let is_kept = Rc::strong_count(backend) > 1
                || (backend.destination.name.is_of_block() && backend.counts.has_any())
                || now.since(backend.used.get()) < BACKEND_IDLE_TIMEOUT;
            if !is_kept {
                backend.endpoints.iter().for_each(|one| one.retire(proxy, &backend.name));
            }
            is_kept
        });
        self.blocks.borrow_mut().retain(|name| known.contains_key(name));
    }
}

/// Forgets the backend `name` of those `known` unless it is used, and says whether it has.
fn forget(
    proxy: &Proxy,
    known: &mut BTreeMap<DestinationName, Rc<Backend>>,
    name: &DestinationName,
) -> bool {
    if known.get(name).is_some_and(|backend| !backend.can_be_forgotten()) {
        return false;
    }
    if let Some(backend) = known.remove(name) {
        backend.endpoints.iter().for_each(|one| one.retire(proxy, &backend.name));
    }
    true
}
