//! Who a workload is: SPIFFE identities.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::name::{NameError, ObjectName};

/// Text that names no identity of this mesh.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
    #[error("`{0}` is not spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT")]
    Shape(String),
    /// The trust domain is malformed.
    #[error("`{0}` is not a trust domain: 1 to 255 lower-case letters, digits, `.`, `-` and `_`")]
    TrustDomain(String),
    /// Namespace or service account are malformed.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// The name of a set of identities under one root of trust, as in `cluster.local`.
///
/// Source: SPIFFE-ID, section 2.1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<TrustDomain, IdentityError> {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if !(1..=255).contains(&text.len()) || !text.bytes().all(is_allowed) {
            return Err(IdentityError::TrustDomain(text.to_owned()));
        }
        Ok(TrustDomain(text.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identity of a workload: its trust domain and its service account.
///
/// Written `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`. Compared byte by byte: there is
/// one spelling of each.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    service_account: ObjectName,
}

impl SpiffeId {
    /// The identity of `service_account` in `trust_domain`.
    pub fn new(trust_domain: TrustDomain, service_account: ObjectName) -> SpiffeId {
        SpiffeId { trust_domain, service_account }
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Namespace and name of the service account.
    pub fn service_account(&self) -> &ObjectName {
        &self.service_account
    }

    /// The namespace of the service account.
    pub fn namespace(&self) -> &str {
        self.service_account.namespace()
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<SpiffeId, IdentityError> {
        let shape = || IdentityError::Shape(text.to_owned());
        let rest = text.strip_prefix("spiffe://").ok_or_else(shape)?;
        let mut parts = rest.split('/');
        let mut part = || parts.next().ok_or_else(shape);
        let (trust_domain, ns, namespace, sa, name) = (part()?, part()?, part()?, part()?, part()?);
        if ns != "ns" || sa != "sa" || parts.next().is_some() {
            return Err(shape());
        }
        Ok(SpiffeId::new(trust_domain.parse()?, ObjectName::new(namespace, name)?))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, name) = (self.service_account.namespace(), self.service_account.name());
        write!(f, "spiffe://{}/ns/{namespace}/sa/{name}", self.trust_domain)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_printed_as_it_is_read() {
        let text = "spiffe://weft.test/ns/shop/sa/cart";
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.trust_domain().as_str(), "weft.test");
        assert_eq!(id.service_account().to_string(), "shop/cart");
    }

    #[test]
    fn other_spellings_are_no_identity() {
        for wrong in [
            "",
            "spiffe://weft.test",
            "spiffe://weft.test/ns/shop/sa",
            "spiffe://weft.test/ns/shop/sa/",
            "spiffe://weft.test/ns/shop/sa/cart/",
            "spiffe://weft.test/ns/shop/sa/cart/x",
            "spiffe://weft.test/ns//sa/cart",
            "spiffe://weft.test/sa/shop/ns/cart",
            "spiffe://Weft.test/ns/shop/sa/cart",
            "spiffe:///ns/shop/sa/cart",
            "SPIFFE://weft.test/ns/shop/sa/cart",
            "https://weft.test/ns/shop/sa/cart",
            "spiffe://weft.test:80/ns/shop/sa/cart",
            "spiffe://weft.test/ns/shop/sa/c%61rt",
            "spiffe://weft.test/ns/shop/sa/cart?x",
        ] {
            assert!(wrong.parse::<SpiffeId>().is_err(), "{wrong}");
        }
    }
}
