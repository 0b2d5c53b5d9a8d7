//! Signing: from a request and an attested identity to a certificate.

use std::time::Duration;

use rcgen::{
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PublicKeyData, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use weft_model::{SpiffeId, TrustDomain};
use weft_world::UnixTime;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use super::{Authority, lasting, params, uri};
use crate::certificate::{self, Validity};
use crate::secret::RandomnessError;
use crate::serial::Serial;

/// How long a leaf holds, unless something else is asked for. It bounds how long a proxy that was
/// not told of a revocation stays exposed.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The least that a leaf may hold: less would be renewed without end.
const LEAF_LIFETIME_MIN: Duration = Duration::from_secs(60);

/// The most bytes of a request. One with a P-256 key has some 200.
const CSR_BYTES_MAX: usize = 16 * 1024;

/// A request for a certificate that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CsrError {
    /// It is too long.
    #[error("it has {0} bytes, and {CSR_BYTES_MAX} are allowed")]
    Length(usize),
    /// It is no PKCS#10 request in DER.
    #[error("it is no PKCS#10 request in DER: {0}")]
    Malformed(String),
    /// Its key is of a kind that is not accepted.
    #[error("its key is not accepted: a P-256, P-384 or Ed25519 key is, RSA of any size is not")]
    KeyKind,
    /// Its signature is not by its key: the sender does not have the key.
    #[error("its signature is not by its own key")]
    Signature,
}

/// A certificate that is not issued.
#[derive(Debug, Error)]
pub enum SignError {
    /// The request is refused.
    #[error("the certificate request is refused: {0}")]
    Csr(#[from] CsrError),
    /// The identity is of another trust domain.
    #[error("{identity} is not of the trust domain {trust_domain} that this authority signs for")]
    TrustDomain {
        /// Who was to get a certificate.
        identity: SpiffeId,
        /// The trust domain of the authority.
        trust_domain: TrustDomain,
    },
    /// The lifetime asked for is too short.
    #[error("a lifetime of {0:?} is too short, the least is {LEAF_LIFETIME_MIN:?}")]
    Lifetime(Duration),
    /// The authority does not hold now, or not much longer.
    #[error(
        "the authority's own certificates hold from {} to {}, and it is {now}: \
         set the clock of the control plane right if it is wrong, or give or make a new intermediate",
        validity.not_before, validity.not_after
    )]
    AuthorityExpired {
        /// When they do.
        validity: Validity,
        /// The time of the request.
        now: UnixTime,
    },
    /// There is no randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// The library failed.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate, as it is handed out and recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The leaf, then what is between it and the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The serial number of the leaf.
    pub serial: Serial,
    /// When the leaf holds.
    pub validity: Validity,
}

impl Issued {
    /// The chain in PEM.
    pub fn chain_pem(&self) -> String {
        certificate::to_pem(&self.chain)
    }
}

impl Authority {
    /// A certificate of `identity` for the key in the request `csr_der`.
    ///
    /// `identity` is what has been attested. Of the request only the key counts, after it has
    /// proved that its sender has the private one: names and extensions in it are ignored.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(
        &self,
        csr_der: &[u8],
        identity: &SpiffeId,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<Issued, SignError> {
        let key = requested_key(csr_der)?;
        if *identity.trust_domain() != self.trust_domain {
            let (identity, trust_domain) = (identity.clone(), self.trust_domain.clone());
            return Err(SignError::TrustDomain { identity, trust_domain });
        }
        if lifetime < LEAF_LIFETIME_MIN {
            return Err(SignError::Lifetime(lifetime));
        }
        let validity = lasting(now, lifetime).within(self.validity);
        let left = validity.not_after.0.saturating_sub(now.0);
        if !self.validity.contains(now) || left < LEAF_LIFETIME_MIN - Duration::from_secs(1) {
            return Err(SignError::AuthorityExpired { validity: self.validity, now });
        }
        let mut params = params(validity)?;
        // The subject stays empty, which makes the URI critical: it is the only name.
        params.subject_alt_names = vec![uri(&identity.to_string())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        let serial = params.serial_number.as_ref().and_then(|it| Serial::from_bytes(it.as_ref()));
        let serial = serial.expect("`params` gives a serial number of 16 bytes");
        let mut chain = vec![params.signed_by(&key, &self.issuer)?.into()];
        chain.extend_from_slice(&self.chain);
        Ok(Issued { chain, serial, validity })
    }
}

/// The public key that the request `der` is about.
fn requested_key(der: &[u8]) -> Result<SubjectPublicKeyInfo, CsrError> {
    if der.len() > CSR_BYTES_MAX {
        return Err(CsrError::Length(der.len()));
    }
    let malformed = |reason: String| CsrError::Malformed(reason);
    let (rest, csr) =
        X509CertificationRequest::from_der(der).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow it", rest.len())));
    }
    let X509Version(version) = csr.certification_request_info.version;
    if version != 0 {
        return Err(malformed(format!("its version is {version}, and 0 is the only one")));
    }
    let spki = &csr.certification_request_info.subject_pki;
    let key = SubjectPublicKeyInfo::from_der(spki.raw).map_err(|_| CsrError::KeyKind)?;
    let (length, first) = (key.der_bytes().len(), key.der_bytes().first());
    let is_whole = match key.algorithm() {
        // An uncompressed point, since not every peer reads the compressed form.
        algorithm if *algorithm == PKCS_ECDSA_P256_SHA256 => length == 65 && first == Some(&4),
        algorithm if *algorithm == PKCS_ECDSA_P384_SHA384 => length == 97 && first == Some(&4),
        algorithm if *algorithm == PKCS_ED25519 => length == 32,
        _ => return Err(CsrError::KeyKind),
    };
    if !is_whole || spki.subject_public_key.unused_bits != 0 {
        return Err(malformed(format!("a public key of {length} bytes is malformed")));
    }
    csr.verify_signature().map_err(|_| CsrError::Signature)?;
    Ok(key)
}

#[cfg(test)]
mod tests;
