//! One endpoint: the connections to it.

mod attempted;
mod dial;
mod http1;
mod http2;

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use weft_decide::adaptive::AdaptiveLimit;
use weft_decide::balance::{Load, slow_start};
use weft_decide::eject::{Ejector, Roster, Standing, Terms};
use weft_decide::limits::{self, LimitReached};
use weft_http::{Fields, HeadLimits, Known};
use weft_identity::{OriginationError, TlsClient, refused_later};
use weft_model::{BackendTimeouts, Limits, TlsOrigination};
use weft_world::Moment;

use crate::Proxy;
use crate::backend::counts::Place;
use crate::backend::dialling::Turns;
use crate::backend::sharing::Sharing;
use crate::error::{ProxyError, StreamError};
use crate::exchange::Upstream;
use crate::live::{Peer, judge_peer};
use crate::mux;
use crate::request::{DRAINING, NOT_PROCESSED, REASON, RETRIED};
use crate::snapshot::{EndpointSpec, Reach};
use crate::time::APPLICATION_IDLE_TIMEOUT;

pub(crate) use self::attempted::Attempted;
use self::attempted::State;
use self::http2::Http2;

/// How many idle connections to one endpoint are kept.
const IDLE_MAX: usize = 256;

/// For how long an endpoint that is about to end is left out, unless there is no other. Then one
/// request finds out whether it is back: a proxy may start again where it was, and without a
/// control plane nobody else would say so.
const DRAINING_FOR: Duration = Duration::from_secs(5);

/// One address of a backend.
pub(crate) struct Endpoint {
    spec: EndpointSpec,
    idle: RefCell<Vec<Idle>>,
    /// Tunnels that carry many connections of HTTP/1.1.
    tunnels: Sharing<mux::client::Connection>,
    /// Connections of HTTP/2.
    shared: Sharing<Http2>,
    /// How many of those who would open one wait until there may be one more.
    blocked: Cell<usize>,
    /// Who may open a tunnel or TLS, whatever is spoken in it.
    turns: Turns,
    /// What opens TLS to it, where it is reached by that.
    tls: OnceCell<Box<TlsClient>>,
    /// Until when it is taken at its word that it is about to end.
    draining_until: Cell<Option<Moment>>,
    /// The number of its last turn; 0 before the first.
    pub(crate) turn: Cell<u64>,
    /// Whether it was told that it is ejected.
    is_ejected: Cell<bool>,
    /// Whether it is no endpoint of its backend any more.
    is_retired: Cell<bool>,
    /// Since when it may be called, where that was not always so.
    callable_since: Cell<Option<Moment>>,
    state: State,
    /// How much may be under way there, as its latency says.
    adaptive: Cell<AdaptiveLimit>,
    /// The workload behind it, for records.
    workload: Option<Rc<str>>,
}

struct Idle {
    connected: Connected<Box<dyn Upstream>>,
    since: Moment,
}

/// A connection, and what its peer can be judged by.
pub(crate) struct Connected<S> {
    pub(crate) stream: S,
    pub(crate) peer: Option<Rc<Peer>>,
    /// Its place among those that the backend may have.
    pub(crate) place: Option<Place>,
    /// From when on it takes nothing new, where there is such a moment.
    pub(crate) until: Option<Moment>,
    /// What counts a stream of bytes as under way at its endpoint. Only these have it.
    pub(crate) attempted: Option<Box<Attempted>>,
}

impl<S> Connected<S> {
    /// A connection whose peer has proved nothing that it could be judged by again.
    fn unproved(stream: S) -> Connected<S> {
        Connected { stream, peer: None, place: None, until: None, attempted: None }
    }

    /// The same connection, of which `change` makes something else.
    pub(crate) fn map<T>(self, change: impl FnOnce(S) -> T) -> Connected<T> {
        let Connected { stream, peer, place, until, attempted } = self;
        Connected { stream: change(stream), peer, place, until, attempted }
    }

    /// Whether it is so old at `now` that it takes nothing new.
    fn is_old(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}

impl Endpoint {
    /// The endpoint that `spec` describes.
    pub(crate) fn new(spec: EndpointSpec, roster: &Arc<Roster>) -> Endpoint {
        let (idle, draining_until, turn, is_ejected, is_retired) = Default::default();
        let (turns, tls, tunnels, shared, blocked, callable_since) = Default::default();
        let (latency, in_flight, window) = Default::default();
        let state = State { latency, in_flight, ejector: Ejector::new(roster.clone()), window };
        let workload = match &spec.reach {
            Reach::Tunnel(target) => Some(target.workload.to_string().into()),
            Reach::NotInMesh(workload) => Some(workload.to_string().into()),
            Reach::Application | Reach::Plain | Reach::Tls(_) => None,
        };
        Endpoint {
            spec,
            idle,
            tunnels,
            shared,
            blocked,
            turns,
            tls,
            draining_until,
            turn,
            is_ejected,
            is_retired,
            callable_since,
            state,
            adaptive: Cell::default(),
            workload,
        }
    }

    /// Whether it is the one that `spec` describes: where it runs and how it fares may change.
    pub(crate) fn is(&self, spec: &EndpointSpec) -> bool {
        self.spec.address == spec.address && self.spec.reach == spec.reach
    }

    /// Its address, or that of the proxy in front of it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.spec.address
    }

    /// Notes that it may be called from `now` on, and could not before.
    pub(crate) fn is_callable_from(&self, now: Moment) {
        self.callable_since.set(Some(now));
    }

    /// The share of its part that it gets, where that grows over `window`.
    pub(crate) fn share(&self, window: Duration, now: Moment) -> f64 {
        let age = self.callable_since.get().map(|since| now.since(since));
        age.map_or(1.0, |age| slow_start::share(window, age))
    }

    /// How many requests are under way.
    pub(crate) fn in_flight(&self) -> u32 {
        self.state.in_flight.load(Ordering::Relaxed)
    }

    /// Whether one more request, or stream of bytes, may go there.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub(crate) fn room(&self, limits: &Limits) -> Result<(), LimitReached> {
        limits::endpoint(limits, self.in_flight(), &self.adaptive.get())
    }

    /// Has what its latency lets be there follow from an answer that took `took`.
    fn adapt(&self, limits: &Limits, took: Duration, now: Duration) {
        let Some(tolerance) = limits.adaptive_tolerance else { return };
        let mut adaptive = self.adaptive.get();
        adaptive.observe(tolerance, limits.requests.get(), took, self.in_flight(), now);
        self.adaptive.set(adaptive);
    }

    /// How much is waiting, `now` counted from the start.
    pub(crate) fn load(&self, now: Duration) -> Load {
        self.state.latency.load(now, self.in_flight())
    }

    /// Whether it may be chosen.
    pub(crate) fn standing(&self, terms: &Terms) -> Standing {
        self.state.ejector.standing(terms)
    }

    /// An attempt is on its way to it.
    pub(crate) fn attempt(self: &Rc<Endpoint>, terms: Terms, now: Moment) -> Attempted {
        self.state.in_flight.fetch_add(1, Ordering::Relaxed);
        if self.draining_until.get().is_some() {
            // This attempt finds out; others stay away meanwhile.
            self.draining_until.set(Some(now + DRAINING_FOR));
        }
        let ticket = self.state.ejector.admit(&terms);
        Attempted { endpoint: self.clone(), terms, ticket, began: now, is_told: false }
    }

    /// The workload behind it, as `NAMESPACE/NAME`, where that is known.
    pub(crate) fn workload(&self) -> Option<Rc<str>> {
        self.workload.clone()
    }

    /// Whether it said lately that it is about to end.
    pub(crate) fn is_draining(&self, now: Moment) -> bool {
        self.draining_until.get().is_some_and(|until| now < until)
    }

    /// Notes that it says that it is about to end.
    fn drains(&self, proxy: &Proxy) {
        self.draining_until.set(Some(proxy.world.clock.now() + DRAINING_FOR));
    }

    /// What `error`, which ended an attempt here, means for this endpoint.
    pub(crate) fn explain(&self, proxy: &Proxy, error: ProxyError) -> ProxyError {
        if let ProxyError::UpstreamClosed { source: StreamError::Io(source), .. } = &error
            && let Reach::Tls(settings) = &self.spec.reach
            && let Some(refused) = refused_later(source, settings)
        {
            let error = self.no_tls(settings, refused);
            self.turns.failed(&error, self.spec.address);
            return error;
        }
        match error {
            ProxyError::UpstreamClosed { address, source: StreamError::Closed, .. }
                if self.is_secured() =>
            {
                ProxyError::TunnelEnded { address }
            }
            ProxyError::UpstreamClosed { ref source, .. } if source.is_no_room() => {
                let workload = self.workload.as_deref().unwrap_or_default().to_owned();
                ProxyError::NotProcessed { workload, reason: "overload".to_owned() }
            }
            ProxyError::PeerDraining { .. } => {
                self.drains(proxy);
                error
            }
            ProxyError::TunnelRefused { .. } => {
                self.turns.failed(&error, self.spec.address);
                error
            }
            error => error,
        }
    }

    /// Takes out of an answer what only proxies say to each other.
    ///
    /// # Errors
    /// [`ProxyError::NotProcessed`] if it says that the application did not see the request.
    pub(crate) fn heed(&self, proxy: &Proxy, fields: &mut Fields) -> Result<(), ProxyError> {
        if fields.known(Known::Weft).next().is_none() {
            self.draining_until.set(None);
            return Ok(());
        }
        let Reach::Tunnel(target) = &self.spec.reach else {
            // It is nobody's word but the proxies'. That nobody is to ask again may be handed on by
            // whoever was told so: the most that it does is to have a failure end there.
            let is_retried = fields.values(RETRIED).next().is_some();
            fields.remove_known(|known| known == Known::Weft);
            if is_retried {
                fields.set(RETRIED, b"1");
            }
            return Ok(());
        };
        if fields.values(DRAINING).next().is_some() {
            self.drains(proxy);
            fields.remove(DRAINING.as_bytes());
        }
        let reason = fields.values(NOT_PROCESSED).next();
        let Some(reason) = reason.map(|reason| String::from_utf8_lossy(reason).into_owned()) else {
            return Ok(());
        };
        fields.remove(NOT_PROCESSED.as_bytes());
        let workload = target.workload.to_string();
        if reason == "draining" {
            self.drains(proxy);
            return Err(ProxyError::PeerDraining { workload });
        }
        Err(ProxyError::NotProcessed { workload, reason })
    }

    /// Whether an answer is its proxy's own, since the application failed before it answered.
    ///
    /// Of the application's answers, that proxy has taken out what would say so.
    pub(crate) fn says_failed(&self, fields: &Fields) -> bool {
        let is_of_application = |reason: &[u8]| reason.starts_with(b"upstream-");
        self.is_secured() && fields.values(REASON).any(is_of_application)
    }

    /// That there is no TLS to it by `settings`, because of `source`.
    fn no_tls(&self, settings: &TlsOrigination, source: OriginationError) -> ProxyError {
        let hostname = settings.hostname.as_str().into();
        ProxyError::TlsOrigination { address: self.spec.address, hostname, source }
    }

    /// Whether opening a connection to it takes a handshake, which costs.
    fn takes_handshake(&self) -> bool {
        matches!(self.spec.reach, Reach::Tunnel(_) | Reach::Tls(_))
    }

    /// Whether the one at the other end proved to be of the mesh.
    pub(crate) fn is_secured(&self) -> bool {
        matches!(self.spec.reach, Reach::Tunnel(_))
    }

    /// How large the heads of its answers may be.
    fn head_limits(&self) -> HeadLimits {
        if self.is_secured() { HeadLimits::MESH } else { HeadLimits::OUTSIDE }
    }

    /// Keeps a connection for later if it can be used again.
    pub(crate) fn give_back(&self, connected: Connected<Box<dyn Upstream>>, now: Moment) {
        let mut idle = self.idle.borrow_mut();
        let is_good = connected.stream.is_reusable() && !connected.is_old(now);
        if is_good && idle.len() < IDLE_MAX {
            idle.push(Idle { connected, since: now });
            self.tunnels.gave_back();
        }
    }

    /// Closes the connection that is idle for the longest time, and says whether there was one.
    pub(crate) fn close_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            idle.remove(0);
            return true;
        }
        // Who waits for its place gets it now, and not once the codec has written its last frame.
        let unused = self.shared.take_out(|one| !one.is_in_use());
        unused.map(|unused| unused.place.take()).is_some()
    }

    /// The connection used last: the others age and are closed.
    fn take_idle(&self) -> Option<Idle> {
        self.idle.borrow_mut().pop()
    }

    /// Closes idle connections to peers that are not to be trusted any more.
    pub(crate) fn judge(&self, proxy: &Proxy) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| judge_peer(proxy, idle.connected.peer.as_deref()).is_ok());
        self.tunnels.judge(proxy);
        self.shared.judge(proxy);
    }

    /// Closes all idle connections, and those that are shared once nobody uses them any more.
    pub(crate) fn close_all(&self) {
        self.idle.borrow_mut().clear();
        self.tunnels.close_all();
        self.shared.close_all();
    }

    /// How long a connection to it may be unused, where `timeouts` are those of its backend.
    fn idle_limit(&self, timeouts: &BackendTimeouts) -> Duration {
        match self.spec.reach {
            Reach::Application => APPLICATION_IDLE_TIMEOUT,
            Reach::Plain | Reach::Tls(_) | Reach::Tunnel(_) | Reach::NotInMesh(_) => {
                timeouts.idle.duration()
            }
        }
    }

    /// Closes connections that were unused for too long, that are too old, or that the other side
    /// has closed. A shared one that is too old ends when its exchanges have; it counts until then,
    /// so that it goes on where there is no room for another one, which `has_room` says.
    pub(crate) fn sweep(
        &self,
        now: Moment,
        timeouts: &BackendTimeouts,
        has_room: impl Fn() -> bool,
    ) {
        let mut cx = Context::from_waker(Waker::noop());
        let limit = self.idle_limit(timeouts);
        self.idle.borrow_mut().retain_mut(|idle| {
            now.since(idle.since) < limit
                && !idle.connected.is_old(now)
                && idle.connected.stream.poll_broken(&mut cx).is_pending()
        });
        self.tunnels.sweep(now, limit, |_| true);
        self.shared.sweep(now, limit, |one| !one.is_in_use() || has_room());
    }
}
