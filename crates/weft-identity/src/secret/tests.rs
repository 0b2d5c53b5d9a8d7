//! Secrets, what is kept of them, and what is never shown.

use super::*;

#[test]
fn a_secret_fits_its_own_hash_only() {
    let (secret, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    assert!(secret.hash().fits(&secret));
    assert!(!secret.hash().fits(&other));
    let read = Secret::read(&secret.expose()).unwrap();
    assert!(secret.hash().fits(&read));
}

#[test]
fn nothing_prints_a_secret() {
    let bearer = Bearer { id: SecretId::generate().unwrap(), secret: Secret::generate().unwrap() };
    let shown = format!("{bearer:?} {:?}", bearer.secret.hash());
    assert!(!shown.contains(&*bearer.secret.expose()), "{shown}");
    assert!(!shown.contains(&String::from(bearer.secret.hash())), "{shown}");
    assert!(shown.contains(bearer.id.as_str()), "{shown}");
}

#[test]
fn a_bearer_is_read_as_it_is_written() {
    let bearer = Bearer { id: SecretId::generate().unwrap(), secret: Secret::generate().unwrap() };
    let text = bearer.to_text();
    let read = Bearer::parse(&text).unwrap();
    assert_eq!(read.id, bearer.id);
    assert!(bearer.secret.hash().fits(&read.secret));
    let short = &text[..text.len() - 1];
    let (padded, spaced) = (format!("{}=", *text), format!("{} ", *text));
    for wrong in ["", ".", "x.y", "0123456789abcdef", "0123456789abcdef.", short, &padded, &spaced]
    {
        let error = Bearer::parse(wrong).unwrap_err().to_string();
        assert!(wrong.len() < 20 || !error.contains(&wrong[18..]), "{error}");
    }
}

#[test]
fn a_payload_is_not_quoted_in_the_error() {
    #[derive(Debug, Deserialize)]
    struct Payload {
        #[expect(dead_code, reason = "only the refusal matters")]
        id: u8,
    }
    let text = write_text("weft-x.v1.", &serde_json::json!({ "id": "very-secret" }));
    let error = read_text::<Payload>("weft-x.v1.", &text).unwrap_err();
    assert!(matches!(error, TextError::Payload(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("very"), "{error:?}");
}
