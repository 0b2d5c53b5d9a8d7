//! What callers say before and beside what they ask for: by which protocol, to which server, along
//! which path, within what time, and as part of which trace.

use std::time::Duration;

use weft_decide::deadline::{TimeoutText, asked};
use weft_decide::filters::cors::{self, Origin};
use weft_decide::filters::{self, Facts};
use weft_decide::normalize;
use weft_http::response::{self, Framing, Keep};
use weft_http::{BodySize, Fields, RequestHead, ResponseHead, Version, request};
use weft_model::{AllowedNames, AllowedOrigin, Cors, Filter, Port};
use weft_proxy::detect::{self, HELLO_BYTES_MAX, Hello, Spoken};
use weft_telemetry::trace::{PROPAGATED, TraceContext};

use super::cuts;

/// What the first bytes tell does not change with more of them.
pub fn protocol(input: &[u8]) {
    let whole = detect::of_bytes(input);
    for cut in cuts(input.len()) {
        let told = detect::of_bytes(&input[..cut]);
        assert!(told.is_none() || told == whole, "cut at {cut}: {told:?}, then {whole:?}");
    }
    // What the codec takes for a request is no opaque stream; empty lines before it make it one.
    let mut head = RequestHead::default();
    if let Ok(Some(_)) = request::parse(input, &mut head)
        && head.method().len() <= 24
        && head.method().bytes().all(|byte| byte.is_ascii_uppercase())
        && !matches!(input[0], b'\r' | b'\n')
    {
        assert_eq!(whole, Some(Spoken::Http1));
    }
    assert!(input.len() < 16 << 10 || whole.is_some(), "it would be waited for without end");
}

/// Whom a connection of TLS is for does not change with more of it, is not waited for without end,
/// and can stand in a log.
pub fn tls_hello(input: &[u8]) {
    let whole = detect::hello(input);
    for cut in cuts(input.len()) {
        let told = detect::hello(&input[..cut]);
        assert!(told == Ok(None) || told == whole, "cut at {cut}: {told:?}, then {whole:?}");
    }
    assert!(input.len() < HELLO_BYTES_MAX || whole != Ok(None), "it would be waited for");
    if let Ok(Some(Hello { server_name: Some(name) })) = whole {
        let is_fine = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        assert!(!name.is_empty() && name.bytes().all(is_fine), "{name:?}");
    }
}

/// A path has one spelling: made normal twice, it is the same, and leads nowhere above.
pub fn request_target(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return;
    }
    let mut head = RequestHead::default();
    head.set_target(text);
    if normalize::target(&mut head).is_err() {
        return;
    }
    let normal = head.target().to_owned();
    let path = head.path().to_owned();
    assert!(path.starts_with('/') && !path.contains('\\'));
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path}");
    assert!(!path.contains("%2E") && !path.contains("%2e") && !path.contains("%00"), "{path}");
    let query = |target: &str| target.split_once('?').map(|(_, query)| query.to_owned());
    assert_eq!(query(&normal), query(text));
    normalize::target(&mut head).expect("it is normal");
    assert_eq!(head.target(), normal);
}

/// A request head with `lines`, if they are fields.
fn head_with(lines: &[&[u8]]) -> Option<RequestHead> {
    head_of("POST", lines)
}

fn head_of(method: &str, lines: &[&[u8]]) -> Option<RequestHead> {
    let mut head = RequestHead::default();
    let start = format!("{method} /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n");
    let mut text = start.into_bytes();
    lines.iter().for_each(|line| text.extend_from_slice(line));
    text.extend_from_slice(b"\r\n\r\n");
    let parsed = request::parse(&text, &mut head).ok()??;
    (parsed.bytes == text.len()).then_some(head)
}

/// Only pages of an origin that is allowed may read the answer, and nothing that they ask for adds
/// a field to it.
pub fn cors_fields(input: &[u8]) {
    let cors = Cors {
        origins: vec![AllowedOrigin::new("https://*.a.example:8443").expect("it is one")],
        credentials: true,
        methods: AllowedNames::Any,
        headers: AllowedNames::Any,
        expose: AllowedNames::Any,
        max_age_s: 5,
    };
    for method in ["POST", "OPTIONS"] {
        let Some(head) = head_of(method, &[input]) else { return };
        let found = cors::origin(&cors, &head);
        if let Origin::Allowed(text) = &found {
            let lower = text.to_ascii_lowercase();
            let inner =
                lower.strip_prefix("https://").and_then(|it| it.strip_suffix(".a.example:8443"));
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            assert!(inner.is_some_and(|inner| inner.bytes().all(is_host)), "{text}");
        }
        let filters = [Filter::Cors(cors.clone())];
        let facts = Facts { port: Port::new(80).expect("it is one"), prefix: "" };
        let Some(own) = filters::answer(&filters, &facts, &head) else { continue };
        assert_eq!((method, own.status), ("OPTIONS", 200));
        assert_eq!(own.fields.is_empty(), found == Origin::Refused);
        let (written, mut bytes) = (own.head(None), Vec::new());
        response::write(&written, BodySize::None, Framing::Plain, Keep::Implied, &mut bytes);
        let mut again = ResponseHead::default();
        response::parse(&bytes, false, &mut again).expect("it is read").expect("it is whole");
        assert!(written.fields.iter().eq(again.fields.iter()), "{}", bytes.escape_ascii());
    }
}

/// A time that is understood is written as one that is not longer.
pub fn timeout_field(input: &[u8]) {
    for kind in [&b"weft-timeout: "[..], b"content-type: application/grpc\r\ngrpc-timeout: "] {
        let Some(mut head) = head_with(&[kind, input]) else { continue };
        head.version = Version::Http2; // Only there is gRPC spoken.
        let Ok(Some(time)) = asked(&head) else { continue };
        assert!(time <= Duration::from_secs(99_999_999 * 3600));
        let text = TimeoutText::new(time);
        let written = text.as_str();
        assert!(written.len() <= 9, "{written}");
        let again = head_with(&[b"weft-timeout: ", written.as_bytes()]).expect("it is a field");
        let again = asked(&again).expect("it was written by us").expect("it was written");
        assert!(again <= time.max(Duration::from_nanos(1)), "{time:?} became {again:?}");
    }
}

/// A trace context that is understood is passed on as the same one, and one that is not is passed
/// on as it is.
pub fn trace_context(input: &[u8]) {
    let Some(head) = head_with(&[input]) else { return };
    let context = TraceContext::from_fields(&head.fields);
    let mut other = Fields::default();
    other.append("b3", b"80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1");
    other.append("x-other", b"1");
    TraceContext::pass_on(&head.fields, &mut other);
    assert_eq!(TraceContext::from_fields(&other), context);
    for name in PROPAGATED {
        assert!(other.values(name).eq(head.fields.values(name)), "{name}");
    }
    if let Some(context) = context {
        let traceparent = format!("00-{}-{}-00", context.trace_id, context.span_id);
        let mut again = Fields::default();
        again.append("traceparent", traceparent.as_bytes());
        let again = TraceContext::from_fields(&again).expect("it was written by us");
        assert_eq!((again.trace_id, again.span_id), (context.trace_id, context.span_id));
    }
}
