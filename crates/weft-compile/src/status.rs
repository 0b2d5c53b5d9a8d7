//! What became of a resource, for its author.

use weft_crd::{Finding, Key, ObjectName, Severity};
use weft_wire::ObjectKey;

/// What became of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The resource.
    pub key: Key,
    /// What holds of it, and what does not.
    pub conditions: Vec<Condition>,
    /// What is wrong with it in view of the others.
    pub findings: Vec<Finding>,
    /// The wire objects whose enforcement shows its own.
    pub objects: Vec<ObjectKey>,
}

/// One thing that holds of a resource, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What.
    pub kind: ConditionKind,
    /// Of a route with regard to one of its parents: which, as `spec.parentRefs` counts them.
    pub parent: Option<usize>,
    /// Whether it holds.
    pub holds: bool,
    /// Why, in a word of Gateway API where that has one.
    pub reason: &'static str,
}

/// What can hold of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionKind {
    /// It is in force.
    Accepted,
    /// All that it refers to is there.
    ResolvedRefs,
    /// It is a policy, and what it is for is there.
    Attached,
}

impl Status {
    /// Why the resource is not in force, if it is not.
    pub fn not_accepted(&self) -> Option<&'static str> {
        let is_refusal = |one: &&Condition| one.kind == ConditionKind::Accepted && !one.holds;
        self.conditions.iter().find(is_refusal).map(|condition| condition.reason)
    }

    /// Says that the resource is not in force at all.
    pub(crate) fn refuse(&mut self, reason: &'static str, why: &dyn std::fmt::Display) {
        let Key { kind, namespace, name } = self.key.clone();
        self.conditions = vec![Condition::accepted(false, reason)];
        self.objects.clear();
        self.findings.push(Finding {
            severity: Severity::Error,
            path: "spec".to_owned(),
            message: why.to_string(),
            help: None,
            position: None,
            object: Some(ObjectName { kind: kind.name().to_owned(), namespace, name }),
        });
    }
}

impl ConditionKind {
    /// As it stands in a resource's status.
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionKind::Accepted => "Accepted",
            ConditionKind::ResolvedRefs => "ResolvedRefs",
            ConditionKind::Attached => "Attached",
        }
    }
}

impl Condition {
    pub(crate) fn accepted(holds: bool, reason: &'static str) -> Condition {
        Condition { kind: ConditionKind::Accepted, parent: None, holds, reason }
    }

    pub(crate) fn resolved(holds: bool, reason: &'static str) -> Condition {
        Condition { kind: ConditionKind::ResolvedRefs, parent: None, holds, reason }
    }

    pub(crate) fn attached(holds: bool, reason: &'static str) -> Condition {
        Condition { kind: ConditionKind::Attached, parent: None, holds, reason }
    }

    pub(crate) fn for_parent(self, parent: usize) -> Condition {
        Condition { parent: Some(parent), ..self }
    }
}
