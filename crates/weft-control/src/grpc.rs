//! gRPC over HTTP/2, as far as discovery needs it: frames without compression, and the status.
//!
//! Source: `doc/PROTOCOL-HTTP2.md` of gRPC.

use std::fmt::Write as _;

use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use thiserror::Error;

/// The path of the one method: a stream of requests against a stream of responses.
pub(crate) const DISCOVERY_PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// What the messages are.
pub(crate) const CONTENT_TYPE: &str = "application/grpc";

/// The most bytes of one message in either direction: room for the versions of some 50,000 objects
/// in a first request, and several times the largest response.
pub(crate) const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// A flag, and four bytes of length.
const PREFIX_BYTES: usize = 5;

/// The most bytes of a `grpc-message`, before it is encoded.
const STATUS_BYTES_MAX: usize = 1024;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Bytes that are no frames of this method.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The message is compressed, which was not agreed on.
    #[error("a compressed message: send it with grpc-encoding identity")]
    Compressed,
    /// The first byte means nothing.
    #[error("a message whose flag is {0}: only 0 is known here")]
    Flag(u8),
    /// The message is too large to be read.
    #[error("a message of {0} bytes: the most is {MESSAGE_BYTES_MAX}")]
    TooLarge(usize),
    /// The stream ended within a message.
    #[error("the stream ended within a message")]
    Cut,
}

impl From<FrameError> for Status {
    fn from(error: FrameError) -> Status {
        let code = match error {
            FrameError::Compressed => Code::Unimplemented,
            FrameError::TooLarge(_) => Code::ResourceExhausted,
            FrameError::Flag(_) | FrameError::Cut => Code::Internal,
        };
        Status::new(code, error.to_string())
    }
}

/// Takes bytes apart into messages. Holds one message at most, and what came with its end.
#[derive(Debug, Default)]
pub struct Framer {
    bytes: Vec<u8>,
    /// How many of the bytes were given out.
    used: usize,
}

impl Framer {
    /// Takes what came. To be called when [`Framer::next`] has nothing to give.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.used == self.bytes.len() {
            // Large messages are rare: their memory is not kept for the next one.
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..self.used);
        }
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if all of it is there.
    ///
    /// # Errors
    /// [`FrameError`]; the stream is to be closed.
    #[expect(clippy::should_implement_trait, reason = "what it lends lives in it")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let rest = &self.bytes[self.used..];
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let [flag, length @ ..] = *prefix;
        match flag {
            0 => {}
            1 => return Err(FrameError::Compressed),
            flag => return Err(FrameError::Flag(flag)),
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLarge(length));
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        self.used += PREFIX_BYTES + length;
        Ok(Some(message))
    }

    /// Checks that the stream may end here.
    ///
    /// # Errors
    /// [`FrameError::Cut`].
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.used < self.bytes.len() { Err(FrameError::Cut) } else { Ok(()) }
    }
}

/// `message` as a frame.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + length);
    bytes.push(0);
    // Responses are bounded far below this; a longer one would be refused by its length.
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    message.encode_raw(&mut bytes);
    Bytes::from(bytes)
}

/// How a call ended, by the codes of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Ok = 0,
    Cancelled = 1,
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unauthenticated = 16,
}

/// How a call ended, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Status {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Status {
        Status { code, message: message.into() }
    }

    pub(crate) fn ok() -> Status {
        Status::new(Code::Ok, "")
    }

    /// As the trailers of the answer.
    pub(crate) fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert(STATUS, HeaderValue::from(self.code as u16));
        if !self.message.is_empty()
            && let Ok(value) = HeaderValue::try_from(encoded(&self.message))
        {
            trailers.insert(MESSAGE, value);
        }
        trailers
    }
}

/// What the trailers of an answer, or its headers if it has nothing else, say of its end.
/// Nothing if they say that all is well.
pub(crate) fn failure(headers: &HeaderMap) -> Option<String> {
    let status = headers.get(STATUS)?;
    if status == "0" {
        return None;
    }
    let code = status.to_str().unwrap_or("unreadable").chars().take(16).collect::<String>();
    let message = headers.get(MESSAGE).map_or(String::new(), |value| decoded(value.as_bytes()));
    Some(match message.is_empty() {
        true => format!("gRPC status {code}"),
        false => format!("{message} (gRPC status {code})"),
    })
}

/// `text` with everything but plain ASCII percent-encoded.
fn encoded(text: &str) -> String {
    let end = text.floor_char_boundary(STATUS_BYTES_MAX);
    let mut out = String::with_capacity(end);
    for byte in text[..end].bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes all that is written");
        }
    }
    out
}

/// What was percent-encoded; what is malformed stays as it is, and controls are not shown.
fn decoded(bytes: &[u8]) -> String {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            _ => out.push(*first),
        }
    }
    let text = String::from_utf8_lossy(&out);
    let shown = text.chars().take(STATUS_BYTES_MAX);
    shown.map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests;
