//! What decisions look like in words.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_http::{RequestHead, Version, request};
use weft_model::{
    AuthorizationPolicy, CallMatch, ExactValue, HttpPath, Parent, PathMatch, Policy, Route,
    RouteMatch, RouteParent, RouteRule, Rule, SpiffeId, Timeouts, UnguardedPolicy, Weight,
    WeightedBackend,
};

use super::*;
use crate::authorize::{Attempt, Authorizer};
use crate::balance::Load;
use crate::route;

fn service() -> ObjectName {
    "shop/cart".parse().unwrap()
}

fn parent() -> Parent {
    Parent::Service(service())
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn head(path: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let wire = format!("GET {path} HTTP/1.1\r\nHost: cart\r\n\r\n");
    request::parse(wire.as_bytes(), &mut head).unwrap().expect("complete");
    head
}

fn to(name: &str, weight: u32) -> WeightedBackend {
    let backend = Backend::Service { name: name.parse().unwrap(), port: port(80) };
    WeightedBackend { backend, weight: Weight::new(weight).unwrap(), filters: vec![] }
}

fn nowhere(reason: &str) -> WeightedBackend {
    let backend = Backend::Missing { reason: reason.to_owned() };
    WeightedBackend { backend, weight: Weight::new(1).unwrap(), filters: vec![] }
}

fn rule(name: Option<&str>, paths: &[&str], backends: Vec<WeightedBackend>) -> RouteRule {
    let wanted = |path: &&str| RouteMatch {
        path: PathMatch::Exact(HttpPath::new(path).unwrap()),
        headers: vec![],
        query: vec![],
        method: None,
    };
    let (name, timeouts) = (name.map(str::to_owned), Timeouts::default());
    let (matches, filters) = (paths.iter().map(wanted).collect(), vec![]);
    RouteRule { name, matches, filters, backends, timeouts, retry: None, faults: vec![] }
}

fn table(rules: Vec<RouteRule>) -> RouteTable {
    let route = Route {
        name: "http/shop/web".parse().unwrap(),
        created: 0,
        parents: BTreeSet::from([RouteParent { parent: parent(), port: None }]),
        hostnames: BTreeSet::new(),
        rules,
    };
    RouteTable::new(&[Arc::new(route)], &parent(), port(80), None).unwrap()
}

/// Route and destination of a request for `path`, as text.
fn explained(table: &RouteTable, path: &str) -> String {
    let matched = table.select_match(&head(path));
    let step = route(&parent(), port(80), table, matched.as_ref());
    let Some(Matched { selected, .. }) = matched else { return step.to_string() };
    let to = route::destination(selected.rule, 0.5);
    format!("{step}\n{}", destination(&selected, &to))
}

#[test]
fn a_route_is_told_by_rule_and_match() {
    let table = table(vec![
        rule(None, &["/a"], vec![]),
        rule(Some("carts"), &["/c", "/b"], vec![to("shop/old", 10), to("shop/new", 90)]),
        rule(None, &["/d"], vec![to("shop/old", 0)]),
        rule(None, &["/e"], vec![nowhere("Service shop/gone is not there")]),
    ]);
    let lines = |path: &str| -> Vec<String> {
        explained(&table, path).lines().map(str::to_owned).collect()
    };
    assert_eq!(
        lines("/b"),
        [
            "route: rule 1 `carts` of http/shop/web",
            "  HTTPRoute shop/web, spec.rules[1].matches[1]",
            "destination: to shop/new, port 80",
            "  HTTPRoute shop/web, spec.rules[1].backendRefs[1]: a share of 90 in 100",
        ]
    );
    assert_eq!(
        lines("/a")[2..],
        [
            "destination: refused (no-backend): the rule names no backend",
            "  HTTPRoute shop/web, spec.rules[0].backendRefs",
        ]
    );
    assert_eq!(lines("/d")[2], "destination: refused (no-weight): all weights of the rule are 0");
    assert_eq!(
        lines("/e")[2..],
        [
            "destination: refused (no-backend): Service shop/gone is not there",
            "  HTTPRoute shop/web, spec.rules[3].backendRefs[0]: a share of 1 in 1",
        ]
    );
    assert_eq!(
        lines("/x"),
        [
            "route: refused (no-route): no rule of the routes of shop/cart, port 80, matches",
            "  Service shop/cart: routes are for it",
        ]
    );
}

#[test]
fn what_did_not_decide_is_told_by_its_first_condition() {
    use weft_model::{ExactValue, HeaderMatch, HeaderName, Method, QueryMatch, RegexText};
    let exact = |text: &str| ValueMatch::Exact(ExactValue::new(text).unwrap());
    let regex = |text: &str| ValueMatch::Regex(RegexText::new(text).unwrap());
    let header = |value| HeaderMatch { name: HeaderName::new("host").unwrap(), value };
    let missing = HeaderMatch { name: HeaderName::new("x-a").unwrap(), value: exact("1") };
    let prefix = |path: &str| RouteMatch {
        path: PathMatch::Prefix(HttpPath::new(path).unwrap()),
        headers: vec![],
        query: vec![],
        method: None,
    };
    let post = Some(Method::new("POST").unwrap());
    let query = vec![QueryMatch::new("page", exact("2")).unwrap()];
    let mut rule = rule(None, &["/a"], vec![]);
    rule.matches.extend([
        prefix("/b"),
        RouteMatch { path: PathMatch::Regex(RegexText::new("/[0-9]").unwrap()), ..prefix("/") },
        RouteMatch { method: post, ..prefix("/items") },
        RouteMatch { headers: vec![header(exact("pay"))], ..prefix("/items") },
        RouteMatch { headers: vec![header(regex("p.*")), missing.clone()], ..prefix("/items") },
        RouteMatch { headers: vec![missing], ..prefix("/items") },
        RouteMatch { query, ..prefix("/items") },
        prefix("/"),
    ]);
    let (table, head) = (table(vec![rule]), head("/items?page=1"));
    let mut lines: Vec<_> =
        table.consider(&head).map(|one| considered(&head, &one).to_string()).collect();
    lines.sort();
    let expected = [
        "0].path: the path `/items` is not `/a`",
        "1].path: the path `/items` is neither `/b` nor below it",
        "2].path: the path `/items` does not match `/[0-9]`",
        "3].method: the method GET is not POST",
        "4].headers[0]: the header `host` is `cart`, not `pay`",
        "5].headers[0]: the header `host`, `cart`, does not match `p.*`",
        "6].headers[0]: there is no header `x-a`",
        "7].queryParams[0]: the parameter `page` is `1`, not `2`",
        "8]: matches too, and comes later",
    ];
    let expected = expected.map(|text| format!("HTTPRoute shop/web, spec.rules[0].matches[{text}"));
    assert_eq!(lines, expected);
}

#[test]
fn of_a_call_service_and_method_are_told() {
    let name = |text: &str| Some(ValueMatch::Exact(ExactValue::new(text).unwrap()));
    let path = PathMatch::Call(CallMatch { service: name("lab.Carts"), method: name("Get") });
    let mut rule = rule(None, &["/"], vec![]);
    rule.matches[0].path = path;
    let table = table(vec![rule]);
    let told = |path: &str| {
        let mut head = RequestHead::default();
        let fields = "Host: cart\r\nContent-Type: application/grpc";
        let wire = format!("POST {path} HTTP/1.1\r\n{fields}\r\n\r\n");
        request::parse(wire.as_bytes(), &mut head).unwrap().expect("complete");
        head.version = Version::Http2;
        table.consider(&head).map(|one| considered(&head, &one).to_string()).next().unwrap()
    };
    let of_match = "HTTPRoute shop/web, spec.rules[0].matches[0]";
    let service = format!("{of_match}.method.service: the service `lab.Cart` is not `lab.Carts`");
    assert_eq!(told("/lab.Cart/Get"), service);
    let method = format!("{of_match}.method.method: the method `Put` is not `Get`");
    assert_eq!(told("/lab.Carts/Put"), method);
    let plain = head("/lab.Carts/Get");
    let other = table.consider(&plain).map(|one| considered(&plain, &one).to_string()).next();
    assert_eq!(other.unwrap(), format!("{of_match}: it is no call of gRPC"));
}

#[test]
fn without_a_route_a_request_goes_to_the_service() {
    let empty = RouteTable::new(&[], &parent(), port(80), None).unwrap();
    assert_eq!(
        explained(&empty, "/"),
        "route: to shop/cart itself\n  Service shop/cart: no route is for its port 80"
    );
}

fn judged(allow: Option<Vec<Rule>>, deny: Vec<Rule>, peer: Option<&str>) -> String {
    let anyone = Rule { from: None, to: None };
    let name = "shop/guard".parse().unwrap();
    let mode = weft_model::PolicyMode::Enforce;
    let policy = AuthorizationPolicy { name, mode, allow, deny, audit: vec![anyone] };
    let policy = Arc::new(Policy::Authorization(policy));
    let own = "mesh.test".parse().unwrap();
    let authorizer = Authorizer::new([policy], UnguardedPolicy::AllowMesh, own);
    let peer: Option<SpiffeId> = peer.map(|peer| peer.parse().unwrap());
    let address = "10.0.0.1".parse().unwrap();
    let attempt = Attempt { peer: peer.as_ref(), address, port: port(80), http: None };
    let audits: Vec<_> = authorizer.audits(&attempt).collect();
    authorization(&authorizer.judge(&attempt), &audits).to_string()
}

#[test]
fn authorization_is_told_by_the_rule_that_decided() {
    let anyone = || Rule { from: None, to: None };
    let nobody = || Rule { from: Some(vec![]), to: None };
    let audit =
        "\n  AuthorizationPolicy shop/guard, spec.audit[0]: would refuse it, and only records";
    assert_eq!(
        judged(Some(vec![nobody(), anyone()]), vec![], None),
        format!(
            "authorization: a rule allows it\n  \
             AuthorizationPolicy shop/guard, spec.allow[1]{audit}"
        )
    );
    assert_eq!(
        judged(None, vec![anyone()], None),
        format!(
            "authorization: refused (deny-rule): a rule denies it\n  \
             AuthorizationPolicy shop/guard, spec.deny[0]{audit}"
        )
    );
    assert_eq!(
        judged(None, vec![], None),
        format!(
            "authorization: refused (no-identity): the caller has no identity of the mesh{audit}"
        )
    );
    let cart = Some("spiffe://mesh.test/ns/shop/sa/cart");
    let passed = judged(None, vec![], cart);
    assert!(passed.starts_with("authorization: no policy allows anything, and any"), "{passed}");
}

#[test]
fn an_endpoint_is_told_with_the_one_it_was_preferred_to() {
    let name = |index| format!("10.0.0.{index}:80");
    let picked = |over| Picked { index: 1, load: Load(0.0125), over };
    assert_eq!(
        endpoint(&service(), Some(&picked(Some((2, Load(0.5))))), name).to_string(),
        "endpoint: 10.0.0.1:80\n  \
         Service shop/cart: a load of 12.500 ms, 10.0.0.2:80 has 500.000 ms"
    );
    assert_eq!(
        endpoint(&service(), Some(&picked(None)), name).to_string(),
        "endpoint: 10.0.0.1:80\n  Service shop/cart: it is the only one that may be called"
    );
    assert_eq!(
        endpoint(&service(), None, name).to_string(),
        "endpoint: refused (no-endpoint): shop/cart has no endpoint to call\n  Service shop/cart"
    );
    assert_eq!(
        endpoint_in_turn(&service(), Some(2), name).to_string(),
        "endpoint: 10.0.0.2:80\n  Service shop/cart: it was its turn"
    );
    let none = endpoint_in_turn(&service(), None, name);
    assert_eq!(none, endpoint(&service(), None, name));
    let step = locality(&service(), Reach::Zone);
    assert!(step.to_string().starts_with("locality: endpoints of the same zone\n  Service"));
}
