//! Connections that several wait for while they are opened.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use tokio::sync::{AcquireError, Notify, Semaphore, SemaphorePermit};
use weft_identity::HandshakeError;

use crate::error::ProxyError::{self, self as E};

/// The most connections that are opened to one endpoint at a time, where they are shared, and the
/// most tunnels in any case.
pub(super) const DIALLING_MAX: usize = 8;

/// The same failure as `error`, for somebody else who waited for the same connection to `address`.
pub(super) fn again(error: &ProxyError, address: SocketAddr) -> ProxyError {
    match error {
        E::PeerNotInMesh { workload } => E::PeerNotInMesh { workload: workload.clone() },
        E::ConnectTimeout { address, limit } => {
            E::ConnectTimeout { address: *address, limit: *limit }
        }
        E::HandshakeTimeout { address } => E::HandshakeTimeout { address: *address },
        E::TurnTimeout { address } => E::TurnTimeout { address: *address },
        E::NoIdentity { address } => E::NoIdentity { address: *address },
        E::WrongPeer { address, expected, found } => {
            let (expected, found) = (expected.clone(), found.clone());
            E::WrongPeer { address: *address, expected, found }
        }
        E::Handshake { address, source } => {
            let source = HandshakeError::Io(io::Error::other(source.to_string()));
            E::Handshake { address: *address, source }
        }
        E::TunnelRefused { workload, reason, detail } => {
            let (workload, reason, detail) = (workload.clone(), reason.clone(), detail.clone());
            E::TunnelRefused { workload, reason, detail }
        }
        E::PeerDraining { workload } => E::PeerDraining { workload: workload.clone() },
        E::TunnelEnded { address } => E::TunnelEnded { address: *address },
        E::TlsOrigination { address, hostname, source } => {
            let (hostname, source) = (hostname.clone(), source.clone());
            E::TlsOrigination { address: *address, hostname, source }
        }
        E::Connect { address, source } => {
            let source = io::Error::new(source.kind(), source.to_string());
            E::Connect { address: *address, source }
        }
        E::Limit { backend, reached } => E::Limit { backend: backend.clone(), reached: *reached },
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

/// Whose turn it is to open a tunnel, or TLS, to an endpoint.
///
/// Those who wait get theirs in the order in which they came.
pub(super) struct Turns {
    free: Semaphore,
    /// Told when one could not be opened.
    failed: Notify,
    /// How often opening one has failed, and why it did so last.
    failures: Cell<u64>,
    failure: RefCell<Option<ProxyError>>,
}

impl Default for Turns {
    fn default() -> Turns {
        let (failed, failures, failure) = Default::default();
        Turns { free: Semaphore::new(DIALLING_MAX), failed, failures, failure }
    }
}

impl Turns {
    /// A turn to open one, if it need not be waited for.
    pub(super) fn at_once(&self) -> Option<SemaphorePermit<'_>> {
        self.free.try_acquire().ok()
    }

    /// Waits for a turn to open one to `address`. It is the next one's once this is gone.
    ///
    /// # Errors
    /// Why they could not be opened, if so many have failed meanwhile as can be opened at a
    /// time: were each who waits to find that out in its turn, the last one would wait for as many
    /// timeouts.
    pub(super) async fn next(
        &self,
        address: SocketAddr,
    ) -> Result<SemaphorePermit<'_>, ProxyError> {
        let hopeless = self.failures.get() + DIALLING_MAX as u64;
        let mut permit = pin!(self.free.acquire());
        loop {
            tokio::select! {
                biased;
                () = self.failed.notified() => {}
                permit = &mut permit => {
                    let closed = |_: AcquireError| E::Connect {
                        address,
                        source: io::Error::other("no connection is opened any more"),
                    };
                    return permit.map_err(closed);
                }
            }
            if self.failures.get() >= hopeless
                && let Some(failure) = &*self.failure.borrow()
            {
                return Err(again(failure, address));
            }
        }
    }

    /// Notes that one to `address` could not be opened because of `error`, if it is that.
    pub(super) fn failed(&self, error: &ProxyError, address: SocketAddr) {
        let is_failure = match error {
            E::Connect { .. }
            | E::ConnectTimeout { .. }
            | E::Handshake { .. }
            | E::HandshakeTimeout { .. }
            | E::WrongPeer { .. }
            | E::TlsOrigination { .. }
            | E::NoIdentity { .. } => true,
            // One handshake more is what that proxy can bear least, and would be in vain.
            E::TunnelRefused { reason, .. } => reason == "overload",
            // Others say that there was a tunnel, which was not taken.
            _ => false,
        };
        if is_failure {
            self.failures.set(self.failures.get() + 1);
            self.failure.replace(Some(again(error, address)));
            self.failed.notify_waiters();
        }
    }
}
