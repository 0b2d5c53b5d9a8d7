//! Bundles that replace one another, and judgements on peers.

use std::time::Duration;

use rustls::CertificateError;

use super::*;
use crate::testing::{CART, DAY, WEB, at, bundle, domain, identity, root, svid};
use crate::{Authority, Svid};

fn none() -> Revocations {
    Revocations::default()
}

fn facts(trust: &Trust, svid: &Svid, now: UnixTime) -> Result<PeerFacts, rustls::Error> {
    trust.facts(svid.chain(), now)
}

fn two_authorities() -> (Authority, Authority) {
    (root(at(0)).authority(at(0)).unwrap(), root(at(0)).authority(at(0)).unwrap())
}

/// Changes the revocations that it starts from.
type Change<'a> = Box<dyn Fn(&mut Revocations) + 'a>;

#[test]
fn a_bundle_of_several_roots_accepts_leaves_of_each() {
    let (one, two) = two_authorities();
    let trust = Trust::new(bundle(1, &[&one, &two], none()));
    for authority in [&one, &two] {
        let svid = svid(authority, CART, at(0));
        let facts = facts(&trust, &svid, at(0)).unwrap();
        assert_eq!(facts.identity, identity(CART));
        assert_eq!(facts.serial, svid.serial());
        assert_eq!(facts.not_after, svid.validity().not_after);
        assert_eq!(facts.issuer.root, authority.root_key());
        assert_eq!(facts.issuer.intermediates.len(), 1);
        assert_eq!(trust.judge(&facts, at(0)), Ok(()));
    }
    let only = Trust::new(bundle(2, &[&one], none()));
    let error = facts(&only, &svid(&two, CART, at(0)), at(0)).unwrap_err();
    assert_eq!(error, CertificateError::UnknownIssuer.into());
}

#[test]
fn what_is_revoked_is_refused_and_judged() {
    let (one, two) = two_authorities();
    let svid = svid(&one, CART, at(0));
    let before = Trust::new(bundle(1, &[&one, &two], none()));
    let peer = facts(&before, &svid, at(0)).unwrap();
    let (serial, above) = (peer.serial, peer.issuer.intermediates[0]);
    let table: [(Change<'_>, Reason); 4] = [
        (
            Box::new(|revoked| {
                revoked.serials.insert(serial, at(DAY));
            }),
            Reason::CertificateRevoked { serial, identity: identity(CART) },
        ),
        (
            Box::new(|revoked| {
                revoked.identities.insert(identity(CART));
            }),
            Reason::IdentityRevoked(identity(CART)),
        ),
        (
            Box::new(|revoked| {
                revoked.serials.insert(above, at(DAY));
            }),
            Reason::IntermediateRevoked(above),
        ),
        (
            Box::new(|revoked| {
                revoked.roots.insert(one.root_key());
            }),
            Reason::RootRevoked(one.root_key()),
        ),
    ];
    for (change, reason) in table {
        let mut revocations = none();
        change(&mut revocations);
        let trust = Trust::new(bundle(2, &[&one, &two], revocations));
        assert_eq!(trust.judge(&peer, at(0)), Err(reason.clone()));
        assert!(reason.is_urgent(), "{reason}");
        let error = facts(&trust, &svid, at(0)).unwrap_err();
        assert_eq!(error, CertificateError::Revoked.into(), "{reason}");
        let other = self::svid(&two, WEB, at(0));
        assert!(facts(&trust, &other, at(0)).is_ok(), "{reason}");
    }
}

#[test]
fn age_and_replacement_are_no_reason_to_cut_a_stream() {
    let (one, two) = two_authorities();
    let svid = svid(&one, CART, at(0));
    let peer = facts(&Trust::new(bundle(1, &[&one], none())), &svid, at(0)).unwrap();

    let trust = Trust::new(bundle(2, &[&two], none()));
    let reason = trust.judge(&peer, at(0)).unwrap_err();
    assert_eq!(reason, Reason::RootWithdrawn(one.root_key()));
    assert!(!reason.is_urgent());

    let trust = Trust::new(bundle(2, &[&one], none()));
    assert_eq!(trust.judge(&peer, UnixTime(at(DAY).0 + Duration::from_millis(999))), Ok(()));
    let reason = trust.judge(&peer, at(DAY + 1)).unwrap_err();
    assert_eq!(reason, Reason::Expired { identity: identity(CART), not_after: at(DAY) });
    assert!(!reason.is_urgent());
}

#[test]
fn roots_of_the_same_name_are_told_apart_by_their_keys() {
    let (one, two) = two_authorities();
    let trust = Trust::new(bundle(1, &[&one, &two], none()));
    let now = rustls_pki_types::UnixTime::since_unix_epoch(at(0).0);
    // Once verified, the way from an intermediate to its root is known; it is the right one.
    for authority in [&one, &two, &one, &two] {
        for name in [CART, WEB] {
            let svid = svid(authority, name, at(0));
            let full = facts(&trust, &svid, at(0)).unwrap();
            assert_eq!(trust.facts_of_admitted(svid.chain(), now).unwrap(), full);
            assert_eq!(full.issuer.root, authority.root_key());
        }
    }
}

#[test]
fn an_intermediate_that_is_only_shown_vouches_for_nobody() {
    let one = root(at(0)).authority(at(0)).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let direct =
        rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(CART.try_into().unwrap())];
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &direct).unwrap();

    let roots = [one.root().clone(), direct.der().clone()];
    let trust = Trust::new(TrustBundle::new(domain(), 1, roots, none()).unwrap());
    let known = svid(&one, WEB, at(0));
    assert_eq!(facts(&trust, &known, at(0)).unwrap().issuer.root, one.root_key());
    // The leaf is below the other root, whatever well-known intermediate comes with it.
    let chain = [leaf.der().clone(), known.chain()[1].clone()];
    let now = rustls_pki_types::UnixTime::since_unix_epoch(at(0).0);
    let facts = trust.facts_of_admitted(&chain, now).unwrap();
    assert_ne!(facts.issuer.root, one.root_key());
    assert!(facts.issuer.intermediates.is_empty());
}

#[test]
fn peers_of_other_trust_domains_are_refused_whoever_signed() {
    // As with the stolen key of an intermediate: everything is right but the trust domain.
    let foreign = crate::Root::generate("other.test".parse().unwrap(), at(0)).unwrap();
    let foreign = foreign.authority(at(0)).unwrap();
    let svid = svid(&foreign, "spiffe://other.test/ns/shop/sa/cart", at(0));
    let trust = Trust::new(bundle(1, &[&foreign], none()));
    let error = facts(&trust, &svid, at(0)).unwrap_err().to_string();
    assert!(error.contains("is not of the trust domain weft.test"), "{error}");
}

#[test]
fn an_older_bundle_is_refused() {
    let (one, two) = two_authorities();
    let slot = TrustSlot::new(bundle(5, &[&one], none()));
    assert_eq!(slot.replace(bundle(5, &[&one], none())), Ok(false));
    let error = slot.replace(bundle(4, &[&one, &two], none())).unwrap_err();
    assert_eq!(error, TrustError::Older { held: 5, offered: 4 });
    let error = slot.replace(bundle(5, &[&one, &two], none())).unwrap_err();
    assert_eq!(error, TrustError::Conflict(5));
    let foreign = TrustBundle::new("other.test".parse().unwrap(), 9, [one.root().clone()], none());
    let error = slot.replace(foreign.unwrap()).unwrap_err().to_string();
    assert_eq!(
        error,
        "the bundle is of the trust domain other.test, and this side is of weft.test"
    );
    assert_eq!(slot.load().bundle().sequence(), 5);

    assert_eq!(slot.replace(bundle(6, &[&one, &two], none())), Ok(true));
    assert_eq!(slot.load().bundle().roots().len(), 2);
}

#[test]
fn a_bundle_without_a_root_is_refused() {
    let error = TrustBundle::new(domain(), 1, [], none()).unwrap_err().to_string();
    assert_eq!(error, "no certificates in PEM: the bundle holds no root");
    let roots = [vec![1, 2, 3].into()];
    let error = TrustBundle::new(domain(), 1, roots, none()).unwrap_err().to_string();
    assert!(error.starts_with("root 1 cannot be trusted: "), "{error}");
}

#[test]
fn roots_are_read_as_they_are_printed() {
    let (one, two) = two_authorities();
    let both = bundle(0, &[&one, &two, &one], none());
    assert_eq!(both.roots().len(), 2);
    assert_eq!(TrustBundle::from_pem(domain(), both.roots_pem().as_bytes()).unwrap(), both);
}

#[test]
fn revocations_of_what_has_expired_are_forgotten() {
    let mut revocations = none();
    for (serial, not_after) in [(1, 100), (2, 200)] {
        revocations.serials.insert(Serial::from_bytes(&[serial]).unwrap(), at(not_after));
    }
    revocations.identities.insert(identity(CART));
    revocations.prune(at(101));
    assert_eq!(revocations.serials.len(), 1);
    assert_eq!(revocations.identities.len(), 1);
}
