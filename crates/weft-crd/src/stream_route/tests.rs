//! TCPRoutes and TLSRoutes, valid and invalid.

use crate::resource::Resource;
use crate::testing::{check, valid};

const TCP: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: { name: r, \
namespace: shop }";
const TLS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: { name: r, \
namespace: shop }";

const PARENTS: &str = "parentRefs: [{group: '', kind: Service, name: a}]";
const RULES: &str = "rules: [{name: all, backendRefs: [{name: b, port: 5432, weight: 3}]}]";

#[test]
fn whole_ones() {
    let spec = format!("{{{PARENTS}, {RULES}}}");
    let Resource::TcpRoute(route) = valid(&format!("{TCP}\nspec: {spec}")).resource else {
        panic!("no TCPRoute")
    };
    let [rule] = &route.rules[..] else { panic!("{route:?}") };
    assert_eq!((rule.name.as_deref(), rule.backends[0].weight), (Some("all"), 3));
    assert!(rule.matches.is_empty() && route.hostnames.is_empty());
    let spec = format!("{{{PARENTS}, hostnames: [a.example, '*.b.example'], {RULES}}}");
    let Resource::TlsRoute(route) = valid(&format!("{TLS}\nspec: {spec}")).resource else {
        panic!("no TLSRoute")
    };
    assert_eq!(route.hostnames, ["a.example", "*.b.example"]);
}

#[test]
fn what_is_wrong_is_found() {
    let tcp = |rest: &str| format!("{{{PARENTS}, {rest}}}");
    check(
        TCP,
        &[
            (&tcp("rules: []"), &["error: spec.rules: an empty list is not allowed: write a rule"]),
            (&format!("{{{PARENTS}}}"), &["error: spec.rules: is required"]),
            (
                &tcp("rules: [{backendRefs: []}]"),
                &["error: spec.rules[0].backendRefs: an empty list is not allowed: name a backend"],
            ),
            (&tcp("rules: [{}]"), &["error: spec.rules[0].backendRefs: is required"]),
            (
                &tcp("rules: [{backendRefs: [{name: b, port: 1, filters: []}]}]"),
                &["error: spec.rules[0].backendRefs[0].filters: unknown field"],
            ),
            (
                &tcp("rules: [{backendRefs: [{name: b, port: 1, weight: 0}]}]"),
                &["warning: spec.rules[0]: all weights are 0: what matches is closed"],
            ),
            (
                &tcp(&format!("hostnames: [a.example], {RULES}")),
                &["error: spec.hostnames: unknown field"],
            ),
        ],
    );
    check(
        TLS,
        &[
            (&tcp(RULES), &["error: spec.hostnames: is required"]),
            (
                &tcp(&format!("hostnames: [], {RULES}")),
                &["error: spec.hostnames: an empty list is not allowed: name a host, or write a \
                   TCPRoute"],
            ),
            (
                &tcp(&format!("hostnames: [192.0.2.1], {RULES}")),
                &["error: spec.hostnames[0]: \"192.0.2.1\" is an address, a host name is needed"],
            ),
        ],
    );
}
