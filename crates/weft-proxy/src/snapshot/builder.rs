//! From the objects that discovery brought to a snapshot: what did not change is taken over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use weft_decide::egress::Egress;
use weft_decide::route::RouteTable;
use weft_model::{
    Address, ExternalService, Label, MtlsMode, Namespace, Network, ObjectName, Port, Route,
    Service, TrafficPolicy, TrustDomain, UnguardedPolicy, Workload,
};
use weft_wire::discovery::{Client, Guarding, Outcome};
use weft_wire::{Object, ObjectKey};

use super::{
    Destination, DestinationName, EndpointSpec, Own, OwnPort, Owner, Reach, ServiceView, Snapshot,
    TunnelTarget, WorkloadView,
};
use crate::guard::Guard;
use crate::outside;

/// The workload that a proxy stands for, as it says itself.
#[derive(Clone, Debug)]
pub struct OwnWorkload {
    /// Its name.
    pub name: ObjectName,
    /// Which instance of that name: tunnels for another one are refused.
    pub generation: u64,
    /// Where its application listens, where that is not the port itself on 127.0.0.1.
    pub applications: BTreeMap<Port, SocketAddr>,
}

/// A destination outside, port by port as far as rules may lead there.
struct External {
    service: Arc<ExternalService>,
    ports: Arc<BTreeMap<Port, Arc<Destination>>>,
}

impl External {
    fn new(service: &Arc<ExternalService>) -> External {
        let port = |host: &Arc<str>, port: Port| {
            Some((port, Arc::new(outside::of_host(service, host, port)?)))
        };
        let ports = service.ports.iter().filter_map(|(number, settings)| {
            let host = match service.is_same_for_all_hosts(settings) {
                true => Arc::default(),
                false => service.only_host()?.clone(),
            };
            port(&host, *number)
        });
        External { service: service.clone(), ports: Arc::new(ports.collect()) }
    }
}

/// Makes snapshots of what a discovery client holds.
pub struct Builder {
    trust_domain: TrustDomain,
    own: Option<OwnWorkload>,
    /// That of the own identity, which is the caller's of all that is called.
    namespace: Option<Namespace>,
    network: Network,
    services: HashMap<ObjectName, Arc<ServiceView>>,
    workloads: HashMap<ObjectName, Arc<WorkloadView>>,
    externals: HashMap<ObjectName, External>,
    /// Those of the own ports, to be taken over while they say the same.
    guards: BTreeMap<Port, Arc<Guard>>,
}

/// Whether an object can be put to work, to be asked before it is taken.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check(object: &Object) -> Result<(), String> {
    let Object::Route(route) = object else { return Ok(()) };
    // The expressions are the same for every parent.
    let Some(parent) = route.parents.first() else { return Ok(()) };
    let port = parent.port.or(Port::new(1).ok()).expect("1 is a port");
    let caller = route.name.object.own_namespace();
    RouteTable::new([route], &parent.service, port, Some(&caller))
        .map_err(|error| error.to_string())?;
    Ok(())
}

impl Builder {
    /// A builder for a proxy of `trust_domain` that stands for `own`; for none, it only calls.
    pub fn new(trust_domain: TrustDomain, own: Option<OwnWorkload>) -> Builder {
        let (namespace, network, services, workloads) = Default::default();
        let (externals, guards) = Default::default();
        Builder { trust_domain, own, namespace, network, services, workloads, externals, guards }
    }

    /// The same for a proxy whose identity is of `namespace`.
    pub fn of_namespace(self, namespace: Namespace) -> Builder {
        Builder { namespace: Some(namespace), ..self }
    }

    /// The snapshot of all that `client` holds.
    pub fn rebuild(&mut self, client: &Client) -> Arc<Snapshot> {
        self.services.clear();
        self.workloads.clear();
        let keys: Vec<_> = client.objects().map(|object| object.key().clone()).collect();
        self.take(client, &keys)
    }

    /// The snapshot after `client` took what `outcome` says.
    pub fn update(&mut self, client: &Client, outcome: &Outcome) -> Arc<Snapshot> {
        let keys: Vec<_> = outcome.changed.iter().chain(&outcome.removed).cloned().collect();
        self.take(client, &keys)
    }

    fn take(&mut self, client: &Client, keys: &[ObjectKey]) -> Arc<Snapshot> {
        let held = Held::new(client);
        for service in self.touched(&held, keys) {
            match held.services.get(&service) {
                Some(found) => {
                    let view = self.service(&held, found);
                    self.services.insert(service, Arc::new(view));
                }
                None => drop(self.services.remove(&service)),
            }
        }
        for key in keys {
            let ObjectKey::Workload(name) = key else { continue };
            match held.workloads.get(name) {
                Some(found) => {
                    let view = Arc::new(self.workload(found));
                    self.workloads.insert(name.clone(), view);
                }
                None => drop(self.workloads.remove(name)),
            }
        }
        self.externals = held.externals.iter().map(|service| self.external(service)).collect();
        let mesh = held.mesh.cloned();
        let own = self.own(client, &held).map(Arc::new);
        let ports = own.iter().flat_map(|own| &own.ports);
        self.guards = ports.map(|(port, own)| (*port, own.guard.clone())).collect();
        let (services, addresses) = (self.services.clone(), self.addresses(&held));
        let closed = client.closed().map(|(service, why)| (service.clone(), why)).collect();
        let view = |name: &ObjectName| Some((name.clone(), services.get(name)?.clone()));
        let callable = client.followed().filter_map(view).collect();
        let ports =
            |(name, external): (&ObjectName, &External)| (name.clone(), external.ports.clone());
        let externals = self.externals.iter().map(ports).collect();
        let namespace = self.namespace.clone();
        let namespace = namespace.or(self.own.as_ref().map(|own| own.name.own_namespace()));
        let egress = Egress::new(held.externals.iter().copied(), namespace.as_ref());
        Arc::new(Snapshot { mesh, own, services, callable, addresses, closed, egress, externals })
    }

    /// `service`, as it was before if it is the same.
    fn external(&self, service: &Arc<ExternalService>) -> (ObjectName, External) {
        let before = self.externals.get(&service.name);
        let before = before.filter(|before| Arc::ptr_eq(&before.service, service));
        let ports = before.map(|before| before.ports.clone());
        let external = match ports {
            Some(ports) => External { service: service.clone(), ports },
            None => External::new(service),
        };
        (service.name.clone(), external)
    }

    /// The Services that `keys` have a part in, now or before.
    fn touched(&self, held: &Held<'_>, keys: &[ObjectKey]) -> BTreeSet<ObjectName> {
        let mut services = BTreeSet::new();
        for key in keys {
            match key {
                ObjectKey::Service(name) => drop(services.insert(name.clone())),
                ObjectKey::Workload(name) => {
                    if let Some(workload) = held.workloads.get(name) {
                        services.extend(workload.services.keys().cloned());
                    }
                    services.extend(self.services_with(|view| view.workloads.contains(name)));
                }
                ObjectKey::Route(name) => {
                    if let Some(route) = held.routes.iter().find(|route| route.name == *name) {
                        services.extend(route.parents.iter().map(|parent| parent.service.clone()));
                    }
                    services.extend(self.services_with(|view| {
                        view.ports.values().any(|port| port.routes.has(name))
                    }));
                }
                ObjectKey::Mesh
                | ObjectKey::Trust(_)
                | ObjectKey::External(_)
                | ObjectKey::Guards(_)
                | ObjectKey::Policy(_) => {}
            }
        }
        services
    }

    fn services_with(
        &self,
        holds: impl Fn(&ServiceView) -> bool,
    ) -> impl Iterator<Item = ObjectName> {
        self.services.iter().filter(move |(_, view)| holds(view)).map(|(name, _)| name.clone())
    }

    fn service(&self, held: &Held<'_>, service: &Service) -> ServiceView {
        let workloads = held.workloads.values().filter(|w| w.services.contains_key(&service.name));
        let workloads: Vec<_> = workloads.copied().collect();
        let before = self.services.get(&service.name);
        let port = |(port, spoken): (&Port, &weft_model::ServicePort)| {
            let endpoints = workloads.iter().filter_map(|workload| {
                let target = *workload.services.get(&service.name)?.get(port)?;
                let spec = self.endpoint(workload, target, Some(&service.name), spoken.mtls)?;
                Some(EndpointSpec { labels: labels(workload, service.traffic(*port)), ..spec })
            });
            let routes = held.routes.iter().copied();
            let destination = Destination {
                name: DestinationName::Service(service.name.clone(), *port),
                protocol: spoken.protocol,
                traffic: service.traffic(*port).clone(),
                routes: RouteTable::new(routes, &service.name, *port, self.namespace.as_ref())
                    .expect("routes were checked before they were taken"),
                endpoints: endpoints.collect(),
                table: None,
                outside: None,
            };
            let before = before.and_then(|view| view.ports.get(port));
            (*port, Arc::new(destination.with_table(before.map(|before| &**before))))
        };
        ServiceView {
            ports: service.ports.iter().map(port).collect(),
            vips: self.vips(service).collect(),
            workloads: workloads.iter().map(|workload| workload.name.clone()).collect(),
        }
    }

    /// The addresses of `service` in the own network.
    fn vips<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = IpAddr> + 's {
        let own = service.vips.iter().filter(|vip| vip.network == self.network);
        own.map(|vip| vip.ip)
    }

    fn workload(&self, workload: &Workload) -> WorkloadView {
        let port = |(port, spoken): (&Port, &weft_model::WorkloadPort)| {
            let endpoint = self.endpoint(workload, *port, None, spoken.mtls);
            let name = DestinationName::Workload(workload.name.clone(), *port);
            let endpoints = endpoint.into_iter().collect();
            let destination = Destination::plain(name, spoken.protocol, endpoints);
            (*port, Arc::new(destination))
        };
        let ports = workload.ports.iter().map(port).collect();
        WorkloadView { name: workload.name.clone(), ports }
    }

    /// How `port` of the application of `workload` is reached; not at all from another network.
    fn endpoint(
        &self,
        workload: &Workload,
        port: Port,
        service: Option<&ObjectName>,
        mtls: MtlsMode,
    ) -> Option<EndpointSpec> {
        if workload.network != self.network {
            return None;
        }
        let direct = || Some(SocketAddr::new(*workload.addresses.first()?, port.get()));
        let (address, reach) = match (&workload.identity, workload.tunnel_address(port)) {
            (Some(identity), Some(address)) => {
                let target = TunnelTarget {
                    identity: identity.clone(),
                    workload: workload.name.clone(),
                    generation: workload.generation,
                    service: service.cloned(),
                    port,
                };
                (address, Reach::Tunnel(target))
            }
            _ if mtls == MtlsMode::Permissive => (direct()?, Reach::Plain),
            _ => (direct()?, Reach::NotInMesh(workload.name.clone())),
        };
        let (locality, health) = (workload.locality.clone(), workload.health);
        Some(EndpointSpec { address, reach, locality, health, labels: Box::default() })
    }

    fn own(&self, client: &Client, held: &Held<'_>) -> Option<Own> {
        let OwnWorkload { name, generation, applications } = self.own.as_ref()?;
        let workload = held.workloads.get(name)?;
        let unguarded = held.mesh.map_or(UnguardedPolicy::Deny, |mesh| mesh.unguarded);
        let port = |(port, spoken): (&Port, &weft_model::WorkloadPort)| {
            let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.get());
            let address = applications.get(port).copied().unwrap_or(loopback);
            let endpoints = vec![EndpointSpec::new(address, Reach::Application)];
            let name = DestinationName::Application(*port);
            let application = Arc::new(Destination::plain(name, spoken.protocol, endpoints));
            let before = self.guards.get(port);
            let guard = match client.guarding(workload, *port) {
                Guarding::Complete(policies) => match before {
                    Some(guard) if guard.is_of(&policies, unguarded) => guard.clone(),
                    _ => Arc::new(Guard::new(policies, unguarded, &self.trust_domain)),
                },
                Guarding::Pending { missing } => Arc::new(Guard::pending(&missing)),
            };
            (*port, OwnPort { application, guard })
        };
        Some(Own {
            name: name.clone(),
            generation: *generation,
            before: (workload.generation < *generation).then_some(workload.generation),
            locality: workload.locality.clone(),
            ports: workload.ports.iter().map(port).collect(),
            health_checks: workload.health_checks.clone(),
        })
    }

    fn addresses(&self, held: &Held<'_>) -> HashMap<IpAddr, Owner> {
        let mut addresses = HashMap::new();
        for workload in held.workloads.values() {
            let Some(view) = self.workloads.get(&workload.name) else { continue };
            // Those of its machine are where it is dialled. They mean it to nobody: other things
            // may run there, and who registers states what it likes.
            let is_own = |at: &Address| {
                at.network == self.network && held.mesh.is_some_and(|mesh| mesh.has(at.ip))
            };
            let own = workload.network_addresses().filter(is_own);
            addresses.extend(own.map(|at| (at.ip, Owner::Workload(view.clone()))));
        }
        // A virtual address means the Service, whatever else has it.
        for service in held.services.values() {
            let owner = Owner::Service(service.name.clone());
            addresses.extend(self.vips(service).map(|ip| (ip, owner.clone())));
        }
        addresses
    }
}

/// What a client holds, kind by kind.
struct Held<'c> {
    mesh: Option<&'c Arc<weft_model::MeshSettings>>,
    services: BTreeMap<&'c ObjectName, &'c Service>,
    workloads: BTreeMap<&'c ObjectName, &'c Workload>,
    routes: Vec<&'c Arc<Route>>,
    externals: Vec<&'c Arc<ExternalService>>,
}

impl<'c> Held<'c> {
    fn new(client: &'c Client) -> Held<'c> {
        let (services, workloads) = Default::default();
        let (routes, externals) = Default::default();
        let mut held = Held { mesh: None, services, workloads, routes, externals };
        for object in client.objects() {
            match object.object() {
                Object::Mesh(mesh) => held.mesh = Some(mesh),
                Object::Service(service) => {
                    held.services.insert(&service.name, service);
                }
                Object::Workload(workload) => {
                    held.workloads.insert(&workload.name, workload);
                }
                Object::Route(route) => held.routes.push(route),
                Object::External(external) => held.externals.push(external),
                Object::Trust(_) | Object::Policy(_) | Object::Guards(_) => {}
            }
        }
        held
    }
}

/// What `workload` has of the labels by which requests choose, in the order of the policy's.
fn labels(workload: &Workload, traffic: &TrafficPolicy) -> Box<[Option<Label>]> {
    let wanted = traffic.subset.iter().flat_map(|subset| &subset.labels);
    wanted.map(|wanted| workload.labels.get(&wanted.name).cloned()).collect()
}
