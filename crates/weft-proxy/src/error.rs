//! What can go wrong with a request or a connection, and all that follows from it.

mod nature;
mod stream;
mod words;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use weft_decide::authorize::Why;
use weft_decide::deadline::{Limit, TimeoutError};
use weft_decide::fault;
use weft_decide::limits::{LimitName, LimitReached};
use weft_decide::normalize::PathError;
use weft_decide::retry::Outcome;
use weft_http::GrammarError;
use weft_identity::{HandshakeError, OriginationError};
use weft_model::{AbortWith, Port, SpiffeId};
use weft_wire::mux::MuxError;
use weft_wire::tunnel::FrameError;

use self::nature::is_of_caller;
pub use self::stream::StreamError;
pub(crate) use self::stream::{NoRoom, ProvenUnprocessed};
use self::words::{asked_as, denied_by, limit_name};
use crate::detect::HelloError;
use crate::h2::grpc::status_of_http;

/// A request or a connection that did not come to its regular end.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The caller's bytes are no request.
    #[error("{0}")]
    BadRequest(GrammarError),
    /// A request whose head was begun, and not complete in time.
    #[error("the head of the request was not complete within 60 s")]
    HeadTimeout,
    /// A connection of HTTP/2 that its caller did not open in time.
    #[error("the caller did not open its connection of HTTP/2 within 60 s")]
    OpeningTimeout,
    /// A connection of TLS did not say in time whom it is for, by which it is routed.
    #[error("the caller did not say within 60 s whom its connection of TLS is for")]
    HelloTimeout,
    /// A connection that is routed by whom its TLS is for does not say that so that it can be read.
    #[error("{0}")]
    BadHello(HelloError),
    /// The caller's frames of HTTP/2 break its rules. Its connection was ended, and all exchanges
    /// with it.
    #[error("the caller breaks the rules of HTTP/2: {0}")]
    BadFrames(&'static str),
    /// The frames of the caller's tunnel break its rules. It was ended, and all exchanges in it.
    #[error("the caller breaks the rules of tunnels: {0}")]
    BadTunnel(MuxError),
    /// The caller begins and breaks off more exchanges of HTTP/2, or sends more frames of little
    /// use, than is put up with. Its connection was ended, and all exchanges with it.
    #[error("the caller breaks off too many exchanges, or sends too many frames of little use")]
    TooManyResets,
    /// The request's path has no one meaning.
    #[error("the path has no one meaning: {0}")]
    BadPath(PathError),
    /// The request asks for a tunnel of its own.
    #[error("CONNECT is not allowed on this port")]
    ConnectMethod,
    /// The caller went away.
    #[error("the caller went away before the answer was complete")]
    ClientGone,
    /// The caller's request body broke off or was malformed.
    #[error("the request body ended early or was malformed: {0}")]
    BadBody(StreamError),
    /// A Service that discovery does not know.
    #[error("the Service {service} is not known: {why}")]
    ServiceUnknown {
        /// The Service.
        service: String,
        /// Why not.
        why: String,
    },
    /// A port that the Service does not have.
    #[error("the Service {service} has no port {port}")]
    NoServicePort {
        /// The Service.
        service: String,
        /// The port.
        port: Port,
    },
    /// A port of an ExternalService to which a rule leads, and that is not there.
    #[error("there is no ExternalService {service} with port {port} and one host")]
    NoExternalPort {
        /// The ExternalService.
        service: String,
        /// The port.
        port: Port,
    },
    /// An ExternalService whose rules are not all there: without one of them it is not known where
    /// a call is to go.
    #[error("the rules of ExternalService {service} are not all known: {why}")]
    RulesUnknown {
        /// The ExternalService.
        service: String,
        /// What is missing.
        why: String,
    },
    /// An address within the mesh's ranges that nobody is known to have.
    #[error("nobody in the mesh is known to have the address {address}: {why}")]
    AddressUnknown {
        /// The address that was called.
        address: SocketAddr,
        /// Why not.
        why: String,
    },
    /// An address outside of the mesh, where only registered destinations may be called.
    #[error(
        "{address}{} is outside of the mesh, whose `spec.defaults.outbound` is registered",
        asked_as(asked.as_deref())
    )]
    OutsideRefused {
        /// The address that was called.
        address: SocketAddr,
        /// The host by which it was asked for, if that is known.
        asked: Option<String>,
    },
    /// A host outside that there is not.
    #[error("there is no host {host}, DNS says")]
    HostUnknown {
        /// The host.
        host: String,
    },
    /// A host outside of which it is not known where it is.
    #[error("it is not known where {host} is: {why}")]
    LookupFailed {
        /// The host.
        host: String,
        /// Why not.
        why: String,
    },
    /// A request for another host than the one whose address was called.
    #[error("a request for {asked} on a connection to {host}: it is no host of {service}")]
    WrongHost {
        /// The host that it names.
        asked: String,
        /// The host that was called.
        host: String,
        /// The ExternalService that has that.
        service: String,
    },
    /// A connection of TLS for another server than the host whose address was called.
    #[error(
        "TLS for {} on a connection to {host}: it is no host of {service}",
        asked.as_deref().unwrap_or("no server by name")
    )]
    WrongServerName {
        /// The server that it names.
        asked: Option<String>,
        /// The host that was called.
        host: String,
        /// The ExternalService that has that.
        service: String,
    },
    /// TLS of the program's own, for servers to which its proxy opens TLS.
    #[error("{0} is called by TLS that the proxy opens: speak plaintext to it, `http:` as a URL")]
    TlsInTls(String),
    /// No rule of the routes of what was called matches the request.
    #[error("no rule of the routes of {destination} matches the request")]
    NoRoute {
        /// What was called.
        destination: String,
    },
    /// The rule names no backend, or one that is not there.
    #[error("{route}, spec.rules[{rule}].backendRefs: {why}")]
    NoBackend {
        /// The route.
        route: String,
        /// Which of its rules, from 0.
        rule: usize,
        /// Why.
        why: String,
    },
    /// All backends of the rule have the weight 0.
    #[error("{route}, spec.rules[{rule}].backendRefs: all weights are 0")]
    NoWeight {
        /// The route.
        route: String,
        /// Which of its rules, from 0.
        rule: usize,
    },
    /// A FaultPolicy has it fail, on purpose.
    #[error("FaultPolicy {policy} has it fail, on purpose")]
    FaultInjected {
        /// The policy.
        policy: String,
        /// The answer.
        with: AbortWith,
    },
    /// The endpoint proves no identity, and plaintext is not let through.
    #[error("{workload} has no identity, and mutual TLS is required")]
    PeerNotInMesh {
        /// The workload.
        workload: String,
    },
    /// The policies that guard the port do not let it through.
    #[error(
        "{} may not{}", peer.as_deref().unwrap_or("a caller without identity"),
        denied_by(*why, rule.as_deref())
    )]
    Denied {
        /// Why.
        why: Why,
        /// The rule, where it is one.
        rule: Option<String>,
        /// Who called.
        peer: Option<String>,
    },
    /// Not all policies that guard the port are known yet.
    #[error("what guards this port is not all there yet: {missing}")]
    PolicyPending {
        /// What is missing.
        missing: String,
    },
    /// The backend has no endpoint that can be called.
    #[error("{backend} has no endpoint to call")]
    NoEndpoint {
        /// The backend's name.
        backend: String,
    },
    /// The proxy is short of memory.
    #[error("this proxy is short of memory, and takes nothing new")]
    Overload,
    /// As much is under way towards the backend as may be.
    #[error("{backend}: {reached}")]
    Limit {
        /// The backend's name.
        backend: String,
        /// Which limit.
        reached: LimitReached,
    },
    /// No TCP connection to the endpoint.
    #[error("no connection to {address}: {source}")]
    Connect {
        /// The endpoint.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No TCP connection to the endpoint in time.
    #[error("no connection to {address} within {limit:?}")]
    ConnectTimeout {
        /// The endpoint.
        address: SocketAddr,
        /// How long it was waited for.
        limit: Duration,
    },
    /// No mutual TLS with the endpoint's proxy.
    #[error("no tunnel to {address}: {source}")]
    Handshake {
        /// The endpoint's proxy.
        address: SocketAddr,
        /// Why.
        source: HandshakeError,
    },
    /// No mutual TLS with the endpoint's proxy in time.
    #[error("no tunnel to {address} within 10 s")]
    HandshakeTimeout {
        /// The endpoint's proxy.
        address: SocketAddr,
    },
    /// No TLS with an endpoint outside of the mesh.
    #[error("no TLS to {address} as {hostname}: {source}")]
    TlsOrigination {
        /// The endpoint.
        address: SocketAddr,
        /// The name that it is asked for.
        hostname: Box<str>,
        /// Why not.
        source: OriginationError,
    },
    /// So many tunnels or TLS sessions to the endpoint are being opened that it was not this one's
    /// turn.
    #[error("it was not its turn to connect to {address} within 30 s, as so many do")]
    TurnTimeout {
        /// The endpoint, or its proxy.
        address: SocketAddr,
    },
    /// An endpoint that only a tunnel reaches, and no identity to open one with.
    #[error("{address} is reached by a tunnel only, and this proxy has no identity")]
    NoIdentity {
        /// The endpoint's proxy.
        address: SocketAddr,
    },
    /// The endpoint's proxy proved to be somebody else.
    #[error("{address} is {found}, expected {expected}")]
    WrongPeer {
        /// The endpoint's proxy.
        address: SocketAddr,
        /// Who should be there.
        expected: Box<SpiffeId>,
        /// Who is there.
        found: Box<SpiffeId>,
    },
    /// The endpoint's proxy refused the tunnel. Nothing reached the application.
    #[error("refused by the proxy of {workload}: {reason}: {detail}")]
    TunnelRefused {
        /// The workload.
        workload: String,
        /// The reason code that it gave.
        reason: String,
        /// More for people.
        detail: String,
    },
    /// The endpoint's proxy is about to end. Nothing reached the application.
    #[error("the proxy of {workload} is draining")]
    PeerDraining {
        /// The workload.
        workload: String,
    },
    /// The endpoint's proxy did not give the request to the application, and said so.
    #[error("the proxy of {workload} did not process the request: {reason}")]
    NotProcessed {
        /// The workload.
        workload: String,
        /// The reason code that it gave.
        reason: String,
    },
    /// The endpoint's proxy ended the tunnel in order before it answered, which it does only if
    /// the application saw nothing of the request.
    #[error("the proxy at {address} ended the tunnel before the request reached it")]
    TunnelEnded {
        /// The endpoint's proxy.
        address: SocketAddr,
    },
    /// This proxy is about to end.
    #[error("this workload is about to end: nothing new is taken")]
    Draining,
    /// The endpoint closed or broke the connection before it answered.
    #[error("{address} ended the connection before it answered: {source}")]
    UpstreamClosed {
        /// The endpoint.
        address: SocketAddr,
        /// Whether the connection had served before.
        was_reused: bool,
        /// How it ended.
        source: StreamError,
    },
    /// The endpoint's answer is malformed.
    #[error("the answer of {address} is malformed: {source}")]
    UpstreamMalformed {
        /// The endpoint.
        address: SocketAddr,
        /// What is wrong with it.
        source: GrammarError,
    },
    /// The endpoint broke off in the midst of its answer.
    #[error("the answer of {address} broke off: {source}")]
    UpstreamBroke {
        /// The endpoint.
        address: SocketAddr,
        /// How.
        source: StreamError,
    },
    /// The request, or an attempt of it, took too long.
    #[error("it took longer than the {whole:?} that {} allows", limit_name(*limit))]
    Timeout {
        /// Who allows no more.
        limit: Limit,
        /// How much that is.
        whole: Duration,
    },
    /// Nothing has moved between the caller and the server for the backend's `timeouts.streamIdle`.
    #[error("no byte has moved in either direction for {limit:?}")]
    StoodStill {
        /// How long.
        limit: Duration,
    },
    /// The same, while the server had the whole of the request, or had not asked for the body that
    /// the caller holds back until then (`100-continue`), and had not begun to answer.
    #[error("the server has not begun to answer, and no byte has moved for {limit:?}")]
    NeverAnswered {
        /// How long.
        limit: Duration,
    },
    /// The same, while the caller had not sent the whole of its request.
    #[error("no byte of the request has come, and none of an answer, for {limit:?}")]
    RequestStoodStill {
        /// How long.
        limit: Duration,
    },
    /// A deadline of the caller's that cannot be read.
    #[error("{0}")]
    BadTimeout(TimeoutError),
    /// The peer of a live connection may not go on.
    #[error("the connection was ended: {0}")]
    PeerRevoked(Box<weft_identity::Reason>),
    /// What guards the port, or says what may leave the mesh, forbids by now what it allowed
    /// before.
    #[error("{0}; it was allowed before a change")]
    PolicyChanged(Box<ProxyError>),
    /// No mutual TLS with a peer that wanted to open a tunnel.
    #[error("no mutual TLS with the caller: {0}")]
    InboundHandshake(HandshakeError),
    /// A peer that opened no tunnel in time.
    #[error("the caller did not open a tunnel within 10 s")]
    InboundTimeout,
    /// A tunnel whose opening is malformed.
    #[error("the caller's tunnel preface is malformed: {0}")]
    Preface(FrameError),
    /// A tunnel whose caller went away before it was open.
    #[error("the caller ended the tunnel before it was open")]
    PrefaceEnded,
    /// A tunnel that is meant for another workload.
    #[error("the tunnel is for {wanted}, this is {found}")]
    NotMe {
        /// The workload that it names.
        wanted: String,
        /// The workload that this proxy stands for.
        found: String,
    },
    /// A tunnel to a port that the workload does not serve.
    #[error("{workload} serves no port {port}")]
    UnknownPort {
        /// The workload.
        workload: String,
        /// The port.
        port: u16,
    },
    /// A tunnel that wants to speak what the port does not.
    #[error("port {port} of {workload} does not take {wanted}")]
    WrongProtocol {
        /// The workload.
        workload: String,
        /// The port.
        port: u16,
        /// What the caller wants to speak.
        wanted: &'static str,
    },
}

/// Whose doing a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller's.
    Client,
    /// The server's, or the way to it.
    Upstream,
    /// The mesh's own configuration.
    Mesh,
}

/// All that follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The HTTP status that is answered.
    pub status: u16,
    /// The status of gRPC that a call is answered.
    pub grpc_status: u32,
    /// The stable code of the reason, in header, log and metric.
    pub reason: &'static str,
    /// Whose doing it is.
    pub fault: Fault,
    /// What it says about whether the application saw the request.
    pub outcome: Outcome,
}

impl ProxyError {
    /// All that follows from this error.
    pub fn verdict(&self) -> Verdict {
        use {Fault::*, Outcome::*, ProxyError as E};
        let (status, reason, fault, outcome) = match self {
            E::BadRequest(error) => match error {
                GrammarError::TooLarge => (431, "head-too-large", Client, Unprocessed),
                GrammarError::Version => (505, "http-version", Client, Unprocessed),
                GrammarError::TransferEncoding => (501, "transfer-encoding", Client, Unprocessed),
                _ => (400, "bad-request", Client, Unprocessed),
            },
            E::HeadTimeout => (408, "head-timeout", Client, Unprocessed),
            E::OpeningTimeout | E::HelloTimeout => (0, "head-timeout", Client, Unprocessed),
            E::BadHello(_) => (0, "bad-hello", Client, Unprocessed),
            E::BadFrames(_) | E::BadTunnel(_) => (0, "bad-frames", Client, Unknown),
            E::TooManyResets => (0, "enhance-your-calm", Client, Unknown),
            E::BadPath(_) => (400, "bad-path", Client, Unprocessed),
            E::ConnectMethod => (405, "connect-method", Client, Unprocessed),
            E::ClientGone => (499, "client-gone", Client, Unknown),
            E::BadBody(_) => (400, "bad-body", Client, Unknown),
            E::ServiceUnknown { .. } => (503, "service-unknown", Mesh, Unprocessed),
            E::NoExternalPort { .. } => (503, "no-backend", Mesh, Unprocessed),
            E::RulesUnknown { .. } => (503, "rules-unknown", Mesh, Unprocessed),
            E::NoServicePort { .. } => (503, "no-service-port", Client, Unprocessed),
            E::AddressUnknown { .. } => (503, "address-unknown", Mesh, Unprocessed),
            E::OutsideRefused { .. } => (403, "outside-refused", Client, Unprocessed),
            E::HostUnknown { .. } => (503, "host-unknown", Upstream, Unprocessed),
            E::LookupFailed { .. } => (503, "lookup-failed", Upstream, Unprocessed),
            E::WrongHost { .. } => (421, "wrong-host", Client, Unprocessed),
            E::WrongServerName { .. } => (0, "wrong-server-name", Client, Unprocessed),
            E::TlsInTls(_) => (0, "tls-in-tls", Client, Unprocessed),
            E::NoRoute { .. } => (404, "no-route", Client, Unprocessed),
            E::NoBackend { .. } => (500, "no-backend", Mesh, Unprocessed),
            E::NoWeight { .. } => (503, "no-weight", Mesh, Unprocessed),
            E::FaultInjected { with, .. } => {
                (fault::status(*with), "fault-injected", Mesh, Unprocessed)
            }
            E::PeerNotInMesh { .. } => (503, "peer-not-in-mesh", Upstream, Unprocessed),
            E::Denied { why, .. } => (403, why.code(), Client, Unprocessed),
            E::PolicyPending { .. } => (503, "policy-pending", Mesh, Unprocessed),
            E::NoEndpoint { .. } => (503, "no-endpoint", Upstream, Unprocessed),
            E::Overload => (503, "overload", Mesh, Unprocessed),
            E::Limit { reached, .. } => {
                let reason = match reached.name {
                    LimitName::Requests => "limit-requests",
                    LimitName::Pending => "limit-pending",
                    LimitName::Connections => "limit-connections",
                    LimitName::RequestsPerEndpoint => "limit-requests-per-endpoint",
                    LimitName::Adaptive => "limit-adaptive",
                };
                (503, reason, Mesh, Unprocessed)
            }
            E::Connect { .. } => (503, "connect-failed", Upstream, Unprocessed),
            E::ConnectTimeout { .. } => (503, "connect-timeout", Upstream, Unprocessed),
            E::Handshake { .. } => (503, "handshake-failed", Upstream, Unprocessed),
            E::HandshakeTimeout { .. } => (503, "handshake-timeout", Upstream, Unprocessed),
            E::TurnTimeout { .. } => (503, "turn-timeout", Mesh, Unprocessed),
            E::TlsOrigination { source, .. } if source.is_own() => {
                (502, "tls-origination-failed", Mesh, Unprocessed)
            }
            E::TlsOrigination { .. } => (502, "tls-origination-failed", Upstream, Unprocessed),
            E::NoIdentity { .. } => (503, "no-identity", Mesh, Unprocessed),
            E::WrongPeer { .. } => (503, "wrong-peer", Upstream, Unprocessed),
            E::TunnelRefused { reason, .. } if is_of_caller(reason) => {
                (503, "tunnel-refused", Upstream, Refused)
            }
            E::TunnelRefused { .. } => (503, "tunnel-refused", Upstream, Unprocessed),
            E::PeerDraining { .. } => (503, "peer-draining", Upstream, Unprocessed),
            E::NotProcessed { .. } => (503, "not-processed", Upstream, Unprocessed),
            E::TunnelEnded { .. } => (503, "tunnel-ended", Upstream, Unprocessed),
            E::Draining => (503, "draining", Mesh, Unprocessed),
            E::UpstreamClosed { source, .. } if source.is_unprocessed() => {
                (502, "upstream-closed", Upstream, Unprocessed)
            }
            E::UpstreamClosed { was_reused: true, .. } => {
                (502, "upstream-closed", Upstream, BrokeWhenReused)
            }
            E::UpstreamClosed { .. } => (502, "upstream-closed", Upstream, Unknown),
            E::UpstreamMalformed { .. } => (502, "upstream-malformed", Upstream, Unknown),
            E::UpstreamBroke { .. } => (502, "upstream-broke", Upstream, Unknown),
            E::PeerRevoked(_) => (503, "peer-revoked", Upstream, Unknown),
            E::PolicyChanged(_) => (403, "policy-changed", Client, Unknown),
            E::Timeout { limit, .. } => {
                let reason = match limit {
                    Limit::Request => "request-timeout",
                    Limit::Attempt => "attempt-timeout",
                    Limit::Caller => "caller-timeout",
                };
                (504, reason, Upstream, Unknown)
            }
            E::StoodStill { .. } => (504, "idle-timeout", Upstream, Unknown),
            E::NeverAnswered { .. } => (504, "idle-timeout", Upstream, Unknown),
            E::RequestStoodStill { .. } => (408, "idle-timeout", Client, Unknown),
            E::BadTimeout(_) => (400, "bad-timeout", Client, Unprocessed),
            E::InboundHandshake(_) => (0, "handshake-failed", Client, Unprocessed),
            E::InboundTimeout => (0, "handshake-timeout", Client, Unprocessed),
            E::Preface(_) => (0, "bad-preface", Client, Unprocessed),
            E::PrefaceEnded => (0, "client-gone", Client, Unprocessed),
            E::NotMe { .. } => (0, "not-me", Client, Unprocessed),
            E::UnknownPort { .. } => (503, "unknown-port", Mesh, Unprocessed),
            E::WrongProtocol { .. } => (0, "wrong-protocol", Client, Unprocessed),
        };
        let grpc_status = match self {
            E::FaultInjected { with: AbortWith::Grpc(code), .. } => code.get().into(),
            _ => status_of_http(status),
        };
        Verdict { status, grpc_status, reason, fault, outcome }
    }
}
