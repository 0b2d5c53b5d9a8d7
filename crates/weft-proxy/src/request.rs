//! The life of a request, from its head to its record.

mod mirror;
mod recording;

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weft_decide::deadline::{self, Bound, Deadline};
use weft_decide::egress::host_of;
use weft_decide::eject::Seen;
use weft_decide::filters::{self, OnAnswer, OwnAnswer};
use weft_decide::grpc::{is_call, status as grpc_status_of};
use weft_decide::idle;
use weft_decide::retry::{self, Next, Outcome};
use weft_decide::route::{self, Matched, Selected};
use weft_decide::session::Session;
use weft_http::ResponseHead;
use weft_model::{Retry, Route, Timeouts};
use weft_telemetry::{Direction, Protocol, Record};

use self::recording::Recording;
use crate::Proxy;
use crate::backend::{Attempted, Backend, Connected, Endpoint, Tried};
use crate::connection::{Codec, Connection};
use crate::decision::{self, upstream_codec};
use crate::error::{Fault, ProxyError};
use crate::exchange::{Exchange, Reply, Upstream};
use crate::fault::{self, Patience};
use crate::h2::grpc;
use crate::live::judge_peer;
use crate::outside::Leaving;
use crate::overload::Pressure;
use crate::snapshot::{Destination, OwnPort};
use crate::time::{ANSWER_TIMEOUT, LINGER_TIMEOUT, within, within_unless};

/// Drives `exchange` to its end: a failure becomes an answer, and either is recorded once.
pub(crate) async fn serve(
    proxy: &Rc<Proxy>,
    connection: &Connection,
    codec: Codec,
    exchange: &mut Exchange<'_>,
) {
    let mut recording = Recording::start(proxy, connection, codec, exchange);
    let result = match connection.direction {
        _ if proxy.pressure() > Pressure::None => {
            exchange.end_after_answer();
            Err(ProxyError::Overload)
        }
        Direction::Outbound => outbound(proxy, connection, exchange, &mut recording).await,
        Direction::Inbound => inbound(proxy, connection, exchange, &mut recording).await,
    };
    // Who is refused since memory is short is not waited for either.
    let is_waited_for = !matches!(result, Err(ProxyError::Overload));
    if let Err(error) = result {
        fail(proxy, connection, exchange, &error, &mut recording.record).await;
    }
    // It is still under way meanwhile, and takes room.
    let _busy = recording.finish(exchange);
    if is_waited_for && exchange.is_unread() {
        Box::pin(within(&*proxy.world.clock, LINGER_TIMEOUT, exchange.linger())).await;
    }
}

/// Answers bytes that are no request.
pub(crate) async fn refuse(
    proxy: &Proxy,
    connection: &Connection,
    codec: Codec,
    exchange: &mut Exchange<'_>,
    error: &ProxyError,
) {
    let mut recording = Recording::start(proxy, connection, codec, exchange);
    fail(proxy, connection, exchange, error, &mut recording.record).await;
    recording.finish(exchange);
}

/// What the workload asks of others.
async fn outbound(
    proxy: &Rc<Proxy>,
    connection: &Connection,
    exchange: &mut Exchange<'_>,
    recording: &mut Recording<'_>,
) -> Result<(), ProxyError> {
    let outside = connection.outside_host(proxy);
    if let Some((host, _)) = outside.as_ref().filter(|_| exchange.head.authority().is_empty()) {
        exchange.head.set_authority(host);
    }
    decision::prepare(exchange.head, connection.destination, connection.peer.is_some())?;
    let (mut instead, changes) = (None, proxy.live.changes());
    if let Some((host, service)) = outside
        && let Err(error) = decision::check_host(exchange.head, &host, &service)
    {
        let asked = host_of(exchange.head.authority());
        let other = connection.instead(Some(&asked)).ok_or(error)?;
        recording.record.audited = other.audited(proxy);
        instead = Some(other);
    }
    let called = match &instead {
        Some(instead) => instead.destination(&proxy.configuration.load())?,
        None => connection.destination(proxy)?,
    };
    let Decided { called, to, rule } = match decide(proxy, connection, called, exchange, recording)?
    {
        Decision::Goes(decided) => decided,
        Decision::Answered(answer) => {
            give(proxy, exchange, &answer, &mut recording.record).await;
            return Ok(());
        }
    };
    proxy.outside.located(proxy, &to).await?;
    let backend = connection.backend_of(proxy, &to);
    backend.describe(&mut recording.record);
    exchange.keep_body();
    let _place = backend.request_place()?;
    let rule = rule.as_ref().map(|(route, index)| &route.rules[*index]);
    let timeouts = rule.map(|rule| rule.timeouts).unwrap_or_default();
    let (key, set_cookie) = backend.told_apart(proxy, connection.downstream, exchange.head);
    let mut tries = Tries {
        policy: rule.and_then(|rule| rule.retry.as_ref()),
        key,
        set_cookie,
        deadline: recording.deadline(exchange.head, &timeouts)?,
        idle: backend.timeouts().stream_idle.duration(),
        leaving: Leaving::new(instead.as_ref().or(connection.outward()), &called, &to),
        changes,
        is_final: false,
    };

    if let Some(fault) = fault::of(rule, &called, backend.destination(), exchange.head) {
        let patience = Patience { deadline: &tries.deadline, idle: tries.idle };
        let record = &mut recording.record;
        Box::pin(fault::put_in(proxy, exchange, record, fault, &patience)).await?;
    }
    backend.budget().request(proxy.now());

    // Try endpoints until one answers, or the request cannot be sent again.
    let (mut before, mut tried, mut is_instead) = (None, Tried::default(), false);
    loop {
        recording.record.attempts += 1;
        let other = backend.instead(proxy, &tried, |other| {
            other.budget().request(proxy.now());
            other.request_place().map(Some)
        })?;
        let backend = other.as_ref().map_or(&backend, |other| &other.backend);
        backend.describe(&mut recording.record);
        if other.is_some() != is_instead {
            is_instead = other.is_some();
            (tries.key, tries.set_cookie) =
                backend.told_apart(proxy, connection.downstream, exchange.head);
        }
        let ended = attempt(proxy, backend, exchange, recording, &tries, &mut tried).await;
        let delay = match ended {
            Ok(Ended::Complete) => return Ok(()),
            Ok(Ended::Again(delay)) => delay,
            // That there is no other endpoint is not why the request failed.
            Err(ProxyError::NoEndpoint { .. }) if before.is_some() => {
                recording.record.attempts -= 1;
                return before.map_or(Ok(()), Err);
            }
            Err(error) => {
                let outcome = error.verdict().outcome;
                match next(proxy, backend, &tries, exchange, recording, outcome) {
                    Next::Stop => return Err(error),
                    Next::RetryAfter(delay) => {
                        before = Some(error);
                        delay
                    }
                }
            }
        };
        if !delay.is_zero() {
            proxy.world.clock.sleep(delay).await;
        }
    }
}

/// How often and how long a request may be tried.
struct Tries<'t> {
    policy: Option<&'t Retry>,
    /// What it is told apart by, where that decides on its endpoint.
    key: Option<u64>,
    /// The cookie by which its client is told apart from the next request on, if it is given one.
    set_cookie: Option<Box<str>>,
    deadline: Deadline,
    /// How long it may go without a byte in either direction.
    idle: Duration,
    /// By what it leaves the mesh, if it does.
    leaving: Option<Leaving<'t>>,
    /// How many changes there were when it was decided where it goes.
    changes: u64,
    /// Whether any answer is given to the caller, whatever it is.
    is_final: bool,
}

/// How an attempt ended that did not fail.
enum Ended {
    /// The answer was given to the caller.
    Complete,
    /// The answer is one that is not given to the caller: the request is sent again after a wait.
    Again(Duration),
}

/// What becomes of a request.
enum Decision {
    Goes(Decided),
    /// A filter of its rule answers it.
    Answered(Box<OwnAnswer>),
}

/// Where a request goes, and how.
struct Decided {
    called: Arc<Destination>,
    to: Arc<Destination>,
    /// The rule that it falls under, if it does.
    rule: Option<(Arc<Route>, usize)>,
}

/// Decides where the request goes: by the rules of what was called, or to its own endpoints. That
/// is what the connection leads to, or what the request is for instead. What the filters of its
/// rule do to it is done here, once.
fn decide(
    proxy: &Rc<Proxy>,
    connection: &Connection,
    called: Arc<Destination>,
    exchange: &mut Exchange<'_>,
    recording: &mut Recording<'_>,
) -> Result<Decision, ProxyError> {
    let Some(Matched { selected, facts, .. }) = decision::rule(&called, exchange.head)? else {
        let to = called.clone();
        return Ok(Decision::Goes(Decided { called, to, rule: None }));
    };
    let Selected { route, rule_index, rule } = selected;
    connection.describe(route, rule_index, &mut recording.record);
    exchange.on_answer = OnAnswer::new(route, rule_index, exchange.head).map(Box::new);
    if let Some(answer) = filters::answer(&rule.filters, &facts, exchange.head) {
        return Ok(Decision::Answered(Box::new(answer)));
    }
    let draw = proxy.turns.next(route, rule_index, &*proxy.world.entropy);
    let to = route::destination(rule, draw);
    // First, as the answer that it is not there is one under its filters as well.
    if let (Some(on_answer), route::Destination::Backend(picked)) = (&mut exchange.on_answer, to) {
        on_answer.goes_to(picked);
    }
    let found = decision::backend(&proxy.configuration.load(), &called, selected, to)?;
    filters::on_request(&rule.filters, &facts, exchange.head);
    mirror::start(proxy, connection, &called, exchange, rule, recording);
    decision::on_way(to, &facts, exchange.head);
    let rule = Some((route.clone(), rule_index));
    Ok(Decision::Goes(Decided { called, to: found, rule }))
}

/// What others ask of the workload. Never retried here: the caller's proxy decides. But that the
/// application has just closed the connection kept to it is no concern of the caller.
async fn inbound(
    proxy: &Proxy,
    connection: &Connection,
    exchange: &mut Exchange<'_>,
    recording: &mut Recording<'_>,
) -> Result<(), ProxyError> {
    if proxy.drain.is_on() {
        exchange.end_after_answer();
        return Err(ProxyError::Draining);
    }
    decision::prepare(exchange.head, connection.destination, connection.peer.is_some())?;
    if exchange.may_outgrow() && exchange.head.fields.values(HELD).next().is_some() {
        exchange.head.fields.remove(HELD.as_bytes());
        exchange.tell_reached();
    }
    let (port, OwnPort { application, guard }) = connection.own_port(proxy)?;
    let judged = connection.attempt(port, Some(exchange.head));
    recording.record.audited = guard.audited(&judged, &*proxy.recorder);
    guard.judge(&judged)?;
    // It is judged again when policies change. A copy stays, whatever today's policies read: those
    // of tomorrow may read more, and what they could not evaluate they would have to forbid.
    let head = exchange.head.clone();
    let backend = connection.backend_of(proxy, &application);
    backend.describe(&mut recording.record);
    let judge = || connection.judge_again(proxy, &guard, Some(&head));
    let (mut watch, mut tried) = (proxy.live.watch(), Tried::default());
    // Nobody waits for what its caller has given up.
    let deadline = recording.deadline(exchange.head, &Timeouts::default())?;
    let idle = idle::at_server(idle::told(exchange.head).map_err(ProxyError::BadTimeout)?);
    let (key, set_cookie, leaving, changes) = (None, None, None, proxy.live.changes());
    let (policy, is_final) = (None, true);
    let tries = Tries { policy, key, set_cookie, deadline, idle, leaving, changes, is_final };
    let mut sent: Option<Box<ProxyError>> = None;
    loop {
        recording.record.attempts += 1;
        let tried = {
            let trying = pin!(attempt(proxy, &backend, exchange, recording, &tries, &mut tried));
            watch.over(judge, trying).await.flatten()
        };
        let Err(error) = tried else { return Ok(()) };
        let outcome = error.verdict().outcome;
        let was_idle = outcome == Outcome::BrokeWhenReused;
        let mut next = || next(proxy, &backend, &tries, exchange, recording, outcome);
        if !was_idle || next() == Next::Stop {
            // What the application may have seen is not unprocessed because it is gone by now.
            let before = sent.filter(|_| outcome == Outcome::Unprocessed);
            return Err(before.map_or(error, |before| *before));
        }
        sent = Some(Box::new(error));
    }
}

/// Whether the request is sent once more after an attempt that ended with `outcome`.
fn next(
    proxy: &Proxy,
    backend: &Backend,
    tries: &Tries<'_>,
    exchange: &Exchange<'_>,
    recording: &mut Recording<'_>,
    outcome: Outcome,
) -> Next {
    let (now, policy) = (proxy.now(), &backend.destination().traffic.retry_budget);
    // What nobody has processed costs no server anything.
    let is_free = outcome == Outcome::Unprocessed;
    let facts = retry::Tried {
        retries: recording.record.attempts - 1,
        outcome,
        is_replayable: exchange.is_replayable(),
        is_idempotent: exchange.head.is_idempotent(),
        // Where there is no answer, what stands there is that to an earlier request.
        is_marked: outcome.status().is_some()
            && exchange.response.fields.values(RETRIED).next().is_some(),
        has_budget: true,
        left: tries.deadline.left(now).map(|bound| bound.left),
    };
    let next = retry::after(tries.policy, &facts, proxy.world.entropy.fraction());
    if next != Next::Stop && !is_free && !backend.budget().retry(policy, now) {
        recording.record.retry_denied = Some("budget");
        return Next::Stop;
    }
    next
}

/// Sends the request to one endpoint, and gives its answer to the caller, unless `tries` says that
/// such an answer is a reason to try another one.
async fn attempt(
    proxy: &Proxy,
    backend: &Backend,
    exchange: &mut Exchange<'_>,
    recording: &mut Recording<'_>,
    tries: &Tries<'_>,
    tried: &mut Tried,
) -> Result<Ended, ProxyError> {
    let session = backend.session(proxy, exchange.head);
    let endpoint = backend.pick(proxy, Some(exchange.head), tries.key, session, tried)?;
    tried.add(endpoint);
    recording.record.upstream = Some(endpoint.address());
    recording.record.workload = endpoint.workload();
    let now = proxy.world.clock.now();
    let mut attempted = endpoint.attempt(backend.terms(proxy), now);
    let bound = tries.deadline.attempt(proxy.since_start(now));
    deadline::carry(exchange.head, bound.map(|bound| bound.left), endpoint.is_secured());
    idle::carry(exchange.head, tries.idle, endpoint.is_secured());
    // The application's own proxy is the last one.
    let is_held = !tries.is_final && endpoint.is_secured() && exchange.may_outgrow();
    exchange.hold(is_held);
    if exchange.may_outgrow() {
        exchange.head.fields.remove(HELD.as_bytes());
    }
    if is_held {
        exchange.head.fields.append(HELD, b"1");
    }
    let is_unbounded = Cell::new(false);
    let at =
        At { backend, endpoint, session, attempted: &mut attempted, is_unbounded: &is_unbounded };
    let result = {
        let asking = pin!(ask(proxy, at, exchange, recording, tries));
        match bound {
            None => asking.await,
            Some(Bound { left, whole, limit }) => {
                let asked = within_unless(&*proxy.world.clock, left, &is_unbounded, asking).await;
                asked.unwrap_or(Err(ProxyError::Timeout { limit, whole }))
            }
        }
    };
    if let Err(error) = &result {
        attempted.tell(proxy, backend.name(), error.seen());
    }
    result
}

/// Where an attempt is made.
struct At<'a> {
    backend: &'a Backend,
    endpoint: &'a Rc<Endpoint>,
    /// The session that the request is part of.
    session: Option<Session>,
    attempted: &'a mut Attempted,
    /// Set once there is an answer that no deadline concerns any more.
    is_unbounded: &'a Cell<bool>,
}

/// Asks the endpoint, and gives its answer to the caller, unless that is a reason to try another.
async fn ask(
    proxy: &Proxy,
    at: At<'_>,
    exchange: &mut Exchange<'_>,
    recording: &mut Recording<'_>,
    tries: &Tries<'_>,
) -> Result<Ended, ProxyError> {
    let At { backend, endpoint, session, attempted, is_unbounded } = at;
    let address = endpoint.address();
    let mut connected = connect(proxy, backend, endpoint, exchange, recording, tries).await?;
    attempted.connected(proxy);
    let peer = connected.peer.clone();
    let judge = || {
        judge_peer(proxy, peer.as_deref())?;
        tries.leaving.as_ref().map_or(Ok(()), |leaving| leaving.judge(proxy))
    };
    let moved = Cell::new(0);
    let mut watch = proxy.live.watch_peer(peer.as_deref(), tries.changes, tries.idle);
    let upstream = &mut *connected.stream;
    let asked = {
        let asking = pin!(exchange.ask(upstream, address, &moved));
        watch.over_moving(judge, &moved, asking).await.flatten()
    };
    let is_grpc = recording.record.protocol == Protocol::Grpc;
    let reply = asked.map_err(|error| match error {
        ProxyError::StoodStill { limit } if exchange.awaits_caller() => {
            ProxyError::RequestStoodStill { limit }
        }
        // A server of gRPC that streams may send its head with the first message only.
        ProxyError::StoodStill { limit } if !is_grpc => ProxyError::NeverAnswered { limit },
        error => endpoint.explain(proxy, error),
    })?;
    attempted.answered(proxy, &backend.destination().traffic);
    endpoint.heed(proxy, &mut exchange.response.fields)?;
    let status = exchange.response.status;
    let mut grpc_status = grpc_status_of(&exchange.response.fields);
    if !is_grpc || grpc_status.is_some() {
        attempted.tell(proxy, backend.name(), Seen::of_answer(status, grpc_status));
    }
    if !tries.is_final && reply != Reply::Upgraded {
        let mut outcome = Outcome::of_answer(status, grpc_status);
        if endpoint.says_failed(&exchange.response.fields) {
            outcome = Outcome::FailedBehind(outcome.status().unwrap_or(status));
        }
        let next = next(proxy, backend, tries, exchange, recording, outcome);
        if let Next::RetryAfter(delay) = next {
            return Ok(Ended::Again(delay));
        }
        if outcome.status().is_some_and(|status| status >= 500) && is_exhausted(&recording.record) {
            exchange.response.fields.set(RETRIED, b"1");
        }
    }
    recording.answered(status);
    if let Some(on_answer) = exchange.on_answer.take() {
        on_answer.apply(&mut exchange.response.fields);
    }
    if let Some((name, value)) = backend.tell_session(proxy, session, endpoint) {
        exchange.response.fields.append(name, value.as_bytes());
    }
    if let Some(cookie) = &tries.set_cookie {
        exchange.response.fields.append("Set-Cookie", cookie.as_bytes());
    }
    if tries.is_final && proxy.drain.is_on() {
        exchange.response.fields.append(DRAINING, b"1");
        exchange.end_after_answer();
    }

    // The answer to a wish to change protocols is complete; what is spoken then has no end known.
    is_unbounded.set(reply == Reply::Upgraded);
    {
        let relaying = pin!(exchange.relay(upstream, reply, address, &moved));
        watch.over_moving(judge, &moved, relaying).await??;
    }
    if is_grpc {
        grpc_status = grpc_status.or_else(|| grpc_status_of(connected.stream.trailers()));
        attempted.tell(proxy, backend.name(), Seen::of_answer(status, grpc_status));
        recording.record.grpc_status = grpc_status.and_then(|code| u16::try_from(code).ok());
    }
    backend.give_back(endpoint, connected, proxy.world.clock.now());
    Ok(Ended::Complete)
}

/// A connection to the endpoint, as long as the caller waits for it.
async fn connect(
    proxy: &Proxy,
    backend: &Backend,
    endpoint: &Endpoint,
    exchange: &mut Exchange<'_>,
    recording: &Recording<'_>,
    tries: &Tries<'_>,
) -> Result<Connected<Box<dyn Upstream>>, ProxyError> {
    let declared = backend.destination().protocol;
    let codec = upstream_codec(declared, exchange.head, recording.codec);
    let is_idempotent = exchange.head.is_idempotent();
    let connection = pin!(async {
        match codec {
            Codec::Http1 => endpoint.http1(proxy, backend, is_idempotent).await,
            Codec::Http2 => endpoint.http2(proxy, backend).await,
        }
    });
    let is_again = recording.record.attempts > 1;
    exchange.while_wanted(&proxy.live, tries.idle, is_again, connection).await
}

/// Whether the request was sent again, or would have been if the budget had had room: both are
/// reasons for those before this proxy not to do so.
fn is_exhausted(record: &Record) -> bool {
    record.attempts > 1 || record.retry_denied.is_some()
}

/// Answers with what `error` means, unless the caller has an answer already or is gone.
async fn fail(
    proxy: &Proxy,
    connection: &Connection,
    exchange: &mut Exchange<'_>,
    error: &ProxyError,
    record: &mut Record,
) {
    let verdict = error.verdict();
    record.reason = Some(verdict.reason);
    record.detail = error.to_string();
    let on_answer = exchange.on_answer.take();
    if exchange.has_answered() || matches!(error, ProxyError::ClientGone) {
        return; // The connection is broken off, which tells the caller that something is missing.
    }
    let is_grpc = is_call(exchange.head);
    let mut head = if is_grpc {
        let head = grpc::failure(&verdict, &error.to_string());
        let status = weft_decide::grpc::status(&head.fields);
        record.grpc_status = status.and_then(|status| u16::try_from(status).ok());
        head
    } else {
        let mut head = ResponseHead::with_status(verdict.status);
        head.fields.append(REASON, verdict.reason.as_bytes());
        head
    };
    record.status = head.status;
    if connection.peer.is_none() && verdict.status >= 500 && is_exhausted(record) {
        head.fields.append(RETRIED, b"1");
    }
    if connection.peer.is_some() && error.is_of_instance() {
        // The caller's proxy may ask elsewhere.
        head.fields.append(NOT_PROCESSED, verdict.reason.as_bytes());
    }
    if !is_grpc {
        head.fields.append("Content-Type", b"text/plain; charset=utf-8");
    }
    if let Some(on_answer) = on_answer {
        on_answer.apply(&mut head.fields);
    }
    if is_grpc {
        return answer(proxy, exchange, &head, b"").await;
    }
    let explained = if verdict.fault == Fault::Client { "" } else { ": not the server's answer" };
    let body = format!("weft: {}: {}{explained}\n", verdict.reason, error);
    answer(proxy, exchange, &head, body.as_bytes()).await;
}

/// Answers with what a filter of the request's rule says.
async fn give(proxy: &Proxy, exchange: &mut Exchange<'_>, own: &OwnAnswer, record: &mut Record) {
    let mut head = own.head(exchange.on_answer.take().as_deref());
    head.fields.append(REASON, own.reason.as_bytes());
    (record.status, record.reason, record.is_meant) = (own.status, Some(own.reason), true);
    record.detail.clone_from(&own.detail);
    answer(proxy, exchange, &head, b"").await;
}

/// Gives Weft's own answer to a caller, and does not wait for ever for one that does not read it.
async fn answer(proxy: &Proxy, exchange: &mut Exchange<'_>, head: &ResponseHead, body: &[u8]) {
    let mut watch = proxy.live.watch_moving(ANSWER_TIMEOUT);
    // If the caller went away meanwhile, the record says all there is to say.
    let answering = Box::pin(exchange.answer(head, body));
    if watch.over(|| Ok(()), answering).await.is_err() {
        exchange.end_after_answer();
    }
}

/// The reason of an answer of Weft's own.
pub(crate) const REASON: &str = "Weft-Reason";

/// A response of a proxy of the mesh whose application did not see the request.
pub(crate) const NOT_PROCESSED: &str = "Weft-Not-Processed";

/// A response of a proxy of the mesh that is about to end.
pub(crate) const DRAINING: &str = "Weft-Draining";

/// A request whose body is held back beyond what its caller's proxy can send again.
const HELD: &str = "Weft-Held";

/// An informational response to such a request: its head has reached the application, and the rest
/// of its body may follow.
pub(crate) const REACHED: &str = "Weft-Reached";

/// A response to a request that was sent again on its way, or for which the budget had no room:
/// nobody before it is to do so too.
pub(crate) const RETRIED: &str = "Weft-Retried";
