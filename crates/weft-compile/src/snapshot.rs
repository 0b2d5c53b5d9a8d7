//! All resources as they are now, and how they change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_crd::{Key, Kind, Object, Platform};
use weft_model::{Address, Health, Network, ObjectName};

/// What a compiler must know besides the resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the resources live: in Kubernetes, Services bring their own addresses.
    pub platform: Platform,
    /// The network of all workloads and addresses.
    pub network: Network,
    /// The mesh's own namespace, where policies for the whole mesh live.
    pub mesh_namespace: String,
}

/// For a mesh outside Kubernetes, as [`weft_crd::Options`] are.
impl Default for Options {
    fn default() -> Options {
        let weft_crd::Options { platform, namespace: _, mesh_namespace } =
            weft_crd::Options::default();
        Options { platform, network: Network::default(), mesh_namespace }
    }
}

/// The addresses that the store gave to a Service or a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// These.
    Given(BTreeSet<Address>),
    /// None, since no address of the mesh's range is free.
    Exhausted,
}

/// A change of one thing that is compiled.
#[derive(Clone, Debug)]
pub enum Change {
    /// A resource is new or changed.
    Put(Arc<Object>),
    /// A resource is gone.
    Delete(Key),
    /// A Service has other addresses, or none any more.
    Assign(ObjectName, Option<Assignment>),
    /// A workload has other addresses beside those that it states, or none any more.
    AssignWorkload(ObjectName, Option<Assignment>),
    /// It is known, or no longer known, how a workload fares. What is not known to be otherwise is
    /// healthy.
    Health(ObjectName, Option<Health>),
}

/// All resources as they are now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    objects: BTreeMap<Key, Arc<Object>>,
    assignments: BTreeMap<ObjectName, Assignment>,
    workload_assignments: BTreeMap<ObjectName, Assignment>,
    health: BTreeMap<ObjectName, Health>,
}

impl Snapshot {
    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// The resources of `kind` in `namespace`, by name.
    pub(crate) fn of(&self, kind: Kind, namespace: &str) -> impl Iterator<Item = &Arc<Object>> {
        let first = Key { kind, namespace: namespace.to_owned(), name: String::new() };
        let namespace = namespace.to_owned();
        let objects = self.objects.range(first..);
        objects
            .take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
            .map(|(_, object)| object)
    }

    pub(crate) fn assignment(&self, service: &ObjectName) -> Option<&Assignment> {
        self.assignments.get(service)
    }

    pub(crate) fn workload_assignment(&self, workload: &ObjectName) -> Option<&Assignment> {
        self.workload_assignments.get(workload)
    }

    pub(crate) fn health(&self, workload: &ObjectName) -> Health {
        self.health.get(workload).copied().unwrap_or(Health::Healthy)
    }

    /// Puts or removes a resource, and returns the one before.
    pub(crate) fn set(&mut self, key: Key, object: Option<Arc<Object>>) -> Option<Arc<Object>> {
        match object {
            Some(object) => self.objects.insert(key, object),
            None => self.objects.remove(&key),
        }
    }

    /// Changes what a Service was assigned. True if it was something else before.
    pub(crate) fn assign(&mut self, service: ObjectName, assignment: Option<Assignment>) -> bool {
        replace(&mut self.assignments, service, assignment)
    }

    /// Changes what a workload was assigned. True if it was something else before.
    pub(crate) fn assign_workload(
        &mut self,
        workload: ObjectName,
        assignment: Option<Assignment>,
    ) -> bool {
        replace(&mut self.workload_assignments, workload, assignment)
    }

    /// Changes how a workload fares. True if it was otherwise before.
    pub(crate) fn set_health(&mut self, workload: ObjectName, health: Option<Health>) -> bool {
        replace(&mut self.health, workload, health)
    }
}

/// Makes the entry `name` of `map` so. True if it was something else before.
fn replace<T: Clone + PartialEq>(
    map: &mut BTreeMap<ObjectName, T>,
    name: ObjectName,
    value: Option<T>,
) -> bool {
    let before = match value.clone() {
        Some(value) => map.insert(name, value),
        None => map.remove(&name),
    };
    before != value
}
