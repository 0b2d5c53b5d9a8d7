//! What is signed, what is not, and what a leaf looks like.

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, SignatureAlgorithm};

use super::*;
use crate::authority::AuthorityError;
use crate::testing::{CART, DAY, at, identity, root};
use crate::{Request, Svid};

fn csr(
    algorithm: &'static SignatureAlgorithm,
    change: impl FnOnce(&mut CertificateParams),
) -> Vec<u8> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::default();
    change(&mut params);
    params.serialize_request(&key).unwrap().der().to_vec()
}

fn parsed<R>(
    issued: &Issued,
    read: impl FnOnce(&x509_parser::certificate::X509Certificate<'_>) -> R,
) -> R {
    read(&certificate::parse(&issued.chain[0]).unwrap())
}

#[test]
fn a_leaf_has_what_is_promised_and_nothing_of_the_request() {
    let authority = root(at(0)).authority(at(0)).unwrap();
    let csr = csr(&PKCS_ECDSA_P256_SHA256, |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "admin");
        params.subject_alt_names = vec![
            uri("spiffe://weft.test/ns/other/sa/admin"),
            rcgen::SanType::DnsName("example.com".try_into().unwrap()),
        ];
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    });
    let issued = authority.sign(&csr, &identity(CART), at(0), LEAF_LIFETIME).unwrap();
    assert_eq!(issued.validity.not_after, at(DAY));
    assert_eq!(UnixTime(issued.validity.not_before.0 + Duration::from_secs(300)), at(0));
    parsed(&issued, |leaf| {
        assert_eq!(certificate::validity(leaf), issued.validity);
        assert_eq!(certificate::serial(leaf), Some(issued.serial));
        assert_eq!(leaf.subject().iter().count(), 0);
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        assert!(names.critical);
        let name = x509_parser::extensions::GeneralName::URI(CART);
        assert_eq!(names.value.general_names, [name]);
        assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
        let usage = leaf.key_usage().unwrap().unwrap();
        assert_eq!((usage.critical, usage.value.flags), (true, 1));
        let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(purposes.server_auth && purposes.client_auth && !purposes.code_signing);
        assert_eq!(leaf.extensions().len(), 6, "AKI, SAN, KU, EKU, SKI, BC: {leaf:?}");
    });
}

#[test]
fn serial_numbers_differ() {
    let authority = root(at(0)).authority(at(0)).unwrap();
    let request = Request::generate().unwrap();
    let sign = || authority.sign(request.csr_der(), &identity(CART), at(0), LEAF_LIFETIME);
    let (one, two) = (sign().unwrap(), sign().unwrap());
    assert_ne!(one.serial, two.serial);
    assert!(one.serial.as_bytes().len() >= 12);
}

#[test]
fn keys_of_three_kinds_are_accepted() {
    let authority = root(at(0)).authority(at(0)).unwrap();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let issued = authority.sign(csr.der(), &identity(CART), at(0), LEAF_LIFETIME).unwrap();
        let (chain, key) = (issued.chain_pem(), key.serialize_pem());
        assert!(Svid::from_pem(chain.as_bytes(), key.as_bytes()).is_ok(), "{algorithm:?}");
    }
    for algorithm in [&PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P521_SHA512] {
        let csr = csr(algorithm, |_| {});
        let refused = authority.sign(&csr, &identity(CART), at(0), LEAF_LIFETIME).unwrap_err();
        assert!(matches!(refused, SignError::Csr(CsrError::KeyKind)), "{refused:?}");
    }
}

#[test]
fn a_leaf_never_outlives_its_issuer() {
    let authority = root(at(0)).authority(at(0)).unwrap();
    let request = Request::generate().unwrap();
    let sign = |now, lifetime| {
        authority.sign(request.csr_der(), &identity(CART), now, Duration::from_secs(lifetime))
    };
    let end = 365 * DAY;
    assert_eq!(sign(at(end - 3600), DAY).unwrap().validity.not_after, at(end));
    assert_eq!(sign(at(0), 400 * DAY).unwrap().validity.not_after, at(end));
    assert_eq!(sign(at(0), 60).unwrap().validity.not_after, at(60));
    assert!(matches!(sign(at(0), 59), Err(SignError::Lifetime(_))));
    for now in [end - 30, end, end + 1, end + 100 * DAY] {
        let error = sign(at(now), DAY).unwrap_err().to_string();
        assert!(error.starts_with("the authority's own certificates hold from 2026"), "{error}");
    }
    let before = UnixTime(at(0).0 - Duration::from_secs(301));
    assert!(matches!(sign(before, DAY), Err(SignError::AuthorityExpired { .. })));
}

#[test]
fn a_foreign_identity_is_not_signed() {
    let authority = root(at(0)).authority(at(0)).unwrap();
    let request = Request::generate().unwrap();
    let foreign = identity("spiffe://other.test/ns/shop/sa/cart");
    let error = authority.sign(request.csr_der(), &foreign, at(0), LEAF_LIFETIME).unwrap_err();
    assert!(error.to_string().contains("is not of the trust domain weft.test"), "{error}");
}

#[test]
fn malformed_requests_are_refused_with_the_reason() {
    let good = Request::generate().unwrap().csr_der().to_vec();
    let position = |bytes: &[u8]| good.windows(bytes.len()).position(|w| w == bytes).unwrap();
    let changed = |at: usize, to: u8| {
        let mut csr = good.clone();
        csr[at] = to;
        csr
    };
    let last = good.len() - 1;
    let version = position(&[0x02, 0x01, 0x00]) + 2;
    // The BIT STRING of 66 bytes that begins with a count of unused bits and an uncompressed point.
    let point = position(&[0x03, 0x42, 0x00, 0x04]) + 2;
    let table = [
        (vec![], "no PKCS#10 request"),
        (b"-----BEGIN CERTIFICATE REQUEST-----".to_vec(), "no PKCS#10 request"),
        (good[..last].to_vec(), "no PKCS#10 request"),
        ([&*good, &[0]].concat(), "1 bytes follow it"),
        (vec![0; CSR_BYTES_MAX + 1], "has 16385 bytes"),
        (changed(version, 1), "its version is 1"),
        (changed(point, 1), "no PKCS#10 request"),
        (changed(point + 1, 3), "malformed"),
        (changed(point + 9, good[point + 9] ^ 1), "not by its own key"),
        (changed(last, good[last] ^ 1), "not by its own key"),
    ];
    for (csr, expected) in table {
        let error = requested_key(&csr).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
    }
}

#[test]
fn an_error_of_the_library_says_what_was_to_be_made() {
    let error = AuthorityError::Make { what: "the root", source: rcgen::Error::RingUnspecified };
    assert!(error.to_string().starts_with("cannot make the root: "), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(requested_key(&bytes).is_err());
    }

    /// A request that was changed anywhere is refused, unless it still is one for the same key.
    #[test]
    fn no_change_to_a_request_gives_another_key(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let request = Request::generate().unwrap();
        let mut csr = request.csr_der().to_vec();
        let key = requested_key(&csr).unwrap();
        for (index, byte) in changes {
            let index = index.index(csr.len());
            csr[index] = byte;
        }
        if let Some(cut) = cut {
            csr.truncate(cut.index(csr.len()));
        }
        if let Ok(other) = requested_key(&csr) {
            prop_assert_eq!(other, key);
        }
    }
}
