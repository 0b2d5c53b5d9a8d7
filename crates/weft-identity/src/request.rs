//! The client's side of a certificate: a key that never leaves it, a request, and the answer.

use rcgen::CertificateParams;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use weft_model::SpiffeId;

use crate::certificate;
use crate::credentials::{CredentialsError, Svid};
use crate::key::PrivateKey;

/// A request that cannot be made, or an answer that is not what was asked for.
#[derive(Debug, Error)]
pub enum RequestError {
    /// No key or request can be made.
    #[error("cannot make a key and a certificate request: {0}")]
    Make(#[from] rcgen::Error),
    /// The answer is no certificate for the key of the request.
    #[error("the issued certificate cannot be used: {0}")]
    Credentials(#[from] CredentialsError),
    /// The certificate is for somebody else.
    #[error("the issued certificate is for {found}, and {expected} was asked for")]
    Identity {
        /// Who asked.
        expected: SpiffeId,
        /// Whom the certificate names.
        found: SpiffeId,
    },
}

/// A new P-256 key, in memory only, and the request for a certificate of it.
#[derive(Debug)]
pub struct Request {
    key: PrivateKey,
    csr: Vec<u8>,
}

impl Request {
    /// A new key and a request, which names nobody: the identity is for the authority to attest.
    ///
    /// # Errors
    /// [`RequestError::Make`].
    pub fn generate() -> Result<Request, RequestError> {
        let key = PrivateKey::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let csr = params.serialize_request(&key)?.der().to_vec();
        Ok(Request { key, csr })
    }

    /// The request to send, PKCS#10 in DER.
    pub fn csr_der(&self) -> &[u8] {
        &self.csr
    }

    /// The credentials that `chain`, leaf first, and the key make together.
    ///
    /// The request survives a wrong answer, so that it can be sent again.
    ///
    /// # Errors
    /// [`RequestError::Credentials`], [`RequestError::Identity`].
    pub fn finish(
        &self,
        chain: Vec<CertificateDer<'static>>,
        expected: &SpiffeId,
    ) -> Result<Svid, RequestError> {
        let key = PrivateKeyDer::try_from(self.key.der())
            .map_err(|error| CredentialsError::Key(error.to_owned()))?;
        let svid = Svid::new(chain, &key)?;
        if svid.identity() != expected {
            let (expected, found) = (expected.clone(), svid.identity().clone());
            return Err(RequestError::Identity { expected, found });
        }
        Ok(svid)
    }

    /// As [`finish`](Self::finish), from PEM.
    ///
    /// # Errors
    /// [`RequestError::Credentials`], [`RequestError::Identity`].
    pub fn finish_pem(&self, pem: &[u8], expected: &SpiffeId) -> Result<Svid, RequestError> {
        let chain = certificate::from_pem(pem).map_err(CredentialsError::Certificates)?;
        self.finish(chain, expected)
    }
}

#[cfg(test)]
mod tests;
