//! What is known of a connection for all of its requests, and how they follow one another.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use weft_decide::authorize::Attempt;
use weft_http::{HeadLimits, RequestHead, ResponseHead};
use weft_model::{ExternalService, ObjectName, Port, Route, SpiffeId};
use weft_telemetry::{Direction, Protocol, Record};
use weft_world::{Moment, UnixTime};

use crate::backend::Backend;
use crate::config::InboundOwn;
use crate::error::{ProxyError, StreamError};
use crate::exchange::Exchange;
use crate::guard::Guard;
use crate::h1::Server;
use crate::h2;
use crate::live::Peer;
use crate::outside::Outward;
use crate::overload::Pressure;
use crate::prefixed::Prefixed;
use crate::snapshot::{Destination, OwnPort};
use crate::time::{DOWNSTREAM_IDLE_TIMEOUT, HANDSHAKE_TIMEOUT, HEAD_TIMEOUT, within};
use crate::{Proxy, inbound, outbound, request, stream};

/// What is known of a connection for all of its requests.
pub(crate) struct Connection {
    pub(crate) direction: Direction,
    pub(crate) downstream: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) peer: Option<Rc<SpiffeId>>,
    /// What the peer can be judged by again.
    pub(crate) facts: Option<Peer>,
    pub(crate) to: To,
    /// The backend of the last request, which most often is that of the next one.
    last: RefCell<Option<Rc<Backend>>>,
    /// The names of the last rule, likewise.
    last_rule: RefCell<Option<RuleNames>>,
}

/// The names of a rule, for records.
struct RuleNames {
    route: Arc<Route>,
    index: usize,
    names: (Rc<str>, Rc<str>),
}

/// How requests and answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// As in HTTP/1.1.
    Http1,
    /// As in HTTP/2.
    Http2,
}

/// Where a connection leads. What that is, is looked up for each request.
pub(crate) enum To {
    /// It is not known yet.
    Nowhere,
    /// To this.
    Fixed(Arc<Destination>),
    /// To a port of a Service.
    Service(ObjectName, Port),
    /// To whatever of the mesh has this address.
    Address(SocketAddr),
    /// To something outside of the mesh.
    Outside(Box<Outward>),
    /// To a port of the own application.
    Own(InboundOwn, Port),
}

impl Connection {
    pub(crate) fn new(
        direction: Direction,
        downstream: SocketAddr,
        destination: SocketAddr,
        to: To,
    ) -> Connection {
        let (peer, facts, last, last_rule) = Default::default();
        Connection { direction, downstream, destination, peer, facts, to, last, last_rule }
    }

    /// How large the heads of its requests may be.
    fn head_limits(&self) -> HeadLimits {
        match self.direction {
            Direction::Inbound => HeadLimits::MESH,
            Direction::Outbound => HeadLimits::OUTSIDE,
        }
    }

    /// A record of something on this connection that begins at `started`.
    pub(crate) fn record(&self, protocol: Protocol, started: UnixTime) -> Record {
        let (from, to) = (self.downstream, self.destination);
        let mut record = Record::new(self.direction, protocol, started, from, to);
        record.peer.clone_from(&self.peer);
        record
    }

    /// Where the connection leads, as it is known now.
    ///
    /// # Errors
    /// [`ProxyError`] if it leads nowhere any more.
    pub(crate) fn destination(&self, proxy: &Proxy) -> Result<Arc<Destination>, ProxyError> {
        match &self.to {
            To::Fixed(destination) => Ok(destination.clone()),
            To::Service(name, port) => {
                outbound::of_called(&proxy.configuration.load(), name, *port)
            }
            To::Address(address) => outbound::at_address(&proxy.configuration.load(), *address),
            To::Outside(outward) => {
                let base = outward.destination(&proxy.configuration.load())?;
                Ok(proxy.outside.current(&base))
            }
            To::Own(own, port) => Ok(inbound::own_port(proxy, own, *port)?.application),
            To::Nowhere => Err(ProxyError::NoEndpoint { backend: self.destination.to_string() }),
        }
    }

    /// The port of the own application where the connection leads, as it is known now.
    ///
    /// # Errors
    /// [`ProxyError`] if it leads nowhere any more.
    pub(crate) fn own_port(&self, proxy: &Proxy) -> Result<(Port, OwnPort), ProxyError> {
        match &self.to {
            To::Own(own, port) => Ok((*port, inbound::own_port(proxy, own, *port)?)),
            _ => Err(ProxyError::NoEndpoint { backend: self.destination.to_string() }),
        }
    }

    /// What this connection is judged by: who calls, and with `http` also what for.
    pub(crate) fn attempt<'a>(&'a self, port: Port, http: Option<&'a RequestHead>) -> Attempt<'a> {
        Attempt { peer: self.peer.as_deref(), address: self.downstream.ip(), port, http }
    }

    /// Whether what is under way on this connection, which was let in by `guard`, may go on.
    ///
    /// # Errors
    /// [`ProxyError::PolicyChanged`].
    pub(crate) fn judge_again(
        &self,
        proxy: &Proxy,
        guard: &Arc<Guard>,
        http: Option<&RequestHead>,
    ) -> Result<(), ProxyError> {
        // Whatever the reason, the application may have seen it already.
        let changed = |error| ProxyError::PolicyChanged(Box::new(error));
        let (port, now) = self.own_port(proxy).map_err(changed)?;
        if Arc::ptr_eq(&now.guard, guard) {
            return Ok(());
        }
        now.guard.judge(&self.attempt(port, http)).map_err(changed)
    }

    /// What it is for outside of the mesh, if it is for something there.
    pub(crate) fn outward(&self) -> Option<&Outward> {
        match &self.to {
            To::Outside(outward) => Some(outward),
            _ => None,
        }
    }

    /// What in audit would refuse what it carries outside, for its record; the recorder is told.
    pub(crate) fn audited(&self, proxy: &Proxy) -> Option<String> {
        match &self.to {
            To::Outside(outward) => outward.audited(proxy),
            _ => None,
        }
    }

    /// What it is for if it is for `asked`, which is no host of the destination that it seems to be
    /// for; nothing if that cannot be.
    pub(crate) fn instead(&self, asked: Option<&str>) -> Option<Outward> {
        match &self.to {
            To::Outside(outward) => outward.instead(asked),
            _ => None,
        }
    }

    /// The host outside that it is for, if it is for one, and the destination that has that host.
    pub(crate) fn outside_host(&self, proxy: &Proxy) -> Option<(Arc<str>, Arc<ExternalService>)> {
        match &self.to {
            To::Outside(outward) => outward.hosts(&proxy.configuration.load()),
            _ => None,
        }
    }

    /// Notes in `record` that the rule `index` of `route` is the one that holds.
    pub(crate) fn describe(&self, route: &Arc<Route>, index: usize, record: &mut Record) {
        let mut last = self.last_rule.borrow_mut();
        let known = last.take().filter(|known| Arc::ptr_eq(&known.route, route));
        let known = known.filter(|known| known.index == index).unwrap_or_else(|| {
            let rule = route.rules[index].name.clone().unwrap_or_else(|| index.to_string());
            let names = (route.name.to_string().into(), rule.into());
            RuleNames { route: route.clone(), index, names }
        });
        let (route, rule) = &last.insert(known).names;
        (record.route, record.rule) = (Some(route.clone()), Some(rule.clone()));
    }

    /// The endpoints of `destination`, those of a host outside as far as they are known.
    pub(crate) fn backend_of(&self, proxy: &Proxy, destination: &Arc<Destination>) -> Rc<Backend> {
        let destination = &proxy.outside.current(destination);
        let mut last = self.last.borrow_mut();
        match &*last {
            Some(backend) if Arc::ptr_eq(backend.destination(), destination) => backend.clone(),
            _ => {
                let snapshot = proxy.configuration.load();
                let own = snapshot.own.as_ref().and_then(|own| own.locality.as_ref());
                let backend = proxy.backends.of(proxy, destination, own);
                last.insert(backend).clone()
            }
        }
    }
}

/// Serves the requests of an HTTP/1.1 connection, one after the other.
pub(crate) async fn http1(proxy: &Rc<Proxy>, connection: &Connection, stream: Prefixed) {
    let (stream, incoming) = stream.into_parts();
    let mut server = Server::new(stream, incoming).within(connection.head_limits());
    let (mut head, mut response) = (RequestHead::default(), ResponseHead::default());
    let mut idle = IdleTimer::new(proxy, connection.direction);
    loop {
        match idle.next_request(&mut server, &mut head).await {
            Ok(Some(size)) => {
                let mut exchange = Exchange::new(&mut head, size, &mut response, &mut server);
                request::serve(proxy, connection, Codec::Http1, &mut exchange).await;
            }
            // Who has gone knows why.
            Ok(None) | Err(ProxyError::ClientGone) => break,
            Err(error) => {
                refuse(proxy, connection, &mut server, &error).await;
                break;
            }
        }
        if !server.can_go_on() {
            break;
        }
    }
    if server.is_whole() {
        // What comes from peers are streams of a tunnel, whose frames keep their order.
        let closing = server.close(connection.direction == Direction::Outbound);
        // A caller that never closes must not keep a connection that is over.
        let _ = within(&*proxy.world.clock, HANDSHAKE_TIMEOUT, closing).await;
    } else if let Some(stream) = server.cut_short() {
        Box::pin(stream::break_off(&*proxy.world.clock, [stream])).await;
    }
}

/// Serves the requests of an HTTP/2 connection, each in a task of its own.
pub(crate) async fn http2(proxy: &Rc<Proxy>, connection: &Rc<Connection>, stream: Prefixed) {
    let (room, clock) = (proxy.overload.room(), &proxy.world.clock);
    let started = clock.wall();
    let server = h2::server::Server::with_room(room, Box::new(stream), clock.clone())
        .within(connection.head_limits());
    let drain = async {
        match connection.direction {
            Direction::Inbound => proxy.drain.started().await,
            Direction::Outbound => std::future::pending().await,
        }
    };
    let handle = |incoming: h2::server::Incoming| {
        let (proxy, connection) = (proxy.clone(), connection.clone());
        async move {
            let h2::server::Incoming { mut head, size, mut stream } = incoming;
            let mut response = ResponseHead::default();
            let known = size.unwrap_or(weft_http::BodySize::Length(0));
            let mut exchange = Exchange::new(&mut head, known, &mut response, &mut stream);
            match size {
                Ok(_) => request::serve(&proxy, &connection, Codec::Http2, &mut exchange).await,
                Err(error) => {
                    let error = ProxyError::BadRequest(error);
                    let codec = Codec::Http2;
                    request::refuse(&proxy, &connection, codec, &mut exchange, &error).await;
                }
            }
        }
    };
    if let Some(error) = h2::server::serve(server, drain, handle).await {
        // Its exchanges have their own records. How long it lived says nothing, and stays 0.
        let mut record = connection.record(Protocol::Http2, started);
        record.reason = Some(error.verdict().reason);
        record.detail = error.to_string();
        proxy.recorder.finish(&record);
    }
}

/// Answers bytes that are no request.
async fn refuse(proxy: &Proxy, connection: &Connection, server: &mut Server, error: &ProxyError) {
    let (mut head, mut response) = (RequestHead::default(), ResponseHead::default());
    let size = weft_http::BodySize::Length(0);
    server.give_up();
    let mut exchange = Exchange::new(&mut head, size, &mut response, server);
    request::refuse(proxy, connection, Codec::Http1, &mut exchange, error).await;
}

/// How long a connection may wait between requests, and for the rest of a head. One timer serves
/// both, and it is moved only when it ends.
struct IdleTimer<'p> {
    proxy: &'p Proxy,
    direction: Direction,
    timer: Option<Box<dyn weft_world::Timer>>,
}

impl<'p> IdleTimer<'p> {
    fn new(proxy: &'p Proxy, direction: Direction) -> IdleTimer<'p> {
        IdleTimer { proxy, direction, timer: None }
    }

    /// The next request, or none if the caller ends the connection or begins none for too long, or
    /// if none is taken any more.
    ///
    /// # Errors
    /// [`ProxyError::BadRequest`], [`ProxyError::HeadTimeout`], [`ProxyError::Overload`];
    /// [`ProxyError::ClientGone`] if the connection broke.
    async fn next_request(
        &mut self,
        server: &mut Server,
        head: &mut RequestHead,
    ) -> Result<Option<weft_http::BodySize>, ProxyError> {
        let clock = &self.proxy.world.clock;
        let mut waits: Option<(Moment, bool)> = None;
        poll_fn(|cx| {
            if let Poll::Ready(result) = server.poll_request(cx, head) {
                return Poll::Ready(result.map_err(|error| match error {
                    StreamError::Grammar(error) => ProxyError::BadRequest(error),
                    StreamError::Io(_) | StreamError::Closed => ProxyError::ClientGone,
                }));
            }
            let has_begun = server.has_begun();
            if has_begun && self.proxy.pressure() > Pressure::None {
                // What there is of a head may take as much as a whole one, and for longer.
                return Poll::Ready(Err(ProxyError::Overload));
            }
            let is_place_wanted = self.proxy.drain.is_on() || self.proxy.is_full();
            if !has_begun && self.direction == Direction::Inbound && is_place_wanted {
                // An orderly end says that nothing was lost: the caller asks elsewhere.
                return Poll::Ready(Ok(None));
            }
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
                    let late = Err(ProxyError::HeadTimeout);
                    return Poll::Ready(if has_begun { late } else { Ok(None) });
                }
                timer.reset((since + limit).min(now + HEAD_TIMEOUT));
            }
        })
        .await
    }
}
