//! How to say in gRPC that something failed.
//!
//! Bodies and trailers pass as they are.

use weft_http::ResponseHead;

use crate::error::Verdict;

/// The longest message that is told, in bytes before encoding.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The status of Weft's own answer to a call, where another request would get this HTTP status.
///
/// Source: gRPC's `http-grpc-status-mapping.md`; and Gateway API for a backend that is not there,
/// which alone is answered with 500.
pub fn status_of_http(status: u16) -> u32 {
    match status {
        400 | 431 => 13,             // INTERNAL
        401 => 16,                   // UNAUTHENTICATED
        403 => 7,                    // PERMISSION_DENIED
        404 => 12,                   // UNIMPLEMENTED
        429 | 500 | 502 | 503 => 14, // UNAVAILABLE
        408 | 504 => 4,              // DEADLINE_EXCEEDED: here it is known that it was one
        _ => 2,                      // UNKNOWN
    }
}

/// Weft's own answer to a call that failed: a head that nothing follows.
///
/// Source: gRPC over HTTP2, "Responses": Trailers-Only.
pub fn failure(verdict: &Verdict, message: &str) -> ResponseHead {
    let mut head = ResponseHead::with_status(200);
    head.fields.append("content-type", b"application/grpc");
    head.fields.append("grpc-status", verdict.grpc_status.to_string().as_bytes());
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
