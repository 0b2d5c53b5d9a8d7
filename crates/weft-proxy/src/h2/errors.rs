//! What the end of a stream means.

use std::io;

use ::h2::{Error, Reason};
use weft_http::GrammarError;

use super::io::Link;
use crate::error::{ProvenUnprocessed, ProxyError, StreamError};

/// What its caller did wrong, if it is for that that `error` has ended a connection.
pub(super) fn fault(error: &Error) -> Option<ProxyError> {
    if !error.is_library() {
        return None; // The caller went away, or said itself that it is over.
    }
    match error.reason().unwrap_or(Reason::PROTOCOL_ERROR) {
        Reason::NO_ERROR => None,
        Reason::ENHANCE_YOUR_CALM => Some(ProxyError::TooManyResets),
        reason => Some(ProxyError::BadFrames(reason_text(reason))),
    }
}

/// What `error`, met on a stream of the connection of `link`, means for its exchange.
///
/// A stream above the last one that GOAWAY names was not processed, nor one that was refused.
/// Source: RFC 9113, section 8.7.
pub(super) fn stream_error(error: Error, link: &Link) -> StreamError {
    if error.is_io() {
        // The link knows more than the codec hands on.
        let known = link.error().or_else(|| error.into_io());
        return StreamError::Io(known.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()));
    }
    if error.is_library() {
        let reason = error.reason().unwrap_or(Reason::PROTOCOL_ERROR);
        return GrammarError::Frames(reason_text(reason)).into();
    }
    if error.is_remote() && error.is_go_away() {
        return unprocessed(error.to_string());
    }
    reset_error(error.reason().unwrap_or(Reason::CANCEL), error.to_string())
}

/// What it means that the peer has reset a stream for `reason`.
pub(super) fn reset_error(reason: Reason, text: String) -> StreamError {
    if reason == Reason::REFUSED_STREAM {
        return unprocessed(text);
    }
    StreamError::Io(io::Error::new(io::ErrorKind::ConnectionReset, text))
}

/// An error of a request that nobody has processed.
pub(super) fn unprocessed(text: String) -> StreamError {
    StreamError::Io(io::Error::new(io::ErrorKind::ConnectionReset, ProvenUnprocessed(text)))
}

/// What a peer did wrong, where this side has noticed it.
fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::FLOW_CONTROL_ERROR => "more bytes than the window allows",
        Reason::STREAM_CLOSED => "a frame on a stream that had ended",
        Reason::FRAME_SIZE_ERROR => "a frame of the wrong size",
        Reason::COMPRESSION_ERROR => "header compression is out of step",
        Reason::ENHANCE_YOUR_CALM => "too many frames of little use",
        _ => "a frame or head that its rules do not allow, or a body not as long as stated",
    }
}
