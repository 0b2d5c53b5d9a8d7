//! HTTP messages, the grammar of HTTP/1.1 on the wire, and that of HTTP/2's heads.
//!
//! Heads keep the order and the case of their fields, so that a proxy changes nothing that it need
//! not change. What is ambiguous is refused rather than repaired: two readings of one message are
//! how requests are smuggled.
//!
//! Deliberately absent: sockets, async, time, the frames of HTTP/2, and any decision about a
//! request.

mod body;
mod error;
mod fields;
mod head;
pub mod http2;
mod message;
pub mod request;
pub mod response;

pub use body::{BodyDecoder, BodyEncoder, BodySize, CHUNK_OVERHEAD_MAX, Step};
pub use error::GrammarError;
pub use fields::{Fields, Known};
pub use head::{RequestHead, ResponseHead, Version};

/// The most bytes of a head: start line and fields.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most fields of a head.
pub const FIELDS_MAX: usize = 128;
