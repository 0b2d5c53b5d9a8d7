//! Calls to the outside follow the rules that are for them, and none goes past rules that are not
//! known.

use std::collections::BTreeSet;

use weft_decide::route;
use weft_model::{
    Backend, Cidr, DnsZone, ExternalPort, HostPattern, HttpPath, MeshSettings, OutboundPolicy,
    PathMatch, Protocol, RouteMatch, RouteParent, RouteRule, Timeouts, Weight, WeightedBackend,
};
use weft_wire::discovery::{ServerStream, Subscription, World};
use weft_wire::{Release, SourceVersion, WireObject};
use weft_world::Moment;

use super::*;
use crate::decision;
use crate::error::ProxyError;
use crate::outside::Outward;

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn mesh() -> Object {
    Object::Mesh(Arc::new(MeshSettings {
        trust_domain: "weft.local".parse().unwrap(),
        cidrs: BTreeSet::new(),
        dns_zone: DnsZone::new("cluster.local").unwrap(),
        outbound: OutboundPolicy::Registered,
        unguarded: UnguardedPolicy::Deny,
    }))
}

/// Hosts and addresses outside, at 80 and 81, where `routes` say what is called.
fn external(routes: &[&str]) -> Object {
    let (protocol, tls, traffic) = (Protocol::Http, None, None);
    let settings =
        || ExternalPort { name: None, protocol, tls: tls.clone(), traffic: traffic.clone() };
    Object::External(Arc::new(ExternalService {
        name: "shop/api".parse().unwrap(),
        is_for_mesh: false,
        hosts: ["api.example", "*.eu.example"].map(|host| HostPattern::new(host).unwrap()).into(),
        cidrs: BTreeSet::from([Cidr::new("203.0.113.0".parse().unwrap(), 24).unwrap()]),
        ports: [80, 81].map(|number| (port(number), settings())).into(),
        endpoints: BTreeSet::new(),
        traffic: TrafficPolicy::default(),
        routes: routes.iter().map(|name| name.parse().unwrap()).collect(),
    }))
}

/// A route for calls to `parent` at 80, which leads back outside, at 81.
fn route_of(name: &str, parent: Parent) -> Object {
    let anything = RouteMatch {
        path: PathMatch::Prefix(HttpPath::new("/").unwrap()),
        headers: vec![],
        query: vec![],
        method: None,
    };
    let back = WeightedBackend {
        backend: Backend::External { name: "shop/api".parse().unwrap(), port: port(81) },
        weight: Weight::new(1).unwrap(),
        filters: vec![],
    };
    Object::Route(Arc::new(Route {
        name: name.parse().unwrap(),
        created: 0,
        parents: BTreeSet::from([RouteParent { parent, port: Some(port(80)) }]),
        hostnames: BTreeSet::new(),
        rules: vec![RouteRule {
            name: None,
            matches: vec![anything],
            filters: vec![],
            backends: vec![back],
            timeouts: Timeouts::default(),
            retry: None,
            faults: vec![],
        }],
    }))
}

fn outside(name: &str) -> Object {
    route_of(name, Parent::External("shop/api".parse().unwrap()))
}

/// The control plane, and a proxy of the namespace shop.
struct Lab {
    world: World,
    revision: u64,
    client: Client,
    stream: ServerStream,
    builder: Builder,
    snapshot: Arc<Snapshot>,
}

fn builder() -> Builder {
    let builder = Builder::new("weft.local".parse().unwrap(), None);
    builder.of_namespace(Namespace::new("shop").unwrap())
}

impl Lab {
    fn new(objects: impl IntoIterator<Item = Object>) -> Lab {
        let mut client = Client::new("shop/web", Release::this());
        client.subscribe(&Subscription::SelfWorkload, Moment::default(), None);
        client.connected();
        let mut world = World::new();
        world.set_fully_listed();
        let stream = ServerStream::new(None).of_namespace(Namespace::new("shop").unwrap());
        let (revision, snapshot) = Default::default();
        let mut lab = Lab { world, revision, client, stream, builder: builder(), snapshot };
        lab.apply([mesh()].into_iter().chain(objects));
        lab
    }

    fn apply(&mut self, objects: impl IntoIterator<Item = Object>) {
        self.apply_but(objects, |_| Ok(()));
    }

    /// Has the proxy told of `objects`, of which it refuses what `check` is against.
    fn apply_but(
        &mut self,
        objects: impl IntoIterator<Item = Object>,
        check: impl Fn(&Object) -> Result<(), String>,
    ) {
        self.revision += 1;
        let source = SourceVersion { epoch: 1, revision: self.revision };
        let objects = objects.into_iter().map(|object| WireObject::new(object, source).unwrap());
        let touched = self.world.apply(objects, [], source);
        self.stream.on_change(&touched);
        loop {
            while let Some(request) = self.client.next_request() {
                self.stream.on_request(request).unwrap();
            }
            let Some(response) = self.stream.next_response(&self.world) else { return };
            let outcome = self.client.on_response(response, &check).unwrap();
            self.snapshot = self.builder.update(&self.client, &outcome);
        }
    }

    fn called(&self, host: &str, port: u16) -> Result<Arc<Destination>, ProxyError> {
        let address = SocketAddr::from(([241, 0, 0, 1], port));
        Outward::for_host(host.into(), address).destination(&self.snapshot)
    }

    /// The routes whose rules a call to port 80 follows.
    fn rules(&self) -> Result<Vec<String>, String> {
        let called = self.called("api.example", 80).map_err(|error| error.to_string())?;
        Ok(called.routes.names().iter().map(ToString::to_string).collect())
    }
}

/// What the one rule of `called` leads to.
fn backend(lab: &Lab, called: &Destination) -> Arc<Destination> {
    let name = called.routes.names()[0].clone();
    let object = lab.client.get(&ObjectKey::Route(name)).unwrap();
    let Object::Route(route) = object.object() else { panic!("{object:?}") };
    let selected = route::Selected { route, rule_index: 0, rule: &route.rules[0] };
    let to = route::destination(&route.rules[0], 0.0);
    decision::backend(&lab.snapshot, called, selected, to).unwrap()
}

#[test]
fn a_rule_that_leads_back_leads_to_what_was_called_and_past_the_rules() {
    let lab = Lab::new([external(&["http/shop/out"]), outside("http/shop/out")]);
    for host in ["api.example", "a.eu.example"] {
        let called = lab.called(host, 80).unwrap();
        assert_eq!(called.routes.names().len(), 1);
        let itself = backend(&lab, &called);
        assert_eq!(itself.name.to_string(), format!("ExternalService shop/api:81 ({host})"));
        assert!(itself.routes.is_empty(), "it would go in circles");
    }
    let address = SocketAddr::from(([203, 0, 113, 7], 80));
    let called = Outward::at(address).destination(&lab.snapshot).unwrap();
    let itself = backend(&lab, &called);
    assert_eq!(itself.name.to_string(), "ExternalService shop/api:81 (203.0.113.7)");
    assert_eq!(itself.endpoints[0].address, SocketAddr::from(([203, 0, 113, 7], 81)));
    // No route is for that port.
    assert!(lab.called("api.example", 81).unwrap().routes.is_empty());
}

#[test]
fn nobody_is_called_past_rules_that_are_not_there() {
    let mut lab = Lab::new([external(&["http/shop/out"])]);
    let closed =
        |why: &str| Err(format!("the rules of ExternalService shop/api are not all {why}"));
    assert_eq!(lab.rules(), closed("known: http/shop/out is not there yet"));
    assert_eq!(lab.called("api.example", 81).unwrap_err().verdict().reason, "rules-unknown");
    let refuse = |object: &Object| match object {
        Object::Route(_) => Err("too new".to_owned()),
        _ => Ok(()),
    };
    lab.apply_but([outside("http/shop/out")], refuse);
    assert_eq!(lab.rules(), closed("known: http/shop/out is refused: too new"));
    // An older version that is held, and not for it, says nothing about it.
    let inside = Parent::Service("shop/cart".parse().unwrap());
    let mut lab = Lab::new([external(&[]), route_of("http/shop/out", inside)]);
    lab.client.subscribe(&"service/shop/cart".parse().unwrap(), Moment::default(), None);
    lab.apply([]);
    assert!(lab.client.get(&"route/http/shop/out".parse().unwrap()).is_some());
    lab.apply_but([external(&["http/shop/out"]), outside("http/shop/out")], refuse);
    lab.snapshot = builder().rebuild(&lab.client);
    assert_eq!(lab.rules(), closed("known: http/shop/out is refused: too new"));
}

#[test]
fn what_is_called_goes_by_the_rules_before_until_all_new_ones_are_there() {
    let mut lab = Lab::new([external(&["http/shop/out"]), outside("http/shop/out")]);
    let before = Ok(vec!["http/shop/out".to_owned()]);
    assert_eq!(lab.rules(), before);
    lab.apply([external(&["http/shop/next", "http/shop/out"])]);
    assert_eq!(lab.rules(), before);
    // A proxy that starts now knows of none before.
    let mut fresh = builder();
    let snapshot = fresh.rebuild(&lab.client);
    let name = "shop/api".parse().unwrap();
    assert!(snapshot.external_rules(&name, port(80)).is_err());
    lab.apply([outside("http/shop/next")]);
    let both = ["http/shop/next", "http/shop/out"].map(str::to_owned);
    assert_eq!(lab.rules(), Ok(both.into()));
    lab.apply([external(&[])]);
    assert_eq!(lab.rules(), Ok(vec![]));
}
