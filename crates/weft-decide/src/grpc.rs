//! What gRPC says, in HTTP's terms.

use weft_http::{Fields, RequestHead, Version};

/// The status UNKNOWN: also what is meant by a status that cannot be read.
pub const UNKNOWN: u32 = 2;

/// The status UNAVAILABLE.
pub const UNAVAILABLE: u32 = 14;

/// Whether the request is a gRPC call.
///
/// There is no gRPC over HTTP/1: whoever only says so there reads statuses of HTTP, to whom a
/// refusal in gRPC's words would look like success.
/// Source: gRPC over HTTP/2, "Content-Type".
pub fn is_call(head: &RequestHead) -> bool {
    head.version == Version::Http2 && head.fields.get("content-type").is_some_and(is_type)
}

/// Whether `value` is gRPC's content type.
pub fn is_type(value: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let Some((start, rest)) = value.split_at_checked(TYPE.len()) else { return false };
    start.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The status that a head or trailers carry; [`UNKNOWN`] if it cannot be read.
///
/// In the head of a response it means that no message comes: gRPC calls such a response
/// Trailers-Only.
pub fn status(fields: &Fields) -> Option<u32> {
    let found = fields.get("grpc-status")?;
    let is_number = (1..=5).contains(&found.len()) && found.iter().all(u8::is_ascii_digit);
    let number = || found.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(if is_number { number() } else { UNKNOWN })
}

/// The HTTP status that says most nearly what a gRPC status does.
///
/// Source: the comments of `google/rpc/code.proto`, which Envoy follows as well where it counts
/// the failures of an endpoint.
pub fn http_status(grpc_status: u32) -> u16 {
    match grpc_status {
        0 => 200,          // OK
        1 => 499,          // CANCELLED
        3 | 9 | 11 => 400, // INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE
        4 => 504,          // DEADLINE_EXCEEDED
        5 => 404,          // NOT_FOUND
        6 | 10 => 409,     // ALREADY_EXISTS, ABORTED
        7 => 403,          // PERMISSION_DENIED
        8 => 429,          // RESOURCE_EXHAUSTED
        12 => 501,         // UNIMPLEMENTED
        UNAVAILABLE => 503,
        16 => 401, // UNAUTHENTICATED
        _ => 500,  // UNKNOWN, INTERNAL, DATA_LOSS, and what is none
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &str, value: &str) -> Fields {
        let mut fields = Fields::default();
        fields.append(name, value.as_bytes());
        fields
    }

    #[test]
    fn calls_are_known_by_their_type() {
        for (text, expected) in [
            ("application/grpc", true),
            ("Application/gRPC+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
            ("", false),
        ] {
            let mut head = RequestHead::default();
            head.fields = fields("Content-Type", text);
            assert!(!is_call(&head), "{text}, over HTTP/1.1");
            head.version = Version::Http2;
            assert_eq!(is_call(&head), expected, "{text}");
        }
        assert!(!is_call(&RequestHead::default()));
    }

    #[test]
    fn a_status_that_cannot_be_read_is_unknown() {
        for (text, expected) in
            [("0", 0), ("14", 14), ("99999", 99_999), ("", 2), ("-1", 2), ("1 4", 2), ("100000", 2)]
        {
            assert_eq!(status(&fields("Grpc-Status", text)), Some(expected), "{text}");
        }
        assert_eq!(status(&Fields::default()), None);
    }
}
