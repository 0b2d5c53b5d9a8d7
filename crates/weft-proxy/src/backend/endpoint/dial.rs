//! New connections to an endpoint.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use weft_identity::{OriginationError, Spoken, TlsClient};
use weft_model::TlsOrigination;
use weft_wire::tunnel::{InnerProtocol, Preface};
use weft_world::{BoxFuture, Stream};

use super::{Connected, Endpoint};
use crate::Proxy;
use crate::backend::Backend;
use crate::error::{ProxyError, StreamError};
use crate::live::Peer;
use crate::snapshot::{Reach, TunnelTarget};
use crate::time::{HANDSHAKE_TIMEOUT, TUNNEL_AGE, TURN_TIMEOUT, within};
use crate::tunnel::{ClientTunnel, refusal};

impl Endpoint {
    /// A new connection, through a tunnel where there is one, as soon as it is its turn. Nothing of
    /// it may be flushed yet.
    ///
    /// # Errors
    /// [`ProxyError`] where none is to be had.
    pub(crate) async fn dial(
        &self,
        proxy: &Proxy,
        backend: &Backend,
        protocol: InnerProtocol,
    ) -> Result<Connected<Box<dyn Stream>>, ProxyError> {
        let permit = self.turn(proxy).await?;
        self.open(proxy, backend, protocol, permit).await
    }

    /// Waits until a connection may be opened. Only those with a handshake wait for their turn: it
    /// is what costs.
    ///
    /// # Errors
    /// [`ProxyError`] where none is to be had.
    async fn turn(&self, proxy: &Proxy) -> Result<Option<SemaphorePermit<'_>>, ProxyError> {
        if !self.takes_handshake() {
            return Ok(None);
        }
        if let Some(permit) = self.turns.at_once() {
            return Ok(Some(permit));
        }
        let (clock, address) = (&*proxy.world.clock, self.spec.address);
        let waiting = Box::pin(self.turns.next(address));
        let turn = within(clock, TURN_TIMEOUT, waiting).await;
        turn.ok_or(ProxyError::TurnTimeout { address })?.map(Some)
    }

    /// A new connection, whose turn it is by `permit`. What is large and rare is not a part of the
    /// exchange that waits for it.
    fn open<'a>(
        &'a self,
        proxy: &'a Proxy,
        backend: &'a Backend,
        protocol: InnerProtocol,
        permit: Option<SemaphorePermit<'a>>,
    ) -> BoxFuture<'a, Result<Connected<Box<dyn Stream>>, ProxyError>> {
        Box::pin(self.open_in_place(proxy, backend, protocol, permit))
    }

    async fn open_in_place(
        &self,
        proxy: &Proxy,
        backend: &Backend,
        protocol: InnerProtocol,
        permit: Option<SemaphorePermit<'_>>,
    ) -> Result<Connected<Box<dyn Stream>>, ProxyError> {
        let address = self.spec.address;
        let clock = &*proxy.world.clock;
        let network = match &self.spec.reach {
            Reach::NotInMesh(workload) => {
                return Err(ProxyError::PeerNotInMesh { workload: workload.to_string() });
            }
            Reach::Application => &proxy.inside,
            Reach::Plain | Reach::Tls(_) | Reach::Tunnel(_) => &proxy.world.network,
        };
        let timeouts = backend.timeouts();
        let limit = timeouts.connect.duration();
        let connecting = async {
            within(clock, limit, network.connect(address))
                .await
                .ok_or(ProxyError::ConnectTimeout { address, limit })?
                .map_err(|source| ProxyError::Connect { address, source })
        };
        let opening = async {
            let socket = connecting.await?;
            match &self.spec.reach {
                Reach::Tunnel(target) => {
                    let preface = target.preface(protocol, timeouts);
                    let opening = self.open_tunnel(proxy, socket, target, &preface, permit);
                    within(clock, HANDSHAKE_TIMEOUT, opening)
                        .await
                        .ok_or(ProxyError::HandshakeTimeout { address })?
                }
                Reach::Tls(settings) => {
                    let opening = self.open_tls(proxy, socket, settings, protocol);
                    let opened = within(clock, HANDSHAKE_TIMEOUT, opening)
                        .await
                        .unwrap_or(Err(OriginationError::TimedOut));
                    let stream = opened.map_err(|source| self.no_tls(settings, source))?;
                    Ok(Connected::unproved(stream))
                }
                Reach::Application | Reach::Plain | Reach::NotInMesh(_) => {
                    Ok(Connected::unproved(socket))
                }
            }
        };
        let opened = opening.await.inspect_err(|error| self.turns.failed(error, address))?;
        backend.opened();
        Ok(opened)
    }

    /// TLS to an endpoint outside of the mesh, for `protocol`.
    async fn open_tls(
        &self,
        proxy: &Proxy,
        socket: Box<dyn Stream>,
        settings: &Arc<TlsOrigination>,
        protocol: InnerProtocol,
    ) -> Result<Box<dyn Stream>, OriginationError> {
        let client = match self.tls.get() {
            Some(client) => client,
            None => {
                let own = proxy.tls.as_ref().and_then(|tls| tls.certificate());
                let (roots, files) = (&proxy.system_roots, &*proxy.world.files);
                let client = TlsClient::new(settings, roots, files, own)?;
                self.tls.get_or_init(|| Box::new(client))
            }
        };
        let spoken = match protocol {
            InnerProtocol::Http1 => Spoken::Http1,
            InnerProtocol::Http2 => Spoken::Http2,
            InnerProtocol::Opaque | InnerProtocol::Unspecified => Spoken::Opaque,
        };
        client.connect(socket, spoken).await
    }

    async fn open_tunnel(
        &self,
        proxy: &Proxy,
        socket: Box<dyn Stream>,
        target: &TunnelTarget,
        preface: &Preface,
        permit: Option<SemaphorePermit<'_>>,
    ) -> Result<Connected<Box<dyn Stream>>, ProxyError> {
        let address = self.spec.address;
        let tls = proxy.tls.as_ref().ok_or(ProxyError::NoIdentity { address })?;
        let changes = proxy.live.changes();
        let name = target.service.as_ref().map(|service| {
            format!("{}.{}.{}.svc", target.port, service.name(), service.namespace())
        });
        let secured = tls
            .connect(socket, name.as_deref())
            .await
            .map_err(|source| ProxyError::Handshake { address, source })?;
        drop(permit); // What follows costs neither side much, and may wait for an application.
        if secured.peer != target.identity {
            let (expected, found) = (Box::new(target.identity.clone()), Box::new(secured.peer));
            return Err(ProxyError::WrongPeer { address, expected, found });
        }
        let mut tunnel = ClientTunnel::open(secured.stream, preface)
            .await
            .map_err(|source| ProxyError::Connect { address, source })?;
        if preface.protocol() != InnerProtocol::Http2 {
            // Opaque bytes, which cannot be sent again, must not leave before somebody has taken
            // them; and that a tunnel for many requests was refused is better known to all at once.
            tunnel.opened().await.map_err(|error| {
                let refused = refusal(StreamError::Io(error));
                let failed = |error: StreamError| {
                    let source = io::Error::other(error.to_string());
                    ProxyError::Connect { address, source }
                };
                self.explain(proxy, refused.unwrap_or_else(failed))
            })?;
            // It takes something new. Of an opaque stream no answer says so later.
            self.draining_until.set(None);
        }
        let peer = secured.facts.map(|facts| Rc::new(Peer::new(facts, changes)));
        let until = proxy.world.clock.now() + jittered(proxy.world.entropy.fraction());
        Ok(Connected {
            stream: Box::new(tunnel),
            peer,
            place: None,
            until: Some(until),
            attempted: None,
        })
    }
}

/// The age at which a tunnel takes nothing new, where `fraction` is drawn from `0.0..1.0`: tunnels
/// that were opened together are not all replaced together.
fn jittered(fraction: f64) -> Duration {
    TUNNEL_AGE.mul_f64(0.75 + fraction / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_by_a_quarter_either_way() {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        assert_eq!(jittered(0.0), minutes(45));
        assert_eq!(jittered(0.5), minutes(60));
        assert!(jittered(0.999_999) <= minutes(75));
    }
}
