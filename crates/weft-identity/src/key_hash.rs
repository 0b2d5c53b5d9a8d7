//! The hash by which a public key is known.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hex;

/// Text that is no hash of a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not the SHA-256 of a public key: 64 lower-case hexadecimal digits")]
pub struct KeyHashError(String);

/// The SHA-256 of a public key, in the form that certificates carry it (SubjectPublicKeyInfo, DER).
///
/// It holds for a key regardless of the certificates that are made for it, and of their dates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of the key in `spki`, a SubjectPublicKeyInfo in DER.
    pub fn of(spki: &[u8]) -> KeyHash {
        let hash = digest::digest(&digest::SHA256, spki);
        KeyHash(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for KeyHash {
    fn from(bytes: [u8; 32]) -> KeyHash {
        KeyHash(bytes)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<KeyHash, KeyHashError> {
        hex::decode(text).map(KeyHash).ok_or_else(|| KeyHashError(text.to_owned()))
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> String {
        hash.to_string()
    }
}

impl TryFrom<String> for KeyHash {
    type Error = KeyHashError;

    fn try_from(text: String) -> Result<KeyHash, KeyHashError> {
        text.parse()
    }
}
