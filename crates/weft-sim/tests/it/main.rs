//! What a program notices of the simulated world, through the traits of `weft-world`.

#![expect(clippy::unwrap_used, reason = "clippy takes what these tests share for no test")]

mod ages;
mod balance;
mod changes;
mod codec;
mod deadlines;
mod detection;
mod determinism;
mod draining;
mod ejection;
mod exchanges;
mod explained;
mod failover;
mod faults;
mod features;
mod filters;
mod floor;
mod handshakes;
mod heads;
mod hosts;
mod idle;
mod limits;
mod policies;
mod replay;
mod retries;
mod sharing;
mod shop;
mod silence;
mod smuggling;
mod streams;
mod talk;
mod traces;
mod tunnels;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weft_sim::{Host, SimError, Simulation, SimulationOptions};
use weft_world::{Listener, ListenerOptions, Stream, StreamExt};

/// A client and a server in a world of their own.
struct Pair {
    sim: Simulation,
    client: Host,
    server: Host,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        Pair::with(seed, patient())
    }

    fn with(seed: u64, options: SimulationOptions) -> Pair {
        let sim = Simulation::new(seed, options);
        let addresses = |last: u8| {
            [IpAddr::from([10, 0, 0, last]), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last.into()])]
        };
        let client = sim.host("client", addresses(2));
        let server = sim.host("server", addresses(1));
        Pair { sim, client, server }
    }

    fn at(&self) -> SocketAddr {
        SocketAddr::new(self.server.ip(), 80)
    }

    fn listen(&self) -> Box<dyn Listener> {
        self.server.world().network.listen(self.at(), ListenerOptions::default()).unwrap()
    }

    /// A connection: the client's end and the server's.
    async fn connected(&self) -> (Box<dyn Stream>, Box<dyn Stream>) {
        let mut listener = self.listen();
        let client = self.client.world().network.connect(self.at()).await.unwrap();
        (client, listener.accept().await.unwrap().stream)
    }

    /// What a connect to `at` fails with.
    async fn refusal(&self, at: SocketAddr) -> io::ErrorKind {
        self.client.world().network.connect(at).await.err().unwrap().kind()
    }

    /// Drives the world until `future` ends.
    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let ended: Result<T, SimError> = self.sim.run(future);
        ended.unwrap()
    }
}

/// A simulation that goes on as long as the longest waits that are tested.
fn patient() -> SimulationOptions {
    SimulationOptions { time_limit: seconds(5 * 3_600), ..SimulationOptions::default() }
}

async fn read_to_end(stream: &mut dyn Stream) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), [0; 777]);
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(all),
            bytes => all.extend_from_slice(&buffer[..bytes]),
        }
    }
}

/// Bytes in which no part looks like another.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).flat_map(|number| (number as u64).to_le_bytes()).take(bytes).collect()
}

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}
