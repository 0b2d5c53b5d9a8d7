//! Heads of HTTP/2 and HTTP/3, as a codec hands them over: no start line, names in lower case.
//!
//! What is read here has the same shape as what was read from HTTP/1, so that a request may go on
//! in either.

use crate::body::{BodySize, TRAILERS_BYTES_MAX, TRAILERS_MAX};
use crate::fields::{FIELD_OVERHEAD, Fields, Known, is_token, is_value};
use crate::head::{RequestHead, ResponseHead, Version, phrase};
use crate::message::stated_length;
use crate::request::check_authority;
use crate::{GrammarError, HEAD_BYTES_MAX, HeadLimits};

/// What the start line takes besides method and target, or status and phrase.
const START_LINE_OVERHEAD: usize = "HTTP/1.1 999 \r\n\r\n".len();

/// What a head may get on its way into HTTP/1, which must leave it within the limits there: the
/// field for the body, and in a request that for the authority.
const FOR_BODY: &str = "transfer-encoding: chunked\r\n";
const FOR_AUTHORITY: &str = "host: \r\n";

/// The pseudo-header fields of a request.
///
/// Source: RFC 9113, section 8.3.1.
#[derive(Clone, Copy, Debug)]
pub struct Pseudo<'p> {
    /// `:method`.
    pub method: &'p str,
    /// `:scheme`, where the codec kept it.
    pub scheme: Option<&'p str>,
    /// `:authority`.
    pub authority: Option<&'p str>,
    /// `:path`; empty in `CONNECT`.
    pub path: &'p str,
}

/// Puts a request into `head`, within [`HeadLimits::OUTSIDE`]. See [`read_request_within`].
///
/// # Errors
/// As [`read_request_within`].
pub fn read_request<'f>(
    pseudo: &Pseudo<'_>,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    has_ended: bool,
    head: &mut RequestHead,
) -> Result<BodySize, GrammarError> {
    read_request_within(HeadLimits::OUTSIDE, pseudo, fields, has_ended, head)
}

/// Puts a request into `head`, and says how long its body is. `has_ended` says that none follows.
///
/// The authority is kept apart from the fields: there is no `Host` among them. The crumbs of a
/// cookie are joined, as HTTP/1 needs it. Where this fails, `head` holds what was sound.
///
/// # Errors
/// Whatever is malformed or has two readings; only this stream is concerned.
/// Source: RFC 9113, sections 8.2 and 8.3.1.
pub fn read_request_within<'f>(
    limits: HeadLimits,
    pseudo: &Pseudo<'_>,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    has_ended: bool,
    head: &mut RequestHead,
) -> Result<BodySize, GrammarError> {
    head.clear();
    head.version = Version::Http2;
    let Pseudo { method, scheme, authority, path } = *pseudo;
    check_start(pseudo)?;
    head.method = head.fields.add_text(method.as_bytes());
    head.target = head.fields.add_text(path.as_bytes());
    if let Some(authority) = authority {
        check_authority(authority.as_bytes())?;
        head.authority = head.fields.add_text(authority.as_bytes());
    }
    if scheme.is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(GrammarError::Head(":scheme is neither http nor https"));
    }

    let start = method.len() + path.len() + authority.map_or(0, str::len);
    let mut reader = Reader::new(&mut head.fields, limits, start + START_LINE_OVERHEAD);
    reader.reserve(&[FOR_BODY, FOR_AUTHORITY]);
    let (mut cookie, mut host) = (Vec::new(), None);
    for (name, value) in fields {
        match reader.check(name, value)? {
            Known::Host if host.replace(value).is_some() => {
                return Err(GrammarError::Host("given twice"));
            }
            Known::Host => {}
            // A crumb that says nothing would leave a separator at the end, which HTTP/1 trims.
            _ if name == b"cookie" && value.is_empty() => {}
            _ if name == b"cookie" => {
                // Source: RFC 9113, section 8.2.3.
                cookie.extend_from_slice(if cookie.is_empty() { b"" } else { b"; " });
                cookie.extend_from_slice(value);
            }
            known => reader.keep(known, name, value),
        }
    }
    if !cookie.is_empty() {
        head.fields.append("cookie", &cookie);
    }
    match (authority, host) {
        (None, None) => return Err(GrammarError::Host("missing")),
        (Some(authority), Some(host)) if !authority.as_bytes().eq_ignore_ascii_case(host) => {
            return Err(GrammarError::Host("other than :authority"));
        }
        (Some(_), _) => {}
        (None, Some(host)) => {
            check_authority(host)?;
            head.authority = head.fields.add_text(host);
        }
    }
    size(stated_length(&head.fields)?, has_ended)
}

/// Puts a response into `head`, within [`HeadLimits::OUTSIDE`]. See [`read_response_within`].
///
/// # Errors
/// As [`read_response_within`].
pub fn read_response<'f>(
    status: u16,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    has_ended: bool,
    to_head: bool,
    head: &mut ResponseHead,
) -> Result<BodySize, GrammarError> {
    read_response_within(HeadLimits::OUTSIDE, status, fields, has_ended, to_head, head)
}

/// Puts a response into `head`, and says how long its body is. `has_ended` says that none follows,
/// `to_head` that the request was `HEAD`.
///
/// # Errors
/// Whatever is malformed or has two readings; only this stream is concerned.
/// Source: RFC 9113, sections 8.2 and 8.3.2; RFC 9110, sections 6.4.1 and 8.6.
pub fn read_response_within<'f>(
    limits: HeadLimits,
    status: u16,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    has_ended: bool,
    to_head: bool,
    head: &mut ResponseHead,
) -> Result<BodySize, GrammarError> {
    head.clear();
    head.version = Version::Http2;
    head.status = status;
    if status == 101 || !(100..=999).contains(&status) {
        return Err(GrammarError::Head("a status that HTTP/2 does not have"));
    }
    let phrase = phrase(status);
    head.reason = head.fields.add_text(phrase.as_bytes());
    let mut reader = Reader::new(&mut head.fields, limits, phrase.len() + START_LINE_OVERHEAD);
    reader.reserve(&[FOR_BODY]);
    for (name, value) in fields {
        let known = reader.check(name, value)?;
        reader.keep(known, name, value);
    }
    let stated = stated_length(&head.fields)?;
    if status < 200 || status == 204 {
        if status < 200 && stated.is_some_and(|length| length > 0) {
            return Err(GrammarError::Head("an informational response states a body"));
        }
        head.fields.remove_known(|known| known == Known::ContentLength);
    }
    if to_head || status < 200 || status == 204 || status == 304 {
        return Ok(BodySize::None);
    }
    size(stated, has_ended)
}

/// Puts a trailer section into `trailers`, without what only a head can say.
///
/// # Errors
/// As for heads, and beyond 32 fields or 16 KiB.
/// Source: RFC 9113, section 8.1; RFC 9110, section 6.5.1.
pub fn read_trailers<'f>(
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    trailers: &mut Fields,
) -> Result<(), GrammarError> {
    trailers.clear();
    let limits = HeadLimits { bytes: TRAILERS_BYTES_MAX, fields: TRAILERS_MAX };
    let mut reader = Reader::new(trailers, limits, "\r\n".len());
    for (name, value) in fields {
        let known = reader.check(name, value)?;
        if known == Known::Other {
            reader.keep(known, name, value);
        }
    }
    Ok(())
}

/// Checks everything but the authority, which comes with the fields.
fn check_start(pseudo: &Pseudo<'_>) -> Result<(), GrammarError> {
    let Pseudo { method, path, authority, .. } = *pseudo;
    if !is_token(method.as_bytes()) {
        return Err(GrammarError::Head("invalid :method"));
    }
    if method.len() + path.len() + authority.map_or(0, str::len) > HEAD_BYTES_MAX {
        return Err(GrammarError::TooLarge);
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(GrammarError::Head("invalid byte in :path"));
    }
    let is_sound = match method {
        "CONNECT" => path.is_empty(),
        "OPTIONS" if path == "*" => true,
        _ => path.starts_with('/'),
    };
    if is_sound { Ok(()) } else { Err(GrammarError::Head(":path does not begin with a slash")) }
}

/// The length of the body, where `stated` is what the fields say.
fn size(stated: Option<u64>, has_ended: bool) -> Result<BodySize, GrammarError> {
    match (stated, has_ended) {
        (None | Some(0), true) => Ok(BodySize::Length(0)),
        (Some(_), true) => {
            Err(GrammarError::Length("content-length states a body, and none comes"))
        }
        (Some(length), false) => Ok(BodySize::Length(length)),
        (None, false) => Ok(BodySize::Unknown),
    }
}

/// Takes fields one by one, within limits.
struct Reader<'r> {
    fields: &'r mut Fields,
    limits: HeadLimits,
    bytes: usize,
    count: usize,
}

impl<'r> Reader<'r> {
    fn new(fields: &'r mut Fields, limits: HeadLimits, bytes: usize) -> Reader<'r> {
        Reader { fields, limits, bytes, count: 0 }
    }

    /// Leaves room for `fields`.
    fn reserve(&mut self, fields: &[&str]) {
        self.count += fields.len();
        self.bytes += fields.iter().map(|field| field.len()).sum::<usize>();
    }

    /// Counts a field, and says which it is.
    ///
    /// Source: RFC 9113, sections 8.2.1 and 8.2.2.
    fn check(&mut self, name: &[u8], value: &[u8]) -> Result<Known, GrammarError> {
        self.bytes += name.len() + value.len() + FIELD_OVERHEAD;
        self.count += 1;
        if self.bytes > self.limits.bytes || self.count > self.limits.fields {
            return Err(GrammarError::TooLarge);
        }
        if !is_token(name) || name.iter().any(u8::is_ascii_uppercase) {
            return Err(GrammarError::Head("invalid field name"));
        }
        if !value.iter().all(|&byte| is_value(byte)) || value.trim_ascii().len() != value.len() {
            return Err(GrammarError::Head("invalid field value"));
        }
        let known = Known::from_name(name);
        let is_of_connection = match known {
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade => true,
            Known::Te => value != b"trailers",
            _ => false,
        };
        if is_of_connection {
            return Err(GrammarError::Head("a field that speaks of the connection"));
        }
        Ok(known)
    }

    /// Keeps a field, unless it is for this proxy alone.
    fn keep(&mut self, known: Known, name: &[u8], value: &[u8]) {
        if !known.is_hop_by_hop() {
            self.fields.add(known, name, value);
        }
    }
}

#[cfg(test)]
mod tests;
