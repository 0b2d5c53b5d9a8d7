//! What a proxy needs to know of gRPC: its status, and how to say in it that something failed.
//!
//! Bodies and trailers pass as they are.

use weft_http::{Fields, RequestHead, ResponseHead};

use crate::error::Verdict;

/// The longest message that is told, in bytes before encoding.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Whether `head` begins a gRPC call. gRPC-Web is not one: its status is in the body.
///
/// Source: gRPC over HTTP2, "Requests".
pub fn is_call(head: &RequestHead) -> bool {
    let Some(value) = head.fields.get("content-type") else { return false };
    let kind = b"application/grpc";
    let is_kind = value.len() >= kind.len() && value[..kind.len()].eq_ignore_ascii_case(kind);
    is_kind && matches!(value[kind.len()..].first(), None | Some(b'+' | b';' | b' '))
}

/// The `grpc-status` in a trailer section, or in a head that nothing follows.
pub fn status(fields: &Fields) -> Option<u32> {
    std::str::from_utf8(fields.get("grpc-status")?).ok()?.parse().ok()
}

/// The status that a client gives a call whose answer has this HTTP status and nothing of gRPC.
///
/// Source: gRPC's `http-grpc-status-mapping.md`.
pub fn status_of_http(status: u16) -> u32 {
    match status {
        400 | 431 => 13,             // INTERNAL
        401 => 16,                   // UNAUTHENTICATED
        403 => 7,                    // PERMISSION_DENIED
        404 => 12,                   // UNIMPLEMENTED
        429 | 502 | 503 | 504 => 14, // UNAVAILABLE
        _ => 2,                      // UNKNOWN
    }
}

/// Weft's own answer to a call that failed: a head that nothing follows.
///
/// Source: gRPC over HTTP2, "Responses": Trailers-Only.
pub fn failure(verdict: &Verdict, message: &str) -> ResponseHead {
    let mut head = ResponseHead::with_status(200);
    head.fields.append("content-type", b"application/grpc");
    head.fields.append("grpc-status", status_of_http(verdict.status).to_string().as_bytes());
    head.fields.append("grpc-message", percent_encoded(message).as_bytes());
    head.fields.append("weft-reason", verdict.reason.as_bytes());
    head
}

/// `message` in the bytes that a field may hold.
///
/// Source: gRPC over HTTP2, `Percent-Encoded`.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for character in message.chars() {
        if encoded.len() >= MESSAGE_BYTES_MAX {
            break;
        }
        if matches!(character, ' '..='~') && character != '%' {
            encoded.push(character);
            continue;
        }
        let mut bytes = [0; 4];
        for byte in character.encode_utf8(&mut bytes).bytes() {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
