//! One endpoint: the connections to it.

mod attempted;
mod dial;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use weft_decide::balance::Load;
use weft_decide::eject::{Ejector, Roster, Standing, Terms};
use weft_http::{Fields, HeadLimits, Known};
use weft_model::BackendTimeouts;
use weft_wire::tunnel::InnerProtocol;
use weft_world::Moment;

use crate::Proxy;
use crate::backend::Backend;
use crate::backend::counts::Place;
use crate::backend::dialling::{Counted, DIALLING_MAX, Dialling, Turns, again};
use crate::backend::sharing::{self, Carries, Sharing};
use crate::error::{ProxyError, StreamError};
use crate::exchange::Upstream;
use crate::h1::Client;
use crate::h2;
use crate::live::{Peer, judge_peer};
use crate::mux;
use crate::request::{DRAINING, NOT_PROCESSED, REASON};
use crate::snapshot::{EndpointSpec, Reach};
use crate::time::{APPLICATION_IDLE_TIMEOUT, FRESH_FOR};

pub(crate) use self::attempted::Attempted;
use self::attempted::State;

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
    /// Connections that many exchanges share.
    shared: RefCell<Vec<Shared>>,
    /// Who may open a tunnel, whatever is spoken in it.
    turns: Turns,
    dialling: Cell<usize>,
    dialled: Notify,
    /// How many wait for a connection that is being opened.
    waiting: Cell<usize>,
    /// How often opening one has failed, and why it did so last.
    failures: Cell<u64>,
    failure: RefCell<Option<ProxyError>>,
    /// Until when it is taken at its word that it is about to end.
    draining_until: Cell<Option<Moment>>,
    /// Whether it was told that it is ejected.
    is_ejected: Cell<bool>,
    state: State,
    /// The workload behind it, for records.
    workload: Option<Rc<str>>,
}

struct Idle {
    connected: Connected<Box<dyn Upstream>>,
    since: Moment,
}

/// A connection that many exchanges share.
struct Shared {
    connection: h2::client::Connection,
    peer: Option<Rc<Peer>>,
    /// When it was found in use for the last time.
    used: Moment,
    /// Whether an exchange has begun since it was last looked over.
    is_used: bool,
    /// From when on it takes no new exchange; those that are open then go on.
    until: Option<Moment>,
    /// Its place among those that the backend may have. It is free when the connection has ended,
    /// or when it is closed without exchanges, and not when it only leaves the pool.
    place: Rc<Cell<Option<Place>>>,
}

/// A connection, and what its peer can be judged by.
pub(crate) struct Connected<S> {
    pub(crate) stream: S,
    pub(crate) peer: Option<Rc<Peer>>,
    /// Its place among those that the backend may have.
    pub(crate) place: Option<Place>,
    /// From when on it takes nothing new, where there is such a moment.
    pub(crate) until: Option<Moment>,
}

impl<S> Connected<S> {
    /// The same connection, of which `change` makes something else.
    pub(crate) fn map<T>(self, change: impl FnOnce(S) -> T) -> Connected<T> {
        let Connected { stream, peer, place, until } = self;
        Connected { stream: change(stream), peer, place, until }
    }

    /// Whether it is so old at `now` that it takes nothing new.
    fn is_old(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}

impl Endpoint {
    /// The endpoint that `spec` describes.
    pub(crate) fn new(spec: EndpointSpec, roster: &Arc<Roster>) -> Endpoint {
        let (idle, draining_until, is_ejected) = Default::default();
        let (shared, dialling, dialled) = Default::default();
        let (waiting, failures, failure) = Default::default();
        let (turns, tunnels) = (Turns::default(), Sharing::default());
        let (latency, in_flight) = Default::default();
        let state = State { latency, in_flight, ejector: Ejector::new(roster.clone()) };
        let workload = match &spec.reach {
            Reach::Tunnel(target) => Some(target.workload.to_string().into()),
            Reach::NotInMesh(workload) => Some(workload.to_string().into()),
            Reach::Application | Reach::Plain => None,
        };
        Endpoint {
            spec,
            idle,
            tunnels,
            shared,
            turns,
            dialling,
            dialled,
            waiting,
            failures,
            failure,
            draining_until,
            is_ejected,
            state,
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

    /// How many requests are under way.
    pub(crate) fn in_flight(&self) -> u32 {
        self.state.in_flight.load(Ordering::Relaxed)
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
        match error {
            ProxyError::UpstreamClosed { address, source: StreamError::Closed, .. }
                if self.is_secured() =>
            {
                ProxyError::TunnelEnded { address }
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
            // It is nobody's word but the proxies'.
            fields.remove_known(|known| known == Known::Weft);
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

    /// Whether the one at the other end proved to be of the mesh.
    pub(crate) fn is_secured(&self) -> bool {
        matches!(self.spec.reach, Reach::Tunnel(_))
    }

    /// How large the heads of its answers may be.
    fn head_limits(&self) -> HeadLimits {
        if self.is_secured() { HeadLimits::MESH } else { HeadLimits::OUTSIDE }
    }

    /// A connection for one HTTP/1.1 exchange: an idle one, or a new one.
    ///
    /// A request that must not be sent twice gets a connection to an application only if that was
    /// in use a moment ago: the application may be closing an older one just now, and then nobody
    /// can tell whether it took the request.
    ///
    /// # Errors
    /// [`ProxyError`] where none is to be had; nothing was sent then.
    pub(crate) async fn http1(
        &self,
        proxy: &Proxy,
        backend: &Backend,
        is_idempotent: bool,
    ) -> Result<Connected<Box<dyn Upstream>>, ProxyError> {
        loop {
            if let Some(idle) = self.reuse(proxy, backend, is_idempotent) {
                return Ok(idle);
            }
            let Some(place) = backend.connection_place() else {
                backend.connection_freed().await?;
                continue;
            };
            let mut connected = if self.is_secured() {
                self.in_tunnel(proxy, backend).await?
            } else {
                let dialled = self.dial(proxy, backend, InnerProtocol::Http1).await?;
                dialled.map(|stream| Box::new(Client::new(stream)) as Box<dyn Upstream>)
            };
            connected.place = Some(place);
            return Ok(connected);
        }
    }

    /// A new connection of HTTP/1.1 in one of the tunnels that carry many.
    async fn in_tunnel(
        &self,
        proxy: &Proxy,
        backend: &Backend,
    ) -> Result<Connected<Box<dyn Upstream>>, ProxyError> {
        let mut hopeless = None;
        loop {
            // One that came back meanwhile is as good as a new one.
            if let Some(idle) = self.reuse(proxy, backend, true) {
                return Ok(idle);
            }
            let opened = self.tunnels.on_free(|tunnel| {
                let (stream, is_kept) = tunnel.connection.open();
                let client =
                    Client::in_tunnel(Box::new(stream), is_kept).within(self.head_limits());
                let (peer, until) = (tunnel.peer.clone(), tunnel.until);
                Connected {
                    stream: Box::new(client) as Box<dyn Upstream>,
                    peer,
                    place: None,
                    until,
                }
            });
            if let Some(connected) = opened {
                return Ok(connected);
            }
            let more =
                self.tunnels.more(self.spec.address, &mut hopeless, self.open_many(proxy, backend));
            Box::pin(more).await?;
        }
    }

    /// Opens a tunnel that carries many connections of HTTP/1.1.
    async fn open_many(
        &self,
        proxy: &Proxy,
        backend: &Backend,
    ) -> Result<sharing::Shared<mux::client::Connection>, ProxyError> {
        let dialled = self.dial(proxy, backend, InnerProtocol::Http1).await?;
        let Connected { stream, peer, until, .. } = dialled;
        let (connection, driver) = mux::client::connect(stream, proxy.world.clock.clone());
        proxy.spawn(driver);
        let used = proxy.world.clock.now();
        Ok(sharing::Shared { connection, peer, used, is_used: true, until })
    }

    /// An idle connection for a request, if there is one that is good for it.
    fn reuse(
        &self,
        proxy: &Proxy,
        backend: &Backend,
        is_idempotent: bool,
    ) -> Option<Connected<Box<dyn Upstream>>> {
        let needs_fresh = !is_idempotent && !self.is_secured();
        let now = proxy.world.clock.now();
        let limit = self.idle_limit(backend.timeouts());
        if !is_idempotent {
            // What must not be sent twice had better not meet a tunnel that has just broken. Others
            // do without: each look takes what has come out of the next batch.
            self.tunnels.look();
        }
        while let Some(mut idle) = self.take_idle() {
            if now.since(idle.since) >= limit {
                continue; // It is closed: the limit may have been another one a moment ago.
            }
            if needs_fresh && now.since(idle.since) >= FRESH_FOR {
                self.idle.borrow_mut().push(idle); // The others are older still.
                break;
            }
            // No waker is needed: the answer is what the last look at the socket said.
            let broken = idle.connected.stream.poll_broken(&mut Context::from_waker(Waker::noop()));
            if broken.is_pending() {
                return Some(idle.connected);
            }
        }
        None
    }

    /// A place for one exchange on a connection of HTTP/2, which it shares with others.
    ///
    /// # Errors
    /// [`ProxyError`] where none is to be had; nothing was sent then.
    pub(crate) async fn http2(
        &self,
        proxy: &Proxy,
        backend: &Backend,
    ) -> Result<Connected<Box<dyn Upstream>>, ProxyError> {
        let mut hopeless = None;
        loop {
            if let Some(connected) = self.place(backend) {
                return Ok(connected);
            }
            if self.dialling.get() >= self.dials_wanted() {
                let under_way = self.failures.get() + self.dialling.get() as u64;
                let hopeless = *hopeless.get_or_insert(under_way);
                let _waiting = Counted::new(&self.waiting);
                self.dialled.notified().await;
                // Who waited for dials that have all failed has failed as well: were each to dial
                // in its turn, the last one would wait for as many timeouts.
                let has_failed = self.failures.get() >= hopeless;
                let failure = self.failure.borrow();
                match &*failure {
                    Some(failure) if has_failed && !self.has_place() => {
                        return Err(again(failure, self.spec.address));
                    }
                    _ => continue,
                }
            }
            let _dialling = Dialling::new(&self.dialled, &self.dialling);
            let Some(place) = backend.connection_place() else {
                backend.connection_freed().await?;
                continue;
            };
            if let Err(error) = Box::pin(self.share(proxy, backend, place)).await {
                self.failures.set(self.failures.get() + 1);
                self.failure.replace(Some(again(&error, self.spec.address)));
                return Err(error);
            }
        }
    }

    /// Opens one more connection that many exchanges share.
    async fn share(
        &self,
        proxy: &Proxy,
        backend: &Backend,
        place: Place,
    ) -> Result<(), ProxyError> {
        let dialled = self.dial(proxy, backend, InnerProtocol::Http2).await?;
        let Connected { stream, peer, until, .. } = dialled;
        let pings =
            if self.is_secured() { h2::client::Pings::Sent } else { h2::client::Pings::None };
        let (address, clock) = (self.spec.address, proxy.world.clock.clone());
        let (connection, driver) =
            h2::client::connect_with_room(proxy.overload.room(), stream, clock, pings)
                .await
                .map_err(|source| ProxyError::UpstreamClosed {
                    address,
                    was_reused: false,
                    source,
                })?;
        let place = Rc::new(Cell::new(Some(place)));
        let held = place.clone();
        proxy.spawn(async move {
            driver.await;
            held.take();
        });
        let used = proxy.world.clock.now();
        self.shared.borrow_mut().push(Shared {
            connection: connection.within(self.head_limits()),
            peer,
            used,
            is_used: false,
            until,
            place,
        });
        Ok(())
    }

    /// How many connections are to be opened at a time: one, and one more for each full one that
    /// those who wait would make.
    fn dials_wanted(&self) -> usize {
        (1 + self.waiting.get() / h2::STREAMS_MAX as usize).min(DIALLING_MAX)
    }

    /// Whether one of the connections that are there takes another exchange.
    fn has_place(&self) -> bool {
        self.shared.borrow_mut().iter_mut().any(|shared| shared.connection.capacity() > 0)
    }

    /// A place on one of the connections that are there.
    fn place(&self, backend: &Backend) -> Option<Connected<Box<dyn Upstream>>> {
        let mut shared = self.shared.borrow_mut();
        shared.retain_mut(|shared| shared.connection.is_usable());
        let mut usable = shared.iter_mut();
        let free =
            usable.find_map(|shared| (shared.connection.capacity() > 0).then_some(shared))?;
        let stream: Box<dyn Upstream> = Box::new(free.connection.open().ok()?);
        free.is_used = true;
        let place = Some(backend.exchange_place());
        Some(Connected { stream, peer: free.peer.clone(), place, until: None })
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
        let mut shared = self.shared.borrow_mut();
        let unused = shared.iter().position(|shared| shared.connection.open_count() == 0);
        // Who waits for its place gets it now, and not once the codec has written its last frame.
        unused.map(|index| shared.remove(index).place.take()).is_some()
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
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| judge_peer(proxy, shared.peer.as_deref()).is_ok());
    }

    /// Closes all idle connections, and those that are shared once nobody uses them any more.
    pub(crate) fn close_all(&self) {
        self.idle.borrow_mut().clear();
        self.tunnels.close_all();
        self.shared.borrow_mut().clear();
    }

    /// How long a connection to it may be unused, where `timeouts` are those of its backend.
    fn idle_limit(&self, timeouts: &BackendTimeouts) -> Duration {
        match self.spec.reach {
            Reach::Application => APPLICATION_IDLE_TIMEOUT,
            Reach::Plain | Reach::Tunnel(_) | Reach::NotInMesh(_) => timeouts.idle.duration(),
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
        self.tunnels.sweep(now, limit);
        self.shared.borrow_mut().retain_mut(|shared| {
            if std::mem::take(&mut shared.is_used) || shared.connection.open_count() > 0 {
                shared.used = now;
            }
            let is_old = shared.until.is_some_and(|until| now >= until)
                && (shared.connection.open_count() == 0 || has_room());
            !is_old && shared.connection.is_usable() && now.since(shared.used) < limit
        });
    }
}

impl Carries for mux::client::Connection {
    const EXCHANGES_MAX: usize = weft_wire::mux::STREAMS_MAX;

    fn is_usable(&mut self) -> bool {
        mux::client::Connection::is_usable(self)
    }

    fn capacity(&mut self) -> usize {
        mux::client::Connection::capacity(self)
    }

    fn was_used(&mut self) -> bool {
        mux::client::Connection::was_used(self)
    }

    fn look(&self) {
        mux::client::Connection::look(self);
    }
}
