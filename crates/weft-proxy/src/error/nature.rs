//! What an error says of the endpoint, the instance and the caller.

use weft_decide::authorize::Why;
use weft_decide::deadline::Limit;
use weft_decide::eject::Seen;
use weft_decide::limits::LimitName;

use super::ProxyError;

impl ProxyError {
    /// What it says about the endpoint at which the attempt was made.
    pub(crate) fn seen(&self) -> Seen {
        use ProxyError as E;
        match self {
            E::Connect { .. }
            | E::ConnectTimeout { .. }
            | E::Handshake { .. }
            | E::HandshakeTimeout { .. }
            | E::WrongPeer { .. }
            | E::NotProcessed { .. } => Seen::DialFailed,
            E::TlsOrigination { source, .. } if source.is_own() => Seen::Nothing,
            E::TlsOrigination { .. } => Seen::DialFailed,
            // What stands still is a stream, most often, with nothing more to say.
            E::StoodStill { .. } => Seen::Nothing,
            // It works, and does not take this from this caller.
            E::TunnelRefused { reason, .. } if is_of_caller(reason) => Seen::Nothing,
            E::TunnelRefused { .. } => Seen::DialFailed,
            E::UpstreamClosed { was_reused: false, .. }
            | E::UpstreamMalformed { .. }
            | E::UpstreamBroke { .. }
            | E::NeverAnswered { .. }
            | E::Timeout { limit: Limit::Request | Limit::Attempt, .. } => Seen::Failure,
            _ => Seen::Nothing,
        }
    }

    /// Whether only opaque bytes are refused, and HTTP may well be taken.
    pub(crate) fn is_of_opaque(&self) -> bool {
        match self {
            ProxyError::TunnelRefused { reason, .. } => {
                reason == WRONG_PROTOCOL || reason == Why::CannotEvaluate.code()
            }
            // A request would wait for a connection.
            ProxyError::Limit { reached, .. } => reached.name == LimitName::Connections,
            _ => false,
        }
    }

    /// Whether this instance of the workload did not process the request, and another one may.
    pub(crate) fn is_of_instance(&self) -> bool {
        match self {
            ProxyError::Draining
            | ProxyError::Overload
            | ProxyError::PolicyPending { .. }
            | ProxyError::UnknownPort { .. }
            | ProxyError::Connect { .. }
            | ProxyError::ConnectTimeout { .. } => true,
            // The application has refused the stream, or has ended its connection before it.
            ProxyError::UpstreamClosed { source, .. } => source.is_unprocessed(),
            _ => false,
        }
    }
}

/// The reason of a proxy that refuses what the caller wants to speak.
const WRONG_PROTOCOL: &str = "wrong-protocol";

/// Whether the reason of a refused tunnel is what the caller wants or who it is.
pub(super) fn is_of_caller(reason: &str) -> bool {
    let whys =
        [Why::DenyRule, Why::NoAllowRule, Why::NoIdentity, Why::UnguardedDeny, Why::CannotEvaluate];
    reason == WRONG_PROTOCOL || whys.iter().any(|why| why.code() == reason)
}
