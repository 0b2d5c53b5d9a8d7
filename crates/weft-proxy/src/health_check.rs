//! Checks of the own application, as the policies of its Services ask for them, and what they say.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use tokio::task::{AbortHandle, JoinSet};
use weft_decide::health_check::{self, Answer, Fares};
use weft_http::{BodySize, Fields, RequestHead, ResponseHead, request};
use weft_model::{HealthCheck, Probe, Protocol};
use weft_telemetry::Event;
use weft_world::Stream;

use crate::Proxy;
use crate::error::StreamError;
use crate::exchange::{Piece, Reply, Upstream};
use crate::h1;
use crate::h2::client::{Pings, connect};
use crate::time::within;

/// How much of the body of an answer is read; no answer of gRPC's health protocol is that long.
const BODY_BYTES_MAX: usize = 1024;

/// What is known by each of the checks.
type Known = Rc<RefCell<BTreeMap<HealthCheck, Found>>>;

/// What is known by one check.
#[derive(Default)]
struct Found {
    fares: Fares,
    /// What was wrong when it failed last.
    wrong: String,
}

/// Checks the own application for ever, and has discovery know how it fares.
pub(crate) async fn run(proxy: Rc<Proxy>) {
    let mut changes = proxy.configuration.changes();
    let known = Known::default();
    let mut running = BTreeMap::<HealthCheck, AbortHandle>::new();
    // They end with this task.
    let mut tasks = JoinSet::new();
    loop {
        let wanted = proxy.configuration.load().own.clone();
        let wanted = wanted.map(|own| own.health_checks.clone()).unwrap_or_default();
        let is_wanted = |check: &HealthCheck| wanted.contains(check);
        let had_any = !running.is_empty();
        running.retain(|check, task| {
            if !is_wanted(check) {
                task.abort();
            }
            is_wanted(check)
        });
        known.borrow_mut().retain(|check, _| is_wanted(check));
        for check in wanted.iter() {
            running.entry(check.clone()).or_insert_with(|| {
                tasks.spawn_local(repeat(proxy.clone(), check.clone(), known.clone()))
            });
        }
        if had_any {
            tell(&proxy, &known);
        }
        while tasks.try_join_next().is_some() {}
        if changes.changed().await.is_err() {
            return std::future::pending().await; // They go on as they are.
        }
    }
}

/// Does `check` again and again.
async fn repeat(proxy: Rc<Proxy>, check: HealthCheck, known: Known) {
    loop {
        let result = checked(&proxy, &check).await;
        let port = check.port.get();
        proxy.recorder.note(Event::Checked { port, has_passed: result.is_ok() });
        {
            let mut known = known.borrow_mut();
            let found = known.entry(check.clone()).or_default();
            found.fares.observe(&check, result.is_ok());
            found.wrong = result.err().unwrap_or_default();
        }
        // Also where nothing is new: who was told may have lost it.
        tell(&proxy, &known);
        let jitter = proxy.world.entropy.fraction();
        proxy.world.clock.sleep(health_check::pause(&check, jitter)).await;
    }
}

/// Has discovery know how the application fares by all checks together.
fn tell(proxy: &Proxy, known: &Known) {
    let Some(discovery) = &proxy.discovery else { return };
    let known = known.borrow();
    let mut unhealthy = known.iter().filter(|(_, found)| !found.fares.is_healthy());
    discovery.fares(unhealthy.next().map_or(Ok(()), |(check, found)| {
        Err(format!("port {}, {}: {}", check.port, check.probe, found.wrong))
    }));
}

/// Checks the application once.
async fn checked(proxy: &Proxy, check: &HealthCheck) -> Result<(), String> {
    let own = proxy.configuration.load().own.clone();
    let port = own.as_ref().and_then(|own| own.ports.get(&check.port));
    let application = port.map(|port| port.application.clone());
    let application = application.ok_or("there is no such port")?;
    let endpoint = application.endpoints.first().ok_or("there is no such port")?;
    let (limit, address) = (check.timeout.duration(), endpoint.address);
    let probing = Box::pin(probe(proxy, address, application.protocol, &check.probe));
    let probed = within(&*proxy.world.clock, limit, probing).await;
    probed.unwrap_or_else(|| Err(format!("no answer within {limit:?}")))
}

async fn probe(
    proxy: &Proxy,
    address: SocketAddr,
    protocol: Protocol,
    probe: &Probe,
) -> Result<(), String> {
    let stream = proxy.inside.connect(address).await.map_err(|error| error.to_string())?;
    let (head, body) = match probe {
        Probe::Tcp => return Ok(()),
        Probe::Http { path, .. } => (head("GET", path.as_str(), address, ""), Vec::new()),
        Probe::Grpc { service } => {
            let fields = "TE: trailers\r\nContent-Type: application/grpc\r\n";
            let path = "/grpc.health.v1.Health/Check";
            (head("POST", path, address, fields), health_check::grpc_request(service))
        }
    };
    let head = head.ok_or("the request cannot be written")?;
    let is_http2 = matches!(protocol, Protocol::Http2 | Protocol::Grpc);
    let answer = match probe {
        Probe::Http { .. } if !is_http2 => {
            ask(&mut h1::Client::new(stream), &head, &body).await.map_err(|it| it.to_string())?
        }
        _ => ask_http2(proxy, stream, &head, &body).await.map_err(|it| it.to_string())?,
    };
    health_check::judge(probe, &answer)
}

/// The head of a request, without whose connection nothing else is asked for.
fn head(method: &str, path: &str, address: SocketAddr, fields: &str) -> Option<RequestHead> {
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: weft-health-check\r\n{fields}\r\n"
    );
    let mut head = RequestHead::default();
    request::parse(text.as_bytes(), &mut head).ok().flatten().map(|_| head)
}

async fn ask_http2(
    proxy: &Proxy,
    stream: Box<dyn Stream>,
    head: &RequestHead,
    body: &[u8],
) -> Result<Answer, StreamError> {
    let (mut connection, driver) = connect(stream, proxy.world.clock.clone(), Pings::None).await?;
    let mut upstream = connection.open()?;
    let (mut asking, mut driver) = (pin!(ask(&mut upstream, head, body)), pin!(driver));
    let mut is_driven = false;
    poll_fn(|cx| {
        // What has ended says so to those who ask.
        is_driven = is_driven || driver.as_mut().poll(cx).is_ready();
        asking.as_mut().poll(cx)
    })
    .await
}

/// Sends a request and reads the answer, of a long body a part.
async fn ask(
    upstream: &mut dyn Upstream,
    head: &RequestHead,
    body: &[u8],
) -> Result<Answer, StreamError> {
    let size = if body.is_empty() { BodySize::None } else { BodySize::Unknown };
    upstream.send_head(head, size);
    let mut unsent = body;
    while !unsent.is_empty() {
        let sent = poll_fn(|cx| upstream.poll_send(cx, unsent)).await?;
        unsent = &unsent[sent..];
    }
    upstream.end(&Fields::default())?;
    let mut response = ResponseHead::default();
    let mut received = Vec::new();
    poll_fn(|cx| {
        let _ = upstream.poll_flush(cx)?;
        while ready!(upstream.poll_head(cx, &mut response))? == Reply::Informational {}
        Poll::Ready(Ok::<_, StreamError>(()))
    })
    .await?;
    while received.len() < BODY_BYTES_MAX {
        let piece = poll_fn(|cx| {
            let _ = upstream.poll_flush(cx)?;
            upstream.poll_piece(cx)
        });
        if piece.await? == Piece::End {
            break;
        }
        let count = upstream.piece().len();
        let room = BODY_BYTES_MAX - received.len();
        received.extend_from_slice(&upstream.piece()[..count.min(room)]);
        upstream.consume(count);
    }
    let grpc_status = weft_decide::grpc::status(&response.fields)
        .or_else(|| weft_decide::grpc::status(upstream.trailers()));
    Ok(Answer { status: response.status, grpc_status, body: received })
}
