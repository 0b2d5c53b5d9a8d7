//! HTTPRoutes, valid and invalid.

use std::time::Duration;

use super::*;
use crate::resource::Resource;
use crate::route::{
    BackendKind, HeaderMatch, Method, ParentKind, PathMatch, QueryMatch, ValueMatch,
};
use crate::testing::{check, valid};
use crate::timeouts::Timeout;
use crate::units::Port;

const HEAD: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: \
r, namespace: shop }";

fn route(spec: &str) -> Route {
    match valid(&format!("{HEAD}\nspec: {spec}")).resource {
        Resource::HttpRoute(route) => route,
        other => panic!("not an HTTPRoute: {other:?}"),
    }
}

/// Checks specs that have a parent and one rule, which starts with a backend.
fn check_rule(cases: &[(&str, &[&str])]) {
    let cases: Vec<(String, &[&str])> = cases
        .iter()
        .map(|(rule, findings)| {
            let spec = format!(
                "{{parentRefs: [{{group: '', kind: Service, name: a}}], \
                 rules: [{{backendRefs: [{{name: b, port: 80}}], {rule}}}]}}"
            );
            (spec, *findings)
        })
        .collect();
    let cases: Vec<(&str, &[&str])> =
        cases.iter().map(|(spec, findings)| (spec.as_str(), *findings)).collect();
    check(HEAD, &cases);
}

#[test]
fn a_whole_one() {
    let route = route(
        "
  parentRefs:
  - { group: '', kind: Service, name: checkout, port: 80 }
  - { group: core, kind: Service, name: orders, sectionName: admin }
  - { name: door }
  hostnames: [shop.example, '*.shop.example']
  rules:
  - name: canary
    matches:
    - path: { type: Exact, value: /v2 }
      headers: [{ name: X-Canary, value: '1' }, { name: z, type: RegularExpression, value: 'a+' }]
      queryParams: [{ name: Q, value: x }]
      method: GET
    - path: { value: /v2/ }
    backendRefs: [{ name: checkout-v2, port: 80 }]
  - backendRefs:
    - { name: checkout-v1, port: 80, weight: 95 }
    - { name: checkout-v2, namespace: canary, port: 80, weight: 5 }
    timeouts: { request: 2s, backendRequest: 500ms }
    retry: { attempts: 2, backoff: 25ms, codes: [502, 503, 504] }",
    );
    let port = Port::new(80).unwrap();
    assert_eq!(route.parents[0].kind, ParentKind::Service);
    assert_eq!((route.parents[0].namespace.as_str(), route.parents[0].port), ("shop", Some(port)));
    assert_eq!(route.parents[1].section_name.as_deref(), Some("admin"));
    assert_eq!(route.parents[2].kind, ParentKind::Gateway);
    assert_eq!(route.hostnames.len(), 2);
    let [canary, rest] = route.rules.as_slice() else { panic!("{:?}", route.rules) };
    assert_eq!(canary.name.as_deref(), Some("canary"));
    assert_eq!(
        canary.matches[0],
        RouteMatch {
            path: PathMatch::Exact("/v2".to_owned()),
            headers: vec![
                HeaderMatch {
                    name: "x-canary".to_owned(),
                    value: ValueMatch::Exact("1".to_owned())
                },
                HeaderMatch { name: "z".to_owned(), value: ValueMatch::Regex("a+".to_owned()) },
            ],
            query: vec![QueryMatch {
                name: "Q".to_owned(),
                value: ValueMatch::Exact("x".to_owned())
            }],
            method: Some(Method::Get),
        }
    );
    assert_eq!(canary.matches[1].path, PathMatch::Prefix("/v2/".to_owned()));
    assert_eq!(canary.backends[0].weight, 1);
    assert_eq!(canary.backends[0].kind, BackendKind::Service { port });
    assert_eq!(rest.matches, [RouteMatch::default()]);
    assert_eq!((rest.backends[1].weight, rest.backends[1].namespace.as_str()), (5, "canary"));
    assert_eq!(rest.timeouts.request, Some(Timeout::After(Duration::from_secs(2))));
    assert_eq!(rest.retry.as_ref().map(|retry| retry.attempts), Some(2));
}

#[test]
fn parents() {
    let rules = "rules: [{backendRefs: [{name: b, port: 80}]}]";
    let service = "group: '', kind: Service, name: a";
    let cases: [(String, &[&str]); 7] = [
        (
            format!("{{{rules}}}"),
            &["warning: spec: no parentRefs: the route is attached to nothing and has no effect"],
        ),
        (
            format!("{{parentRefs: [{{kind: Service, name: a}}], {rules}}}"),
            &["error: spec.parentRefs[0]: no kind Service is in group \
                 gateway.networking.k8s.io, which is the default"],
        ),
        (
            format!("{{parentRefs: [{{{service}}}, {{{service}, port: 80}}], {rules}}}"),
            &["error: spec.parentRefs[1]: names the same object as spec.parentRefs[0], so both \
                 need a sectionName, or both a port"],
        ),
        (
            format!("{{parentRefs: [{{{service}, port: 80}}, {{{service}, port: 80}}], {rules}}}"),
            &["error: spec.parentRefs[1]: names the same as spec.parentRefs[0]"],
        ),
        (
            format!("{{parentRefs: [{{{service}, port: 80}}, {{{service}, port: 81}}], {rules}}}"),
            &[],
        ),
        (format!("{{parentRefs: [{{{service}, namespace: other}}, {{{service}}}], {rules}}}"), &[]),
        (
            format!("{{parentRefs: [{{{service}}}], hostnames: [a.example], {rules}}}"),
            &["warning: spec.hostnames: has no effect on a Service: match the header `host` \
                 instead"],
        ),
    ];
    let cases: Vec<(&str, &[&str])> =
        cases.iter().map(|(spec, findings)| (spec.as_str(), *findings)).collect();
    check(HEAD, &cases);
}

#[test]
fn fields_to_come_are_refused_by_name() {
    check_rule(&[
        (
            "sessionPersistence: {}",
            &["error: spec.rules[0].sessionPersistence: not supported yet by this version"],
        ),
        ("filter: []", &["error: spec.rules[0].filter: unknown field"]),
    ]);
}

#[test]
fn matches_of_a_rule() {
    check_rule(&[
        ("matches: []", &[]),
        ("matches: [{}]", &[]),
        ("matches: [{path: {type: RegularExpression, value: '/a(b|c)'}}]", &[]),
        (
            "matches: [{path: {value: a}}]",
            &["error: spec.rules[0].matches[0].path.value: \"a\" does not start with `/`"],
        ),
        (
            "matches: [{path: {type: Exact, value: /a/../b}}]",
            &["error: spec.rules[0].matches[0].path.value: \"/a/../b\" holds `/../`, which a \
                 path here cannot"],
        ),
        (
            "matches: [{path: {type: Prefix, value: /}}]",
            &["error: spec.rules[0].matches[0].path.type: \"Prefix\" is not known here"],
        ),
        (
            "matches: [{path: {type: RegularExpression, value: '('}}]",
            &["error: spec.rules[0].matches[0].path.value: \"(\" is not a regular expression: \
                 unclosed group"],
        ),
        (
            "matches: [{headers: [{name: 'a b', value: x}, {name: c}]}]",
            &[
                "error: spec.rules[0].matches[0].headers[0].name: \"a b\" holds \" \", which a \
                 header name cannot",
                "error: spec.rules[0].matches[0].headers[1].value: is required",
            ],
        ),
        (
            "matches: [{headers: [{name: X, value: a}, {name: x, value: b}]}]",
            &["error: spec.rules[0].matches[0].headers[1]: the header \"x\" is matched by \
                 spec.rules[0].matches[0].headers[0]"],
        ),
        (
            "matches: [{headers: [{name: Keep-Alive, value: x}, {name: weft-held, value: z}]}]",
            &[
                "error: spec.rules[0].matches[0].headers[0].name: \"Keep-Alive\" would match \
                 nothing: it speaks of one connection and is taken out of every request",
                "error: spec.rules[0].matches[0].headers[1].name: \"weft-held\" is the mesh's \
                 own, and taken out of what applications send",
            ],
        ),
        ("matches: [{queryParams: [{name: connection, value: a}]}]", &[]),
        ("matches: [{queryParams: [{name: X, value: a}, {name: x, value: b}]}]", &[]),
        (
            "matches: [{method: get}]",
            &["error: spec.rules[0].matches[0].method: \"get\" is not known here"],
        ),
    ]);
}

#[test]
fn backends() {
    let spec = |backends: &str| {
        format!(
            "{{parentRefs: [{{group: '', kind: Service, name: a}}], rules: [{{backendRefs: \
             {backends}}}]}}"
        )
    };
    let cases: [(String, &[&str]); 5] = [
        (
            spec("[{name: b, weight: -1}]"),
            &[
                "error: spec.rules[0].backendRefs[0].port: is required",
                "error: spec.rules[0].backendRefs[0].weight: -1 is not allowed, the least is 0",
            ],
        ),
        (
            spec("[{name: b, port: 80, weight: 1000001}]"),
            &["error: spec.rules[0].backendRefs[0].weight: 1000001 is not allowed, the most is \
                 1000000"],
        ),
        (
            spec("[]"),
            &["warning: spec.rules[0]: no backendRefs: what matches is answered with 500"],
        ),
        (
            spec("[{name: b, port: 80, weight: 0}]"),
            &["warning: spec.rules[0]: all weights are 0: what matches is answered with 503"],
        ),
        (spec("[{group: example.com, kind: Bucket, name: b}]"), &[]),
    ];
    let cases: Vec<(&str, &[&str])> =
        cases.iter().map(|(spec, findings)| (spec.as_str(), *findings)).collect();
    check(HEAD, &cases);
}

#[test]
fn bounds_of_the_standard() {
    let rule = |name: &str| {
        format!(
            "{{name: '{name}', matches: [{{path: {{value: /{name}}}}}], \
             backendRefs: [{{name: b, port: 80}}]}}"
        )
    };
    let parent = "parentRefs: [{group: '', kind: Service, name: a}]";
    let rules =
        |count: usize| (0..count).map(|n| rule(&format!("r{n}"))).collect::<Vec<_>>().join(", ");
    let matching = |of: &str| {
        let one = |n| format!("{{path: {{value: /{of}{n}}}}}");
        let all = (0..64).map(one).collect::<Vec<_>>().join(", ");
        format!("{{backendRefs: [{{name: b, port: 80}}], matches: [{all}]}}")
    };
    let (a, b) = (matching("a"), matching("b"));
    let cases: [(String, &[&str]); 6] = [
        (format!("{{{parent}, rules: [{}]}}", rules(16)), &[]),
        (
            format!("{{{parent}, rules: [{}]}}", rules(17)),
            &["error: spec.rules: 17 items are not allowed, the most is 16"],
        ),
        (
            format!("{{{parent}, rules: []}}"),
            &["error: spec.rules: an empty list is not allowed: leave the field out"],
        ),
        (
            format!("{{{parent}, rules: [{}, {}]}}", rule("x"), rule("x").replace("/x", "/y")),
            &["error: spec.rules[1]: the name \"x\" is taken by spec.rules[0]"],
        ),
        (format!("{{{parent}, rules: [{a}, {b}]}}"), &[]),
        (
            format!("{{{parent}, rules: [{a}, {b}, {}]}}", rule("x")),
            &["error: spec.rules: 129 matches in all rules together are not allowed, the most \
                 is 128"],
        ),
    ];
    let cases: Vec<(&str, &[&str])> =
        cases.iter().map(|(spec, findings)| (spec.as_str(), *findings)).collect();
    check(HEAD, &cases);
}

#[test]
fn without_rules_it_matches_everything() {
    let route = route("{parentRefs: [{group: '', kind: Service, name: a}]}");
    assert_eq!(route.rules, [RouteRule::default()]);
}

#[test]
fn of_equal_matches_the_first_holds() {
    let rule = |matches: &str| format!("{{{matches} backendRefs: [{{name: b, port: 80}}]}}");
    let all = rule("");
    let several = rule("matches: [{path: {value: /a}}, {method: GET}, {path: {value: /a}}],");
    let spec = format!(
        "{{parentRefs: [{{group: '', kind: Service, name: a}}], \
         rules: [{all}, {several}, {}, {}]}}",
        rule("matches: [{path: {type: PathPrefix, value: /}}],"),
        rule("matches: [{headers: [{name: a, value: b}]}, {method: GET}],")
    );
    check(
        HEAD,
        &[(
            spec.as_str(),
            &[
                "warning: spec.rules[1].matches[2]: no effect: spec.rules[1].matches[0] matches \
                 the same, and goes first",
                "warning: spec.rules[2].matches[0]: no effect: spec.rules[0] matches the same, \
                 and goes first",
                "warning: spec.rules[3].matches[1]: no effect: spec.rules[1].matches[1] matches \
                 the same, and goes first",
            ],
        )],
    );
}
