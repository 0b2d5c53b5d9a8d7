//! `loadBalancing`, valid and invalid.

use super::*;
use crate::resource::Resource;
use crate::testing::{check, valid};

const HEAD: &str =
    "apiVersion: weft.dev/v1alpha1\nkind: BackendPolicy\nmetadata: { name: p, namespace: shop }";

fn spec(load_balancing: &str) -> String {
    let target = "targetRefs: [{group: '', kind: Service, name: payments}]";
    format!("{{{target}, loadBalancing: {load_balancing}}}")
}

fn read(load_balancing: &str) -> Option<LoadBalancing> {
    match valid(&format!("{HEAD}\nspec: {}", spec(load_balancing))).resource {
        Resource::BackendPolicy(policy) => policy.load_balancing,
        other => panic!("not a BackendPolicy: {other:?}"),
    }
}

#[test]
fn what_is_right() {
    assert_eq!(read("{}"), None);
    for (text, algorithm) in [
        ("PeakEwma", Algorithm::PeakEwma),
        ("RoundRobin", Algorithm::RoundRobin),
        ("LeastRequest", Algorithm::LeastRequest),
        ("Random", Algorithm::Random),
    ] {
        let expected = LoadBalancing { algorithm, hash_on: vec![] };
        assert_eq!(read(&format!("{{algorithm: {text}}}")), Some(expected));
    }
    let cookie = |name: &str, ttl: Option<u64>| HashOn::Cookie {
        name: name.to_owned(),
        ttl: ttl.map(Duration::from_secs),
    };
    let hash_on = vec![
        HashOn::Header("X-User".to_owned()),
        cookie("own", None),
        cookie("Cart", Some(3600)),
        cookie("session", Some(0)),
        HashOn::SourceAddress,
    ];
    let text = "[{type: Header, name: X-User}, {type: Cookie, name: own}, \
                {type: Cookie, name: Cart, ttl: 1h}, {type: Cookie, name: session, ttl: 0s}, \
                {type: SourceAddress}]";
    for (name, algorithm) in [("RingHash", Algorithm::RingHash), ("Maglev", Algorithm::Maglev)] {
        let expected = LoadBalancing { algorithm, hash_on: hash_on.clone() };
        assert_eq!(read(&format!("{{algorithm: {name}, hashOn: {text}}}")), Some(expected));
    }
}

#[test]
fn what_is_wrong() {
    let hash_on = |hash_on: &str| spec(&format!("{{algorithm: Maglev, hashOn: [{hash_on}]}}"));
    let cases: &[(String, &[&str])] = &[
        (
            spec("{algorithm: peakewma}"),
            &["error: spec.loadBalancing.algorithm: \"peakewma\" is not known here"],
        ),
        (
            spec("{panicThresholdPercent: 101}"),
            &["error: spec.loadBalancing.panicThresholdPercent: 101 is not allowed, the most is \
                 100"],
        ),
        (spec("{algorithm: RingHash}"), &["error: spec.loadBalancing.hashOn: is required"]),
        (
            hash_on(""),
            &["error: spec.loadBalancing.hashOn: an empty list is not allowed: something is \
                 hashed"],
        ),
        (
            spec("{algorithm: Random, hashOn: [{type: SourceAddress}]}"),
            &["error: spec.loadBalancing.hashOn: is for the algorithms RingHash and Maglev only"],
        ),
        (
            spec("{hashOn: [{type: SourceAddress}]}"),
            &["error: spec.loadBalancing.hashOn: is for the algorithms RingHash and Maglev only"],
        ),
        (
            hash_on("{type: Query, name: a}, {name: a}"),
            &[
                "error: spec.loadBalancing.hashOn[0].type: \"Query\" is not known here",
                "error: spec.loadBalancing.hashOn[1].type: is required",
            ],
        ),
        (
            hash_on("{type: Header}, {type: Header, name: a b}, {type: Header, name: a, ttl: 1s}"),
            &[
                "error: spec.loadBalancing.hashOn[0].name: is required",
                "error: spec.loadBalancing.hashOn[1].name: \"a b\" holds \" \", which a header \
                 name cannot",
                "error: spec.loadBalancing.hashOn[2].ttl: is for cookies only",
            ],
        ),
        (
            hash_on(
                "{type: Cookie, name: a, ttl: 1500ms}, {type: Cookie, name: a=b}, \
                 {type: SourceAddress, name: a}",
            ),
            &[
                "error: spec.loadBalancing.hashOn[0].ttl: cookies live for whole seconds",
                "error: spec.loadBalancing.hashOn[1].name: \"a=b\" holds \"=\", which the name of \
                 a cookie cannot",
                "error: spec.loadBalancing.hashOn[2].name: is for headers and cookies only",
            ],
        ),
        (
            hash_on("{type: SourceAddress}, {type: Header, name: a}"),
            &["error: spec.loadBalancing.hashOn[1]: is never looked for: all have a source \
                 address"],
        ),
    ];
    let cases: Vec<_> = cases.iter().map(|(spec, findings)| (&**spec, *findings)).collect();
    check(HEAD, &cases);
}
