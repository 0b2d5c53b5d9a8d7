//! The life of a connection whose bytes are not looked into, of the same shape as a request's.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use weft_decide::eject::Seen;
use weft_decide::retry::{self, Next};
use weft_decide::route::{self, Selected};
use weft_model::{ExternalService, Protocol as Declared};
use weft_telemetry::{Direction, Protocol, Record};
use weft_wire::tunnel::InnerProtocol;
use weft_world::{Buffer, Clock, Network, Spliced, Splicer, Stream};

use crate::Proxy;
use crate::backend::{Backend, Connected, Tried};
use crate::connection::Connection;
use crate::decision;
use crate::detect::{TLS_HANDSHAKE, hello};
use crate::error::{ProxyError, StreamError};
use crate::live::{Watch, judge_peer};
use crate::outside::{Leaving, Outward};
use crate::overload::Pressure;
use crate::prefixed::Prefixed;
use crate::snapshot::Destination;
use crate::time::{HANDSHAKE_TIMEOUT, HEAD_TIMEOUT, within};
use crate::tunnel;

/// From this size on, a read makes the next one larger.
const BULK_BYTES_MIN: usize = 16 * 1024;

/// After so many large reads in a row, bytes are moved within the system where that can be done.
const SPLICE_AFTER: u32 = 4;

/// How long is waited before it is looked again whether what was said has left.
const UNSENT_PAUSE: Duration = Duration::from_millis(20);

/// Carries the bytes of `downstream` to where `connection` leads and back, until both directions
/// have ended. `upstream` is the connection there, if it was opened already, and `record` what
/// there is to say of it.
pub(crate) async fn serve(
    proxy: &Proxy,
    connection: &Connection,
    mut downstream: Prefixed,
    upstream: Option<Connected<Prefixed>>,
    record: Option<Record>,
) {
    let clock = &proxy.world.clock;
    let began = clock.now();
    let _busy = proxy.drain.busy();
    let fresh = || connection.record(Protocol::Tcp, clock.wall());
    let mut record = record.unwrap_or_else(fresh);
    record.audited = connection.audited(proxy);
    let mut instead = None;
    let changes = proxy.live.changes();
    let dialled = async {
        if proxy.pressure() > Pressure::None {
            return Err(ProxyError::Overload);
        }
        let Routed { called, backend } =
            routed(proxy, connection, &mut downstream, &mut instead, &mut record).await?;
        backend.describe(&mut record);
        let outward = instead.as_ref().or(connection.outward());
        let leaving = Leaving::new(outward, &called, backend.destination());
        let idle = backend.timeouts().stream_idle.duration();
        let connected = match upstream {
            Some(connected) => connected.map(|stream| Box::new(stream) as Box<dyn Stream>),
            None => dial(proxy, connection.direction, &backend, &mut record).await?,
        };
        Ok((connected, idle, leaving))
    };
    let result = match dialled.await {
        Ok((
            Connected { stream: mut upstream, peer, place: _place, attempted: _attempted, .. },
            idle,
            leaving,
        )) => {
            let judge = || {
                judge_peer(proxy, peer.as_deref())?;
                leaving.as_ref().map_or(Ok(()), |leaving| leaving.judge(proxy))
            };
            // It may have been opened long ago, to see whether its server speaks first.
            let watch = proxy.live.watch_peer(peer.as_deref(), changes, idle);
            let mut ends = Ends { downstream: &mut downstream, upstream: &mut *upstream };
            ends.carry(proxy, &*proxy.world.network, &mut record, watch, judge).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        record.reason = Some(error.verdict().reason);
        record.detail = error.to_string();
    }
    record.duration = clock.now().since(began);
    proxy.recorder.finish(&record);
}

/// Where a connection goes.
struct Routed {
    called: Arc<Destination>,
    backend: Rc<Backend>,
}

/// Where the connection goes: to what was called, or where the rule leads that it falls under. What
/// is called is what it is for `instead`, if that is noted.
async fn routed(
    proxy: &Proxy,
    connection: &Connection,
    downstream: &mut Prefixed,
    instead: &mut Option<Outward>,
    record: &mut Record,
) -> Result<Routed, ProxyError> {
    let mut called = connection.destination(proxy)?;
    if let Some(outside) = connection.outside_host(proxy)
        && let Some(other) =
            Box::pin(other_server(proxy, connection, outside, called.spoken(), downstream)).await?
    {
        record.audited = other.audited(proxy);
        called = other.destination(&proxy.configuration.load())?;
        *instead = Some(other);
    }
    let is_tls = downstream.seen().starts_with(TLS_HANDSHAKE);
    if called.routes.is_empty() {
        let backend = backend(proxy, connection, &called, is_tls).await?;
        return Ok(Routed { called, backend });
    }
    let name = match called.routes.needs_server_name() {
        true => server_name(&*proxy.world.clock, downstream).await?,
        false => None,
    };
    let selected = decision::stream_rule(&called, name.as_deref())?;
    connection.describe(selected.route, selected.rule_index, record);
    let Selected { route, rule_index, rule } = selected;
    let draw = proxy.turns.next(route, rule_index, &*proxy.world.entropy);
    let to = route::destination(rule, draw);
    let destination = decision::backend(&proxy.configuration.load(), &called, selected, to)?;
    let backend = backend(proxy, connection, &destination, is_tls).await?;
    Ok(Routed { called, backend })
}

/// The backend that `destination` is, where TLS that its caller has begun may go.
async fn backend(
    proxy: &Proxy,
    connection: &Connection,
    destination: &Arc<Destination>,
    is_tls: bool,
) -> Result<Rc<Backend>, ProxyError> {
    if is_tls {
        decision::check_own_tls(destination)?;
    }
    proxy.outside.located(proxy, destination).await?;
    Ok(connection.backend_of(proxy, destination))
}

/// Checks that a connection to a host outside is for that destination, as far as it says: a name
/// opens no other. Gives what it is for instead, if only by DNS it seemed to be for that.
///
/// # Errors
/// [`ProxyError::WrongServerName`], and those of [`server_name`].
async fn other_server(
    proxy: &Proxy,
    connection: &Connection,
    (host, service): (Arc<str>, Arc<ExternalService>),
    declared: Declared,
    downstream: &mut Prefixed,
) -> Result<Option<Outward>, ProxyError> {
    let must_say = declared == Declared::Tls;
    let is_tls = declared == Declared::Detect && downstream.seen().starts_with(TLS_HANDSHAKE);
    if !must_say && !is_tls {
        return Ok(None);
    }
    let asked = server_name(&*proxy.world.clock, downstream).await?;
    match decision::check_server_name(asked.as_deref(), declared, &host, &service) {
        Ok(()) => Ok(None),
        Err(error) => connection.instead(asked.as_deref()).map(Some).ok_or(error),
    }
}

/// Whom a connection of TLS is for, as its caller says with its first bytes.
async fn server_name(
    clock: &dyn Clock,
    downstream: &mut Prefixed,
) -> Result<Option<String>, ProxyError> {
    let reading = async {
        loop {
            if let Some(hello) = hello(downstream.seen()).map_err(ProxyError::BadHello)? {
                return Ok(hello.server_name);
            }
            match poll_fn(|cx| downstream.poll_more(cx)).await {
                Ok(0) | Err(_) => return Err(ProxyError::ClientGone),
                Ok(_) => {}
            }
        }
    };
    within(clock, HEAD_TIMEOUT, reading).await.unwrap_or(Err(ProxyError::HelloTimeout))
}

/// Tries endpoints until one takes the connection. Nothing of it has been sent so far.
pub(crate) async fn dial(
    proxy: &Proxy,
    direction: Direction,
    backend: &Backend,
    record: &mut Record,
) -> Result<Connected<Box<dyn Stream>>, ProxyError> {
    let place = backend.stream_place()?;
    let mut tried = Tried::default();
    loop {
        record.attempts += 1;
        let other = backend.instead(proxy, &tried, Backend::stream_place)?;
        let backend = other.as_ref().map_or(backend, |other| &*other.backend);
        backend.describe(record);
        let key = backend.key(proxy, record.downstream, None).map(|key| key.hash);
        let endpoint = backend.pick(proxy, None, key, None, &tried)?;
        tried.add(endpoint);
        record.upstream = Some(endpoint.address());
        record.workload = endpoint.workload();
        let mut attempted = endpoint.attempt(backend.terms(proxy), proxy.world.clock.now());
        let error = match endpoint.dial(proxy, backend, InnerProtocol::Opaque).await {
            Ok(connected) => {
                attempted.tell(proxy, backend.name(), Seen::Success);
                let place = other.map_or(place, |other| other.place);
                return Ok(Connected { place, attempted: Some(Box::new(attempted)), ..connected });
            }
            Err(error) => error,
        };
        attempted.tell(proxy, backend.name(), error.seen());
        let tried = retry::Tried {
            retries: record.attempts - 1,
            outcome: error.verdict().outcome,
            is_replayable: direction == Direction::Outbound,
            is_idempotent: false,
            is_marked: false,
            has_budget: true,
            left: None,
        };
        match retry::after(None, &tried, proxy.world.entropy.fraction()) {
            Next::Stop => return Err(error),
            Next::RetryAfter(delay) if delay.is_zero() => {}
            Next::RetryAfter(delay) => proxy.world.clock.sleep(delay).await,
        }
    }
}

/// The two ends between which bytes are carried.
pub(crate) struct Ends<'s> {
    pub(crate) downstream: &'s mut dyn Stream,
    pub(crate) upstream: &'s mut dyn Stream,
}

impl Ends<'_> {
    /// Carries bytes both ways for as long as `watch` and `judge` allow. An end in one direction is
    /// passed on; the other goes on. What is cut is broken off at both ends: for a protocol whose
    /// messages are complete when the connection ends, an end would make a part the whole.
    pub(crate) async fn carry(
        &mut self,
        proxy: &Proxy,
        network: &dyn Network,
        record: &mut Record,
        mut watch: Watch,
        judge: impl FnMut() -> Result<(), ProxyError>,
    ) -> Result<(), ProxyError> {
        let Ends { downstream, upstream } = self;
        let moved = Cell::new(0);
        let carried = {
            let relaying = pin!(relay(network, &mut **downstream, &mut **upstream, record, &moved));
            watch.over_moving(judge, &moved, relaying).await
        };
        let (error, is_cut) = match carried {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Ended { error, is_cut })) => (error, is_cut),
            Err(error) => (error, true),
        };
        if is_cut {
            let both: [&mut dyn Stream; 2] = [&mut **downstream, &mut **upstream];
            Box::pin(break_off(&*proxy.world.clock, both)).await;
        }
        Err(error)
    }
}

/// Has the peers of `streams`, which are to be dropped then, see a break instead of an end. What
/// was said before is given some time to arrive: it would be lost.
pub(crate) async fn break_off<const N: usize>(clock: &dyn Clock, streams: [&mut dyn Stream; N]) {
    let streams = streams.map(|stream| {
        stream.break_on_drop();
        &*stream
    });
    let leaving = async {
        while streams.iter().any(|stream| stream.unsent() > 0) {
            clock.sleep(UNSENT_PAUSE).await;
        }
    };
    let _ = within(clock, HANDSHAKE_TIMEOUT, leaving).await;
}

/// That what was carried did not come to a regular end.
struct Ended {
    error: ProxyError,
    /// Whether there is more of it that nobody will get. If not, somebody did not want all, but
    /// what was said to the others has ended in order.
    is_cut: bool,
}

/// Carries bytes both ways. Whatever moves changes `moved`, and is in `record` also if this is
/// dropped.
async fn relay(
    network: &dyn Network,
    downstream: &mut dyn Stream,
    upstream: &mut dyn Stream,
    record: &mut Record,
    moved: &Cell<u64>,
) -> Result<(), Ended> {
    let address = record.upstream.unwrap_or(record.destination);
    let (mut there, mut back) = (Pipe::default(), Pipe::default());
    let mut unread = None;
    let result = poll_fn(|cx| {
        // A tunnel's preface must leave although the caller may wait for the server to speak.
        if let Poll::Ready(Err(error)) = upstream.poll_flush(cx) {
            there.is_broken = true;
            unread.get_or_insert((error, true));
        }
        // Who does not read any more may have said something before: that is still passed on.
        let mut pump =
            |is_there: bool, pipe: &mut Pipe, from: &mut dyn Stream, to: &mut dyn Stream| {
                let pumped = pipe.poll_pump(cx, network, from, to);
                let Poll::Ready(Err(Failure::Writing(error))) = pumped else {
                    return pumped.map_err(|failure| (failure.into_error(), !is_there));
                };
                unread.get_or_insert((error, is_there));
                pipe.is_broken = true;
                pipe.poll_pump(cx, network, from, to).map(|_| Ok(()))
            };
        let is_sent = pump(true, &mut there, downstream, upstream)?.is_ready();
        let is_received = pump(false, &mut back, upstream, downstream)?.is_ready();
        (record.bytes_received, record.bytes_sent) = (there.bytes, back.bytes);
        let ends = u64::from(is_sent) + u64::from(is_received);
        moved.set(there.bytes + back.bytes + ends);
        let is_over = (is_sent || there.is_broken) && (is_received || back.is_broken);
        if is_over { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await;
    (record.bytes_received, record.bytes_sent) = (there.bytes, back.bytes);
    let is_cut = result.is_err();
    let Some((source, is_upstream)) = result.err().or(unread) else { return Ok(()) };
    let error = if is_upstream {
        let broke = |source| ProxyError::UpstreamBroke { address, source };
        tunnel::refusal(StreamError::Io(source)).unwrap_or_else(broke)
    } else {
        ProxyError::ClientGone
    };
    Err(Ended { error, is_cut })
}

/// Which end of a pipe broke.
enum Failure {
    Reading(io::Error),
    Writing(io::Error),
}

impl Failure {
    fn into_error(self) -> io::Error {
        match self {
            Failure::Reading(error) | Failure::Writing(error) => error,
        }
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    buffer: Buffer,
    bytes: u64,
    is_bulk: bool,
    has_ended: bool,
    is_closed: bool,
    /// What comes is thrown away: left unread, it would become a reset that overtakes the answer.
    is_broken: bool,
    /// Large reads in a row: after some it is worth a splicer.
    bulk_reads: u32,
    splicer: Option<Box<dyn Splicer>>,
}

impl Pipe {
    /// Moves bytes by the splicer, if there is one. `None`: copy them.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Stream,
        sink: &mut dyn Stream,
    ) -> Option<Poll<Result<(), Failure>>> {
        let splicer =
            self.splicer.as_mut().filter(|_| self.buffer.is_empty() && !self.is_broken)?;
        match splicer.poll_splice(cx, source, sink) {
            Poll::Pending => Some(Poll::Pending),
            Poll::Ready(Ok(Spliced::Bytes(count))) => {
                self.bytes += count as u64;
                Some(Poll::Ready(Ok(())))
            }
            Poll::Ready(Ok(Spliced::End)) => {
                self.has_ended = true;
                Some(Poll::Ready(Ok(())))
            }
            Poll::Ready(Ok(Spliced::Impossible)) => {
                self.splicer = None;
                None
            }
            // Bytes on their way are lost with whom they were for.
            Poll::Ready(Err(error)) if splicer.waiting() > 0 => {
                Some(Poll::Ready(Err(Failure::Writing(error))))
            }
            Poll::Ready(Err(error)) => Some(Poll::Ready(Err(Failure::Reading(error)))),
        }
    }

    /// Moves what there is from `source` to `sink`. Ready once the end was passed on.
    fn poll_pump(
        &mut self,
        cx: &mut Context<'_>,
        network: &dyn Network,
        source: &mut dyn Stream,
        sink: &mut dyn Stream,
    ) -> Poll<Result<(), Failure>> {
        while !self.is_closed {
            while !self.buffer.is_empty() && !self.is_broken {
                let slices = [IoSlice::new(self.buffer.filled())];
                let count = ready!(sink.poll_write(cx, &slices)).map_err(Failure::Writing)?;
                self.buffer.consume(count);
                self.bytes += count as u64;
            }
            if self.is_broken {
                self.buffer.consume(self.buffer.len());
            }
            if self.has_ended {
                if !self.is_broken {
                    ready!(sink.poll_close(cx)).map_err(Failure::Writing)?;
                }
                self.is_closed = true;
                break;
            }
            if let Some(spliced) = self.poll_splice(cx, source, sink) {
                ready!(spliced)?;
                continue;
            }
            let room = if self.is_bulk { self.buffer.bulk_room() } else { self.buffer.room(1) };
            match source.poll_read(cx, room) {
                Poll::Pending => {
                    self.buffer.release_if_empty();
                    if !self.is_broken {
                        let _ = sink.poll_flush(cx).map_err(Failure::Writing)?;
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Ok(count)) => {
                    self.buffer.fill(count);
                    self.is_bulk = count >= BULK_BYTES_MIN;
                    self.bulk_reads = if self.is_bulk { self.bulk_reads + 1 } else { 0 };
                    if self.bulk_reads == SPLICE_AFTER {
                        self.splicer = network.splicer();
                    }
                    self.has_ended = count == 0;
                    self.buffer.release_if_empty();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Reading(error))),
            }
        }
        Poll::Ready(Ok(()))
    }
}
