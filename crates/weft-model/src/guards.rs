//! Which policies guard what, so that none can be missing unnoticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::error::ValueError;
use crate::hash::ContentHash;
use crate::name::{Namespace, ObjectName};
use crate::policy::PolicyName;
use crate::units::Port;

/// What a set of policies guards, written `mesh`, `namespace/NS`, `service/NS/NAME` or
/// `workload/NS/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GuardScope {
    /// All workloads.
    Mesh,
    /// The workloads of a namespace.
    Namespace(Namespace),
    /// Of the workloads that a Service selects, the ports that it leads to.
    Service(ObjectName),
    /// A workload.
    Workload(ObjectName),
}

impl fmt::Display for GuardScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GuardScope::Mesh => f.write_str("mesh"),
            GuardScope::Namespace(namespace) => write!(f, "namespace/{namespace}"),
            GuardScope::Service(name) => write!(f, "service/{name}"),
            GuardScope::Workload(name) => write!(f, "workload/{name}"),
        }
    }
}

impl FromStr for GuardScope {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<GuardScope, ValueError> {
        let error = || {
            let allowed = "mesh, namespace/NS, service/NS/NAME or workload/NS/NAME";
            ValueError::new(text, "a scope", allowed)
        };
        match text.split_once('/') {
            None if text == "mesh" => Ok(GuardScope::Mesh),
            Some(("namespace", name)) => {
                Namespace::new(name).map(GuardScope::Namespace).map_err(|_| error())
            }
            Some(("service", name)) => name.parse().map(GuardScope::Service).map_err(|_| error()),
            Some(("workload", name)) => name.parse().map(GuardScope::Workload).map_err(|_| error()),
            _ => Err(error()),
        }
    }
}

/// The policies of a scope, complete. A scope whose guards are not all held is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guards {
    /// What they guard.
    pub scope: GuardScope,
    /// The policies, each with the hash of the content that is meant.
    pub policies: BTreeMap<PolicyName, ContentHash>,
    /// The ports of the Service that those are for which are not for all of them.
    pub ports: BTreeMap<PolicyName, BTreeSet<Port>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_printed_as_it_is_read() {
        for text in ["mesh", "namespace/shop", "service/shop/web", "workload/shop/web-1"] {
            assert_eq!(text.parse::<GuardScope>().unwrap().to_string(), text);
        }
        for wrong in ["", "mesh/", "namespace", "namespace/a/b", "service/web", "route/shop/web"] {
            assert!(wrong.parse::<GuardScope>().is_err(), "{wrong}");
        }
    }
}
