//! One endpoint: the connections to it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use weft_decide::balance::{AtomicEwma, Load};
use weft_http::{Fields, Known};
use weft_identity::PeerFacts;
use weft_wire::tunnel::{InnerProtocol, Preface};
use weft_world::{Moment, Stream};

use crate::Proxy;
use crate::error::{ProxyError, StreamError};
use crate::exchange::Upstream;
use crate::h1::Client;
use crate::h2;
use crate::live::judge_peer;
use crate::request::{DRAINING, NOT_PROCESSED};
use crate::snapshot::{EndpointSpec, Reach, TunnelTarget};
use crate::time::{CONNECT_TIMEOUT, FRESH_FOR, HANDSHAKE_TIMEOUT, UPSTREAM_IDLE_TIMEOUT, within};
use crate::tunnel::{ClientTunnel, refusal};

/// How many idle connections to one endpoint are kept.
const IDLE_MAX: usize = 256;

/// The most connections that are opened to one endpoint at a time, where they are shared.
const DIALLING_MAX: usize = 8;

/// One address of a backend.
pub(crate) struct Endpoint {
    spec: EndpointSpec,
    idle: RefCell<Vec<Idle>>,
    /// Connections that many exchanges share.
    shared: RefCell<Vec<Shared>>,
    dialling: Cell<usize>,
    dialled: Notify,
    is_draining: Cell<bool>,
    state: Arc<State>,
    /// The workload behind it, for records.
    workload: Option<Rc<str>>,
}

struct Idle {
    connected: Connected<Box<dyn Upstream>>,
    since: Moment,
}

/// What is known of how an endpoint fares. It outlives connections, and workers may share it.
#[derive(Default)]
struct State {
    latency: AtomicEwma,
    in_flight: AtomicU32,
}

/// A request that is under way at an endpoint as long as the value lives.
pub(crate) struct InFlight {
    state: Arc<State>,
    began: Moment,
}

impl InFlight {
    /// Notes that the endpoint has answered.
    pub(crate) fn answered(&self, proxy: &Proxy) {
        let now = proxy.world.clock.now();
        self.state.latency.observe(now.since(self.began), proxy.since_start(now));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that many exchanges share.
struct Shared {
    connection: h2::client::Connection,
    peer: Option<Rc<PeerFacts>>,
    /// When it was in use for the last time, as far as it was looked at.
    used: Moment,
}

/// A connection, and what its peer can be judged by.
pub(crate) struct Connected<S> {
    pub(crate) stream: S,
    pub(crate) peer: Option<Rc<PeerFacts>>,
}

impl Endpoint {
    /// The endpoint that `spec` describes.
    pub(crate) fn new(spec: EndpointSpec) -> Endpoint {
        let (idle, is_draining, shared, dialling, dialled, state) = Default::default();
        let workload = match &spec.reach {
            Reach::Tunnel(target) => Some(target.workload.to_string().into()),
            Reach::NotInMesh(workload) => Some(workload.to_string().into()),
            Reach::Application | Reach::Plain => None,
        };
        Endpoint { spec, idle, shared, dialling, dialled, is_draining, state, workload }
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

    /// A request is on its way to it.
    pub(crate) fn begin(&self, now: Moment) -> InFlight {
        self.state.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { state: self.state.clone(), began: now }
    }

    /// The workload behind it, as `NAMESPACE/NAME`, where that is known.
    pub(crate) fn workload(&self) -> Option<Rc<str>> {
        self.workload.clone()
    }

    /// Whether it said that it is about to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// What `error`, which ended an attempt here, means for this endpoint.
    pub(crate) fn explain(&self, error: ProxyError) -> ProxyError {
        match error {
            ProxyError::UpstreamClosed { address, source: StreamError::Closed, .. }
                if self.is_secured() =>
            {
                ProxyError::TunnelEnded { address }
            }
            ProxyError::PeerDraining { .. } => {
                self.is_draining.set(true);
                error
            }
            error => error,
        }
    }

    /// Takes out of an answer what only proxies say to each other.
    ///
    /// # Errors
    /// [`ProxyError::NotProcessed`] if it says that the application did not see the request.
    pub(crate) fn heed(&self, fields: &mut Fields) -> Result<(), ProxyError> {
        if fields.known(Known::Weft).next().is_none() {
            return Ok(());
        }
        let Reach::Tunnel(target) = &self.spec.reach else {
            // It is nobody's word but the proxies'.
            fields.remove_known(|known| known == Known::Weft);
            return Ok(());
        };
        if fields.values(DRAINING).next().is_some() {
            self.is_draining.set(true);
            fields.remove(DRAINING.as_bytes());
        }
        let reason = fields.values(NOT_PROCESSED).next();
        let Some(reason) = reason.map(|reason| String::from_utf8_lossy(reason).into_owned()) else {
            return Ok(());
        };
        fields.remove(NOT_PROCESSED.as_bytes());
        let workload = target.workload.to_string();
        if reason == "draining" {
            self.is_draining.set(true);
            return Err(ProxyError::PeerDraining { workload });
        }
        Err(ProxyError::NotProcessed { workload, reason })
    }

    /// Whether the one at the other end proved to be of the mesh.
    pub(crate) fn is_secured(&self) -> bool {
        matches!(self.spec.reach, Reach::Tunnel(_))
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
        is_idempotent: bool,
    ) -> Result<Connected<Box<dyn Upstream>>, ProxyError> {
        let needs_fresh = !is_idempotent && !self.is_secured();
        let now = proxy.world.clock.now();
        while let Some(mut idle) = self.take_idle() {
            if needs_fresh && now.since(idle.since) >= FRESH_FOR {
                self.idle.borrow_mut().push(idle); // The others are older still.
                break;
            }
            // No waker is needed: the answer is what the last look at the socket said.
            let broken = idle.connected.stream.poll_broken(&mut Context::from_waker(Waker::noop()));
            if broken.is_pending() {
                return Ok(idle.connected);
            }
        }
        let Connected { stream, peer } = self.dial(proxy, InnerProtocol::Http1).await?;
        Ok(Connected { stream: Box::new(Client::new(stream)), peer })
    }

    /// A place for one exchange on a connection of HTTP/2, which it shares with others.
    ///
    /// # Errors
    /// [`ProxyError`] where none is to be had; nothing was sent then.
    pub(crate) async fn http2(
        &self,
        proxy: &Proxy,
    ) -> Result<Connected<Box<dyn Upstream>>, ProxyError> {
        let mut has_waited = false;
        loop {
            if let Some(connected) = self.place() {
                return Ok(connected);
            }
            // The first one dials for all that come meanwhile; if that fails, several try.
            if self.dialling.get() >= if has_waited { DIALLING_MAX } else { 1 } {
                self.dialled.notified().await;
                has_waited = true;
                continue;
            }
            let _dialling = Dialling::new(self);
            let Connected { stream, peer } = self.dial(proxy, InnerProtocol::Http2).await?;
            let pings =
                if self.is_secured() { h2::client::Pings::Sent } else { h2::client::Pings::None };
            let (address, clock) = (self.spec.address, proxy.world.clock.clone());
            let (connection, driver) =
                h2::client::connect(stream, clock, pings).await.map_err(|source| {
                    ProxyError::UpstreamClosed { address, was_reused: false, source }
                })?;
            proxy.spawn(driver);
            let used = proxy.world.clock.now();
            self.shared.borrow_mut().push(Shared { connection, peer, used });
        }
    }

    /// A place on one of the connections that are there.
    fn place(&self) -> Option<Connected<Box<dyn Upstream>>> {
        let mut shared = self.shared.borrow_mut();
        shared.retain_mut(|shared| shared.connection.is_usable());
        let mut usable = shared.iter_mut();
        let free =
            usable.find_map(|shared| (shared.connection.capacity() > 0).then_some(shared))?;
        let stream: Box<dyn Upstream> = Box::new(free.connection.open().ok()?);
        Some(Connected { stream, peer: free.peer.clone() })
    }

    /// Keeps a connection for later if it can be used again.
    pub(crate) fn give_back(&self, connected: Connected<Box<dyn Upstream>>, now: Moment) {
        let mut idle = self.idle.borrow_mut();
        if connected.stream.is_reusable() && idle.len() < IDLE_MAX {
            idle.push(Idle { connected, since: now });
        }
    }

    /// A new connection, through a tunnel where there is one. Nothing of it may be flushed yet.
    ///
    /// # Errors
    /// [`ProxyError`] where none is to be had.
    pub(crate) async fn dial(
        &self,
        proxy: &Proxy,
        protocol: InnerProtocol,
    ) -> Result<Connected<Box<dyn Stream>>, ProxyError> {
        let address = self.spec.address;
        let clock = &*proxy.world.clock;
        let network = match &self.spec.reach {
            Reach::NotInMesh(workload) => {
                return Err(ProxyError::PeerNotInMesh { workload: workload.to_string() });
            }
            Reach::Application => &proxy.inside,
            Reach::Plain | Reach::Tunnel(_) => &proxy.world.network,
        };
        let socket = within(clock, CONNECT_TIMEOUT, network.connect(address))
            .await
            .ok_or(ProxyError::ConnectTimeout { address })?
            .map_err(|source| ProxyError::Connect { address, source })?;
        let Reach::Tunnel(target) = &self.spec.reach else {
            return Ok(Connected { stream: socket, peer: None });
        };
        within(clock, HANDSHAKE_TIMEOUT, self.open_tunnel(proxy, socket, target, protocol))
            .await
            .ok_or(ProxyError::HandshakeTimeout { address })?
    }

    async fn open_tunnel(
        &self,
        proxy: &Proxy,
        socket: Box<dyn Stream>,
        target: &TunnelTarget,
        protocol: InnerProtocol,
    ) -> Result<Connected<Box<dyn Stream>>, ProxyError> {
        let address = self.spec.address;
        let tls = proxy.tls.as_ref().ok_or(ProxyError::NoIdentity { address })?;
        let name = target.service.as_ref().map(|service| {
            format!("{}.{}.{}.svc", target.port, service.name(), service.namespace())
        });
        let secured = tls
            .connect(socket, name.as_deref())
            .await
            .map_err(|source| ProxyError::Handshake { address, source })?;
        if secured.peer != target.identity {
            let (expected, found) = (Box::new(target.identity.clone()), Box::new(secured.peer));
            return Err(ProxyError::WrongPeer { address, expected, found });
        }
        let preface = Preface {
            workload: target.workload.to_string(),
            generation: target.generation,
            service: target.service.as_ref().map(ToString::to_string).unwrap_or_default(),
            target_address: Vec::new(),
            target_port: u32::from(target.port.get()),
            protocol: protocol.into(),
        };
        let mut tunnel = ClientTunnel::open(secured.stream, &preface)
            .await
            .map_err(|source| ProxyError::Connect { address, source })?;
        if protocol == InnerProtocol::Opaque {
            // Bytes that cannot be sent again must not leave before somebody has taken them.
            tunnel.opened().await.map_err(|error| {
                let broke = |source| ProxyError::UpstreamBroke { address, source };
                self.explain(refusal(StreamError::Io(error)).unwrap_or_else(broke))
            })?;
        }
        let peer = secured.facts.map(Rc::new);
        Ok(Connected { stream: Box::new(tunnel), peer })
    }

    /// The connection used last: the others age and are closed.
    fn take_idle(&self) -> Option<Idle> {
        self.idle.borrow_mut().pop()
    }

    /// Closes idle connections to peers that are not to be trusted any more.
    pub(crate) fn judge(&self, proxy: &Proxy) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| judge_peer(proxy, idle.connected.peer.as_deref()).is_ok());
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| judge_peer(proxy, shared.peer.as_deref()).is_ok());
    }

    pub(crate) fn sweep(&self, now: Moment) {
        let mut cx = Context::from_waker(Waker::noop());
        self.idle.borrow_mut().retain_mut(|idle| {
            now.since(idle.since) < UPSTREAM_IDLE_TIMEOUT
                && idle.connected.stream.poll_broken(&mut cx).is_pending()
        });
        self.shared.borrow_mut().retain_mut(|shared| {
            if shared.connection.open_count() > 0 {
                shared.used = now;
            }
            shared.connection.is_usable() && now.since(shared.used) < UPSTREAM_IDLE_TIMEOUT
        });
    }
}

/// Counts a connection that is being opened.
struct Dialling<'e>(&'e Endpoint);

impl<'e> Dialling<'e> {
    fn new(endpoint: &'e Endpoint) -> Dialling<'e> {
        endpoint.dialling.set(endpoint.dialling.get() + 1);
        Dialling(endpoint)
    }
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.0.dialling.set(self.0.dialling.get() - 1);
        self.0.dialled.notify_waiters();
    }
}
