//! Who may do what: whether an inbound request or connection is let through.
//!
//! Any deny rule that matches refuses. Allow rules unite; where any policy has an allow list, even
//! an empty one, what no rule allows is refused. What cannot be evaluated is refused as well.
//!
//! A policy in audit refuses nothing: what it would refuse beside those in force is told.

mod rule;

use std::net::IpAddr;
use std::sync::Arc;

use weft_http::RequestHead;
use weft_model::{
    AuthorizationPolicy, Policy, PolicyMode, PolicyName, Port, Rule, SpiffeId, TrustDomain,
    UnguardedPolicy,
};

use self::rule::{Guard, Holds};
use crate::normalize::has_two_readings;

/// A request, or the opening of a connection, as the workload's own proxy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Who calls, as mutual TLS proved it; nobody without it.
    pub peer: Option<&'a SpiffeId>,
    /// The address that the connection comes from.
    pub address: IpAddr,
    /// The port of the workload.
    pub port: Port,
    /// The request, its path in the one spelling that [`crate::normalize::target`] gives it.
    /// Absent for a connection whose bytes are not read as HTTP.
    pub http: Option<&'a RequestHead>,
}

/// A list of rules in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleList {
    /// Who may.
    Allow,
    /// Who may not.
    Deny,
    /// What is recorded as it would be denied.
    Audit,
}

/// Which rule of which policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The list that the rule is in.
    pub list: RuleList,
    /// Its place there, counted from 0. None for the whole list, where it is that no rule in it
    /// allows something.
    pub index: Option<usize>,
}

impl RuleRef {
    /// The name of the policy.
    pub fn policy_name(&self) -> PolicyName {
        self.policy.name()
    }

    /// The rule's place in its resource, as in `spec.deny[1]`, or the list's.
    pub fn field(&self) -> String {
        let list = match self.list {
            RuleList::Allow => "allow",
            RuleList::Deny => "deny",
            RuleList::Audit => "audit",
        };
        match self.index {
            Some(index) => format!("spec.{list}[{index}]"),
            None => format!("spec.{list}"),
        }
    }
}

/// What in audit would refuse an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audited {
    /// A rule, or a list of them.
    Rule(RuleRef),
    /// What the Mesh says of what no allow rule guards.
    Mesh,
}

impl Audited {
    /// The name of the policy, as records have it.
    pub fn policy(&self) -> String {
        match self {
            Audited::Rule(rule) => rule.policy_name().to_string(),
            Audited::Mesh => "mesh".to_owned(),
        }
    }

    /// The place in it.
    pub fn field(&self) -> String {
        match self {
            Audited::Rule(rule) => rule.field(),
            Audited::Mesh => "spec.defaults.authorization".to_owned(),
        }
    }
}

/// Why an attempt is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A deny rule matches.
    DenyRule,
    /// There are allow lists, and no rule in them matches.
    NoAllowRule,
    /// No policy allows anything, and the caller has no identity of the mesh's trust domain.
    NoIdentity,
    /// No policy allows anything, and then the mesh lets nobody through.
    UnguardedDeny,
    /// A rule cannot be evaluated: it asks for HTTP where none is seen, or for a path, a method, a
    /// host or a header where the request's has two readings.
    CannotEvaluate,
}

impl Why {
    /// The reason as a stable code, for headers, logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Why::DenyRule => "deny-rule",
            Why::NoAllowRule => "no-allow-rule",
            Why::NoIdentity => "no-identity",
            Why::UnguardedDeny => "unguarded-deny",
            Why::CannotEvaluate => "cannot-evaluate",
        }
    }
}

/// What follows for an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is let through.
    Allowed {
        /// The rule that allows it; none where nothing guards and the mesh's own are let through.
        by: Option<RuleRef>,
    },
    /// It is refused.
    Denied {
        /// The rule that refuses it; none where it is refused for want of one.
        by: Option<RuleRef>,
        /// Why.
        why: Why,
    },
}

impl Decision {
    /// Whether the attempt is let through.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed { .. })
    }
}

/// The policies that guard a port or a workload, made ready for judging.
///
/// [`Authorizer::judge`] is a function of the attempt alone. So a connection that lives on can be
/// judged again with the same attributes by the Authorizer of a later configuration.
#[derive(Clone, Debug)]
pub struct Authorizer {
    allow: Vec<Guard>,
    deny: Vec<Guard>,
    audit: Vec<Guard>,
    /// What policies in audit allow, and their lists, which would refuse the rest.
    audited_allow: Vec<Guard>,
    audited_lists: Vec<RuleRef>,
    /// Whether any policy has an allow list: an empty one leaves no guard behind.
    has_allow_list: bool,
    unguarded: UnguardedPolicy,
    trust_domain: TrustDomain,
}

impl Authorizer {
    /// What `policies` say together; their order does not matter.
    ///
    /// Where none has an allow list, `unguarded` holds. Service accounts and namespaces in rules
    /// are those of `trust_domain`, the mesh's own.
    pub fn new(
        policies: impl IntoIterator<Item = Arc<Policy>>,
        unguarded: UnguardedPolicy,
        trust_domain: TrustDomain,
    ) -> Authorizer {
        let mut policies: Vec<_> = policies.into_iter().collect();
        // So that of several rules that match the same one is named whatever the order.
        policies.sort_by_cached_key(|policy| policy.name());
        let (mut allow, mut deny, mut audit) = (Vec::new(), Vec::new(), Vec::new());
        let (mut audited_allow, mut audited_lists) = (Vec::new(), Vec::new());
        let mut has_allow_list = false;
        for policy in &policies {
            let Policy::Authorization(AuthorizationPolicy {
                name: _,
                mode,
                allow: own_allow,
                deny: own_deny,
                audit: own_audit,
            }) = &**policy;
            let reference = |list, index| RuleRef { policy: Arc::clone(policy), list, index };
            let guards = |list, rules: &[Rule]| -> Vec<Guard> {
                let guard = |(index, rule)| Guard::new(reference(list, Some(index)), rule);
                rules.iter().enumerate().map(guard).collect()
            };
            let allowing = guards(RuleList::Allow, own_allow.as_deref().unwrap_or_default());
            let denying = guards(RuleList::Deny, own_deny);
            match mode {
                PolicyMode::Enforce => {
                    has_allow_list |= own_allow.is_some();
                    allow.extend(allowing);
                    deny.extend(denying);
                }
                PolicyMode::Audit => {
                    let list = own_allow.as_ref().map(|_| reference(RuleList::Allow, None));
                    audited_lists.extend(list);
                    audited_allow.extend(allowing);
                    audit.extend(denying);
                }
            }
            audit.extend(guards(RuleList::Audit, own_audit));
        }
        Authorizer {
            allow,
            deny,
            audit,
            audited_allow,
            audited_lists,
            has_allow_list,
            unguarded,
            trust_domain,
        }
    }

    /// Whether the attempt is let through, and by what. It does not allocate.
    ///
    /// A deny rule that asks for HTTP where none is seen refuses if all else in it matches; an
    /// allow rule that does so allows nothing, and is named if no other does. Where a rule on paths
    /// holds for the port, a request whose path contains an encoded slash, a backslash, a semicolon
    /// or an empty segment is refused, since the application may read it as another path than the
    /// rule does. A header on several lines of which a rule asks for a value likewise meets no
    /// allow rule and every deny rule, and so does what differs from what a rule asks for in its
    /// spelling only: a method in another case, `_` for `-` in the name of a header, the same host
    /// with another port.
    pub fn judge(&self, attempt: &Attempt<'_>) -> Decision {
        let denied = |by: Option<&Guard>, why| Decision::Denied {
            by: by.map(|guard| guard.source.clone()),
            why,
        };
        let first = |guards: &'_ [Guard], wanted| {
            guards.iter().position(|guard| self.holds(guard, attempt) == wanted)
        };
        if let Some(at) = first(&self.deny, Holds::Yes) {
            return denied(Some(&self.deny[at]), Why::DenyRule);
        }
        if let Some(at) = first(&self.deny, Holds::Unknown) {
            return denied(Some(&self.deny[at]), Why::CannotEvaluate);
        }
        if attempt.http.is_some_and(|head| has_two_readings(head.path())) {
            let mut guards = self.deny.iter().chain(&self.allow);
            if let Some(guard) = guards.find(|guard| guard.asks_for_path(attempt.port)) {
                return denied(Some(guard), Why::CannotEvaluate);
            }
        }
        if self.has_allow_list {
            return match first(&self.allow, Holds::Yes) {
                Some(at) => Decision::Allowed { by: Some(self.allow[at].source.clone()) },
                // As HTTP the same caller might be let through: that is another answer than no.
                None if attempt.http.is_none()
                    && let Some(at) = first(&self.allow, Holds::Unknown) =>
                {
                    denied(Some(&self.allow[at]), Why::CannotEvaluate)
                }
                None => denied(None, Why::NoAllowRule),
            };
        }
        let is_own = attempt.peer.is_some_and(|peer| *peer.trust_domain() == self.trust_domain);
        match self.unguarded {
            UnguardedPolicy::Deny => denied(None, Why::UnguardedDeny),
            _ if is_own => Decision::Allowed { by: None },
            UnguardedPolicy::AllowMesh | UnguardedPolicy::Audit => denied(None, Why::NoIdentity),
        }
    }

    /// The audit rules that would refuse the attempt if they were deny rules, and what would refuse
    /// it of the policies in audit if all of these were in force: deny rules, and the allow lists
    /// if neither they nor those in force allow it. Where there are none, that may be the Mesh.
    pub fn audits<'a>(&'a self, attempt: &Attempt<'a>) -> impl Iterator<Item = Audited> {
        let attempt = *attempt;
        let is_ambiguous = attempt.http.is_some_and(|head| has_two_readings(head.path()));
        let is_unreadable = move |guard: &Guard| is_ambiguous && guard.asks_for_path(attempt.port);
        let would_deny = move |guard: &&Guard| match self.holds(guard, &attempt) {
            Holds::Yes | Holds::Unknown => true,
            Holds::No => is_unreadable(guard),
        };
        let would_miss = !self.audited_lists.is_empty() && {
            let mut allow = self.allow.iter().chain(&self.audited_allow);
            self.audited_allow.iter().any(is_unreadable)
                || !allow.any(|guard| self.holds(guard, &attempt) == Holds::Yes)
        };
        let lists = self.audited_lists.iter().filter(move |_| would_miss);
        let rules = self.audit.iter().filter(would_deny).map(|guard| &guard.source).chain(lists);
        let is_unguarded = !self.has_allow_list && self.audited_lists.is_empty();
        let by_mesh = self.unguarded == UnguardedPolicy::Audit && is_unguarded;
        rules.cloned().map(Audited::Rule).chain(by_mesh.then_some(Audited::Mesh))
    }

    /// Whether a rule about what is let through at `port` can only be judged by reading HTTP.
    ///
    /// Audit rules and policies in audit do not count: they must not change what is let through.
    pub fn is_http_needed(&self, port: Port) -> bool {
        self.deny.iter().chain(&self.allow).any(|guard| guard.asks_for_http(port))
    }

    fn holds(&self, guard: &Guard, attempt: &Attempt<'_>) -> Holds {
        guard.holds(attempt, &self.trust_domain)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
