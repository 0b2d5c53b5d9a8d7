//! Policies that guard workloads.

use std::fmt;
use std::str::FromStr;

use crate::authorization_policy::AuthorizationPolicy;
use crate::error::ValueError;
use crate::name::ObjectName;

/// Whether what a policy restricts is restricted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyMode {
    /// It is. Default, since a policy without effect protects nothing.
    #[default]
    Enforce,
    /// It is only recorded what would be refused.
    Audit,
}

/// A kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// Who may do what.
    Authorization,
}

/// The name of a policy, written `KIND/NAMESPACE/NAME`: kinds do not share their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName {
    /// Its kind.
    pub kind: PolicyKind,
    /// Namespace and name.
    pub object: ObjectName,
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PolicyKind::Authorization => write!(f, "authorization/{}", self.object),
        }
    }
}

impl FromStr for PolicyName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<PolicyName, ValueError> {
        let allowed = "authorization/NAMESPACE/NAME";
        let error = || ValueError::new(text, "the name of a policy", allowed);
        let (kind, object) = text.split_once('/').ok_or_else(error)?;
        let kind = match kind {
            "authorization" => PolicyKind::Authorization,
            _ => return Err(error()),
        };
        Ok(PolicyName { kind, object: object.parse().map_err(|_| error())? })
    }
}

/// A policy that guards workloads. Which ones, [`Guards`](crate::Guards) say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Who may do what.
    Authorization(AuthorizationPolicy),
}

impl Policy {
    /// Kind, namespace and name.
    pub fn name(&self) -> PolicyName {
        match self {
            Policy::Authorization(policy) => {
                PolicyName { kind: PolicyKind::Authorization, object: policy.name.clone() }
            }
        }
    }
}
