//! Tables of responses as they stand on the wire.

use super::*;

fn parsed(text: &str, to_head: bool) -> (ResponseHead, Parsed) {
    let mut head = ResponseHead::default();
    let parsed = parse(text.as_bytes(), to_head, &mut head).expect(text).expect("complete");
    (head, parsed)
}

#[test]
fn bodies_end_as_the_head_says() {
    for (text, to_head, size, keep_alive) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, BodySize::Length(3), true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, BodySize::Unknown, true),
        ("HTTP/1.1 200 OK\r\n\r\n", false, BodySize::Unknown, false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", false, BodySize::Length(3), false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, BodySize::None, true),
        ("HTTP/1.1 200 OK\r\n\r\n", true, BodySize::None, true),
        ("HTTP/1.1 204 No Content\r\n\r\n", false, BodySize::None, true),
        ("HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", false, BodySize::None, true),
        ("HTTP/1.1 204 X\r\nContent-Length: 1\r\n\r\n", false, BodySize::None, false),
        ("HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n", false, BodySize::None, false),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", false, BodySize::None, true),
        ("HTTP/1.1 100 Continue\r\n\r\n", false, BodySize::None, true),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            false,
            BodySize::Length(0),
            false,
        ),
    ] {
        let (head, parsed) = parsed(text, to_head);
        assert_eq!((parsed.size, parsed.keep_alive), (size, keep_alive), "{text}");
        assert!(!text.contains(" 204 ") || head.fields.is_empty(), "{text}");
    }
}

#[test]
fn malformed_heads_are_refused() {
    for text in [
        "HTTP/1.1 99 X\r\n\r\n",
        "HTTP/1.1 2000 X\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 1\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ] {
        parse(text.as_bytes(), false, &mut ResponseHead::default()).expect_err(text);
    }
}

#[test]
fn a_response_is_passed_on_as_it_came() {
    let text = "HTTP/1.1 200 All right\r\nX-B: 1\r\nContent-Length: 3\r\nX-A: 2\r\n\r\n";
    let (head, parsed) = parsed(text, false);
    let mut out = Vec::new();
    write(&head, parsed.size, Framing::Plain, Keep::Implied, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), text);
}

#[test]
fn a_change_to_websocket_is_passed_on() {
    let text =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let (head, parsed) = parsed(text, false);
    assert!(parsed.upgrade);
    let mut out = Vec::new();
    write(&head, parsed.size, Framing::Plain, Keep::Upgrade, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), text);
}

#[test]
fn our_own_answers_have_a_phrase() {
    let mut head = ResponseHead::with_status(503);
    head.fields.append("Weft-Reason", b"no-endpoint");
    let mut out = Vec::new();
    write(&head, BodySize::Length(0), Framing::Plain, Keep::Close, &mut out);
    let expected = "HTTP/1.1 503 Service Unavailable\r\nWeft-Reason: no-endpoint\r\n\
        Content-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
