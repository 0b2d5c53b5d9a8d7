//! Names of objects in namespaces, as Kubernetes has them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// A name that Kubernetes would not accept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Not `NAMESPACE/NAME`.
    #[error("`{0}` is not NAMESPACE/NAME")]
    Shape(String),
    /// The namespace is not a DNS label.
    #[error("`{0}` is not a namespace: at most 63 lower-case letters, digits and inner hyphens")]
    Namespace(String),
    /// The name is not a DNS subdomain.
    #[error("`{0}` is not a name: at most 253 lower-case letters, digits, inner hyphens and dots")]
    Name(String),
}

/// The name of a namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// The namespace called `name`.
    ///
    /// # Errors
    /// [`NameError::Namespace`].
    pub fn new(name: &str) -> Result<Namespace, NameError> {
        if !is_label(name) {
            return Err(NameError::Namespace(name.to_owned()));
        }
        Ok(Namespace(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Namespace and name of an object, written `NAMESPACE/NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    namespace: Arc<str>,
    name: Arc<str>,
}

impl ObjectName {
    /// The name of `name` in `namespace`.
    ///
    /// # Errors
    /// [`NameError::Namespace`], [`NameError::Name`].
    pub fn new(namespace: &str, name: &str) -> Result<ObjectName, NameError> {
        if !is_label(namespace) {
            return Err(NameError::Namespace(namespace.to_owned()));
        }
        if !is_subdomain(name) {
            return Err(NameError::Name(name.to_owned()));
        }
        Ok(ObjectName { namespace: namespace.into(), name: name.into() })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The namespace by itself.
    pub fn own_namespace(&self) -> Namespace {
        Namespace(Arc::clone(&self.namespace))
    }

    /// The name within the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<ObjectName, NameError> {
        let (namespace, name) =
            text.split_once('/').ok_or_else(|| NameError::Shape(text.to_owned()))?;
        ObjectName::new(namespace, name)
    }
}

/// Whether `text` is a DNS label: 1 to 63 lower-case letters, digits and inner hyphens.
///
/// Source: RFC 1123, section 2.1, as Kubernetes applies it.
pub fn is_label(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether `text` is a DNS subdomain: labels joined by dots, at most 253 bytes.
///
/// Its labels may be longer than 63, as in Kubernetes.
pub fn is_subdomain(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty()
            && part.bytes().all(is_allowed)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_kubernetes_has_them() {
        let name: ObjectName = "shop/cart.v1".parse().unwrap();
        assert_eq!((name.namespace(), name.name()), ("shop", "cart.v1"));
        assert_eq!(name.to_string(), "shop/cart.v1");
        for wrong in
            ["cart", "shop/", "/cart", "Shop/cart", "sh.op/cart", "shop/-a", "shop/a..b", "a/b/c"]
        {
            assert!(wrong.parse::<ObjectName>().is_err(), "{wrong}");
        }
        assert!(is_label(&"a".repeat(63)) && !is_label(&"a".repeat(64)));
        assert!(is_subdomain(&"a".repeat(253)) && !is_subdomain(&"a".repeat(254)));
    }
}
