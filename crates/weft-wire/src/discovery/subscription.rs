//! What a proxy can be interested in.

use std::fmt;
use std::str::FromStr;

use weft_model::{Address, ObjectName};

use crate::error::FieldError;

/// What a proxy can be interested in, written `self`, `service/NS/NAME` or `address/NETWORK/IP`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subscription {
    /// The proxy's own workload, what guards it, and what holds for the whole mesh.
    SelfWorkload,
    /// A Service: with its routes, the Services that they lead to, and all their workloads.
    Service(ObjectName),
    /// Whatever has this address: a Service, with all of the above, or a workload.
    Address(Address),
}

impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subscription::SelfWorkload => f.write_str("self"),
            Subscription::Service(name) => write!(f, "service/{name}"),
            Subscription::Address(address) => write!(f, "address/{address}"),
        }
    }
}

impl FromStr for Subscription {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Subscription, FieldError> {
        match text.split_once('/') {
            None if text == "self" => Ok(Subscription::SelfWorkload),
            Some(("service", name)) => Ok(Subscription::Service(name.parse()?)),
            Some(("address", address)) => Ok(Subscription::Address(address.parse()?)),
            _ => Err(FieldError::new("neither self, service/NS/NAME nor address/NETWORK/IP")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_printed_as_they_are_read() {
        for text in ["self", "service/shop/cart", "address/default/10.0.0.1", "address/n/::1"] {
            assert_eq!(text.parse::<Subscription>().unwrap().to_string(), text);
        }
        for wrong in ["", "self/", "service/cart", "address/10.0.0.1", "route/a/b"] {
            assert!(wrong.parse::<Subscription>().is_err(), "{wrong}");
        }
    }
}
