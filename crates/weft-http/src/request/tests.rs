//! Tables of requests as they stand on the wire.

use super::*;
use crate::HEAD_BYTES_MAX;

fn parsed(text: &str) -> (RequestHead, Parsed) {
    let mut head = RequestHead::default();
    let parsed = parse(text.as_bytes(), &mut head).expect(text).expect("complete");
    (head, parsed)
}

fn refused(text: &str) -> GrammarError {
    parse(text.as_bytes(), &mut RequestHead::default()).expect_err(text)
}

fn forwarded(text: &str) -> String {
    let (head, parsed) = parsed(text);
    let mut out = Vec::new();
    write(&head, parsed.size, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_plain_request_is_passed_on_as_it_came() {
    let text = "GET /a?b=c HTTP/1.1\r\nhOsT: cart:80\r\nX-B: 1\r\nX-A: 2\r\nX-B: 3\r\n\r\n";
    assert_eq!(forwarded(text), text);
    let (head, parsed) = parsed(text);
    assert_eq!((head.method(), head.target(), head.path()), ("GET", "/a?b=c", "/a"));
    assert_eq!(head.authority(), "cart:80");
    assert_eq!(parsed, Parsed { bytes: text.len(), size: BodySize::Length(0), keep_alive: true });
}

#[test]
fn every_prefix_of_a_head_asks_for_more() {
    let text = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
    for end in 0..text.len() {
        let result = parse(&text.as_bytes()[..end], &mut RequestHead::default());
        assert_eq!(result, Ok(None), "{:?}", &text[..end]);
    }
}

#[test]
fn an_absolute_target_wins_over_the_host_field() {
    let text = "GET http://good:81/a HTTP/1.1\r\nX: 1\r\nHost: evil\r\n\r\n";
    assert_eq!(forwarded(text), "GET /a HTTP/1.1\r\nX: 1\r\nHost: good:81\r\n\r\n");
    assert_eq!(parsed(text).0.authority(), "good:81");
    assert_eq!(parsed("GET HTTP://good HTTP/1.1\r\nHost: evil\r\n\r\n").0.target(), "/");
    assert_eq!(parsed("OPTIONS http://good HTTP/1.1\r\nHost: evil\r\n\r\n").0.target(), "*");
    assert_eq!(parsed("GET http://good?q HTTP/1.1\r\nHost: evil\r\n\r\n").0.target(), "/?q");
}

#[test]
fn what_speaks_of_one_connection_is_taken_out() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-secret\r\nX-Secret: 1\r\n\
        Keep-Alive: timeout=9\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n";
    let expected = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nHTTP2-Settings: AAA\r\n\r\n";
    assert_eq!(forwarded(text), expected);
}

#[test]
fn only_websocket_may_be_changed_to() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
    let (head, _) = parsed(text);
    assert!(head.upgrade);
    let expected = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n";
    assert_eq!(forwarded(text), expected);
    let (head, _) = parsed("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
    assert!(!head.upgrade, "without Connection: upgrade it is no request to change");
    for text in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Upgrade: h2c\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Content-Length: 1\r\n\r\n",
    ] {
        let (head, _) = parsed(text);
        assert!(!head.upgrade && head.fields.get("Upgrade").is_none(), "{text}");
    }
}

#[test]
fn connections_are_kept_as_the_version_says() {
    for (text, keep_alive) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", false),
    ] {
        assert_eq!(parsed(text).1.keep_alive, keep_alive, "{text}");
    }
}

#[test]
fn bodies_are_framed_in_one_way_only() {
    use GrammarError::{Length, TransferEncoding};
    let size = |fields: &str| {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut head = RequestHead::default();
        parse(text.as_bytes(), &mut head).map(|parsed| parsed.expect("complete").size)
    };
    assert_eq!(size(""), Ok(BodySize::Length(0)));
    assert_eq!(size("Content-Length: 12\r\n"), Ok(BodySize::Length(12)));
    assert_eq!(size("Transfer-Encoding: CHUNKED\r\n"), Ok(BodySize::Unknown));
    for fields in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        assert_eq!(size(fields), Err(TransferEncoding), "{fields}");
    }
    for fields in [
        "Content-Length: +3\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    ] {
        assert!(matches!(size(fields), Err(Length(_))), "{fields}");
    }
    let old = refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(matches!(old, Length(_)));
}

#[test]
fn hosts_are_exactly_one() {
    for text in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [x]\r\n\r\n",
        "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@h/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert!(matches!(refused(text), GrammarError::Host(_)), "{text}");
    }
    for host in ["", "a", "a:80", "a_b.c-d:0", "10.0.0.1:65535", "[::1]", "[fd00::1]:8080"] {
        assert_eq!(parsed(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).0.authority(), host);
    }
}

#[test]
fn malformed_heads_are_refused() {
    for text in [
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / HTTX/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
    ] {
        refused(text);
    }
}

#[test]
fn heads_are_limited() {
    let many = "X: 1\r\n".repeat(128);
    assert_eq!(
        refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
        GrammarError::TooLarge
    );
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(HEAD_BYTES_MAX));
    assert_eq!(refused(&endless), GrammarError::TooLarge);
}

#[test]
fn what_was_taken_from_outside_is_taken_from_a_proxy_with_what_that_has_added() {
    // Spelled as short as can be: written again, each field has a blank and a carriage return more.
    let fields: String = (0..120).map(|number| format!("x{number}:y\n")).collect();
    let start = "GET / HTTP/1.0\r\n";
    let rest = HEAD_BYTES_MAX - start.len() - fields.len() - "z:\n\r\n".len();
    let text = format!("{start}{fields}z:{}\n\r\n", "v".repeat(rest));
    let (mut head, _) = parsed(&text);
    head.set_authority("[fd77:6566:7400:1234:1234:1234:1234:1234]:65535");
    for name in ["weft-timeout", "weft-idle", "grpc-timeout"] {
        head.fields.append(name, b"99999999H");
    }
    head.fields.append("Weft-Held", b"1");
    let mut written = Vec::new();
    write(&head, BodySize::Unknown, &mut written);
    assert!(written.len() > HEAD_BYTES_MAX);
    let mut again = RequestHead::default();
    assert_eq!(parse(&written, &mut again), Err(GrammarError::TooLarge));
    let parsed = parse_within(HeadLimits::MESH, &written, &mut again).unwrap().unwrap();
    assert_eq!(parsed.bytes, written.len());
}

#[test]
fn a_target_counts_as_what_it_is_in_http2() {
    let marks = |count| format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", "\"".repeat(count));
    let room = HEAD_BYTES_MAX - marks(0).len();
    parsed(&marks(room / 3));
    assert_eq!(refused(&marks(room / 3 + 1)), GrammarError::TooLarge);
}

#[test]
fn connect_names_an_authority() {
    let (head, _) = parsed("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!((head.authority(), head.target()), ("a:443", ""));
    let (_, parsed) = parsed("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert!(!parsed.keep_alive, "what follows may be no request");
    refused("CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn a_stated_length_is_written_once() {
    let text = "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\n";
    assert_eq!(forwarded(text), text);
    let empty = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(forwarded(empty), empty);
}
