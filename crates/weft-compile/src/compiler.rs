//! The compiler: takes changes of resources, and makes anew what depends on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_crd::{Key, Kind, Metadata};
use weft_model::{GuardScope, ObjectName, Port, RouteKind, RouteName};
use weft_wire::{Object, ObjectError, ObjectKey, SourceVersion, WireObject};

use crate::memo::{Memo, Unit};
use crate::reader::{Read, Reader};
use crate::snapshot::{Change, Options, Snapshot};
use crate::status::Status;
use crate::{
    authorization_policy, backend_policy, backend_tls_policy, external_service, fault_policy,
    guards, mesh, route, service, workload,
};

/// What one unit comes to.
#[derive(Default)]
pub(crate) struct Output {
    /// The wire object, if there is one.
    pub(crate) object: Option<Object>,
    /// What became of the resource that the unit is of, if it is of one.
    pub(crate) status: Option<Status>,
}

/// All resources, and what became of them.
#[derive(Clone, Debug)]
pub struct Compiler {
    options: Options,
    snapshot: Snapshot,
    memo: Memo,
    made: BTreeMap<Unit, Made>,
}

#[derive(Clone, Debug)]
struct Made {
    object: Option<Arc<WireObject>>,
    status: Option<Status>,
}

/// What a change of resources leads to.
#[derive(Debug, Default, PartialEq)]
pub struct Update {
    /// The wire objects that are new or changed, each after what it refers to.
    pub changed: Vec<Arc<WireObject>>,
    /// The wire objects that are gone.
    pub removed: Vec<ObjectKey>,
    /// The resources whose status is new or changed.
    pub statuses: Vec<Status>,
}

impl Compiler {
    /// A compiler without resources.
    pub fn new(options: Options) -> Compiler {
        Compiler {
            options,
            snapshot: Snapshot::default(),
            memo: Memo::default(),
            made: BTreeMap::new(),
        }
    }

    /// Takes changes, after which the sources are of the version `source`.
    pub fn update(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        source: SourceVersion,
    ) -> Update {
        // These two are there whatever the resources are.
        let standing = [Unit::Mesh, Unit::Guards(GuardScope::Mesh)];
        let mut units: BTreeSet<Unit> =
            standing.into_iter().filter(|unit| !self.made.contains_key(unit)).collect();
        for change in changes {
            units.extend(self.take(change));
        }
        let mut update = Update::default();
        for unit in units {
            self.make(unit, source, &mut update);
        }
        update.changed.sort_by(|a, b| a.key().cmp(b.key()));
        update.removed.sort();
        // A name that passes from one unit to another is not gone.
        let changed = &update.changed;
        update.removed.retain(|key| !changed.iter().any(|object| object.key() == key));
        update
    }

    /// All wire objects, each after what it refers to.
    pub fn objects(&self) -> BTreeMap<&ObjectKey, &Arc<WireObject>> {
        let objects = self.made.values().filter_map(|made| made.object.as_ref());
        objects.map(|object| (object.key(), object)).collect()
    }

    /// What became of each resource.
    pub fn statuses(&self) -> impl Iterator<Item = &Status> {
        self.made.values().filter_map(|made| made.status.as_ref())
    }

    /// Which BackendPolicy says how clients treat `port` of the Service `service`, for each of the
    /// fields that one says, as in `spec.retryBudget.percent`.
    pub fn traffic_sources(&self, service: &ObjectName, port: Port) -> BTreeMap<&'static str, Key> {
        let reader = Reader::new(&self.snapshot, &self.options);
        let found = reader.service(service).map(|(_, found)| found);
        let port = found.and_then(|found| service::name_of(found, port));
        backend_policy::sources(&reader, service, port)
    }

    /// The same for `port` of the ExternalService `external`.
    pub fn external_sources(
        &self,
        external: &ObjectName,
        port: Port,
    ) -> BTreeMap<&'static str, Key> {
        let reader = Reader::new(&self.snapshot, &self.options);
        let found = reader.external(external).map(|(_, found)| found);
        let port = found.and_then(|found| external_service::name_of(found, port));
        backend_policy::sources_of_external(&reader, external, port)
    }

    /// What says how TLS is opened to `port` of the ExternalService `name`, if something does.
    pub fn tls_source(&self, name: &ObjectName, port: Port) -> Option<Key> {
        let reader = Reader::new(&self.snapshot, &self.options);
        let (object, external) = reader.external(name)?;
        let port = external.ports.iter().find(|one| one.port.get() == port.get())?;
        if port.tls.is_some() {
            return Some(object.key());
        }
        let policy = backend_tls_policy::in_force(&reader, external, port)?;
        let Metadata { namespace, name, .. } = policy.metadata.clone();
        Some(Key { kind: Kind::BackendTlsPolicy, namespace, name })
    }

    /// The name of the Mesh that is in force.
    pub fn mesh_in_force(&self) -> Option<&str> {
        let mesh = mesh::in_force(&Reader::new(&self.snapshot, &self.options))?;
        Some(&mesh.metadata.name)
    }

    /// How much is remembered of what was looked at.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.memo.len()
    }

    /// Takes a change into the snapshot, and returns the units that are to be made anew.
    fn take(&mut self, change: Change) -> BTreeSet<Unit> {
        let (key, object) = match change {
            Change::Put(object) => (object.key(), Some(object)),
            Change::Delete(key) => (key, None),
            Change::Assign(service, assignment) => {
                let read = Read::Assignment(service.clone());
                let is_new = self.snapshot.assign(service, assignment);
                return if is_new { self.memo.readers_of(&read) } else { BTreeSet::new() };
            }
            Change::AssignWorkload(workload, assignment) => {
                let read = Read::WorkloadAssignment(workload.clone());
                let is_new = self.snapshot.assign_workload(workload, assignment);
                return if is_new { self.memo.readers_of(&read) } else { BTreeSet::new() };
            }
            Change::Health(workload, health) => {
                let read = Read::Health(workload.clone());
                let is_new = self.snapshot.set_health(workload, health);
                return if is_new { self.memo.readers_of(&read) } else { BTreeSet::new() };
            }
        };
        let before = self.snapshot.set(key.clone(), object.clone());
        let resource = |object: &Option<Arc<weft_crd::Object>>| {
            object.as_ref().map(|object| object.resource.clone())
        };
        let (before, after) = (resource(&before), resource(&object));
        let mut units = self.memo.dependents(&key, before.as_ref(), after.as_ref());
        units.extend(own_units(&key));
        units
    }

    fn make(&mut self, unit: Unit, source: SourceVersion, update: &mut Update) {
        let reader = Reader::new(&self.snapshot, &self.options);
        let Output { object, mut status } = compile(&unit, &reader);
        let reads = reader.into_reads();
        let before = self.made.remove(&unit);
        let (old, old_status) = match before {
            Some(Made { object, status }) => (object, status),
            None => (None, None),
        };
        let object = match object.map(|object| renewed(object, old.as_ref(), source)).transpose() {
            Ok(object) => object,
            // Without its guards a scope is closed; all else has a status to say it in.
            Err(error) => {
                status.iter_mut().for_each(|status| status.refuse("TooLarge", &error));
                None
            }
        };
        let is_same = |a: &Arc<WireObject>, b: &Arc<WireObject>| Arc::ptr_eq(a, b);
        match (&object, &old) {
            (Some(new), Some(old)) if is_same(new, old) => {}
            (Some(new), _) => update.changed.push(Arc::clone(new)),
            (None, Some(old)) => update.removed.push(old.key().clone()),
            (None, None) => {}
        }
        if let Some(status) = &status
            && old_status.as_ref() != Some(status)
        {
            update.statuses.push(status.clone());
        }
        if object.is_none() && status.is_none() && !is_standing(&unit) {
            // It comes again with the resource that it is of.
            self.memo.record(&unit, BTreeSet::new());
        } else {
            self.memo.record(&unit, reads);
            self.made.insert(unit, Made { object, status });
        }
    }
}

fn is_standing(unit: &Unit) -> bool {
    matches!(unit, Unit::Mesh | Unit::Guards(GuardScope::Mesh))
}

/// `object` with its encoding: what there was, if it says the same.
fn renewed(
    object: Object,
    old: Option<&Arc<WireObject>>,
    source: SourceVersion,
) -> Result<Arc<WireObject>, ObjectError> {
    match old.filter(|old| old.object() == &object) {
        Some(old) => Ok(Arc::clone(old)),
        None => WireObject::new(object, source),
    }
}

/// The units that are there because the resource `key` is.
fn own_units(key: &Key) -> Vec<Unit> {
    let Key { kind, namespace, name } = key;
    if *kind == Kind::Mesh {
        return vec![Unit::Mesh, Unit::MeshStatus(name.clone())];
    }
    // The reader lets no other names through.
    let Ok(object) = ObjectName::new(namespace, name) else { return vec![] };
    let route = |kind, object| Unit::Route(RouteName { kind, object });
    match kind {
        Kind::Mesh => vec![],
        Kind::Service => {
            vec![Unit::Service(object.clone()), Unit::Guards(GuardScope::Service(object))]
        }
        Kind::Workload | Kind::Pod => vec![
            Unit::Guards(GuardScope::Namespace(object.own_namespace())),
            Unit::Guards(GuardScope::Workload(object.clone())),
            Unit::Workload(object),
        ],
        Kind::HttpRoute => vec![route(RouteKind::Http, object)],
        Kind::GrpcRoute => vec![route(RouteKind::Grpc, object)],
        Kind::TlsRoute => vec![route(RouteKind::Tls, object)],
        Kind::TcpRoute => vec![route(RouteKind::Tcp, object)],
        Kind::ExternalService => vec![Unit::ExternalService(object)],
        Kind::BackendPolicy => vec![Unit::BackendPolicy(object)],
        Kind::BackendTlsPolicy => vec![Unit::BackendTlsPolicy(object)],
        Kind::ConfigMap => vec![Unit::ConfigMap(object)],
        Kind::AuthorizationPolicy => vec![Unit::AuthorizationPolicy(object)],
        Kind::FaultPolicy => vec![Unit::FaultPolicy(object)],
    }
}

fn compile(unit: &Unit, reader: &Reader<'_>) -> Output {
    match unit {
        Unit::Mesh => mesh::compile(reader),
        Unit::MeshStatus(name) => mesh::status(reader, name),
        Unit::Service(name) => service::compile(reader, name),
        Unit::Workload(name) => workload::compile(reader, name),
        Unit::ExternalService(name) => external_service::compile(reader, name),
        Unit::Route(name) => route::compile(reader, name),
        Unit::BackendPolicy(name) => backend_policy::status(reader, name),
        Unit::BackendTlsPolicy(name) => backend_tls_policy::status(reader, name),
        Unit::ConfigMap(name) => backend_tls_policy::status_of_map(reader, name),
        Unit::AuthorizationPolicy(name) => authorization_policy::compile(reader, name),
        Unit::FaultPolicy(name) => fault_policy::status(reader, name),
        Unit::Guards(scope) => guards::compile(reader, scope),
    }
}

#[cfg(test)]
mod tests;
