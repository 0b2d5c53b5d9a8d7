//! A connection that the workload opened: where it leads, and what is spoken on it.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use weft_model::Protocol as Declared;
use weft_model::{Address, Cidr, Network, ObjectName, Port};
use weft_telemetry::{Direction, Protocol, Record};
use weft_wire::discovery::{Lookup, Subscription};
use weft_world::{Accepted, Stream, StreamExt as _, UnixTime};

use crate::backend::Connected;
use crate::called::Calling;
use crate::config::OutboundTo;
use crate::connection::{Connection, To, http1, http2};
use crate::detect::{self, Detected, Spoken, Waits};
use crate::error::{ProxyError, StreamError};
use crate::outside::Outward;
use crate::prefixed::Prefixed;
use crate::snapshot::{
    Destination, DestinationName, EndpointSpec, Owner, Reach, ServiceView, Snapshot,
};
use crate::time::{DOWNSTREAM_IDLE_TIMEOUT, HANDSHAKE_TIMEOUT, LOOKUP_TIMEOUT, SILENCE, within};
use crate::{Proxy, outside, stream, tunnel};

/// How much of what a server says is read, in KiB, where nobody wants it any more.
const LEFT_READS_MAX: usize = 64;

/// What passes by the mesh although it was captured.
#[derive(Clone, Debug, Default)]
pub struct Excluded {
    /// Addresses.
    pub cidrs: Vec<Cidr>,
    /// Ports.
    pub ports: Vec<Port>,
}

impl Excluded {
    fn has(&self, address: SocketAddr) -> bool {
        self.ports.iter().any(|port| port.get() == address.port())
            || self.cidrs.iter().any(|block| block.contains(address.ip()))
    }
}

/// A connection that the workload opened.
pub(crate) async fn serve(proxy: Rc<Proxy>, to: Rc<OutboundTo>, accepted: Accepted) {
    let Accepted { stream, peer: downstream, destination } = accepted;
    let mut stream = Prefixed::new(stream);
    // What it takes to find out is not kept for as long as the connection lives.
    let opened = open(&proxy, &to, &mut stream, downstream, destination).await;
    let Some(Opened { connection, _calling, record, detected }) = opened else { return };
    let Detected { spoken, upstream, unneeded } = detected;
    if spoken == Spoken::Opaque {
        return stream::serve(&proxy, &connection, stream, upstream, record.take()).await;
    }
    // It has shown that the server is silent, and would occupy it for nothing.
    if upstream.is_some() || unneeded.is_some() {
        proxy.spawn(take_back(proxy.clone(), upstream, unneeded));
    }
    match spoken {
        Spoken::Http2 => http2(&proxy, &connection, stream).await,
        _ => http1(&proxy, &connection, stream).await,
    }
}

/// A connection of which it is known where it leads and what is spoken on it.
struct Opened {
    connection: Rc<Connection>,
    _calling: Calling,
    /// What there is to record of a connection to the server that was opened to find that out.
    record: Rc<Cell<Option<Record>>>,
    detected: Detected,
}

/// Finds out where `stream` leads and what is spoken on it; nothing if it ended with that.
async fn open(
    proxy: &Rc<Proxy>,
    to: &OutboundTo,
    stream: &mut Prefixed,
    downstream: SocketAddr,
    destination: SocketAddr,
) -> Option<Opened> {
    let (began, started) = (proxy.world.clock.now(), proxy.world.clock.wall());
    let (to, refused) = match lead(proxy, to, destination).await {
        Ok(to) => (to, None),
        Err(error) => (To::Nowhere, Some(error)),
    };
    let _calling = proxy.called.begin(&to, &proxy.configuration.load());
    let connection = Connection::new(Direction::Outbound, downstream, destination, to);
    let connection = Rc::new(connection);
    let record = Rc::default();
    let detected = match refused {
        None => detect(proxy, &connection, stream, started, &record).await,
        Some(error) => Err(error),
    };
    match detected {
        Ok(detected) => Some(Opened { connection, _calling, record, detected: detected? }),
        Err(error) => {
            let fresh = || connection.record(Protocol::Unknown, started);
            let mut record = record.take().unwrap_or_else(fresh);
            record.audited = connection.audited(proxy);
            record.reason = Some(error.verdict().reason);
            record.detail = error.to_string();
            record.duration = proxy.world.clock.now().since(began);
            proxy.recorder.finish(&record);
            None
        }
    }
}

/// Finds out where a connection to `destination` leads.
async fn lead(proxy: &Proxy, to: &OutboundTo, destination: SocketAddr) -> Result<To, ProxyError> {
    match to {
        OutboundTo::Fixed(destination) => Ok(To::Fixed(destination.clone())),
        OutboundTo::Service(name, port) => service(proxy, name, *port).await,
        OutboundTo::Host(host, port) => {
            let address = SocketAddr::new(destination.ip(), port.get());
            let outward = Outward::for_host(host.clone(), address);
            Ok(To::Outside(Box::new(outward)))
        }
        OutboundTo::Original(blocks) if blocks.has(destination) => {
            Ok(To::Fixed(excluded(destination)))
        }
        OutboundTo::Original(_) => address(proxy, destination).await,
    }
}

/// Finds out what is spoken on `connection`; nothing if the caller ended it. What there is to
/// record of a connection to the server that was opened for that becomes `record`.
async fn detect(
    proxy: &Rc<Proxy>,
    connection: &Rc<Connection>,
    stream: &mut Prefixed,
    started: UnixTime,
    record: &Rc<Cell<Option<Record>>>,
) -> Result<Option<Detected>, ProxyError> {
    let destination = connection.destination(proxy)?;
    let declared = destination.spoken();
    let clock = &*proxy.world.clock;
    if declared.is_http() {
        let spoken = detect::http(clock, stream, DOWNSTREAM_IDLE_TIMEOUT).await;
        return Ok(spoken.map(Detected::known));
    }
    if declared != Declared::Detect {
        return Ok(Some(Detected::known(Spoken::Opaque)));
    }
    let dial = || -> detect::Dialling {
        let (proxy, connection, outcome) = (proxy.clone(), connection.clone(), record.clone());
        Box::pin(async move {
            let mut record = connection.record(Protocol::Tcp, started);
            let dialling = async {
                let destination = connection.destination(&proxy)?;
                proxy.outside.located(&proxy, &destination).await?;
                let backend = connection.backend_of(&proxy, &destination);
                backend.describe(&mut record);
                stream::dial(&proxy, connection.direction, &backend, &mut record).await
            };
            let dialled = dialling.await;
            outcome.set(Some(record));
            dialled
        })
    };
    let broken = |error| {
        let address = connection.destination;
        let broke = |source| ProxyError::UpstreamBroke { address, source };
        tunnel::refusal(StreamError::Io(error)).unwrap_or_else(broke)
    };
    let idle = destination.traffic.timeouts.stream_idle.duration();
    let waits = Waits { silence: SILENCE, idle };
    detect::detect(clock, stream, waits, dial, broken).await.map(Some)
}

/// Ends in order what was opened in vain: left halfway, the other side would take it for a failure.
async fn take_back(
    proxy: Rc<Proxy>,
    opened: Option<Connected<Prefixed>>,
    opening: Option<detect::Dialling>,
) {
    let ending = async {
        let mut stream: Box<dyn Stream> = match (opened, opening) {
            (Some(connected), _) => Box::new(connected.stream),
            (None, Some(opening)) => opening.await.ok()?.stream,
            (None, None) => return None,
        };
        stream.close().await.ok()?;
        let mut left = [0; 1024];
        for _ in 0..LEFT_READS_MAX {
            if stream.read(&mut left).await.ok()? == 0 {
                break;
            }
        }
        Some(())
    };
    let _ = within(&*proxy.world.clock, HANDSHAKE_TIMEOUT, ending).await;
}

/// What a port of a Service is, asked for if it is not known yet.
async fn service(proxy: &Proxy, name: &ObjectName, port: Port) -> Result<To, ProxyError> {
    let is_known = |snapshot: &Snapshot| snapshot.callable.contains_key(name);
    if !is_known(&proxy.configuration.load()) {
        let answer = look(proxy, Subscription::Service(name.clone())).await;
        if !is_known(&proxy.configuration.load()) {
            let (service, why) = (name.to_string(), said(answer));
            return Err(ProxyError::ServiceUnknown { service, why });
        }
    }
    Ok(To::Service(name.clone(), port))
}

/// What has `address`, asked for if it is not known yet.
async fn address(proxy: &Proxy, address: SocketAddr) -> Result<To, ProxyError> {
    match known(&proxy.configuration.load(), address.ip()) {
        Some(Known::InMesh) => return Ok(To::Address(address)),
        Some(Known::Outside) => {
            return Ok(To::Outside(Box::new(proxy.outside.outward(proxy, address)?)));
        }
        None => {}
    }
    let wanted = Address { network: Network::default(), ip: address.ip() };
    let answer = look(proxy, Subscription::Address(wanted)).await;
    if is_known(&proxy.configuration.load(), address.ip()) {
        return Ok(To::Address(address));
    }
    Err(ProxyError::AddressUnknown { address, why: said(answer) })
}

/// What is known of an address without asking discovery.
pub(crate) enum Known {
    /// Something in the mesh has it.
    InMesh,
    /// Nothing in the mesh can have it.
    Outside,
}

/// Where a connection to `ip` leads; none if discovery is to be asked first.
pub(crate) fn known(snapshot: &Snapshot, ip: IpAddr) -> Option<Known> {
    if is_known(snapshot, ip) {
        return Some(Known::InMesh);
    }
    let may_be_inside = owns(snapshot, ip) || is_inside(snapshot, ip);
    (!may_be_inside).then_some(Known::Outside)
}

fn owns(snapshot: &Snapshot, ip: IpAddr) -> bool {
    snapshot.addresses.contains_key(&ip)
}

/// Whether it is known what has `ip`, and by which rules that is called.
fn is_known(snapshot: &Snapshot, ip: IpAddr) -> bool {
    match snapshot.addresses.get(&ip) {
        Some(Owner::Service(name)) => snapshot.callable.contains_key(name),
        Some(Owner::Workload(_)) => true,
        None => false,
    }
}

/// Whether the mesh's own ranges have `ip`.
fn is_inside(snapshot: &Snapshot, ip: IpAddr) -> bool {
    snapshot.mesh.as_ref().is_some_and(|mesh| mesh.has(ip))
}

/// What discovery answers in time.
async fn look(proxy: &Proxy, wanted: Subscription) -> Option<Lookup> {
    let discovery = proxy.discovery.as_ref()?;
    within(&*proxy.world.clock, LOOKUP_TIMEOUT, discovery.look(wanted)).await
}

/// The answer of discovery in words.
pub(crate) fn said(answer: Option<Lookup>) -> String {
    match answer {
        None => "the control plane did not answer within 2 s".to_owned(),
        Some(Lookup::Refused(reason)) => reason,
        Some(Lookup::Absent) => "there is no such thing".to_owned(),
        Some(Lookup::Found | Lookup::Waiting) => "it is not put to work yet".to_owned(),
    }
}

/// An address that passes by the mesh, as a destination.
fn excluded(address: SocketAddr) -> Arc<Destination> {
    let name = DestinationName::Outside(address);
    let endpoints = vec![EndpointSpec::new(address, Reach::Plain)];
    Arc::new(Destination::plain(name, Declared::Opaque, endpoints))
}

/// What has `address`, as it is known now.
pub(crate) fn at_address(
    snapshot: &Snapshot,
    address: SocketAddr,
) -> Result<Arc<Destination>, ProxyError> {
    let unknown = || ProxyError::AddressUnknown { address, why: "it is gone".to_owned() };
    let port = Port::new(address.port()).map_err(|_| unknown())?;
    match snapshot.addresses.get(&address.ip()).ok_or_else(unknown)? {
        Owner::Service(name) => of_called(snapshot, name, port),
        Owner::Workload(view) => view.ports.get(&port).cloned().ok_or_else(|| {
            ProxyError::UnknownPort { workload: view.name.to_string(), port: port.get() }
        }),
    }
}

/// A port of a Service that is called by its own name or address, as it is known now.
pub(crate) fn of_called(
    snapshot: &Snapshot,
    name: &ObjectName,
    port: Port,
) -> Result<Arc<Destination>, ProxyError> {
    match snapshot.closed.get(name) {
        Some(why) => {
            Err(ProxyError::ServiceUnknown { service: name.to_string(), why: why.clone() })
        }
        None => port_of(snapshot.callable.get(name), name, port),
    }
}

/// A port of a Service that a rule leads to, as it is known now.
pub(crate) fn of_service(
    snapshot: &Snapshot,
    name: &ObjectName,
    port: Port,
) -> Result<Arc<Destination>, ProxyError> {
    port_of(snapshot.services.get(name), name, port)
}

/// A port of the ExternalService `name` that a rule of what was `called` leads to, as it is known
/// now. Where it is that itself, it is what was called of it, and its own rules are done with.
pub(crate) fn of_external(
    snapshot: &Snapshot,
    called: &Destination,
    name: &ObjectName,
    port: Port,
) -> Result<Arc<Destination>, ProxyError> {
    let found = match outside::itself(called, name, port) {
        Some(itself) => itself.map(Arc::new),
        None => snapshot.externals.get(name).and_then(|view| view.ports.get(&port)).cloned(),
    };
    found.ok_or_else(|| ProxyError::NoExternalPort { service: name.to_string(), port })
}

/// A port of the Service `name`, which is `view` if it is there.
fn port_of(
    view: Option<&Arc<ServiceView>>,
    name: &ObjectName,
    port: Port,
) -> Result<Arc<Destination>, ProxyError> {
    let gone = || ProxyError::ServiceUnknown {
        service: name.to_string(),
        why: "there is no such Service".to_owned(),
    };
    let found = view.ok_or_else(gone)?.ports.get(&port).cloned();
    found.ok_or_else(|| ProxyError::NoServicePort { service: name.to_string(), port })
}
