//! The sets of policies in force: a scope is closed until its set is complete, and then each set is
//! followed by the next one whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_model::{ContentHash, GuardScope, Guards, Policy, PolicyName, Port};

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

/// The policies of a scope, as it means them.
#[derive(Debug)]
struct Set {
    /// What names them.
    guards: Arc<WireObject>,
    policies: BTreeMap<PolicyName, Arc<WireObject>>,
}

impl Set {
    /// The ports of the Service that the policy `name` is for, if not for all.
    fn ports_of(&self, name: &PolicyName) -> Option<&BTreeSet<Port>> {
        match self.guards.object() {
            Object::Guards(guards) => guards.ports.get(name),
            _ => None,
        }
    }
}

/// For each scope the set of policies that is in force.
#[derive(Debug, Default)]
pub(crate) struct GuardSets {
    in_force: BTreeMap<GuardScope, Set>,
}

impl GuardSets {
    /// The sets in force, each as what names its policies, and these.
    pub(crate) fn iter(
        &self,
    ) -> impl Iterator<Item = (&GuardScope, impl Iterator<Item = &Arc<WireObject>>)> {
        self.in_force
            .iter()
            .map(|(scope, set)| (scope, std::iter::once(&set.guards).chain(set.policies.values())))
    }

    /// Puts a set in force that was so before the proxy ended. It is lost, and its scope closed, if
    /// what names its policies is not among its `objects`.
    pub(crate) fn restore(&mut self, scope: GuardScope, objects: Vec<Arc<WireObject>>) {
        let (mut guards, mut policies) = (None, BTreeMap::new());
        for object in objects {
            match object.key() {
                ObjectKey::Policy(name) => drop(policies.insert(name.clone(), object)),
                ObjectKey::Guards(named) if *named == scope => guards = Some(object),
                _ => {}
            }
        }
        if let Some(guards) = guards {
            self.in_force.insert(scope, Set { guards, policies });
        }
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
                let set = Set { guards: Arc::clone(object), policies };
                self.in_force.insert(guards.scope.clone(), set);
            }
        }
    }

    /// What guards that which all of `scopes` guard. A policy for some ports of a Service does so
    /// if one of them `is_meant`.
    pub(crate) fn guarding(
        &self,
        scopes: BTreeSet<GuardScope>,
        is_meant: impl Fn(&GuardScope, Port) -> bool,
    ) -> Guarding {
        let (mut missing, mut policies) = (BTreeSet::new(), BTreeMap::new());
        for scope in scopes {
            match self.in_force.get(&scope) {
                None => {
                    missing.insert(scope);
                }
                // Two scopes may mean two versions of a policy for a moment: then both hold.
                Some(set) => {
                    let holds = |(name, _): &(&PolicyName, _)| {
                        let ports = set.ports_of(name);
                        ports.is_none_or(|ports| ports.iter().any(|port| is_meant(&scope, *port)))
                    };
                    let holding = set.policies.iter().filter(holds);
                    policies.extend(holding.map(|(name, one)| ((name, one.version()), one)));
                }
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
