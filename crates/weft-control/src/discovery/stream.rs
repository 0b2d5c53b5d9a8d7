//! One proxy's stream: who it is, what it says, and what it is told.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response, StatusCode, header};
use prost::Message;
use tokio::sync::Notify;
use weft_identity::{PeerFacts, Reason};
use weft_model::ObjectName;
use weft_wire::discovery::message::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, GENERATION, Node,
};
use weft_world::{Moment, Timer, UnixTime, World};

use super::Discovery;
use crate::grpc::{CONTENT_TYPE, Code, Framer, Status, frame};
use crate::routes::Proof;

/// The body of an answer: frames, then the trailers.
pub(crate) type GrpcBody =
    StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, axum::Error>>>>>;

/// How often a proxy is told that it has all there is for it, while there is nothing else to say.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(10);

/// The most characters of what a proxy says of itself.
const VERSION_CHARS_MAX: usize = 64;

impl Discovery {
    /// Answers a call of the one method, from the peer that proved itself with `proof`.
    pub(crate) fn serve_stream(
        &self,
        world: &World,
        proof: &Proof,
        request: Request<Incoming>,
    ) -> Response<GrpcBody> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let is_grpc = content_type.and_then(|value| value.to_str().ok()).is_some_and(is_grpc);
        if !is_grpc {
            let mut response = Response::new(body(stream::empty()));
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        match self.begin(world, proof, request) {
            Ok(session) => {
                let frames = stream::unfold(Some(session), async |session| {
                    let mut session = session?;
                    match session.next().await {
                        Ok(response) => Some((Ok(Frame::data(frame(&response))), Some(session))),
                        Err(status) => Some((Ok(Frame::trailers(status.trailers())), None)),
                    }
                });
                answer(body(frames))
            }
            Err(status) => {
                let frame = Ok(Frame::trailers(status.trailers()));
                answer(body(stream::once(std::future::ready(frame))))
            }
        }
    }

    fn begin(
        &self,
        world: &World,
        Proof(certificates): &Proof,
        request: Request<Incoming>,
    ) -> Result<Session, Status> {
        if certificates.is_empty() {
            let message = "discovery needs a certificate of this mesh: join it first";
            return Err(Status::new(Code::Unauthenticated, message));
        }
        let begun = (world.clock.now(), world.clock.wall());
        let facts = self.ca().prove(certificates, begun.1);
        let facts = facts.map_err(|reason| Status::new(Code::Unauthenticated, reason))?;
        let valid_for = facts.not_after.0.saturating_sub(begun.1.0);
        let session = Session {
            discovery: self.clone(),
            world: world.clone(),
            // The second after the last valid one.
            expiry: world.clock.sleep(valid_for + Duration::from_secs(1)),
            confirm: world.clock.sleep(CONFIRM_INTERVAL),
            begun,
            facts,
            incoming: request.into_body(),
            framer: Framer::default(),
            seat: None,
        };
        session.judge()?;
        Ok(session)
    }
}

fn is_grpc(content_type: &str) -> bool {
    let rest = content_type.strip_prefix(CONTENT_TYPE);
    rest.is_some_and(|rest| matches!(rest, "" | "+proto") || rest.starts_with(';'))
}

fn body(frames: impl Stream<Item = Result<Frame<Bytes>, axum::Error>> + 'static) -> GrpcBody {
    StreamBody::new(Box::pin(frames))
}

fn answer(body: GrpcBody) -> Response<GrpcBody> {
    let mut response = Response::new(body);
    let content_type = header::HeaderValue::from_static(CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// One proxy's stream, from its first request on.
struct Session {
    discovery: Discovery,
    world: World,
    /// When it began, by both kinds of time.
    begun: (Moment, UnixTime),
    facts: PeerFacts,
    expiry: Box<dyn Timer>,
    /// When it is to be told again that it has everything.
    confirm: Box<dyn Timer>,
    incoming: Incoming,
    framer: Framer,
    seat: Option<Rc<Seat>>,
}

/// A proxy's place among those that are connected, which it gives back when its stream ends.
struct Seat {
    discovery: Discovery,
    number: u64,
    own: Option<ObjectName>,
    generation: Option<u64>,
    wake: Arc<Notify>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.discovery.state().proxies.remove(&self.number);
        if let Some(own) = &self.own {
            // From now on its lease runs. Without one it was never registered.
            self.discovery.renew(own, self.generation);
        }
    }
}

impl Session {
    /// The next response, as soon as there is one; how the stream ends, when it does.
    async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        loop {
            while let Some(message) = self.framer.next()? {
                let request = DeltaDiscoveryRequest::decode(message).map_err(|error| {
                    Status::new(Code::InvalidArgument, format!("no discovery request: {error}"))
                })?;
                self.take(request)?;
            }
            self.judge()?;
            let seat = self.seat.clone();
            if let Some(seat) = &seat
                && let Some(response) = self.discovery.state().next_response(seat.number)
            {
                return Ok(response);
            }
            let woken = async {
                match &seat {
                    Some(seat) => seat.wake.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = woken => {}
                frame = self.incoming.frame() => match frame {
                    Some(Ok(frame)) => self.framer.push(frame.data_ref().map_or(&[], |data| data)),
                    Some(Err(error)) => return Err(Status::new(Code::Cancelled, error.to_string())),
                    None => {
                        self.framer.finish()?;
                        return Err(Status::ok());
                    }
                },
                () = &mut self.expiry => {}
                () = &mut self.confirm => {
                    self.confirm = self.world.clock.sleep(CONFIRM_INTERVAL);
                    if let Some(seat) = &seat {
                        self.discovery.state().confirm(seat.number);
                    }
                }
            }
        }
    }

    /// Whether the proxy may (still) be told anything.
    fn judge(&self) -> Result<(), Status> {
        // By the time that has passed, as `expiry` goes: a jump of the clock ends no stream, and so
        // no lease.
        let (then, wall) = self.begun;
        let now = UnixTime(wall.0 + self.world.clock.now().since(then));
        let judged = self.discovery.ca().trust().load().judge(&self.facts, now);
        match judged {
            // It was let in rightly, and has a certificate below another root by now.
            Ok(()) | Err(Reason::RootWithdrawn(_)) => {}
            Err(reason) => return Err(Status::new(Code::Unauthenticated, reason.to_string())),
        }
        let own = self.seat.as_ref().and_then(|seat| seat.own.as_ref());
        own.map_or(Ok(()), |own| self.check(own))
    }

    fn check(&self, own: &ObjectName) -> Result<(), Status> {
        match self.discovery.state().against(own, self.facts.identity.service_account()) {
            Some(reason) => Err(Status::new(Code::PermissionDenied, reason)),
            None => Ok(()),
        }
    }

    fn take(&mut self, mut request: DeltaDiscoveryRequest) -> Result<(), Status> {
        let seat = match &self.seat {
            Some(seat) => seat.number,
            None => self.sit(request.node.take())?,
        };
        let now = self.discovery.clock().now();
        let taken = self.discovery.state().on_request(seat, request, now);
        taken.map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))
    }

    /// Gives the proxy its place. What it says of itself is believed as far as its certificate
    /// goes.
    fn sit(&mut self, node: Option<Node>) -> Result<u64, Status> {
        let Node { id, metadata, user_agent_version, .. } = node.unwrap_or_default();
        let own = match id.as_str() {
            "" => None,
            id => Some(id.parse::<ObjectName>().map_err(|error| {
                Status::new(Code::InvalidArgument, format!("node.id: {error}"))
            })?),
        };
        if let Some(own) = &own {
            self.check(own)?;
        }
        let metadata = metadata.unwrap_or_default();
        let generation = metadata.get(GENERATION).and_then(|text| text.parse().ok());
        let version = user_agent_version.unwrap_or_default();
        let version = version.chars().filter(|c| !c.is_control()).take(VERSION_CHARS_MAX).collect();
        let now = self.discovery.clock().now();
        let facts = self.facts.clone();
        let seat = self.discovery.state().seat(own.clone(), generation, facts, version, now);
        let (number, wake) = seat.map_err(|reason| Status::new(Code::ResourceExhausted, reason))?;
        if let Some(own) = &own {
            self.discovery.renew(own, generation);
        }
        // It learns also if there is nothing that it lacks.
        self.discovery.state().confirm(number);
        let discovery = self.discovery.clone();
        self.seat = Some(Rc::new(Seat { discovery, number, own, generation, wake }));
        Ok(number)
    }
}
