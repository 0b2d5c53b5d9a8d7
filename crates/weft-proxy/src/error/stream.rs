//! Why a byte stream could not be read or written as a message.

use std::io;

use thiserror::Error;
use weft_http::GrammarError;

/// Why a byte stream could not be read or written as a message.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The other side ended the connection in order, before a byte of what was waited for.
    #[error("the connection was closed")]
    Closed,
    /// The bytes are not what they should be.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
}

/// What is carried by the [`io::Error`] of a request that provably nobody has processed.
#[derive(Debug, Error)]
#[error("not processed: {0}")]
pub(crate) struct ProvenUnprocessed(pub(crate) String);

/// The same of one whose stream the server's proxy had no room for.
#[derive(Debug, Error)]
#[error("not processed: the proxy has no room for one more stream")]
pub(crate) struct NoRoom;

impl StreamError {
    /// Whether it proves that the server has not processed the request.
    pub fn is_unprocessed(&self) -> bool {
        let StreamError::Io(error) = self else { return false };
        error.get_ref().is_some_and(|inner| inner.is::<ProvenUnprocessed>() || inner.is::<NoRoom>())
    }

    /// Whether the server's proxy had no room for it.
    pub(crate) fn is_no_room(&self) -> bool {
        let StreamError::Io(error) = self else { return false };
        error.get_ref().is_some_and(|inner| inner.is::<NoRoom>())
    }
}
