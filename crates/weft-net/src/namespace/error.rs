//! Why a command cannot be confined.

use std::fmt;
use std::io;

use crate::netlink::NetlinkError;

/// Why a command cannot be confined to namespaces of its own.
#[derive(Debug)]
pub enum ConfineError {
    /// Threads run already: a process is divided before it has any.
    Threads(usize),
    /// The system gives this process neither the right to make namespaces nor a user namespace.
    ///
    /// The text says what was refused, and which settings of this machine refuse it.
    NotAllowed(String),
    /// A step failed that this process had the right to.
    Failed(String),
    /// The process that keeps the namespaces could not be made, or has gone.
    Keeper(io::Error),
}

impl fmt::Display for ConfineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfineError::Threads(count) => write!(
                f,
                "the process has {count} threads: namespaces are made before any is started"
            ),
            ConfineError::NotAllowed(text) | ConfineError::Failed(text) => f.write_str(text),
            ConfineError::Keeper(_) => f.write_str("cannot keep namespaces for the command"),
        }
    }
}

impl std::error::Error for ConfineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConfineError::Keeper(source) => Some(source),
            ConfineError::Threads(_) | ConfineError::NotAllowed(_) | ConfineError::Failed(_) => {
                None
            }
        }
    }
}

/// A step of setting up that failed. It crosses from one process to the other as text.
#[derive(Debug)]
pub struct SetUpError {
    /// What failed and why.
    pub text: String,
    /// Whether it was a right that was missing.
    pub denied: bool,
}

/// Makes a [`SetUpError`] of the system's, for `map_err`.
pub fn set_up<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> SetUpError {
    let what = what.into();
    move |error| {
        let error = error.into();
        SetUpError { text: format!("{what}: {error}"), denied: is_denied(&error) }
    }
}

impl From<NetlinkError> for SetUpError {
    fn from(error: NetlinkError) -> SetUpError {
        SetUpError { text: error.to_string(), denied: is_denied(&error.source) }
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
