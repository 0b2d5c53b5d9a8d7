//! What a workload proves itself with, and what it trusts.

mod saved;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use weft_model::SpiffeId;
use zeroize::{Zeroize, Zeroizing};

use crate::certificate::{self, Validity};
use crate::serial::Serial;
use crate::trust::TrustBundle;
use crate::verify::peer_identity;

pub use self::saved::SavedCredentialsError;

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

/// A certificate chain with an identity, and the key to it.
#[derive(Clone)]
pub struct Svid {
    identity: SpiffeId,
    serial: Serial,
    validity: Validity,
    certified_key: Arc<CertifiedKey>,
    key_pem: Arc<Zeroizing<String>>,
}

impl Svid {
    /// The chain in `certificates`, leaf first, with its `key`, both PEM.
    ///
    /// # Errors
    /// All of [`CredentialsError`] but `Root`.
    pub fn from_pem(certificates_pem: &[u8], key_pem: &[u8]) -> Result<Svid, CredentialsError> {
        let chain =
            certificate::from_pem(certificates_pem).map_err(CredentialsError::Certificates)?;
        let mut key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| CredentialsError::Key(error.to_string()))?;
        let svid = Svid::new(chain, &key);
        key.zeroize();
        svid
    }

    /// `chain`, leaf first, with its `key`.
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Svid, CredentialsError> {
        let leaf = chain.first().ok_or_else(|| {
            CredentialsError::Certificates("the chain has no certificate".to_owned())
        })?;
        let identity =
            peer_identity(leaf).map_err(|error| CredentialsError::Identity(error.to_string()))?;
        let parsed = certificate::parse(leaf).map_err(CredentialsError::Identity)?;
        let serial = certificate::serial(&parsed).ok_or_else(|| {
            CredentialsError::Identity("its serial number has more than 20 bytes".to_owned())
        })?;
        let validity = certificate::validity(&parsed);
        let signing_key = rustls::crypto::aws_lc_rs::sign::any_supported_type(key)
            .map_err(|error| CredentialsError::Key(error.to_string()))?;
        let certified_key = CertifiedKey::new(chain, signing_key);
        certified_key.keys_match().map_err(|_| CredentialsError::Mismatch)?;
        let label = match key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let key_pem = Arc::new(crate::key::pem(label, key.secret_der()));
        let certified_key = Arc::new(certified_key);
        Ok(Svid { identity, serial, validity, certified_key, key_pem })
    }

    /// The identity that the leaf names.
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// The serial number of the leaf.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// When the leaf holds.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The certificates, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified_key.cert
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Svid { identity, serial, validity, certified_key: _, key_pem: _ } = self;
        let not_after = validity.not_after;
        write!(f, "Svid({identity}, serial {serial}, until {not_after}, key hidden)")
    }
}

/// What a workload proves itself with, and what it trusts.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The own certificate and key.
    pub svid: Svid,
    /// The roots that peers must descend from.
    pub bundle: TrustBundle,
}

/// The place of the current SVID, if there is one: all who share it see a new one at once.
///
/// Reading takes no lock. A clone is the same place.
#[derive(Clone, Debug, Default)]
pub struct SvidSlot(Arc<ArcSwapOption<CertifiedKey>>);

impl SvidSlot {
    /// A place with `svid` in it.
    pub fn with(svid: &Svid) -> SvidSlot {
        let slot = SvidSlot::default();
        slot.set(svid);
        slot
    }

    /// From now on, handshakes prove themselves with `svid`.
    pub fn set(&self, svid: &Svid) {
        self.0.store(Some(svid.certified_key.clone()));
    }

    /// From now on, handshakes prove nothing: for one whose SVID has expired and must join again,
    /// since a server refuses an expired certificate, but not the absence of one.
    pub fn clear(&self) {
        self.0.store(None);
    }
}

impl rustls::client::ResolvesClientCert for SvidSlot {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let key = self.0.load_full()?;
        key.key.choose_scheme(schemes).is_some().then_some(key)
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
    }
}

impl rustls::server::ResolvesServerCert for SvidSlot {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}
