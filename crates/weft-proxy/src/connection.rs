//! What becomes of a new connection, in either direction.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use weft_http::{RequestHead, ResponseHead};
use weft_model::SpiffeId;
use weft_telemetry::{Direction, Protocol, Record};
use weft_wire::tunnel::{InnerProtocol, Preface};
use weft_world::{Accepted, Moment, Stream, UnixTime};

use crate::Proxy;
use crate::backend::Backend;
use crate::config::{Inbound, InboundPort, Outbound, PortProtocol};
use crate::error::{ProxyError, StreamError};
use crate::exchange::Exchange;
use crate::h1::Server;
use crate::time::{DOWNSTREAM_IDLE_TIMEOUT, HANDSHAKE_TIMEOUT, HEAD_TIMEOUT, within};
use crate::tunnel::{ServerTunnel, protocol_name};
use crate::{request, stream};

/// What is known of a connection for all of its requests.
pub(crate) struct Connection {
    pub(crate) direction: Direction,
    pub(crate) downstream: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) peer: Option<Rc<SpiffeId>>,
}

impl Connection {
    /// A record of something on this connection that begins at `started`.
    pub(crate) fn record(&self, protocol: Protocol, started: UnixTime) -> Record {
        let (from, to) = (self.downstream, self.destination);
        let mut record = Record::new(self.direction, protocol, started, from, to);
        record.peer.clone_from(&self.peer);
        record
    }
}

/// A connection that the workload opened.
pub(crate) async fn outbound(proxy: Rc<Proxy>, listener: Rc<Outbound>, accepted: Accepted) {
    let Accepted { mut stream, peer: downstream, destination } = accepted;
    let connection =
        Connection { direction: Direction::Outbound, downstream, destination, peer: None };
    match listener.protocol {
        PortProtocol::Http => http1(&proxy, &connection, &listener.backend, stream).await,
        PortProtocol::Tcp => {
            stream::serve(&proxy, &connection, &listener.backend, &mut *stream).await;
        }
    }
}

/// A connection that a peer opened to the workload.
pub(crate) async fn inbound(proxy: Rc<Proxy>, listener: Rc<Inbound>, accepted: Accepted) {
    let Accepted { stream, peer: downstream, destination } = accepted;
    let mut connection =
        Connection { direction: Direction::Inbound, downstream, destination, peer: None };
    let (began, started) = (proxy.world.clock.now(), proxy.world.clock.wall());
    let opening = open(&proxy, &listener, &mut connection, stream);
    let opened = within(&*proxy.world.clock, HANDSHAKE_TIMEOUT, opening).await;
    match opened.unwrap_or(Err(ProxyError::InboundTimeout)) {
        Ok((tunnel, port)) => match port.protocol {
            PortProtocol::Http => {
                http1(&proxy, &connection, &port.application, Box::new(tunnel)).await;
            }
            PortProtocol::Tcp => opaque(&proxy, &connection, &port.application, tunnel).await,
        },
        Err(error) => {
            let mut record = connection.record(Protocol::Unknown, started);
            record.reason = Some(error.verdict().reason);
            record.detail = error.to_string();
            record.duration = proxy.world.clock.now().since(began);
            proxy.recorder.finish(&record);
        }
    }
}

/// Finds out who calls and what for, and answers unless the application must be asked first.
async fn open<'l>(
    proxy: &Proxy,
    listener: &'l Inbound,
    connection: &mut Connection,
    socket: Box<dyn Stream>,
) -> Result<(ServerTunnel, &'l InboundPort), ProxyError> {
    let address = listener.listen;
    let tls = proxy.tls.as_ref().ok_or(ProxyError::NoIdentity { address })?;
    let secured = tls.accept(socket).await.map_err(ProxyError::InboundHandshake)?;
    connection.peer = Some(Rc::new(secured.peer));
    let mut tunnel = ServerTunnel::new(secured.stream);
    let preface = tunnel.preface().await?;
    match admit(listener, &preface) {
        Ok(port) => {
            if port.protocol == PortProtocol::Http {
                tunnel.accept().await.map_err(|_| ProxyError::PrefaceEnded)?;
            }
            Ok((tunnel, port))
        }
        Err(error) => {
            // The caller may be gone already; the record says what was wrong in any case.
            let _ = tunnel.refuse(error.verdict().reason, &error.to_string()).await;
            Err(error)
        }
    }
}

/// Decides whether this proxy is the one that `preface` means, and has what it wants.
fn admit<'l>(listener: &'l Inbound, preface: &Preface) -> Result<&'l InboundPort, ProxyError> {
    let Inbound { workload, generation, ports, .. } = listener;
    if preface.workload != *workload || preface.generation != *generation {
        let wanted = format!("{}, generation {}", preface.workload, preface.generation);
        let found = format!("{workload}, generation {generation}");
        return Err(ProxyError::NotMe { wanted, found });
    }
    let number = preface.port().map_err(ProxyError::Preface)?;
    let workload = workload.clone();
    let Some(port) = ports.get(&number) else {
        return Err(ProxyError::UnknownPort { workload, port: number });
    };
    match (port.protocol, preface.protocol()) {
        (PortProtocol::Http, InnerProtocol::Http1) | (PortProtocol::Tcp, InnerProtocol::Opaque) => {
            Ok(port)
        }
        (_, other) => {
            let wanted = protocol_name(other);
            Err(ProxyError::WrongProtocol { workload, port: number, wanted })
        }
    }
}

/// Bytes for the application that are not looked into. The tunnel is accepted once the application
/// has taken the connection.
async fn opaque(
    proxy: &Proxy,
    connection: &Connection,
    application: &Rc<Backend>,
    mut tunnel: ServerTunnel,
) {
    let clock = &proxy.world.clock;
    let began = clock.now();
    let mut record = connection.record(Protocol::Tcp, clock.wall());
    record.backend = Some(application.name().clone());
    let result = match stream::dial(proxy, connection, application, &mut record).await {
        Ok(mut upstream) => match tunnel.accept().await {
            Ok(()) => {
                let network = &*proxy.world.network;
                stream::relay(network, &mut tunnel, &mut *upstream, &mut record).await
            }
            Err(_) => Err(ProxyError::PrefaceEnded),
        },
        Err(error) => {
            // The caller may be gone already; the record says what was wrong in any case.
            let _ = tunnel.refuse(error.verdict().reason, &error.to_string()).await;
            Err(error)
        }
    };
    if let Err(error) = result {
        record.reason = Some(error.verdict().reason);
        record.detail = error.to_string();
    }
    record.duration = clock.now().since(began);
    proxy.recorder.finish(&record);
}

/// Serves the requests of an HTTP/1.1 connection, one after the other.
async fn http1(
    proxy: &Proxy,
    connection: &Connection,
    backend: &Rc<Backend>,
    stream: Box<dyn Stream>,
) {
    let mut server = Server::new(stream);
    let (mut head, mut response) = (RequestHead::default(), ResponseHead::default());
    let mut idle = IdleTimer::new(proxy);
    loop {
        match idle.next_request(&mut server, &mut head).await {
            Ok(Some(size)) => {
                let mut exchange = Exchange::new(&mut head, size, &mut response, &mut server);
                request::serve(proxy, connection, backend, &mut exchange).await;
            }
            Ok(None) => break,
            Err(error) => {
                refuse(proxy, connection, &mut server, error).await;
                break;
            }
        }
        if !server.can_go_on() {
            break;
        }
    }
    if server.is_whole() {
        // A caller that never closes must not keep a connection that is over.
        let _ = within(&*proxy.world.clock, HANDSHAKE_TIMEOUT, server.close()).await;
    }
}

/// Answers bytes that are no request, if the caller is still there.
async fn refuse(proxy: &Proxy, connection: &Connection, server: &mut Server, error: StreamError) {
    let StreamError::Grammar(error) = error else { return };
    let (mut head, mut response) = (RequestHead::default(), ResponseHead::default());
    let size = weft_http::BodySize::Length(0);
    server.give_up();
    let mut exchange = Exchange::new(&mut head, size, &mut response, server);
    request::refuse(proxy, connection, &mut exchange, &ProxyError::BadRequest(error)).await;
}

/// How long a connection may wait between requests, and for the rest of a head. One timer serves
/// both, and it is moved only when it ends.
struct IdleTimer<'p> {
    proxy: &'p Proxy,
    timer: Option<Box<dyn weft_world::Timer>>,
}

impl<'p> IdleTimer<'p> {
    fn new(proxy: &'p Proxy) -> IdleTimer<'p> {
        IdleTimer { proxy, timer: None }
    }

    /// The next request, or none if the caller ends the connection or takes too long.
    async fn next_request(
        &mut self,
        server: &mut Server,
        head: &mut RequestHead,
    ) -> Result<Option<weft_http::BodySize>, StreamError> {
        let clock = &self.proxy.world.clock;
        let mut waits: Option<(Moment, bool)> = None;
        poll_fn(|cx| {
            if let Poll::Ready(result) = server.poll_request(cx, head) {
                return Poll::Ready(result);
            }
            let has_begun = server.has_begun();
            let (since, _) = match waits {
                Some((since, begun)) if begun == has_begun => (since, begun),
                _ => *waits.insert((clock.now(), has_begun)),
            };
            let limit = if has_begun { HEAD_TIMEOUT } else { DOWNSTREAM_IDLE_TIMEOUT };
            loop {
                let timer = self.timer.get_or_insert_with(|| clock.timer(since + HEAD_TIMEOUT));
                if Pin::new(&mut *timer).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let now = clock.now();
                if now.since(since) >= limit {
                    return Poll::Ready(Ok(None));
                }
                timer.reset((since + limit).min(now + HEAD_TIMEOUT));
            }
        })
        .await
    }
}
