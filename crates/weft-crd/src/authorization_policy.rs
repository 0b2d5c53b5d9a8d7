//! `weft.dev/v1alpha1` AuthorizationPolicy: who may do what.
//!
//! A request that any `deny` rule matches is refused. Where any `allow` list holds, even an empty
//! one, a request that none of them matches is refused too. `audit` rules only record, and so does
//! the whole of a policy whose `mode` is Audit.
//!
//! Deliberately absent: `when`, conditions in CEL, refused by name until they are built; and
//! evaluation, which is `weft-decide`'s.

mod rule;

pub(crate) use rule::read_header;
pub use rule::{HeaderCondition, Operation, PathPattern, Peer, Rule};

use std::collections::BTreeMap;

use crate::kind::GATEWAY_GROUP;
use crate::metadata::{Header, Metadata};
use crate::names;
use crate::reader::{At, Fields, Object};
use crate::target::{self, Allowed, Target};

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// What every object has.
    pub metadata: Metadata,
    /// Whose inbound traffic it judges.
    pub scope: Scope,
    /// Whether it has effect.
    pub mode: PolicyMode,
    /// Who may. Absent: this policy allows nothing and closes nothing. Empty: it closes.
    pub allow: Option<Vec<Rule>>,
    /// Who may not.
    pub deny: Vec<Rule>,
    /// What is recorded as it would be denied, and let through.
    pub audit: Vec<Rule>,
}

/// Whether what a policy restricts is restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyMode {
    /// It is. The default.
    Enforce,
    /// It is only recorded what would be refused.
    Audit,
}

/// Whose inbound traffic a policy judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// That of these.
    Targets(Vec<Target>),
    /// That of the workloads of its own namespace which this selects.
    Workloads(Selector),
}

impl Scope {
    /// What it names, unless it selects workloads.
    pub fn targets(&self) -> &[Target] {
        match self {
            Scope::Targets(targets) => targets,
            Scope::Workloads(_) => &[],
        }
    }
}

/// Labels that a workload must have, all of them; at least one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// Keys and values.
    pub match_labels: BTreeMap<String, String>,
}

/// More rules than these belong into several policies.
const RULES_MAX: usize = 256;

const FIELDS: Fields = Fields {
    known: &["targetRefs", "selector", "mode", "allow", "deny", "audit"],
    not_yet: &["targetSelectors"],
    ignored: &[],
    no_nulls: true,
};

const SELECTOR_FIELDS: Fields = Fields {
    known: &["matchLabels"],
    not_yet: &["matchExpressions"],
    ignored: &[],
    no_nulls: true,
};

const ALLOWED: Allowed = Allowed {
    wide: true,
    not_yet: &[(GATEWAY_GROUP, "Gateway"), ("weft.dev", "ExternalService")],
    instead: &[
        ((GATEWAY_GROUP, "HTTPRoute"), NO_ROUTES),
        ((GATEWAY_GROUP, "GRPCRoute"), NO_ROUTES),
        ((GATEWAY_GROUP, "TLSRoute"), NO_ROUTES),
        ((GATEWAY_GROUP, "TCPRoute"), NO_ROUTES),
    ],
    ..Allowed::SERVICES
};

/// A route is the callers' to follow, and whoever calls a workload past it would not be judged.
const NO_ROUTES: &str =
    "a route is followed by the caller: name the Service, and in `to` its methods and paths";

pub(crate) fn read(header: Header, at: &At<'_>) -> Option<AuthorizationPolicy> {
    let object = at.object(FIELDS)?;
    let scope = read_scope(&object, &header.namespace);
    let modes = [("Enforce", PolicyMode::Enforce), ("Audit", PolicyMode::Audit)];
    let mode = object.or("mode", PolicyMode::Enforce, |at| at.choice(&modes, &[]));
    let rules = |at: &At<'_>| at.list(RULES_MAX, rule::read);
    let allow = object.maybe("allow", rules);
    let filled = |at: &At<'_>| at.filled_list(RULES_MAX, "it would have no effect", rule::read);
    let deny = object.or("deny", Vec::new(), filled);
    let audit = object.or("audit", Vec::new(), filled);
    let (scope, mode, allow, deny, audit) = (scope?, mode?, allow?, deny?, audit?);
    if allow.is_none() && deny.is_empty() && audit.is_empty() {
        return at.error("at least one of allow, deny, audit is required");
    }
    Some(AuthorizationPolicy { metadata: header.metadata?, scope, mode, allow, deny, audit })
}

fn read_scope(object: &Object<'_>, namespace: &str) -> Option<Scope> {
    match (object.field("targetRefs"), object.field("selector")) {
        (Some(at), None) => target::read(&at, namespace, ALLOWED).map(Scope::Targets),
        (None, Some(at)) => read_selector(&at).map(Scope::Workloads),
        (Some(_), Some(at)) => at.error("cannot stand beside targetRefs: write two policies"),
        (None, None) => object.at.error_help(
            "one of targetRefs, selector is required",
            "for the whole namespace, name it: targetRefs: [{ group: \"\", kind: Namespace, \
             name: … }]",
        ),
    }
}

fn read_selector(at: &At<'_>) -> Option<Selector> {
    let object = at.object(SELECTOR_FIELDS)?;
    let match_labels = object.need("matchLabels", |at| {
        let labels = at.text_map(names::label_key, names::label_value)?;
        if labels.is_empty() {
            return at.error_help(
                "an empty selector is not allowed",
                "for the whole namespace, use targetRefs with kind Namespace",
            );
        }
        Some(labels)
    })?;
    Some(Selector { match_labels })
}

#[cfg(test)]
mod tests;
