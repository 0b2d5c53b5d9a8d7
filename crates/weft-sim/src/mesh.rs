//! Proxies on simulated hosts, with a stand-in for their TLS.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weft_identity::{
    HandshakeError, IssuerFacts, KeyHash, PeerFacts, Reason, Secured, Serial, SystemRoots, Tls,
};
use weft_model::SpiffeId;
use weft_proxy::config::{Inbound, Outbound};
use weft_proxy::snapshot::Configuration;
use weft_proxy::{Parts, Proxy, Resolver, start};
use weft_telemetry::{Event, Record, Recorder};
use weft_world::{BoxFuture, Clock, Stream, UnixTime};

use crate::host::Host;
use crate::sealed::{Sealed, seal_client, seal_server};

/// The identities that are revoked.
pub type Revoked = Rc<RefCell<BTreeSet<SpiffeId>>>;

/// What is to be known of everybody's certificates.
#[derive(Clone, Default)]
pub struct Certificates {
    /// Whose are revoked.
    pub revoked: Revoked,
    /// When those end that do not hold for ever.
    pub ends: Rc<RefCell<BTreeMap<SpiffeId, UnixTime>>>,
}

impl Certificates {
    /// That of `identity`, as of now.
    fn of(&self, identity: &SpiffeId) -> PeerFacts {
        let end = self.ends.borrow().get(identity).copied();
        PeerFacts {
            identity: identity.clone(),
            serial: Serial::from_bytes(&[1]).expect("it is small"),
            not_after: end.unwrap_or(UnixTime(Duration::MAX)),
            issuer: Arc::new(IssuerFacts { root: KeyHash::of(b""), intermediates: Vec::new() }),
        }
    }

    fn judge(&self, peer: &PeerFacts, now: UnixTime) -> Result<(), Reason> {
        let PeerFacts { identity, not_after, .. } = peer;
        if self.revoked.borrow().contains(identity) {
            return Err(Reason::IdentityRevoked(identity.clone()));
        }
        if now > *not_after {
            return Err(Reason::Expired { identity: identity.clone(), not_after: *not_after });
        }
        Ok(())
    }
}

/// [`Tls`] by greetings: each side says who it is, and is believed.
pub struct SimTls {
    identity: SpiffeId,
    certificates: Certificates,
    clock: Rc<dyn Clock>,
}

impl SimTls {
    /// The stand-in for the TLS of `identity`.
    pub fn new(identity: SpiffeId, certificates: Certificates, clock: Rc<dyn Clock>) -> SimTls {
        SimTls { identity, certificates, clock }
    }

    /// What makes of a stream one whose peer greeted with an identity that is to be trusted.
    fn secured(&self) -> impl FnOnce(Sealed) -> Result<Secured, HandshakeError> + use<> {
        let (certificates, clock) = (self.certificates.clone(), self.clock.clone());
        move |sealed| {
            let greeting = std::str::from_utf8(sealed.peer_hello()).ok();
            let peer: Option<SpiffeId> = greeting.and_then(|text| text.parse().ok());
            let peer = peer.ok_or_else(|| HandshakeError::Io(io::ErrorKind::InvalidData.into()))?;
            let facts = certificates.of(&peer);
            if certificates.judge(&facts, clock.wall()).is_err() {
                return Err(HandshakeError::Io(io::ErrorKind::PermissionDenied.into()));
            }
            Ok(Secured { stream: Box::new(sealed), peer, facts: Some(facts) })
        }
    }
}

impl Tls for SimTls {
    fn connect(
        &self,
        socket: Box<dyn Stream>,
        _server_name: Option<&str>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>> {
        let (hello, secured) = (self.identity.to_string(), self.secured());
        Box::pin(async move {
            let sealed = seal_client(socket, hello.as_bytes()).await;
            secured(sealed.map_err(HandshakeError::Io)?)
        })
    }

    fn accept(
        &self,
        socket: Box<dyn Stream>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>> {
        let (hello, secured) = (self.identity.to_string().into_bytes(), self.secured());
        Box::pin(async move {
            let sealed = seal_server(socket, |_| Ok(hello)).await;
            secured(sealed.map_err(HandshakeError::Io)?)
        })
    }

    fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    fn judge(&self, peer: &PeerFacts, now: UnixTime) -> Result<(), Reason> {
        self.certificates.judge(peer, now)
    }
}

/// Puts every record on the trace, so that two runs must agree on what was recorded, and keeps it.
struct Tracer {
    host: Host,
    records: Rc<RefCell<Vec<Record>>>,
    mirrored: Rc<RefCell<Vec<(String, &'static str)>>>,
    ejected: Rc<Cell<Ejected>>,
}

/// How many endpoints a proxy leaves out since they failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ejected {
    /// Now.
    pub now: usize,
    /// At most, at any moment so far.
    pub most: usize,
    /// How often it left one out.
    pub times: usize,
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

    fn note(&self, event: Event<'_>) {
        let Ejected { now, most, times } = self.ejected.get();
        match event {
            Event::Mirrored { service, outcome } => {
                self.host.note(format!("a copy for {service}: {outcome}"));
                self.mirrored.borrow_mut().push((service.to_owned(), outcome));
            }
            Event::Ejected { service, cause } => {
                self.host.note(format!("an endpoint of {service} is ejected: {cause}"));
                let now = now + 1;
                self.ejected.set(Ejected { now, most: most.max(now), times: times + 1 });
            }
            Event::Readmitted(service) => {
                self.host.note(format!("an endpoint of {service} is no longer ejected"));
                self.ejected.set(Ejected { now: now - 1, most, times });
            }
            _ => {}
        }
    }
}

/// A proxy on a simulated host.
#[derive(Clone)]
pub struct SimProxy {
    host: Host,
    proxy: Rc<Proxy>,
    /// What it has recorded so far.
    pub records: Rc<RefCell<Vec<Record>>>,
    /// What became of copies so far: where each was for, and `answered` or the reason.
    pub mirrored: Rc<RefCell<Vec<(String, &'static str)>>>,
    /// How many endpoints of all its backends it leaves out.
    pub ejected: Rc<Cell<Ejected>>,
}

impl SimProxy {
    /// Starts a proxy on `host`, which ends with the host. If it cannot start, the run fails.
    pub fn start(
        host: &Host,
        identity: SpiffeId,
        certificates: &Certificates,
        configuration: Arc<Configuration>,
        outbound: Vec<Outbound>,
        inbound: Vec<Inbound>,
    ) -> SimProxy {
        let listeners = (outbound, inbound);
        SimProxy::start_with(host, identity, certificates, configuration, listeners, None)
    }

    /// The same with these listeners, outbound and inbound, for one that asks `resolver` where
    /// hosts outside are.
    pub fn start_with(
        host: &Host,
        identity: SpiffeId,
        certificates: &Certificates,
        configuration: Arc<Configuration>,
        (outbound, inbound): (Vec<Outbound>, Vec<Inbound>),
        resolver: Option<Rc<dyn Resolver>>,
    ) -> SimProxy {
        let (world, records) = (host.world(), Rc::<RefCell<Vec<Record>>>::default());
        let (mirrored, ejected) = (Rc::<RefCell<Vec<_>>>::default(), Rc::default());
        let tracer = Tracer {
            host: host.clone(),
            records: records.clone(),
            mirrored: mirrored.clone(),
            ejected: Rc::clone(&ejected),
        };
        let tls = SimTls::new(identity, certificates.clone(), world.clock.clone());
        let proxy = Rc::new(Proxy::new(Parts {
            inside: world.network.clone(),
            world,
            tls: Some(Rc::new(tls)),
            system_roots: SystemRoots::default(),
            recorder: Rc::new(tracer),
            configuration,
            discovery: None,
            resolver,
            overload: weft_proxy::Overload::default(),
        }));
        let started = proxy.clone();
        // Its tasks must be the host's own, so that a crash ends them: it starts within one.
        drop(host.spawn(async move {
            let mut running =
                start(&started, outbound, inbound).expect("the addresses are the host's");
            running.wait().await;
        }));
        SimProxy { host: host.clone(), proxy, records, mirrored, ejected }
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
    SimProxy::start(host, identity, &Certificates::default(), Arc::default(), outbound, inbound)
}
