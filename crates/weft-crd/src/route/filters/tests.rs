//! Filters, valid and invalid.

use super::super::backend_ref::BackendKind;
use super::*;
use crate::names;
use crate::resource::Resource;
use crate::testing::{check, valid};
use crate::units::Port;

const HEAD: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: \
r, namespace: shop }";

fn spec(rule: &str) -> String {
    format!("{{parentRefs: [{{group: '', kind: Service, name: a}}], rules: [{{{rule}}}]}}")
}

const BACKEND: &str = "backendRefs: [{name: b, port: 80}]";

/// Checks the filters of a rule that has `rest` as well. Findings are those at `spec.rules[0]`.
fn check_filters(rest: &str, cases: &[(&str, &[&str])]) {
    for (filters, findings) in cases {
        let spec = spec(&format!("{rest}, filters: [{filters}]"));
        let place = |finding: &&str| match finding.split_once(": ") {
            Some((severity, rest)) => format!("{severity}: spec.rules[0].{rest}"),
            None => (*finding).to_owned(),
        };
        let findings: Vec<String> = findings.iter().map(place).collect();
        let findings: Vec<&str> = findings.iter().map(String::as_str).collect();
        check(HEAD, &[(&spec, &findings)]);
    }
}

/// The filters of the one rule, and of its one backend if it has one.
fn read(rule: &str) -> (Vec<Filter>, Vec<Filter>) {
    let Resource::HttpRoute(mut route) = valid(&format!("{HEAD}\nspec: {}", spec(rule))).resource
    else {
        panic!("no HTTPRoute");
    };
    let rule = route.rules.remove(0);
    (rule.filters, rule.backends.into_iter().flat_map(|backend| backend.filters).collect())
}

#[test]
fn whole_ones() {
    let (of_rule, of_backend) = read(
        "filters: [
           {type: RequestHeaderModifier, requestHeaderModifier:
             {set: [{name: X-A, value: '1'}], add: [{name: x-b, value: 'b,c'}], remove: [X-C]}},
           {type: URLRewrite, urlRewrite: {hostname: a.example,
             path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}},
           {type: CORS, cors: {allowOrigins: ['https://*.a.example', 'http://b:81'],
             allowCredentials: true, allowMethods: [GET, PUT], allowHeaders: [X-A],
             exposeHeaders: [X-B], maxAge: 60}}],
         backendRefs: [{name: b, port: 80, filters: [
           {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}}]}]",
    );
    let header = |name: &str, value: &str| HeaderValue { name: name.into(), value: value.into() };
    let edits = HeaderEdits {
        set: vec![header("x-a", "1")],
        add: vec![header("x-b", "b,c")],
        remove: vec!["x-c".into()],
    };
    let rewrite = UrlRewrite {
        hostname: Some("a.example".into()),
        path: Some(PathRewrite::Prefix(String::new())),
    };
    let cors = Cors {
        origins: vec!["https://*.a.example".into(), "http://b:81".into()],
        credentials: true,
        methods: vec!["GET".into(), "PUT".into()],
        headers: vec!["x-a".into()],
        expose: vec!["x-b".into()],
        max_age: 60,
    };
    assert_eq!(
        of_rule,
        [Filter::RequestHeaders(edits), Filter::Rewrite(rewrite), Filter::Cors(cors)]
    );
    let removed = HeaderEdits { set: vec![], add: vec![], remove: vec!["server".into()] };
    assert_eq!(of_backend, [Filter::ResponseHeaders(removed)]);

    let (of_rule, _) = read(
        "filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: a.example,
           port: 8443, path: {type: ReplaceFullPath, replaceFullPath: /x}, statusCode: 308}}]",
    );
    let redirect = Redirect {
        scheme: Some(Scheme::Https),
        hostname: Some("a.example".into()),
        port: Port::new(8443),
        path: Some(PathRewrite::Full("/x".into())),
        status: 308,
    };
    assert_eq!(of_rule, [Filter::Redirect(redirect)]);
    let (of_rule, _) = read("filters: [{type: RequestRedirect, requestRedirect: {port: 81}}]");
    assert!(matches!(of_rule[..], [Filter::Redirect(Redirect { status: 302, .. })]));
    let (of_rule, _) =
        read(&format!("{BACKEND}, filters: [{{type: CORS, cors: {{allowOrigins: ['*']}}}}]"));
    assert!(matches!(&of_rule[..], [Filter::Cors(cors)] if cors.max_age == 5 && !cors.credentials));
}

#[test]
fn a_filter_says_what_it_is_and_nothing_else() {
    let rewrite = "{type: URLRewrite, urlRewrite: {hostname: a}}";
    let redirect = "{type: RequestRedirect, requestRedirect: {hostname: a}}";
    check_filters(
        BACKEND,
        &[
            ("", &[]),
            ("{}", &["error: filters[0].type: is required"]),
            ("{type: CORS}", &["error: filters[0].cors: is required"]),
            (
                "{type: ExtensionRef}",
                &["error: filters[0].type: \"ExtensionRef\" is not supported yet by this version"],
            ),
            (
                "{type: ExternalAuth}",
                &["error: filters[0].type: \"ExternalAuth\" is not supported yet by this version"],
            ),
            ("{type: Rewrite}", &["error: filters[0].type: \"Rewrite\" is not known here"]),
            (
                "{type: URLRewrite, urlRewrite: {hostname: a}, cors: {}}",
                &["error: filters[0].cors: does not go with the type \"URLRewrite\""],
            ),
            (
                &format!("{rewrite}, {rewrite}"),
                &["error: filters[1]: there is a URLRewrite already at \
                   spec.rules[0].filters[0]: one is allowed"],
            ),
        ],
    );
    check_filters(
        "name: x",
        &[(
            &format!("{redirect}, {rewrite}"),
            &["error: filters[1]: a request is either redirected or rewritten, and \
               spec.rules[0].filters[0] does the other"],
        )],
    );
    let both = format!("{rewrite}, {redirect}");
    check_filters(
        BACKEND,
        &[(
            &both,
            &[
                "error: filters[1]: a request is either redirected or rewritten, and \
                 spec.rules[0].filters[0] does the other",
                "error: filters[1]: a request that is redirected goes to no backend, and the rule \
                 names some",
            ],
        )],
    );
    let many = vec![rewrite; 17].join(", ");
    check_filters(
        BACKEND,
        &[(&many, &["error: filters: 17 items are not allowed, the most is 16"])],
    );
}

#[test]
fn what_frames_messages_or_is_the_meshs_cannot_be_changed() {
    let edits =
        |text: &str| format!("{{type: RequestHeaderModifier, requestHeaderModifier: {{{text}}}}}");
    let at = "filters[0].requestHeaderModifier";
    for (name, why) in [
        ("Host", "is changed by the filter URLRewrite, by its `hostname`"),
        ("Content-Length", "frames the message: changed, it would be read differently"),
        ("transfer-encoding", "speaks of one connection, and is never passed on"),
        ("Connection", "speaks of one connection, and is never passed on"),
        ("TE", "speaks of one connection, and the proxies see to it"),
        ("Expect", "says how the body is sent, which the proxies see to"),
        ("Weft-Held", "is the mesh's own"),
        ("grpc-timeout", "is gRPC's own, by which calls wait and end"),
    ] {
        let expected =
            |list: &str| format!("error: {at}.{list}: \"{name}\" cannot be changed: it {why}");
        let set = edits(&format!("set: [{{name: {name}, value: x}}]"));
        let remove = edits(&format!("remove: [{name}]"));
        check_filters(
            BACKEND,
            &[(&set, &[&expected("set[0].name")]), (&remove, &[&expected("remove[0]")])],
        );
        // Both lists of names say the same.
        assert!(names::changed_header(name).is_err());
    }
    let large = "v".repeat(4096);
    let large: Vec<_> = (0..4).map(|n| format!("{{name: x{n}, value: {large}}}")).collect();
    check_filters(
        BACKEND,
        &[
            (
                &edits("set: [{name: ':authority', value: x}]"),
                &[&format!(
                    "error: {at}.set[0].name: \":authority\" is no header: the host is changed by \
                     the filter URLRewrite, by its `hostname`"
                )],
            ),
            (
                &edits("set: [{name: X-A, value: '1'}], add: [{name: x-a, value: '2'}]"),
                &[&format!(
                    "error: {at}.add[0]: the header \"x-a\" is changed by \
                     spec.rules[0].{at}.set[0]"
                )],
            ),
            (
                &edits("remove: [a, A]"),
                &[&format!(
                    "error: {at}.remove[1]: the header \"a\" is changed by \
                     spec.rules[0].{at}.remove[0]"
                )],
            ),
            (
                &edits("set: [{name: a, value: ''}, {name: b}]"),
                &[
                    &format!(
                        "error: {at}.set[0].value: 0 bytes are not allowed, it is from 1 to 4096"
                    ),
                    &format!("error: {at}.set[1].value: is required"),
                ],
            ),
            (&edits(""), &[&format!("warning: {at}: changes nothing")]),
            (
                &edits(&format!("set: [{}]", large.join(", "))),
                &[&format!(
                    "error: {at}: 16392 bytes of names and values are not allowed, the most is \
                     16384"
                )],
            ),
        ],
    );
}

#[test]
fn places_of_redirects_and_rewrites() {
    let redirect = |text: &str| format!("{{type: RequestRedirect, requestRedirect: {{{text}}}}}");
    let rewrite = |text: &str| format!("{{type: URLRewrite, urlRewrite: {{path: {{{text}}}}}}}");
    check_filters(
        "name: x",
        &[
            (
                &redirect("scheme: ftp, hostname: '*.a', port: 0, statusCode: 304"),
                &[
                    "error: filters[0].requestRedirect.scheme: \"ftp\" is not known here",
                    "error: filters[0].requestRedirect.hostname: \"*.a\" is many hosts, and one \
                     is needed",
                    "error: filters[0].requestRedirect.port: 0 is not allowed, the least is 1",
                    "error: filters[0].requestRedirect.statusCode: 304 does not redirect",
                ],
            ),
            (
                &redirect(""),
                &[
                    "warning: filters[0].requestRedirect: names no other place: callers are sent to \
                   where they are, again and again",
                ],
            ),
        ],
    );
    let path = "filters[0].urlRewrite.path";
    let needs_prefix = "error: filters[0]: it replaces the prefix that matches, so the rule needs \
                        exactly one match, and one by PathPrefix";
    check_filters(
        BACKEND,
        &[
            (
                &rewrite("type: ReplaceFullPath"),
                &[&format!("error: {path}.replaceFullPath: is required")],
            ),
            (
                &rewrite("type: ReplaceFullPath, replaceFullPath: ''"),
                &[&format!("error: {path}.replaceFullPath: must not be empty")],
            ),
            (
                &rewrite("type: ReplaceFullPath, replaceFullPath: '/a?b'"),
                &[&format!(
                    "error: {path}.replaceFullPath: \"/a?b\" holds `?`, which a path here cannot"
                )],
            ),
            (
                &rewrite("type: ReplacePrefixMatch, replacePrefixMatch: a"),
                &[&format!("error: {path}.replacePrefixMatch: \"a\" does not start with `/`")],
            ),
            (
                &rewrite("type: ReplacePrefixMatch, replacePrefixMatch: /a, replaceFullPath: /b"),
                &[&format!(
                    "error: {path}.replaceFullPath: does not go with the type \
                     \"ReplacePrefixMatch\""
                )],
            ),
        ],
    );
    let prefix = rewrite("type: ReplacePrefixMatch, replacePrefixMatch: /a");
    let full = rewrite("type: ReplaceFullPath, replaceFullPath: /a");
    let exact = format!("{BACKEND}, matches: [{{path: {{type: Exact, value: /a}}}}]");
    let two = format!("{BACKEND}, matches: [{{path: {{value: /a}}}}, {{path: {{value: /b}}}}]");
    check_filters(BACKEND, &[(&prefix, &[])]);
    check_filters(&exact, &[(&prefix, &[needs_prefix]), (&full, &[])]);
    check_filters(&two, &[(&prefix, &[needs_prefix]), (&full, &[])]);
    let of_backend = format!("backendRefs: [{{name: b, port: 80, filters: [{prefix}]}}]");
    check_filters(
        &format!("{of_backend}, matches: [{{path: {{type: Exact, value: /a}}}}]"),
        &[("", &[&needs_prefix.replace(": filters", ": backendRefs[0].filters")])],
    );
    check_filters(
        &of_backend,
        &[(
            &full,
            &["error: backendRefs[0].filters[0]: it replaces the prefix that matches, and \
               spec.rules[0].filters[0] has changed the path before"],
        )],
    );
}

#[test]
fn some_filters_are_for_rules_only() {
    let cases = [
        (
            "{type: RequestRedirect, requestRedirect: {port: 81}}",
            "\"RequestRedirect\" is for rules only: a request that is redirected goes to no \
             backend",
        ),
        (
            "{type: CORS, cors: {allowOrigins: ['*']}}",
            "\"CORS\" is for rules only: a browser's question and its request may go to different \
             backends",
        ),
    ];
    for (filter, why) in cases {
        let backends = format!("backendRefs: [{{name: b, port: 80, filters: [{filter}]}}]");
        let expected = format!("error: backendRefs[0].filters[0].type: {why}");
        check_filters(&backends, &[("", &[&expected])]);
    }
    // A rule that redirects needs no backend, and says so without a warning.
    check_filters("name: x", &[(cases[0].0, &[])]);
}

#[test]
fn origins_methods_and_headers_of_cors() {
    let cors = |text: &str| format!("{{type: CORS, cors: {{{text}}}}}");
    let at = "filters[0].cors";
    let any = "allowOrigins: ['*']";
    let not = |text: &str| {
        format!(
            "error: {at}.allowOrigins[0]: {text:?} is no origin: it is `*` or \
                 http(s)://HOST[:PORT]"
        )
    };
    for origin in ["null", "a.example", "ftp://a", "https://a:0", "https://a:x", "https://a*.b"] {
        let filter = cors(&format!("allowOrigins: ['{origin}']"));
        check_filters(BACKEND, &[(&filter, &[&not(origin)])]);
    }
    check_filters(
        BACKEND,
        &[
            (
                &cors(""),
                &[&format!(
                    "warning: {at}: no allowOrigins: no page of another origin may read answers"
                )],
            ),
            (
                &cors("allowOrigins: ['*', 'https://a']"),
                &[&format!("error: {at}.allowOrigins: `*` means all, and stands alone")],
            ),
            (
                &cors("allowOrigins: ['https://a', 'https://a']"),
                &[&format!(
                    "error: {at}.allowOrigins[1]: \"https://a\" is in \
                     spec.rules[0].{at}.allowOrigins[0]"
                )],
            ),
            (
                &cors(&format!(
                    "{any}, allowMethods: [get, '*'], allowHeaders: ['*', a], maxAge: 0"
                )),
                &[
                    &format!("error: {at}.allowMethods[0]: \"get\" is not known here"),
                    &format!("error: {at}.allowHeaders: `*` means all, and stands alone"),
                    &format!("error: {at}.maxAge: 0 is not allowed, the least is 1"),
                ],
            ),
            (&cors(&format!("{any}, exposeHeaders: ['*']")), &[]),
            (
                &cors(&format!("{any}, exposeHeaders: ['*'], allowCredentials: true")),
                &[&format!(
                    "warning: {at}.exposeHeaders: `*` exposes nothing together with \
                     allowCredentials: name the headers"
                )],
            ),
        ],
    );
}

#[test]
fn mirrors() {
    let (of_rule, _) = read(&format!(
        "{BACKEND}, filters: [
           {{type: RequestMirror, requestMirror: {{backendRef: {{name: a, port: 81}}}}}},
           {{type: RequestMirror, requestMirror:
             {{backendRef: {{name: b, namespace: c, port: 82}}, percent: 0}}}},
           {{type: RequestMirror, requestMirror:
             {{backendRef: {{name: a, port: 81}}, fraction: {{numerator: 5, denominator: 1000}}}}}},
           {{type: RequestMirror, requestMirror:
             {{backendRef: {{name: a, port: 81}}, fraction: {{numerator: 7}}}}}}]"
    ));
    let mirror = |name: &str, namespace: &str, port, numerator, denominator| {
        let kind = BackendKind::Service { port: Port::new(port).unwrap() };
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Filter::Mirror(Mirror { kind, namespace, name, share: Share { numerator, denominator } })
    };
    assert_eq!(
        of_rule,
        [
            mirror("a", "shop", 81, 100, 100),
            mirror("b", "c", 82, 0, 100),
            mirror("a", "shop", 81, 5, 1000),
            mirror("a", "shop", 81, 7, 100),
        ]
    );
    let mirror = |rest: &str| {
        format!(
            "{{type: RequestMirror, requestMirror: {{backendRef: {{name: a, port: 81}}{rest}}}}}"
        )
    };
    check_filters(
        BACKEND,
        &[
            (
                "{type: RequestMirror, requestMirror: {}}",
                &["error: filters[0].requestMirror.backendRef: is required"],
            ),
            (
                "{type: RequestMirror, requestMirror: {backendRef: {name: a, weight: 1}}}",
                &[
                    "error: filters[0].requestMirror.backendRef.port: is required",
                    "error: filters[0].requestMirror.backendRef.weight: unknown field",
                ],
            ),
            ("{type: RequestMirror, requestMirror: {backendRef: {kind: Bucket, name: a}}}", &[]),
            (
                &mirror(", percent: 1, fraction: {numerator: 1}"),
                &["error: filters[0].requestMirror.fraction: does not go with `percent`: one of \
                   them says how many"],
            ),
            (
                &mirror(", percent: 101"),
                &["error: filters[0].requestMirror.percent: 101 is not allowed, the most is 100"],
            ),
            (
                &mirror(", fraction: {numerator: 3, denominator: 2}"),
                &["error: filters[0].requestMirror.fraction: 3 of 2 are more than all"],
            ),
            (
                &mirror(", fraction: {numerator: 0, denominator: 0}"),
                &["error: filters[0].requestMirror.fraction.denominator: 0 is not allowed, the \
                   least is 1"],
            ),
        ],
    );
    check_filters(
        &format!("backendRefs: [{{name: b, port: 80, filters: [{}]}}]", mirror("")),
        &[(
            "",
            &["error: backendRefs[0].filters[0].type: \"RequestMirror\" is for rules only: a \
               request is copied before a backend is picked"],
        )],
    );
}
