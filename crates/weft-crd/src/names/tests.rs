//! Grammars of names, valid and invalid.

use super::*;

/// Checks what `check` takes and what it refuses.
fn table(check: fn(&str) -> Result<(), String>, valid: &[&str], invalid: &[&str]) {
    for text in valid {
        assert_eq!(check(text), Ok(()), "{text}");
    }
    for text in invalid {
        assert!(check(text).is_err(), "{text}");
    }
}

#[test]
fn dns() {
    let (long, too_long) = ("a".repeat(63), "a".repeat(64));
    table(
        dns_label,
        &["a", "0", "a-b", &long],
        &["", "-a", "a-", "A", "a.b", "a_b", "é", &too_long],
    );
    let (long, too_long) = (["a"; 127].join("."), ["a"; 128].join("."));
    table(
        dns_subdomain,
        &["a", "a.b", "1.2.3", &long],
        &["", ".", "a.", ".a", "a..b", "-.a", &too_long],
    );
    table(
        hostname,
        &["a", "a.example", "*.example"],
        &["*", "*.", "a.*", "*.*.example", "1.2.3.4", "::1", "A.example", "a:80", ""],
    );
}

#[test]
fn labels() {
    table(
        label_key,
        &["app", "app.kubernetes.io/name", "A_b-c.d"],
        &["", "/", "a/", "/a", "a/b/c", "Example.com/a", "-a", "a-", "a b"],
    );
    table(
        label_value,
        &["", "a", "A_b.c-d", &"a".repeat(63)],
        &["-a", "a/b", "a b", &"a".repeat(64)],
    );
}

#[test]
fn headers_that_rules_can_ask_for() {
    let never: Vec<&str> = HOP_BY_HOP.into_iter().collect();
    table(
        matched_header,
        &["host", "Host", "x-role", "te", "upgrade", "proxy-status", "weft"],
        &[&never[..], &["Connection", ":authority", ":path", ":scheme", ":", "Weft-Held", ""]]
            .concat(),
    );
    let is_stripped = |name: &str| weft_http::Known::from_name(name.as_bytes()).is_hop_by_hop();
    assert!(HOP_BY_HOP.into_iter().all(is_stripped));
    let why = matched_header(":authority").unwrap_err();
    assert_eq!(why, "\":authority\" is not a header: ask for the header `host`, which is the same");
}

#[test]
fn http() {
    table(
        http_token,
        &["x", "X-Canary", "a!#$%&'*+-.^_`|~1"],
        &["", "a b", "a:", "é", "a\n", &"a".repeat(257)],
    );
    table(header_value, &["a", "a b", "a\tb", "é"], &["", " a", "a ", "a\nb", "a\0"]);
    table(
        http_path,
        &["/", "/a", "/a/", "/a/b.c", "/a%20b", "/a..b", "/.well-known", "/a:b@c;d=e,f"],
        &[
            "", "a", "//", "/a//b", "/./a", "/a/../b", "/a/..", "/a/.", "/a%2fb", "/a%2Fb",
            "/a%5cb", "/a?b", "/a#b", "/a b", "/é", "/%", "/%4", "/%zz", "/a\\b", "/a\0",
        ],
    );
}

#[test]
fn trust_domains() {
    table(trust_domain, &["weft.local", "a_b-c.1"], &["", "Weft", "a/b", "a:b", &"a".repeat(256)]);
}
