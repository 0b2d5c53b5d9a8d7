//! The sets of policies in force: a scope is closed until its set is complete, and then each set is
//! followed by the next one whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_model::{ContentHash, GuardScope, Guards, Policy, PolicyName};

use crate::envelope::WireObject;
use crate::key::ObjectKey;
use crate::objects::Object;

/// What guards something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guarding {
    /// Not all of its policies are there yet: nothing may pass.
    Pending {
        /// The scopes whose policies are not complete.
        missing: BTreeSet<GuardScope>,
    },
    /// All of its policies.
    Complete(Vec<Arc<Policy>>),
}

/// For each scope the set of policies that is in force.
#[derive(Debug, Default)]
pub(crate) struct GuardSets {
    in_force: BTreeMap<GuardScope, BTreeMap<PolicyName, Arc<WireObject>>>,
}

impl GuardSets {
    /// The sets in force, each policy as its scope means it.
    pub(crate) fn iter(
        &self,
    ) -> impl Iterator<Item = (&GuardScope, impl Iterator<Item = &Arc<WireObject>>)> {
        self.in_force.iter().map(|(scope, policies)| (scope, policies.values()))
    }

    /// Puts a set in force that was so before the proxy ended.
    pub(crate) fn restore(&mut self, scope: GuardScope, policies: Vec<Arc<WireObject>>) {
        let named = policies.into_iter().filter_map(|policy| match policy.key() {
            ObjectKey::Policy(name) => Some((name.clone(), policy)),
            _ => None,
        });
        self.in_force.insert(scope, named.collect());
    }

    /// Puts in force what is complete now. What is not leaves the set before it in force.
    pub(crate) fn update(
        &mut self,
        held: &BTreeMap<ObjectKey, Arc<WireObject>>,
        changed: &BTreeSet<ObjectKey>,
        removed: &BTreeSet<ObjectKey>,
    ) {
        for key in removed {
            if let ObjectKey::Guards(scope) = key {
                self.in_force.remove(scope);
            }
        }
        let concerns = |key: &ObjectKey| matches!(key, ObjectKey::Guards(_) | ObjectKey::Policy(_));
        if changed.iter().any(concerns) {
            self.complete(held);
        }
    }

    /// Puts in force all sets that `held` completes.
    pub(crate) fn complete(&mut self, held: &BTreeMap<ObjectKey, Arc<WireObject>>) {
        for object in held.values() {
            if let Object::Guards(guards) = object.object()
                && let Some(policies) = whole_set(guards, held)
            {
                self.in_force.insert(guards.scope.clone(), policies);
            }
        }
    }

    /// What guards that which all of `scopes` guard.
    pub(crate) fn guarding(&self, scopes: BTreeSet<GuardScope>) -> Guarding {
        let (mut missing, mut policies) = (BTreeSet::new(), BTreeMap::new());
        for scope in scopes {
            match self.in_force.get(&scope) {
                None => {
                    missing.insert(scope);
                }
                // Two scopes may mean two versions of a policy for a moment: then both hold.
                Some(set) => policies
                    .extend(set.iter().map(|(name, policy)| ((name, policy.version()), policy))),
            }
        }
        if !missing.is_empty() {
            return Guarding::Pending { missing };
        }
        let policy = |object: &Arc<WireObject>| match object.object() {
            Object::Policy(policy) => Some(Arc::clone(policy)),
            _ => None,
        };
        Guarding::Complete(policies.into_values().filter_map(policy).collect())
    }
}

/// The policies that `guards` name, if all are held with the right content.
fn whole_set(
    guards: &Guards,
    held: &BTreeMap<ObjectKey, Arc<WireObject>>,
) -> Option<BTreeMap<PolicyName, Arc<WireObject>>> {
    let policy = |(name, hash): (&PolicyName, &ContentHash)| {
        let policy = held.get(&ObjectKey::Policy(name.clone()))?;
        (policy.version() == *hash).then(|| (name.clone(), Arc::clone(policy)))
    };
    guards.policies.iter().map(policy).collect()
}
