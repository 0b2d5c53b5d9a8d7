//! The names of objects, one for each in the whole mesh.

use std::fmt;
use std::str::FromStr;

use weft_model::{GuardScope, ObjectName, PolicyName, RouteName, TrustDomain};

use crate::error::FieldError;

/// The name of an object, written with its kind, as in `service/shop/cart`.
///
/// Ordered so that an object comes after what it refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// What holds for the whole mesh; there is one.
    Mesh,
    /// The roots and revocations of a trust domain.
    Trust(TrustDomain),
    /// A policy.
    Policy(PolicyName),
    /// The policies of a scope.
    Guards(GuardScope),
    /// A Service.
    Service(ObjectName),
    /// A workload.
    Workload(ObjectName),
    /// A destination outside of the mesh.
    External(ObjectName),
    /// A route.
    Route(RouteName),
}

impl ObjectKey {
    /// The kind, as it is written.
    pub fn kind(&self) -> &'static str {
        match self {
            ObjectKey::Mesh => "mesh",
            ObjectKey::Trust(_) => "trust",
            ObjectKey::Policy(_) => "policy",
            ObjectKey::Guards(_) => "guards",
            ObjectKey::Service(_) => "service",
            ObjectKey::Workload(_) => "workload",
            ObjectKey::External(_) => "external",
            ObjectKey::Route(_) => "route",
        }
    }

    /// The name within the kind; empty if there is only one.
    pub fn name(&self) -> String {
        match self {
            ObjectKey::Mesh => String::new(),
            ObjectKey::Trust(domain) => domain.to_string(),
            ObjectKey::Policy(name) => name.to_string(),
            ObjectKey::Guards(scope) => scope.to_string(),
            ObjectKey::Service(name) | ObjectKey::Workload(name) | ObjectKey::External(name) => {
                name.to_string()
            }
            ObjectKey::Route(name) => name.to_string(),
        }
    }

    /// The key of `name` of `kind`, as they are written.
    ///
    /// # Errors
    /// If the kind is not known, or the name is none of its.
    pub fn new(kind: &str, name: &str) -> Result<ObjectKey, FieldError> {
        Ok(match kind {
            "mesh" if name.is_empty() => ObjectKey::Mesh,
            "mesh" => return Err(FieldError::new("there is one mesh, without a name")),
            "trust" => ObjectKey::Trust(name.parse()?),
            "policy" => ObjectKey::Policy(name.parse()?),
            "guards" => ObjectKey::Guards(name.parse()?),
            "service" => ObjectKey::Service(name.parse()?),
            "workload" => ObjectKey::Workload(name.parse()?),
            "external" => ObjectKey::External(name.parse()?),
            "route" => ObjectKey::Route(name.parse()?),
            _ => return Err(FieldError::new("the kind is not known here")),
        })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectKey::Mesh => f.write_str("mesh"),
            key => write!(f, "{}/{}", key.kind(), key.name()),
        }
    }
}

impl FromStr for ObjectKey {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<ObjectKey, FieldError> {
        let (kind, name) = text.split_once('/').unwrap_or((text, ""));
        ObjectKey::new(kind, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_printed_as_they_are_read_and_come_after_what_they_refer_to() {
        let texts = [
            "mesh",
            "trust/weft.local",
            "policy/authorization/shop/callers",
            "guards/mesh",
            "guards/service/shop/cart",
            "service/shop/cart",
            "workload/shop/cart-1",
            "external/shop/api",
            "route/http/shop/canary",
        ];
        let keys = texts.map(|text| text.parse::<ObjectKey>().unwrap());
        assert_eq!(keys.each_ref().map(ToString::to_string), texts);
        assert!(keys.is_sorted());
        for wrong in ["", "mesh/a", "pod/a/b", "service/cart", "route/shop/canary", "trust/"] {
            assert!(wrong.parse::<ObjectKey>().is_err(), "{wrong}");
        }
    }
}
