//! Whom a trust domain's members believe, and whom no longer.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::error::ValueError;
use crate::identity::{SpiffeId, TrustDomain};

/// The roots and revocations of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The trust domain.
    pub domain: TrustDomain,
    /// Grows with each change; an older one never replaces a newer one.
    pub sequence: u64,
    /// The roots. None at all: nobody is believed.
    pub roots: BTreeSet<RootCertificate>,
    /// What is not believed although a root vouches for it.
    pub revoked: BTreeSet<Revocation>,
    /// The root below which certificates are to be renewed at once, as the SHA-256 of its public
    /// key. Present only while another root is on its way out.
    pub renew_below: Option<[u8; 32]>,
}

/// A certificate, as DER. Whoever uses it reads it; here only its size is checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootCertificate(Arc<[u8]>);

impl RootCertificate {
    /// The certificate that `der` is.
    ///
    /// # Errors
    /// If it is empty or larger than 64 KiB.
    pub fn new(der: &[u8]) -> Result<RootCertificate, ValueError> {
        if der.is_empty() || der.len() > 64 << 10 {
            let found = format!("{} bytes", der.len());
            return Err(ValueError::new(found, "a certificate", "1 byte to 64 KiB"));
        }
        Ok(RootCertificate(der.into()))
    }

    /// As DER.
    pub fn der(&self) -> &[u8] {
        &self.0
    }
}

/// What is not believed although a root vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revocation {
    /// The certificate with this serial number.
    Serial(SerialNumber),
    /// All certificates of this identity.
    Identity(SpiffeId),
}

impl fmt::Display for Revocation {
    /// The identity, or `serial` and the number in hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Revocation::Identity(identity) => identity.fmt(f),
            Revocation::Serial(serial) => {
                f.write_str("serial ")?;
                serial.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// The serial number of a certificate, most significant byte first, without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialNumber(Vec<u8>);

impl SerialNumber {
    /// The number that `bytes` are; leading zeros are dropped.
    ///
    /// # Errors
    /// If it is zero, or longer than 20 bytes (RFC 5280, section 4.1.2.2).
    pub fn new(bytes: &[u8]) -> Result<SerialNumber, ValueError> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let bytes = &bytes[zeros..];
        if !(1..=20).contains(&bytes.len()) {
            let found = format!("{} bytes", bytes.len());
            return Err(ValueError::new(found, "a serial number", "1 to 20 bytes, not zero"));
        }
        Ok(SerialNumber(bytes.to_vec()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_have_one_spelling() {
        assert_eq!(SerialNumber::new(&[0, 0, 7, 0]).unwrap().as_bytes(), [7, 0]);
        assert!(SerialNumber::new(&[0]).is_err() && SerialNumber::new(&[1; 21]).is_err());
        assert!(RootCertificate::new(&[]).is_err());
    }
}
