//! A whole network of hosts in one process, as a function of a seed.
//!
//! [`Simulation`] gives each [`Host`] a [`weft_world::World`]: time that leaps to the next event,
//! randomness, a network with latency, loss, partitions and resets, and a disk. What runs there
//! runs as in production, but a failure comes back with its seed.
//!
//! ```
//! use weft_sim::{Simulation, SimulationOptions};
//! use weft_world::StreamExt;
//!
//! let sim = Simulation::new(7, SimulationOptions::default());
//! let server = sim.host("server", ["10.0.0.1".parse().unwrap()]);
//! let client = sim.host("client", ["10.0.0.2".parse().unwrap()]);
//! let at = (server.ip(), 80).into();
//! let mut listener = server.world().network.listen(at, Default::default()).unwrap();
//! server.spawn(async move {
//!     let mut accepted = listener.accept().await.unwrap();
//!     accepted.stream.write_all(b"hello").await.unwrap();
//! });
//! let first = sim.run(async {
//!     let mut stream = client.world().network.connect(at).await.unwrap();
//!     let mut buffer = [0; 1];
//!     stream.read(&mut buffer).await.unwrap();
//!     buffer[0]
//! });
//! assert_eq!(first.unwrap(), b'h');
//! ```
//!
//! Deliberately absent: threads, real sockets, real time, TLS (see [`Sealed`] for its stand-in),
//! and any knowledge of what runs on the hosts but in `scenarios/` and in the programs of
//! [`http2`].

mod clock;
mod connect;
mod connection;
mod driver;
mod entropy;
mod error;
mod files;
mod host;
pub mod http2;
mod keepalive;
mod link;
mod mesh;
mod network;
mod panics;
mod pipe;
mod registry;
mod scenario;
pub mod scenarios;
mod sealed;
mod simulation;
mod stream;
mod trace;

pub use clock::Skew;
pub use entropy::Random;
pub use error::{SimError, require};
pub use files::{Disk, DiskState};
pub use host::{Crash, Host};
pub use link::LinkOptions;
pub use mesh::{Certificates, Ejected, Revoked, SimProxy, SimTls, start_proxy};
pub use network::{Capture, NetworkOptions};
pub use registry::{Registry, port, workload};
pub use scenario::{Run, Scenario, replay_twice, run_once};
pub use sealed::{Sealed, seal_client, seal_server};
pub use simulation::{Simulation, SimulationOptions};
pub use trace::{Divergence, Happening, Trace, TraceEvent};
