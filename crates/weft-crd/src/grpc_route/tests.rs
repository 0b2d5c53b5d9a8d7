//! GRPCRoutes, valid and invalid.

use super::*;
use crate::resource::Resource;
use crate::route::{Filter, HeaderMatch};
use crate::testing::{check, valid};

const HEAD: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: { name: \
r, namespace: shop }";

fn rule(rule: &str) -> String {
    format!("{{parentRefs: [{{group: '', kind: Service, name: a}}], rules: [{{{rule}}}]}}")
}

/// Checks rules that have a backend as well.
fn check_rules(cases: &[(&str, &[&str])]) {
    for (text, findings) in cases {
        let spec = rule(&format!("backendRefs: [{{name: b, port: 80}}], {text}"));
        check(HEAD, &[(&spec, findings)]);
    }
}

fn call(service: Option<ValueMatch>, method: Option<ValueMatch>) -> PathMatch {
    PathMatch::Call(CallMatch { service, method })
}

#[test]
fn a_whole_one() {
    let spec = rule(
        "name: carts,
  matches: [
    { method: { service: shop.v1.Cart, method: AddItem }, headers: [{ name: X-A, value: b }] },
    { method: { type: RegularExpression, service: 'shop[.].*' } },
    { method: { method: _get2 } },
    { headers: [{ name: a, value: b }] }],
  filters: [
    { type: RequestHeaderModifier, requestHeaderModifier: { remove: [x] } },
    { type: RequestMirror, requestMirror: { backendRef: { name: copies, port: 80 } } }],
  backendRefs: [{ name: cart, port: 80, weight: 3, filters: [
    { type: ResponseHeaderModifier, responseHeaderModifier: { remove: [x] } }] }]",
    );
    let Resource::GrpcRoute(mut route) = valid(&format!("{HEAD}\nspec: {spec}")).resource else {
        panic!("no GRPCRoute")
    };
    let rule = route.rules.remove(0);
    assert_eq!(rule.name.as_deref(), Some("carts"));
    let exact = |text: &str| Some(ValueMatch::Exact(text.to_owned()));
    let paths: Vec<_> = rule.matches.iter().map(|one| one.path.clone()).collect();
    let regex = Some(ValueMatch::Regex("shop[.].*".to_owned()));
    assert_eq!(
        paths,
        [
            call(exact("shop.v1.Cart"), exact("AddItem")),
            call(regex, None),
            call(None, exact("_get2")),
            call(None, None),
        ]
    );
    let value = ValueMatch::Exact("b".to_owned());
    assert_eq!(rule.matches[0].headers, [HeaderMatch { name: "x-a".to_owned(), value }]);
    assert!(matches!(rule.filters[..], [Filter::RequestHeaders(_), Filter::Mirror(_)]));
    assert!(matches!(rule.backends[0].filters[..], [Filter::ResponseHeaders(_)]));
    assert_eq!(rule.backends[0].weight, 3);
}

#[test]
fn a_rule_without_matches_is_for_every_call() {
    let spec = rule("backendRefs: [{ name: cart, port: 80 }]");
    let Resource::GrpcRoute(route) = valid(&format!("{HEAD}\nspec: {spec}")).resource else {
        panic!("no GRPCRoute")
    };
    assert_eq!(route.rules[0].matches, [every_call()]);
}

#[test]
fn what_leads_nowhere_is_told_in_the_words_of_grpc() {
    let parents = "parentRefs: [{group: '', kind: Service, name: a}]";
    check(
        HEAD,
        &[
            (
                &format!("{{{parents}}}"),
                &["warning: spec: no rules: no call matches, and all are answered with \
                   UNIMPLEMENTED"],
            ),
            (
                &format!("{{{parents}, rules: [{{}}]}}"),
                &["warning: spec.rules[0]: no backendRefs: what matches is answered with \
                   UNAVAILABLE"],
            ),
            (
                &format!(
                    "{{{parents}, rules: [{{backendRefs: [{{name: b, port: 80, weight: 0}}]}}]}}"
                ),
                &["warning: spec.rules[0]: all weights are 0: what matches is answered with \
                   UNAVAILABLE"],
            ),
        ],
    );
}

#[test]
fn methods() {
    check_rules(&[
        (
            "matches: [{method: {}}]",
            &["error: spec.rules[0].matches[0].method: a service or a method is needed, or both"],
        ),
        (
            "matches: [{method: {service: .shop.Cart}}]",
            &["error: spec.rules[0].matches[0].method.service: \".shop.Cart\" is not the name of \
               a service, such as shop.v1.Cart"],
        ),
        (
            "matches: [{method: {service: shop/Cart, method: 1a}}]",
            &[
                "error: spec.rules[0].matches[0].method.service: \"shop/Cart\" is not the name of \
                 a service, such as shop.v1.Cart",
                "error: spec.rules[0].matches[0].method.method: \"1a\" is not the name of a \
                 method, such as AddItem",
            ],
        ),
        (
            "matches: [{method: {method: ''}}]",
            &["error: spec.rules[0].matches[0].method.method: must not be empty"],
        ),
        ("matches: [{path: {value: /}}]", &["error: spec.rules[0].matches[0].path: unknown field"]),
    ]);
}

#[test]
fn filters_of_http_are_refused() {
    check_rules(&[
        (
            "filters: [{type: ExtensionRef, extensionRef: {group: a.example, kind: B, name: c}}]",
            &[
                "error: spec.rules[0].filters[0].type: \"ExtensionRef\" is not supported yet by \
                 this version",
                "error: spec.rules[0].filters[0].extensionRef: not supported yet by this version",
            ],
        ),
        (
            "filters: [{type: URLRewrite, urlRewrite: {hostname: a.example}}]",
            &[
                "error: spec.rules[0].filters[0].type: \"URLRewrite\" is not known here",
                "error: spec.rules[0].filters[0].urlRewrite: unknown field",
            ],
        ),
        ("timeouts: {request: 1s}", &["error: spec.rules[0].timeouts: unknown field"]),
        (
            "sessionPersistence: {}",
            &["error: spec.rules[0].sessionPersistence: not supported yet by this version"],
        ),
    ]);
}
