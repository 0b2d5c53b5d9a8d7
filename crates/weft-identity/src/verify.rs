//! Which certificates of peers are accepted: those that chain to a root and name one identity.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use weft_model::SpiffeId;

use crate::credentials::TrustBundle;

/// The identity that the certificate of a peer names, whoever signed it.
///
/// # Errors
/// [`CertificateError`] if it has not exactly one URI, or if that is no identity.
/// Source: X.509-SVID, section 2.
pub fn peer_identity(leaf: &CertificateDer<'_>) -> Result<SpiffeId, rustls::Error> {
    let refuse = |reason: &str| {
        let reason: Box<dyn std::error::Error + Send + Sync> = reason.into();
        let other = rustls::OtherError(Arc::from(reason));
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
    };
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| refuse(&error.to_string()))?;
    let mut names = leaf.valid_uri_names();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(refuse("the certificate has not exactly one URI as its subject"));
    };
    name.parse().map_err(|error: weft_model::IdentityError| refuse(&error.to_string()))
}

/// Accepts peers whose certificate chains to a root of the bundle and names an identity in its
/// trust domain.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    bundle: TrustBundle,
    anchors: Vec<TrustAnchor<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    pub(crate) fn new(bundle: TrustBundle) -> PeerVerifier {
        let anchors = bundle.roots.iter().filter_map(|root| {
            let anchor = webpki::anchor_from_trusted_cert(root);
            anchor.map(|anchor| anchor.to_owned()).ok() // Checked when the bundle was made.
        });
        let anchors = anchors.collect();
        let algorithms = crate::tls::provider().signature_verification_algorithms;
        PeerVerifier { bundle, anchors, algorithms }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), rustls::Error> {
        let certificate = EndEntityCert::try_from(leaf).map_err(reason)?;
        certificate
            .verify_for_usage(
                self.algorithms.all,
                &self.anchors,
                intermediates,
                now,
                usage,
                None,
                None,
            )
            .map_err(reason)?;
        let identity = peer_identity(leaf)?;
        if *identity.trust_domain() != self.bundle.trust_domain {
            let error: Box<dyn std::error::Error + Send + Sync> =
                format!("{identity} is not of the trust domain {}", self.bundle.trust_domain)
                    .into();
            let other = rustls::OtherError(Arc::from(error));
            return Err(CertificateError::Other(other).into());
        }
        Ok(())
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }
}

/// The reason in rustls' words, so that the peer gets the alert that fits.
fn reason(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    let certificate_error = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::InvalidCertValidity => CertificateError::Expired,
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertRevoked => CertificateError::Revoked,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    };
    certificate_error.into()
}

impl ServerCertVerifier for PeerVerifier {
    /// The name in SNI is for routing; whether the peer is the wanted one is decided by its
    /// identity, after the handshake.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now, KeyUsage::server_auth())?;
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

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[] // A stranger learns nothing of the roots.
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
