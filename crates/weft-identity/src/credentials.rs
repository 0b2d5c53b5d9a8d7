//! What a workload proves itself with, and what it trusts.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use weft_model::{SpiffeId, TrustDomain};

use crate::verify::peer_identity;

/// Credentials that cannot be used.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// The certificates are not PEM, or there is none.
    #[error("no certificates in PEM: {0}")]
    Certificates(String),
    /// The key is not PEM, or of a kind that is not known.
    #[error("no private key in PEM (PKCS#8, SEC1 or PKCS#1): {0}")]
    Key(String),
    /// The key is not the one of the certificate.
    #[error("the private key does not belong to the first certificate")]
    Mismatch,
    /// The certificate names no identity.
    #[error("the first certificate is no X.509-SVID: {0}")]
    Identity(String),
    /// A root cannot be used as one.
    #[error("root {index} cannot be trusted: {reason}")]
    Root {
        /// Which one, counted from 1.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// The roots of one trust domain.
#[derive(Clone, Debug)]
pub struct TrustBundle {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) roots: Vec<CertificateDer<'static>>,
}

impl TrustBundle {
    /// The roots in `pem`, for identities of `trust_domain`.
    ///
    /// # Errors
    /// [`CredentialsError::Certificates`], [`CredentialsError::Root`].
    pub fn from_pem(
        trust_domain: TrustDomain,
        pem: &[u8],
    ) -> Result<TrustBundle, CredentialsError> {
        let roots = certificates(pem)?;
        for (position, root) in roots.iter().enumerate() {
            webpki::anchor_from_trusted_cert(root).map_err(|error| CredentialsError::Root {
                index: position + 1,
                reason: error.to_string(),
            })?;
        }
        Ok(TrustBundle { trust_domain, roots })
    }
}

/// A certificate chain with an identity, and the key to it.
#[derive(Clone)]
pub struct Svid {
    pub(crate) identity: SpiffeId,
    pub(crate) certified_key: Arc<CertifiedKey>,
}

impl Svid {
    /// The chain in `certificates`, leaf first, with its `key`, both PEM.
    ///
    /// # Errors
    /// All of [`CredentialsError`] but `Root`.
    pub fn from_pem(certificates_pem: &[u8], key_pem: &[u8]) -> Result<Svid, CredentialsError> {
        let chain = certificates(certificates_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| CredentialsError::Key(error.to_string()))?;
        let identity = peer_identity(&chain[0])
            .map_err(|error| CredentialsError::Identity(error.to_string()))?;
        let signing_key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|error| CredentialsError::Key(error.to_string()))?;
        let certified_key = CertifiedKey::new(chain, signing_key);
        certified_key.keys_match().map_err(|_| CredentialsError::Mismatch)?;
        Ok(Svid { identity, certified_key: Arc::new(certified_key) })
    }

    /// The identity that the leaf names.
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }
}

/// What a workload proves itself with, and what it trusts.
#[derive(Clone)]
pub struct Credentials {
    /// The own certificate and key.
    pub svid: Svid,
    /// The roots that peers must descend from.
    pub bundle: TrustBundle,
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| CredentialsError::Certificates(error.to_string()))?;
    if certificates.is_empty() {
        return Err(CredentialsError::Certificates("the text holds none".to_owned()));
    }
    Ok(certificates)
}
