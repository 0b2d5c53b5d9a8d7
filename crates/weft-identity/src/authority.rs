//! The certificate authority of a mesh: a root, an intermediate below it, and leaves below that.
//!
//! Running needs the intermediate's key and the root's certificate only; the root's key is needed
//! to make the next intermediate, and may lie elsewhere until then.
//!
//! The intermediate is *not* bound to the trust domain by a name constraint on URIs: the verifier
//! in use (webpki) knows none of that kind and refuses every leaf below such an intermediate, which
//! a test keeps an eye on. What binds it is that each peer compares the trust domain itself.

mod check;
mod files;
mod sign;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyUsagePurpose, SanType};
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use weft_model::TrustDomain;
use weft_world::UnixTime;
use zeroize::Zeroizing;

pub use files::AuthorityFiles;
pub use sign::{CsrError, Issued, LEAF_LIFETIME, SignError};

use crate::certificate::{self, Validity};
use crate::hex;
use crate::key::PrivateKey;
use crate::key_hash::KeyHash;
use crate::secret::{RandomnessError, random};
use crate::serial::Serial;

/// How long a root holds: it is replaced by rotation long before.
const ROOT_LIFETIME: Duration = Duration::from_secs(3650 * 86_400);

/// How long an intermediate holds.
const INTERMEDIATE_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// How far back certificates reach, for peers whose clocks are behind.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// An authority that cannot be made or used.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// No key or certificate can be made.
    #[error("cannot make {what}: {source}")]
    Make {
        /// What was to be made.
        what: &'static str,
        /// Why it cannot.
        source: rcgen::Error,
    },
    /// There is no randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// A certificate is not PEM, or cannot be that of an authority.
    #[error("{what} cannot be used: {reason}")]
    Certificate {
        /// Which one.
        what: &'static str,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A certificate does not hold now.
    #[error(
        "{what} cannot be used: it holds from {} to {}, and by this machine's clock it is {now}: \
         set the clock right if it is wrong, or give another",
        validity.not_before, validity.not_after
    )]
    Dates {
        /// Which one.
        what: &'static str,
        /// When it holds.
        validity: Validity,
        /// The time by this machine's clock.
        now: UnixTime,
    },
    /// A key is not PEM, or of a kind that is not known.
    #[error("the key of {what} cannot be used: {reason}")]
    Key {
        /// Whose key.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A key is not the one of its certificate.
    #[error(
        "the key of {what} does not belong to its certificate (the key is {key}, the certificate \
         is for {certificate})"
    )]
    Mismatch {
        /// Whose key.
        what: &'static str,
        /// The hash of the key that was given.
        key: KeyHash,
        /// The hash of the key that the certificate is for.
        certificate: KeyHash,
    },
    /// Peers would refuse what the intermediate signs.
    #[error("peers that trust the root would refuse what the intermediate signs: {0}")]
    Chain(String),
    /// What is in the files of an authority cannot be used.
    #[error(
        "{}, {}: {source} (if they were given: put others there, as docs/certificates.md says; if \
         one is damaged: restore it from a backup)",
        root.display(),
        other.display()
    )]
    Content {
        /// The file with the root's certificate.
        root: PathBuf,
        /// The file that goes with it: the intermediate's, or the root's key.
        other: PathBuf,
        /// What is wrong.
        source: Box<AuthorityError>,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `write` or `remove`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it cannot.
        source: io::Error,
    },
    /// The root of an authority that was in use is not there.
    #[error(
        "{} is gone: restore it from a backup; with another root in its place, all who have a \
         certificate would be shut out", missing.display()
    )]
    Gone {
        /// What is not there.
        missing: PathBuf,
    },
    /// A file that is needed is not there.
    #[error("{} is missing, and {} is there: {advice}", missing.display(), present.display())]
    Missing {
        /// What is not there.
        missing: PathBuf,
        /// What is.
        present: PathBuf,
        /// What to do.
        advice: &'static str,
    },
}

impl AuthorityError {
    /// Whether all there is against an intermediate is that it does not hold now.
    fn is_of_dates(&self) -> bool {
        match self {
            AuthorityError::Dates { what, .. } => *what == check::INTERMEDIATE,
            AuthorityError::Content { source, .. } => source.is_of_dates(),
            _ => false,
        }
    }
}

/// A root with its key.
#[derive(Debug)]
pub struct Root {
    trust_domain: TrustDomain,
    certificate: CertificateDer<'static>,
    validity: Validity,
    key: PrivateKey,
}

impl Root {
    /// A new root of `trust_domain`, for ten years from `now`.
    ///
    /// # Errors
    /// [`AuthorityError::Make`], [`AuthorityError::Randomness`].
    pub fn generate(trust_domain: TrustDomain, now: UnixTime) -> Result<Root, AuthorityError> {
        let key = PrivateKey::generate()
            .map_err(|source| AuthorityError::Make { what: "the root's key", source })?;
        Root::with_key(trust_domain, key, now)
    }

    /// As [`generate`](Self::generate), for a key that is there already.
    fn with_key(
        trust_domain: TrustDomain,
        key: PrivateKey,
        now: UnixTime,
    ) -> Result<Root, AuthorityError> {
        let validity = lasting(now, ROOT_LIFETIME);
        let mut params = authority_params("Weft root", &trust_domain, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        let certificate = params
            .self_signed(&key)
            .map_err(|source| AuthorityError::Make { what: "the root", source })?;
        Ok(Root { trust_domain, certificate: certificate.into(), validity, key })
    }

    /// The root in `certificate_pem`, with its key.
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`], [`AuthorityError::Key`], [`AuthorityError::Mismatch`].
    pub fn from_pem(
        trust_domain: TrustDomain,
        certificate_pem: &[u8],
        key_pem: &[u8],
        now: UnixTime,
    ) -> Result<Root, AuthorityError> {
        let certificate = check::root(certificate_pem)?;
        let validity = check::authority(check::ROOT, &certificate, 1, now)?;
        let key = check::key(check::ROOT, &certificate, key_pem)?;
        Ok(Root { trust_domain, certificate, validity, key })
    }

    /// A new intermediate below this root, for a year from `now` and never longer than the root.
    ///
    /// # Errors
    /// [`AuthorityError::Make`], [`AuthorityError::Randomness`]; [`AuthorityError::Dates`] if
    /// the root has expired, [`AuthorityError::Chain`] if peers would not accept what comes of it.
    pub fn authority(&self, now: UnixTime) -> Result<Authority, AuthorityError> {
        let what = "the intermediate";
        let make = |source| AuthorityError::Make { what, source };
        let key = PrivateKey::generate().map_err(make)?;
        let validity = lasting(now, INTERMEDIATE_LIFETIME).within(self.validity);
        let mut params = authority_params("Weft intermediate", &self.trust_domain, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(make)?;
        let intermediate = params.signed_by(&key, &issuer).map_err(make)?;
        let chain = vec![intermediate.into()];
        Authority::checked(self.trust_domain.clone(), self.certificate.clone(), chain, key, now)
    }

    /// The hash of the root's key.
    pub fn key_hash(&self) -> KeyHash {
        self.key.hash()
    }

    /// The certificate in PEM.
    pub fn certificate_pem(&self) -> String {
        certificate::to_pem(std::slice::from_ref(&self.certificate))
    }

    /// The private key in PEM, to be kept in a protected place, best off line.
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.key.to_pem()
    }
}

/// What signs leaves: an intermediate with its key, and the certificate of the root above it.
pub struct Authority {
    trust_domain: TrustDomain,
    root: CertificateDer<'static>,
    root_key: KeyHash,
    /// The intermediate, then whatever is between it and the root.
    chain: Vec<CertificateDer<'static>>,
    /// When all of these hold.
    validity: Validity,
    issuer: Issuer<'static, PrivateKey>,
}

impl Authority {
    /// The authority of a given intermediate: `chain_pem` is its certificate and those between it
    /// and the root, if any, `key_pem` its key.
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`], [`AuthorityError::Key`], [`AuthorityError::Mismatch`],
    /// [`AuthorityError::Chain`].
    pub fn from_pem(
        trust_domain: TrustDomain,
        root_pem: &[u8],
        chain_pem: &[u8],
        key_pem: &[u8],
        now: UnixTime,
    ) -> Result<Authority, AuthorityError> {
        let root = check::root(root_pem)?;
        let chain = certificate::from_pem(chain_pem)
            .map_err(|reason| AuthorityError::Certificate { what: check::INTERMEDIATE, reason })?;
        let key = check::key(check::INTERMEDIATE, &chain[0], key_pem)?;
        Authority::checked(trust_domain, root, chain, key, now)
    }

    /// Puts the parts together, and sees to it that peers accept what comes of them.
    fn checked(
        trust_domain: TrustDomain,
        root: CertificateDer<'static>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKey,
        now: UnixTime,
    ) -> Result<Authority, AuthorityError> {
        let mut validity = check::authority(check::ROOT, &root, chain.len(), now)?;
        for (below, certificate) in chain.iter().enumerate() {
            let of_this = check::authority(check::INTERMEDIATE, certificate, below, now)?;
            validity = validity.within(of_this);
        }
        if chain.contains(&root) {
            let reason = "it is the root itself: give an intermediate that the root has signed, \
                          so that the root's key can be kept elsewhere";
            let (what, reason) = (check::INTERMEDIATE, reason.to_owned());
            return Err(AuthorityError::Certificate { what, reason });
        }
        let root_key = check::key_hash(check::ROOT, &root)?;
        let issuer = Issuer::from_ca_cert_der(&chain[0], key)
            .map_err(|source| AuthorityError::Make { what: "an issuer", source })?;
        let authority = Authority { trust_domain, root, root_key, chain, validity, issuer };
        check::probe(&authority, now)?;
        Ok(authority)
    }

    /// The trust domain that it signs for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The root's certificate, to be trusted by all.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// The hash of the root's key.
    pub fn root_key(&self) -> KeyHash {
        self.root_key
    }

    /// When root and intermediate hold. What is signed ends with this at the latest.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// When the root itself holds.
    pub fn root_validity(&self) -> Validity {
        let root = certificate::parse(&self.root).expect("it was parsed when this was made");
        certificate::validity(&root)
    }

    /// The serial number of the intermediate that signs, and when it holds.
    pub fn intermediate(&self) -> (Serial, Validity) {
        let signing = certificate::parse(&self.chain[0]).expect("it was parsed when this was made");
        let serial = certificate::serial(&signing).unwrap_or(Serial::ZERO);
        (serial, certificate::validity(&signing))
    }

    /// When to make or ask for the next intermediate: after two thirds of the lifetime.
    pub fn renew_at(&self) -> UnixTime {
        UnixTime(self.validity.not_before.0 + self.validity.lifetime() * 2 / 3)
    }

    /// The intermediate and whatever is between it and the root, in PEM.
    pub fn chain_pem(&self) -> String {
        certificate::to_pem(&self.chain)
    }

    /// The root's certificate in PEM.
    pub fn root_pem(&self) -> String {
        certificate::to_pem(std::slice::from_ref(&self.root))
    }

    /// The intermediate's private key in PEM, to be kept in a protected place.
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.issuer.key().to_pem()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (root, not_after) = (self.root_key, self.validity.not_after);
        write!(f, "Authority({}, root {root}, until {not_after}, key hidden)", self.trust_domain)
    }
}

/// From a little before `now`, for `lifetime`, in whole seconds.
fn lasting(now: UnixTime, lifetime: Duration) -> Validity {
    let seconds = Duration::from_secs(now.0.as_secs());
    Validity {
        not_before: UnixTime(seconds.saturating_sub(CLOCK_SKEW)),
        not_after: UnixTime(seconds + lifetime),
    }
}

/// What the certificates of both kinds of authority have in common. Each has a name of its own, so
/// that two of them are never taken for one another.
fn authority_params(
    name: &str,
    trust_domain: &TrustDomain,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(validity)?;
    let distinct = hex::encode(&random::<4>()?);
    params.distinguished_name.push(DnType::OrganizationName, "Weft");
    params.distinguished_name.push(DnType::CommonName, format!("{name} {distinct}"));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Source: X.509-SVID, section 4.1: a signing certificate names the trust domain, without path.
    params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}"))];
    Ok(params)
}

/// What all certificates have in common: validity and a serial number, and no name.
fn params(validity: Validity) -> Result<CertificateParams, RandomnessError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(validity.not_before.0.as_secs());
    params.not_after = epoch + Duration::from_secs(validity.not_after.0.as_secs());
    params.serial_number = Some(Serial::random()?.as_bytes().to_vec().into());
    Ok(params)
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("trust domains and names are ASCII"))
}

#[cfg(test)]
mod tests;
