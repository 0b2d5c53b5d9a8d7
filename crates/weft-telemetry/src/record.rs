//! The record of one request, or of one connection whose bytes are not looked into.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use weft_model::SpiffeId;
use weft_world::UnixTime;

/// The direction as seen from the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The workload was called.
    Inbound,
    /// The workload calls.
    Outbound,
}

/// What was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// Bytes that only the applications understand.
    Tcp,
    /// Nothing yet: it failed before that was known.
    Unknown,
}

/// What is known of one request, or of one connection of opaque bytes, when it has ended.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which way it went.
    pub direction: Direction,
    /// What was spoken.
    pub protocol: Protocol,
    /// When it began.
    pub started: UnixTime,
    /// From its first byte to its end.
    pub duration: Duration,
    /// From its first byte to the head of the answer; none if there was none.
    pub first_byte: Option<Duration>,
    /// The address that called.
    pub downstream: SocketAddr,
    /// The identity that called, where it was proved.
    pub peer: Option<Rc<SpiffeId>>,
    /// The address that was called.
    pub destination: SocketAddr,
    /// The method; empty for opaque bytes.
    pub method: String,
    /// Host and port as the caller wrote them.
    pub authority: String,
    /// The path with its query.
    pub target: String,
    /// The backend that was chosen.
    pub backend: Option<Rc<str>>,
    /// The address of the endpoint that was tried last.
    pub upstream: Option<SocketAddr>,
    /// How often it was tried.
    pub attempts: u32,
    /// The status answered; 0 if none was.
    pub status: u16,
    /// The stable code of the reason, where Weft itself answered or ended it.
    pub reason: Option<&'static str>,
    /// The reason in words.
    pub detail: String,
    /// Bytes of the body that the caller sent.
    pub bytes_received: u64,
    /// Bytes of the body that it was answered.
    pub bytes_sent: u64,
}

impl Record {
    /// A record of something that begins now.
    pub fn new(
        direction: Direction,
        protocol: Protocol,
        started: UnixTime,
        downstream: SocketAddr,
        destination: SocketAddr,
    ) -> Record {
        Record {
            direction,
            protocol,
            started,
            duration: Duration::ZERO,
            first_byte: None,
            downstream,
            peer: None,
            destination,
            method: String::new(),
            authority: String::new(),
            target: String::new(),
            backend: None,
            upstream: None,
            attempts: 0,
            status: 0,
            reason: None,
            detail: String::new(),
            bytes_received: 0,
            bytes_sent: 0,
        }
    }

    /// Whether something went wrong, be it the caller's doing, the server's or the mesh's.
    pub fn is_failure(&self) -> bool {
        self.reason.is_some() || self.status >= 400
    }
}

/// Takes finished records. Called on the data path: it must neither block nor fail.
pub trait Recorder {
    /// Takes `record`.
    fn finish(&self, record: &Record);
}
