//! The connection of a subscriber: made, used until it breaks, and made again.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{Stream, stream};
use http_body_util::{BodyExt, Either, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http2;
use hyper::{Method, Request, Response, StatusCode, header};
use prost::Message;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use weft_wire::discovery::message::DeltaDiscoveryResponse;
use weft_world::World;

use crate::api::{InstanceRequest, Refusal, RegisterRequest, RegisterResponse};
use crate::grpc::{CONTENT_TYPE, DISCOVERY_PATH, Framer, failure};
use crate::line::Line;
use crate::serve::PING_INTERVAL;
use crate::timer::{HyperTimer, LocalExecutor};

/// The shortest and the longest pause between two attempts.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// The longest wait for an answer, but for what comes on a stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a registration that was refused is let rest.
const REGISTER_AGAIN: Duration = Duration::from_secs(10);

/// The least time between a registration and the next one, which somebody took away meanwhile.
const REGISTER_PAUSE: Duration = Duration::from_secs(1);

/// How many requests wait to be sent at most.
const REQUESTS_MAX: usize = 8;

/// The most bytes of an answer that is no stream.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What to register, if anything; whoever leaves takes it away.
pub(super) type Registration = Rc<RefCell<Option<RegisterRequest>>>;

/// What the own Workload was found to be, last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// That of this instance, as far as is known.
    Ours,
    /// That of another one.
    Taken,
    /// Somebody took it away.
    Gone,
}

/// What happens on the connection.
pub(super) enum Event {
    /// The workload is registered.
    Registered(RegisterResponse),
    /// The workload could not be registered.
    Unregistered(String),
    /// A stream is open, and takes frames here.
    Open(mpsc::Sender<Bytes>),
    /// The server says something.
    Response(DeltaDiscoveryResponse),
    /// There is no connection any more.
    Closed(String),
}

/// The subscriber has ended.
struct Deserted;

type Events = mpsc::Sender<Event>;
type Frames = StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>>>>>;
type Body = Either<Full<Bytes>, Frames>;

/// Makes connections for ever and says what happens on them, until nobody listens.
///
/// If `own` says that the workload is not registered any more, it is registered again.
pub(super) async fn keep(
    line: Line,
    registration: Registration,
    events: Events,
    own: watch::Receiver<Own>,
) {
    let timer = HyperTimer::new(line.world.clock.clone());
    let mut link = Link { line, timer, registration, events, own, failures: 0 };
    loop {
        let Err(end) = link.attempt().await;
        let End::Failed(reason) = end else { return };
        if link.events.send(Event::Closed(reason)).await.is_err() {
            return;
        }
        let World { clock, entropy, .. } = &link.line.world;
        clock.sleep(backoff(link.failures, entropy.fraction())).await;
        link.failures += 1;
    }
}

/// The pause after `failures` attempts in a row that came to nothing; `jitter` is from `0.0..1.0`.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let doubled = BACKOFF.saturating_mul(1 << failures.min(10));
    let most = doubled.min(BACKOFF_MAX);
    most.mul_f64(0.5 + jitter / 2.0).max(BACKOFF)
}

/// Why an attempt is over.
enum End {
    Failed(String),
    Deserted,
}

impl From<Deserted> for End {
    fn from(Deserted: Deserted) -> End {
        End::Deserted
    }
}

impl From<String> for End {
    fn from(reason: String) -> End {
        End::Failed(reason)
    }
}

struct Link {
    line: Line,
    timer: HyperTimer,
    registration: Registration,
    events: Events,
    own: watch::Receiver<Own>,
    /// Attempts since something came of one.
    failures: u32,
}

impl Link {
    /// One connection, from its beginning to its end.
    async fn attempt(&mut self) -> Result<Infallible, End> {
        // What runs beside the connection ends with it.
        let mut beside = JoinSet::new();
        let mut sender = self.open(&mut beside).await?;
        let mut is_registered = self.register(&mut sender).await?;
        let (frames, response) = self.subscribe(&mut sender).await?;
        self.tell(Event::Open(frames)).await?;
        let mut body = response.into_body();
        let mut framer = Framer::default();
        let clock = self.line.world.clock.clone();
        let mut registered = clock.now();
        let mut again = clock.sleep(REGISTER_AGAIN);
        let mut own = self.own.clone();
        // What it was before says nothing of what has just been registered.
        own.mark_unchanged();
        let mut is_taken_away = false;
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                Ok(()) = own.changed() => {
                    let found = *own.borrow_and_update();
                    let pause = if is_registered { REGISTER_PAUSE } else { Duration::ZERO };
                    is_taken_away = is_registered && found == Own::Gone;
                    // What was said before the registration may arrive after it; then it is seen
                    // within the pause that it is there.
                    is_registered = found == Own::Ours;
                    again = clock.timer(registered + pause);
                    continue;
                }
                () = &mut again, if !is_registered => {
                    if std::mem::take(&mut is_taken_away) {
                        let reason = "its Workload was taken away".to_owned();
                        self.tell(Event::Unregistered(reason)).await?;
                    }
                    is_registered = self.register(&mut sender).await?;
                    registered = clock.now();
                    again = clock.sleep(REGISTER_AGAIN);
                    continue;
                }
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Err(self.broken(&error).into()),
                None => return Err("the control plane ended the stream".to_owned().into()),
            };
            if let Some(trailers) = frame.trailers_ref() {
                let reason = failure(trailers);
                let ended = "the control plane ended the stream".to_owned();
                return Err(reason.unwrap_or(ended).into());
            }
            framer.push(frame.data_ref().map_or(&[], |data| data));
            while let Some(message) = framer.next().map_err(|error| error.to_string())? {
                let response = DeltaDiscoveryResponse::decode(message)
                    .map_err(|error| format!("the control plane sends no discovery: {error}"))?;
                self.failures = 0;
                self.tell(Event::Response(response)).await?;
            }
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Deserted> {
        self.events.send(event).await.map_err(|_| Deserted)
    }

    async fn open(&self, beside: &mut JoinSet<()>) -> Result<http2::SendRequest<Body>, String> {
        let io = self.line.connect(b"h2").await.map_err(|error| error.to_string())?;
        let handshake = http2::Builder::new(LocalExecutor)
            .timer(self.timer.clone())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .keep_alive_while_idle(true)
            .handshake(io);
        let (sender, connection) = handshake.await.map_err(|error| self.broken(&error))?;
        // What goes wrong on it is told to those who use it as well.
        beside.spawn_local(async move { drop(connection.await) });
        Ok(sender)
    }

    /// Registers the workload, if it is to be. False if that was refused.
    async fn register(&self, sender: &mut http2::SendRequest<Body>) -> Result<bool, End> {
        let Some(request) = self.registration.borrow().clone() else { return Ok(true) };
        let answer = self.call(sender, "/api/v1/register", &request).await?;
        if self.registration.borrow().is_none() {
            // It left while this was under way.
            let RegisterRequest { workload, generation, .. } = request;
            let instance = InstanceRequest { workload, generation };
            drop(self.call(sender, "/api/v1/leave", &instance).await?);
            return Ok(true);
        }
        match answer {
            Ok(body) => {
                let response = serde_json::from_slice(&body)
                    .map_err(|error| format!("the answer to the registration: {error}"))?;
                self.tell(Event::Registered(response)).await?;
                Ok(true)
            }
            Err(reason) => {
                self.tell(Event::Unregistered(reason)).await?;
                Ok(false)
            }
        }
    }

    /// Opens the stream.
    async fn subscribe(
        &self,
        sender: &mut http2::SendRequest<Body>,
    ) -> Result<(mpsc::Sender<Bytes>, Response<Incoming>), String> {
        let (frames, receiver) = mpsc::channel::<Bytes>(REQUESTS_MAX);
        let body = stream::unfold(receiver, async |mut receiver| {
            let bytes = receiver.recv().await?;
            Some((Ok(Frame::data(bytes)), receiver))
        });
        let request = request(DISCOVERY_PATH)
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header(header::TE, "trailers")
            .body(Either::Right(StreamBody::new(Box::pin(body) as Pin<Box<_>>)));
        let request = request.map_err(|error| error.to_string())?;
        let response = self.send(sender, request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("the control plane answers {}", response.status()));
        }
        failure(response.headers()).map_or(Ok((frames, response)), Err)
    }

    /// Posts `body`: the answer, or what the control plane has against it.
    #[expect(clippy::disallowed_methods, reason = "the body is limited")]
    async fn call(
        &self,
        sender: &mut http2::SendRequest<Body>,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Result<Bytes, String>, String> {
        let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
        let request = request(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Either::Left(Full::new(Bytes::from(body))));
        let request = request.map_err(|error| error.to_string())?;
        let response = self.send(sender, request).await?;
        let status = response.status();
        let collecting = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let body = tokio::select! {
            biased;
            body = collecting => body.map_err(|error| error.to_string())?.to_bytes(),
            () = self.line.world.clock.sleep(ANSWER_TIMEOUT) => return Err(late()),
        };
        if status == StatusCode::OK {
            return Ok(Ok(body));
        }
        let refusal = refusal(status, &body);
        // What is wrong with the control plane itself may be over with the next connection.
        if status.is_server_error() { Err(refusal) } else { Ok(Err(refusal)) }
    }

    async fn send(
        &self,
        sender: &mut http2::SendRequest<Body>,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, String> {
        tokio::select! {
            biased;
            response = sender.send_request(request) => {
                response.map_err(|error| self.broken(&error))
            }
            () = self.line.world.clock.sleep(ANSWER_TIMEOUT) => Err(late()),
        }
    }

    fn broken(&self, error: &hyper::Error) -> String {
        self.line.broken(error).to_string()
    }
}

fn late() -> String {
    "no answer within 10 s".to_owned()
}

fn request(path: &str) -> hyper::http::request::Builder {
    Request::builder().method(Method::POST).uri(format!("https://weft-control{path}"))
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message,
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let shown: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
            format!("the control plane answers {status}: {shown}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_ten_seconds_and_are_never_none() {
        assert_eq!(backoff(0, 0.0), Duration::from_millis(100));
        assert_eq!(backoff(0, 0.99), Duration::from_millis(100));
        assert_eq!(backoff(3, 0.0), Duration::from_millis(400));
        assert_eq!(backoff(3, 0.5), Duration::from_millis(600));
        assert_eq!(backoff(40, 0.0), Duration::from_secs(5));
        assert!(backoff(u32::MAX, 0.999) <= Duration::from_secs(10));
    }
}
