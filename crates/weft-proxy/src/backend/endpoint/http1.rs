//! Connections of HTTP/1.1 to an endpoint: those to other proxies are streams of shared tunnels.

use std::task::{Context, Waker};

use weft_wire::tunnel::InnerProtocol;

use super::{Connected, Endpoint};
use crate::Proxy;
use crate::backend::Backend;
use crate::backend::sharing::{Carries, Shared};
use crate::error::ProxyError;
use crate::exchange::Upstream;
use crate::h1::Client;
use crate::mux;
use crate::mux::client::Connection as Tunnel;
use crate::time::FRESH_FOR;

impl Endpoint {
    /// A connection for one HTTP/1.1 exchange: an idle one, or a new one.
    ///
    /// A request that must not be sent twice gets a connection to an application only if that was
    /// in use a moment ago: the application may be closing an older one just now, and then nobody
    /// can tell whether it took the request.
    ///
    /// # Errors
    /// [`ProxyError`] where none is to be had; nothing was sent then.
    pub(crate) async fn http1(
        &self,
        proxy: &Proxy,
        backend: &Backend,
        is_idempotent: bool,
    ) -> Result<Connected<Box<dyn Upstream>>, ProxyError> {
        loop {
            if let Some(idle) = self.reuse(proxy, backend, is_idempotent) {
                return Ok(idle);
            }
            let Ok(place) = backend.connection_place() else {
                backend.connection_freed().await?;
                continue;
            };
            let mut connected = if self.is_secured() {
                self.in_tunnel(proxy, backend).await?
            } else {
                let dialled = self.dial(proxy, backend, InnerProtocol::Http1).await?;
                dialled.map(|stream| Box::new(Client::new(stream)) as Box<dyn Upstream>)
            };
            connected.place = Some(place);
            return Ok(connected);
        }
    }

    /// A new connection of HTTP/1.1 in one of the tunnels that carry many.
    async fn in_tunnel(
        &self,
        proxy: &Proxy,
        backend: &Backend,
    ) -> Result<Connected<Box<dyn Upstream>>, ProxyError> {
        let take = || {
            // One that came back meanwhile is as good as a new one.
            self.reuse(proxy, backend, true).or_else(|| self.tunnels.on_free(|one| self.begin(one)))
        };
        let open = || self.open_many(proxy, backend);
        self.tunnels.get(self.spec.address, take, open, || Ok(())).await
    }

    /// A new stream of `tunnel`.
    fn begin(&self, tunnel: &mut Shared<Tunnel>) -> Connected<Box<dyn Upstream>> {
        let (stream, is_kept) = tunnel.connection.open();
        let client = Client::in_tunnel(Box::new(stream), is_kept).within(self.head_limits());
        let (peer, until) = (tunnel.peer.clone(), tunnel.until);
        Connected { stream: Box::new(client), peer, place: None, until, attempted: None }
    }

    /// Opens a tunnel that carries many connections of HTTP/1.1.
    async fn open_many(
        &self,
        proxy: &Proxy,
        backend: &Backend,
    ) -> Result<Option<Shared<Tunnel>>, ProxyError> {
        let dialled = self.dial(proxy, backend, InnerProtocol::Http1).await?;
        let Connected { stream, peer, until, .. } = dialled;
        let (connection, driver) =
            mux::client::connect(stream, proxy.world.clock.clone(), &proxy.windows);
        proxy.spawn(driver);
        Ok(Some(Shared::new(connection, peer, until, proxy.world.clock.now())))
    }

    /// An idle connection for a request, if there is one that is good for it.
    fn reuse(
        &self,
        proxy: &Proxy,
        backend: &Backend,
        is_idempotent: bool,
    ) -> Option<Connected<Box<dyn Upstream>>> {
        let needs_fresh = !is_idempotent && !self.is_secured();
        let now = proxy.world.clock.now();
        let limit = self.idle_limit(backend.timeouts());
        if !is_idempotent {
            // What must not be sent twice had better not meet a tunnel that has just broken. Others
            // do without: each look takes what has come out of the next batch.
            self.tunnels.each(Tunnel::look);
        }
        while let Some(mut idle) = self.take_idle() {
            if now.since(idle.since) >= limit {
                continue; // It is closed: the limit may have been another one a moment ago.
            }
            if needs_fresh && now.since(idle.since) >= FRESH_FOR {
                self.idle.borrow_mut().push(idle); // The others are older still.
                break;
            }
            // No waker is needed: the answer is what the last look at the socket said.
            let broken = idle.connected.stream.poll_broken(&mut Context::from_waker(Waker::noop()));
            if broken.is_pending() {
                return Some(idle.connected);
            }
        }
        None
    }
}

impl Carries for Tunnel {
    const EXCHANGES_MAX: usize = weft_wire::mux::STREAMS_MAX;

    fn is_usable(&mut self) -> bool {
        Tunnel::is_usable(self)
    }

    fn capacity(&mut self) -> usize {
        Tunnel::capacity(self)
    }

    fn was_used(&mut self) -> bool {
        Tunnel::was_used(self)
    }
}
