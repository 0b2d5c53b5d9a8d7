//! The HTTP/2 driver: what both sides of a connection have in common.
//!
//! The frames are the `h2` crate's. Around it stand the limits, the strict reading of heads, the
//! coupling of windows to what the other side takes, and what the end of a stream proves.
//!
//! *Flow control.* A window is opened only by what the other side of the exchange has taken, so
//! that a connection holds at most [`CONNECTION_WINDOW`] bytes that came and, for each exchange,
//! [`SEND_BUFFER_BYTES`] that wait to leave.
//!
//! *Hostile peers.* Streams that are reset before or after they were accepted, header blocks
//! without end, small and empty DATA frames, and errors that make this side reset are limited by
//! `h2` (see [`server::Server`]) and by a budget of resets. PING and SETTINGS are answered one at a
//! time: nothing is read before the answer has left.
//!
//! Deliberately absent: server push, extended CONNECT (and with it WebSocket), priorities.

mod body;
pub mod client;
mod errors;
pub mod grpc;
mod heads;
mod io;
mod keepalive;
pub mod server;

use std::time::Duration;

/// How much of one body may have come and not been passed on, in bytes.
///
/// At 1 Gbit/s it covers a round trip of 2 ms, as within a data centre.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for all bodies of a connection. One that stands still must not stop the others, so it
/// is several times [`STREAM_WINDOW`].
pub const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// [`STREAM_WINDOW`] where memory is limited.
const NARROW_STREAM_WINDOW: u32 = 64 * 1024;

/// [`CONNECTION_WINDOW`] where memory is limited.
const NARROW_CONNECTION_WINDOW: u32 = 512 * 1024;

/// How much of one body is given to the codec before it was written, in bytes.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The same in pieces, however small they are.
const SEND_BUFFER_PIECES: usize = 64;

/// How many bytes a connection of HTTP/2 may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Of one body, that have come and were not passed on.
    stream: u32,
    /// Of all bodies.
    connection: u32,
    /// Of one body, that were given to the codec and have not left.
    send: usize,
}

impl Room {
    /// Where nothing limits memory.
    pub const WIDE: Room =
        Room { stream: STREAM_WINDOW, connection: CONNECTION_WINDOW, send: SEND_BUFFER_BYTES };

    /// Where something does. As many exchanges as are let in then must fit, and each may come to a
    /// stand with all that it may hold on both sides: its window towards the server, its buffer
    /// towards the caller. What it costs is speed over long ways: 1 Gbit/s over half a millisecond.
    pub const NARROW: Room = Room {
        stream: NARROW_STREAM_WINDOW,
        connection: NARROW_CONNECTION_WINDOW,
        send: FRAME_BYTES_MAX as usize,
    };
}

/// How many exchanges a connection carries at a time, in either direction.
pub const STREAMS_MAX: u32 = 100;

/// What the codec takes of a header list, counted as SETTINGS_MAX_HEADER_LIST_SIZE is.
///
/// Above [`weft_http::HEAD_BYTES_MAX`], so that the usual case of a head that is too large gets an
/// answer that says so. Beyond it the codec answers 431 by itself, and from four times this size on
/// it ends the connection.
const HEADER_LIST_BYTES_MAX: u32 = 2 * 64 * 1024;

/// The largest frame that is taken, in bytes. The least that HTTP/2 allows.
const FRAME_BYTES_MAX: u32 = 16 * 1024;

/// The memory of header compression, in bytes. HTTP/2's own default.
const HEADER_TABLE_BYTES: u32 = 4096;

/// How many streams that this side has reset are remembered, for frames that were under way. Such a
/// frame for a stream that is forgotten counts as an error of the peer.
const RESET_STREAMS_MAX: usize = 500;

/// How long they are remembered: some round trips. The codec looks at the system's own clock, which
/// is why it is told what [`weft_world::Clock::on_system_clock`] makes of this.
const RESET_STREAMS_KEPT: Duration = Duration::from_secs(5);

/// How many streams may be reset by the peer before they were looked at (CVE-2023-44487).
const UNSEEN_RESETS_MAX: usize = 50;

/// How many errors of a caller are answered by a reset of the stream before its connection ends
/// (CVE-2025-8671). Streams beyond [`STREAMS_MAX`] are such errors.
const CALLER_ERRORS_MAX: usize = 1024;

/// The same for a server. With its connection the exchanges of many callers would end, and frames
/// that come late after exchanges that were given up are counted too.
const SERVER_ERRORS_MAX: usize = 16 * 1024;

/// What DATA frames of less than 256 bytes may lack of that size while they wait, in bytes, for all
/// streams (RUSTSEC-2026-0258). Some 16,000 tiny messages may wait for a slow receiver.
const SMALL_FRAMES_BUDGET: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests;
