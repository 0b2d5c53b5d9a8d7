//! What a proxy knows of the mesh at one moment: immutable, and replaced whole.
//!
//! A request takes from the snapshot what concerns it and keeps only that. What belongs to
//! connections, such as pools and load, is not here but in `backend.rs`.

mod builder;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use weft_decide::balance::Table;
use weft_decide::egress::Egress;
use weft_decide::route::RouteTable;
use weft_model::{
    BackendTimeouts, ExternalService, Health, HealthCheck, Label, Locality, MeshSettings,
    ObjectName, Port, Protocol, SpiffeId, TlsOrigination, TrafficPolicy,
};
use weft_wire::tunnel::{InnerProtocol, Preface};

use crate::error::ProxyError;
use crate::guard::Guard;

pub use self::builder::{Builder, OwnWorkload, check};

/// What a proxy knows of the mesh at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// What holds for the whole mesh, if it is known.
    pub mesh: Option<Arc<MeshSettings>>,
    /// The own workload, if it is known.
    pub own: Option<Arc<Own>>,
    pub(crate) services: HashMap<ObjectName, Arc<ServiceView>>,
    /// Those of the Services whose rules are known too. The others are backends only.
    pub(crate) callable: HashMap<ObjectName, Arc<ServiceView>>,
    pub(crate) addresses: HashMap<IpAddr, Owner>,
    /// The Services that are not to be called, and why.
    pub(crate) closed: HashMap<ObjectName, String>,
    /// The destinations outside that the own workload may call.
    pub(crate) egress: Egress,
    /// The same, as rules see them.
    pub(crate) externals: HashMap<ObjectName, ExternalView>,
}

impl Snapshot {
    /// The rules for calls to `port` of the ExternalService `name`; none where they go there.
    ///
    /// # Errors
    /// [`ProxyError::RulesUnknown`].
    pub(crate) fn external_rules(
        &self,
        name: &ObjectName,
        port: Port,
    ) -> Result<Option<&Arc<RouteTable>>, ProxyError> {
        let Some(view) = self.externals.get(name) else { return Ok(None) };
        match &view.rules {
            Ok(rules) => Ok(rules.get(&port)),
            Err(why) => {
                Err(ProxyError::RulesUnknown { service: name.to_string(), why: why.clone() })
            }
        }
    }
}

/// A destination outside, port by port.
#[derive(Clone, Debug)]
pub(crate) struct ExternalView {
    pub(crate) service: Arc<ExternalService>,
    /// The ports of which it is known which host to call: rules of others may lead there.
    pub(crate) ports: Arc<BTreeMap<Port, Arc<Destination>>>,
    /// The rules for calls to it, of ports that have any; or why it is not known which they are.
    pub(crate) rules: Result<Arc<BTreeMap<Port, Arc<RouteTable>>>, String>,
}

/// Who has an address.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// A Service: it is one of its virtual addresses.
    Service(ObjectName),
    /// A workload.
    Workload(Arc<WorkloadView>),
}

/// A Service, port by port.
#[derive(Debug)]
pub(crate) struct ServiceView {
    pub(crate) ports: BTreeMap<Port, Arc<Destination>>,
    /// Its addresses in the own network.
    pub(crate) vips: Vec<IpAddr>,
    /// Those whose ports it leads to.
    pub(crate) workloads: BTreeSet<ObjectName>,
}

/// A workload that is called by its own address, port by port.
#[derive(Debug)]
pub(crate) struct WorkloadView {
    pub(crate) name: ObjectName,
    pub(crate) ports: BTreeMap<Port, Arc<Destination>>,
}

/// What a [`Destination`] is, which names it in records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DestinationName {
    /// A port of a Service.
    Service(ObjectName, Port),
    /// A port of a workload.
    Workload(ObjectName, Port),
    /// A port of the own application.
    Application(Port),
    /// What an explicit listener leads to, by the name that its owner gave it.
    Listener(Arc<str>),
    /// An address outside of the mesh.
    Outside(SocketAddr),
    /// A port of a host outside of the mesh that no ExternalService names.
    OutsideHost(Arc<str>, Port),
    /// A port of an ExternalService.
    External(ObjectName, ExternalAt, Port),
}

/// Which part of an ExternalService is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExternalAt {
    /// One of its hosts, where DNS says, or where this one alone is proved.
    Host(Arc<str>),
    /// One of the addresses in its blocks.
    Address(IpAddr),
    /// Its endpoints.
    Endpoints,
}

impl DestinationName {
    /// The name for records, in which the port stands beside it.
    pub fn without_port(&self) -> String {
        match self {
            DestinationName::Service(name, _)
            | DestinationName::Workload(name, _)
            | DestinationName::External(name, ..) => name.to_string(),
            DestinationName::Application(_) => "application".to_owned(),
            DestinationName::Listener(_)
            | DestinationName::Outside(_)
            | DestinationName::OutsideHost(..) => self.to_string(),
        }
    }

    /// Whether nothing says how it is treated, as nobody has registered it. There is no end to
    /// those of its kind, which its caller chooses.
    pub(crate) fn is_unregistered(&self) -> bool {
        matches!(self, DestinationName::Outside(_) | DestinationName::OutsideHost(..))
    }

    /// Whether it is an address of a registered block, of which there are as many as its caller
    /// chooses.
    pub(crate) fn is_of_block(&self) -> bool {
        matches!(self, DestinationName::External(_, ExternalAt::Address(_), _))
    }

    /// Whether it is the own application.
    pub fn is_own(&self) -> bool {
        matches!(self, DestinationName::Application(_))
    }

    /// The port for records.
    pub fn port(&self) -> Option<Port> {
        match self {
            DestinationName::Service(_, port)
            | DestinationName::Workload(_, port)
            | DestinationName::External(.., port)
            | DestinationName::Application(port) => Some(*port),
            DestinationName::Listener(_)
            | DestinationName::Outside(_)
            | DestinationName::OutsideHost(..) => None,
        }
    }
}

impl fmt::Display for DestinationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DestinationName::Service(name, port) => write!(f, "{name}:{port}"),
            DestinationName::Workload(name, port) => write!(f, "workload {name}:{port}"),
            DestinationName::Application(port) => write!(f, "application:{port}"),
            DestinationName::Listener(name) => f.write_str(name),
            DestinationName::Outside(address) => write!(f, "outside {address}"),
            DestinationName::OutsideHost(host, port) => write!(f, "outside {host}:{port}"),
            DestinationName::External(name, at, port) => {
                write!(f, "ExternalService {name}:{port}")?;
                match at {
                    ExternalAt::Host(host) => write!(f, " ({host})"),
                    ExternalAt::Address(address) => write!(f, " ({address})"),
                    ExternalAt::Endpoints => Ok(()),
                }
            }
        }
    }
}

/// Something that can be called: what is spoken there, which rules requests fall under, and which
/// endpoints serve it.
#[derive(Debug)]
pub struct Destination {
    /// What it is.
    pub name: DestinationName,
    /// What is spoken, as far as it is declared.
    pub protocol: Protocol,
    /// How it is called.
    pub traffic: TrafficPolicy,
    /// The rules for requests to it. None: all go to its own endpoints.
    pub routes: Arc<RouteTable>,
    /// The endpoints.
    pub endpoints: Vec<EndpointSpec>,
    /// What a key leads to one of them by, where it is called so.
    pub table: Option<Arc<Table>>,
    /// What it is of, if it is outside and not a mere address.
    pub(crate) outside: Option<Box<OfOutside>>,
}

/// What a destination outside is of.
#[derive(Clone, Debug)]
pub(crate) struct OfOutside {
    /// Which ExternalService, if it is of one.
    pub(crate) service: Option<Arc<ExternalService>>,
    /// The host by which it is called, if by one.
    pub(crate) host: Option<Arc<str>>,
    /// The host whose addresses DNS says, if that is so.
    pub(crate) resolved: Option<Arc<str>>,
    /// The port that is called.
    pub(crate) port: Port,
    /// How its servers are reached, wherever they are.
    pub(crate) reach: Reach,
}

impl Destination {
    /// A destination without rules, called as the defaults say.
    pub fn plain(
        name: DestinationName,
        protocol: Protocol,
        endpoints: Vec<EndpointSpec>,
    ) -> Destination {
        let (traffic, routes) = Default::default();
        Destination { name, protocol, traffic, routes, endpoints, table: None, outside: None }
    }

    /// How TLS is opened to it, if it is outside and that is done.
    pub fn tls(&self) -> Option<&Arc<TlsOrigination>> {
        match &self.outside.as_ref()?.reach {
            Reach::Tls(settings) => Some(settings),
            Reach::Application | Reach::Plain | Reach::Tunnel(_) | Reach::NotInMesh(_) => None,
        }
    }

    /// What is spoken to it: what is declared, or what its rules are for.
    pub fn spoken(&self) -> Protocol {
        self.routes.spoken(self.protocol)
    }

    /// The same with the table that its endpoints need, which is that of `before` unless others
    /// have come, or some have gone.
    pub(crate) fn with_table(mut self, before: Option<&Destination>) -> Destination {
        if self.traffic.balance.hash_on().is_empty() {
            return self;
        }
        let identities = |of: &Destination| -> Vec<String> {
            of.endpoints.iter().map(EndpointSpec::stable_identity).collect()
        };
        let own = identities(&self);
        let kept = before.filter(|before| identities(before) == own);
        let kept = kept.and_then(|before| before.table.clone());
        let kept = kept.filter(|table| table.serves(&self.traffic.balance));
        self.table = kept.or_else(|| Table::new(&self.traffic.balance, &own).map(Arc::new));
        self
    }
}

/// One endpoint of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Its address, or that of the proxy in front of it.
    pub address: SocketAddr,
    /// How it is reached.
    pub reach: Reach,
    /// Where it runs.
    pub locality: Option<Locality>,
    /// Whether it may be called.
    pub health: Health,
    /// What its workload has of the labels by which requests choose, in the order of the policy's.
    pub labels: Box<[Option<Label>]>,
}

impl EndpointSpec {
    /// The healthy endpoint at `address`.
    pub fn new(address: SocketAddr, reach: Reach) -> EndpointSpec {
        let (locality, health, labels) = (None, Health::Healthy, Box::default());
        EndpointSpec { address, reach, locality, health, labels }
    }

    /// What names it for all proxies, and also once it has started again, maybe elsewhere.
    pub(crate) fn stable_identity(&self) -> String {
        match &self.reach {
            Reach::Tunnel(target) => target.workload.to_string(),
            Reach::NotInMesh(workload) => workload.to_string(),
            Reach::Application | Reach::Plain | Reach::Tls(_) => self.address.to_string(),
        }
    }
}

/// How an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In plaintext, in the network of the own application.
    Application,
    /// In plaintext: a destination outside the mesh, or one that takes it.
    Plain,
    /// By ordinary TLS: a destination outside the mesh.
    Tls(Arc<TlsOrigination>),
    /// By a tunnel to the proxy of a workload.
    Tunnel(TunnelTarget),
    /// Not at all, since it proves no identity and plaintext is not let through.
    NotInMesh(ObjectName),
}

/// Who is at the other end of a tunnel, and what is wanted there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelTarget {
    /// The identity that the proxy there must prove.
    pub identity: SpiffeId,
    /// The workload.
    pub workload: ObjectName,
    /// Which instance of that name.
    pub generation: u64,
    /// The Service by which it is called, for telemetry and SNI.
    pub service: Option<ObjectName>,
    /// The port of the application.
    pub port: Port,
}

impl TunnelTarget {
    /// What the tunnel is opened with, to speak `protocol` in it. `timeouts` are those of the
    /// backend; how long a request may stand still, each says for itself.
    pub(crate) fn preface(&self, protocol: InnerProtocol, timeouts: &BackendTimeouts) -> Preface {
        let idle_ms = match protocol {
            InnerProtocol::Opaque => timeouts.stream_idle.millis(),
            _ => 0,
        };
        let TunnelTarget { identity: _, workload, generation, service, port } = self;
        Preface {
            workload: workload.to_string(),
            generation: *generation,
            service: service.as_ref().map(ToString::to_string).unwrap_or_default(),
            target_address: Vec::new(),
            target_port: u32::from(port.get()),
            protocol: protocol.into(),
            idle_ms,
        }
    }
}

/// The workload that a proxy stands for.
#[derive(Debug)]
pub struct Own {
    /// Its name.
    pub name: ObjectName,
    /// Which instance of that name.
    pub generation: u64,
    /// The instance that it took the place of, as long as callers cannot know of the new one: it
    /// started while the control plane was away, and is not registered yet.
    pub before: Option<u64>,
    /// Where it runs.
    pub locality: Option<Locality>,
    /// The ports of its application.
    pub ports: BTreeMap<Port, OwnPort>,
    /// How it is found out whether its application serves.
    pub health_checks: BTreeSet<HealthCheck>,
}

impl Own {
    /// Whether all that guards its ports is there.
    pub fn is_ready(&self) -> bool {
        self.ports.values().all(|port| !matches!(*port.guard, Guard::Pending { .. }))
    }
}

/// A port of the own application.
#[derive(Clone, Debug)]
pub struct OwnPort {
    /// The application.
    pub application: Arc<Destination>,
    /// Who may call it.
    pub guard: Arc<Guard>,
}

/// The snapshot in force, shared by all threads of a proxy.
pub struct Configuration {
    current: ArcSwap<Snapshot>,
    changes: watch::Sender<u64>,
}

impl Configuration {
    /// A configuration that begins with `snapshot`.
    pub fn new(snapshot: Snapshot) -> Configuration {
        let (changes, _) = watch::channel(0);
        Configuration { current: ArcSwap::from_pointee(snapshot), changes }
    }

    /// Puts `snapshot` in force: what begins from now on goes by it.
    pub fn replace(&self, snapshot: Arc<Snapshot>) {
        self.current.store(snapshot);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Has all that lives be judged again: something else than the snapshot has changed by which
    /// it was let in, such as whom to trust.
    pub fn touch(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// The snapshot in force.
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Tells of each replacement from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl Default for Configuration {
    fn default() -> Configuration {
        Configuration::new(Snapshot::default())
    }
}
