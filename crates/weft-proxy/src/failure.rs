//! Why a shared connection has ended, as each of its streams is told.

use std::io;

use thiserror::Error;

use crate::error::{ProxyError, StreamError};
use crate::tunnel;

/// Why a connection has ended, in a form that each of its streams can be told.
#[derive(Clone)]
pub(crate) enum Failure {
    Broke { kind: io::ErrorKind, text: String },
    Refused(TunnelRefusal),
}

/// A tunnel that the peer did not open, on its way through [`io::Error`] to each stream.
#[derive(Clone, Debug, Error)]
pub(crate) enum TunnelRefusal {
    #[error("refused by the proxy of {workload}: {reason}: {detail}")]
    Refused { workload: String, reason: String, detail: String },
    #[error("the proxy of {workload} is draining")]
    Draining { workload: String },
}

impl Failure {
    pub(crate) fn of(error: io::Error) -> Failure {
        let kind = error.kind();
        match tunnel::refusal(StreamError::Io(error)) {
            Ok(ProxyError::TunnelRefused { workload, reason, detail }) => {
                Failure::Refused(TunnelRefusal::Refused { workload, reason, detail })
            }
            Ok(ProxyError::PeerDraining { workload }) => {
                Failure::Refused(TunnelRefusal::Draining { workload })
            }
            Ok(other) => Failure::Broke { kind, text: other.to_string() },
            Err(StreamError::Io(error)) => Failure::Broke { kind, text: error.to_string() },
            Err(other) => Failure::Broke { kind, text: other.to_string() },
        }
    }

    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Failure::Refused(_))
    }

    pub(crate) fn to_error(&self) -> io::Error {
        match self {
            Failure::Broke { kind, text } => io::Error::new(*kind, text.clone()),
            Failure::Refused(refusal) => io::Error::other(refusal.clone()),
        }
    }
}

/// The refusal of a tunnel that `error` carries, or the error again.
pub(crate) fn refusal(error: StreamError) -> Result<ProxyError, StreamError> {
    let StreamError::Io(io_error) = error else { return Err(error) };
    match io_error.downcast::<TunnelRefusal>() {
        Ok(TunnelRefusal::Refused { workload, reason, detail }) => {
            Ok(ProxyError::TunnelRefused { workload, reason, detail })
        }
        Ok(TunnelRefusal::Draining { workload }) => Ok(ProxyError::PeerDraining { workload }),
        Err(io_error) => Err(StreamError::Io(io_error)),
    }
}
