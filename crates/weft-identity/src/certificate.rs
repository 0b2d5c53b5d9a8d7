//! What a certificate says of itself, as far as Weft reads it.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use weft_world::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::key_hash::KeyHash;
use crate::serial::Serial;

/// From when to when a certificate holds, both ends included, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: UnixTime,
    /// The last second.
    pub not_after: UnixTime,
}

impl Validity {
    /// Whether `now` is within.
    pub fn contains(&self, now: UnixTime) -> bool {
        self.not_before <= now && now.0.as_secs() <= self.not_after.0.as_secs()
    }

    /// From end to end; zero if they are the wrong way round.
    pub fn lifetime(&self) -> Duration {
        self.not_after.0.saturating_sub(self.not_before.0)
    }

    /// The time that both cover.
    pub(crate) fn within(self, other: Validity) -> Validity {
        Validity {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }
}

/// The certificate in `der`; the error says what is wrong.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    let (rest, certificate) = X509Certificate::from_der(der)
        .map_err(|error| format!("it is no certificate in DER: {error}"))?;
    if !rest.is_empty() {
        return Err(format!("{} bytes follow the certificate", rest.len()));
    }
    Ok(certificate)
}

/// When `certificate` holds.
pub(crate) fn validity(certificate: &X509Certificate<'_>) -> Validity {
    // Dates before 1970 count as 1970.
    let at = |time: ASN1Time| {
        UnixTime(Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default()))
    };
    let validity = certificate.validity();
    Validity { not_before: at(validity.not_before), not_after: at(validity.not_after) }
}

/// The serial number of `certificate`, unless it is longer than the standard allows.
pub(crate) fn serial(certificate: &X509Certificate<'_>) -> Option<Serial> {
    Serial::from_bytes(certificate.raw_serial())
}

/// The hash of the key that `certificate` is for.
pub(crate) fn key_hash(certificate: &X509Certificate<'_>) -> KeyHash {
    KeyHash::of(certificate.public_key().raw)
}

/// The certificates in `pem`, at least one; the error says what is wrong.
pub(crate) fn from_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| crate::key::pem_reason(&error))?;
    if certificates.is_empty() {
        return Err("the text holds none".to_owned());
    }
    Ok(certificates)
}

/// `certificates` in PEM, one behind the other.
pub(crate) fn to_pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|der| crate::key::pem("CERTIFICATE", der).to_string()).collect()
}
