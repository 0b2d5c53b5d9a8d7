//! A connection that a peer opened to the workload: who it is, what it wants, whether it may.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weft_decide::idle;
use weft_model::{Port, Protocol as Declared};
use weft_telemetry::{Direction, Protocol, Record};
use weft_wire::tunnel::{InnerProtocol, Preface};
use weft_world::{Accepted, Moment, Stream};

use crate::backend::Connected;
use crate::config::InboundOwn;
use crate::connection::{Connection, To, http1, http2};
use crate::error::ProxyError;
use crate::live::{Peer, judge_peer};
use crate::mux::{self, MuxStream};
use crate::overload::Pressure;
use crate::prefixed::Prefixed;
use crate::snapshot::{Own, OwnPort};
use crate::stream::Ends;
use crate::time::{HANDSHAKE_TIMEOUT, within};
use crate::tunnel::{ServerTunnel, protocol_name};
use crate::{Proxy, stream};

/// What was opened.
struct Opened {
    tunnel: ServerTunnel,
    port: Port,
    protocol: InnerProtocol,
    /// How long opaque bytes may stand still.
    idle: Duration,
}

/// Why nothing was opened, and the tunnel if its caller was told.
struct Refused {
    error: ProxyError,
    tunnel: Option<Box<ServerTunnel>>,
}

impl From<ProxyError> for Refused {
    fn from(error: ProxyError) -> Refused {
        Refused { error, tunnel: None }
    }
}

/// A connection that a peer opened to the workload.
pub(crate) async fn serve(proxy: Rc<Proxy>, own: Rc<InboundOwn>, accepted: Accepted) {
    let Accepted { stream, peer: downstream, destination } = accepted;
    // A drain waits until every tunnel has ended in order and its caller has seen that. Were the
    // proxy to end sooner, a request that the caller is just sending would be lost, and nobody
    // could tell whether it was processed.
    let _tunnel = proxy.drain.tunnel();
    let to = To::Nowhere;
    let mut connection = Connection::new(Direction::Inbound, downstream, destination, to);
    let (began, started) = (proxy.world.clock.now(), proxy.world.clock.wall());
    // A caller may take its time between proving who it is and saying what for.
    let mut watch = proxy.live.watch();
    let opening = Box::pin(open(&proxy, &own, &mut connection, stream));
    let opened = within(&*proxy.world.clock, HANDSHAKE_TIMEOUT, opening).await;
    match opened.unwrap_or_else(|| Err(ProxyError::InboundTimeout.into())) {
        Ok(Opened { tunnel, port, protocol, idle }) => {
            connection.to = To::Own((*own).clone(), port);
            let connection = Rc::new(connection);
            let serving = pin!(async {
                match protocol {
                    InnerProtocol::Http1 => {
                        if let Ok(stream) = tunnel.accept().await {
                            many(&proxy, &connection, stream).await;
                        }
                    }
                    InnerProtocol::Http2 => {
                        if let Ok(stream) = tunnel.accept().await {
                            http2(&proxy, &connection, stream).await;
                        }
                    }
                    _ => opaque(&proxy, &connection, tunnel, idle).await,
                }
            });
            let judge = || judge_peer(&proxy, connection.facts.as_ref());
            // What was under way is recorded as it is dropped.
            if let Err(error) = watch.over(judge, serving).await {
                let record = connection.record(Protocol::Unknown, started);
                fail(&proxy, record, &error, began);
            }
        }
        Err(Refused { error, tunnel }) => {
            let record = connection.record(Protocol::Unknown, started);
            fail(&proxy, record, &error, began);
            if let Some(tunnel) = tunnel {
                linger(&proxy, *tunnel).await;
            }
        }
    }
}

/// Serves the connections of HTTP/1.1 that a tunnel carries, each in a task of its own.
async fn many(proxy: &Rc<Proxy>, connection: &Rc<Connection>, mut tunnel: Prefixed) {
    // The caller waits for the word that it was accepted.
    if poll_fn(|cx| tunnel.poll_flush(cx)).await.is_err() {
        return;
    }
    let handle = |stream: MuxStream| {
        let (proxy, connection) = (proxy.clone(), connection.clone());
        // It takes as much memory as a connection does, but for the socket. It is counted before
        // its task has its turn, or as many as come at a time would be taken.
        let Some(held) = Held::new(&proxy) else {
            let record = connection.record(Protocol::Unknown, proxy.world.clock.wall());
            fail(&proxy, record, &ProxyError::Overload, proxy.world.clock.now());
            stream.refuse();
            return None;
        };
        Some(async move {
            let _held = held;
            let serving = pin!(http1(&proxy, &connection, Prefixed::new(Box::new(stream))));
            // Whether the tunnel may go on is judged for all. But each looks whether to drain.
            let _ = proxy.live.watch().over(|| Ok(()), serving).await;
        })
    };
    let drain = proxy.drain.started();
    let (clock, started) = (&*proxy.world.clock, proxy.world.clock.wall());
    let stream = Box::new(tunnel);
    if let Some(error) = mux::server::serve(stream, clock, &proxy.windows, drain, handle).await {
        // Its exchanges have their own records.
        let record = connection.record(Protocol::Unknown, started);
        fail(proxy, record, &ProxyError::BadTunnel(error), clock.now());
    }
}

/// A stream that is counted as a connection as long as the value lives.
struct Held(Rc<Proxy>);

impl Held {
    /// One more, if there is room for it.
    fn new(proxy: &Rc<Proxy>) -> Option<Held> {
        (!proxy.is_full()).then(|| {
            proxy.connections.set(proxy.connections.get() + 1);
            Held(proxy.clone())
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

/// Waits for the caller to read why its tunnel was refused, and to end it.
async fn linger(proxy: &Proxy, mut tunnel: ServerTunnel) {
    // A caller that never closes must not keep a connection that is over.
    let _ = within(&*proxy.world.clock, HANDSHAKE_TIMEOUT, tunnel.linger()).await;
}

/// Records a connection that `error` ended.
fn fail(proxy: &Proxy, mut record: Record, error: &ProxyError, began: Moment) {
    record.reason = Some(error.verdict().reason);
    record.detail = error.to_string();
    record.duration = proxy.world.clock.now().since(began);
    proxy.recorder.finish(&record);
}

/// Finds out who calls and what for, and refuses what is not to be had here.
async fn open(
    proxy: &Proxy,
    own: &InboundOwn,
    connection: &mut Connection,
    socket: Box<dyn Stream>,
) -> Result<Opened, Refused> {
    let address = connection.destination;
    let tls = proxy.tls.as_ref().ok_or(ProxyError::NoIdentity { address })?;
    let changes = proxy.live.changes();
    let secured = tls.accept(socket).await.map_err(ProxyError::InboundHandshake)?;
    connection.peer = Some(Rc::new(secured.peer));
    connection.facts = secured.facts.map(|facts| Peer::new(facts, changes));
    let mut tunnel = ServerTunnel::new(secured.stream);
    let preface = tunnel.preface().await?;
    let admitted = if proxy.drain.is_on() {
        Err(ProxyError::Draining)
    } else if proxy.pressure() > Pressure::None {
        Err(ProxyError::Overload)
    } else {
        current(proxy, own).and_then(|own| admit(&own, &preface))
    };
    match admitted {
        Ok((port, _)) => {
            let told = (preface.idle_ms > 0).then(|| Duration::from_millis(preface.idle_ms));
            let (protocol, idle) = (preface.protocol(), idle::at_server(told));
            Ok(Opened { tunnel, port, protocol, idle })
        }
        Err(error) => {
            // The caller may be gone already; the record says what was wrong in any case.
            let tunnel = tunnel.refuse(&error).await.is_ok().then(|| Box::new(tunnel));
            Err(Refused { error, tunnel })
        }
    }
}

/// The own workload as it is known now.
pub(crate) fn current(proxy: &Proxy, own: &InboundOwn) -> Result<Arc<Own>, ProxyError> {
    match own {
        InboundOwn::Fixed(own) => Ok(own.clone()),
        InboundOwn::Discovered => {
            let pending = || ProxyError::PolicyPending { missing: "the own workload".to_owned() };
            proxy.configuration.load().own.clone().ok_or_else(pending)
        }
    }
}

/// The port of the application as it is known now.
pub(crate) fn own_port(proxy: &Proxy, own: &InboundOwn, port: Port) -> Result<OwnPort, ProxyError> {
    let own = current(proxy, own)?;
    let found = own.ports.get(&port).cloned();
    found
        .ok_or_else(|| ProxyError::UnknownPort { workload: own.name.to_string(), port: port.get() })
}

/// Decides whether this proxy is the one that `preface` means, and has what it wants.
pub(crate) fn admit(own: &Own, preface: &Preface) -> Result<(Port, OwnPort), ProxyError> {
    let Own { name, generation, before, ports, .. } = own;
    let workload = name.to_string();
    let is_own = preface.generation == *generation || Some(preface.generation) == *before;
    if preface.workload != workload || !is_own {
        let wanted = format!("{}, generation {}", preface.workload, preface.generation);
        let found = format!("{workload}, generation {generation}");
        return Err(ProxyError::NotMe { wanted, found });
    }
    let number = preface.port().map_err(ProxyError::Preface)?;
    let port = Port::new(number).ok();
    let found = port.and_then(|port| Some((port, ports.get(&port)?.clone())));
    let (port, own_port) = found
        .ok_or_else(|| ProxyError::UnknownPort { workload: workload.clone(), port: number })?;
    let declared = own_port.application.protocol;
    let is_fine = match preface.protocol() {
        InnerProtocol::Http1 | InnerProtocol::Http2 => {
            declared.is_http() || declared == Declared::Detect
        }
        InnerProtocol::Opaque => !declared.is_http(),
        InnerProtocol::Unspecified => false,
    };
    if !is_fine {
        let wanted = protocol_name(preface.protocol());
        return Err(ProxyError::WrongProtocol { workload, port: number, wanted });
    }
    Ok((port, own_port))
}

/// Bytes for the application that are not looked into. The tunnel is accepted once the application
/// has taken the connection.
async fn opaque(proxy: &Proxy, connection: &Connection, mut tunnel: ServerTunnel, idle: Duration) {
    let clock = &proxy.world.clock;
    let began = clock.now();
    let _busy = proxy.drain.busy();
    let mut record = connection.record(Protocol::Tcp, clock.wall());
    // What changes while the application is called counts as well.
    let watch = proxy.live.watch();
    let dialled = async {
        let (port, OwnPort { application, guard }) = connection.own_port(proxy)?;
        let judged = connection.attempt(port, None);
        record.audited = guard.audited(&judged, &*proxy.recorder);
        guard.judge(&judged)?;
        let application = connection.backend_of(proxy, &application);
        application.describe(&mut record);
        let dialled = stream::dial(proxy, connection.direction, &application, &mut record).await?;
        Ok((dialled, guard))
    };
    let result = match dialled.await {
        Ok((Connected { stream: mut upstream, .. }, guard)) => match tunnel.accept().await {
            Ok(mut downstream) => {
                let judge = || connection.judge_again(proxy, &guard, None);
                let watch = watch.moving(idle);
                let mut ends = Ends { downstream: &mut downstream, upstream: &mut *upstream };
                ends.carry(proxy, &*proxy.inside, &mut record, watch, judge).await
            }
            Err(_) => Err(ProxyError::PrefaceEnded),
        },
        Err(error) => {
            // The caller may be gone already; the record says what was wrong in any case.
            if tunnel.refuse(&error).await.is_ok() {
                linger(proxy, tunnel).await;
            }
            Err(error)
        }
    };
    if let Err(error) = result {
        record.reason = Some(error.verdict().reason);
        record.detail = error.to_string();
    }
    record.duration = clock.now().since(began);
    proxy.recorder.finish(&record);
}
