//! From the objects that discovery brought to a snapshot: what did not change is taken over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use weft_decide::egress::Egress;
use weft_decide::route::RouteTable;
use weft_model::{
    Address, ExternalService, Label, MtlsMode, Namespace, Network, ObjectName, Parent, Port, Route,
    RouteName, Service, TrafficPolicy, TrustDomain, UnguardedPolicy, Workload,
};
use weft_wire::discovery::{Client, Guarding, Outcome};
use weft_wire::{Object, ObjectKey};

use super::{
    Destination, DestinationName, EndpointSpec, ExternalView, Own, OwnPort, Owner, Reach,
    ServiceView, Snapshot, TunnelTarget, WorkloadView,
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

/// A destination outside.
struct External {
    /// The routes whose rules are followed, if it is known which.
    routes: Option<Vec<Arc<Route>>>,
    view: ExternalView,
}

impl External {
    /// Its ports as far as rules may lead there.
    fn ports(service: &Arc<ExternalService>) -> BTreeMap<Port, Arc<Destination>> {
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
        ports.collect()
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
    RouteTable::new([route], &parent.parent, port, Some(&caller))
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
        let external = |service: &&Arc<ExternalService>| self.external(client, &held, service);
        self.externals = held.externals.iter().map(external).collect();
        let mesh = held.mesh.cloned();
        let own = self.own(client, &held).map(Arc::new);
        let ports = own.iter().flat_map(|own| &own.ports);
        self.guards = ports.map(|(port, own)| (*port, own.guard.clone())).collect();
        let (services, addresses) = (self.services.clone(), self.addresses(&held));
        let closed = client.closed().map(|(service, why)| (service.clone(), why)).collect();
        let view = |name: &ObjectName| Some((name.clone(), services.get(name)?.clone()));
        let callable = client.followed().filter_map(view).collect();
        let view =
            |(name, external): (&ObjectName, &External)| (name.clone(), external.view.clone());
        let externals = self.externals.iter().map(view).collect();
        let namespace = self.namespace.clone();
        let namespace = namespace.or(self.own.as_ref().map(|own| own.name.own_namespace()));
        let egress = Egress::new(held.externals.iter().copied(), namespace.as_ref());
        Arc::new(Snapshot { mesh, own, services, callable, addresses, closed, egress, externals })
    }

    /// `service`, as far as it was before if it is the same.
    ///
    /// Its rules are those of the routes that it names once all of them are there, and those of
    /// before until then. Where it was not known before, it is closed: without one of them, calls
    /// would go past it.
    fn external<'h>(
        &self,
        client: &Client,
        held: &Held<'h>,
        service: &'h Arc<ExternalService>,
    ) -> (ObjectName, External) {
        let before = self.externals.get(&service.name);
        let same = before.filter(|before| Arc::ptr_eq(&before.view.service, service));
        let ports = match same {
            Some(before) => before.view.ports.clone(),
            None => Arc::new(External::ports(service)),
        };
        let parent = Parent::External(service.name.clone());
        // One that is not for it is an older version, in whose place the new one was refused.
        let is_for_it = |route: &&Arc<Route>| route.parents.iter().any(|it| it.parent == parent);
        let found = |name: &'h RouteName| held.route(name).filter(is_for_it).ok_or(name);
        let named: Result<Vec<_>, _> = service.routes.iter().map(found).collect();
        let routes = match named {
            Ok(routes) => Ok(routes.into_iter().cloned().collect()),
            Err(missing) => before.and_then(|it| it.routes.clone()).ok_or(missing),
        };
        let is_same = |before: &&External| match (&before.routes, &routes) {
            (Some(before), Ok(now)) => {
                before.len() == now.len()
                    && before.iter().zip(now).all(|(one, other)| Arc::ptr_eq(one, other))
            }
            _ => false,
        };
        let rules = match (same.filter(is_same), &routes) {
            (Some(before), _) => before.view.rules.clone(),
            (None, Ok(routes)) => Ok(Arc::new(self.external_rules(service, &parent, routes))),
            (None, Err(missing)) => Err(lacking(client, missing)),
        };
        let (service, routes) = (service.clone(), routes.ok());
        let name = service.name.clone();
        (name, External { routes, view: ExternalView { service, ports, rules } })
    }

    /// The rules for calls to `service`, of those of its ports that `routes` are for.
    fn external_rules(
        &self,
        service: &ExternalService,
        parent: &Parent,
        routes: &[Arc<Route>],
    ) -> BTreeMap<Port, Arc<RouteTable>> {
        let of_port = |port: &Port| (*port, self.rules(routes, parent, *port));
        let tables = service.ports.keys().map(of_port);
        tables.filter(|(_, table)| !table.is_empty()).collect()
    }

    /// The rules for calls to `port` of `parent` that are of some of `routes`.
    fn rules<'r>(
        &self,
        routes: impl IntoIterator<Item = &'r Arc<Route>>,
        parent: &Parent,
        port: Port,
    ) -> Arc<RouteTable> {
        let table = RouteTable::new(routes, parent, port, self.namespace.as_ref());
        Arc::new(table.expect("routes were checked before they were taken"))
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
                        let parents = route.parents.iter();
                        services.extend(parents.filter_map(|it| it.parent.service()).cloned());
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
            let parent = Parent::Service(service.name.clone());
            let destination = Destination {
                name: DestinationName::Service(service.name.clone(), *port),
                protocol: spoken.protocol,
                traffic: service.traffic(*port).clone(),
                routes: self.rules(routes, &parent, *port),
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

/// That the route `missing` is not there, and why.
fn lacking(client: &Client, missing: &RouteName) -> String {
    let key = ObjectKey::Route(missing.clone());
    match client.refused().find(|(refused, _)| **refused == key) {
        Some((_, why)) => format!("{missing} is refused: {why}"),
        None => format!("{missing} is not there yet"),
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

    /// The route called `name`; they are held in the order of their names.
    fn route(&self, name: &RouteName) -> Option<&'c Arc<Route>> {
        let place = self.routes.binary_search_by(|route| route.name.cmp(name)).ok()?;
        Some(self.routes[place])
    }
}

/// What `workload` has of the labels by which requests choose, in the order of the policy's.
fn labels(workload: &Workload, traffic: &TrafficPolicy) -> Box<[Option<Label>]> {
    let wanted = traffic.subset.iter().flat_map(|subset| &subset.labels);
    wanted.map(|wanted| workload.labels.get(&wanted.name).cloned()).collect()
}

#[cfg(test)]
mod tests;
