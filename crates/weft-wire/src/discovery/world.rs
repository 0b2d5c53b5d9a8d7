//! All objects of the mesh, and what leads from a subscription to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_model::{Address, Namespace, ObjectName, Parent, RouteName};

use super::resource::Answer;
use super::subscription::Subscription;
use crate::envelope::{SourceVersion, WireObject};
use crate::key::ObjectKey;
use crate::objects::Object;

/// All objects of the mesh as one replica of the control plane knows them, with an index of what
/// leads to them.
#[derive(Clone, Debug, Default)]
pub struct World {
    objects: BTreeMap<ObjectKey, Arc<WireObject>>,
    index: BTreeMap<Link, BTreeSet<ObjectKey>>,
    source: SourceVersion,
    is_fully_listed: bool,
}

/// Something that a view was made from, and that may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Link {
    /// An object, there or not.
    Object(ObjectKey),
    /// The routes of a Service, or of a destination outside.
    RoutesOf(Parent),
    /// The workloads of a Service.
    WorkloadsOf(ObjectName),
    /// What has an address.
    At(Address),
    /// The roots of all trust domains.
    Trusts,
    /// The destinations outside that the workloads of a namespace may call; without one, those of
    /// all namespaces may.
    ExternalsFor(Option<Namespace>),
}

/// What a change of the world may concern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    links: BTreeSet<Link>,
    everything: bool,
}

impl Touched {
    /// Whether nothing at all changed.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty() && !self.everything
    }
}

/// The part of the world that some subscriptions lead to.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub(crate) objects: BTreeMap<ObjectKey, Arc<WireObject>>,
    pub(crate) answers: BTreeMap<Subscription, Answer>,
    links: BTreeSet<Link>,
}

impl View {
    /// The objects.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<WireObject>> {
        self.objects.values()
    }

    /// Whether what `touched` says may concern this view.
    pub(crate) fn is_touched(&self, touched: &Touched) -> bool {
        touched.everything || touched.links.iter().any(|link| self.links.contains(link))
    }
}

impl World {
    /// A world of which nothing is known yet.
    pub fn new() -> World {
        World::default()
    }

    /// How recent its sources are.
    pub fn source(&self) -> SourceVersion {
        self.source
    }

    /// Whether what is not here is known not to be anywhere.
    pub fn is_fully_listed(&self) -> bool {
        self.is_fully_listed
    }

    /// The object called `key`.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<WireObject>> {
        self.objects.get(key)
    }

    /// All objects, each after what it refers to.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<WireObject>> {
        self.objects.values()
    }

    /// Takes a change of the sources, which now are of the version `source`.
    pub fn apply(
        &mut self,
        changed: impl IntoIterator<Item = Arc<WireObject>>,
        removed: impl IntoIterator<Item = ObjectKey>,
        source: SourceVersion,
    ) -> Touched {
        let mut touched = Touched::default();
        self.source = source;
        for object in changed {
            let before = self.objects.insert(object.key().clone(), Arc::clone(&object));
            self.reindex(object.key(), before.as_deref(), Some(&object), &mut touched);
        }
        for key in removed {
            if let Some(before) = self.objects.remove(&key) {
                self.reindex(&key, Some(&before), None, &mut touched);
            }
        }
        touched
    }

    /// Says that all sources were read to their end: from now on, what is absent does not exist.
    pub fn set_fully_listed(&mut self) -> Touched {
        let was = std::mem::replace(&mut self.is_fully_listed, true);
        Touched { links: BTreeSet::new(), everything: !was }
    }

    fn reindex(
        &mut self,
        key: &ObjectKey,
        before: Option<&WireObject>,
        after: Option<&WireObject>,
        touched: &mut Touched,
    ) {
        let links = |object: Option<&WireObject>| {
            object.map(|object| links_to(object.object())).unwrap_or_default()
        };
        let (before, after) = (links(before), links(after));
        for link in before.difference(&after) {
            if let Some(keys) = self.index.get_mut(link) {
                keys.remove(key);
                if keys.is_empty() {
                    self.index.remove(link);
                }
            }
        }
        for link in after.difference(&before) {
            self.index.entry(link.clone()).or_default().insert(key.clone());
        }
        touched.links.extend(before.symmetric_difference(&after).cloned());
        touched.links.insert(Link::Object(key.clone()));
    }

    /// What `subscriptions` of the proxy of the workload `own` lead to, whose identity is of
    /// `namespace`.
    pub fn view<'a>(
        &self,
        own: Option<&ObjectName>,
        namespace: Option<&Namespace>,
        subscriptions: impl IntoIterator<Item = &'a Subscription>,
    ) -> View {
        let mut walk = Walk { world: self, namespace, view: View::default() };
        for subscription in subscriptions {
            let found = match subscription {
                Subscription::SelfWorkload => walk.own(own),
                Subscription::Service(name) => walk
                    .service(name)
                    .then(|| ObjectKey::Service(name.clone()))
                    .into_iter()
                    .collect(),
                Subscription::Address(address) => walk.address(address),
            };
            // Before all is listed, there may be more to it than is known.
            if self.is_fully_listed {
                let answer = if found.is_empty() { Answer::Absent } else { Answer::Found(found) };
                walk.view.answers.insert(subscription.clone(), answer);
            }
        }
        walk.view
    }
}

/// What leads to `object`, besides its name.
fn links_to(object: &Object) -> BTreeSet<Link> {
    match object {
        Object::Mesh(_) | Object::Policy(_) | Object::Guards(_) => BTreeSet::new(),
        Object::Trust(_) => BTreeSet::from([Link::Trusts]),
        Object::Service(service) => service.vips.iter().cloned().map(Link::At).collect(),
        Object::Workload(workload) => {
            let services = workload.services.keys().cloned().map(Link::WorkloadsOf);
            services.chain(workload.network_addresses().map(Link::At)).collect()
        }
        Object::External(external) => {
            let own = (!external.is_for_mesh).then(|| external.name.own_namespace());
            BTreeSet::from([Link::ExternalsFor(own)])
        }
        Object::Route(route) => {
            route.parents.iter().map(|parent| Link::RoutesOf(parent.parent.clone())).collect()
        }
    }
}

/// The way from subscriptions to objects. Everything looked at is written down.
struct Walk<'w> {
    world: &'w World,
    /// That of the caller.
    namespace: Option<&'w Namespace>,
    view: View,
}

impl<'w> Walk<'w> {
    fn object(&mut self, key: ObjectKey) -> Option<&'w Arc<WireObject>> {
        self.view.links.insert(Link::Object(key.clone()));
        let object = self.world.objects.get(&key)?;
        self.view.objects.insert(key, Arc::clone(object));
        Some(object)
    }

    fn linked(&mut self, link: Link) -> impl Iterator<Item = &'w ObjectKey> + use<'w> {
        let keys = self.world.index.get(&link);
        self.view.links.insert(link);
        keys.into_iter().flatten()
    }

    /// A Service with its routes, and with the Services that they lead to.
    fn service(&mut self, name: &ObjectName) -> bool {
        let is_there = self.endpoints(name);
        self.rules(Parent::Service(name.clone()));
        is_there
    }

    /// The routes of `parent` that are for the caller, with what they lead to.
    fn rules(&mut self, parent: Parent) {
        for key in self.linked(Link::RoutesOf(parent.clone())) {
            if !self.is_for_caller(key, parent.object()) {
                continue;
            }
            let Some(route) = self.object(key.clone()) else { continue };
            for backend in route.object().references() {
                match backend {
                    // Its own routes hold for those who call it by its own name.
                    ObjectKey::Service(backend) => drop(self.endpoints(&backend)),
                    other => drop(self.object(other)),
                }
            }
        }
    }

    /// Whether the route `key` of what is called `parent` is for the caller.
    fn is_for_caller(&self, key: &ObjectKey, parent: &ObjectName) -> bool {
        let ObjectKey::Route(RouteName { object, .. }) = key else { return true };
        let is_of = |namespace: &str| object.namespace() == namespace;
        is_of(parent.namespace()) || self.namespace.is_some_and(|own| is_of(own.as_str()))
    }

    /// A Service with its workloads, and those of the Service that takes over from it, for which
    /// no other does.
    fn endpoints(&mut self, name: &ObjectName) -> bool {
        let Some(service) = self.workloads(name) else { return false };
        if let Object::Service(service) = service.object()
            && let Some(failover) = &service.traffic.failover
        {
            self.workloads(&failover.service);
        }
        true
    }

    /// A Service with its workloads.
    fn workloads(&mut self, name: &ObjectName) -> Option<&'w Arc<WireObject>> {
        let service = self.object(ObjectKey::Service(name.clone()))?;
        for key in self.linked(Link::WorkloadsOf(name.clone())) {
            self.object(key.clone());
        }
        Some(service)
    }

    fn address(&mut self, address: &Address) -> Vec<ObjectKey> {
        let keys: Vec<ObjectKey> = self.linked(Link::At(address.clone())).cloned().collect();
        for key in &keys {
            match key {
                ObjectKey::Service(name) => {
                    self.service(name);
                }
                key => {
                    self.object(key.clone());
                }
            }
        }
        keys
    }

    /// The proxy's own workload with what guards it, and what holds for all.
    fn own(&mut self, own: Option<&ObjectName>) -> Vec<ObjectKey> {
        self.object(ObjectKey::Mesh);
        let trusts: Vec<ObjectKey> = self.linked(Link::Trusts).cloned().collect();
        for key in trusts {
            self.object(key);
        }
        self.externals(own);
        let key = own.map(|name| ObjectKey::Workload(name.clone()));
        let Some((key, object)) = key.and_then(|key| Some((key.clone(), self.object(key)?))) else {
            return vec![];
        };
        if let Object::Workload(workload) = object.object() {
            for name in workload.services.keys() {
                self.object(ObjectKey::Service(name.clone()));
            }
            for scope in workload.guard_scopes() {
                let guards = self.object(ObjectKey::Guards(scope));
                for policy in guards.into_iter().flat_map(|guards| guards.object().references()) {
                    self.object(policy);
                }
            }
        }
        vec![key]
    }

    /// The destinations outside that the caller may call, with their rules: who calls one of them
    /// does not ask for it.
    fn externals(&mut self, own: Option<&ObjectName>) {
        let namespace = self.namespace.cloned().or(own.map(ObjectName::own_namespace));
        for scope in [None].into_iter().chain(namespace.map(Some)) {
            for key in self.linked(Link::ExternalsFor(scope)) {
                self.object(key.clone());
                if let ObjectKey::External(name) = key {
                    self.rules(Parent::External(name.clone()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weft_model::{ExternalService, Failover, Percent};

    use super::*;
    use crate::testing::{
        external, external_route, read, route, routed_external, service, workload,
    };

    #[test]
    fn a_namespace_is_told_of_its_own_destinations_outside_and_of_those_of_the_mesh() {
        let source = SourceVersion { epoch: 1, revision: 1 };
        let wire = |external: ExternalService| WireObject::new(external.into(), source).unwrap();
        let for_mesh = ExternalService { is_for_mesh: true, ..external("weft-system/all") };
        let objects = [external("shop/api"), external("other/api"), for_mesh].map(wire);
        let mut world = World::new();
        world.apply(objects, [], source);
        let keys = |view: View| -> Vec<_> {
            view.objects().map(|object| object.key().to_string()).collect()
        };
        let own = [&Subscription::SelfWorkload];
        let (shop, web) = (Namespace::new("shop").unwrap(), read("shop/web-1"));
        let expected = ["external/shop/api", "external/weft-system/all"];
        assert_eq!(keys(world.view(None, Some(&shop), own)), expected);
        assert_eq!(keys(world.view(Some(&web), None, own)), expected);
        let view = world.view(None, Some(&Namespace::new("third").unwrap()), own);
        let is_touched = |touched: &Touched| view.is_touched(touched);
        assert!(!is_touched(&world.apply([wire(external("shop/new"))], [], source)));
        let for_mesh = ExternalService { is_for_mesh: true, ..external("weft-system/new") };
        assert!(is_touched(&world.apply([wire(for_mesh)], [], source)));
    }

    #[test]
    fn destinations_outside_come_with_their_rules_and_with_what_these_lead_to() {
        let source = SourceVersion { epoch: 1, revision: 1 };
        let wire = |object| WireObject::new(object, source).unwrap();
        let objects: [Object; 5] = [
            routed_external().into(),
            external_route("http/shop/egress", "shop/routed").into(),
            service("shop/cart-v1", "240.119.0.1").into(),
            // Its own rules are for those who call it by its own name.
            route("http/shop/cart", "shop/cart-v1", &["shop/other"]).into(),
            workload("shop/cart-1", "192.0.2.1", &["shop/cart-v1"]).into(),
        ];
        let mut world = World::new();
        world.apply(objects.map(wire), [], source);
        let keys = |world: &World, namespace: &str| -> Vec<_> {
            let namespace = Namespace::new(namespace).unwrap();
            let view = world.view(None, Some(&namespace), [&Subscription::SelfWorkload]);
            view.objects().map(|object| object.key().to_string()).collect()
        };
        let expected = [
            "service/shop/cart-v1",
            "workload/shop/cart-1",
            "external/shop/routed",
            "route/http/shop/egress",
        ];
        assert_eq!(keys(&world, "shop"), expected);
        assert_eq!(keys(&world, "other"), [""; 0]);
        // One that comes later comes by itself.
        let namespace = Namespace::new("shop").unwrap();
        let view = world.view(None, Some(&namespace), [&Subscription::SelfWorkload]);
        let later = external_route("http/shop/later", "shop/routed").into();
        assert!(view.is_touched(&world.apply([wire(later)], [], source)));
        assert_eq!(keys(&world, "shop").len(), expected.len() + 1);
    }

    #[test]
    fn who_calls_a_service_is_told_of_the_one_that_takes_over_and_of_no_further_one() {
        let of = |name: &str, other: &str| {
            let mut service = service(name, "240.119.0.1");
            let healthy_min = Percent::new(50).unwrap();
            let failover = Failover { service: read(other), port: None, healthy_min };
            service.traffic.failover = Some(failover);
            Object::from(service)
        };
        let objects = [
            of("shop/cart", "shop/backup"),
            of("shop/backup", "shop/third"),
            of("shop/third", "shop/cart"),
            workload("shop/cart-1", "192.0.2.1", &["shop/cart"]).into(),
            workload("shop/backup-1", "192.0.2.2", &["shop/backup"]).into(),
            workload("shop/third-1", "192.0.2.3", &["shop/third"]).into(),
        ];
        let source = SourceVersion { epoch: 1, revision: 1 };
        let wire = |object| WireObject::new(object, source).unwrap();
        let mut world = World::new();
        world.apply(objects.map(wire), [], source);
        let view = world.view(None, None, [&Subscription::Service(read("shop/cart"))]);
        let keys: Vec<_> = view.objects().map(|object| object.key().to_string()).collect();
        let expected = [
            "service/shop/backup",
            "service/shop/cart",
            "workload/shop/backup-1",
            "workload/shop/cart-1",
        ];
        assert_eq!(keys, expected);
    }
}
