//! Connections of HTTP/2 to an endpoint, which exchanges share.

use std::cell::Cell;
use std::rc::Rc;

use weft_wire::tunnel::InnerProtocol;

use super::{Connected, Endpoint};
use crate::Proxy;
use crate::backend::Backend;
use crate::backend::counts::Place;
use crate::backend::dialling::Counted;
use crate::backend::sharing::{Carries, Shared};
use crate::error::ProxyError;
use crate::exchange::Upstream;
use crate::h2::STREAMS_MAX;
use crate::h2::client::{Connection, Pings, connect_with_room};
use crate::snapshot::Reach;

/// A connection of HTTP/2.
pub(super) struct Http2 {
    connection: Connection,
    /// Its place among those that the backend may have. It is free when the connection has ended,
    /// or when it is closed without exchanges, and not when it only leaves the pool.
    pub(super) place: Rc<Cell<Option<Place>>>,
}

impl Endpoint {
    /// A place for one exchange on a connection of HTTP/2, which it shares with others.
    ///
    /// # Errors
    /// [`ProxyError`] where none is to be had; nothing was sent then.
    pub(crate) async fn http2(
        &self,
        proxy: &Proxy,
        backend: &Backend,
    ) -> Result<Connected<Box<dyn Upstream>>, ProxyError> {
        let take = || {
            self.shared.on_free(|free| {
                let stream: Box<dyn Upstream> = Box::new(free.connection.connection.open().ok()?);
                let place = Some(backend.exchange_place());
                Some(Connected {
                    stream,
                    peer: free.peer.clone(),
                    place,
                    until: None,
                    attempted: None,
                })
            })?
        };
        let open = || self.open_http2(proxy, backend);
        // Where none may be opened, whoever waits for that waits for a connection.
        let waiting = || (self.blocked.get() > 0).then(|| backend.pending_place()).transpose();
        self.shared.get(self.spec.address, take, open, waiting).await
    }

    /// Opens one more connection of HTTP/2. Where there may be none now, it waits until one has
    /// ended, or has room for one more exchange, and opens none.
    async fn open_http2(
        &self,
        proxy: &Proxy,
        backend: &Backend,
    ) -> Result<Option<Shared<Http2>>, ProxyError> {
        let Ok(place) = backend.connection_place() else {
            let _blocked = Counted::new(&self.blocked);
            backend.connection_freed().await?;
            return Ok(None);
        };
        let dialled = self.dial(proxy, backend, InnerProtocol::Http2).await?;
        let Connected { stream, peer, until, .. } = dialled;
        let pings = if self.is_secured() { Pings::Sent } else { Pings::None };
        let (address, clock) = (self.spec.address, proxy.world.clock.clone());
        let (connection, driver) = connect_with_room(proxy.overload.room(), stream, clock, pings)
            .await
            .map_err(|source| ProxyError::UpstreamClosed { address, was_reused: false, source })?;
        let place = Rc::new(Cell::new(Some(place)));
        let held = place.clone();
        proxy.spawn(async move {
            driver.await;
            held.take();
        });
        let connection = connection.within(self.head_limits());
        let connection = match self.spec.reach {
            Reach::Tls(_) => connection.by_tls(),
            _ => connection,
        };
        let connection = Http2 { connection, place };
        Ok(Some(Shared::new(connection, peer, until, proxy.world.clock.now())))
    }
}

impl Http2 {
    /// Whether an exchange is open.
    pub(super) fn is_in_use(&self) -> bool {
        self.connection.open_count() > 0
    }
}

impl Carries for Http2 {
    const EXCHANGES_MAX: usize = STREAMS_MAX as usize;

    fn is_usable(&mut self) -> bool {
        self.connection.is_usable()
    }

    fn capacity(&mut self) -> usize {
        self.connection.capacity()
    }

    fn was_used(&mut self) -> bool {
        self.is_in_use()
    }
}
