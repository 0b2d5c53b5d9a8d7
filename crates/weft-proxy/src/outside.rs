//! What is called outside of the mesh: by a name that an address stands for, or by an address.

mod answers;
mod stand_ins;
mod told;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weft_decide::egress::{self, Verdict};
use weft_identity::OriginationError;
use weft_model::{ExternalPort, ExternalService, ObjectName, OutboundPolicy, Port, Protocol};
use weft_telemetry::{Event, Recorder};
use weft_world::{BoxFuture, World};

use self::answers::Answers;
use self::stand_ins::StandIns;
use self::told::Told;
use crate::Proxy;
use crate::error::ProxyError;
use crate::snapshot::{
    Destination, DestinationName, EndpointSpec, ExternalAt, OfOutside, Reach, Snapshot,
};

/// How many destinations outside are kept ready. They are made again when they are called.
const MADE_MAX: usize = 8_192;

/// Asks DNS where hosts are.
pub trait Resolver {
    /// Asks where `host` is, which is in lower case.
    fn resolve(&self, host: &str) -> BoxFuture<'static, Resolution>;
}

/// What DNS says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It is at these addresses, of which there is at least one.
    Found {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// How long that holds.
        ttl: Duration,
    },
    /// There is no such host, or it has no address.
    Absent,
    /// It is not known, for this reason.
    Failed(String),
}

/// What a connection to the outside is for.
pub(crate) struct Outward {
    /// The host that the address stands for.
    pub(crate) host: Option<Arc<str>>,
    /// The host by which the address was asked for, where that is known and means nothing.
    pub(crate) asked: Option<Arc<str>>,
    /// The address that was called.
    pub(crate) address: SocketAddr,
    /// Whether the host is only where the address is by DNS, as others may be.
    is_guessed: bool,
    /// Has the host keep the address for as long as it is called.
    _open: Option<Rc<()>>,
}

impl Outward {
    /// A connection that is for `host`, whatever address was called.
    pub(crate) fn for_host(host: Arc<str>, address: SocketAddr) -> Outward {
        Outward { host: Some(host), asked: None, address, is_guessed: false, _open: None }
    }

    /// One of which only the address is known.
    pub(crate) fn at(address: SocketAddr) -> Outward {
        Outward { host: None, asked: None, address, is_guessed: false, _open: None }
    }

    /// What it is for if it says that it is for `asked`, which is no host of the destination that
    /// has its own; nothing if that cannot be, since its address stands for its host alone.
    pub(crate) fn instead(&self, asked: Option<&str>) -> Option<Outward> {
        let asked = asked.map(Arc::from);
        self.is_guessed.then(|| Outward { asked, ..Outward::at(self.address) })
    }

    /// The destination that it is for, by the rules of `snapshot`, and whether it passes in audit.
    fn judged<'s>(
        &self,
        snapshot: &'s Snapshot,
    ) -> Result<(Option<&'s Arc<ExternalService>>, bool), ProxyError> {
        let address = self.address;
        let unknown = |why: &str| ProxyError::AddressUnknown { address, why: why.to_owned() };
        let Some(mesh) = &snapshot.mesh else {
            return Err(unknown("the ranges of the mesh are not known yet"));
        };
        let port = Port::new(address.port()).map_err(|_| unknown("0 is no port"))?;
        match egress::judge(mesh.outbound, self.found(snapshot), port) {
            Verdict::To(service) => Ok((Some(service), false)),
            Verdict::Passes { is_audited } => Ok((None, is_audited)),
            Verdict::Refused => {
                let asked = self.host.as_ref().or(self.asked.as_ref());
                Err(ProxyError::OutsideRefused { address, asked: asked.map(ToString::to_string) })
            }
        }
    }

    /// What has its host, or else its address.
    fn found<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Arc<ExternalService>> {
        match &self.host {
            Some(host) => snapshot.egress.of_host(host),
            None => snapshot.egress.of_address(self.address.ip()),
        }
    }

    /// What is called, with the rules that it has, as far as it is known without DNS.
    ///
    /// # Errors
    /// [`ProxyError::OutsideRefused`], [`ProxyError::AddressUnknown`],
    /// [`ProxyError::RulesUnknown`], [`ProxyError::TlsOrigination`].
    pub(crate) fn destination(&self, snapshot: &Snapshot) -> Result<Arc<Destination>, ProxyError> {
        let (service, _) = self.judged(snapshot)?;
        let port = Port::new(self.address.port()).expect("as was judged");
        let rules = match service {
            Some(service) => snapshot.external_rules(&service.name, port)?,
            None => None,
        };
        let destination = match (service, &self.host) {
            (Some(service), Some(host)) => of_host(service, host, port),
            (Some(service), None) => of_address(service, self.address, port),
            (None, Some(host)) => Some(of_outside_host(host, port, Vec::new())),
            (None, None) => {
                let name = DestinationName::Outside(self.address);
                let endpoints = vec![EndpointSpec::new(self.address, Reach::Plain)];
                Some(Destination::plain(name, Protocol::Opaque, endpoints))
            }
        };
        let mut destination = destination.ok_or_else(|| self.nameless())?;
        if let Some(rules) = rules {
            destination.routes = rules.clone();
        }
        Ok(Arc::new(destination))
    }

    /// That there is no TLS to it, as it has no name that could be proved.
    fn nameless(&self) -> ProxyError {
        let address = self.address;
        let name = self.host.as_ref().map_or(address.ip().to_string(), ToString::to_string);
        let (hostname, source) = (name.into(), OriginationError::NoName);
        ProxyError::TlsOrigination { address, hostname, source }
    }

    /// What records say of it if it passes in audit; `recorder` is told.
    pub(crate) fn audited(&self, proxy: &Proxy) -> Option<String> {
        let (_, is_audited) = self.judged(&proxy.configuration.load()).ok()?;
        is_audited.then(|| {
            proxy.recorder.note(Event::Audited("mesh"));
            "mesh spec.defaults.outbound".to_owned()
        })
    }

    /// The hosts that its caller may ask for, if these are known: those of the destination whose
    /// host the address stands for.
    pub(crate) fn hosts(&self, snapshot: &Snapshot) -> Option<(Arc<str>, Arc<ExternalService>)> {
        let host = self.host.clone()?;
        let (service, _) = self.judged(snapshot).ok()?;
        Some((host, service?.clone()))
    }
}

/// By what something leaves the mesh: it may go on for as long as new ones may.
pub(crate) enum Leaving<'c> {
    /// By what was called outside.
    Called(&'c Outward),
    /// By rules that led to this port of an ExternalService.
    Led(Box<(ObjectName, Port)>),
}

impl<'c> Leaving<'c> {
    /// By what something leaves that was `called`, by `outward` if that is outside, and goes `to`
    /// there; none if it stays inside, or passes by the mesh.
    pub(crate) fn new(
        outward: Option<&'c Outward>,
        called: &Destination,
        to: &Destination,
    ) -> Option<Leaving<'c>> {
        let service = |of: &Destination| {
            let service = of.outside.as_ref().and_then(|outside| outside.service.as_ref());
            service.map(|service| service.name.clone())
        };
        match (&to.name, outward) {
            (
                DestinationName::Outside(_)
                | DestinationName::OutsideHost(..)
                | DestinationName::External(..),
                Some(outward),
            ) if service(called) == service(to) => Some(Leaving::Called(outward)),
            (DestinationName::External(name, _, port), _) => {
                Some(Leaving::Led(Box::new((name.clone(), *port))))
            }
            _ => None,
        }
    }

    /// Whether it may go on, as things are now.
    ///
    /// # Errors
    /// [`ProxyError::PolicyChanged`].
    pub(crate) fn judge(&self, proxy: &Proxy) -> Result<(), ProxyError> {
        let snapshot = proxy.configuration.load();
        let judged = match self {
            Leaving::Called(outward) => outward.judged(&snapshot).map(drop),
            Leaving::Led(to) => led(&snapshot, &to.0, to.1),
        };
        judged.map_err(|error| ProxyError::PolicyChanged(Box::new(error)))
    }
}

/// Whether rules may lead to `port` of the ExternalService `name`, or anything may leave.
fn led(snapshot: &Snapshot, name: &ObjectName, port: Port) -> Result<(), ProxyError> {
    let outbound = snapshot.mesh.as_ref().map_or(OutboundPolicy::Registered, |mesh| mesh.outbound);
    let found = snapshot.externals.get(name).map(|view| &view.service);
    match egress::judge(outbound, found, port) {
        Verdict::To(_) | Verdict::Passes { .. } => Ok(()),
        Verdict::Refused => Err(ProxyError::NoExternalPort { service: name.to_string(), port }),
    }
}

/// How the servers of a port with `settings` are reached where it is called by `host`, if by one;
/// none if there is no name for them to prove.
fn reach(settings: &ExternalPort, host: Option<&str>) -> Option<Reach> {
    match &settings.tls {
        None => Some(Reach::Plain),
        Some(tls) => tls.to(host).map(|tls| Reach::Tls(Arc::new(tls))),
    }
}

/// `port` of `service` as it is called by `host`; none if it has no such port, or if `host` is
/// nothing that its servers could prove to be.
pub(crate) fn of_host(
    service: &Arc<ExternalService>,
    host: &Arc<str>,
    port: Port,
) -> Option<Destination> {
    let settings = service.ports.get(&port)?;
    let (protocol, reach) = (settings.protocol, reach(settings, Some(host))?);
    let is_fixed = !service.endpoints.is_empty();
    let at = match service.is_same_for_all_hosts(settings) {
        true => ExternalAt::Endpoints,
        false => ExternalAt::Host(host.clone()),
    };
    let name = DestinationName::External(service.name.clone(), at, port);
    let endpoints = service.endpoints.iter().map(|endpoint| {
        let port = endpoint.port.unwrap_or(port).get();
        EndpointSpec::new(SocketAddr::new(endpoint.ip, port), reach.clone())
    });
    let endpoints = endpoints.collect();
    let resolved = (!is_fixed).then(|| host.clone());
    let traffic = service.traffic(port).clone();
    let (service, host) = (Some(service.clone()), Some(host.clone()));
    let outside = OfOutside { service, host, resolved, port, reach };
    Some(Destination {
        traffic,
        outside: Some(Box::new(outside)),
        ..Destination::plain(name, protocol, endpoints)
    })
}

/// `port` of `service` as it is called by one of its addresses; none as for hosts.
fn of_address(
    service: &Arc<ExternalService>,
    address: SocketAddr,
    port: Port,
) -> Option<Destination> {
    let settings = service.ports.get(&port)?;
    let (protocol, reach) = (settings.protocol, reach(settings, None)?);
    let at = ExternalAt::Address(address.ip());
    let name = DestinationName::External(service.name.clone(), at, port);
    let endpoints = vec![EndpointSpec::new(address, reach.clone())];
    let traffic = service.traffic(port).clone();
    let (service, host, resolved) = (Some(service.clone()), None, None);
    let outside = Some(Box::new(OfOutside { service, host, resolved, port, reach }));
    Some(Destination { traffic, outside, ..Destination::plain(name, protocol, endpoints) })
}

/// `port` of the ExternalService `name` itself, if that is what `called` is a port of: the host or
/// the address that was called, past the rules that led here. The inner one is none as for hosts.
pub(crate) fn itself(
    called: &Destination,
    name: &ObjectName,
    port: Port,
) -> Option<Option<Destination>> {
    let outside = called.outside.as_ref()?;
    let service = outside.service.as_ref().filter(|service| service.name == *name)?;
    match (&outside.host, &called.name) {
        (Some(host), _) => Some(of_host(service, host, port)),
        (None, DestinationName::External(_, ExternalAt::Address(ip), _)) => {
            Some(of_address(service, SocketAddr::new(*ip, port.get()), port))
        }
        (None, _) => None,
    }
}

/// What a worker knows of the outside.
pub(crate) struct Outside {
    answers: Answers,
    stand_ins: RefCell<StandIns>,
    told: RefCell<Told>,
    made: RefCell<BTreeMap<DestinationName, Made>>,
}

/// A destination with the addresses that it has by DNS.
struct Made {
    /// The same as it is without them.
    base: Arc<Destination>,
    addresses: Rc<[IpAddr]>,
    destination: Arc<Destination>,
}

impl Outside {
    pub(crate) fn new(
        world: &World,
        recorder: &Rc<dyn Recorder>,
        resolver: Option<Rc<dyn Resolver>>,
    ) -> Outside {
        let (stand_ins, told, made) = Default::default();
        let answers = Answers::new(world.clock.clone(), recorder.clone(), resolver);
        Outside { answers, stand_ins, told, made }
    }

    /// `base` with the endpoints that it has now, and the same as long as these are the same. One
    /// that has rules is called by these, and has none of its own: what it would be without them
    /// has the same name.
    pub(crate) fn current(&self, base: &Arc<Destination>) -> Arc<Destination> {
        let Some(outside) = base.outside.as_ref().filter(|_| base.routes.is_empty()) else {
            return base.clone();
        };
        let addresses = match &outside.resolved {
            Some(host) => self.answers.of(host),
            None => Rc::default(),
        };
        let mut made = self.made.borrow_mut();
        let before = made.get(&base.name);
        if let Some(known) = before
            && is_same(&known.base, base)
            && known.addresses == addresses
        {
            return known.destination.clone();
        }
        let with_answers = outside
            .resolved
            .as_ref()
            .and_then(|host| located(base, host, &addresses, before).map(Arc::new));
        let destination = with_answers.unwrap_or_else(|| base.clone());
        if made.len() >= MADE_MAX {
            made.clear();
        }
        let known = Made { base: base.clone(), addresses, destination: destination.clone() };
        made.insert(base.name.clone(), known);
        destination
    }

    /// Waits until it is known where `destination` is.
    ///
    /// # Errors
    /// [`ProxyError::HostUnknown`], [`ProxyError::LookupFailed`].
    pub(crate) async fn located(
        &self,
        proxy: &Proxy,
        destination: &Destination,
    ) -> Result<(), ProxyError> {
        match destination.outside.as_ref().and_then(|outside| outside.resolved.as_ref()) {
            None => Ok(()),
            Some(host) => Box::pin(self.answers.wait_for(proxy, host)).await,
        }
    }

    /// Has it known soon where `destination` is, if it is not yet.
    pub(crate) fn prepare(&self, proxy: &Proxy, destination: &Destination) {
        if let Some(host) = destination.outside.as_ref().and_then(|it| it.resolved.as_ref()) {
            self.answers.prepare(proxy, host);
        }
    }

    /// The two addresses that stand for `host`; none if there are no more, as so many are open.
    pub(crate) fn stand_in(&self, proxy: &Proxy, host: &str) -> Option<(Ipv4Addr, Ipv6Addr)> {
        let snapshot = proxy.configuration.load();
        let is_free = |ip: IpAddr| !snapshot.mesh.as_ref().is_some_and(|mesh| mesh.has(ip));
        self.stand_ins.borrow_mut().of(host, proxy.world.clock.now(), is_free)
    }

    /// A program was told that `host`, which means nothing here, has `addresses`.
    pub(crate) fn tell(&self, proxy: &Proxy, host: &str, addresses: &[IpAddr]) {
        self.told.borrow_mut().add(host, addresses, proxy.world.clock.now());
    }

    /// What a connection to `address` is for, which is none of the mesh's.
    ///
    /// # Errors
    /// [`ProxyError::AddressUnknown`] for an address that stood for a host.
    pub(crate) fn outward(
        &self,
        proxy: &Proxy,
        address: SocketAddr,
    ) -> Result<Outward, ProxyError> {
        let (ip, now) = (address.ip(), proxy.world.clock.now());
        if egress::place_of(ip).is_some() {
            let Some((host, open)) = self.stand_ins.borrow_mut().host_of(ip, now) else {
                let why = "it stood for a host that is not known any more: ask for the host again";
                return Err(ProxyError::AddressUnknown { address, why: why.to_owned() });
            };
            return Ok(Outward { _open: Some(open), ..Outward::for_host(host, address) });
        }
        let snapshot = proxy.configuration.load();
        if snapshot.egress.of_address(ip).is_some() {
            return Ok(Outward::at(address));
        }
        // Who asked here for another host that is there, means that one.
        if let Some(asked) = self.told.borrow().host_of(ip) {
            return Ok(Outward { asked: Some(asked), ..Outward::at(address) });
        }
        let is_known = |host: &str| snapshot.egress.of_host(host).is_some();
        let host = self.answers.host_at(ip, now, is_known);
        let is_guessed = host.is_some();
        Ok(Outward { host, is_guessed, ..Outward::at(address) })
    }
}

/// Whether `one` and `other`, which have the same name, differ in nothing.
fn is_same(one: &Arc<Destination>, other: &Arc<Destination>) -> bool {
    let service = |of: &Arc<Destination>| {
        of.outside.as_ref().and_then(|outside| outside.service.as_ref().map(Arc::as_ptr))
    };
    Arc::ptr_eq(one, other) || service(one) == service(other)
}

/// `base`, whose host is at `addresses`.
fn located(
    base: &Destination,
    host: &Arc<str>,
    addresses: &[IpAddr],
    before: Option<&Made>,
) -> Option<Destination> {
    let outside = base.outside.as_ref()?;
    let port = outside.port;
    let at =
        |ip: &IpAddr| EndpointSpec::new(SocketAddr::new(*ip, port.get()), outside.reach.clone());
    let endpoints = addresses.iter().map(at).collect();
    let located = match &outside.service {
        Some(service) => Destination { endpoints, ..of_host(service, host, port)? },
        None => of_outside_host(host, port, endpoints),
    };
    Some(located.with_table(before.map(|before| &*before.destination)))
}

/// `port` of a host that means nothing here.
fn of_outside_host(host: &Arc<str>, port: Port, endpoints: Vec<EndpointSpec>) -> Destination {
    let name = DestinationName::OutsideHost(host.clone(), port);
    let (host, reach) = (Some(host.clone()), Reach::Plain);
    let outside = OfOutside { service: None, resolved: host.clone(), host, port, reach };
    let plain = Destination::plain(name, Protocol::Opaque, endpoints);
    Destination { outside: Some(Box::new(outside)), ..plain }
}
