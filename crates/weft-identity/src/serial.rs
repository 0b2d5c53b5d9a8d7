//! The serial numbers of certificates.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::hex;
use crate::secret::{RandomnessError, random};

/// Text that is no serial number.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a serial number: 1 to 40 hexadecimal digits, colons between them allowed")]
pub struct SerialError(String);

/// The serial number of a certificate.
///
/// Those of this mesh are 128 random bits, so that one names a certificate without its issuer.
/// Source: RFC 5280, section 4.1.2.2 (at most 20 bytes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; 20]);

impl Serial {
    /// Stands for one that is too long: nothing of this mesh has it.
    pub(crate) const ZERO: Serial = Serial([0; 20]);

    /// A serial number of 128 random bits.
    pub(crate) fn random() -> Result<Serial, RandomnessError> {
        let mut bytes = [0; 20];
        bytes[4..].copy_from_slice(&random::<16>()?);
        Ok(Serial(bytes))
    }

    /// The number that is written in `bytes`, big end first; nothing if it is too large.
    pub fn from_bytes(bytes: &[u8]) -> Option<Serial> {
        let first = bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len());
        let significant = &bytes[first..];
        let mut serial = [0; 20];
        serial.get_mut(20usize.checked_sub(significant.len())?..)?.copy_from_slice(significant);
        Some(Serial(serial))
    }

    /// The number, big end first, without leading zeros.
    pub fn as_bytes(&self) -> &[u8] {
        let first = self.0.iter().position(|&byte| byte != 0).unwrap_or(19);
        &self.0[first..]
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    /// Reads what other tools print, too: in capitals, with colons, with an odd count of digits.
    fn from_str(text: &str) -> Result<Serial, SerialError> {
        let error = || SerialError(text.to_owned());
        let digits = text.replace(':', "").to_ascii_lowercase();
        if digits.is_empty() || digits.len() > 40 {
            return Err(error());
        }
        hex::decode(&format!("{digits:0>40}")).map(Serial).ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_without_leading_zeros() {
        let serial = Serial::from_bytes(&[0, 0, 0x0a, 0xbc]).unwrap();
        assert_eq!(serial.to_string(), "0abc");
        assert_eq!(serial.as_bytes(), [0x0a, 0xbc]);
        for text in ["abc", "0ABC", "0A:BC", "00000abc"] {
            assert_eq!(text.parse(), Ok(serial), "{text}");
        }
        assert_eq!(Serial::from_bytes(&[]).unwrap().to_string(), "00");
        assert_eq!(Serial::from_bytes(&[1; 21]), None);
        assert!(Serial::from_bytes(&[1; 20]).is_some());
        for wrong in ["", ":", "xyz", "0x12", &"1".repeat(41)] {
            assert!(wrong.parse::<Serial>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn random_numbers_differ() {
        let serials: std::collections::BTreeSet<_> =
            (0..100).map(|_| Serial::random().unwrap()).collect();
        assert_eq!(serials.len(), 100);
    }
}
