//! What a message can do wrong.

use thiserror::Error;

/// A message that does not follow HTTP's grammar, or that has more than one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GrammarError {
    /// The start line or a field is malformed.
    #[error("malformed head: {0}")]
    Head(&'static str),
    /// The head has more than [`crate::HEAD_BYTES_MAX`] bytes or [`crate::FIELDS_MAX`] fields.
    #[error("the head exceeds 65536 bytes or 128 fields")]
    TooLarge,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    #[error("unsupported HTTP version")]
    Version,
    /// A transfer coding other than exactly `chunked`.
    #[error("unsupported transfer-encoding, only chunked is")]
    TransferEncoding,
    /// The length of the body can be read in two ways, or not at all.
    #[error("ambiguous body length: {0}")]
    Length(&'static str),
    /// The host is missing, given twice, or malformed.
    #[error("invalid host: {0}")]
    Host(&'static str),
    /// The framing of a chunked body is malformed.
    #[error("malformed chunked body: {0}")]
    Chunk(&'static str),
    /// The frames of HTTP/2 break its rules.
    #[error("malformed HTTP/2: {0}")]
    Frames(&'static str),
    /// The peer ended the stream within a message.
    #[error("the message ended early")]
    Truncated,
}
