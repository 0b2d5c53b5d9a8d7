//! Responses on the wire of HTTP/1.

use std::mem::MaybeUninit;

use crate::body::{BodySize, write_decimal};
use crate::fields::{Known, Span};
use crate::head::{ResponseHead, Version};
use crate::message::{asks_for_websocket, connection_options, head_error, stated_size};
use crate::{GrammarError, HeadLimits};

/// What a parsed head says besides the response itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// How many bytes the head took.
    pub bytes: usize,
    /// The body that follows.
    pub size: BodySize,
    /// Whether the connection may carry another request afterwards.
    pub keep_alive: bool,
    /// Whether the body, of a size not stated, ends with the connection rather than in chunks.
    pub ends_with_connection: bool,
    /// Whether the server changes to WebSocket.
    pub upgrade: bool,
}

/// Reads the head at the start of `input`, within [`HeadLimits::OUTSIDE`]. See [`parse_within`].
///
/// # Errors
/// As [`parse_within`].
pub fn parse(
    input: &[u8],
    to_head: bool,
    head: &mut ResponseHead,
) -> Result<Option<Parsed>, GrammarError> {
    parse_within(HeadLimits::OUTSIDE, input, to_head, head)
}

/// Reads the head at the start of `input` into `head`; `None` if it is not complete yet.
///
/// `to_head` says that the request was `HEAD`, whose response never has a body.
///
/// # Errors
/// Whatever is malformed or has two readings; the connection cannot be used further.
/// Source: RFC 9112, sections 4 to 6.
pub fn parse_within(
    limits: HeadLimits,
    input: &[u8],
    to_head: bool,
    head: &mut ResponseHead,
) -> Result<Option<Parsed>, GrammarError> {
    let window = &input[..input.len().min(limits.bytes)];
    let mut space = [const { MaybeUninit::uninit() }; HeadLimits::MESH.fields];
    let mut response = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, window, &mut space[..limits.fields])
        .map_err(head_error)?;
    let httparse::Status::Complete(bytes) = status else {
        return if window.len() == limits.bytes { Err(GrammarError::TooLarge) } else { Ok(None) };
    };
    let code = response.code.unwrap_or(0);
    if !(100..=999).contains(&code) {
        return Err(GrammarError::Head("invalid status"));
    }

    head.clear();
    head.fields.text.extend_from_slice(&window[..bytes]);
    head.fields.adopt(response.headers, window);
    head.status = code;
    head.version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let reason = response.reason.unwrap_or_default().as_bytes();
    head.reason = if reason.is_empty() { Span::default() } else { Span::of(reason, window) };

    let is_http10 = head.version == Version::Http10;
    let options = connection_options(&head.fields);
    let upgrade = code == 101 && asks_for_websocket(&head.fields, &options);
    if code == 101 && !upgrade {
        return Err(GrammarError::Head("101 without a change to websocket"));
    }
    let stated = stated_size(&head.fields, is_http10)?;
    let states_body = stated.is_some_and(|size| !size.is_empty());
    // There is none in these, and a sender that states one may send it all the same: the reader
    // must not be told, and the connection not be trusted further. RFC 9110, section 8.6.
    let is_bodiless = code < 200 || code == 204;
    if is_bodiless {
        if code < 200 && states_body {
            return Err(GrammarError::Head("an informational response states a body"));
        }
        head.fields.remove_known(|known| known == Known::ContentLength);
    }
    let size = match stated {
        _ if to_head || is_bodiless || code == 304 => BodySize::None,
        Some(size) => size,
        None => BodySize::Unknown,
    };
    // Without a stated length, the body ends with the connection.
    let ends_with_connection = stated.is_none() && size == BodySize::Unknown;
    head.fields.remove_known(|known| known == Known::Upgrade && !upgrade);
    head.fields.strip_hop_by_hop()?;
    let is_last = options.close || ends_with_connection || (is_bodiless && states_body);
    let keep_alive = !is_last && (!is_http10 || options.keep_alive);
    Ok(Some(Parsed { bytes, size, keep_alive, ends_with_connection, upgrade }))
}

/// How a response is framed towards its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its stated length, or without a body.
    Plain,
    /// In chunks.
    Chunked,
    /// By the end of the connection, for readers of HTTP/1.0.
    UntilClose,
}

/// Whether the connection is kept, as it must be told to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is kept, and the version implies it.
    Implied,
    /// It is kept, which a reader of HTTP/1.0 must be told.
    Told,
    /// It is closed.
    Close,
    /// It speaks WebSocket from now on.
    Upgrade,
}

/// Writes `head` for a body of `size` in `framing`.
pub fn write(head: &ResponseHead, size: BodySize, framing: Framing, keep: Keep, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(u64::from(head.status), out);
    out.push(b' ');
    out.extend_from_slice(head.reason());
    out.extend_from_slice(b"\r\n");
    head.fields.write(out);
    match (framing, size) {
        (Framing::Chunked, _) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        (Framing::Plain, BodySize::Length(length))
            if head.fields.known(Known::ContentLength).next().is_none() =>
        {
            out.extend_from_slice(b"Content-Length: ");
            write_decimal(length, out);
            out.extend_from_slice(b"\r\n");
        }
        _ => {}
    }
    match keep {
        Keep::Implied => {}
        Keep::Told => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Keep::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Keep::Upgrade => out.extend_from_slice(b"Connection: Upgrade\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
