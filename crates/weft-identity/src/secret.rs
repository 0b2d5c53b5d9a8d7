//! Secrets that are shown once, hashes of them that are kept, and the text that carries them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::hex;

/// The most bytes of a text that carries a secret.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;

/// The system's random number generator does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the system's random number generator failed")]
pub struct RandomnessError;

/// Random bytes from the cryptographic library.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], RandomnessError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| RandomnessError)?;
    Ok(bytes)
}

/// Text that carries no secret of the wanted kind. Its message never holds any of the text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// It begins otherwise, or its version is another.
    #[error("it does not begin with `{0}`: is it of another kind, or of another version of weft?")]
    Prefix(&'static str),
    /// It is longer than any that weft makes.
    #[error("it has {0} bytes, and none that weft makes has more than {TEXT_BYTES_MAX}")]
    Length(usize),
    /// What follows the beginning is no base64url.
    #[error("what follows `{0}` is not base64url without padding: was it copied whole?")]
    Base64(&'static str),
    /// The decoded payload has not the fields that it should.
    #[error("its payload is not as weft writes it: {0}")]
    Payload(String),
    /// A field has a value that is not allowed.
    #[error("its field `{field}` is wrong: {reason}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong, without the value if that is a secret.
        reason: String,
    },
}

/// `prefix`, then `payload` as JSON in base64url.
pub(crate) fn write_text(prefix: &'static str, payload: &impl Serialize) -> Zeroizing<String> {
    // Room for all, so that no half-written copy of the secret stays behind in memory.
    let mut json = Zeroizing::new(Vec::with_capacity(TEXT_BYTES_MAX));
    serde_json::to_writer(&mut *json, payload).expect("strings and lists of them are JSON");
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + json.len() * 2));
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(&*json, &mut text);
    text
}

/// What [`write_text`] wrote; whitespace around it is ignored.
pub(crate) fn read_text<T: DeserializeOwned>(
    prefix: &'static str,
    text: &str,
) -> Result<T, TextError> {
    let text = text.trim_ascii();
    if text.len() > TEXT_BYTES_MAX {
        return Err(TextError::Length(text.len()));
    }
    let payload = text.strip_prefix(prefix).ok_or(TextError::Prefix(prefix))?;
    let json = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TextError::Base64(prefix))?;
    let json = Zeroizing::new(json);
    serde_json::from_slice(&json).map_err(|error| {
        // Not the message itself: it may quote a value, and with it the secret.
        let kind = match error.classify() {
            serde_json::error::Category::Data => "a field is missing, unknown or of a wrong type",
            serde_json::error::Category::Eof => "it ends too early",
            _ => "it is not JSON",
        };
        TextError::Payload(format!("{kind} (byte {} of the decoded payload)", error.column()))
    })
}

/// 256 random bits that only their holder knows. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// [`RandomnessError`].
    pub fn generate() -> Result<Secret, RandomnessError> {
        Ok(Secret(Zeroizing::new(random()?)))
    }

    /// What to keep of it where only a comparison is needed.
    ///
    /// One round of SHA-256 is enough: nobody can try all 256-bit numbers.
    pub fn hash(&self) -> SecretHash {
        let hash = digest::digest(&digest::SHA256, self.0.as_slice());
        SecretHash(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The secret in base64url, 43 characters.
    pub(crate) fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(64));
        URL_SAFE_NO_PAD.encode_string(self.0.as_slice(), &mut text);
        text
    }

    /// The secret that [`expose`](Self::expose) wrote.
    pub(crate) fn read(text: &str) -> Option<Secret> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        let mut secret = Zeroizing::new([0; 32]);
        (bytes.len() == 32).then(|| secret.copy_from_slice(&bytes))?;
        Some(Secret(secret))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The SHA-256 of a [`Secret`], as the control plane keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Whether `secret` is the one. Takes the same time wherever they differ.
    pub fn fits(&self, secret: &Secret) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &secret.hash().0).is_ok()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(hidden)")
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> String {
        hex::encode(&hash.0)
    }
}

impl TryFrom<String> for SecretHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<SecretHash, &'static str> {
        hex::decode(&text).map(SecretHash).ok_or("a hash has 64 lower-case hexadecimal digits")
    }
}

/// The public name of a secret, by which its record is found: 16 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SecretId(String);

impl SecretId {
    /// A new one, of 64 random bits.
    pub(crate) fn generate() -> Result<SecretId, RandomnessError> {
        Ok(SecretId(hex::encode(&random::<8>()?)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SecretId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<SecretId, &'static str> {
        let is_id = hex::decode::<8>(text).is_some();
        is_id.then(|| SecretId(text.to_owned())).ok_or("an id has 16 lower-case hexadecimal digits")
    }
}

impl From<SecretId> for String {
    fn from(id: SecretId) -> String {
        id.0
    }
}

impl TryFrom<String> for SecretId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<SecretId, &'static str> {
        text.parse()
    }
}

/// What is sent to prove possession of a secret, written `ID.SECRET`: only ever inside TLS, and to
/// a server whose key has been checked.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// Which record it is about.
    pub id: SecretId,
    /// The proof.
    pub secret: Secret,
}

impl Bearer {
    /// The text to send.
    pub fn to_text(&self) -> Zeroizing<String> {
        let secret = self.secret.expose();
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(self.id.as_str());
        text.push('.');
        text.push_str(&secret);
        text
    }

    /// The proof in `text`.
    ///
    /// # Errors
    /// [`TextError::Field`], which does not repeat the text.
    pub fn parse(text: &str) -> Result<Bearer, TextError> {
        let field = |field, reason: &str| TextError::Field { field, reason: reason.to_owned() };
        let (id, secret) =
            text.split_once('.').ok_or_else(|| field("id", "there is no dot behind it"))?;
        let id = id.parse().map_err(|reason| field("id", reason))?;
        let secret = Secret::read(secret).ok_or_else(|| field("secret", SECRET_SHAPE))?;
        Ok(Bearer { id, secret })
    }
}

/// What is said about a malformed secret instead of the secret.
pub(crate) const SECRET_SHAPE: &str = "a secret has 43 characters of base64url";

#[cfg(test)]
mod tests;
