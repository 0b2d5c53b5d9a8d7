//! What the certificate of a server outside of the mesh must prove.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use weft_model::{SubjectAltName, TlsOrigination};

use super::roots::Anchors;
use crate::verify::reason;

/// How many names of a certificate are told, and how much of each: whoever made it chose them.
const NAMES_SHOWN_MAX: usize = 5;
const NAME_CHARS_SHOWN_MAX: usize = 100;

/// Accepts servers whose certificate was issued by one of `anchors` and has one of `names`.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    anchors: Anchors,
    names: Vec<SubjectAltName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn new(anchors: Anchors, settings: &TlsOrigination) -> ServerVerifier {
        let algorithms = crate::tls::provider().signature_verification_algorithms;
        ServerVerifier { anchors, names: accepted(settings), algorithms }
    }
}

/// The names of which a certificate must have one.
pub(super) fn accepted(settings: &TlsOrigination) -> Vec<SubjectAltName> {
    let TlsOrigination { hostname, subject_alt_names, roots: _, client_certificate: _ } = settings;
    if subject_alt_names.is_empty() {
        return vec![SubjectAltName::Dns(hostname.clone())];
    }
    subject_alt_names.iter().cloned().collect()
}

fn has(certificate: &EndEntityCert<'_>, name: &SubjectAltName) -> bool {
    match name {
        SubjectAltName::Dns(host) => ServerName::try_from(host.as_str())
            .is_ok_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok()),
        SubjectAltName::Uri(uri) => certificate.valid_uri_names().any(|name| name == uri.as_str()),
    }
}

/// The names of `certificate`, for people.
fn shown(certificate: &EndEntityCert<'_>) -> Vec<String> {
    let shown = |name: &str| -> String {
        name.chars().take(NAME_CHARS_SHOWN_MAX).flat_map(char::escape_debug).collect()
    };
    let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
    names.take(NAMES_SHOWN_MAX).map(shown).collect()
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let leaf = EndEntityCert::try_from(leaf).map_err(reason)?;
        let (algorithms, purpose) = (self.algorithms.all, KeyUsage::server_auth());
        leaf.verify_for_usage(algorithms, &self.anchors, intermediates, now, purpose, None, None)
            .map_err(reason)?;
        if !self.names.iter().any(|name| has(&leaf, name)) {
            let (expected, presented) = (server_name.to_owned(), shown(&leaf));
            return Err(CertificateError::NotValidForNameContext { expected, presented }.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
