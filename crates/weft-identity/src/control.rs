//! How a control plane proves itself: by one long-lived key, whose hash its clients were given.
//!
//! Dates and names do not count, so that clients find their way back however long everything was
//! off, and nobody has to renew anything for that.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use thiserror::Error;
use weft_world::Files;
use zeroize::Zeroizing;

use crate::certificate;
use crate::credentials::SvidSlot;
use crate::key::PrivateKey;
use crate::key_hash::KeyHash;
use crate::tls;
use crate::trust::TrustSlot;
use crate::verify::{PeerVerifier, refused};

/// What is spoken with a control plane, in order of preference.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The most bytes of a key file.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// A key of a control plane that cannot be used.
#[derive(Debug, Error)]
pub enum ControlKeyError {
    /// No key or certificate can be made.
    #[error("cannot make the control plane's key or its certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The key is not PEM, or of a kind that is not known.
    #[error("the control plane's key cannot be used: {0}")]
    Key(String),
    /// The file cannot be read or written.
    #[error("cannot {action} the control plane's key {path}: {source}")]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// Which file.
        path: String,
        /// Why it cannot.
        source: std::io::Error,
    },
    /// The library refuses the combination, which would be a bug.
    #[error("cannot set up TLS for the control plane: {0}")]
    Tls(#[from] rustls::Error),
}

/// The long-lived key of a control plane. All its replicas have the same.
#[derive(Debug)]
pub struct ControlKey(PrivateKey);

impl ControlKey {
    /// A new P-256 key.
    ///
    /// # Errors
    /// [`ControlKeyError::Make`].
    pub fn generate() -> Result<ControlKey, ControlKeyError> {
        Ok(ControlKey(PrivateKey::generate()?))
    }

    /// The key in `pem`.
    ///
    /// # Errors
    /// [`ControlKeyError::Key`].
    pub fn from_pem(pem: &[u8]) -> Result<ControlKey, ControlKeyError> {
        PrivateKey::from_pem(pem).map(ControlKey).map_err(ControlKeyError::Key)
    }

    /// The key in the file at `path`; where none was `known` before, it is made if there is none.
    ///
    /// # Errors
    /// [`ControlKeyError`]. A file that cannot be used is left as it is, and of one that is gone no
    /// other is made: with a new key, all that were told of the old one would refuse this control
    /// plane.
    pub fn open(
        files: &dyn Files,
        path: &Path,
        known: Option<KeyHash>,
    ) -> Result<ControlKey, ControlKeyError> {
        let failed = |action| {
            let path = path.display().to_string();
            move |source| ControlKeyError::File { action, path, source }
        };
        let unusable = |reason: String| {
            let path = path.display();
            ControlKeyError::Key(format!(
                "{path}: {reason}: restore it from a backup; with a new one, all who were told of \
                 the old one would refuse this control plane"
            ))
        };
        let key = match files.read(path, FILE_BYTES_MAX) {
            Ok(pem) => {
                let key = PrivateKey::from_pem(&Zeroizing::new(pem)).map_err(unusable)?;
                ControlKey(key)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if known.is_some() {
                    return Err(unusable("it is gone".to_owned()));
                }
                let key = ControlKey::generate()?;
                files.replace(path, key.to_pem().as_bytes()).map_err(failed("write"))?;
                key
            }
            Err(error) => return Err(failed("read")(error)),
        };
        match known.filter(|known| *known != key.hash()) {
            Some(known) => {
                let found = key.hash();
                Err(unusable(format!("it is {found}, and {known} is the one in use")))
            }
            None => Ok(key),
        }
    }

    /// The hash by which clients know the key.
    pub fn hash(&self) -> KeyHash {
        self.0.hash()
    }

    /// The private key in PEM, to be kept in a protected place.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.0.to_pem()
    }

    /// A server that proves itself with this key. TLS 1.3 only, no resumption, HTTP/2 or HTTP/1.1.
    ///
    /// Clients may prove themselves with an SVID that the current `trust` lets in, and are refused
    /// if they try to and fail. Who they are, [`Trust::facts`](crate::Trust::facts) tells of the
    /// certificates that the finished handshake has; none is for joining and for administration.
    /// A connection may outlive that answer: [`Trust::judge`](crate::Trust::judge) it again before
    /// each renewal.
    ///
    /// # Errors
    /// [`ControlKeyError::Make`], [`ControlKeyError::Key`], [`ControlKeyError::Tls`].
    pub fn server_config(&self, trust: &TrustSlot) -> Result<ServerConfig, ControlKeyError> {
        let key = PrivateKeyDer::try_from(self.0.der())
            .map_err(|error| ControlKeyError::Key(error.to_owned()))?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|error| ControlKeyError::Key(error.to_string()))?;
        let certified = CertifiedKey::new(vec![self.certificate()?], key);
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let verifier = PeerVerifier::optional(trust.clone());
        let mut config = tls::server_config(verifier, resolver)?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }

    /// A certificate that the key signs for itself, since TLS asks for one.
    fn certificate(&self) -> Result<CertificateDer<'static>, rcgen::Error> {
        let mut params = CertificateParams::default(); // Valid from 1975 to 4096.
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Weft control plane");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params.self_signed(&self.0)?.into())
    }
}

/// A client of the control plane that has the key with the hash `control_key`, and of no other
/// server. It proves itself with what is in `svid`, if anything is. TLS 1.3 only, no resumption,
/// HTTP/2 or HTTP/1.1.
///
/// The server's name does not count: any will do.
///
/// # Errors
/// [`rustls::Error`] if the library refuses the combination, which would be a bug.
pub fn control_client_config(
    control_key: KeyHash,
    svid: &SvidSlot,
) -> Result<ClientConfig, rustls::Error> {
    let algorithms = tls::provider().signature_verification_algorithms;
    let verifier = Arc::new(KeyVerifier { expected: control_key, algorithms });
    let mut config = tls::client_config(verifier, svid)?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    config.enable_sni = false;
    Ok(config)
}

/// Accepts the one server that has a certain key, whatever its certificate says.
#[derive(Debug)]
struct KeyVerifier {
    expected: KeyHash,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = certificate::parse(leaf).map_err(|reason| refused(&reason))?;
        let (expected, found) = (self.expected, certificate::key_hash(&parsed));
        if found != expected {
            return Err(refused(&format!(
                "this is not the control plane: its key is {found}, and {expected} is expected, \
                 by a credential or token that another one has made"
            )));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    /// The proof that the server has the private key, and not only the certificate.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
