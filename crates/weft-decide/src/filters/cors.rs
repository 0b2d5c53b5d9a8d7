//! Which pages of other origins may read answers.
//!
//! Source: the Fetch standard, section 3.3; Gateway API, HTTPCORSFilter.

use std::fmt::Display;

use weft_http::{Fields, RequestHead};
use weft_model::{AllowedNames, AllowedOrigin, Cors, OriginHost, Scheme};

use super::OwnAnswer;

/// The code of the answer to a browser's question.
const REASON: &str = "cors-preflight";

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
const EXPOSE_HEADERS: &str = "Access-Control-Expose-Headers";
const VARY: &str = "Vary";

/// What an application may have said itself. Where the rule says it, that counts.
const OF_ANSWERS: [&str; 6] = [
    ALLOW_ORIGIN,
    ALLOW_CREDENTIALS,
    EXPOSE_HEADERS,
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
];

/// What a rule says of the origin of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The request names none: it is of no page, or of one of the same origin.
    None,
    /// It may not read the answer.
    Refused,
    /// It may, and this is how it is written.
    Allowed(String),
}

/// What `cors` says of the origin of the request `head`.
pub fn origin(cors: &Cors, head: &RequestHead) -> Origin {
    let mut values = head.fields.values("origin");
    let Some(value) = values.next() else { return Origin::None };
    let text = std::str::from_utf8(value).unwrap_or_default();
    let is_one = values.next().is_none() && !text.is_empty();
    let is_allowed = is_one && cors.origins.iter().any(|allowed| covers(allowed, text));
    if is_allowed { Origin::Allowed(text.to_owned()) } else { Origin::Refused }
}

/// Whether `allowed` covers the origin that is written as `text`.
fn covers(allowed: &AllowedOrigin, text: &str) -> bool {
    let AllowedOrigin::Of { scheme, host, port } = allowed else { return true };
    let Some(found) = Parts::of(text) else { return false };
    let is_host = match host {
        OriginHost::Any => true,
        OriginHost::Exact(host) => found.host.eq_ignore_ascii_case(host),
        OriginHost::Below(parent) => is_below(found.host, parent),
    };
    found.scheme == *scheme && found.port == port.get() && is_host
}

fn is_below(host: &str, parent: &str) -> bool {
    let length = host.len().checked_sub(parent.len());
    let split = length.and_then(|length| host.split_at_checked(length));
    split.is_some_and(|(labels, rest)| {
        rest.eq_ignore_ascii_case(parent) && labels.len() > 1 && labels.ends_with('.')
    })
}

/// An origin, taken apart.
struct Parts<'o> {
    scheme: Scheme,
    host: &'o str,
    port: u16,
}

impl Parts<'_> {
    /// The parts of `text`; none of an opaque origin, or of one of another scheme.
    fn of(text: &str) -> Option<Parts<'_>> {
        let (scheme, rest) = text.split_once("://")?;
        let is = |wanted: Scheme| scheme.eq_ignore_ascii_case(wanted.as_str());
        let scheme = [Scheme::Http, Scheme::Https].into_iter().find(|wanted| is(*wanted))?;
        let (host, port) = match rest.rsplit_once(':') {
            // The last colon of an address in brackets is none before a port.
            Some((host, port)) if !port.ends_with(']') => {
                let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
                let is_number = is_number && !port.starts_with('0');
                (host, port.parse().ok().filter(|_| is_number)?)
            }
            _ => (rest, scheme.port()),
        };
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let is_address = host.starts_with('[') && host.ends_with(']');
        let is_host = !host.is_empty() && (is_address || host.bytes().all(is_allowed));
        is_host.then_some(Parts { scheme, host, port })
    }
}

/// The answer to a browser's question whether a page may send a request; none if this is none.
///
/// An origin that may not is answered without leave, and the browser sends nothing.
pub(super) fn preflight(filter: usize, cors: &Cors, head: &RequestHead) -> Option<OwnAnswer> {
    let asked = joined(&head.fields, "access-control-request-method")?;
    let found = origin(cors, head);
    if head.method() != "OPTIONS" || found == Origin::None {
        return None;
    }
    let named = joined(&head.fields, "origin").unwrap_or_default();
    let Origin::Allowed(_) = found else {
        let detail = format!("pages of {named} may not read answers here");
        let fields = Vec::new();
        return Some(OwnAnswer { filter, status: 200, reason: REASON, detail, fields });
    };
    let headers = joined(&head.fields, "access-control-request-headers");
    let mut fields = Vec::new();
    let mut put = |name, value: Option<String>| {
        fields.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
    };
    put("Access-Control-Allow-Methods", allowed(&cors.methods, Some(&asked)));
    put("Access-Control-Allow-Headers", allowed(&cors.headers, headers.as_deref()));
    put("Access-Control-Max-Age", Some(cors.max_age_s.to_string()));
    let detail = format!("pages of {named} may read answers here");
    Some(OwnAnswer { filter, status: 200, reason: REASON, detail, fields })
}

/// What is allowed, as a list. Where that is all, what was asked for: a browser that sends
/// credentials takes `*` for a name.
fn allowed<T: Display>(names: &AllowedNames<T>, asked: Option<&str>) -> Option<String> {
    match names {
        AllowedNames::Any => asked.map(str::to_owned),
        AllowedNames::These(names) => Some(list(names)),
    }
}

fn list<T: Display>(names: &[T]) -> String {
    names.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// The values of the fields called `name`, as one; none if there is no such field, or if it is no
/// text.
fn joined(fields: &Fields, name: &str) -> Option<String> {
    let values: Result<Vec<_>, _> = fields.values(name).map(std::str::from_utf8).collect();
    values.ok().filter(|values| !values.is_empty()).map(|values| values.join(", "))
}

/// Has an answer say whether the request's `origin` may read it.
pub(super) fn on_answer(cors: &Cors, origin: &Origin, fields: &mut Fields) {
    vary_by_origin(fields);
    if *origin == Origin::None {
        return;
    }
    OF_ANSWERS.iter().for_each(|name| fields.remove(name.as_bytes()));
    let Origin::Allowed(origin) = origin else { return };
    fields.set(ALLOW_ORIGIN, origin.as_bytes());
    if cors.credentials {
        fields.set(ALLOW_CREDENTIALS, b"true");
    }
    match &cors.expose {
        // A browser that sends credentials takes it for a name.
        AllowedNames::Any if !cors.credentials => fields.set(EXPOSE_HEADERS, b"*"),
        AllowedNames::These(names) if !names.is_empty() => {
            fields.set(EXPOSE_HEADERS, list(names).as_bytes());
        }
        _ => {}
    }
}

/// Tells caches that answers differ by origin, those without one included.
fn vary_by_origin(fields: &mut Fields) {
    let says_so = |name: &[u8]| {
        let name = name.trim_ascii();
        name == b"*" || name.eq_ignore_ascii_case(b"origin")
    };
    let has_it = |value: &[u8]| value.split(|byte| *byte == b',').any(says_so);
    if !fields.values(VARY).any(has_it) {
        fields.append(VARY, b"Origin");
    }
}
