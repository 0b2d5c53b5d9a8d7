//! The record of one request, or of one connection whose bytes are not looked into.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weft_model::SpiffeId;
use weft_world::UnixTime;

use crate::metrics::BackendUse;
use crate::trace::TraceContext;

/// The direction as seen from the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The workload was called.
    Inbound,
    /// The workload calls.
    Outbound,
}

/// What was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC, which is HTTP/2 with a status of its own behind the body.
    Grpc,
    /// Bytes that only the applications understand.
    Tcp,
    /// Nothing yet: it failed before that was known.
    Unknown,
}

impl Direction {
    /// As it is called in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        }
    }
}

impl Protocol {
    /// As it is called in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Http1 => "http/1.1",
            Protocol::Http2 => "http/2",
            Protocol::Grpc => "grpc",
            Protocol::Tcp => "tcp",
            Protocol::Unknown => "unknown",
        }
    }

    /// Whether the record is one of a request, rather than of a connection.
    pub const fn has_requests(self) -> bool {
        match self {
            Protocol::Http1 | Protocol::Http2 | Protocol::Grpc => true,
            Protocol::Tcp | Protocol::Unknown => false,
        }
    }
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
    /// The backend that was chosen: a Service as `NAMESPACE/NAME`, or what stands for one.
    pub backend: Option<Rc<str>>,
    /// The port of that Service.
    pub backend_port: Option<u16>,
    /// The route that matched, as `KIND/NAMESPACE/NAME`.
    pub route: Option<Rc<str>>,
    /// The rule of that route: its name, or else its number, the first being 0.
    pub rule: Option<Rc<str>>,
    /// The workload that called, as `NAMESPACE/NAME`. Inbound it is what the caller's proxy says;
    /// proved is only [`Record::peer`].
    pub source_workload: Option<Rc<str>>,
    /// The workload behind [`Record::upstream`], as `NAMESPACE/NAME`.
    pub workload: Option<Rc<str>>,
    /// The address of the endpoint that was tried last.
    pub upstream: Option<SocketAddr>,
    /// How often it was tried.
    pub attempts: u32,
    /// The stable code of what forbade one attempt more that the policy asked for, as `budget`.
    pub retry_denied: Option<&'static str>,
    /// The status answered; 0 if none was.
    pub status: u16,
    /// The status of gRPC, where there was one.
    pub grpc_status: Option<u16>,
    /// The stable code of the reason, where Weft itself answered or ended it.
    pub reason: Option<&'static str>,
    /// Whether Weft's own answer is what the route is there to give, and so no failure.
    pub is_meant: bool,
    /// The reason in words.
    pub detail: String,
    /// The audit rules, and what of policies in audit, would have refused it, as `POLICY FIELD`,
    /// joined by commas.
    pub audited: Option<String>,
    /// The faults that were put into it on purpose, as `POLICY FIELD`, joined by commas.
    pub fault: Option<String>,
    /// Bytes of the body that the caller sent.
    pub bytes_received: u64,
    /// Bytes of the body that it was answered.
    pub bytes_sent: u64,
    /// The trace that the caller made it part of.
    pub trace: Option<TraceContext>,
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
            backend_port: None,
            route: None,
            rule: None,
            source_workload: None,
            workload: None,
            upstream: None,
            attempts: 0,
            retry_denied: None,
            status: 0,
            grpc_status: None,
            reason: None,
            is_meant: false,
            detail: String::new(),
            audited: None,
            fault: None,
            bytes_received: 0,
            bytes_sent: 0,
            trace: None,
        }
    }

    /// Whether something went wrong, be it the caller's doing, the server's or the mesh's.
    pub fn is_failure(&self) -> bool {
        let grpc_failed = self.grpc_status.is_some_and(|status| status != 0);
        let is_refused = self.reason.is_some() && !self.is_meant;
        is_refused || self.status >= 400 || grpc_failed
    }
}

/// Something to be counted that is no request and ends no connection.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A connection was taken from a caller.
    Opened(Direction),
    /// A connection of which [`Event::Opened`] was told is gone.
    Closed(Direction),
    /// An endpoint of this backend gets no requests for a while, since it failed.
    Ejected {
        /// Its name, as in [`Record::backend`].
        service: &'a str,
        /// Why, in a word.
        cause: &'static str,
    },
    /// An endpoint of which [`Event::Ejected`] was told gets requests again, or is gone.
    Readmitted(&'a str),
    /// The own application was checked.
    Checked {
        /// Its port that was asked.
        port: u16,
        /// Whether the answer was as it is to be.
        has_passed: bool,
    },
    /// A backend has come into use. What is under way towards it is told by `used`, for as long as
    /// that is kept.
    Backend {
        /// Its name, as in [`Record::backend`].
        service: &'a str,
        /// Its port, as in [`Record::backend_port`].
        port: Option<u16>,
        /// What counts it.
        used: &'a Arc<BackendUse>,
    },
    /// A copy of a request that was to go to this backend has ended.
    Mirrored {
        /// The name of the backend, as in [`Record::backend`].
        service: &'a str,
        /// `answered`, or the stable code of the reason.
        outcome: &'static str,
    },
    /// Of a request or a connection, this policy would have refused it if it was not in audit.
    Audited(&'a str),
    /// A fault was put into a request on purpose, or was not, since so many are held.
    Faulted {
        /// The policy that asks for it.
        policy: &'a str,
        /// What it was: one of few words.
        fault: &'static str,
    },
    /// DNS was asked where a host outside is, and this is what it said: one of few words.
    LookedUp(&'static str),
    /// The command asked for a name, and this is who answered, or how: one of few words.
    Named(&'static str),
}

/// Takes finished records. Called on the data path: it must neither block nor fail.
pub trait Recorder {
    /// Takes `record`.
    fn finish(&self, record: &Record);

    /// Takes `event`. Not all that takes records has a use for it.
    fn note(&self, event: Event<'_>) {
        let _ = event;
    }
}

/// Two recorders, of which the first is told first.
pub struct Both<A, B>(pub A, pub B);

impl<A: Recorder, B: Recorder> Recorder for Both<A, B> {
    fn finish(&self, record: &Record) {
        self.0.finish(record);
        self.1.finish(record);
    }

    fn note(&self, event: Event<'_>) {
        self.0.note(event);
        self.1.note(event);
    }
}
