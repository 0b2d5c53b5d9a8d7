//! How resources are looked at: every look is written down, so that it is known what a result
//! depends on.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use weft_crd::{
    AuthorizationPolicy, ConfigMap, ExternalService, Key, Kind, Mesh, Metadata, Object, Pod,
    Resource, Route, RouteMatch, Scope, Service, Target, Workload,
};
use weft_model::{Health, ObjectName, Parent, RouteKind, RouteName};

use crate::snapshot::{Assignment, Options, Snapshot};

type Labels = BTreeMap<String, String>;

/// A look at the resources, whether or not it found something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Read {
    /// At one resource.
    Object(Key),
    /// At all Meshes.
    Meshes,
    /// Whether a namespace has any workload.
    AnyWorkload(Kind, String),
    /// At all Services of a namespace.
    Services(String),
    /// At all ExternalServices of a namespace.
    ExternalServices(String),
    /// At the Services of a namespace that select these labels.
    ServicesSelecting(String, Labels),
    /// Whether any workload of a namespace has these labels.
    AnySelected(Kind, String, Labels),
    /// Whether any of these has a label of this name.
    AnyLabelled(Kind, String, Labels, String),
    /// At the routes of a kind and namespace that name this as a parent.
    RoutesOf(Kind, String, Parent),
    /// At those of them that have this match too.
    RoutesMatching(Kind, String, Parent, Box<RouteMatch>),
    /// At the policies of a kind and namespace that are for this target.
    PoliciesFor(Kind, String, Target),
    /// At the authorization policies of a namespace that are for a whole mesh, whatever it is
    /// called.
    PoliciesForMesh(String),
    /// At the authorization policies of a namespace that select these labels.
    PoliciesSelecting(String, Labels),
    /// At what a Service was assigned.
    Assignment(ObjectName),
    /// At what a workload was assigned.
    WorkloadAssignment(ObjectName),
    /// At how a workload fares.
    Health(ObjectName),
}

/// The kinds of instances.
const INSTANCES: [Kind; 2] = [Kind::Workload, Kind::Pod];

impl Read {
    /// Which resources it searched, if it searched: those of a kind in a namespace.
    pub(crate) fn searched(&self) -> Option<(Kind, &str)> {
        match self {
            Read::Object(_)
            | Read::Assignment(_)
            | Read::WorkloadAssignment(_)
            | Read::Health(_) => None,
            Read::Meshes => Some((Kind::Mesh, "")),
            Read::Services(namespace) | Read::ServicesSelecting(namespace, _) => {
                Some((Kind::Service, namespace))
            }
            Read::ExternalServices(namespace) => Some((Kind::ExternalService, namespace)),
            Read::AnyWorkload(kind, namespace)
            | Read::AnySelected(kind, namespace, _)
            | Read::AnyLabelled(kind, namespace, ..)
            | Read::RoutesOf(kind, namespace, _)
            | Read::RoutesMatching(kind, namespace, ..)
            | Read::PoliciesFor(kind, namespace, _) => Some((*kind, namespace)),
            Read::PoliciesForMesh(namespace) | Read::PoliciesSelecting(namespace, _) => {
                Some((Kind::AuthorizationPolicy, namespace))
            }
        }
    }

    /// Whether a search for this finds `resource`, which is among those searched.
    pub(crate) fn finds(&self, resource: &Resource) -> bool {
        match (self, resource) {
            (
                Read::Meshes
                | Read::AnyWorkload(..)
                | Read::Services(_)
                | Read::ExternalServices(_),
                _,
            ) => true,
            (Read::ServicesSelecting(_, labels), Resource::Service(service)) => {
                !service.selector.is_empty() && is_subset(&service.selector, labels)
            }
            (Read::AnySelected(.., selector), Resource::Workload(_) | Resource::Pod(_)) => {
                is_subset(selector, &resource.metadata().labels)
            }
            (
                Read::AnyLabelled(_, _, selector, label),
                Resource::Workload(_) | Resource::Pod(_),
            ) => {
                let labels = &resource.metadata().labels;
                is_subset(selector, labels) && labels.contains_key(label)
            }
            (Read::RoutesOf(_, _, parent), resource) => {
                resource.as_route().is_some_and(|route| is_for(route, parent))
            }
            (Read::RoutesMatching(_, _, parent, wanted), resource) => {
                resource.as_route().is_some_and(|route| {
                    let mut matches = route.rules.iter().flat_map(|rule| &rule.matches);
                    is_for(route, parent) && matches.any(|own| own == &**wanted)
                })
            }
            (Read::PoliciesFor(.., target), policy) => policy.targets().contains(target),
            (Read::PoliciesForMesh(_), Resource::AuthorizationPolicy(policy)) => {
                policy.scope.targets().iter().any(|target| matches!(target, Target::Mesh(_)))
            }
            (Read::PoliciesSelecting(_, labels), Resource::AuthorizationPolicy(policy)) => {
                matches!(&policy.scope, Scope::Workloads(selector)
                    if is_subset(&selector.match_labels, labels))
            }
            _ => false,
        }
    }
}

/// Whether `reference` is to `parent`, or to a part of it.
pub(crate) fn names(reference: &weft_crd::ParentRef, parent: &Parent) -> bool {
    let kind = match parent {
        Parent::Service(_) => weft_crd::ParentKind::Service,
        Parent::External(_) => weft_crd::ParentKind::External,
    };
    let object = parent.object();
    reference.kind == kind
        && (reference.namespace.as_str(), reference.name.as_str())
            == (object.namespace(), object.name())
}

fn is_for(route: &Route, parent: &Parent) -> bool {
    route.parents.iter().any(|reference| names(reference, parent))
}

fn is_subset(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A kind of policy.
pub(crate) trait Policy {
    /// Which.
    const KIND: Kind;

    /// The policy that `resource` is, if it is of this kind.
    fn of(resource: &Resource) -> Option<&Self>;
}

/// Makes `$policy` of `weft_crd` one of these.
macro_rules! policy {
    ($policy:ident) => {
        impl crate::reader::Policy for weft_crd::$policy {
            const KIND: weft_crd::Kind = weft_crd::Kind::$policy;

            fn of(resource: &weft_crd::Resource) -> Option<&Self> {
                match resource {
                    weft_crd::Resource::$policy(policy) => Some(policy),
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use policy;

/// The resources, seen by one that makes something of them.
pub(crate) struct Reader<'s> {
    snapshot: &'s Snapshot,
    pub(crate) options: &'s Options,
    reads: RefCell<BTreeSet<Read>>,
}

impl<'s> Reader<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, options: &'s Options) -> Reader<'s> {
        Reader { snapshot, options, reads: RefCell::default() }
    }

    /// All that was looked at.
    pub(crate) fn into_reads(self) -> BTreeSet<Read> {
        self.reads.into_inner()
    }

    fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<&'s Object> {
        let key = Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        let object = self.snapshot.get(&key);
        self.reads.borrow_mut().insert(Read::Object(key));
        object.map(|object| &**object)
    }

    /// The resources that `read` finds, by name.
    fn search(&self, read: Read) -> Vec<&'s Object> {
        let (kind, namespace) = read.searched().expect("only searches are passed");
        let all = self.snapshot.of(kind, namespace).map(|object| &**object);
        let found = all.filter(|object| read.finds(&object.resource)).collect();
        self.reads.borrow_mut().insert(read);
        found
    }

    pub(crate) fn service(&self, name: &ObjectName) -> Option<(&'s Object, &'s Service)> {
        let object = self.object(Kind::Service, name.namespace(), name.name())?;
        as_service(object).map(|service| (object, service))
    }

    pub(crate) fn external(&self, name: &ObjectName) -> Option<(&'s Object, &'s ExternalService)> {
        let object = self.object(Kind::ExternalService, name.namespace(), name.name())?;
        as_external(object).map(|external| (object, external))
    }

    /// The ExternalServices of a namespace, by name.
    pub(crate) fn externals_of(&self, namespace: &str) -> Vec<&'s ExternalService> {
        let found = self.search(Read::ExternalServices(namespace.to_owned()));
        found.into_iter().filter_map(as_external).collect()
    }

    pub(crate) fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<(&'s Object, &'s ConfigMap)> {
        let object = self.object(Kind::ConfigMap, namespace, name)?;
        match &object.resource {
            Resource::ConfigMap(map) => Some((object, map)),
            _ => None,
        }
    }

    pub(crate) fn workload(&self, name: &ObjectName) -> Option<(&'s Object, &'s Workload)> {
        let object = self.object(Kind::Workload, name.namespace(), name.name())?;
        match &object.resource {
            Resource::Workload(workload) => Some((object, workload)),
            _ => None,
        }
    }

    pub(crate) fn pod(&self, name: &ObjectName) -> Option<&'s Pod> {
        match &self.object(Kind::Pod, name.namespace(), name.name())?.resource {
            Resource::Pod(pod) => Some(pod),
            _ => None,
        }
    }

    pub(crate) fn route(&self, name: &RouteName) -> Option<(&'s Object, &'s Route)> {
        let RouteName { kind, object } = name;
        let object = self.object(kind_of(*kind), object.namespace(), object.name())?;
        as_route(object).map(|route| (object, route))
    }

    pub(crate) fn policy<P: Policy>(&self, name: &ObjectName) -> Option<(&'s Object, &'s P)> {
        let object = self.object(P::KIND, name.namespace(), name.name())?;
        P::of(&object.resource).map(|policy| (object, policy))
    }

    pub(crate) fn meshes(&self) -> Vec<(&'s Object, &'s Mesh)> {
        let as_mesh = |object: &'s Object| match &object.resource {
            Resource::Mesh(mesh) => Some((object, mesh)),
            _ => None,
        };
        self.search(Read::Meshes).into_iter().filter_map(as_mesh).collect()
    }

    pub(crate) fn has_workloads(&self, namespace: &str) -> bool {
        let any = |kind| Read::AnyWorkload(kind, namespace.to_owned());
        INSTANCES.into_iter().any(|kind| !self.search(any(kind)).is_empty())
    }

    pub(crate) fn has_selected(&self, namespace: &str, selector: &Labels) -> bool {
        let any = |kind| Read::AnySelected(kind, namespace.to_owned(), selector.clone());
        INSTANCES.into_iter().any(|kind| !self.search(any(kind)).is_empty())
    }

    /// Whether any workload of the namespace that is selected has a label called `label`.
    pub(crate) fn has_labelled(&self, namespace: &str, selector: &Labels, label: &str) -> bool {
        let any = |kind| {
            Read::AnyLabelled(kind, namespace.to_owned(), selector.clone(), label.to_owned())
        };
        INSTANCES.into_iter().any(|kind| !self.search(any(kind)).is_empty())
    }

    /// The Services of a namespace.
    pub(crate) fn services_of(&self, namespace: &str) -> Vec<ObjectName> {
        let found = self.search(Read::Services(namespace.to_owned()));
        let name = |object: &Object| {
            let Metadata { namespace, name, .. } = object.resource.metadata();
            ObjectName::new(namespace, name).ok()
        };
        found.into_iter().filter_map(name).collect()
    }

    pub(crate) fn services_selecting(&self, namespace: &str, labels: &Labels) -> Vec<&'s Service> {
        let read = Read::ServicesSelecting(namespace.to_owned(), labels.clone());
        self.search(read).into_iter().filter_map(as_service).collect()
    }

    /// The routes of a kind and namespace that name `parent` as theirs, by name.
    pub(crate) fn routes_of(
        &self,
        kind: RouteKind,
        namespace: &str,
        parent: &Parent,
    ) -> Vec<&'s Route> {
        let read = Read::RoutesOf(kind_of(kind), namespace.to_owned(), parent.clone());
        self.search(read).into_iter().filter_map(as_route).collect()
    }

    /// Those of them that have the match `wanted` too.
    pub(crate) fn routes_matching(
        &self,
        kind: RouteKind,
        namespace: &str,
        parent: &Parent,
        wanted: &RouteMatch,
    ) -> Vec<&'s Route> {
        let (kind, wanted) = (kind_of(kind), Box::new(wanted.clone()));
        let read = Read::RoutesMatching(kind, namespace.to_owned(), parent.clone(), wanted);
        self.search(read).into_iter().filter_map(as_route).collect()
    }

    /// The policies of `namespace` that are for `target`.
    pub(crate) fn policies_for<P: Policy>(&self, namespace: &str, target: Target) -> Vec<&'s P> {
        let read = Read::PoliciesFor(P::KIND, namespace.to_owned(), target);
        self.search(read).into_iter().filter_map(|object| P::of(&object.resource)).collect()
    }

    /// The authorization policies of `namespace` that are for a whole mesh.
    pub(crate) fn authorization_policies_for_mesh(
        &self,
        namespace: &str,
    ) -> Vec<&'s AuthorizationPolicy> {
        let found = self.search(Read::PoliciesForMesh(namespace.to_owned()));
        found.into_iter().filter_map(|object| AuthorizationPolicy::of(&object.resource)).collect()
    }

    pub(crate) fn authorization_policies_selecting(
        &self,
        namespace: &str,
        labels: &Labels,
    ) -> Vec<&'s AuthorizationPolicy> {
        let read = Read::PoliciesSelecting(namespace.to_owned(), labels.clone());
        self.search(read)
            .into_iter()
            .filter_map(|object| AuthorizationPolicy::of(&object.resource))
            .collect()
    }

    pub(crate) fn health(&self, workload: &ObjectName) -> Health {
        self.reads.borrow_mut().insert(Read::Health(workload.clone()));
        self.snapshot.health(workload)
    }

    pub(crate) fn assignment(&self, service: &ObjectName) -> Option<&'s Assignment> {
        self.reads.borrow_mut().insert(Read::Assignment(service.clone()));
        self.snapshot.assignment(service)
    }

    pub(crate) fn workload_assignment(&self, workload: &ObjectName) -> Option<&'s Assignment> {
        self.reads.borrow_mut().insert(Read::WorkloadAssignment(workload.clone()));
        self.snapshot.workload_assignment(workload)
    }
}

fn as_service(object: &Object) -> Option<&Service> {
    match &object.resource {
        Resource::Service(service) => Some(service),
        _ => None,
    }
}

fn as_external(object: &Object) -> Option<&ExternalService> {
    match &object.resource {
        Resource::ExternalService(external) => Some(external),
        _ => None,
    }
}

fn kind_of(route: RouteKind) -> Kind {
    match route {
        RouteKind::Grpc => Kind::GrpcRoute,
        RouteKind::Http => Kind::HttpRoute,
        RouteKind::Tls => Kind::TlsRoute,
        RouteKind::Tcp => Kind::TcpRoute,
    }
}

fn as_route(object: &Object) -> Option<&Route> {
    object.resource.as_route()
}
