//! Requests on the wire of HTTP/1.

use std::mem::MaybeUninit;

use crate::body::{BodySize, write_decimal};
use crate::fields::{Known, Span, is_token};
use crate::head::{RequestHead, Version};
use crate::message::{asks_for_websocket, connection_options, head_error, reduce_te, stated_size};
use crate::{GrammarError, HeadLimits};

/// What a parsed head says besides the request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// How many bytes the head took.
    pub bytes: usize,
    /// The body that follows.
    pub size: BodySize,
    /// Whether the connection may carry another request afterwards.
    pub keep_alive: bool,
}

/// Reads the head at the start of `input`, within [`HeadLimits::OUTSIDE`]. See [`parse_within`].
///
/// # Errors
/// As [`parse_within`].
pub fn parse(input: &[u8], head: &mut RequestHead) -> Result<Option<Parsed>, GrammarError> {
    parse_within(HeadLimits::OUTSIDE, input, head)
}

/// Reads the head at the start of `input` into `head`; `None` if it is not complete yet.
///
/// Fields that speak of one connection only are taken out, an absolute target is taken apart, and
/// what is left is what may be passed on.
///
/// # Errors
/// Whatever is malformed or has two readings; the connection cannot be used further.
/// Source: RFC 9112, sections 2 to 6, and RFC 9110, section 7.
pub fn parse_within(
    limits: HeadLimits,
    input: &[u8],
    head: &mut RequestHead,
) -> Result<Option<Parsed>, GrammarError> {
    let window = &input[..input.len().min(limits.bytes)];
    let mut space = [const { MaybeUninit::uninit() }; HeadLimits::MESH.fields];
    let mut request = httparse::Request::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_request_with_uninit_headers(&mut request, window, &mut space[..limits.fields])
        .map_err(head_error)?;
    let httparse::Status::Complete(bytes) = status else {
        return if window.len() == limits.bytes { Err(GrammarError::TooLarge) } else { Ok(None) };
    };
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(GrammarError::Head("invalid start line"));
    };
    if bytes + encoded_bytes(target, limits.bytes - bytes) > limits.bytes {
        return Err(GrammarError::TooLarge);
    }

    head.clear();
    head.fields.text.extend_from_slice(&window[..bytes]);
    head.fields.adopt(request.headers, window);
    head.method = Span::of(method.as_bytes(), window);
    head.version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };

    let is_http10 = head.version == Version::Http10;
    let size = stated_size(&head.fields, is_http10)?.unwrap_or(BodySize::Length(0));
    let options = connection_options(&head.fields);
    // WebSocket begins with a GET, and nobody may change protocols in the midst of a body.
    // Source: RFC 6455, section 4.1, and RFC 9110, section 7.8.
    let may_upgrade = !is_http10 && method == "GET" && size == BodySize::Length(0);
    head.upgrade = may_upgrade && asks_for_websocket(&head.fields, &options);
    let upgrade = head.upgrade;
    head.fields.remove_known(|known| known == Known::Upgrade && !upgrade);
    reduce_te(&mut head.fields);
    head.fields.strip_hop_by_hop()?;
    read_target(head, target, window)?;

    // What follows CONNECT may be the tunnel's bytes already, which are no requests.
    let keep_alive =
        !options.close && (!is_http10 || options.keep_alive) && head.method() != "CONNECT";
    Ok(Some(Parsed { bytes, size, keep_alive }))
}

/// How much longer `target` becomes in HTTP/2, where four bytes that are let through here must be
/// encoded. It is looked for only where that could be more than the `room` there is.
fn encoded_bytes(target: &str, room: usize) -> usize {
    let more = "%22".len() - 1;
    if target.len() * more <= room {
        return 0;
    }
    more * target.bytes().filter(|byte| matches!(byte, b'<' | b'>' | b'`' | b'"')).count()
}

/// Finds authority, path and query. Source: RFC 9112, sections 3.2 and 3.3.
fn read_target(head: &mut RequestHead, target: &str, window: &[u8]) -> Result<(), GrammarError> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(GrammarError::Head("invalid byte in the target"));
    }
    let host = single_host(head)?;
    if head.method() == "CONNECT" {
        check_authority(target.as_bytes())?;
        head.authority = Span::of(target.as_bytes(), window);
        return Ok(());
    }
    if target.starts_with('/') || (target == "*" && head.method() == "OPTIONS") {
        head.target = Span::of(target.as_bytes(), window);
        head.authority = host.unwrap_or_default();
        return Ok(());
    }
    let rest = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let Some(rest) = rest.map(|scheme| &target[scheme.len()..]) else {
        return Err(GrammarError::Head("the target is neither a path nor an http URL"));
    };
    // The URL's authority wins over the Host field.
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() {
        return Err(GrammarError::Host("empty"));
    }
    check_authority(authority.as_bytes())?;
    let authority = authority.to_owned();
    if path.starts_with('/') {
        head.target = Span::of(path.as_bytes(), window);
    } else if path.is_empty() && head.method() == "OPTIONS" {
        head.set_target("*"); // Source: RFC 9112, section 3.2.4.
    } else {
        head.set_target(&format!("/{path}"));
    }
    head.set_authority(&authority);
    Ok(())
}

/// The value of the one `Host` field. Source: RFC 9112, section 3.2.
fn single_host(head: &RequestHead) -> Result<Option<Span>, GrammarError> {
    let mut hosts = head.fields.known(Known::Host);
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(GrammarError::Host("given twice"));
    }
    match first {
        None if head.version == Version::Http10 => Ok(None),
        None => Err(GrammarError::Host("missing")),
        Some(value) => {
            check_authority(value)?;
            Ok(Some(Span::of(value, &head.fields.text)))
        }
    }
}

/// Whether `authority` is a host with an optional port, and nothing else. It may be empty.
pub(crate) fn check_authority(authority: &[u8]) -> Result<(), GrammarError> {
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(byte);
    let (host, port) = if let Some(rest) = authority.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|&byte| byte == b']') else {
            return Err(GrammarError::Host("unclosed bracket"));
        };
        let is_address = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
        if end == 0 || !rest[..end].iter().all(is_address) {
            return Err(GrammarError::Host("invalid IPv6 address"));
        }
        (&b""[..], &rest[end + 1..])
    } else {
        let colon = authority.iter().position(|&byte| byte == b':').unwrap_or(authority.len());
        authority.split_at(colon)
    };
    if !host.iter().all(is_host) {
        return Err(GrammarError::Host("invalid byte"));
    }
    match port {
        [] => Ok(()),
        [b':', digits @ ..] if is_port(digits) => Ok(()),
        _ => Err(GrammarError::Host("invalid port")),
    }
}

/// Whether `digits` is a port, which may be empty.
fn is_port(digits: &[u8]) -> bool {
    let decimal = |number: u32, digit: &u8| number * 10 + u32::from(digit - b'0');
    digits.len() <= 5
        && digits.iter().all(u8::is_ascii_digit)
        && digits.iter().fold(0, decimal) <= u32::from(u16::MAX)
}

/// Writes `head` for a body of `size`.
pub fn write(head: &RequestHead, size: BodySize, out: &mut Vec<u8>) {
    debug_assert!(is_token(head.method().as_bytes()));
    out.extend_from_slice(head.method().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.target().as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if head.fields.known(Known::Host).next().is_none() {
        out.extend_from_slice(b"Host: ");
        out.extend_from_slice(head.authority().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    head.fields.write(out);
    match size {
        BodySize::Unknown => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodySize::Length(length) if length > 0 => {
            if head.fields.known(Known::ContentLength).next().is_none() {
                out.extend_from_slice(b"Content-Length: ");
                write_decimal(length, out);
                out.extend_from_slice(b"\r\n");
            }
        }
        BodySize::Length(_) | BodySize::None => {}
    }
    if head.upgrade {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
