//! Proxies on simulated hosts, with a stand-in for their TLS.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weft_identity::{
    HandshakeError, IssuerFacts, KeyHash, PeerFacts, Reason, Secured, Serial, Tls,
};
use weft_model::SpiffeId;
use weft_proxy::config::{Inbound, Outbound};
use weft_proxy::snapshot::Configuration;
use weft_proxy::{Parts, Proxy, start};
use weft_telemetry::{Record, Recorder};
use weft_world::{BoxFuture, Stream, UnixTime};

use crate::host::Host;
use crate::sealed::{Sealed, seal_client, seal_server};

/// The identities that are revoked.
pub type Revoked = Rc<RefCell<BTreeSet<SpiffeId>>>;

/// [`Tls`] by greetings: each side says who it is, and is believed.
pub struct SimTls {
    identity: SpiffeId,
    revoked: Revoked,
}

impl SimTls {
    /// The stand-in for the TLS of `identity`.
    pub fn new(identity: SpiffeId, revoked: Revoked) -> SimTls {
        SimTls { identity, revoked }
    }
}

/// The stream, if its peer greeted with an identity that is not revoked.
fn secured(sealed: Sealed, revoked: &Revoked) -> Result<Secured, HandshakeError> {
    let greeting = std::str::from_utf8(sealed.peer_hello()).ok();
    let peer: Option<SpiffeId> = greeting.and_then(|text| text.parse().ok());
    let peer = peer.ok_or_else(|| HandshakeError::Io(io::ErrorKind::InvalidData.into()))?;
    if revoked.borrow().contains(&peer) {
        return Err(HandshakeError::Io(io::ErrorKind::PermissionDenied.into()));
    }
    let facts = PeerFacts {
        identity: peer.clone(),
        serial: Serial::from_bytes(&[1]).expect("it is small"),
        not_after: UnixTime(Duration::MAX),
        issuer: Arc::new(IssuerFacts { root: KeyHash::of(b""), intermediates: Vec::new() }),
    };
    Ok(Secured { stream: Box::new(sealed), peer, facts: Some(facts) })
}

impl Tls for SimTls {
    fn connect(
        &self,
        socket: Box<dyn Stream>,
        _server_name: Option<&str>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>> {
        let (hello, revoked) = (self.identity.to_string(), self.revoked.clone());
        Box::pin(async move {
            let sealed = seal_client(socket, hello.as_bytes()).await;
            secured(sealed.map_err(HandshakeError::Io)?, &revoked)
        })
    }

    fn accept(
        &self,
        socket: Box<dyn Stream>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>> {
        let (hello, revoked) = (self.identity.to_string().into_bytes(), self.revoked.clone());
        Box::pin(async move {
            let sealed = seal_server(socket, |_| Ok(hello)).await;
            secured(sealed.map_err(HandshakeError::Io)?, &revoked)
        })
    }

    fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    fn judge(&self, peer: &PeerFacts, _now: UnixTime) -> Result<(), Reason> {
        match self.revoked.borrow().contains(&peer.identity) {
            true => Err(Reason::IdentityRevoked(peer.identity.clone())),
            false => Ok(()),
        }
    }
}

/// Puts every record on the trace, so that two runs must agree on what was recorded, and keeps it.
struct Tracer {
    host: Host,
    records: Rc<RefCell<Vec<Record>>>,
}

impl Recorder for Tracer {
    fn finish(&self, record: &Record) {
        let Record { direction, protocol, method, target, status, reason, attempts, .. } = record;
        let (sent, received) = (record.bytes_sent, record.bytes_received);
        self.host.note(format!(
            "{direction:?} {protocol:?} {method} {target}: {status} {}, {attempts} attempts, \
             {received} bytes in, {sent} bytes out, {:?}",
            reason.unwrap_or("fine"),
            record.duration,
        ));
        self.records.borrow_mut().push(record.clone());
    }
}

/// A proxy on a simulated host.
#[derive(Clone)]
pub struct SimProxy {
    host: Host,
    proxy: Rc<Proxy>,
    /// What it has recorded so far.
    pub records: Rc<RefCell<Vec<Record>>>,
}

impl SimProxy {
    /// Starts a proxy on `host`, which ends with the host. If it cannot start, the run fails.
    pub fn start(
        host: &Host,
        identity: SpiffeId,
        revoked: &Revoked,
        configuration: Arc<Configuration>,
        outbound: Vec<Outbound>,
        inbound: Vec<Inbound>,
    ) -> SimProxy {
        let (world, records) = (host.world(), Rc::<RefCell<Vec<Record>>>::default());
        let proxy = Rc::new(Proxy::new(Parts {
            inside: world.network.clone(),
            world,
            tls: Some(Rc::new(SimTls::new(identity, revoked.clone()))),
            recorder: Rc::new(Tracer { host: host.clone(), records: records.clone() }),
            configuration,
            discovery: None,
            overload: weft_proxy::Overload::default(),
        }));
        let started = proxy.clone();
        // Its tasks must be the host's own, so that a crash ends them: it starts within one.
        drop(host.spawn(async move {
            let mut running =
                start(&started, outbound, inbound).expect("the addresses are the host's");
            running.wait().await;
        }));
        SimProxy { host: host.clone(), proxy, records }
    }

    /// Drains it, as SIGTERM does, and waits until nothing is under way; nothing if the host
    /// crashes before.
    pub async fn drain(&self) {
        let proxy = self.proxy.clone();
        // What the host ends by crashing has no result.
        let _ = self.host.spawn(async move { proxy.drain().await }).await;
    }
}

/// Starts a proxy that knows nothing but what it is given, and whose peers are all to be trusted.
pub fn start_proxy(
    host: &Host,
    identity: SpiffeId,
    outbound: Vec<Outbound>,
    inbound: Vec<Inbound>,
) -> SimProxy {
    SimProxy::start(host, identity, &Revoked::default(), Arc::default(), outbound, inbound)
}
