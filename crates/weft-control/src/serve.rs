//! The control plane's port: TLS with the control plane's own key, HTTP inside.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use weft_identity::{ControlKey, ControlKeyError, TrustSlot, accept_control};
use weft_world::{Accepted, Listener, World};

use crate::io::HyperIo;
use crate::routes::{Api, Proof};

/// The longest wait for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the listener waits after an error of its own, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most connections at once. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 10_000;

/// Serves the API on `listener` for ever, within the current `LocalRuntime` or `LocalSet`.
///
/// # Errors
/// [`ControlKeyError`] if the key cannot be used.
pub async fn serve(
    world: World,
    key: &ControlKey,
    trust: &TrustSlot,
    api: Api,
    mut listener: Box<dyn Listener>,
) -> Result<(), ControlKeyError> {
    let mut config = key.server_config(trust)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let router = Rc::new(api.router());
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok(accepted) => {
                    let (world, config) = (world.clone(), config.clone());
                    let router = (*router).clone();
                    connections.spawn_local(connection(world, config, router, accepted));
                }
                // Waiting lets connections end, which frees what is lacking.
                Err(_) => world.clock.sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn connection(
    world: World,
    config: Arc<weft_identity::ServerConfig>,
    router: Router,
    accepted: Accepted,
) {
    let Accepted { stream, peer, .. } = accepted;
    let handshake = accept_control(config, stream);
    let secured = tokio::select! {
        biased;
        secured = handshake => secured,
        () = world.clock.sleep(HANDSHAKE_TIMEOUT) => return say(peer, "no TLS handshake within 10 s"),
    };
    let secured = match secured {
        Ok(secured) => secured,
        Err(error) => return say(peer, &error.to_string()),
    };
    let proof = Proof(secured.certificates.into());
    let service = TowerToHyperService::new(router.layer(axum::Extension(proof)));
    let io = HyperIo::new(secured.stream);
    let served = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    if let Err(error) = served {
        // A caller that went away is not worth a line.
        if !error.is_incomplete_message() && !is_broken(&error) {
            say(peer, &error.to_string());
        }
    }
}

fn is_broken(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    source.is_some_and(|source| source.downcast_ref::<io::Error>().is_some())
}

fn say(peer: std::net::SocketAddr, what: &str) {
    eprintln!("weft control: {peer}: {what}");
}
