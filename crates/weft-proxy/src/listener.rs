//! Takes connections, and starts a task for each.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use weft_telemetry::{Direction, Event};
use weft_world::{Accepted, Listener, ListenerOptions, Network};

use crate::config::{Inbound, Listen, Outbound};
use crate::drain::Busy;
use crate::overload::{self, Pressure};
use crate::time::{CHANGES_PAUSE, SWEEP_INTERVAL, USE_INTERVAL};
use crate::{Proxy, health_check, inbound, outbound};

/// How long a listener waits after an error of its own, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A proxy that cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {source}{}", remedy(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What to do about `error`, where the system's words do not say it.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": end what listens there, or give another address",
        io::ErrorKind::AddrNotAvailable => ": give an address of this machine",
        io::ErrorKind::PermissionDenied => ": give a port from 1024 on, or run it as root",
        _ => "",
    }
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

/// Opens what is not open yet.
///
/// # Errors
/// [`StartError`].
pub fn open(network: &dyn Network, listen: Listen) -> Result<Box<dyn Listener>, StartError> {
    match listen {
        Listen::Open(listener) => Ok(listener),
        Listen::At(address) => {
            let listened = network.listen(address, ListenerOptions::default());
            listened.map_err(|source| StartError::Listen { address, source })
        }
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
    let open = |listen: Listen| open(&*proxy.world.network, listen);
    let mut running = Running { tasks: JoinSet::new(), addresses: Vec::new() };
    for Outbound { listen, to } in outbound {
        let listener = open(listen)?;
        running.addresses.push(listener.local_address());
        let (proxy, to) = (proxy.clone(), Rc::new(to));
        running.tasks.spawn_local(accept(
            proxy.clone(),
            listener,
            Direction::Outbound,
            move |accepted| outbound::serve(proxy.clone(), to.clone(), accepted),
        ));
    }
    for Inbound { listen, own } in inbound {
        let listener = open(listen)?;
        running.addresses.push(listener.local_address());
        let (proxy, own) = (proxy.clone(), Rc::new(own));
        running.tasks.spawn_local(accept(
            proxy.clone(),
            listener,
            Direction::Inbound,
            move |accepted| inbound::serve(proxy.clone(), own.clone(), accepted),
        ));
    }
    running.tasks.spawn_local(sweep(proxy.clone()));
    running.tasks.spawn_local(health_check::run(proxy.clone()));
    // From here on none is missed, whenever the task is first polled.
    running.tasks.spawn_local(follow(proxy.clone(), proxy.configuration.changes()));
    Ok(running)
}

/// Takes connections for ever. They end with this task.
async fn accept<F: Future<Output = ()> + 'static>(
    proxy: Rc<Proxy>,
    mut listener: Box<dyn Listener>,
    direction: Direction,
    serve: impl Fn(Accepted) -> F,
) {
    let mut connections = JoinSet::new();
    loop {
        let is_critical = proxy.pressure() == Pressure::Critical;
        let is_held_up = is_critical && proxy.refused.get() >= overload::CONNECTIONS_MIN;
        if proxy.is_full() || is_held_up {
            proxy.world.clock.sleep(ACCEPT_PAUSE).await;
            while connections.try_join_next().is_some() {}
            continue;
        }
        tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok(accepted) => {
                    let counted = Counted::new(proxy.clone(), direction, is_critical);
                    // The task holds what it captures beside what it waits for: of the large one,
                    // that would be two.
                    let serving = Box::pin(serve(accepted));
                    drop(connections.spawn_local(async move {
                        serving.await;
                        drop(counted);
                    }));
                }
                // Waiting lets connections end, which frees what is lacking.
                Err(_) => proxy.world.clock.sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection that is counted as long as the value lives.
struct Counted {
    proxy: Rc<Proxy>,
    direction: Direction,
    /// Whether it was taken to be told that there is no room for it.
    is_refused: bool,
    _opened: Option<Busy>,
}

impl Counted {
    fn new(proxy: Rc<Proxy>, direction: Direction, is_refused: bool) -> Counted {
        proxy.recorder.note(Event::Opened(direction));
        proxy.connections.set(proxy.connections.get() + 1);
        proxy.refused.set(proxy.refused.get() + usize::from(is_refused));
        let opened = (direction == Direction::Outbound).then(|| proxy.drain.opened());
        Counted { proxy, direction, is_refused, _opened: opened }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.proxy.recorder.note(Event::Closed(self.direction));
        self.proxy.connections.set(self.proxy.connections.get() - 1);
        self.proxy.refused.set(self.proxy.refused.get() - usize::from(self.is_refused));
    }
}

/// Closes idle connections in time, has what is under way look whether it moves, and says which
/// subscriptions are still used.
async fn sweep(proxy: Rc<Proxy>) {
    let mut told = proxy.world.clock.now();
    loop {
        proxy.world.clock.sleep(SWEEP_INTERVAL).await;
        let now = proxy.world.clock.now();
        proxy.live.tick(proxy.since_start(now));
        proxy.backends.sweep(&proxy, now);
        if now.since(told) < USE_INTERVAL {
            continue;
        }
        told = now;
        let Some(discovery) = &proxy.discovery else { continue };
        for subscription in proxy.called.take_used() {
            // The answer is known: it is asked for only to say that it is used.
            drop(discovery.look(subscription));
        }
    }
}

/// Has what lives be judged again whenever the configuration changes.
async fn follow(proxy: Rc<Proxy>, mut changes: watch::Receiver<u64>) {
    while changes.changed().await.is_ok() {
        // First the count: by it, what is judged by the others is known to be judged.
        proxy.live.change();
        proxy.backends.follow(&proxy);
        // Each change wakes all that lives: what comes in a storm is judged together.
        proxy.world.clock.sleep(CHANGES_PAUSE).await;
    }
    // Nothing will ever change: the listeners go on.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what `serve` returns, which a connection holds as long as it lives.
    fn size<A, B, C, F>(_serve: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// What is large and rare is in boxes of its own; and what is waited for is pinned where it is,
    /// not moved into what waits for it, which would take its room twice.
    #[test]
    fn a_connection_takes_little_memory() {
        let (outbound, inbound) = (size(outbound::serve), size(inbound::serve));
        assert!(outbound <= 4_096, "{outbound} bytes");
        assert!(inbound <= 4_608, "{inbound} bytes");
    }
}
