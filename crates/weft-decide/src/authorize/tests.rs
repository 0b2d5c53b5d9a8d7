//! Policies against attempts, case by case.

use std::collections::BTreeSet;

use weft_http::request;
use weft_model::{
    Cidr, ExactValue, HeaderCondition, HeaderName, HttpPath, Method, Namespace, Operation,
    PathPattern, Peer,
};

use super::*;

pub(super) fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

pub(super) fn identity(text: &str) -> SpiffeId {
    format!("spiffe://{text}").parse().unwrap()
}

pub(super) fn own() -> TrustDomain {
    "mesh.test".parse().unwrap()
}

/// A request; `fields` are lines.
pub(super) fn head(method: &str, target: &str, fields: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let wire = format!("{method} {target} HTTP/1.1\r\nHost: cart\r\n{fields}\r\n");
    request::parse(wire.as_bytes(), &mut head).unwrap().expect("complete");
    head
}

pub(super) fn policy(
    name: &str,
    allow: Option<Vec<Rule>>,
    deny: Vec<Rule>,
    audit: Vec<Rule>,
) -> Arc<Policy> {
    let name = format!("shop/{name}").parse().unwrap();
    let mode = PolicyMode::Enforce;
    Arc::new(Policy::Authorization(AuthorizationPolicy { name, mode, allow, deny, audit }))
}

fn allowing(name: &str, rules: Vec<Rule>) -> Arc<Policy> {
    policy(name, Some(rules), vec![], vec![])
}

fn denying(name: &str, rules: Vec<Rule>) -> Arc<Policy> {
    policy(name, None, rules, vec![])
}

fn authorizer(policies: &[Arc<Policy>]) -> Authorizer {
    Authorizer::new(policies.iter().cloned(), UnguardedPolicy::AllowMesh, own())
}

fn anyone() -> Rule {
    Rule { from: None, to: None }
}

fn from(peer: Peer) -> Rule {
    Rule { from: Some(vec![peer]), to: None }
}

fn to(operation: Operation) -> Rule {
    Rule { from: None, to: Some(vec![operation]) }
}

fn exact(path: &str) -> Operation {
    let pattern = PathPattern::Exact(HttpPath::new(path).unwrap());
    Operation { paths: BTreeSet::from([pattern]), ..Operation::default() }
}

fn below(path: &str) -> Operation {
    let pattern = PathPattern::Below(HttpPath::new(path).unwrap());
    Operation { paths: BTreeSet::from([pattern]), ..Operation::default() }
}

fn header(name: &str, value: Option<&str>) -> Operation {
    let value = value.map(|value| ExactValue::new(value).unwrap());
    let condition = HeaderCondition { name: HeaderName::new(name).unwrap(), value };
    Operation { headers: vec![condition], ..Operation::default() }
}

/// The decision in short: `allowed`, or the code of the reason; with the rule behind it.
fn short(decision: &Decision) -> String {
    let (what, by) = match decision {
        Decision::Allowed { by } => ("allowed", by),
        Decision::Denied { by, why } => (why.code(), by),
    };
    match by {
        Some(by) => format!("{what} {} {}", by.policy_name().object.name(), by.field()),
        None => what.to_owned(),
    }
}

/// An attempt by `peer` at port 80.
fn by<'a>(peer: Option<&'a SpiffeId>, http: Option<&'a RequestHead>) -> Attempt<'a> {
    Attempt { peer, address: "10.0.0.1".parse().unwrap(), port: port(80), http }
}

fn judged(policies: &[Arc<Policy>], http: Option<&RequestHead>) -> String {
    let peer = identity("mesh.test/ns/shop/sa/cart");
    short(&authorizer(policies).judge(&by(Some(&peer), http)))
}

#[test]
fn where_nothing_guards_the_mesh_says_who_may() {
    let judge = |unguarded, peer: Option<&SpiffeId>| {
        short(&Authorizer::new([], unguarded, own()).judge(&by(peer, None)))
    };
    let (cart, stranger) =
        (identity("mesh.test/ns/shop/sa/cart"), identity("other.test/ns/shop/sa/cart"));
    assert_eq!(judge(UnguardedPolicy::AllowMesh, Some(&cart)), "allowed");
    assert_eq!(judge(UnguardedPolicy::AllowMesh, Some(&stranger)), "no-identity");
    assert_eq!(judge(UnguardedPolicy::AllowMesh, None), "no-identity");
    assert_eq!(judge(UnguardedPolicy::Deny, Some(&cart)), "unguarded-deny");
    // A policy without an allow list closes nothing.
    let nobody = Rule { from: Some(vec![]), to: None };
    assert_eq!(judged(&[denying("a", vec![nobody])], None), "allowed");
}

#[test]
fn allow_lists_unite_and_an_empty_one_closes() {
    assert_eq!(judged(&[allowing("a", vec![])], None), "no-allow-rule");
    let policies = [allowing("a", vec![]), allowing("b", vec![anyone()])];
    assert_eq!(judged(&policies, None), "allowed b spec.allow[0]");
    let nothing = Rule { from: None, to: Some(vec![]) };
    assert_eq!(judged(&[allowing("a", vec![nothing])], None), "no-allow-rule");
}

#[test]
fn any_deny_wins_and_is_named() {
    let policies = [
        allowing("a", vec![anyone()]),
        denying("c", vec![anyone()]),
        denying("b", vec![to(exact("/x")), anyone()]),
    ];
    let head = head("GET", "/", "");
    assert_eq!(judged(&policies, Some(&head)), "deny-rule b spec.deny[1]");
}

#[test]
fn callers_are_told_apart() {
    let cart = identity("mesh.test/ns/shop/sa/cart");
    let stranger = identity("other.test/ns/shop/sa/cart");
    let account = || "shop/cart".parse().unwrap();
    let shop = || Namespace::new("shop").unwrap();
    let block = |text: &str, prefix| Cidr::new(text.parse().unwrap(), prefix).unwrap();
    let none = Peer::default;
    // For each: whether it means the cart, one of another trust domain, and who has no identity.
    for (peer, expected) in [
        (none(), [true, true, true]),
        (Peer { identity: Some(cart.clone()), ..none() }, [true, false, false]),
        (Peer { identity: Some(stranger.clone()), ..none() }, [false, true, false]),
        (Peer { service_account: Some(account()), ..none() }, [true, false, false]),
        (Peer { namespace: Some(shop()), ..none() }, [true, false, false]),
        (Peer { not_identities: [cart.clone()].into(), ..none() }, [false, true, true]),
        (Peer { not_service_accounts: [account()].into(), ..none() }, [false, true, true]),
        (Peer { not_namespaces: [shop()].into(), ..none() }, [false, true, true]),
        (Peer { cidr: Some(block("10.0.0.0", 8)), ..none() }, [true, true, true]),
        (Peer { cidr: Some(block("10.1.0.0", 16)), ..none() }, [false, false, false]),
        (Peer { not_cidrs: [block("10.0.0.0", 8)].into(), ..none() }, [false, false, false]),
        (
            Peer { namespace: Some(shop()), not_identities: [cart.clone()].into(), ..none() },
            [false, false, false],
        ),
    ] {
        let authorizer = authorizer(&[allowing("a", vec![from(peer.clone())])]);
        let found = [Some(&cart), Some(&stranger), None]
            .map(|found| authorizer.judge(&by(found, None)).is_allowed());
        assert_eq!(found, expected, "{peer:?}");
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        let attempt = Attempt { address: mapped, ..by(Some(&cart), None) };
        assert_eq!(authorizer.judge(&attempt).is_allowed(), expected[0], "{peer:?}");
    }
}

#[test]
fn requests_are_told_apart() {
    let request = head("GET", "/a/b?c=/x", "X-Role: admin\r\nx-role: guest\r\nX-One: 1\r\n");
    let methods = ["POST", "GET"].map(|method| Method::new(method).unwrap());
    for (operation, is_meant) in [
        (Operation::default(), true),
        (Operation { ports: [port(80), port(81)].into(), ..Operation::default() }, true),
        (Operation { ports: [port(81)].into(), ..Operation::default() }, false),
        (Operation { methods: methods.clone().into(), ..Operation::default() }, true),
        (Operation { methods: [methods[0].clone()].into(), ..Operation::default() }, false),
        (exact("/a/b"), true),
        (exact("/a"), false),
        (exact("/a/b/"), false),
        (exact("/x"), false),
        (exact("/a/%62"), true),
        (exact("/z/%2e%2e/a/b"), true),
        (below("/a/"), true),
        (below("/"), true),
        (below("/a/b/"), false),
        (header("x-one", None), true),
        (header("x-one", Some("1")), true),
        (header("x-one", Some("12")), false),
        (header("x-none", None), false),
        (header("x-role", None), true),
        (Operation { methods: [methods[0].clone()].into(), ..exact("/a/b") }, false),
    ] {
        let allows = judged(&[allowing("a", vec![to(operation.clone())])], Some(&request));
        let denies = judged(&[denying("a", vec![to(operation.clone())])], Some(&request));
        let expected = if is_meant {
            ("allowed a spec.allow[0]", "deny-rule a spec.deny[0]")
        } else {
            ("no-allow-rule", "allowed")
        };
        assert_eq!((allows.as_str(), denies.as_str()), expected, "{operation:?}");
    }
}

#[test]
fn what_is_below_a_path_is_not_the_path() {
    let policies = [allowing("a", vec![to(below("/a/"))])];
    assert_eq!(judged(&policies, Some(&head("GET", "/a", ""))), "no-allow-rule");
    assert_eq!(judged(&policies, Some(&head("GET", "/ab", ""))), "no-allow-rule");
    assert_eq!(judged(&policies, Some(&head("GET", "/a/", ""))), "allowed a spec.allow[0]");
}

#[test]
fn rules_about_http_are_closed_where_none_is_seen() {
    let wants_http = || to(exact("/x"));
    let may_be = judged(&[allowing("a", vec![wants_http()])], None);
    assert_eq!(may_be, "cannot-evaluate a spec.allow[0]");
    assert_eq!(judged(&[denying("a", vec![wants_http()])], None), "cannot-evaluate a spec.deny[0]");
    // Only if all the rest matches.
    let elsewhere = Operation { ports: [port(81)].into(), ..exact("/x") };
    assert_eq!(judged(&[denying("a", vec![to(elsewhere.clone())])], None), "allowed");
    assert_eq!(judged(&[allowing("a", vec![to(elsewhere)])], None), "no-allow-rule");
    let others = Rule { from: Some(vec![]), ..wants_http() };
    assert_eq!(judged(&[denying("a", vec![others.clone()])], None), "allowed");
    assert_eq!(judged(&[allowing("a", vec![others])], None), "no-allow-rule");
    // What certainly matches is named before what may.
    let policies = [denying("a", vec![wants_http()]), denying("b", vec![anyone()])];
    assert_eq!(judged(&policies, None), "deny-rule b spec.deny[0]");
}

#[test]
fn a_repeated_header_meets_no_allow_rule_and_every_deny_rule() {
    let request = head("GET", "/", "X-Role: guest\r\nx-role: admin\r\nX-Role: admin\r\n");
    for value in ["guest", "admin", "guest, admin, admin", "guest,admin,admin", "guest; admin"] {
        let rule = || to(header("x-role", Some(value)));
        assert_eq!(judged(&[allowing("a", vec![rule()])], Some(&request)), "no-allow-rule");
        let denied = judged(&[denying("a", vec![rule()])], Some(&request));
        assert_eq!(denied, "cannot-evaluate a spec.deny[0]", "{value}");
    }
    // What surely does not match decides.
    let mut both = header("x-role", Some("admin"));
    both.headers.extend(header("x-none", None).headers);
    assert_eq!(judged(&[denying("a", vec![to(both)])], Some(&request)), "allowed");
}

#[test]
fn a_host_is_compared_whatever_brought_it() {
    use weft_http::http2::{Pseudo, read_request};
    let over_http2 = |authority: &str| {
        let mut head = RequestHead::default();
        let authority = Some(authority);
        let pseudo = Pseudo { method: "GET", scheme: Some("http"), authority, path: "/" };
        read_request(&pseudo, std::iter::empty(), true, &mut head).unwrap();
        head
    };
    let over_http1 = |authority: &str, target: &str| {
        let mut head = RequestHead::default();
        let wire = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        request::parse(wire.as_bytes(), &mut head).unwrap().expect("complete");
        head
    };
    // For each: whether it is the host of the rule, or may be taken for it.
    for (authority, [is, may_be]) in [
        ("admin", [true, true]),
        ("ADMIN", [true, true]),
        ("admin:80", [false, true]),
        ("admin.", [false, true]),
        ("Admin.:8080", [false, true]),
        ("%61dmin", [false, true]),
        ("cart", [false, false]),
        ("admin.cart", [false, false]),
    ] {
        for head in [
            over_http2(authority),
            over_http1(authority, "/"),
            over_http1("cart", &format!("http://{authority}/")),
        ] {
            let rule = || to(header("host", Some("admin")));
            let allows = judged(&[allowing("a", vec![rule()])], Some(&head));
            assert_eq!(allows.starts_with("allowed"), is, "{authority}: {allows}");
            let denies = judged(&[denying("a", vec![rule()])], Some(&head));
            assert_eq!(!denies.starts_with("allowed"), may_be, "{authority}: {denies}");
            let any = judged(&[denying("a", vec![to(header("host", None))])], Some(&head));
            assert_eq!(any, "deny-rule a spec.deny[0]", "{authority}");
        }
    }
    let rule = || to(header("host", Some("admin:81")));
    let other_port = judged(&[denying("a", vec![rule()])], Some(&over_http2("admin")));
    assert_eq!(other_port, "cannot-evaluate a spec.deny[0]");
    let rule = to(header("host", Some("[::1]:80")));
    let address = judged(&[denying("a", vec![rule])], Some(&over_http2("[::1]")));
    assert_eq!(address, "cannot-evaluate a spec.deny[0]");
}

#[test]
fn other_spellings_of_methods_and_names_meet_no_allow_rule_and_every_deny_rule() {
    let method = Operation { methods: [Method::new("DELETE").unwrap()].into(), ..exact("/x") };
    let role = header("x-role", Some("admin"));
    let has_role = header("x-role", None);
    for (operation, head) in [
        (method.clone(), head("delete", "/x", "")),
        (method.clone(), head("Delete", "/x", "")),
        // Applications that are told of headers in variables cannot tell these two apart.
        (role.clone(), head("GET", "/", "X_Role: admin\r\n")),
        (role, head("GET", "/", "X-Role: admin\r\nX_role: guest\r\n")),
        (has_role, head("GET", "/", "x_role: 1\r\n")),
    ] {
        let rule = || to(operation.clone());
        let allows = judged(&[allowing("a", vec![rule()])], Some(&head));
        assert_eq!(allows, "no-allow-rule", "{head:?}");
        let denies = judged(&[denying("a", vec![rule()])], Some(&head));
        assert_eq!(denies, "cannot-evaluate a spec.deny[0]", "{head:?}");
    }
    // What surely does not match decides.
    let elsewhere = judged(&[denying("a", vec![to(method)])], Some(&head("delete", "/y", "")));
    assert_eq!(elsewhere, "allowed");
}

#[test]
fn paths_with_two_readings_are_refused_where_a_path_is_guarded() {
    let ambiguous = [
        "/a%2Fb",
        "/a%2fb",
        "/a%5Cb",
        "/a%5cb",
        "/a//b",
        "//x",
        // Some servers take off what follows a semicolon, and resolve dots only then.
        "/x;a",
        "/x;a/b",
        "/public/..;/x",
        "/public/..;a=b/x",
        "/public/.;/x",
        "/;/x",
        "/x%3Ba",
        "/x%3ba",
        // A slash and dots in more bytes than UTF-8 has for them.
        "/a%c0%afb",
        "/public/%c0%ae%C0%AE/x",
        "/%C1%a1",
        "/a%e0%80%afb",
        "/a%F0%80%80%AFb",
    ];
    let guarded = |list: &str| match list {
        "allow" => allowing("a", vec![to(exact("/x")), anyone()]),
        _ => denying("a", vec![to(exact("/x"))]),
    };
    for path in ambiguous {
        let head = head("GET", path, "");
        for list in ["allow", "deny"] {
            let expected = format!("cannot-evaluate a spec.{list}[0]");
            assert_eq!(judged(&[guarded(list)], Some(&head)), expected, "{path}");
        }
        let elsewhere = Operation { ports: [port(81)].into(), ..exact("/x") };
        assert_eq!(judged(&[denying("a", vec![to(elsewhere)])], Some(&head)), "allowed");
        assert_eq!(judged(&[], Some(&head)), "allowed");
    }
    for path in ["/a%20b", "/a%252Fb", "/?a//b%2F;c", "/a%25", "/a%C3%A9", "/a%E0%A4%85"] {
        assert_eq!(judged(&[guarded("deny")], Some(&head("GET", path, ""))), "allowed", "{path}");
    }
}

#[test]
fn a_pattern_without_one_spelling_denies_and_allows_nothing() {
    let head = head("GET", "/a", "");
    let policies = [denying("a", vec![to(exact("/%2e%2e/a"))])];
    assert_eq!(judged(&policies, Some(&head)), "cannot-evaluate a spec.deny[0]");
    let policies = [allowing("a", vec![to(exact("/%2e%2e/a"))])];
    assert_eq!(judged(&policies, Some(&head)), "no-allow-rule");
}

#[test]
fn audit_rules_change_nothing_and_are_named() {
    let rules = vec![to(exact("/x")), from(Peer::default()), Rule { from: Some(vec![]), to: None }];
    let authorizer = authorizer(&[policy("a", None, vec![], rules)]);
    let audits = |attempt: &Attempt<'_>| -> Vec<String> {
        authorizer.audits(attempt).map(|told| told.field()).collect()
    };
    let peer = identity("mesh.test/ns/shop/sa/cart");
    let root = head("GET", "/", "");
    assert!(authorizer.judge(&by(Some(&peer), Some(&root))).is_allowed());
    assert_eq!(audits(&by(Some(&peer), Some(&root))), ["spec.audit[1]"]);
    assert_eq!(audits(&by(Some(&peer), None)), ["spec.audit[0]", "spec.audit[1]"]);
    let ambiguous = head("GET", "//", "");
    assert!(authorizer.judge(&by(Some(&peer), Some(&ambiguous))).is_allowed());
    assert_eq!(audits(&by(Some(&peer), Some(&ambiguous))), ["spec.audit[0]", "spec.audit[1]"]);
}

#[test]
fn http_is_needed_where_rules_about_requests_hold() {
    let at = |number: u16, operation: Operation| {
        to(Operation { ports: [port(number)].into(), ..operation })
    };
    let rules = vec![at(80, exact("/x")), at(82, Operation::default())];
    let audit = vec![at(83, header("x", None))];
    let policies = [policy("a", Some(vec![at(81, header("x", None))]), rules, audit)];
    let needed = [80, 81, 82, 83].map(|number| authorizer(&policies).is_http_needed(port(number)));
    assert_eq!(needed, [true, true, false, false]);
    assert!(authorizer(&[denying("a", vec![to(exact("/x"))])]).is_http_needed(port(9)));
}
