//! Who may do what.

use std::collections::BTreeSet;

use crate::address::Cidr;
use crate::http::{HeaderName, HttpPath, Method};
use crate::identity::SpiffeId;
use crate::name::{Namespace, ObjectName};
use crate::policy::PolicyMode;
use crate::route::ExactValue;
use crate::units::Port;

/// Who may do what.
///
/// Any `deny` rule that matches refuses. Where any policy has an `allow` list, even an empty one,
/// what none of them matches is refused too. `audit` rules only record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// Namespace and name.
    pub name: ObjectName,
    /// Whether it has effect. In audit, what it would refuse is let through and recorded.
    pub mode: PolicyMode,
    /// Who may. Absent: this policy allows nothing and closes nothing. Empty: it closes.
    pub allow: Option<Vec<Rule>>,
    /// Who may not.
    pub deny: Vec<Rule>,
    /// What is recorded as it would be denied, and let through.
    pub audit: Vec<Rule>,
}

/// A request matches if one of `from` and one of `to` does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Who calls. Absent: anyone, with or without an identity. Empty: nobody.
    pub from: Option<Vec<Peer>>,
    /// What is called. Absent: anything. Empty: nothing.
    pub to: Option<Vec<Operation>>,
}

/// A caller matches if all that is set does.
///
/// What asks for a service account or namespace means that of the mesh's own trust domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// It has this identity.
    pub identity: Option<SpiffeId>,
    /// It has this service account.
    pub service_account: Option<ObjectName>,
    /// Its service account is in this namespace.
    pub namespace: Option<Namespace>,
    /// It calls from an address in this block.
    pub cidr: Option<Cidr>,
    /// It has none of these identities.
    pub not_identities: BTreeSet<SpiffeId>,
    /// It has none of these service accounts.
    pub not_service_accounts: BTreeSet<ObjectName>,
    /// It is in none of these namespaces.
    pub not_namespaces: BTreeSet<Namespace>,
    /// It calls from none of these blocks.
    pub not_cidrs: BTreeSet<Cidr>,
}

/// A request matches if all that is set does.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    /// One of these ports of the workload; empty means any.
    pub ports: BTreeSet<Port>,
    /// One of these methods; empty means any.
    pub methods: BTreeSet<Method>,
    /// One of these paths; empty means any.
    pub paths: BTreeSet<PathPattern>,
    /// All of these headers.
    pub headers: Vec<HeaderCondition>,
}

impl Operation {
    /// Whether it can only be judged by who understands HTTP.
    pub fn needs_http(&self) -> bool {
        let Operation { ports: _, methods, paths, headers } = self;
        !(methods.is_empty() && paths.is_empty() && headers.is_empty())
    }
}

/// A condition on the path, which never includes the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPattern {
    /// This path and no other.
    Exact(HttpPath),
    /// What begins with this, which ends with `/`.
    Below(HttpPath),
}

/// A condition on a header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderCondition {
    /// Its name.
    pub name: HeaderName,
    /// Its value. Absent: any, as long as the header is there.
    pub value: Option<ExactValue>,
}
