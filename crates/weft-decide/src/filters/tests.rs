//! Filters against heads.

use proptest::prelude::*;
use weft_http::request;
use weft_model::{
    AllowedNames, AllowedOrigin, Backend, ExactValue, HeaderEdits, HeaderName, HttpPath, Method,
    PathMatch, PathRewrite, PreciseHost, Redirect, RedirectStatus, RouteMatch, Scheme, Timeouts,
    UrlRewrite, Weight,
};

use super::*;
use crate::normalize;

fn head(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let wire = format!("{}\r\n\r\n", text.replace('\n', "\r\n"));
    request::parse(wire.as_bytes(), &mut head).unwrap().expect("complete");
    normalize::target(&mut head).unwrap();
    head
}

fn facts(port: u16, prefix: &str) -> Facts<'_> {
    Facts { port: Port::new(port).unwrap(), prefix: prefix.trim_end_matches('/') }
}

fn path(text: &str) -> HttpPath {
    HttpPath::new(text).unwrap()
}

fn name(text: &str) -> HeaderName {
    HeaderName::new(text).unwrap()
}

fn edits(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderEdits {
    let fields = |list: &[(&str, &str)]| {
        let field = |&(key, value): &(&str, &str)| (name(key), ExactValue::new(value).unwrap());
        list.iter().map(field).collect()
    };
    let remove = remove.iter().map(|text| name(text)).collect();
    HeaderEdits::new(fields(set), fields(add), remove).unwrap()
}

fn written(fields: &Fields) -> String {
    let mut out = Vec::new();
    fields.write(&mut out);
    String::from_utf8(out).unwrap().replace("\r\n", "\n")
}

#[test]
fn fields_are_set_added_and_removed_whatever_their_case() {
    let mut head = head(
        "GET / HTTP/1.1\nHost: a\nX-Set: 1\nx-set: 2\nX-Add: a\nX-Gone: 1\n\
                         Cookie: a=1",
    );
    let edits = edits(
        &[("x-set", "3"), ("x-new", "4")],
        &[("x-add", "b,c"), ("x-more", "5"), ("cookie", "b=2"), ("set-cookie", "c=3")],
        &["x-gone", "x-never"],
    );
    headers::edit(&edits, &mut head.fields);
    assert_eq!(
        written(&head.fields),
        "Host: a\nX-Set: 3\nX-Add: a,b,c\nCookie: a=1; b=2\nx-new: 4\nx-more: 5\nset-cookie: c=3\n"
    );
    let mut answer = Fields::default();
    answer.append("Set-Cookie", b"a=1");
    headers::edit(&self::edits(&[], &[("set-cookie", "b=2")], &[]), &mut answer);
    assert_eq!(written(&answer), "Set-Cookie: a=1\nset-cookie: b=2\n");
}

#[test]
fn prefixes_are_replaced_as_the_table_of_the_standard_has_it() {
    for (request, prefix, replacement, expected) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        // The empty replacement is the path `/` here.
        ("/foo/bar", "/foo", "/", "/bar"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        // Beyond the table.
        ("/", "/", "/xyz", "/xyz/"),
        ("/a/b", "/", "/xyz", "/xyz/a/b"),
        ("/%66oo/b%2fc", "/foo", "/x%7ez", "/x~z/b%2Fc"),
        ("/other", "/foo", "/xyz", "/xyz/other"),
        ("/foobar", "/foo", "/xyz", "/xyz/foobar"),
    ] {
        let rewrite =
            UrlRewrite { hostname: None, path: Some(PathRewrite::Prefix(path(replacement))) };
        let mut head = head(&format!("GET {request}?q=/foo HTTP/1.1\nHost: a"));
        rewrite::apply(&rewrite, &facts(80, prefix), &mut head);
        let what = format!("{request} {prefix} {replacement}");
        assert_eq!(head.target(), format!("{expected}?q=/foo"), "{what}");
    }
}

#[test]
fn a_rewrite_changes_host_and_path_and_nothing_else() {
    let hostname = Some(PreciseHost::new("other.example").unwrap());
    let rewrite =
        UrlRewrite { hostname: hostname.clone(), path: Some(PathRewrite::Full(path("/full"))) };
    let mut changed = head("GET /a/b?c=1 HTTP/1.1\nHost: cart:8080\nX: 1");
    rewrite::apply(&rewrite, &facts(8080, ""), &mut changed);
    assert_eq!((changed.authority(), changed.target()), ("other.example", "/full?c=1"));
    assert_eq!(written(&changed.fields), "Host: other.example\nX: 1\n");
    let mut asterisk = head("OPTIONS * HTTP/1.1\nHost: cart");
    let rewrite = UrlRewrite { hostname: None, path: Some(PathRewrite::Prefix(path("/x"))) };
    rewrite::apply(&rewrite, &facts(80, ""), &mut asterisk);
    assert_eq!((asterisk.authority(), asterisk.target()), ("cart", "*"));
}

/// Where a request for `target` at `host`, a port of a Service, is sent.
fn sent_to(redirect: &Redirect, (host, port): (&str, u16), target: &str) -> String {
    let head = head(&format!("GET {target} HTTP/1.1\nHost: {host}"));
    let filters = [Filter::Redirect(redirect.clone())];
    let given = answer(&filters, &facts(port, "/foo"), &head).unwrap();
    assert_eq!((given.status, given.reason), (redirect.status.get(), "redirect"));
    String::from_utf8(given.head(None).fields.get("location").unwrap().to_vec()).unwrap()
}

#[test]
fn a_redirect_names_the_port_that_it_must() {
    let of = |scheme: Option<Scheme>, port: Option<u16>| Redirect {
        scheme,
        port: port.map(|port| Port::new(port).unwrap()),
        ..Redirect::default()
    };
    for (redirect, called, expected) in [
        (of(None, None), 80, "http://cart/a?b=1"),
        (of(None, None), 8080, "http://cart:8080/a?b=1"),
        (of(None, None), 443, "http://cart:443/a?b=1"),
        (of(None, Some(80)), 8080, "http://cart/a?b=1"),
        (of(None, Some(8083)), 80, "http://cart:8083/a?b=1"),
        (of(Some(Scheme::Http), None), 8080, "http://cart/a?b=1"),
        (of(Some(Scheme::Http), Some(8080)), 80, "http://cart:8080/a?b=1"),
        (of(Some(Scheme::Https), None), 8080, "https://cart/a?b=1"),
        (of(Some(Scheme::Https), Some(443)), 80, "https://cart/a?b=1"),
        (of(Some(Scheme::Https), Some(80)), 80, "https://cart:80/a?b=1"),
    ] {
        // What the caller wrote as the port does not count, but what was called.
        for host in ["cart", "cart:8080", "cart:1"] {
            assert_eq!(sent_to(&redirect, (host, called), "/a?b=1"), expected, "{host}");
        }
    }
    assert_eq!(sent_to(&of(None, None), ("[::1]:81", 80), "/"), "http://[::1]/");
    assert_eq!(sent_to(&of(None, None), ("[::1]", 80), "/"), "http://[::1]/");
}

#[test]
fn a_redirect_changes_what_it_says_and_nothing_else() {
    let redirect = Redirect {
        hostname: Some(PreciseHost::new("other.example").unwrap()),
        path: Some(PathRewrite::Prefix(path("/xyz"))),
        status: RedirectStatus::new(308).unwrap(),
        ..Redirect::default()
    };
    let sent = |target| sent_to(&redirect, ("cart", 80), target);
    assert_eq!(sent("/foo/bar?b=%2F&c"), "http://other.example/xyz/bar?b=%2F&c");
    assert_eq!(sent("/foo"), "http://other.example/xyz");
    let full = Redirect { path: Some(PathRewrite::Full(path("/full"))), ..Redirect::default() };
    assert_eq!(sent_to(&full, ("cart", 80), "/a?b"), "http://cart/full?b");
}

proptest! {
    #[test]
    fn a_rewritten_path_is_absolute_and_has_its_one_spelling(
        rest in "(/|/[a-z.%0-9~]{0,5}|//[a-z]{0,2}){0,4}",
        prefix in "(/[a-z]{1,3}){0,2}/?",
        replacement in "(/[a-z~]{1,3}){0,2}/?",
    ) {
        let replacement = if replacement.is_empty() { "/".to_owned() } else { replacement };
        let Ok(replacement) = HttpPath::new(&replacement) else { return Ok(()) };
        let target = format!("{}{rest}", prefix.trim_end_matches('/'));
        let mut head = RequestHead::default();
        head.set_target(if target.is_empty() { "/" } else { &target });
        prop_assume!(normalize::target(&mut head).is_ok());
        for rewrite in [PathRewrite::Prefix(replacement.clone()), PathRewrite::Full(replacement)] {
            let made = path::rewritten(&rewrite, &facts(80, &prefix), head.path());
            prop_assert!(made.starts_with('/'), "{}", made);
            let mut again = RequestHead::default();
            again.set_target(&made);
            prop_assert!(normalize::target(&mut again).is_ok(), "{}", made);
            prop_assert_eq!(again.target(), made);
        }
    }

    #[test]
    fn what_is_set_or_removed_twice_is_as_after_once(
        fields in proptest::collection::vec(("[a-d]|A|B", "[x-z]{0,3}"), 0..8),
        set in "[a-b]", removed in "[c-d]",
    ) {
        let mut once = Fields::default();
        fields.iter().for_each(|(name, value)| once.append(name, value.as_bytes()));
        let edits = edits(&[(&set, "1")], &[], &[&removed]);
        headers::edit(&edits, &mut once);
        let mut twice = once.clone();
        headers::edit(&edits, &mut twice);
        prop_assert_eq!(written(&once), written(&twice));
        prop_assert_eq!(once.values(&set).collect::<Vec<_>>(), [b"1"]);
        prop_assert!(once.get(&removed).is_none());
    }
}

fn cors(origins: &[&str]) -> Cors {
    Cors {
        origins: origins.iter().map(|text| AllowedOrigin::new(text).unwrap()).collect(),
        credentials: false,
        methods: AllowedNames::These(vec![]),
        headers: AllowedNames::These(vec![]),
        expose: AllowedNames::These(vec![]),
        max_age_s: 5,
    }
}

#[test]
fn an_origin_is_allowed_if_scheme_host_and_port_are() {
    for (allowed, origin, expected) in [
        ("*", "https://a.example", true),
        ("*", "null", true),
        ("https://a.example", "https://a.example", true),
        ("https://a.example", "HTTPS://A.example:443", true),
        ("https://a.example:443", "https://a.example", true),
        ("https://a.example", "http://a.example", false),
        ("https://a.example", "https://a.example:8443", false),
        ("https://a.example", "https://a.example.evil.example", false),
        ("https://a.example", "https://xa.example", false),
        ("http://a.example:8080", "http://a.example:8080", true),
        ("https://*.a.example", "https://b.a.example", true),
        ("https://*.a.example", "https://c.b.A.example", true),
        ("https://*.a.example", "https://a.example", false),
        ("https://*.a.example", "https://.a.example", false),
        ("https://*.a.example", "https://xa.example", false),
        ("https://*.a.example", "https://evil/.a.example", false),
        ("https://*.a.example", "https://evil@b.a.example", false),
        ("http://*", "http://anything", true),
        ("http://*", "http://[::1]:80", true),
        ("http://*", "http://anything:81", false),
        ("http://*", "null", false),
        ("https://*", "http://anything", false),
        ("http://*", "http://", false),
        ("http://*", "http://a:+80", false),
        ("http://*", "http://a:080", false),
    ] {
        let head = head(&format!("GET / HTTP/1.1\nHost: a\nOrigin: {origin}"));
        let found = cors::origin(&cors(&[allowed]), &head);
        let wanted = if expected { Origin::Allowed(origin.to_owned()) } else { Origin::Refused };
        assert_eq!(found, wanted, "{allowed} {origin}");
    }
    let cors = cors(&["*"]);
    assert_eq!(cors::origin(&cors, &head("GET / HTTP/1.1\nHost: a")), Origin::None);
    let twice = head("GET / HTTP/1.1\nHost: a\nOrigin: http://a\nOrigin: http://a");
    assert_eq!(cors::origin(&cors, &twice), Origin::Refused);
}

/// A route whose only rule has these filters, and whose only backend has these.
fn route(filters: Vec<Filter>, of_backend: Vec<Filter>) -> Arc<Route> {
    let matches = vec![RouteMatch {
        path: PathMatch::Prefix(path("/")),
        headers: vec![],
        query: vec![],
        method: None,
    }];
    let backend = Backend::Missing { reason: String::new() };
    let weight = Weight::new(1).unwrap();
    let backends = vec![WeightedBackend { backend, weight, filters: of_backend }];
    let timeouts = Timeouts::default();
    let rule =
        RouteRule { name: None, matches, filters, backends, timeouts, retry: None, faults: vec![] };
    Arc::new(Route {
        name: "http/shop/web".parse().unwrap(),
        created: 0,
        parents: Default::default(),
        hostnames: Default::default(),
        rules: vec![rule],
    })
}

/// What the answer to `request` has, where the application's has `answered`; whether that is
/// Weft's own answer.
fn answered(cors: &Cors, request: &str, answered: &[(&str, &str)]) -> (bool, String) {
    let route = route(vec![Filter::Cors(cors.clone())], vec![]);
    let head = head(&format!("{request}\nHost: a"));
    let on_answer = OnAnswer::new(&route, 0, &head).unwrap();
    match answer(&route.rules[0].filters, &facts(80, ""), &head) {
        Some(own) => {
            assert_eq!((own.status, own.reason), (200, "cors-preflight"));
            (true, written(&own.head(Some(&on_answer)).fields))
        }
        None => {
            let mut fields = Fields::default();
            answered.iter().for_each(|(name, value)| fields.append(name, value.as_bytes()));
            on_answer.apply(&mut fields);
            (false, written(&fields))
        }
    }
}

const PREFLIGHT: &str = "OPTIONS / HTTP/1.1\nAccess-Control-Request-Method: PUT";

#[test]
fn a_preflight_says_all_that_a_page_may_do() {
    let these = |names: &[&str]| AllowedNames::These(names.iter().map(|text| name(text)).collect());
    let methods = ["GET", "PUT"].map(|text| Method::new(text).unwrap()).into();
    let full = Cors {
        credentials: true,
        methods: AllowedNames::These(methods),
        headers: these(&["x-a", "x-b"]),
        expose: these(&["x-c", "x-d"]),
        max_age_s: 3600,
        ..cors(&["https://a.example"])
    };
    let request = format!("{PREFLIGHT}\nOrigin: https://a.example");
    assert_eq!(
        answered(&full, &request, &[]),
        (
            true,
            "Vary: Origin\nAccess-Control-Allow-Origin: https://a.example\n\
             Access-Control-Allow-Credentials: true\nAccess-Control-Expose-Headers: x-c, x-d\n\
             Access-Control-Allow-Methods: GET, PUT\nAccess-Control-Allow-Headers: x-a, x-b\n\
             Access-Control-Max-Age: 3600\n"
                .to_owned()
        )
    );
    let other = format!("{PREFLIGHT}\nOrigin: https://b.example");
    assert_eq!(answered(&full, &other, &[]), (true, "Vary: Origin\n".to_owned()));
}

#[test]
fn wildcards_are_said_as_what_was_asked_for() {
    let any = Cors {
        methods: AllowedNames::Any,
        headers: AllowedNames::Any,
        expose: AllowedNames::Any,
        ..cors(&["*"])
    };
    let request = format!(
        "{PREFLIGHT}\nOrigin: null\nAccess-Control-Request-Headers: x-a, \
         authorization\nAccess-Control-Request-Headers: x-b"
    );
    assert_eq!(
        answered(&any, &request, &[]).1,
        "Vary: Origin\nAccess-Control-Allow-Origin: null\nAccess-Control-Expose-Headers: *\n\
         Access-Control-Allow-Methods: PUT\nAccess-Control-Allow-Headers: x-a, authorization, x-b\n\
         Access-Control-Max-Age: 5\n"
    );
    let with_credentials = Cors { credentials: true, ..any };
    let request = format!("{PREFLIGHT}\nOrigin: https://a");
    assert_eq!(
        answered(&with_credentials, &request, &[]).1,
        "Vary: Origin\nAccess-Control-Allow-Origin: https://a\n\
         Access-Control-Allow-Credentials: true\nAccess-Control-Allow-Methods: PUT\n\
         Access-Control-Max-Age: 5\n"
    );
}

#[test]
fn what_an_application_says_of_origins_counts_no_more() {
    let cors = cors(&["https://a.example"]);
    let said = [
        ("X", "1"),
        ("access-control-allow-origin", "*"),
        ("Access-Control-Allow-Credentials", "true"),
        ("access-control-max-age", "9"),
        ("vary", "accept, ORIGIN"),
    ];
    let get = |origin: &str| answered(&cors, &format!("GET / HTTP/1.1{origin}"), &said);
    let allowed = "X: 1\nvary: accept, ORIGIN\nAccess-Control-Allow-Origin: https://a.example\n";
    assert_eq!(get("\nOrigin: https://a.example"), (false, allowed.to_owned()));
    let refused = "X: 1\nvary: accept, ORIGIN\n";
    assert_eq!(get("\nOrigin: https://b.example"), (false, refused.to_owned()));
    // A request of no other origin is none of CORS' business.
    assert!(get("").1.contains("access-control-allow-origin: *"));
    // Nor is an OPTIONS that asks for nothing.
    let options = answered(&cors, "OPTIONS / HTTP/1.1\nOrigin: https://a.example", &[]);
    assert!(!options.0 && options.1.contains("Access-Control-Allow-Origin: https://a.example"));
    assert!(!answered(&cors, PREFLIGHT, &[]).0);
}

#[test]
fn the_rule_comes_first_and_then_the_backend_that_was_picked() {
    let set = |value| edits(&[("x", value)], &[], &[]);
    let add = |value| edits(&[], &[("x", value)], &[]);
    let route = route(
        vec![Filter::RequestHeaders(set("rule")), Filter::ResponseHeaders(set("rule"))],
        vec![Filter::RequestHeaders(add("backend")), Filter::ResponseHeaders(add("backend"))],
    );
    let RouteRule { filters, backends, .. } = &route.rules[0];
    let mut head = head("GET / HTTP/1.1\nHost: a\nX: caller");
    let mut on_answer = OnAnswer::new(&route, 0, &head).unwrap();
    on_request(filters, &facts(80, ""), &mut head);
    on_request(&backends[0].filters, &facts(80, ""), &mut head);
    assert_eq!(head.fields.get("x"), Some(&b"rule,backend"[..]));
    let applied = |on_answer: &OnAnswer| {
        let mut fields = Fields::default();
        on_answer.apply(&mut fields);
        written(&fields)
    };
    assert_eq!(applied(&on_answer), "x: rule\n");
    on_answer.goes_to(&backends[0]);
    assert_eq!(applied(&on_answer), "x: rule,backend\n");
    assert!(OnAnswer::new(&self::route(vec![], vec![]), 0, &head).is_none());
}
