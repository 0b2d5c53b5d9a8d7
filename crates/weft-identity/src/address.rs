//! Where a control plane listens, as credentials carry it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weft_model::is_subdomain;

/// Text that is no address of a control plane.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not HOST:PORT: an IP address (IPv6 in brackets) or a lower-case DNS name, \
     and a port from 1 to 65535"
)]
pub struct AddressError(String);

/// Host and port of a control plane, as in `control.weft:15010`, `192.0.2.1:15010` and
/// `[2001:db8::1]:15010`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ControlAddress(String);

impl ControlAddress {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ControlAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<ControlAddress, AddressError> {
        let is_address = match text.parse::<SocketAddr>() {
            Ok(address) => address.port() > 0,
            Err(_) => text.rsplit_once(':').is_some_and(|(host, port)| {
                let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
                // All digits and dots: an address that was mistyped rather than a name.
                let is_name =
                    is_subdomain(host) && host.bytes().any(|byte| byte.is_ascii_lowercase());
                is_name && is_number && port.parse::<u16>().is_ok_and(|port| port > 0)
            }),
        };
        is_address.then(|| ControlAddress(text.to_owned())).ok_or(AddressError(text.to_owned()))
    }
}

impl fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ControlAddress> for String {
    fn from(address: ControlAddress) -> String {
        address.0
    }
}

impl TryFrom<String> for ControlAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<ControlAddress, AddressError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_host_and_port() {
        for right in ["127.0.0.1:1", "[::1]:15010", "control:15010", "control.weft.svc:65535"] {
            assert_eq!(right.parse::<ControlAddress>().unwrap().as_str(), right);
        }
        for wrong in [
            "",
            "control",
            "control:",
            ":1",
            "control:0",
            "control:65536",
            "control:+1",
            "Control:1",
            "127.0.0.1:0",
            "127.0.0:1",
            "::1:15010",
            "https://control:1",
            "control:1 ",
            "a b:1",
        ] {
            let error = wrong.parse::<ControlAddress>().unwrap_err();
            assert!(error.to_string().contains("HOST:PORT"), "{wrong}");
        }
    }
}
