//! Requests of HTTP/2 and gRPC calls through the mesh of `mesh.rs`, many at a time on each of the
//! callers' connections.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use weft_decide::grpc;
use weft_http::{Fields, HeadLimits, RequestHead, ResponseHead};
use weft_model::Protocol;
use weft_proxy::h2::server::{self, Incoming, Server};
use weft_world::{BoxFuture, Clock, ListenerOptions, World};

use super::mesh::{Asks, Mesh, Speaks, at, options, play, rollouts, troubles};
use super::requests::{Executed, Outcome};
use crate::entropy::Random;
use crate::error::{SimError, require};
use crate::http2::{self, Answer, Client};
use crate::scenario::Scenario;
use crate::simulation::Simulation;

/// Rolling restarts and changes of the configuration, and applications that refuse streams and end
/// connections, as they may.
pub const ROLLOUTS: Scenario = Scenario {
    name: "calls-rollouts",
    about: "drains, refused streams and GOAWAY cost no request of HTTP/2 and no gRPC call",
    options,
    play: play_rollouts,
};

/// Whatever can happen to replicas, streams and the network between.
pub const FAULTS: Scenario = Scenario {
    name: "calls-faults",
    about: "under faults each stream ends, and what cannot be sent twice is executed once at most",
    options,
    play: play_faults,
};

/// How many ask at a time on each connection.
const TASKS: usize = 2;

/// How often a request is a large one.
const LARGE_CHANCE: f64 = 0.2;

/// The most bytes of other requests.
const SMALL_BYTES_MAX: usize = 2_000;

/// Of the large ones, where applications break nothing off: of more, not all is kept for another
/// attempt, and an application may still refuse what it has the head of.
const KEPT_BYTES_MAX: usize = 60_000;

/// Beyond what is kept.
const LARGE_BYTES_MAX: usize = 100_000;

/// How often the application at [`REFUSING`] refuses a stream without having looked at it.
const REFUSED_CHANCE: f64 = 0.1;

/// The one replica whose application refuses streams: where another one is down, what it refused
/// must find a third.
const REFUSING: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1));

/// How often an application that fails breaks a stream off that it has executed.
const RESET_CHANCE: f64 = 0.05;

/// How long a connection lives that its application does not end: longer than a run.
const LIFE_MAX: Duration = Duration::from_secs(100_000);

/// Reasons by which Weft says that no application has seen the request.
const UNPROCESSED: [&str; 9] = [
    "connect-failed",
    "connect-timeout",
    "draining",
    "handshake-failed",
    "no-endpoint",
    "not-processed",
    "peer-draining",
    "tunnel-ended",
    "tunnel-refused",
];

/// Applications that break nothing off.
const FINE: Speaks = Speaks { protocol: Protocol::Http2, serve: serve_well, retried: &[503] };

/// Applications that break off what they have executed. No rule asks for it to be sent again.
const FAILING: Speaks = Speaks { protocol: Protocol::Http2, serve: serve_badly, retried: &[] };

fn serve_well(world: World, at: SocketAddr, seed: u64, executed: Executed) -> Serving {
    Box::pin(serve(world, at, seed, executed, 0.0))
}

fn serve_badly(world: World, at: SocketAddr, seed: u64, executed: Executed) -> Serving {
    Box::pin(serve(world, at, seed, executed, RESET_CHANCE))
}

/// An application, as long as it runs.
type Serving = BoxFuture<'static, io::Result<()>>;

/// An application that answers each request with the request's own body.
async fn serve(
    world: World,
    at: SocketAddr,
    seed: u64,
    executed: Executed,
    reset_chance: f64,
) -> io::Result<()> {
    let mut listener = world.network.listen(at, ListenerOptions::default())?;
    let refused_chance = if at.ip() == REFUSING { REFUSED_CHANCE } else { 0.0 };
    for number in 0u64.. {
        let accepted = listener.accept().await?;
        let server = Server::new(accepted.stream, world.clock.clone()).within(HeadLimits::MESH);
        let mut random = Random::derive(seed, &format!("application {number}"));
        // Some servers end connections after a while (GOAWAY).
        let life = random.duration(Duration::from_millis(100), Duration::from_secs(8));
        let ending = world.clock.sleep(if random.chance(0.5) { life } else { LIFE_MAX });
        let (clock, executed) = (world.clock.clone(), executed.clone());
        let handle = move |incoming: Incoming| {
            let delay = random.duration(Duration::ZERO, Duration::from_millis(200));
            let is_refused = random.chance(refused_chance);
            let is_reset = random.chance(reset_chance);
            let (clock, executed) = (clock.clone(), executed.clone());
            async move {
                if is_refused {
                    return incoming.stream.refuse();
                }
                answer(&*clock, incoming, &executed, delay, is_reset).await;
            }
        };
        drop(tokio::task::spawn_local(server::serve(server, ending, handle)));
    }
    Ok(())
}

async fn answer(
    clock: &dyn Clock,
    incoming: Incoming,
    executed: &Executed,
    delay: Duration,
    is_reset: bool,
) {
    let Incoming { head, mut stream, .. } = incoming;
    // A request that breaks off is its caller's affair.
    let Ok(body) = http2::read(&mut stream).await else { return };
    *executed.borrow_mut().entry(head.target().to_owned()).or_default() += 1;
    clock.sleep(delay).await;
    if is_reset {
        return;
    }
    let mut trailers = Fields::default();
    if grpc::is_call(&head) {
        trailers.append("grpc-status", b"0");
    }
    http2::answer(&mut stream, &ResponseHead::with_status(200), &body, &trailers).await;
}

/// One of several that ask on one connection, which is replaced when it breaks.
struct Caller {
    world: World,
    /// Where its proxy listens.
    at: SocketAddr,
    random: Random,
    /// The most bytes of a large request.
    bytes_max: usize,
    client: Rc<RefCell<Option<Rc<Client>>>>,
    executed: Executed,
}

impl Caller {
    async fn client(&self) -> io::Result<Rc<Client>> {
        let open = self.client.borrow().clone().filter(|client| client.is_usable());
        if let Some(client) = open {
            return Ok(client);
        }
        let client = Rc::new(Client::connect(&self.world, self.at).await?);
        self.client.replace(Some(client.clone()));
        Ok(client)
    }

    async fn exchange(&self, head: &RequestHead, body: &[u8]) -> Option<Answer> {
        self.client().await.ok()?.ask(head, body).await.ok()
    }

    /// What was said to be done was done, and what was said not to be processed was not.
    fn judge(&self, method: &str, number: &str, answer: &Answer) -> Result<(), SimError> {
        let count = self.executed.borrow().get(number).copied().unwrap_or_default();
        let reason = answer.reason();
        let is_done = reason.is_none() && answer.grpc_status().is_none_or(|status| status == 0);
        require(!is_done || count > 0, || format!("{number} was answered by nobody"))?;
        let is_unprocessed =
            method != "GET" && reason.as_ref().is_some_and(|r| UNPROCESSED.contains(&r.as_str()));
        require(!is_unprocessed || count == 0, || {
            format!(
                "{number} was executed, and {} says that it was not",
                reason.unwrap_or_default()
            )
        })
    }
}

impl Asks for Caller {
    const METHODS: &[&str] = &["GET", "POST", "CALL"];

    fn world(&self) -> &World {
        &self.world
    }

    fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    async fn ask(&mut self, method: &str, number: &str) -> Result<Outcome, SimError> {
        let is_large = self.random.chance(LARGE_CHANCE);
        let bytes_max = if is_large { self.bytes_max } else { SMALL_BYTES_MAX };
        let bytes = if method == "GET" { 0 } else { self.random.size(0, bytes_max) };
        let body: Vec<u8> = (0..bytes).map(|_| self.random.next().to_le_bytes()[0]).collect();
        let head = match method {
            "CALL" => http2::call_head(number, ""),
            _ => http2::head(&format!("{method} {number} HTTP/1.1\r\nHost: web\r\n\r\n")),
        };
        let Some(answer) = self.exchange(&head, &body).await else { return Ok(Outcome::Broken) };
        self.judge(method, number, &answer)?;
        let status = match answer.grpc_status() {
            Some(status) => grpc::http_status(status),
            None => answer.head.status,
        };
        Ok(Outcome::Answered(status, answer.body == body))
    }
}

/// So many on each of the callers' hosts, who share a connection.
fn callers(mesh: &Mesh, seed: u64, bytes_max: usize) -> Vec<(usize, Caller)> {
    let mut all = Vec::new();
    for (number, host) in mesh.callers.iter().enumerate() {
        let client = Rc::<RefCell<_>>::default();
        for task in 0..TASKS {
            let random = Random::derive(seed, &format!("caller {number}, {task}"));
            let (world, at, client) = (host.world(), at(host, 9001), Rc::clone(&client));
            let executed = mesh.executed.clone();
            all.push((number, Caller { world, at, random, bytes_max, client, executed }));
        }
    }
    all
}

fn play_rollouts(sim: &Simulation) -> Result<(), SimError> {
    let mesh = Mesh::new(sim, FINE);
    let is_fine = |_: &str, outcome: &Outcome| *outcome == Outcome::Answered(200, true);
    play(sim, &mesh, callers(&mesh, sim.seed(), KEPT_BYTES_MAX), is_fine, rollouts(sim, &mesh))
}

fn play_faults(sim: &Simulation) -> Result<(), SimError> {
    let mesh = Mesh::new(sim, FAILING);
    let is_fine = |_: &str, outcome: &Outcome| *outcome != Outcome::Answered(200, false);
    play(sim, &mesh, callers(&mesh, sim.seed(), LARGE_BYTES_MAX), is_fine, troubles(sim, &mesh))
}
