//! Both sides together, in memory.

mod convergence;
mod features;
mod guarding;
mod lifetime;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use weft_model::{GuardScope, Namespace, Workload};
use weft_world::Moment;

use super::message::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use super::*;
use crate::envelope::{SourceVersion, WireObject};
use crate::feature::{Feature, Release};
use crate::key::ObjectKey;
use crate::objects::Object;
use crate::testing::{guards, mesh, policy, read, route, service, trust, workload};

const OWN: &str = "shop/web-1";
const NOW: Moment = Moment::from_nanos(0);

fn source(revision: u64) -> SourceVersion {
    SourceVersion { epoch: 1, revision }
}

fn wire(object: impl Into<Object>, revision: u64) -> Arc<WireObject> {
    WireObject::new(object.into(), source(revision)).unwrap()
}

/// A client of the version 0.9, with these features.
fn client(features: impl IntoIterator<Item = Feature>) -> Client {
    let features = features.into_iter().collect();
    Client::new(OWN, Release { version: "0.9".to_owned(), features, ..Release::this() })
}

/// A Service `cart` with a route to `cart-v1`, a workload of each, and something else.
fn small_world() -> World {
    let mut world = World::new();
    let objects = [
        wire(service("shop/cart", "240.119.0.1"), 1),
        wire(service("shop/cart-v1", "240.119.0.2"), 1),
        wire(service("shop/other", "240.119.0.3"), 1),
        wire(workload("shop/cart-1", "192.0.2.1", &["shop/cart"]), 1),
        wire(workload("shop/cart-v1-1", "192.0.2.2", &["shop/cart-v1", "shop/other"]), 1),
        wire(route("http/shop/cart", "shop/cart", &["shop/cart-v1"]), 1),
        wire(route("http/shop/v1", "shop/cart-v1", &["shop/other"]), 1),
    ];
    world.apply(objects, [], source(1));
    world.set_fully_listed();
    world
}

/// A client and its stream to a world, with nothing on the way.
struct Pair {
    client: Client,
    server: ServerStream,
    /// Every response so far.
    responses: Vec<DeltaDiscoveryResponse>,
    receipts: Vec<Receipt>,
}

impl Pair {
    fn new() -> Pair {
        Pair::with(Feature::ALL)
    }

    /// A proxy with these features.
    fn with(features: impl IntoIterator<Item = Feature>) -> Pair {
        let mut pair = Pair {
            client: client(features),
            server: ServerStream::new(None),
            responses: vec![],
            receipts: vec![],
        };
        pair.reconnect();
        pair
    }

    /// A new stream in place of the old one.
    fn reconnect(&mut self) {
        self.client.disconnected();
        self.client.connected();
        self.server = ServerStream::new(Some(read(OWN)));
    }

    fn subscribe(&mut self, text: &str) -> Lookup {
        self.client.subscribe(&read(text), NOW, Some(Waiter(7)))
    }

    /// Takes a change into `world` and tells the server of it.
    fn apply(
        &mut self,
        world: &mut World,
        changed: impl IntoIterator<Item = Arc<WireObject>>,
        removed: &[&str],
        revision: u64,
    ) {
        let removed = removed.iter().map(|key| read(key));
        let touched = world.apply(changed, removed, source(revision));
        self.server.on_change(&touched);
    }

    /// Moves messages until both sides have nothing to say, and says what came of it in all.
    fn settle(&mut self, world: &World) -> Outcome {
        self.settle_with(world, &|_| Ok(()))
    }

    fn settle_with(
        &mut self,
        world: &World,
        check: &dyn Fn(&Object) -> Result<(), String>,
    ) -> Outcome {
        let mut all = Outcome::default();
        for _ in 0..1000 {
            let mut is_quiet = true;
            while let Some(request) = self.client.next_request() {
                let request = DeltaDiscoveryRequest::decode(&*request.encode_to_vec()).unwrap();
                self.receipts.extend(self.server.on_request(request).unwrap());
                is_quiet = false;
            }
            if let Some(response) = self.server.next_response(world) {
                let response = DeltaDiscoveryResponse::decode(&*response.encode_to_vec()).unwrap();
                self.responses.push(response.clone());
                let outcome = self.client.on_response(response, check).unwrap();
                all.changed.extend(outcome.changed);
                all.removed.extend(outcome.removed);
                all.refused.extend(outcome.refused);
                all.answered.extend(outcome.answered);
                is_quiet = false;
            }
            if is_quiet {
                return all;
            }
        }
        panic!("they never stop talking");
    }

    fn held(&self) -> Vec<String> {
        self.client.objects().map(|object| object.key().to_string()).collect()
    }

    /// The names in the last response, in order.
    fn last_sent(&self) -> Vec<&str> {
        let names = self.responses.last().map(|last| &last.resources).into_iter().flatten();
        names.map(|resource| resource.name.as_str()).collect()
    }
}

#[test]
fn a_service_brings_all_that_a_call_needs_in_order_and_nothing_else() {
    let world = small_world();
    let mut pair = Pair::new();
    assert_eq!(pair.subscribe("service/shop/cart"), Lookup::Waiting);
    let outcome = pair.settle(&world);
    assert_eq!(
        pair.last_sent(),
        [
            "service/shop/cart",
            "service/shop/cart-v1",
            "workload/shop/cart-1",
            "workload/shop/cart-v1-1",
            "route/http/shop/cart",
            "answer/service/shop/cart",
        ]
    );
    let [answered] = outcome.answered.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((&answered.lookup, answered.waiters.as_slice()), (&Lookup::Found, &[Waiter(7)][..]));
    assert_eq!(pair.subscribe("service/shop/cart"), Lookup::Found);
    assert!(pair.receipts.iter().all(|receipt| receipt.refused.is_none()));
    assert_eq!(pair.receipts.len(), 5);
}

#[test]
fn an_address_brings_what_has_it() {
    let world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("address/default/240.119.0.3");
    pair.subscribe("address/default/192.0.2.1");
    pair.settle(&world);
    let expected = ["service/shop/other", "workload/shop/cart-1", "workload/shop/cart-v1-1"];
    assert_eq!(pair.held(), expected);
}

#[test]
fn what_does_not_exist_is_answered_and_appears_when_it_does() {
    let mut world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/late");
    pair.subscribe("address/default/10.0.0.9");
    let outcome = pair.settle(&world);
    assert!(outcome.answered.iter().all(|answered| answered.lookup == Lookup::Absent));
    assert_eq!(outcome.answered.len(), 2);
    let late = wire(service("shop/late", "10.0.0.9"), 2);
    pair.apply(&mut world, [late], &[], 2);
    let outcome = pair.settle(&world);
    assert!(outcome.answered.iter().all(|answered| answered.lookup == Lookup::Found));
    assert_eq!((pair.held(), outcome.answered.len()), (vec!["service/shop/late".to_owned()], 2));
}

#[test]
fn a_new_backend_is_there_before_the_route_that_leads_to_it() {
    let mut world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.settle(&world);
    let changed = route("http/shop/cart", "shop/cart", &["shop/cart-v1", "shop/other"]);
    pair.apply(&mut world, [wire(changed, 2)], &[], 2);
    let outcome = pair.settle(&world);
    assert_eq!(pair.last_sent(), ["service/shop/other", "route/http/shop/cart"]);
    assert!(outcome.answered.is_empty());
    // And back: the Service goes after the route no longer leads there.
    let back = route("http/shop/cart", "shop/cart", &["shop/cart-v1"]);
    pair.apply(&mut world, [wire(back, 3)], &[], 3);
    let outcome = pair.settle(&world);
    assert_eq!(pair.last_sent(), ["route/http/shop/cart"]);
    assert_eq!(outcome.removed, BTreeSet::from([read("service/shop/other")]));
}

#[test]
fn what_does_not_concern_a_proxy_is_not_sent() {
    let mut world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.settle(&world);
    let before = pair.responses.len();
    let unrelated = wire(service("shop/unrelated", "240.119.0.9"), 2);
    let same = wire(service("shop/cart", "240.119.0.1"), 2);
    pair.apply(&mut world, [unrelated, same], &[], 2);
    pair.settle(&world);
    assert_eq!(pair.responses.len(), before);
}

#[test]
fn absence_is_no_removal_until_all_is_listed() {
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.settle(&small_world());
    let held = pair.held();
    // A replica that has just begun knows nothing.
    let mut empty = World::new();
    empty.apply([], [], source(9));
    pair.reconnect();
    let outcome = pair.settle(&empty);
    assert_eq!(outcome, Outcome::default());
    assert_eq!(pair.held(), held);
    let touched = empty.set_fully_listed();
    pair.server.on_change(&touched);
    let outcome = pair.settle(&empty);
    assert_eq!(outcome.removed.len(), 5);
    assert_eq!(outcome.answered[0].lookup, Lookup::Absent);
    assert!(pair.held().is_empty());
}

#[test]
fn a_reconnect_brings_only_differences() {
    let mut world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.settle(&world);
    let before = pair.responses.len();
    pair.reconnect();
    pair.settle(&world);
    assert_eq!(pair.responses.len(), before);
    // While away, one changes, one goes, one comes.
    pair.client.disconnected();
    let changed = wire(service("shop/cart", "240.119.0.7"), 2);
    let new = wire(workload("shop/cart-2", "192.0.2.9", &["shop/cart"]), 2);
    pair.apply(&mut world, [changed, new], &["workload/shop/cart-1"], 2);
    pair.reconnect();
    let outcome = pair.settle(&world);
    assert_eq!(pair.last_sent(), ["service/shop/cart", "workload/shop/cart-2"]);
    assert_eq!(outcome.removed, BTreeSet::from([read("workload/shop/cart-1")]));
}

#[test]
fn what_nobody_wants_any_more_is_taken_away() {
    let world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.subscribe("service/shop/other");
    pair.settle(&world);
    pair.client.unsubscribe(&read("service/shop/cart"));
    pair.settle(&world);
    assert_eq!(pair.held(), ["service/shop/other", "workload/shop/cart-v1-1"]);
    // At once wanted again, it is answered again.
    pair.client.unsubscribe(&read("service/shop/other"));
    assert_eq!(pair.subscribe("service/shop/other"), Lookup::Waiting);
    let outcome = pair.settle(&world);
    assert_eq!(outcome.answered[0].waiters, [Waiter(7)]);
    assert!(outcome.changed.is_empty() && outcome.removed.is_empty());
}

#[test]
fn much_is_sent_in_parts_and_answered_at_the_end() {
    let mut world = World::new();
    let mut big = workload("shop/big", "192.0.2.1", &["shop/cart"]);
    let services = (0..4000).map(|n| (read(&format!("shop/s{n:0>50}")), BTreeMap::new()));
    big.services.extend(services);
    let bigs =
        (0..12).map(|n| wire(Workload { name: read(&format!("shop/big-{n}")), ..big.clone() }, 1));
    let objects: Vec<_> = bigs.chain([wire(service("shop/cart", "240.119.0.1"), 1)]).collect();
    world.apply(objects, [], source(1));
    world.set_fully_listed();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.settle(&world);
    assert!(pair.responses.len() >= 3, "{}", pair.responses.len());
    assert!(pair.responses.iter().all(|response| response.encoded_len() < 3 << 20));
    assert_eq!(pair.last_sent().last(), Some(&"answer/service/shop/cart"));
    assert_eq!(pair.held().len(), 13);
}

#[test]
fn self_brings_what_guards_the_workload_and_what_holds_for_all() {
    let mut world = small_world();
    let denies = Object::Policy(Arc::new(policy("shop/denies", "dev")));
    let denies = wire(denies, 2);
    let name = "authorization/shop/denies";
    let set = guards(GuardScope::Service(read("shop/cart")), &[(name, denies.version())]);
    let objects = [
        wire(Object::Mesh(Arc::new(mesh())), 2),
        wire(Object::Trust(Arc::new(trust(1))), 2),
        denies,
        wire(Object::Guards(Arc::new(set)), 2),
        wire(Object::Guards(Arc::new(guards(GuardScope::Mesh, &[]))), 2),
        wire(workload(OWN, "192.0.2.8", &["shop/cart"]), 2),
    ];
    world.apply(objects, [], source(2));
    let mut pair = Pair::new();
    pair.subscribe("self");
    pair.settle(&world);
    assert_eq!(
        pair.held(),
        [
            "mesh",
            "trust/weft.local",
            "policy/authorization/shop/denies",
            "guards/mesh",
            "guards/service/shop/cart",
            "service/shop/cart",
            "workload/shop/web-1",
        ]
    );
}

#[test]
fn routes_of_a_namespace_are_told_to_its_own_callers_alone() {
    let mut world = small_world();
    let names = ["http/other/mine", "http/third/mine"];
    let routes = names.map(|name| wire(route(name, "shop/cart", &["shop/cart-v1"]), 2));
    let touched = world.apply(routes, [], source(2));
    let subscriptions = [read("service/shop/cart")];
    let told = |namespace: Option<&str>| {
        let namespace = namespace.map(|name| Namespace::new(name).unwrap());
        let view = world.view(None, namespace.as_ref(), &subscriptions);
        assert!(view.is_touched(&touched));
        let keys = view.objects().map(|object| object.key().to_string());
        keys.filter(|key| key.starts_with("route/")).collect::<Vec<_>>()
    };
    assert_eq!(told(None), ["route/http/shop/cart"]);
    assert_eq!(told(Some("shop")), ["route/http/shop/cart"]);
    assert_eq!(told(Some("other")), ["route/http/other/mine", "route/http/shop/cart"]);
}
