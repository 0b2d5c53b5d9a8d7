//! Which part of a request is its key.

use weft_http::request::parse;
use weft_model::HeaderName;

use super::*;

fn head(fields: &str) -> RequestHead {
    let host = if fields.contains("Host: ") { "" } else { "Host: a\r\n" };
    let text = format!("GET / HTTP/1.1\r\n{host}{fields}\r\n");
    let mut head = RequestHead::default();
    parse(text.as_bytes(), &mut head).unwrap().unwrap();
    head
}

fn source(address: &str) -> Source<'static> {
    Source { address: address.parse().unwrap(), workload: None }
}

fn by_header(name: &str) -> HashOn {
    HashOn::Header(HeaderName::new(name).unwrap())
}

fn by_cookie(name: &str, ttl_seconds: Option<u64>) -> HashOn {
    HashOn::Cookie { name: CookieName::new(name).unwrap(), ttl_seconds }
}

/// The key of a request with `fields` from 192.0.2.7.
fn of<'b>(hash_on: &'b [HashOn], fields: &str) -> Option<Key<'b>> {
    key(hash_on, Some(&head(fields)), source("192.0.2.7"), || 0xbeef)
}

fn hash_of(hash_on: &HashOn, fields: &str) -> Option<u64> {
    of(std::slice::from_ref(hash_on), fields).map(|key| key.hash)
}

#[test]
fn the_first_that_is_there_decides() {
    let hash_on = [by_header("x-user"), by_cookie("cart", None), HashOn::SourceAddress];
    let by = |fields: &str| of(&hash_on, fields).unwrap().by.clone();
    assert_eq!(by("X-User: alice\r\nCookie: cart=1\r\n"), hash_on[0]);
    assert_eq!(by("X-User:\r\nCookie: cart=1\r\n"), hash_on[1]);
    assert_eq!(by("Cookie: carts=1; other=2\r\n"), hash_on[2]);
    assert_eq!(of(&hash_on[..2], "X-User: \r\nCookie: cart=\r\n"), None);
    // Bytes that nobody looks into have an address only.
    let stream = |hash_on| key(hash_on, None, source("192.0.2.7"), || 1).map(|key| key.by);
    assert_eq!(stream(&hash_on), Some(&hash_on[2]));
    assert_eq!(stream(&hash_on[..2]), None);
    assert_eq!(stream(&[by_cookie("cart", Some(0))]), None);
}

#[test]
fn a_header_is_its_whole_value_whatever_its_name_looks_like() {
    let user = by_header("x-user");
    let alice = hash_of(&user, "X-User: alice\r\n");
    assert_eq!(alice, Some(hash(b"alice")));
    assert_eq!(hash_of(&user, "x-uSER:   alice  \r\n"), alice);
    assert_ne!(hash_of(&user, "x-user: Alice\r\n"), alice);
    let two = hash_of(&user, "x-user: alice, bob\r\n");
    assert_eq!(hash_of(&user, "x-user: alice\r\nx-user: bob\r\n"), two);
    assert_ne!(two, alice);
    assert!(hash_of(&user, "x-user: \u{e9}\r\n").is_some());
    assert_eq!(hash_of(&by_header("host"), "Host: a.example\r\n"), Some(hash(b"a.example")));
}

#[test]
fn a_cookie_is_found_among_others() {
    let cart = by_cookie("cart", None);
    let expected = Some(hash(b"a=b"));
    for fields in [
        "Cookie: cart=a=b\r\n",
        "Cookie: x=y; cart=a=b; z\r\n",
        "Cookie: Cart=1;cart = a=b ;cart=2\r\n",
        "Cookie: cart; cart=\r\nCookie: cart=a=b\r\n",
    ] {
        assert_eq!(hash_of(&cart, fields), expected, "{fields}");
    }
}

#[test]
fn who_has_no_cookie_is_given_one_that_leads_to_the_same_endpoint() {
    let hash_on = [by_header("x-user"), by_cookie("cart", Some(3600))];
    let Key { hash, by, set_cookie } = of(&hash_on, "").unwrap();
    assert_eq!(by, &hash_on[1]);
    let set_cookie = set_cookie.unwrap();
    let expected = "cart=000000000000beef; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax";
    assert_eq!(set_cookie, expected);
    let (cookie, _) = set_cookie.split_once(';').unwrap();
    let back = of(&hash_on, &format!("Cookie: {cookie}\r\n")).unwrap();
    assert_eq!((back.hash, back.set_cookie), (hash, None));
    // Who is told apart by something before it is given none.
    assert_eq!(of(&hash_on, "X-User: alice\r\n").unwrap().set_cookie, None);
    let session = [by_cookie("s", Some(0))];
    let given = of(&session, "").unwrap().set_cookie.unwrap();
    assert_eq!(given, "s=000000000000beef; Path=/; HttpOnly; SameSite=Lax");
}

#[test]
fn a_source_is_its_address_and_on_the_loopback_its_workload() {
    let name: ObjectName = "shop/web-1".parse().unwrap();
    let of = |address: &str, workload| {
        let source = Source { workload, ..source(address) };
        key(&[HashOn::SourceAddress], None, source, || 1).unwrap().hash
    };
    assert_eq!(of("192.0.2.7", None), of("192.0.2.7", Some(&name)));
    assert_eq!(of("192.0.2.7", None), of("::ffff:192.0.2.7", None));
    assert_ne!(of("192.0.2.7", None), of("192.0.2.8", None));
    assert_ne!(of("127.0.0.1", None), of("127.0.0.1", Some(&name)));
    assert_ne!(of("127.0.0.1", Some(&name)), of("127.0.0.2", Some(&name)));
}
