//! The data plane: takes connections, decides by `weft-decide`, carries bytes, records once.
//!
//! `request.rs` is the life of a request and reads from top to bottom; `stream.rs` is that of a
//! connection whose bytes are not looked into. Codecs stand behind [`exchange`], TLS
//! behind [`weft_identity::Tls`], the operating system behind [`weft_world`].
//!
//! Deliberately absent: Kubernetes, the formats that users write, and any rule that is not a call
//! into `weft-decide`.

mod backend;
mod called;
pub mod config;
mod connection;
mod copies;
mod decision;
pub mod detect;
mod drain;
pub mod error;
pub mod exchange;
pub mod explain;
mod failure;
mod fault;
pub mod guard;
mod h1;
pub mod h2;
mod health_check;
mod inbound;
mod listener;
mod live;
pub mod mux;
mod names;
mod outbound;
mod outside;
mod overload;
mod prefixed;
mod replay;
mod request;
pub mod snapshot;
mod stream;
#[cfg(test)]
mod testing;
mod time;
mod tunnel;
mod turns;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use weft_identity::{SystemRoots, Tls};
use weft_telemetry::Recorder;
use weft_wire::discovery::{Lookup, Subscription};
use weft_world::{BoxFuture, Moment, Network, World};

use crate::backend::Backends;
use crate::called::Called;
use crate::drain::Drain;
use crate::live::Live;
use crate::outside::Outside;
use crate::snapshot::Configuration;
use crate::turns::Turns;

pub use listener::{Running, StartError, open, start};
pub use names::Meaning;
pub use outbound::Excluded;
pub use outside::{Resolution, Resolver};
pub use overload::{Overload, Pressure};

/// What all connections of one worker share.
pub struct Proxy {
    world: World,
    inside: Rc<dyn Network>,
    tls: Option<Rc<dyn Tls>>,
    system_roots: SystemRoots,
    recorder: Rc<dyn Recorder>,
    configuration: Arc<Configuration>,
    discovery: Option<Rc<dyn Discovery>>,
    outside: Outside,
    overload: Overload,
    windows: mux::Windows,
    backends: Backends,
    called: Called,
    live: Live,
    drain: Drain,
    held: fault::Held,
    turns: Turns,
    /// How many connections were taken and are not gone.
    connections: Cell<usize>,
    /// How many of them were taken while memory was critically short.
    refused: Cell<usize>,
    start: Moment,
    /// What moves the bytes of shared connections.
    drivers: RefCell<JoinSet<()>>,
}

/// Asks for what a proxy does not know yet.
pub trait Discovery {
    /// Asks for `subscription`, or notes that it is still used. When the answer is that it was
    /// found, the configuration has it already.
    fn look(&self, subscription: Subscription) -> BoxFuture<'static, Lookup>;

    /// Has it known how the own application fares, by the checks of it: well, or what is wrong. It
    /// is said again and again.
    fn fares(&self, well: Result<(), String>);
}

/// What a worker of a proxy is made of.
pub struct Parts {
    /// The outside.
    pub world: World,
    /// The network of the own application, which may be another one than that of the peers.
    pub inside: Rc<dyn Network>,
    /// The own identity, where there is one: without it there are no tunnels.
    pub tls: Option<Rc<dyn Tls>>,
    /// Whom the system trusts, for TLS to those that are no part of the mesh.
    pub system_roots: SystemRoots,
    /// Takes the records.
    pub recorder: Rc<dyn Recorder>,
    /// What is known of the mesh.
    pub configuration: Arc<Configuration>,
    /// Where more of it is to be had.
    pub discovery: Option<Rc<dyn Discovery>>,
    /// Says where hosts outside of the mesh are.
    pub resolver: Option<Rc<dyn Resolver>>,
    /// How short of memory the process is.
    pub overload: Overload,
}

impl Proxy {
    /// A worker made of `parts`.
    pub fn new(parts: Parts) -> Proxy {
        let Parts {
            world,
            inside,
            tls,
            system_roots,
            recorder,
            configuration,
            discovery,
            resolver,
            overload,
        } = parts;
        let (backends, called, live, drain, drivers) = Default::default();
        let (connections, refused, held, turns) = Default::default();
        let start = world.clock.now();
        Proxy {
            start,
            outside: Outside::new(&world, &recorder, resolver),
            world,
            inside,
            tls,
            system_roots,
            recorder,
            configuration,
            discovery,
            windows: mux::Windows::new(overload.clone()),
            overload,
            backends,
            called,
            live,
            drain,
            held,
            turns,
            connections,
            refused,
            drivers,
        }
    }

    /// How short of memory it is.
    fn pressure(&self) -> Pressure {
        self.overload.pressure(self.drain.count())
    }

    /// Whether it holds as many connections as it has room for.
    fn is_full(&self) -> bool {
        self.connections.get() >= self.overload.connections_max()
    }

    /// The time since the start.
    fn now(&self) -> Duration {
        self.since_start(self.world.clock.now())
    }

    /// `now` as the time since the start.
    fn since_start(&self, now: Moment) -> Duration {
        now.since(self.start)
    }

    /// Drives `driver` to its end, or that of the proxy.
    fn spawn(&self, driver: impl Future<Output = ()> + 'static) {
        let mut drivers = self.drivers.borrow_mut();
        while drivers.try_join_next().is_some() {}
        drivers.spawn_local(driver);
    }

    /// Takes nothing new for the workload from now on, and waits until all that is under way has
    /// come to its end, in either direction. What the workload calls is served as before.
    ///
    /// However long that takes is the caller's to bound.
    pub async fn drain(&self) {
        self.drain.start(&self.live);
        self.drain.idle().await;
    }

    /// Waits until every connection that the workload opened has ended. What a workload has sent
    /// that ended a moment ago is still on its way.
    ///
    /// However long that takes is the caller's to bound: some servers go on sending.
    pub async fn hung_up(&self) {
        self.drain.hung_up().await;
    }
}
