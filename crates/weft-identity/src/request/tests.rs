//! Certificates that fit their requests, and others.

use super::*;
use crate::LEAF_LIFETIME;
use crate::testing::{CART, WEB, at, identity, root};

#[test]
fn a_certificate_makes_credentials_with_its_key_only() {
    let authority = root(at(0)).authority(at(0)).unwrap();
    let (cart, web) = (identity(CART), identity(WEB));
    let (request, other) = (Request::generate().unwrap(), Request::generate().unwrap());
    let issued = authority.sign(request.csr_der(), &cart, at(0), LEAF_LIFETIME).unwrap();

    let svid = request.finish(issued.chain.clone(), &cart).unwrap();
    assert_eq!(*svid.identity(), cart);
    assert_eq!((svid.serial(), svid.validity()), (issued.serial, issued.validity));
    assert_eq!(svid.chain(), issued.chain);
    assert!(request.finish_pem(issued.chain_pem().as_bytes(), &cart).is_ok());

    let error = |result: Result<Svid, RequestError>| result.unwrap_err().to_string();
    assert!(error(other.finish(issued.chain.clone(), &cart)).contains("does not belong"));
    let wrong = error(request.finish(issued.chain.clone(), &web));
    assert!(wrong.contains(&format!("is for {CART}, and {WEB} was asked for")), "{wrong}");
    assert!(error(request.finish(vec![], &cart)).contains("no certificate"));
    assert!(error(request.finish(vec![b"garbage"[..].to_vec().into()], &cart)).contains("X.509"));
    assert!(error(request.finish_pem(b"", &cart)).contains("holds none"));
    let rest = issued.chain[1..].to_vec();
    assert!(error(request.finish(rest, &cart)).contains("no X.509-SVID"));
}

#[test]
fn nothing_prints_a_key() {
    let now = at(0);
    let root = root(now);
    let authority = root.authority(now).unwrap();
    let request = Request::generate().unwrap();
    let (cart, der) = (identity(CART), request.key.der().to_vec());
    let issued = authority.sign(request.csr_der(), &cart, now, LEAF_LIFETIME).unwrap();
    let svid = request.finish(issued.chain, &cart).unwrap();
    let shown = format!("{root:?} {authority:?} {svid:?} {:?}", request.key);
    assert_eq!(shown.matches("hidden").count(), 4, "{shown}");
    // As bytes or as text, in any of the usual notations.
    let secret = &der[36..68];
    for form in [crate::hex::encode(secret), format!("{secret:?}"), format!("{secret:x?}")] {
        assert!(!format!("{shown} {request:?}").contains(form.trim_matches(['[', ']'])), "{shown}");
    }
}
