//! What a proxy shows of itself over HTTP: metrics and readiness, from a thread of their own, so
//! that no scrape touches the traffic.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use weft_control::HyperIo;
use weft_proxy::StartError;
use weft_proxy::snapshot::Configuration;
use weft_telemetry::expose::{encode, negotiate};
use weft_telemetry::metrics::{Process, Registry, Scrape};
use weft_world::{Accepted, Listener, ListenerOptions, World};

/// The most connections at once.
const CONNECTIONS_MAX: usize = 64;

/// The longest life of a connection: a scraper comes back.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);

/// How long the listener waits after an error of its own, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is shown.
#[derive(Clone)]
pub struct Shown {
    /// The metrics.
    pub registry: Arc<Registry>,
    /// What says whether the proxy is ready.
    pub configuration: Arc<Configuration>,
    /// Whether readiness needs all that guards the own workload.
    pub needs_own: bool,
}

/// A place that is open, where nobody is answered yet.
pub struct Opened {
    /// Its address, with the port that it really got.
    pub address: SocketAddr,
    show: oneshot::Sender<Shown>,
}

impl Opened {
    /// Answers those who ask with what is `shown`.
    pub fn show(self, shown: Shown) {
        // Its thread waits for nothing else.
        let _ = self.show.send(shown);
    }
}

/// Listens at `address`.
pub fn open(address: SocketAddr) -> anyhow::Result<Opened> {
    let (tell, told) = mpsc::sync_channel(1);
    let (show, shown) = oneshot::channel();
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || run(address, shown, &tell))
        .context("cannot start the thread for metrics")?;
    let told = told.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has ended")));
    let listened = told.map_err(|source| StartError::Listen { address, source });
    Ok(Opened { address: listened.context("metrics cannot be shown (--metrics)")?, show })
}

fn run(
    address: SocketAddr,
    shown: oneshot::Receiver<Shown>,
    tell: &mpsc::SyncSender<io::Result<SocketAddr>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(tell.send(Err(error))),
    };
    runtime.block_on(async {
        let world = weft_net::world();
        match world.network.listen(address, ListenerOptions::default()) {
            Ok(listener) => {
                let _ = tell.send(Ok(listener.local_address()));
                if let Ok(shown) = shown.await {
                    accept(&world, listener, &shown).await;
                }
            }
            Err(error) => drop(tell.send(Err(error))),
        }
    });
}

async fn accept(world: &World, mut listener: Box<dyn Listener>, shown: &Shown) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok(accepted) => {
                    connections.spawn_local(connection(world.clone(), accepted, shown.clone()));
                }
                // Waiting lets connections end, which frees what is lacking.
                Err(_) => world.clock.sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn connection(world: World, accepted: Accepted, shown: Shown) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&world, &request, &shown);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .serve_connection(HyperIo::new(accepted.stream), service);
    tokio::select! {
        biased;
        // A scraper that went away is not worth a line.
        _ = serving => {}
        () = world.clock.sleep(CONNECTION_TIME_MAX) => {}
    }
}

fn answer(world: &World, request: &Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    let text = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n".to_owned());
    }
    match request.uri().path() {
        "/metrics" => {
            let accepted = request.headers().get_all(ACCEPT).iter();
            let accepted: Vec<_> = accepted.filter_map(|value| value.to_str().ok()).collect();
            let format = negotiate(&accepted.join(","));
            let (now, wall) = (world.clock.now(), world.clock.wall());
            let scrape = Scrape { now, wall, process: Process::read().ok() };
            let body = encode(&shown.registry, format, &scrape);
            let mut response = Response::new(Full::new(Bytes::from(body)));
            let content_type = hyper::header::HeaderValue::from_static(format.content_type());
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            response
        }
        "/ready" => match missing(shown) {
            None => text(StatusCode::OK, "ready\n".to_owned()),
            Some(missing) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /metrics and /ready\n".to_owned()),
    }
}

/// What the proxy still waits for, if anything.
fn missing(shown: &Shown) -> Option<String> {
    if !shown.needs_own {
        return None;
    }
    match &shown.configuration.load().own {
        None => Some("the own workload is not known yet".to_owned()),
        Some(own) if !own.is_ready() => {
            Some("not all that guards the workload is there".to_owned())
        }
        Some(_) => None,
    }
}
