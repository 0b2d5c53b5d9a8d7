//! What was made, and which looks at the resources it was made from.

use std::collections::{BTreeMap, BTreeSet};

use weft_crd::{Key, Kind, Resource};
use weft_model::{GuardScope, ObjectName, RouteName};

use crate::reader::Read;

/// Something that is made by one function of the resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    /// What holds for the whole mesh.
    Mesh,
    /// Whether one Mesh is the one that holds.
    MeshStatus(String),
    /// A Service.
    Service(ObjectName),
    /// A workload.
    Workload(ObjectName),
    /// A destination outside of the mesh.
    ExternalService(ObjectName),
    /// A route.
    Route(RouteName),
    /// Whether a backend policy is in force; it has no wire object of its own.
    BackendPolicy(ObjectName),
    /// Whether a policy for TLS is in force; it has no wire object of its own.
    BackendTlsPolicy(ObjectName),
    /// What is said of a ConfigMap by itself; it has no wire object of its own.
    ConfigMap(ObjectName),
    /// An authorization policy.
    AuthorizationPolicy(ObjectName),
    /// Whether a fault policy is in force; it has no wire object of its own.
    FaultPolicy(ObjectName),
    /// The policies of a scope.
    Guards(GuardScope),
}

/// For each look, those units that depend on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memo {
    reads: BTreeMap<Unit, BTreeSet<Read>>,
    readers: BTreeMap<Read, BTreeSet<Unit>>,
    /// The searches among the readers, by what they searched.
    searches: BTreeMap<(Kind, String), BTreeSet<Read>>,
}

impl Memo {
    /// The units that depend on the resource `key`, which was `before` and is `after`.
    pub(crate) fn dependents(
        &self,
        key: &Key,
        before: Option<&Resource>,
        after: Option<&Resource>,
    ) -> BTreeSet<Unit> {
        let mut units = self.readers_of(&Read::Object(key.clone()));
        let searches = self.searches.get(&(key.kind, key.namespace.clone()));
        for read in searches.into_iter().flatten() {
            let finds = |resource: Option<&Resource>| resource.is_some_and(|it| read.finds(it));
            if finds(before) || finds(after) {
                units.extend(self.readers_of(read));
            }
        }
        units
    }

    /// The units that looked at `read` itself.
    pub(crate) fn readers_of(&self, read: &Read) -> BTreeSet<Unit> {
        self.readers.get(read).cloned().unwrap_or_default()
    }

    /// Notes what `unit` was made from; nothing if it is no more.
    pub(crate) fn record(&mut self, unit: &Unit, reads: BTreeSet<Read>) {
        let before = match reads.is_empty() {
            true => self.reads.remove(unit),
            false => self.reads.insert(unit.clone(), reads.clone()),
        };
        let before = before.unwrap_or_default();
        for read in before.difference(&reads) {
            self.forget(read, unit);
        }
        for read in reads.difference(&before) {
            if let Some((kind, namespace)) = read.searched() {
                let searched = (kind, namespace.to_owned());
                self.searches.entry(searched).or_default().insert(read.clone());
            }
            self.readers.entry(read.clone()).or_default().insert(unit.clone());
        }
    }

    fn forget(&mut self, read: &Read, unit: &Unit) {
        let Some(units) = self.readers.get_mut(read) else { return };
        units.remove(unit);
        if !units.is_empty() {
            return;
        }
        self.readers.remove(read);
        if let Some((kind, namespace)) = read.searched() {
            let searched = (kind, namespace.to_owned());
            if let Some(reads) = self.searches.get_mut(&searched) {
                reads.remove(read);
                if reads.is_empty() {
                    self.searches.remove(&searched);
                }
            }
        }
    }

    /// How many looks are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.readers.len() + self.searches.len() + self.reads.len()
    }
}
