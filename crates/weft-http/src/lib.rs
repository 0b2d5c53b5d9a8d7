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

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    pub(crate) bytes: usize,
    pub(crate) fields: usize,
}

impl HeadLimits {
    /// For what applications write, and everybody outside of the mesh.
    pub const OUTSIDE: HeadLimits = HeadLimits { bytes: HEAD_BYTES_MAX, fields: FIELDS_MAX };

    /// For what a proxy of the mesh took within [`HeadLimits::OUTSIDE`] and passed on: it has added
    /// fields of its own, and a blank and a line end where a sender had spared them.
    ///
    /// Were it not more, a head that the first proxy takes would be refused by the second.
    pub const MESH: HeadLimits =
        HeadLimits { bytes: HEAD_BYTES_MAX + MESH_BYTES, fields: FIELDS_MAX + MESH_FIELDS };
}

/// How many fields a proxy may add to a head on its way to another one.
const MESH_FIELDS: usize = 8;

/// How many bytes it may add.
const MESH_BYTES: usize = 1024;

/// The most bytes of a head: start line and fields.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most fields of a head.
pub const FIELDS_MAX: usize = 128;
