//! Heads in the types of the codec.

use ::http::header::{CONTENT_LENGTH, HOST, TE};
use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use weft_http::{BodySize, Fields, GrammarError, Known, RequestHead, ResponseHead};

/// Names and values of `map`.
pub(super) fn fields(map: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

/// The fields as HTTP/2 has them: names in lower case, nothing that speaks of the connection, and
/// no `Host`, whose place is `:authority`.
///
/// # Errors
/// [`GrammarError::Head`] for what cannot be said in HTTP/2. The readers of heads let none pass.
pub(super) fn map(fields: &Fields) -> Result<HeaderMap, GrammarError> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter() {
        let known = Known::from_name(name);
        if known.is_hop_by_hop() || matches!(known, Known::Host | Known::Upgrade | Known::Te) {
            if known == Known::Te && value.eq_ignore_ascii_case(b"trailers") {
                map.insert(TE, HeaderValue::from_static("trailers"));
            }
            continue;
        }
        let name = HeaderName::from_bytes(name)
            .map_err(|_| GrammarError::Head("a field name that HTTP/2 does not have"))?;
        let value = HeaderValue::from_bytes(value)
            .map_err(|_| GrammarError::Head("a field value that HTTP/2 does not have"))?;
        let added = map.try_append(name, value);
        added.map_err(|_| GrammarError::TooLarge)?;
    }
    Ok(map)
}

/// The request in `head`, whose body will be of `size`.
///
/// The scheme is `http` for applications, since that is what they speak: whatever secures the way
/// between proxies is none of their business.
///
/// # Errors
/// As [`map`].
pub(super) fn request(
    head: &RequestHead,
    size: BodySize,
    scheme: Scheme,
) -> Result<Request<()>, GrammarError> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method().as_bytes())
        .map_err(|_| GrammarError::Head("a method that HTTP/2 does not have"))?;
    *request.headers_mut() = map(&head.fields)?;
    state_length(request.headers_mut(), size);
    let target = target(head.target())?;
    match Authority::try_from(head.authority()) {
        Ok(authority) => {
            let mut parts = ::http::uri::Parts::default();
            parts.scheme = Some(scheme);
            parts.authority = Some(authority);
            parts.path_and_query = Some(target);
            *request.uri_mut() = Uri::from_parts(parts)
                .map_err(|_| GrammarError::Head("a target that HTTP/2 does not have"))?;
        }
        // An empty one, or one with bytes that the codec does not take in this place.
        Err(_) => {
            *request.uri_mut() = Uri::from(target);
            let host = HeaderValue::from_str(head.authority())
                .map_err(|_| GrammarError::Host("invalid byte"))?;
            request.headers_mut().insert(HOST, host);
        }
    }
    Ok(request)
}

/// Path and query. Four bytes that HTTP/1 is let through with, and the codec refuses, are encoded:
/// no URL may hold them.
fn target(text: &str) -> Result<PathAndQuery, GrammarError> {
    if let Ok(target) = PathAndQuery::try_from(text) {
        return Ok(target);
    }
    let mut encoded = String::with_capacity(text.len() + 32);
    for byte in text.bytes() {
        match byte {
            b'<' | b'>' | b'`' | b'"' => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    PathAndQuery::try_from(encoded)
        .map_err(|_| GrammarError::Head("a target that HTTP/2 does not have"))
}

/// The answer in `head`, whose body will be of `size`.
///
/// # Errors
/// As [`map`].
pub(super) fn response(head: &ResponseHead, size: BodySize) -> Result<Response<()>, GrammarError> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status)
        .map_err(|_| GrammarError::Head("a status that HTTP/2 does not have"))?;
    *response.headers_mut() = map(&head.fields)?;
    state_length(response.headers_mut(), size);
    Ok(response)
}

/// States the length where it is known and no field does. That of nothing is seen by the end.
fn state_length(map: &mut HeaderMap, size: BodySize) {
    if let BodySize::Length(length) = size
        && length > 0
        && !map.contains_key(CONTENT_LENGTH)
    {
        map.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}
