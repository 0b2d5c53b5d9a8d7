//! Connections that several wait for while they are opened.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;

use tokio::sync::Notify;
use weft_identity::HandshakeError;

use crate::error::ProxyError;

/// The same failure as `error`, for somebody else who waited for the same connection to `address`.
pub(super) fn again(error: &ProxyError, address: SocketAddr) -> ProxyError {
    use ProxyError as E;
    match error {
        E::PeerNotInMesh { workload } => E::PeerNotInMesh { workload: workload.clone() },
        E::ConnectTimeout { address, limit } => {
            E::ConnectTimeout { address: *address, limit: *limit }
        }
        E::HandshakeTimeout { address } => E::HandshakeTimeout { address: *address },
        E::NoIdentity { address } => E::NoIdentity { address: *address },
        E::WrongPeer { address, expected, found } => {
            let (expected, found) = (expected.clone(), found.clone());
            E::WrongPeer { address: *address, expected, found }
        }
        E::Handshake { address, source } => {
            let source = HandshakeError::Io(io::Error::other(source.to_string()));
            E::Handshake { address: *address, source }
        }
        E::Connect { address, source } => {
            let source = io::Error::new(source.kind(), source.to_string());
            E::Connect { address: *address, source }
        }
        other => E::Connect { address, source: io::Error::other(other.to_string()) },
    }
}

/// Counts something as long as the value lives.
pub(super) struct Counted<'c>(&'c Cell<usize>);

impl<'c> Counted<'c> {
    pub(super) fn new(count: &'c Cell<usize>) -> Counted<'c> {
        count.set(count.get() + 1);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Counts a connection that is being opened, and tells those who wait once it is not any more.
pub(super) struct Dialling<'e> {
    dialled: &'e Notify,
    count: Option<Counted<'e>>,
}

impl<'e> Dialling<'e> {
    pub(super) fn new(dialled: &'e Notify, count: &'e Cell<usize>) -> Dialling<'e> {
        Dialling { dialled, count: Some(Counted::new(count)) }
    }
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        drop(self.count.take());
        self.dialled.notify_waiters();
    }
}
