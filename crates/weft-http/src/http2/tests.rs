//! What is taken of HTTP/2's heads, and what is refused.

use super::*;
use crate::FIELDS_MAX;

const GET: Pseudo<'static> =
    Pseudo { method: "GET", scheme: Some("http"), authority: Some("shop"), path: "/" };

type List<'f> = &'f [(&'f str, &'f str)];

fn bytes<'f>(list: List<'f>) -> impl Iterator<Item = (&'f [u8], &'f [u8])> {
    list.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

fn request(
    pseudo: &Pseudo<'_>,
    list: List<'_>,
    has_ended: bool,
) -> Result<(RequestHead, BodySize), GrammarError> {
    let mut head = RequestHead::default();
    let size = read_request(pseudo, bytes(list), has_ended, &mut head)?;
    Ok((head, size))
}

fn response(
    status: u16,
    list: List<'_>,
    has_ended: bool,
    to_head: bool,
) -> Result<(ResponseHead, BodySize), GrammarError> {
    let mut head = ResponseHead::default();
    let size = read_response(status, bytes(list), has_ended, to_head, &mut head)?;
    Ok((head, size))
}

fn lines(fields: &Fields) -> String {
    let mut out = Vec::new();
    fields.write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_request_is_taken_as_it_is() {
    let pseudo = Pseudo { method: "POST", path: "/a?b", authority: Some("shop:80"), ..GET };
    let list = [("te", "trailers"), ("x-a", "1"), ("content-length", "3"), ("x-a", "2")];
    let (head, size) = request(&pseudo, &list, false).unwrap();
    assert_eq!((head.method(), head.target(), head.authority()), ("POST", "/a?b", "shop:80"));
    assert_eq!((head.version, size), (Version::Http2, BodySize::Length(3)));
    assert_eq!(lines(&head.fields), "te: trailers\r\nx-a: 1\r\ncontent-length: 3\r\nx-a: 2\r\n");
    let mut out = Vec::new();
    crate::request::write(&head, size, &mut out);
    assert!(out.starts_with(b"POST /a?b HTTP/1.1\r\nHost: shop:80\r\nte: trailers\r\n"));
}

#[test]
fn the_size_follows_from_the_end_and_the_stated_length() {
    let size = |list, has_ended| request(&GET, list, has_ended).map(|(_, size)| size);
    assert_eq!(size(&[], true), Ok(BodySize::Length(0)));
    assert_eq!(size(&[], false), Ok(BodySize::Unknown));
    assert_eq!(size(&[("content-length", "0")], true), Ok(BodySize::Length(0)));
    assert_eq!(size(&[("content-length", "0")], false), Ok(BodySize::Length(0)));
    for list in [
        &[("content-length", "1")][..],
        &[("content-length", "+0")],
        &[("content-length", "0"), ("content-length", "0")],
    ] {
        assert!(matches!(size(list, true), Err(GrammarError::Length(_))), "{list:?}");
    }
}

#[test]
fn the_authority_is_named_once() {
    let authority = |authority, list| {
        let pseudo = Pseudo { authority, ..GET };
        request(&pseudo, list, true).map(|(head, _)| {
            assert!(head.fields.get("host").is_none());
            head.authority().to_owned()
        })
    };
    assert_eq!(authority(Some("a"), &[("host", "A")]).unwrap(), "a");
    assert_eq!(authority(None, &[("host", "b:1")]).unwrap(), "b:1");
    for (pseudo, list) in [
        (None, &[][..]),
        (Some("a"), &[("host", "b")]),
        (Some("a"), &[("host", "a"), ("host", "a")]),
        (Some("user@a"), &[]),
        (Some("a:99999"), &[]),
        (None, &[("host", "a b")]),
    ] {
        let result = authority(pseudo, list);
        assert!(matches!(result, Err(GrammarError::Host(_))), "{pseudo:?} {list:?}: {result:?}");
    }
}

#[test]
fn malformed_starts_are_refused() {
    for (pseudo, what) in [
        (Pseudo { method: "", ..GET }, "no method"),
        (Pseudo { method: "G ET", ..GET }, "a method with a space"),
        (Pseudo { path: "", ..GET }, "no path"),
        (Pseudo { path: "a", ..GET }, "a relative path"),
        (Pseudo { path: "*", ..GET }, "an asterisk for another method"),
        (Pseudo { path: "/a b", ..GET }, "a space"),
        (Pseudo { path: "/a\r\nb", ..GET }, "a line end"),
        (Pseudo { path: "/ü", ..GET }, "beyond ASCII"),
        (Pseudo { path: "/#a", ..GET }, "a fragment"),
        (Pseudo { scheme: Some("ftp"), ..GET }, "another scheme"),
        (Pseudo { method: "CONNECT", ..GET }, "CONNECT with a path"),
    ] {
        assert!(matches!(request(&pseudo, &[], true), Err(GrammarError::Head(_))), "{what}");
    }
    let connect = Pseudo { method: "CONNECT", path: "", scheme: None, ..GET };
    assert_eq!(request(&connect, &[], false).unwrap().0.authority(), "shop");
    assert!(request(&Pseudo { method: "OPTIONS", path: "*", ..GET }, &[], true).is_ok());
}

#[test]
fn malformed_fields_are_refused() {
    for field in [
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("Upper", "1"),
        ("", "1"),
        (":path", "/"),
        ("a b", "1"),
        ("a", " 1"),
        ("a", "1\t"),
        ("a", "1\r\nb: 2"),
        ("a", "1\0"),
    ] {
        let refused = |result| matches!(result, Err(GrammarError::Head(_)));
        assert!(refused(request(&GET, &[field], true).map(drop)), "{field:?}");
        assert!(refused(response(200, &[field], true, false).map(drop)), "{field:?}");
        assert!(refused(read_trailers(bytes(&[field]), &mut Fields::default())), "{field:?}");
    }
}

#[test]
fn the_crumbs_of_a_cookie_are_joined() {
    let list = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")];
    let (head, _) = request(&GET, &list, true).unwrap();
    assert_eq!(lines(&head.fields), "x: y\r\ncookie: a=1; b=2; c=3\r\n");
    // Found by fuzzing: an empty one would leave a separator where HTTP/1 has none.
    let list = [("cookie", ""), ("cookie", "a=1"), ("cookie", ""), ("cookie", "")];
    let (head, _) = request(&GET, &list, true).unwrap();
    assert_eq!(lines(&head.fields), "cookie: a=1\r\n");
}

#[test]
fn heads_are_limited_as_in_http1() {
    // Written in HTTP/1, a request has two more, and a response one.
    let many = vec![("a", "b"); FIELDS_MAX - 2];
    assert!(request(&GET, &many, true).is_ok());
    assert!(response(200, &many[1..], true, false).is_ok());
    let more = vec![("a", "b"); FIELDS_MAX - 1];
    assert_eq!(request(&GET, &more, true).map(drop), Err(GrammarError::TooLarge));
    let more = vec![("a", "b"); FIELDS_MAX + 1];
    assert_eq!(request(&GET, &more, true).map(drop), Err(GrammarError::TooLarge));
    assert_eq!(response(200, &more, true, false).map(drop), Err(GrammarError::TooLarge));
    let crumbs = vec![("cookie", "b"); FIELDS_MAX + 1];
    assert_eq!(request(&GET, &crumbs, true).map(drop), Err(GrammarError::TooLarge));
    let path = format!("/{}", "p".repeat(HEAD_BYTES_MAX));
    let long = Pseudo { path: &path, ..GET };
    assert_eq!(request(&long, &[], true).map(drop), Err(GrammarError::TooLarge));

    let value = "v".repeat(HEAD_BYTES_MAX - 100);
    let (head, size) = response(200, &[("a", &value)], false, false).unwrap();
    let mut out = Vec::new();
    let (framing, keep) = (crate::response::Framing::Plain, crate::response::Keep::Implied);
    crate::response::write(&head, size, framing, keep, &mut out);
    assert!(out.len() <= HEAD_BYTES_MAX, "what is taken fits into a head of HTTP/1");
    let value = "v".repeat(HEAD_BYTES_MAX);
    assert_eq!(response(200, &[("a", &value)], true, false).map(drop), Err(GrammarError::TooLarge));
}

#[test]
fn bodiless_responses_state_no_length_to_be_waited_for() {
    let length = ("content-length", "5");
    for (status, to_head, keeps) in [(200, true, true), (304, false, true), (204, false, false)] {
        for has_ended in [true, false] {
            let (head, size) = response(status, &[length], has_ended, to_head).unwrap();
            assert_eq!((size, head.fields.len()), (BodySize::None, usize::from(keeps)), "{status}");
        }
    }
    assert_eq!(response(103, &[], false, false).unwrap().1, BodySize::None);
    assert!(response(103, &[length], false, false).is_err());
    assert!(response(101, &[], false, false).is_err());
    assert!(response(200, &[length], true, false).is_err());
    let (head, size) = response(200, &[], true, false).unwrap();
    assert_eq!((head.reason(), size), (&b"OK"[..], BodySize::Length(0)));
    assert_eq!(response(200, &[], false, false).unwrap().1, BodySize::Unknown);
}

#[test]
fn trailers_keep_what_only_trailers_say() {
    let mut trailers = Fields::default();
    let list = [("grpc-status", "0"), ("content-length", "1"), ("host", "a"), ("x", "y")];
    read_trailers(bytes(&list), &mut trailers).unwrap();
    assert_eq!(lines(&trailers), "grpc-status: 0\r\nx: y\r\n");
    let many = vec![("a", "b"); TRAILERS_MAX + 1];
    assert_eq!(read_trailers(bytes(&many), &mut trailers), Err(GrammarError::TooLarge));
    let value = "v".repeat(TRAILERS_BYTES_MAX);
    assert_eq!(read_trailers(bytes(&[("a", &value)]), &mut trailers), Err(GrammarError::TooLarge));
}
