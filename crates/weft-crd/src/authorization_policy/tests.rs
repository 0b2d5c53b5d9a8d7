//! AuthorizationPolicies, valid and invalid.

use super::*;
use crate::identity::{ServiceAccount, SpiffeId};
use crate::resource::Resource;
use crate::testing::{check, valid};
use crate::units::Port;

const HEAD: &str = "apiVersion: weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: { name: \
p, namespace: shop }";
const TARGET: &str = "targetRefs: [{group: '', kind: Service, name: payments}]";

fn policy(spec: &str) -> AuthorizationPolicy {
    match valid(&format!("{HEAD}\nspec: {spec}")).resource {
        Resource::AuthorizationPolicy(policy) => policy,
        other => panic!("not an AuthorizationPolicy: {other:?}"),
    }
}

#[test]
fn a_whole_one() {
    let policy = policy(&format!(
        "
  {TARGET}
  allow:
  - from:
    - {{ serviceAccount: shop/checkout }}
    - {{ identity: 'spiffe://weft.local/ns/shop/sa/cart', cidr: 10.0.0.0/8, notNamespaces: [dev] }}
    to:
    - {{ methods: [POST, GET], paths: [/charges, '/charges/*'], ports: [8080] }}
    - {{ headers: [{{ name: X-Tenant, value: a }}, {{ name: authorization }}] }}
  deny:
  - from: [{{ namespace: dev }}]
  audit:
  - {{}}"
    ));
    assert_eq!(policy.scope, Scope::Targets(vec![Target::Service("payments".to_owned())]));
    let allow = policy.allow.unwrap();
    let [checkout, cart] = allow[0].from.as_deref().unwrap() else { panic!("{allow:?}") };
    assert_eq!(checkout.service_account, ServiceAccount::parse("shop/checkout").ok());
    assert_eq!(cart.identity, SpiffeId::parse("spiffe://weft.local/ns/shop/sa/cart").ok());
    assert_eq!(cart.not_namespaces, ["dev"]);
    let [charges, tenant] = allow[0].to.as_deref().unwrap() else { panic!("{allow:?}") };
    assert_eq!(charges.methods, ["POST", "GET"]);
    assert_eq!(charges.ports, [Port::new(8080).unwrap()]);
    assert_eq!(
        charges.paths,
        [PathPattern::Exact("/charges".to_owned()), PathPattern::Below("/charges/".to_owned())]
    );
    assert_eq!(tenant.headers[0].name, "x-tenant");
    assert_eq!(tenant.headers[1].value, None);
    assert!(tenant.needs_http());
    assert!(!Operation { ports: charges.ports.clone(), ..Operation::default() }.needs_http());
    assert_eq!(policy.deny[0].to, None);
    assert_eq!(policy.audit, [Rule { from: None, to: None }]);
}

#[test]
fn an_empty_allow_list_closes_and_an_absent_one_does_not() {
    assert_eq!(policy(&format!("{{{TARGET}, allow: []}}")).allow, Some(Vec::new()));
    assert_eq!(policy(&format!("{{{TARGET}, deny: [{{}}]}}")).allow, None);
}

#[test]
fn scopes() {
    let allow = "allow: [{}]";
    let workloads = policy(&format!("{{selector: {{matchLabels: {{app: cart}}}}, {allow}}}"));
    let Scope::Workloads(selector) = workloads.scope else { panic!("{:?}", workloads.scope) };
    assert_eq!(selector.match_labels["app"], "cart");
    let namespace =
        policy(&format!("{{targetRefs: [{{group: '', kind: Namespace, name: shop}}], {allow}}}"));
    assert_eq!(namespace.scope, Scope::Targets(vec![Target::Namespace]));
    let mesh = valid(
        "{apiVersion: weft.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {name: p, \
         namespace: weft-system},
          spec: {targetRefs: [{group: weft.dev, kind: Mesh, name: weft}], allow: [{}]}}",
    );
    assert!(matches!(mesh.resource, Resource::AuthorizationPolicy(_)));
}

#[test]
fn wrong_scopes() {
    check(
        HEAD,
        &[
            ("{deny: [{}]}", &["error: spec: one of targetRefs, selector is required"]),
            (
                "{deny: [{}], selector: {matchLabels: {}}}",
                &["error: spec.selector.matchLabels: an empty selector is not allowed"],
            ),
            (
                "{deny: [{}], selector: {matchLabels: {a: b}}, targetRefs: []}",
                &["error: spec.selector: cannot stand beside targetRefs: write two policies"],
            ),
            (
                "{deny: [{}], targetRefs: [{group: '', kind: Namespace, name: other}]}",
                &["error: spec.targetRefs[0].name: namespace \"other\" cannot be reached from \
                     here: the policy lives in \"shop\""],
            ),
            (
                "{deny: [{}], targetRefs: [{group: weft.dev, kind: Mesh, name: weft}]}",
                &["error: spec.targetRefs[0]: a policy for the whole mesh lives in namespace \
                     \"weft-system\", this one is in \"shop\""],
            ),
            (
                "{deny: [{}], targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, \
                 name: r}]}",
                &["error: spec.targetRefs[0].kind: \"HTTPRoute\" of group \
                     \"gateway.networking.k8s.io\" cannot be a target"],
            ),
        ],
    );
}

#[test]
fn rules_that_would_never_match() {
    let spec = format!(
        "{{{TARGET}, deny: [{{to: [{{headers: [{{name: Connection}}, {{name: ':authority'}}, \
         {{name: host, value: a}}], paths: ['/a;b', '/a%3b/*']}}]}}]}}"
    );
    check(
        HEAD,
        &[(
            &spec,
            &[
                "error: spec.deny[0].to[0].headers[0].name: \"Connection\" would match nothing: \
                 it speaks of one connection and is taken out of every request",
                "error: spec.deny[0].to[0].headers[1].name: \":authority\" is not a header: ask \
                 for the header `host`, which is the same",
                "error: spec.deny[0].to[0].paths[0]: \"/a;b\" holds `;`, and every request for it \
                 would be refused",
                "error: spec.deny[0].to[0].paths[1]: \"/a%3b/*\" holds `%3b`, and every request \
                 for it would be refused",
            ],
        )],
    );
}

#[test]
fn wrong_rules() {
    let spec = |rest: &str| format!("{{{TARGET}, {rest}}}");
    let specs = [
        format!("{{{TARGET}}}"),
        spec("deny: []"),
        spec("allow: [{when: 'true'}]"),
        spec("allow: [{from: [], to: []}]"),
        spec("allow: [{from: [{}], to: [{}]}]"),
        spec(
            "allow: [{from: [{serviceAccount: checkout}, {identity: 'spiffe://a/b'}, {cidr: \
             10.0.0.1/8}]}]",
        ),
        spec("allow: [{to: [{methods: [get], paths: [charges, '/a*', '/a/*/b'], ports: [0]}]}]"),
        spec("allow: [{to: [{notPaths: [/a], headers: [{value: x}]}]}]"),
        spec("allow: [{from: [{notNamespace: dev}]}]"),
        spec("allow: [{from: null}, {to: [{paths: , methods: [GET]}]}], deny: "),
    ];
    let why = "it would match nothing; leave the field out to match everything";
    let empty_from = format!("error: spec.allow[0].from: an empty list is not allowed: {why}");
    let empty_to = format!("error: spec.allow[0].to: an empty list is not allowed: {why}");
    let empties = [empty_from.as_str(), empty_to.as_str()];
    let findings: [&[&str]; 10] = [
        &["error: spec: at least one of allow, deny, audit is required"],
        &["error: spec.deny: an empty list is not allowed: it would have no effect"],
        &["error: spec.allow[0].when: not supported yet by this version"],
        &empties,
        &[
            "error: spec.allow[0].from[0]: at least one of identity, serviceAccount, namespace, \
             cidr, \
             notIdentities, notServiceAccounts, notNamespaces, notCidrs is required",
            "error: spec.allow[0].to[0]: at least one of ports, methods, paths, headers is \
             required",
        ],
        &[
            "error: spec.allow[0].from[0].serviceAccount: \"checkout\" has no namespace: write \
             NAMESPACE/NAME",
            "error: spec.allow[0].from[1].identity: \"spiffe://a/b\" is not an identity: write \
             spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME",
            "error: spec.allow[0].from[2].cidr: \"10.0.0.1/8\" is not the first address of its \
             block, that is 10.0.0.0/8",
        ],
        &[
            "error: spec.allow[0].to[0].methods[0]: \"get\" would match nothing: methods are \
             told apart by case",
            "error: spec.allow[0].to[0].paths[0]: \"charges\" does not start with `/`",
            "error: spec.allow[0].to[0].paths[1]: \"/a*\" has a `*` that is not its whole last \
             segment",
            "error: spec.allow[0].to[0].paths[2]: \"/a/*/b\" has a `*` that is not its whole \
             last segment",
            "error: spec.allow[0].to[0].ports[0]: 0 is not allowed, the least is 1",
        ],
        &[
            "error: spec.allow[0].to[0].notPaths: not supported yet by this version",
            "error: spec.allow[0].to[0].headers[0].name: is required",
        ],
        &["error: spec.allow[0].from[0].notNamespace: unknown field"],
        &[
            "error: spec.allow[0].from: has no value: write one, or leave the field out",
            "error: spec.allow[1].to[0].paths: has no value: write one, or leave the field out",
            "error: spec.deny: has no value: write one, or leave the field out",
        ],
    ];
    let cases: Vec<(&str, &[&str])> = specs.iter().map(String::as_str).zip(findings).collect();
    check(HEAD, &cases);
}
