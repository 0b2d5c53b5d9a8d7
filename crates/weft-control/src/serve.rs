//! The control plane's port: TLS with the control plane's own key, HTTP/2 or HTTP/1.1 inside.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper::{Method, Request, Response};
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use weft_identity::{ControlKey, ControlKeyError, accept_control};
use weft_world::{Accepted, Listener, World};

use crate::discovery::Discovery;
use crate::discovery::stream::GrpcBody;
use crate::grpc::DISCOVERY_PATH;
use crate::io::HyperIo;
use crate::routes::{Api, Proof};
use crate::timer::{HyperTimer, LocalExecutor};

/// The longest wait for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the listener waits after an error of its own, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most connections at once. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 10_000;

/// How often a client of HTTP/2 is asked for a sign of life, and how long it may take to give it.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(15);

/// The most calls at once on one connection of HTTP/2.
const STREAMS_MAX: u32 = 64;

/// The most bytes of the head of a request.
const HEAD_BYTES_MAX: u32 = 32 << 10;

/// The longest wait for the head of a request on a connection of HTTP/1.1.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves the API and discovery on `listener` for ever, within the current `LocalRuntime` or
/// `LocalSet`.
///
/// # Errors
/// [`ControlKeyError`] if the key cannot be used.
pub async fn serve(
    world: World,
    key: &ControlKey,
    api: Api,
    mut listener: Box<dyn Listener>,
) -> Result<(), ControlKeyError> {
    let (discovery, ca) = (api.discovery.clone(), api.issuer.ca.clone());
    let config = Arc::new(key.server_config(ca.admitted())?);
    let service = Rc::new(Service {
        discovery: discovery.clone(),
        router: api.router(),
        timer: HyperTimer::new(world.clock.clone()),
        world: world.clone(),
    });
    let following = discovery.run(&world);
    let rotating = ca.run(&world, &discovery);
    let renewing = ca.keep_renewed(&world);
    let accepting = async {
        let mut connections: JoinSet<()> = JoinSet::new();
        loop {
            let is_full = connections.len() >= CONNECTIONS_MAX;
            tokio::select! {
                biased;
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if !is_full => match accepted {
                    Ok(accepted) => {
                        let (service, config) = (service.clone(), config.clone());
                        connections.spawn_local(connection(service, config, accepted));
                    }
                    // Waiting lets connections end, which frees what is lacking.
                    Err(_) => world.clock.sleep(ACCEPT_PAUSE).await,
                },
            }
        }
    };
    tokio::select! {
        biased;
        () = following => {}
        () = rotating => {}
        () = renewing => {}
        () = accepting => {}
    }
    Ok(())
}

/// What connections are served with.
struct Service {
    world: World,
    discovery: Discovery,
    router: Router,
    timer: HyperTimer,
}

impl Service {
    /// Answers one request of the peer that proved itself with `proof`.
    async fn answer(
        &self,
        proof: Proof,
        mut request: Request<Incoming>,
    ) -> Response<Either<axum::body::Body, GrpcBody>> {
        if request.method() == Method::POST && request.uri().path() == DISCOVERY_PATH {
            let response = self.discovery.serve_stream(&self.world, &proof, request);
            return response.map(Either::Right);
        }
        request.extensions_mut().insert(proof);
        let router = TowerToHyperService::new(self.router.clone());
        match router.call(request).await {
            Ok(response) => response.map(Either::Left),
            Err(never) => match never {},
        }
    }
}

async fn connection(
    service: Rc<Service>,
    config: Arc<weft_identity::ServerConfig>,
    accepted: Accepted,
) {
    let Accepted { stream, peer, .. } = accepted;
    let handshake = async {
        let secured = accept_control(config, stream).await.map_err(|error| error.to_string())?;
        let mut io = HyperIo::new(secured.stream);
        let Ok(is_http2) = io.begins_http2().await else { return Ok(None) };
        Ok(Some((Proof(secured.certificates.into()), io, is_http2)))
    };
    let begun = tokio::select! {
        biased;
        begun = handshake => begun,
        () = service.world.clock.sleep(HANDSHAKE_TIMEOUT) => {
            Err("no TLS handshake and first request within 10 s".to_owned())
        }
    };
    let (proof, io, is_http2) = match begun {
        Ok(Some(begun)) => begun,
        // A caller that went away is not worth a line.
        Ok(None) => return,
        Err(error) => return say(peer, &error),
    };
    let timer = service.timer.clone();
    let answer = service_fn(move |request| {
        let (service, proof) = (service.clone(), proof.clone());
        async move { Ok::<_, Infallible>(service.answer(proof, request).await) }
    });
    let served = if is_http2 {
        let mut http = http2::Builder::new(LocalExecutor);
        http.timer(timer)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX);
        http.serve_connection(io, answer).await
    } else {
        let mut http = http1::Builder::new();
        http.timer(timer).header_read_timeout(HEAD_TIMEOUT).serve_connection(io, answer).await
    };
    if let Err(error) = served
        && !(error.is_incomplete_message() || error.is_timeout() || is_broken(&error))
    {
        say(peer, &error.to_string());
    }
}

fn is_broken(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.downcast_ref::<io::Error>().is_some() {
            return true;
        }
        source = error.source();
    }
    false
}

fn say(peer: std::net::SocketAddr, what: &str) {
    crate::say!("weft control: {peer}: {what}");
}
