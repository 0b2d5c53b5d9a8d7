//! Who a workload is: its SPIFFE ID, and the service account in it.

use std::fmt;

use crate::finding::quoted;
use crate::names;

/// A service account in its namespace, written `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAccount {
    /// The namespace.
    pub namespace: String,
    /// The name in it.
    pub name: String,
}

impl ServiceAccount {
    /// The service account that `text` names.
    ///
    /// # Errors
    ///
    /// In words, ready for a finding.
    pub fn parse(text: &str) -> Result<ServiceAccount, String> {
        let Some((namespace, name)) = text.split_once('/') else {
            return Err(format!("{} has no namespace: write NAMESPACE/NAME", quoted(text)));
        };
        names::dns_label(namespace).map_err(|why| format!("before the `/`: {why}"))?;
        names::dns_subdomain(name).map_err(|why| format!("after the `/`: {why}"))?;
        Ok(ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A SPIFFE ID of the one form used here: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The trust domain.
    pub trust_domain: String,
    /// The service account.
    pub service_account: ServiceAccount,
}

impl SpiffeId {
    /// The identity that `text` names.
    ///
    /// # Errors
    ///
    /// In words, ready for a finding.
    pub fn parse(text: &str) -> Result<SpiffeId, String> {
        let wrong = || {
            format!(
                "{} is not an identity: write spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME",
                quoted(text)
            )
        };
        let rest = text.strip_prefix("spiffe://").ok_or_else(wrong)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let [trust_domain, "ns", namespace, "sa", name] = parts.as_slice() else {
            return Err(wrong());
        };
        names::trust_domain(trust_domain)?;
        names::dns_label(namespace).map_err(|why| format!("after `/ns/`: {why}"))?;
        names::dns_subdomain(name).map_err(|why| format!("after `/sa/`: {why}"))?;
        Ok(SpiffeId {
            trust_domain: (*trust_domain).to_owned(),
            service_account: ServiceAccount {
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
            },
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServiceAccount { namespace, name } = &self.service_account;
        write!(f, "spiffe://{}/ns/{namespace}/sa/{name}", self.trust_domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_and_write_the_same() {
        let text = "spiffe://weft.local/ns/shop/sa/cart";
        assert_eq!(SpiffeId::parse(text).unwrap().to_string(), text);
        assert_eq!(ServiceAccount::parse("shop/cart").unwrap().to_string(), "shop/cart");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "weft.local/ns/shop/sa/cart",
            "spiffe:///ns/shop/sa/cart",
            "spiffe://Weft/ns/shop/sa/cart",
            "spiffe://weft/ns/shop/sa/",
            "spiffe://weft/ns/shop/sa/cart/",
            "spiffe://weft/ns/shop/sa/*",
            "spiffe://weft/sa/cart/ns/shop",
            "SPIFFE://weft/ns/shop/sa/cart",
        ] {
            assert!(SpiffeId::parse(text).is_err(), "{text}");
        }
        for text in ["", "cart", "/cart", "shop/", "shop/cart/x", "shop/*", "Shop/cart"] {
            assert!(ServiceAccount::parse(text).is_err(), "{text}");
        }
    }
}
