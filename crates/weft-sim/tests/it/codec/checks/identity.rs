//! Who somebody is: tokens, identities as text, and requests for certificates.

use std::sync::OnceLock;
use std::time::Duration;

use weft_identity::{
    AdminCredential, Authority, CertificateDer, ControlAddress, JoinToken, LEAF_LIFETIME, Root,
    peer_identity,
};
use weft_model::{ObjectName, SpiffeId, TrustDomain};
use weft_world::UnixTime;

/// In 2026.
const NOW: UnixTime = UnixTime(Duration::from_secs(1_790_000_000));

/// A token or an admin credential is read as it is written, and no error shows the secret.
pub fn join_token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match JoinToken::parse(text) {
        Ok(token) => {
            assert!(!token.addresses.is_empty());
            let written = token.to_text();
            let again = JoinToken::parse(&written).expect("it was written by us");
            assert_eq!(*again.to_text(), *written);
        }
        Err(error) => assert!(error.to_string().len() < 1024),
    }
    if let Ok(credential) = AdminCredential::parse(text) {
        let written = credential.to_text();
        let again = AdminCredential::parse(&written).expect("it was written by us");
        assert_eq!(*again.to_text(), *written);
    }
}

/// Identities, names and addresses have one spelling: what is read is written as it came.
pub fn identity_text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(identity) = text.parse::<SpiffeId>() {
        assert_eq!(identity.to_string(), text);
        let account = identity.service_account().clone();
        assert_eq!(SpiffeId::new(identity.trust_domain().clone(), account), identity);
    }
    if let Ok(domain) = text.parse::<TrustDomain>() {
        assert_eq!(domain.to_string(), text);
    }
    if let Ok(name) = text.parse::<ObjectName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(address) = text.parse::<ControlAddress>() {
        assert_eq!(address.to_string(), text);
    }
}

fn authority() -> &'static (Authority, SpiffeId) {
    static AUTHORITY: OnceLock<(Authority, SpiffeId)> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let identity: SpiffeId = "spiffe://weft.local/ns/shop/sa/cart".parse().expect("it is one");
        let root = Root::generate(identity.trust_domain().clone(), NOW).expect("keys can be made");
        (root.authority(NOW).expect("keys can be made"), identity)
    })
}

/// Whatever a request for a certificate says, the certificate names who was attested, and nobody
/// else. Read as a certificate, any bytes name at most one identity.
pub fn certificate_request(input: &[u8]) {
    let (authority, identity) = authority();
    if let Ok(issued) = authority.sign(input, identity, NOW, LEAF_LIFETIME) {
        let named = peer_identity(&issued.chain[0]).expect("it was signed by us");
        assert_eq!(named, *identity);
        assert!(issued.validity.contains(NOW));
    }
    let _ = peer_identity(&CertificateDer::from(input.to_vec()));
}
