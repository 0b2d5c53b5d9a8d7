//! Roots and intermediates, made and given.

use rcgen::{CertifiedIssuer, CustomExtension, KeyPair};

use super::*;
use crate::testing::{CART, DAY, at, bundle, domain, identity, root};
use crate::{LEAF_LIFETIME, Request, Revocations, Trust};

/// A root that is made elsewhere, with what `change` does to it.
fn foreign_root(change: impl FnOnce(&mut CertificateParams)) -> CertifiedIssuer<'static, KeyPair> {
    let validity = lasting(at(0), ROOT_LIFETIME);
    let mut params = authority_params("Given root", &domain(), validity).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// An intermediate below `root`, with what `change` does to it.
fn intermediate(
    root: &CertifiedIssuer<'static, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
) -> (String, String) {
    let validity = lasting(at(0), INTERMEDIATE_LIFETIME);
    let mut params = authority_params("Given intermediate", &domain(), validity).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, root).unwrap().pem(), key.serialize_pem())
}

fn open(root: &str, chain: &str, key: &str) -> Result<Authority, String> {
    Authority::from_pem(domain(), root.as_bytes(), chain.as_bytes(), key.as_bytes(), at(0))
        .map_err(|error| error.to_string())
}

#[test]
fn what_is_made_is_accepted_by_peers_for_as_long_as_promised() {
    let root = root(at(0));
    let authority = root.authority(at(0)).unwrap();
    assert_eq!(authority.root_key(), root.key_hash());
    let Validity { not_before, not_after } = authority.validity();
    assert_eq!(UnixTime(not_before.0 + CLOCK_SKEW), at(0));
    assert_eq!(not_after, at(365 * DAY));
    assert_eq!(root.validity.not_after, at(3650 * DAY));
    let renewal = authority.renew_at();
    assert!(renewal > at(243 * DAY - 300) && renewal < at(244 * DAY), "{renewal}");

    let last = root.authority(at(3600 * DAY)).unwrap();
    assert_eq!(last.validity().not_after, at(3650 * DAY), "never longer than the root");
}

#[test]
fn what_is_written_as_pem_is_read_again() {
    let root = root(at(0));
    let again = Root::from_pem(
        domain(),
        root.certificate_pem().as_bytes(),
        root.key_pem().as_bytes(),
        at(1),
    );
    assert_eq!(again.unwrap().key_hash(), root.key_hash());
    let authority = root.authority(at(0)).unwrap();
    let (root_pem, chain_pem, key) =
        (authority.root_pem(), authority.chain_pem(), authority.key_pem());
    assert_eq!(root_pem, root.certificate_pem());
    let again = open(&root_pem, &chain_pem, &key).unwrap();
    assert_eq!(again.validity(), authority.validity());
    // The library's own PEM and ours are the same.
    let pem = KeyPair::from_pem(&key).unwrap().serialize_pem();
    assert_eq!(*key, pem);
}

#[test]
fn a_given_intermediate_is_used_if_it_is_one() {
    let root = foreign_root(|_| {});
    let (chain, key) = intermediate(&root, |_| {});
    let authority = open(&root.pem(), &chain, &key).unwrap();
    let request = Request::generate().unwrap();
    let issued = authority.sign(request.csr_der(), &identity(CART), at(0), LEAF_LIFETIME).unwrap();
    let trust = Trust::new(bundle(0, &[&authority], Revocations::default()));
    assert!(trust.facts(&issued.chain, at(0)).is_ok());

    // With one more between the two.
    let outer = foreign_root(|_| {});
    let validity = lasting(at(0), INTERMEDIATE_LIFETIME);
    let mut params = authority_params("Given middle", &domain(), validity).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    let middle = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &outer).unwrap();
    let (inner, key) = intermediate(&middle, |_| {});
    let chain = format!("{inner}{}", middle.pem());
    let authority = open(&outer.pem(), &chain, &key).unwrap();
    let issued = authority.sign(request.csr_der(), &identity(CART), at(0), LEAF_LIFETIME).unwrap();
    assert_eq!(issued.chain.len(), 3);
    assert!(open(&outer.pem(), &inner, &key).unwrap_err().contains("peers that trust the root"));
}

#[test]
fn keys_of_other_kinds_and_forms_can_be_given() {
    let root = foreign_root(|_| {});
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let validity = lasting(at(0), INTERMEDIATE_LIFETIME);
        let mut params = authority_params("Given intermediate", &domain(), validity).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate_for(algorithm).unwrap();
        let chain = params.signed_by(&key, &root).unwrap().pem();
        open(&root.pem(), &chain, &key.serialize_pem()).unwrap();
    }
}

#[test]
fn what_cannot_be_an_authority_is_refused_with_the_reason() {
    let root = foreign_root(|_| {});
    let (chain, key) = intermediate(&root, |_| {});
    let (other_root, (_, other_key)) = (foreign_root(|_| {}), intermediate(&root, |_| {}));
    let both = format!("{}{}", root.pem(), other_root.pem());
    let with = |change: fn(&mut CertificateParams)| intermediate(&root, change);
    let leaf = with(|params| params.is_ca = IsCa::ExplicitNoCa);
    let no_usage = with(|params| params.key_usages.clear());
    let wrong_usage = with(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let expired = with(|params| params.not_after = rcgen::date_time_ymd(2026, 11, 22));
    let early = with(|params| params.not_before = rcgen::date_time_ymd(2027, 1, 1));
    let short_root =
        foreign_root(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below_short = intermediate(&short_root, |_| {});
    let leaf_root = foreign_root(|params| params.is_ca = IsCa::NoCa);
    let table = [
        ("", &*chain, &*key, "the root certificate cannot be used: the text holds none"),
        (&both, &chain, &key, "the root certificate cannot be used: there are 2 of them"),
        (&root.pem(), "", &key, "the intermediate certificate cannot be used: the text holds none"),
        (
            &root.pem(),
            &chain,
            "",
            "the key of the intermediate certificate cannot be used: no private key",
        ),
        (&root.pem(), &chain, &other_key, "does not belong to its certificate"),
        (&root.pem(), &root.pem(), &root.key().serialize_pem(), "it is the root itself"),
        (&other_root.pem(), &chain, &key, "peers that trust the root would refuse"),
        (&root.pem(), &leaf.0, &leaf.1, "CA:TRUE"),
        (
            &leaf_root.pem(),
            &chain,
            &key,
            "the root certificate cannot be used: it is not that of an",
        ),
        (&root.pem(), &no_usage.0, &no_usage.1, "keyCertSign"),
        (&root.pem(), &wrong_usage.0, &wrong_usage.1, "keyCertSign"),
        (
            &root.pem(),
            &expired.0,
            &expired.1,
            "to 2026-11-22T00:00:00.000Z, and by this machine's clock it is 2026-11-23",
        ),
        (&root.pem(), &early.0, &early.1, "it holds from 2027-01-01"),
        (
            &short_root.pem(),
            &below_short.0,
            &below_short.1,
            "the root certificate cannot be used: it allows 0",
        ),
    ];
    for (root, chain, key, expected) in table {
        let error = open(root, chain, key).unwrap_err();
        assert!(error.contains(expected), "{error}\n{expected}");
    }
}

#[test]
fn a_root_that_allows_no_intermediate_is_refused() {
    let root = foreign_root(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let key = root.key().serialize_pem();
    let error = Root::from_pem(domain(), root.pem().as_bytes(), key.as_bytes(), at(0)).unwrap_err();
    assert!(error.to_string().contains("(pathlen), and there are 1"), "{error}");
}

#[test]
fn an_expired_root_makes_no_intermediate() {
    let error = root(at(0)).authority(at(3651 * DAY)).unwrap_err().to_string();
    assert!(error.contains("the root certificate cannot be used: it holds from"), "{error}");
}

/// Why intermediates are not bound to URIs of the trust domain: the verifier refuses every leaf
/// below them. If this fails, it has learnt to: then bind them.
#[test]
fn the_verifier_knows_no_name_constraints_on_uris() {
    let host = b"weft.test";
    let length = u8::try_from(host.len()).unwrap();
    // NameConstraints { permittedSubtrees [0] { { base: [6] HOST } } }
    let mut content = vec![0x30, length + 6, 0xa0, length + 4, 0x30, length + 2, 0x86, length];
    content.extend_from_slice(host);
    let root = foreign_root(|_| {});
    let (chain, key) = intermediate(&root, |params| {
        let mut constraint = CustomExtension::from_oid_content(&[2, 5, 29, 30], content);
        constraint.set_criticality(true);
        params.custom_extensions.push(constraint);
    });
    let error = open(&root.pem(), &chain, &key).unwrap_err();
    assert!(error.contains("NameConstraintViolation"), "{error}");
}
