//! What join tokens give, what they refuse, and how they are written.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;
use crate::testing::at;

fn name(text: &str) -> ObjectName {
    text.parse().unwrap()
}

fn names(texts: &[&str]) -> BTreeSet<ObjectName> {
    texts.iter().map(|text| name(text)).collect()
}

fn token() -> (JoinToken, JoinRecord) {
    let grant = Grant {
        service_account: name("shop/cart"),
        services: names(&["shop/cart", "shop/cart-admin"]),
        expires: at(3600),
        uses: 2,
    };
    let addresses = vec!["control.weft:15010".parse().unwrap(), "[::1]:15010".parse().unwrap()];
    JoinToken::issue(grant, addresses, KeyHash::from([7; 32])).unwrap()
}

fn request(service_account: &str, services: &[&str]) -> JoinRequest {
    JoinRequest { service_account: name(service_account), services: names(services) }
}

#[test]
fn a_token_is_read_as_it_is_written() {
    let (token, record) = token();
    let text = token.to_text();
    assert!(text.starts_with("weft-join.v1.") && text.len() < 400, "{}", text.len());
    for spelling in [text.to_string(), format!(" {}\r\n", *text)] {
        let read = JoinToken::parse(&spelling).unwrap();
        assert_eq!(read.bearer.id, record.id);
        assert!(record.secret_hash.fits(&read.bearer.secret));
        assert_eq!(read.addresses, token.addresses);
        assert_eq!(read.control_key, token.control_key);
    }
}

#[test]
fn a_token_gives_what_it_was_made_for_as_often_as_it_says() {
    let (token, record) = token();
    let secret = &token.bearer.secret;
    let record = record.redeem(secret, &request("shop/cart", &["shop/cart"]), at(0)).unwrap();
    assert_eq!(record.grant.uses, 1);
    let record = record.redeem(secret, &request("shop/cart", &[]), at(3600)).unwrap();
    let refusal = record.redeem(secret, &request("shop/cart", &[]), at(0)).unwrap_err();
    assert_eq!(refusal, Refusal::UsedUp(token.bearer.id.clone()));
}

#[test]
fn a_token_for_cart_does_not_give_web() {
    let (token, record) = token();
    let (other, _) = self::token();
    let (secret, stranger) = (&token.bearer.secret, &other.bearer.secret);
    let late = UnixTime(at(3600).0 + Duration::from_millis(1));
    let id = token.bearer.id.as_str();
    let cart = request("shop/cart", &["shop/cart"]);
    let table = [
        (
            secret,
            request("shop/web", &[]),
            at(0),
            format!(
                "the join token {id} is for the service account shop/cart, and shop/web was \
                 asked for"
            ),
        ),
        (
            secret,
            request("other/cart", &[]),
            at(0),
            format!(
                "the join token {id} is for the service account shop/cart, and other/cart was \
                 asked for"
            ),
        ),
        (
            secret,
            request("shop/cart", &["shop/cart", "shop/web"]),
            at(0),
            format!(
                "the join token {id} does not allow to serve shop/web, only shop/cart, \
                 shop/cart-admin"
            ),
        ),
        (
            secret,
            cart.clone(),
            late,
            format!("the join token {id} expired at {}: have a new one made", at(3600)),
        ),
        // Who does not know the secret learns nothing, neither that it has expired.
        (stranger, cart.clone(), at(0), Refusal::Unknown.to_string()),
        (stranger, request("shop/web", &[]), late, Refusal::Unknown.to_string()),
    ];
    for (secret, request, now, expected) in table {
        assert_eq!(record.redeem(secret, &request, now).unwrap_err().to_string(), expected);
    }
}

#[test]
fn records_are_stored_without_the_secret() {
    let (token, record) = token();
    let text = serde_json::to_string(&record).unwrap();
    assert!(!text.contains(&*token.bearer.secret.expose()));
    assert_eq!(serde_json::from_str::<JoinRecord>(&text).unwrap(), record);
    assert!(serde_json::from_str::<JoinRecord>(&text.replace("shop/cart", "shop")).is_err());
    assert!(serde_json::from_str::<JoinRecord>(&text.replace("uses_left", "uses")).is_err());
}

#[test]
fn malformed_tokens_are_refused_without_showing_the_secret() {
    let (token, _) = token();
    let text = token.to_text();
    let secret = token.bearer.secret.expose().to_string();
    let payload = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).unwrap();
    let payload = String::from_utf8(payload).unwrap();
    let with = |from: &str, to: &str| {
        assert!(payload.contains(from), "{from}");
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(payload.replace(from, to)))
    };
    let addresses = r#"["control.weft:15010","[::1]:15010"]"#;
    let table = [
        (String::new(), "does not begin with `weft-join.v1.`"),
        (text.replace("v1", "v2"), "does not begin with `weft-join.v1.`"),
        (text.replace("weft-join", "weft-admin"), "does not begin with"),
        (format!("{}=", *text), "not base64url"),
        (text[..text.len() - 3].to_owned(), "payload"),
        (format!("{PREFIX}!"), "not base64url"),
        (format!("{PREFIX}{}", "A".repeat(5000)), "has 5013 bytes"),
        (with(r#""id""#, r#""name""#), "a field is missing, unknown"),
        (with("{", r#"{"more":1,"#), "a field is missing, unknown"),
        (with(&format!("\"{secret}\""), "1"), "wrong type"),
        (with(&secret, &secret[1..]), "`secret` is wrong: a secret has 43"),
        (with(&secret, &format!("{secret}x")), "`secret` is wrong"),
        (with(addresses, "[]"), "`addresses` is wrong: there are 0"),
        (with("control.weft:15010", "control.weft"), "`control.weft` is not HOST:PORT"),
        (with(&"07".repeat(32), "07"), "`key` is wrong"),
        (with(token.bearer.id.as_str(), "1"), "`id` is wrong"),
    ];
    for (text, expected) in table {
        let error = JoinToken::parse(&text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(expected), "{shown}\n{expected}");
        assert!(!shown.contains(&secret[2..40]), "{shown}");
    }
    let shown = format!("{token:?}");
    assert!(!shown.contains(&secret), "{shown}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        text in ".*",
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = JoinToken::parse(&text);
        let _ = JoinToken::parse(&format!("{PREFIX}{text}"));
        let _ = JoinToken::parse(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)));
    }
}
