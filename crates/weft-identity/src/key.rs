//! Private keys, as this crate makes and reads them.

use std::fmt;

use rcgen::{KeyPair, PublicKeyData, SigningKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{self, PemObject};
use zeroize::{Zeroize, Zeroizing};

use crate::key_hash::KeyHash;

/// A private key with its public one. Its bytes are wiped from memory when it is dropped.
pub(crate) struct PrivateKey {
    pair: KeyPair,
    /// How the form of the key is called in PEM.
    label: &'static str,
}

impl PrivateKey {
    /// A new P-256 key, from the cryptographic library's own generator.
    pub(crate) fn generate() -> Result<PrivateKey, rcgen::Error> {
        Ok(PrivateKey { pair: KeyPair::generate()?, label: "PRIVATE KEY" })
    }

    /// The first private key in `pem`; the error says what is wrong with it.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<PrivateKey, String> {
        let mut der = PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
            let reason = pem_reason(&error);
            format!("no private key in PEM (PKCS#8, SEC1 or PKCS#1): {reason}")
        })?;
        let label = match der {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let pair = KeyPair::try_from(&der);
        der.zeroize();
        let pair = pair.map_err(|error| format!("the private key is of no known kind: {error}"))?;
        Ok(PrivateKey { pair, label })
    }

    /// The key in PEM, to be written to a protected file.
    pub(crate) fn to_pem(&self) -> Zeroizing<String> {
        pem(self.label, self.pair.serialized_der())
    }

    /// The key in DER, in the form that it came in.
    pub(crate) fn der(&self) -> &[u8] {
        self.pair.serialized_der()
    }

    /// The hash of the public key.
    pub(crate) fn hash(&self) -> KeyHash {
        KeyHash::of(&self.pair.subject_public_key_info())
    }
}

/// What is wrong with a text that is no PEM, in words.
pub(crate) fn pem_reason(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it is cut short, its last line is missing".into(),
        other => other.to_string(),
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(hidden, public key {})", self.hash())
    }
}

impl PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.pair.algorithm()
    }
}

impl SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.pair.sign(message)
    }
}

/// `der` in PEM, under `label`. Source: RFC 7468, section 2.
pub(crate) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    // Room for all, so that no half-written copy of a key stays behind in memory.
    let mut text = Zeroizing::new(String::with_capacity(der.len() * 2 + label.len() * 2 + 64));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in der.chunks(48) {
        STANDARD.encode_string(line, &mut text); // 48 bytes make a line of 64 characters.
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
