//! Whom this side trusts: roots and revocations under one sequence number, and the judgement on
//! peers by them, at the handshake and for as long as a connection lives.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use weft_model::{SpiffeId, TrustDomain};
use weft_world::UnixTime;

use crate::certificate;
use crate::credentials::CredentialsError;
use crate::key_hash::KeyHash;
use crate::serial::Serial;
use crate::verify::Paths;

/// What is no longer accepted, whoever signed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Certificates, leaves and intermediates alike, each with the end of its validity, after which
    /// it needs no mention any more.
    pub serials: BTreeMap<Serial, UnixTime>,
    /// Identities, under whatever certificate.
    pub identities: BTreeSet<SpiffeId>,
    /// Root keys that others may have got hold of. A root that is merely replaced is not among
    /// these: it is left out of the bundle.
    pub roots: BTreeSet<KeyHash>,
}

impl Revocations {
    /// Forgets the certificates that have expired by themselves.
    pub fn prune(&mut self, now: UnixTime) {
        self.serials.retain(|_, not_after| *not_after >= now);
    }
}

/// The roots of one trust domain, and what is revoked, under one sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    sequence: u64,
    roots: BTreeMap<KeyHash, CertificateDer<'static>>,
    revocations: Revocations,
    renew_below: Option<KeyHash>,
}

impl TrustBundle {
    /// The roots in `pem`, for identities of `trust_domain`, under sequence number 0.
    ///
    /// # Errors
    /// [`CredentialsError::Certificates`], [`CredentialsError::Root`].
    pub fn from_pem(
        trust_domain: TrustDomain,
        pem: &[u8],
    ) -> Result<TrustBundle, CredentialsError> {
        let roots = certificate::from_pem(pem).map_err(CredentialsError::Certificates)?;
        TrustBundle::new(trust_domain, 0, roots, Revocations::default())
    }

    /// The same bundle under another sequence number: that of whoever sent it.
    #[must_use]
    pub fn under_sequence(mut self, sequence: u64) -> TrustBundle {
        self.sequence = sequence;
        self
    }

    /// `roots` for identities of `trust_domain`, but for `revocations`.
    ///
    /// # Errors
    /// [`CredentialsError::Certificates`] if there is no root: absence is not deletion.
    /// [`CredentialsError::Root`].
    pub fn new(
        trust_domain: TrustDomain,
        sequence: u64,
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
        revocations: Revocations,
    ) -> Result<TrustBundle, CredentialsError> {
        let mut by_key = BTreeMap::new();
        for (index, root) in (1..).zip(roots) {
            let wrong = |reason| CredentialsError::Root { index, reason };
            webpki::anchor_from_trusted_cert(&root).map_err(|error| wrong(error.to_string()))?;
            let key = certificate::parse(&root).map(|parsed| certificate::key_hash(&parsed));
            by_key.insert(key.map_err(wrong)?, root);
        }
        if by_key.is_empty() {
            return Err(CredentialsError::Certificates("the bundle holds no root".to_owned()));
        }
        Ok(TrustBundle { trust_domain, sequence, roots: by_key, revocations, renew_below: None })
    }

    /// The same bundle, which also asks all whose certificates are not below `root` to renew them
    /// at once.
    #[must_use]
    pub fn renewing_below(mut self, root: Option<KeyHash>) -> TrustBundle {
        self.renew_below = root;
        self
    }

    /// The bundle as discovery brings it.
    ///
    /// # Errors
    /// As [`TrustBundle::new`].
    pub fn from_model(trust: &weft_model::Trust) -> Result<TrustBundle, CredentialsError> {
        let weft_model::Trust { domain, sequence, roots, revoked, renew_below } = trust;
        let roots = roots.iter().map(|root| CertificateDer::from(root.der().to_vec()));
        let mut revocations = Revocations::default();
        for revocation in revoked {
            match revocation {
                weft_model::Revocation::Identity(identity) => {
                    revocations.identities.insert(identity.clone());
                }
                weft_model::Revocation::Serial(serial) => {
                    let serial = Serial::from_bytes(serial.as_bytes());
                    let serial = serial.expect("both have at most 20 bytes");
                    // When it ends is the control plane's to know: it says so by leaving it out.
                    revocations.serials.insert(serial, UnixTime(std::time::Duration::MAX));
                }
            }
        }
        let bundle = TrustBundle::new(domain.clone(), *sequence, roots, revocations)?;
        Ok(bundle.renewing_below(renew_below.map(KeyHash::from)))
    }

    /// The bundle as discovery sends it. Revoked root keys are told by leaving their roots out.
    ///
    /// # Errors
    /// If a root is too large to be sent.
    pub fn to_model(&self) -> Result<weft_model::Trust, weft_model::ValueError> {
        let TrustBundle { trust_domain, sequence, roots, revocations, renew_below } = self;
        let trusted = roots.iter().filter(|(key, _)| !revocations.roots.contains(key));
        let serials = revocations.serials.keys();
        let serials = serials.map(|serial| weft_model::SerialNumber::new(serial.as_bytes()));
        let serials = serials.map(|serial| serial.map(weft_model::Revocation::Serial));
        let identities = revocations.identities.iter().cloned();
        let identities = identities.map(weft_model::Revocation::Identity).map(Ok);
        let roots = trusted.map(|(_, root)| weft_model::RootCertificate::new(root));
        Ok(weft_model::Trust {
            domain: trust_domain.clone(),
            sequence: *sequence,
            roots: roots.collect::<Result<_, _>>()?,
            revoked: serials.chain(identities).collect::<Result<_, _>>()?,
            renew_below: renew_below.map(|root| *root.as_bytes()),
        })
    }

    /// The root below which certificates are to be renewed at once, if they are not already.
    /// Nothing unless another root is on its way out.
    pub fn renew_below(&self) -> Option<KeyHash> {
        self.renew_below
    }

    /// The trust domain that the roots are of.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The number that grows with each change.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The roots, by the hash of their keys.
    pub fn roots(&self) -> &BTreeMap<KeyHash, CertificateDer<'static>> {
        &self.roots
    }

    /// What is no longer accepted.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The roots in PEM.
    pub fn roots_pem(&self) -> String {
        self.roots.values().map(|root| certificate::to_pem(std::slice::from_ref(root))).collect()
    }
}

/// What stands between a leaf and its root, and which root it is. Shared by all its leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerFacts {
    /// The hash of the root's key.
    pub root: KeyHash,
    /// The serial numbers of the intermediates.
    pub intermediates: Vec<Serial>,
}

/// What must be known of a peer to judge it again later. Small, since each connection keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFacts {
    /// Who it is.
    pub identity: SpiffeId,
    /// The serial number of its certificate.
    pub serial: Serial,
    /// The last second of its certificate.
    pub not_after: UnixTime,
    /// Who vouches for it.
    pub issuer: Arc<IssuerFacts>,
}

/// Why a peer is not to be trusted (any more).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// Its certificate is revoked.
    #[error("the certificate {serial} of {identity} is revoked")]
    CertificateRevoked {
        /// Which one.
        serial: Serial,
        /// Whose it is.
        identity: SpiffeId,
    },
    /// Its identity is revoked.
    #[error("the identity {0} is revoked")]
    IdentityRevoked(SpiffeId),
    /// An intermediate above its certificate is revoked.
    #[error("the intermediate certificate {0} is revoked")]
    IntermediateRevoked(Serial),
    /// The key of its root is revoked.
    #[error("the root with the key {0} is revoked")]
    RootRevoked(KeyHash),
    /// Its root has been replaced, and is no longer among the trusted.
    #[error("the root with the key {0} is no longer trusted")]
    RootWithdrawn(KeyHash),
    /// Its certificate has expired.
    #[error("the certificate of {identity} expired at {not_after}")]
    Expired {
        /// Whose it is.
        identity: SpiffeId,
        /// When that was.
        not_after: UnixTime,
    },
    /// It is of another trust domain.
    #[error("{identity} is not of the trust domain {trust_domain}")]
    Foreign {
        /// Who it is.
        identity: SpiffeId,
        /// The own trust domain.
        trust_domain: TrustDomain,
    },
}

impl Reason {
    /// Whether a live connection with the peer must be closed at once.
    ///
    /// Otherwise it was let in rightly and may live out its age, but the next handshake would fail:
    /// so that no rotation of roots closes open streams.
    pub fn is_urgent(&self) -> bool {
        match self {
            Reason::CertificateRevoked { .. }
            | Reason::IdentityRevoked(_)
            | Reason::IntermediateRevoked(_)
            | Reason::RootRevoked(_)
            | Reason::Foreign { .. } => true,
            Reason::RootWithdrawn(_) | Reason::Expired { .. } => false,
        }
    }

    /// Whether it is a revocation, rather than age or replacement.
    pub(crate) fn is_revocation(&self) -> bool {
        self.is_urgent() && !matches!(self, Reason::Foreign { .. })
    }
}

/// A bundle made ready for judging.
#[derive(Debug)]
pub struct Trust {
    pub(crate) bundle: TrustBundle,
    pub(crate) paths: Paths,
}

impl Trust {
    /// Trust in what `bundle` says.
    pub fn new(bundle: TrustBundle) -> Trust {
        Trust { paths: Paths::new(&bundle), bundle }
    }

    /// What is trusted.
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// Whether a peer that was let in may stay.
    ///
    /// # Errors
    /// The first [`Reason`] against it, revocations first.
    pub fn judge(&self, peer: &PeerFacts, now: UnixTime) -> Result<(), Reason> {
        let PeerFacts { identity, serial, not_after, issuer } = peer;
        let TrustBundle { trust_domain, roots, revocations, sequence: _, renew_below: _ } =
            &self.bundle;
        if identity.trust_domain() != trust_domain {
            let trust_domain = trust_domain.clone();
            return Err(Reason::Foreign { identity: identity.clone(), trust_domain });
        }
        if revocations.serials.contains_key(serial) {
            let (serial, identity) = (*serial, identity.clone());
            return Err(Reason::CertificateRevoked { serial, identity });
        }
        if revocations.identities.contains(identity) {
            return Err(Reason::IdentityRevoked(identity.clone()));
        }
        let is_revoked = |serial: &&Serial| revocations.serials.contains_key(serial);
        if let Some(serial) = issuer.intermediates.iter().find(is_revoked) {
            return Err(Reason::IntermediateRevoked(*serial));
        }
        if revocations.roots.contains(&issuer.root) {
            return Err(Reason::RootRevoked(issuer.root));
        }
        if !roots.contains_key(&issuer.root) {
            return Err(Reason::RootWithdrawn(issuer.root));
        }
        if now.0.as_secs() > not_after.0.as_secs() {
            let (identity, not_after) = (identity.clone(), *not_after);
            return Err(Reason::Expired { identity, not_after });
        }
        Ok(())
    }
}

/// A bundle that cannot take the place of the present one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrustError {
    /// It is of another trust domain.
    #[error("the bundle is of the trust domain {offered}, and this side is of {held}")]
    TrustDomain {
        /// The own trust domain.
        held: TrustDomain,
        /// That of the bundle.
        offered: TrustDomain,
    },
    /// It is older: what has been revoked since would be accepted again.
    #[error("the bundle has the sequence number {offered}, and {held} is held already")]
    Older {
        /// The number held.
        held: u64,
        /// That of the bundle.
        offered: u64,
    },
    /// It says something else under the same number.
    #[error("the bundle differs from the one that is held under the same sequence number, {0}")]
    Conflict(u64),
}

/// The place of the current trust: all who share it see a new one at once.
///
/// Reading takes no lock. A clone is the same place.
#[derive(Clone)]
pub struct TrustSlot(Arc<ArcSwap<Trust>>);

impl TrustSlot {
    /// A place with `bundle` in it.
    pub fn new(bundle: TrustBundle) -> TrustSlot {
        TrustSlot(Arc::new(ArcSwap::from_pointee(Trust::new(bundle))))
    }

    /// What is trusted now.
    pub fn load(&self) -> Guard<Arc<Trust>> {
        self.0.load()
    }

    /// What is trusted now, to be kept for longer.
    pub(crate) fn load_full(&self) -> Arc<Trust> {
        self.0.load_full()
    }

    /// From now on, `bundle` is trusted. False if it was already.
    ///
    /// # Errors
    /// [`TrustError`]; then nothing changes.
    pub fn replace(&self, bundle: TrustBundle) -> Result<bool, TrustError> {
        let next = Arc::new(Trust::new(bundle));
        let mut held = self.0.load_full();
        loop {
            if !supersedes(&next.bundle, &held.bundle)? {
                return Ok(false);
            }
            let found = self.0.compare_and_swap(&held, next.clone());
            if Arc::ptr_eq(&found, &held) {
                return Ok(true);
            }
            held = Guard::into_inner(found); // Somebody else was faster.
        }
    }
}

impl fmt::Debug for TrustSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().bundle.fmt(f)
    }
}

/// Whether `offered` is to take the place of `held`, rather than being the same.
fn supersedes(offered: &TrustBundle, held: &TrustBundle) -> Result<bool, TrustError> {
    if offered.trust_domain != held.trust_domain {
        let (held, offered) = (held.trust_domain.clone(), offered.trust_domain.clone());
        return Err(TrustError::TrustDomain { held, offered });
    }
    if offered.sequence < held.sequence {
        return Err(TrustError::Older { held: held.sequence, offered: offered.sequence });
    }
    if offered.sequence == held.sequence && offered != held {
        return Err(TrustError::Conflict(held.sequence));
    }
    Ok(offered.sequence > held.sequence)
}

#[cfg(test)]
mod tests;
