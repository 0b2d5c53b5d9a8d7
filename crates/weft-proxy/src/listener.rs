//! Takes connections, and starts a task for each.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinSet;
use weft_world::{Accepted, Listener, ListenerOptions};

use crate::backend::Backend;
use crate::config::{Inbound, Outbound};
use crate::time::SWEEP_INTERVAL;
use crate::{Proxy, connection};

/// How long a listener waits after an error of its own, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A proxy that cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A proxy at work. Dropping it ends it at once, connections included.
pub struct Running {
    tasks: JoinSet<()>,
    /// The addresses that it really listens at: first outbound, then inbound, in their order.
    pub addresses: Vec<SocketAddr>,
}

impl Running {
    /// Waits until all listeners have ended, which they do only by a failure of their task.
    pub async fn wait(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts listening, all or nothing, within the current `LocalRuntime` or `LocalSet`.
///
/// # Errors
/// [`StartError`].
pub fn start(
    proxy: &Rc<Proxy>,
    outbound: Vec<Outbound>,
    inbound: Vec<Inbound>,
) -> Result<Running, StartError> {
    let open = |address| {
        let listened = proxy.world.network.listen(address, ListenerOptions::default());
        listened.map_err(|source| StartError::Listen { address, source })
    };
    let mut running = Running { tasks: JoinSet::new(), addresses: Vec::new() };
    let mut backends: Vec<Rc<Backend>> = Vec::new();
    for outbound in outbound {
        let listener = open(outbound.listen)?;
        running.addresses.push(listener.local_address());
        backends.push(outbound.backend.clone());
        let (proxy, outbound) = (proxy.clone(), Rc::new(outbound));
        running.tasks.spawn_local(accept(proxy.clone(), listener, move |accepted| {
            connection::outbound(proxy.clone(), outbound.clone(), accepted)
        }));
    }
    for inbound in inbound {
        let listener = open(inbound.listen)?;
        running.addresses.push(listener.local_address());
        backends.extend(inbound.ports.values().map(|port| port.application.clone()));
        let (proxy, inbound) = (proxy.clone(), Rc::new(inbound));
        running.tasks.spawn_local(accept(proxy.clone(), listener, move |accepted| {
            connection::inbound(proxy.clone(), inbound.clone(), accepted)
        }));
    }
    running.tasks.spawn_local(sweep(proxy.clone(), backends));
    Ok(running)
}

/// Takes connections for ever. They end with this task.
async fn accept<F: Future<Output = ()> + 'static>(
    proxy: Rc<Proxy>,
    mut listener: Box<dyn Listener>,
    serve: impl Fn(Accepted) -> F,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok(accepted) => drop(connections.spawn_local(serve(accepted))),
                // Waiting lets connections end, which frees what is lacking.
                Err(_) => proxy.world.clock.sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Closes idle connections in time.
async fn sweep(proxy: Rc<Proxy>, backends: Vec<Rc<Backend>>) {
    loop {
        proxy.world.clock.sleep(SWEEP_INTERVAL).await;
        let now = proxy.world.clock.now();
        backends.iter().for_each(|backend| backend.sweep(now));
    }
}
