//! What proxies know of the mesh, told to them at once and without a network in between.
//!
//! The messages are those of discovery, both ends of which run here; so what a proxy holds is what
//! it would hold beside a control plane that is never late.
//!
//! Deliberately absent: leases, acknowledgements, and any delay. A scenario that wants one waits
//! before it calls [`Registry::apply`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use weft_model::{
    Address, AuthorizationPolicy, DnsZone, GuardScope, Guards, Health, MeshSettings, MtlsMode,
    Namespace, Network, ObjectName, OutboundPolicy, Policy, PolicyKind, PolicyMode, PolicyName,
    Port, Protocol, Rule, Service, ServicePort, SpiffeId, TrafficPolicy, TrustDomain, Tunnel,
    UnguardedPolicy, Workload, WorkloadPort,
};
use weft_proxy::snapshot::{Builder, Configuration, OwnWorkload, Snapshot, check};
use weft_wire::discovery::{Client, ServerStream, Subscription, World};
use weft_wire::{Object, ObjectKey, Release, SourceVersion, WireObject};
use weft_world::Moment;

/// All objects of a mesh, and the proxies that are told of them.
#[derive(Clone)]
pub struct Registry(Rc<RefCell<Inner>>);

struct Inner {
    domain: TrustDomain,
    world: World,
    revision: u64,
    subscribers: Vec<Subscriber>,
}

/// A proxy, as seen from here.
struct Subscriber {
    client: Client,
    server: ServerStream,
    builder: Builder,
    configuration: Arc<Configuration>,
    may_refuse: bool,
}

impl Registry {
    /// A mesh of the trust domain `domain` in which there is nothing yet. Any of its identities
    /// may call what no policy guards.
    pub fn new(domain: &str) -> Registry {
        let registry = Registry::empty(domain);
        let domain = registry.0.borrow().domain.clone();
        let mesh = MeshSettings {
            trust_domain: domain,
            cidrs: BTreeSet::new(),
            dns_zone: DnsZone::new("cluster.local").expect("it is a zone"),
            outbound: OutboundPolicy::Registered,
            unguarded: UnguardedPolicy::AllowMesh,
        };
        let nothing =
            Guards { scope: GuardScope::Mesh, policies: BTreeMap::new(), ports: BTreeMap::new() };
        registry.apply([Object::Mesh(Arc::new(mesh)), Object::Guards(Arc::new(nothing))], []);
        registry
    }

    /// The same of which nothing is known, not even of the mesh itself.
    pub fn empty(domain: &str) -> Registry {
        let domain = domain.parse().expect("it is written as a trust domain");
        let mut world = World::new();
        world.set_fully_listed();
        let (revision, subscribers) = (0, Vec::new());
        Registry(Rc::new(RefCell::new(Inner { domain, world, revision, subscribers })))
    }

    /// What a proxy knows that stands for `own`, if for any, and calls `services`. It is kept up to
    /// date from now on.
    pub fn subscribe(
        &self,
        own: Option<OwnWorkload>,
        services: &[ObjectName],
    ) -> Arc<Configuration> {
        self.subscribe_as(Release::this(), own, services)
    }

    /// The same for a proxy of `release`, which may refuse what it lacks features for.
    pub fn subscribe_as(
        &self,
        release: Release,
        own: Option<OwnWorkload>,
        services: &[ObjectName],
    ) -> Arc<Configuration> {
        let called: Vec<_> = services.iter().cloned().map(Subscription::Service).collect();
        self.subscribe_in(None, release, own, &called)
    }

    /// The same for a proxy whose identity is of `namespace`, if that is known, since routes may be
    /// for callers of it alone; and that knows all that is `called`.
    pub fn subscribe_in(
        &self,
        namespace: Option<Namespace>,
        release: Release,
        own: Option<OwnWorkload>,
        called: &[Subscription],
    ) -> Arc<Configuration> {
        let mut inner = self.0.borrow_mut();
        let name = own.as_ref().map(|own| own.name.clone());
        let may_refuse = release != Release::this();
        let mut client =
            Client::new(&name.iter().map(ToString::to_string).collect::<String>(), release);
        if own.is_some() {
            client.subscribe(&Subscription::SelfWorkload, Moment::from_nanos(0), None);
        }
        for wanted in called {
            client.subscribe(wanted, Moment::from_nanos(0), None);
        }
        client.connected();
        let (mut builder, mut server) =
            (Builder::new(inner.domain.clone(), own), ServerStream::new(name));
        if let Some(namespace) = namespace {
            builder = builder.of_namespace(namespace.clone());
            server = server.of_namespace(namespace);
        }
        let configuration = Arc::new(Configuration::new(Snapshot::default()));
        let told = configuration.clone();
        let mut subscriber = Subscriber { client, server, builder, configuration, may_refuse };
        subscriber.settle(&inner.world);
        inner.subscribers.push(subscriber);
        told
    }

    /// Takes a change, and tells all proxies that it concerns.
    pub fn apply(
        &self,
        changed: impl IntoIterator<Item = Object>,
        removed: impl IntoIterator<Item = ObjectKey>,
    ) {
        let inner = &mut *self.0.borrow_mut();
        inner.revision += 1;
        let source = SourceVersion { epoch: 1, revision: inner.revision };
        let wire = |object| WireObject::new(object, source).expect("it is small");
        let touched = inner.world.apply(changed.into_iter().map(wire), removed, source);
        for subscriber in &mut inner.subscribers {
            subscriber.server.on_change(&touched);
            subscriber.settle(&inner.world);
        }
    }

    /// What proxies refuse, as they have acknowledged it: the object, and why.
    pub fn refused(&self) -> Vec<(String, String)> {
        let inner = self.0.borrow();
        let receipts = inner.subscribers.iter().flat_map(|it| it.server.receipts());
        receipts.filter_map(|it| Some((it.key.to_string(), it.refused?))).collect()
    }

    /// Adds a Service with one port, at which `protocol` is spoken. Nothing guards it.
    pub fn add_service(&self, name: &str, vip: &str, protocol: Protocol, traffic: TrafficPolicy) {
        let name: ObjectName = name.parse().expect("it is a name");
        let ip: IpAddr = vip.parse().expect("it is written as an address");
        let settings = ServicePort { name: None, protocol, mtls: MtlsMode::Strict, traffic: None };
        let service = Service {
            name: name.clone(),
            vips: BTreeSet::from([Address { network: Network::default(), ip }]),
            ports: BTreeMap::from([(port(80), settings)]),
            traffic,
        };
        let namespace = GuardScope::Namespace(name.own_namespace());
        let guards = [GuardScope::Service(name), namespace].map(|scope| {
            Object::Guards(Arc::new(Guards {
                scope,
                policies: BTreeMap::new(),
                ports: BTreeMap::new(),
            }))
        });
        self.apply(guards.into_iter().chain([Object::Service(Arc::new(service))]), []);
    }

    /// Has a policy of its own guard the Service `name`.
    pub fn guard_service(&self, name: &str, allow: Option<Vec<Rule>>, deny: Vec<Rule>) {
        let name: ObjectName = name.parse().expect("it is a name");
        let policy = AuthorizationPolicy {
            name: name.clone(),
            mode: PolicyMode::Enforce,
            allow,
            deny,
            audit: Vec::new(),
        };
        let policy = Object::Policy(Arc::new(Policy::Authorization(policy)));
        // What is meant is known by its content alone, so any source will do.
        let source = SourceVersion { epoch: 1, revision: 1 };
        let version = WireObject::new(policy.clone(), source).expect("it is small").version();
        let kept = PolicyName { kind: PolicyKind::Authorization, object: name.clone() };
        let policies = BTreeMap::from([(kept, version)]);
        let guards = Guards { scope: GuardScope::Service(name), policies, ports: BTreeMap::new() };
        self.apply([policy, Object::Guards(Arc::new(guards))], []);
    }

    /// Adds or changes a workload, and says that nothing guards it but what guards its Services.
    pub fn add_workload(&self, workload: Workload) {
        let scope = GuardScope::Workload(workload.name.clone());
        let guards = Guards { scope, policies: BTreeMap::new(), ports: BTreeMap::new() };
        self.apply([Object::Guards(Arc::new(guards)), Object::Workload(Arc::new(workload))], []);
    }
}

impl Subscriber {
    /// Moves messages until both sides have nothing to say.
    fn settle(&mut self, world: &World) {
        loop {
            let mut is_quiet = true;
            while let Some(request) = self.client.next_request() {
                drop(self.server.on_request(request).expect("it is our own client"));
                is_quiet = false;
            }
            if let Some(response) = self.server.next_response(world) {
                let outcome = self.client.on_response(response, &check);
                let outcome = outcome.expect("it is our own server");
                assert!(self.may_refuse || outcome.refused.is_empty(), "{:?}", outcome.refused);
                self.configuration.replace(self.builder.update(&self.client, &outcome));
                is_quiet = false;
            }
            if is_quiet {
                return;
            }
        }
    }
}

/// The port `number`.
///
/// # Panics
/// If it is 0.
pub fn port(number: u16) -> Port {
    Port::new(number).expect("it is not 0")
}

/// A healthy workload of some Services: their port 80 leads to its port 80, where `protocol` is
/// spoken, by way of the proxy at `tunnel`.
///
/// # Panics
/// If a name is none.
pub fn workload(
    name: &str,
    generation: u64,
    identity: &SpiffeId,
    tunnel: SocketAddr,
    services: &[&str],
    protocol: Protocol,
) -> Workload {
    let ports = BTreeMap::from([(port(80), port(80))]);
    let services =
        services.iter().map(|service| (service.parse().expect("it is a name"), ports.clone()));
    let own = WorkloadPort { protocol, mtls: MtlsMode::Strict };
    Workload {
        name: name.parse().expect("it is a name"),
        generation,
        identity: Some(identity.clone()),
        network: Network::default(),
        addresses: BTreeSet::from([tunnel.ip()]),
        locality: None,
        health: Health::Healthy,
        ports: BTreeMap::from([(port(80), own)]),
        mtls: MtlsMode::Strict,
        services: services.collect(),
        tunnel: Tunnel::One(tunnel),
        labels: Default::default(),
        health_checks: Default::default(),
    }
}
