//! Routes against requests, and shares against draws.

use std::collections::BTreeSet;

use proptest::prelude::*;
use weft_http::{GrammarError, Version, request};
use weft_model::{
    Backend, CallMatch, ExactValue, HeaderMatch, HeaderName, HttpPath, Method, ObjectName,
    PathMatch, QueryMatch, RegexText, RouteName, RouteParent, Timeouts, ValueMatch, Weight,
    WeightedBackend,
};

use super::*;

fn service() -> ObjectName {
    "shop/cart".parse().unwrap()
}

fn parent() -> Parent {
    Parent::Service(service())
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn anything() -> RouteMatch {
    let path = PathMatch::Prefix(HttpPath::new("/").unwrap());
    RouteMatch { path, headers: vec![], query: vec![], method: None }
}

fn prefix(text: &str) -> RouteMatch {
    RouteMatch { path: PathMatch::Prefix(HttpPath::new(text).unwrap()), ..anything() }
}

fn exact(text: &str) -> RouteMatch {
    RouteMatch { path: PathMatch::Exact(HttpPath::new(text).unwrap()), ..anything() }
}

fn regex(text: &str) -> RouteMatch {
    RouteMatch { path: PathMatch::Regex(RegexText::new(text).unwrap()), ..anything() }
}

fn header(name: &str, value: &str) -> HeaderMatch {
    let value = ValueMatch::Exact(ExactValue::new(value).unwrap());
    HeaderMatch { name: HeaderName::new(name).unwrap(), value }
}

fn query(name: &str, value: &str) -> QueryMatch {
    QueryMatch::new(name, ValueMatch::Exact(ExactValue::new(value).unwrap())).unwrap()
}

fn rule(matches: Vec<RouteMatch>) -> RouteRule {
    let (filters, backends) = (vec![], vec![]);
    let timeouts = Timeouts::default();
    RouteRule { name: None, matches, filters, backends, timeouts, retry: None, faults: vec![] }
}

fn route(name: &str, created: i64, rules: Vec<RouteRule>) -> Arc<Route> {
    Arc::new(Route {
        name: format!("http/shop/{name}").parse::<RouteName>().unwrap(),
        created,
        parents: BTreeSet::from([RouteParent { parent: parent(), port: None }]),
        hostnames: BTreeSet::new(),
        rules,
    })
}

fn head(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let (line, fields) = text.split_once('\n').unwrap_or((text, ""));
    let fields = fields.replace('\n', "\r\n");
    let wire = format!("{line} HTTP/1.1\r\nHost: cart\r\n{fields}\r\n\r\n");
    let wire = wire.replace("\r\n\r\n\r\n", "\r\n\r\n");
    let parsed: Result<_, GrammarError> = request::parse(wire.as_bytes(), &mut head);
    parsed.unwrap().expect("complete");
    head
}

/// Route and rule that the request falls under, as in `a/1`.
fn selected(table: &RouteTable, text: &str) -> Option<String> {
    let head = head(text);
    let selected = table.select(&head)?;
    Some(format!("{}/{}", selected.route.name.object.name(), selected.rule_index))
}

fn table(routes: &[Arc<Route>]) -> RouteTable {
    RouteTable::new(routes, &parent(), port(80), None).unwrap()
}

#[test]
fn prefixes_are_whole_segments() {
    let table =
        table(&[route("a", 0, vec![rule(vec![prefix("/v2")]), rule(vec![prefix("/v3/")])])]);
    for (request, expected) in [
        ("GET /v2", Some("a/0")),
        ("GET /v2/", Some("a/0")),
        ("GET /v2/x?y", Some("a/0")),
        ("GET /v2?y", Some("a/0")),
        ("GET /v2x", None),
        ("GET /V2", None),
        ("GET /v3", Some("a/1")),
        ("GET /v3/x", Some("a/1")),
        ("GET /", None),
    ] {
        assert_eq!(selected(&table, request).as_deref(), expected, "{request}");
    }
}

#[test]
fn paths_of_routes_have_the_spelling_of_requests() {
    let rules = [prefix("/%61"), exact("/b%c3%a9"), exact("/%7Ec")];
    let table = table(&[route("a", 0, rules.map(|one| rule(vec![one])).into())]);
    for (path, expected) in [("/a/x", "a/0"), ("/b%C3%A9", "a/1"), ("/~c", "a/2")] {
        assert_eq!(selected(&table, &format!("GET {path}")).as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn the_header_host_is_the_authority_whatever_brought_it() {
    use weft_http::http2::{Pseudo, read_request};
    let value = ValueMatch::Regex(RegexText::new("b[0-9]").unwrap());
    let wanted = HeaderMatch { name: HeaderName::new("host").unwrap(), value };
    let matches = [header("host", "a.shop"), wanted];
    let rules = matches.map(|one| rule(vec![RouteMatch { headers: vec![one], ..anything() }]));
    let table = table(&[route("a", 0, rules.into())]);
    for (authority, expected) in [
        ("a.shop", Some(0)),
        ("A.Shop", Some(0)),
        ("b1", Some(1)),
        ("c", None),
        ("a.shop:80", None),
    ] {
        let mut head = RequestHead::default();
        let pseudo =
            Pseudo { method: "GET", scheme: Some("http"), authority: Some(authority), path: "/" };
        read_request(&pseudo, std::iter::empty(), true, &mut head).unwrap();
        assert_eq!(table.select(&head).map(|found| found.rule_index), expected, "{authority}");
        let wire = format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        request::parse(wire.as_bytes(), &mut head).unwrap().expect("complete");
        assert_eq!(table.select(&head).map(|found| found.rule_index), expected, "{authority}");
    }
}

#[test]
fn what_says_more_comes_first_whatever_the_order() {
    let method =
        |wanted: RouteMatch| RouteMatch { method: Some(Method::new("POST").unwrap()), ..wanted };
    let with_headers = |headers| RouteMatch { headers, ..prefix("/a") };
    let rules = [
        prefix("/"),
        RouteMatch { query: vec![query("q", "1")], ..prefix("/a") },
        with_headers(vec![header("x", "1")]),
        with_headers(vec![header("x", "1"), header("y", "2")]),
        method(prefix("/a")),
        prefix("/a/b"),
        regex("/a/b/c.*"),
        exact("/a/b/c"),
        prefix("/a"),
    ];
    for start in 0..rules.len() {
        let mut order: Vec<_> = (0..rules.len()).collect();
        order.rotate_left(start);
        let written = order.iter().map(|&index| rule(vec![rules[index].clone()])).collect();
        let table = table(&[route("a", 0, written)]);
        for (request, expected) in [
            ("GET /z", 0),
            ("GET /a?q=1", 1),
            ("GET /a?q=1\nX: 1", 2),
            ("GET /a?q=1\nX: 1\ny: 2", 3),
            ("POST /a?q=1\nX: 1\ny: 2", 4),
            ("POST /a/b", 5),
            ("POST /a/b/cd", 6),
            ("POST /a/b/c", 7),
            ("GET /a/x", 8),
        ] {
            let place = order.iter().position(|&index| index == expected).unwrap();
            assert_eq!(
                selected(&table, request),
                Some(format!("a/{place}")),
                "{request}, {order:?}"
            );
        }
    }
}

#[test]
fn of_equals_the_older_route_wins_then_the_name_then_the_order() {
    let both = || vec![rule(vec![anything()]), rule(vec![anything()])];
    let routes = [route("b", 5, both()), route("a", 5, both()), route("c", 3, both())];
    assert_eq!(selected(&table(&routes), "GET /").as_deref(), Some("c/0"));
    assert_eq!(selected(&table(&routes[..2]), "GET /").as_deref(), Some("a/0"));
}

#[test]
fn headers_and_parameters_are_compared_as_they_are_read() {
    let wanted = RouteMatch {
        headers: vec![header("x-many", "1, 2")],
        query: vec![query("q", "a=b")],
        ..anything()
    };
    let table = table(&[route("a", 0, vec![rule(vec![wanted])])]);
    assert!(selected(&table, "GET /?p=0&q=a=b&q=c\nx-many: 1\nX-MANY: 2").is_some());
    assert!(selected(&table, "GET /?q=a=b\nx-many: 1").is_none());
    assert!(selected(&table, "GET /?Q=a=b\nx-many: 1, 2").is_none());
    assert!(selected(&table, "GET /?q=c&q=a=b\nx-many: 1, 2").is_none(), "the first one counts");
}

#[test]
fn expressions_match_from_end_to_end_and_are_limited() {
    let table = table(&[route("a", 0, vec![rule(vec![regex("/a|/b")])])]);
    assert!(selected(&table, "GET /b").is_some());
    assert!(selected(&table, "GET /bc").is_none());
    assert!(selected(&table, "GET /x/a").is_none());
    // As in RE2, classes are of ASCII, and so take little room.
    let ids = self::table(&[route("a", 0, vec![rule(vec![regex(r"/users/[\w.-]{1,253}")])])]);
    assert!(selected(&ids, "GET /users/a.b-c_9").is_some());
    assert!(selected(&ids, "GET /users/%C3%A9").is_none());
    let huge = route("a", 0, vec![rule(vec![regex("/(?:a{1000}){1000}")])]);
    let error = RouteTable::new([&huge], &parent(), port(80), None).unwrap_err();
    assert!(error.to_string().starts_with("http/shop/a: the regular expression `/(?:a"), "{error}");
}

/// Two ways to write a path are one path, and as long as each other.
#[test]
fn what_is_compared_decides_which_path_says_more() {
    let prefix =
        |text| RouteMatch { path: PathMatch::Prefix(HttpPath::new(text).unwrap()), ..anything() };
    let (short, long) = (rule(vec![prefix("/%66%6F")]), rule(vec![prefix("/fo/a")]));
    let table = table(&[route("short", 0, vec![short]), route("long", 1, vec![long])]);
    assert_eq!(selected(&table, "GET /fo/a/b").as_deref(), Some("long/0"));
    assert_eq!(selected(&table, "GET /fo/b").as_deref(), Some("short/0"));
}

#[test]
fn no_route_is_not_the_same_as_no_rule() {
    let bound = |number| {
        let mut route = (*route("a", 0, vec![rule(vec![exact("/a")])])).clone();
        route.parents =
            BTreeSet::from([RouteParent { parent: parent(), port: Some(port(number)) }]);
        Arc::new(route)
    };
    assert!(table(&[bound(81)]).is_empty());
    let ours = table(&[bound(80)]);
    assert!(!ours.is_empty() && selected(&ours, "GET /b").is_none());
}

/// A match on calls: service and method, `*` for any, an expression where it begins with `~`.
fn call(service: &str, method: &str) -> RouteMatch {
    let name = |text: &str| match text.strip_prefix('~') {
        Some(regex) => Some(ValueMatch::Regex(RegexText::new(regex).unwrap())),
        None if text == "*" => None,
        None => Some(ValueMatch::Exact(ExactValue::new(text).unwrap())),
    };
    let path = PathMatch::Call(CallMatch { service: name(service), method: name(method) });
    RouteMatch { path, ..anything() }
}

fn call_route(name: &str, created: i64, rules: Vec<RouteRule>) -> Arc<Route> {
    let name = format!("grpc/shop/{name}").parse().unwrap();
    Arc::new(Route { name, ..Route::clone(&route("it", created, rules)) })
}

/// The head of a call of `path`, with further fields.
fn called(path: &str, fields: &str) -> RequestHead {
    let mut head = head(&format!("POST {path}\nContent-Type: application/grpc{fields}"));
    head.version = Version::Http2;
    head
}

fn rule_of_call(table: &RouteTable, path: &str, fields: &str) -> Option<String> {
    let head = called(path, fields);
    let selected = table.select(&head)?;
    Some(format!("{}/{}", selected.route.name.object.name(), selected.rule_index))
}

#[test]
fn of_calls_the_service_comes_before_the_method_whatever_the_order() {
    let with = |one: RouteMatch, headers: &[&str]| {
        let headers = headers.iter().map(|name| header(name, "1")).collect();
        RouteMatch { headers, ..one }
    };
    // In the order of precedence; a fast call has both headers and both names.
    let ordered = [
        with(call("lab.Carts", "Get"), &["a", "b"]),
        call("lab.Carts", "Get"),
        call("lab.Carts", "~G..?"),
        with(call("lab.Carts", "*"), &["a", "b"]),
        with(call("lab.Carts", "*"), &["a"]),
        call("~lab[.]C.*", "Get"),
        call("~lab[.].*", "~Ge."),
        call("~lab[.].*", "~.*"),
        call("*", "Get"),
        call("*", "~Get"),
        with(call("*", "*"), &["a"]),
        call("*", "*"),
    ];
    for first in 0..ordered.len() {
        for turned in [false, true] {
            let mut rules: Vec<_> = ordered[first..].iter().map(|one| vec![one.clone()]).collect();
            if turned {
                rules.reverse();
            }
            let last = rules.len() - 1;
            let table = table(&[call_route("a", 1, rules.into_iter().map(rule).collect())]);
            let expected = format!("a/{}", if turned { last } else { 0 });
            let found = rule_of_call(&table, "/lab.Carts/Get", "\na: 1\nb: 1");
            assert_eq!(found, Some(expected), "{:?}", ordered[first]);
        }
    }
}

#[test]
fn what_is_no_call_meets_no_condition_on_calls() {
    let all = table(&[call_route("a", 1, vec![rule(vec![call("*", "*")])])]);
    assert_eq!(rule_of_call(&all, "/lab.Carts/Get", "").as_deref(), Some("a/0"));
    assert_eq!(rule_of_call(&all, "/Get", ""), None);
    assert_eq!(selected(&all, "POST /lab.Carts/Get\nContent-Type: application/grpc"), None);
    let unmet = |head: &RequestHead| all.consider(head).next().unwrap().unmet;
    assert_eq!(unmet(&called("/lab.Carts/Get", "")), None);
    let mut got = head("GET /lab.Carts/Get\nContent-Type: application/grpc");
    got.version = Version::Http2;
    assert_eq!(unmet(&got), Some(Condition::Call));
    let carts = call("lab.Carts", "Get");
    let table = table(&[call_route("a", 1, vec![rule(vec![carts])])]);
    for (path, unmet) in [
        ("/lab.Cart/Get", Some(Condition::CallService)),
        ("/lab.Carts/Ge", Some(Condition::CallMethod)),
        ("/lab.Carts/Get", None),
    ] {
        let head = called(path, "");
        assert_eq!(table.consider(&head).next().unwrap().unmet, unmet, "{path}");
    }
}

#[test]
fn of_several_kinds_of_routes_the_first_holds_alone() {
    let http = route("http", 1, vec![rule(vec![anything()])]);
    let grpc = call_route("grpc", 2, vec![rule(vec![call("lab.Carts", "*")])]);
    let both = table(&[http.clone(), grpc.clone()]);
    assert_eq!(rule_of_call(&both, "/lab.Carts/Get", "").as_deref(), Some("grpc/0"));
    assert_eq!(rule_of_call(&both, "/lab.Others/Get", ""), None);
    assert!(both.has(&grpc.name) && !both.has(&http.name));
    assert_eq!(both.spoken(Protocol::Detect), Protocol::Grpc);
    assert_eq!(table(&[http]).spoken(Protocol::Detect), Protocol::Http);
    assert_eq!(both.spoken(Protocol::Http2), Protocol::Http2);
}

#[test]
fn routes_of_the_callers_namespace_replace_those_of_the_service() {
    let of = |name: &str| {
        let name: RouteName = name.parse().unwrap();
        let rules = vec![rule(vec![anything()])];
        Arc::new(Route { name, ..Route::clone(&route("it", 1, rules)) })
    };
    let producers = [of("http/shop/one"), of("http/shop/two")];
    let consumer = of("http/other/one");
    let stranger = of("http/third/one");
    let all = [&producers[0], &producers[1], &consumer, &stranger];
    let table = |caller: &str| {
        let caller = Namespace::new(caller).unwrap();
        RouteTable::new(all, &parent(), port(80), Some(&caller)).unwrap()
    };
    let holding = |table: &RouteTable| {
        let names = all.into_iter().map(|route| &route.name);
        names.filter(|name| table.has(name)).map(ToString::to_string).collect::<Vec<_>>()
    };
    let (shop, other, nobodys) = (table("shop"), table("other"), table("fourth"));
    assert_eq!(holding(&shop), ["http/shop/one", "http/shop/two"]);
    assert_eq!(holding(&nobodys), ["http/shop/one", "http/shop/two"]);
    assert_eq!(holding(&other), ["http/other/one"]);
    assert_eq!(other.passed_over().replaced.len(), 2);
    assert!(shop.passed_over().replaced.is_empty());

    // Also by a kind that says less, and one without a rule.
    let mut grpc = Route::clone(&call_route("grpc", 1, vec![rule(vec![call("*", "*")])]));
    let caller = Namespace::new("other").unwrap();
    let table = |grpc: Route| {
        RouteTable::new([&Arc::new(grpc), &consumer], &parent(), port(80), Some(&caller)).unwrap()
    };
    assert_eq!(table(grpc.clone()).spoken(Protocol::Detect), Protocol::Http);
    grpc.name = "grpc/other/grpc".parse().unwrap();
    grpc.rules.clear();
    let both = table(grpc);
    assert_eq!(both.spoken(Protocol::Detect), Protocol::Grpc);
    assert_eq!(both.passed_over().of_other_kinds, std::slice::from_ref(&consumer.name));
    assert_eq!(selected(&both, "GET /"), None);
}

fn weighted(weights: &[u32]) -> RouteRule {
    let backends = weights.iter().zip(1..).map(|(&weight, number)| WeightedBackend {
        backend: Backend::Service { name: service(), port: port(number) },
        weight: Weight::new(weight).unwrap(),
        filters: vec![],
    });
    RouteRule { backends: backends.collect(), ..rule(vec![]) }
}

/// How many of 10,000 evenly spread draws each backend gets.
fn shares(weights: &[u32]) -> Vec<usize> {
    let rule = weighted(weights);
    let mut shares = vec![0; weights.len()];
    for draw in 0..10_000 {
        let Destination::Backend(WeightedBackend {
            backend: Backend::Service { port, .. }, ..
        }) = destination(&rule, f64::from(draw) / 10_000.0)
        else {
            panic!("no backend for {draw}");
        };
        shares[usize::from(port.get()) - 1] += 1;
    }
    shares
}

#[test]
fn each_backend_gets_its_share() {
    assert_eq!(shares(&[95, 5]), [9_500, 500]);
    assert_eq!(shares(&[1, 0, 1, 2]), [2_500, 0, 2_500, 5_000]);
    assert_eq!(shares(&[0, 0, 7]), [0, 0, 10_000]);
    assert_eq!(shares(&[1_000_000, 1_000_000]), [5_000, 5_000]);
    assert_eq!(destination(&weighted(&[0, 0]), 0.5), Destination::NoWeight);
    assert_eq!(destination(&weighted(&[]), 0.5), Destination::NoBackend);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_weights_each_backend_gets_its_share(
        weights in prop::collection::vec(prop_oneof![Just(0), 1..5u32, 0..=1_000_000u32], 1..9),
    ) {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        prop_assume!(total > 0);
        for (found, weight) in shares(&weights).into_iter().zip(&weights) {
            // Of so many even draws no more than one is on the wrong side of a border.
            let wanted = u64::from(*weight) * 10_000 / total;
            prop_assert!(found.abs_diff(usize::try_from(wanted).unwrap()) <= 1, "{weights:?}");
            prop_assert!(*weight > 0 || found == 0, "{weights:?}");
        }
    }
}

#[test]
fn what_is_drawn_is_one_of_all_that_may_be() {
    for weights in [&[3, 0, 1][..], &[0, 0], &[], &[7]] {
        let rule = weighted(weights);
        let all = destinations(&rule);
        let drawn = |draw: u32| destination(&rule, f64::from(draw) / 100.0);
        assert!((0..100).all(|draw| all.iter().any(|(one, _)| *one == drawn(draw))));
        assert!(all.iter().all(|(one, _)| (0..100).any(|draw| *one == drawn(draw))));
    }
    let rule = weighted(&[3, 0, 1]);
    let shares: Vec<_> = destinations(&rule).into_iter().map(|(_, share)| share).collect();
    assert_eq!(shares, [3, 1]);
}

#[test]
fn the_first_condition_that_is_not_met_is_told_in_the_order_of_precedence() {
    let wanted = RouteMatch {
        headers: vec![header("x-a", "1"), header("x-b", "2")],
        query: vec![query("page", "2")],
        method: Some(Method::new("POST").unwrap()),
        ..prefix("/items")
    };
    let route = route("a", 0, vec![rule(vec![anything(), wanted])]);
    let table = table(&[route]);
    let first = |text: &str| {
        let head = head(text);
        let considered: Vec<_> = table.consider(&head).collect();
        assert_eq!((considered[0].match_index, considered[1].match_index), (1, 0));
        let matched = table.select_match(&head).unwrap();
        let met = considered.iter().find(|one| one.unmet.is_none()).unwrap();
        assert_eq!(met.match_index, matched.match_index);
        considered[0].unmet
    };
    assert_eq!(first("POST /other"), Some(Condition::Path));
    assert_eq!(first("GET /items"), Some(Condition::Method));
    assert_eq!(first("POST /items\nX-B: 2"), Some(Condition::Header(0)));
    assert_eq!(first("POST /items\nX-A: 1\nX-B: 3"), Some(Condition::Header(1)));
    assert_eq!(first("POST /items?page=1\nX-A: 1\nX-B: 2"), Some(Condition::Query(0)));
    assert_eq!(first("POST /items?page=2\nX-A: 1\nX-B: 2"), None);
}
