//! Whether given certificates and keys can be those of an authority.

use rustls_pki_types::CertificateDer;
use weft_model::{ObjectName, SpiffeId};
use weft_world::UnixTime;

use super::{Authority, AuthorityError, LEAF_LIFETIME};
use crate::certificate::{self, Validity};
use crate::key::PrivateKey;
use crate::key_hash::KeyHash;
use crate::request::Request;
use crate::trust::{Revocations, Trust, TrustBundle};

/// How messages call a root.
pub(super) const ROOT: &str = "the root certificate";

/// How messages call an intermediate.
pub(super) const INTERMEDIATE: &str = "the intermediate certificate";

fn wrong(what: &'static str, reason: impl Into<String>) -> AuthorityError {
    AuthorityError::Certificate { what, reason: reason.into() }
}

/// The one certificate in `pem`.
pub(super) fn root(pem: &[u8]) -> Result<CertificateDer<'static>, AuthorityError> {
    let mut roots = certificate::from_pem(pem).map_err(|reason| wrong(ROOT, reason))?;
    match (roots.pop(), roots.len()) {
        (Some(root), 0) => Ok(root),
        (_, more) => Err(wrong(ROOT, format!("there are {} of them, give one", more + 1))),
    }
}

/// When `der` holds, if it is the certificate of an authority that may have as many as `below`
/// below it in a chain, and does so at `now`.
///
/// The verifier in use does not look at path lengths of roots; others do.
pub(super) fn authority(
    what: &'static str,
    der: &CertificateDer<'_>,
    below: usize,
    now: UnixTime,
) -> Result<Validity, AuthorityError> {
    let parsed = certificate::parse(der).map_err(|reason| wrong(what, reason))?;
    let malformed = |error| wrong(what, format!("an extension is malformed: {error}"));
    let constraints = parsed.basic_constraints().map_err(malformed)?;
    let Some(constraints) = constraints.map(|it| it.value).filter(|it| it.ca) else {
        return Err(wrong(what, "it is not that of an authority (basic constraints: CA:TRUE)"));
    };
    if let Some(most) = constraints.path_len_constraint
        && usize::try_from(most).is_ok_and(|most| most < below)
    {
        let reason =
            format!("it allows {most} authorities below it (pathlen), and there are {below}");
        return Err(wrong(what, reason));
    }
    let usage = parsed.key_usage().map_err(malformed)?;
    if !usage.is_some_and(|usage| usage.value.key_cert_sign()) {
        return Err(wrong(what, "it may not sign certificates (key usage: keyCertSign)"));
    }
    let validity = certificate::validity(&parsed);
    if !validity.contains(now) {
        return Err(AuthorityError::Dates { what, validity, now });
    }
    Ok(validity)
}

/// The key in `pem`, if it is the one that `der` is for.
pub(super) fn key(
    what: &'static str,
    der: &CertificateDer<'_>,
    pem: &[u8],
) -> Result<PrivateKey, AuthorityError> {
    let key = PrivateKey::from_pem(pem).map_err(|reason| AuthorityError::Key { what, reason })?;
    let certificate = key_hash(what, der)?;
    if key.hash() != certificate {
        return Err(AuthorityError::Mismatch { what, key: key.hash(), certificate });
    }
    Ok(key)
}

/// The hash of the key that `der` is for.
pub(super) fn key_hash(
    what: &'static str,
    der: &CertificateDer<'_>,
) -> Result<KeyHash, AuthorityError> {
    let parsed = certificate::parse(der).map_err(|reason| wrong(what, reason))?;
    Ok(certificate::key_hash(&parsed))
}

/// Signs a leaf and looks at it as a peer would: signatures, dates, path lengths, name constraints,
/// and whatever else the verifier knows.
pub(super) fn probe(authority: &Authority, now: UnixTime) -> Result<(), AuthorityError> {
    let chain = |reason: String| AuthorityError::Chain(reason);
    let name = ObjectName::new("weft", "probe").expect("these are names");
    let identity = SpiffeId::new(authority.trust_domain.clone(), name);
    let request = Request::generate().map_err(|error| chain(error.to_string()))?;
    let issued = authority
        .sign(request.csr_der(), &identity, now, LEAF_LIFETIME)
        .map_err(|error| chain(error.to_string()))?;
    let roots = [authority.root.clone()];
    let (trust_domain, none) = (authority.trust_domain.clone(), Revocations::default());
    let bundle = TrustBundle::new(trust_domain, 0, roots, none)
        .map_err(|error| wrong(ROOT, error.to_string()))?;
    let facts = Trust::new(bundle).facts(&issued.chain, now);
    facts.map(drop).map_err(|error| chain(error.to_string()))
}
