//! HTTP requests through two proxies: application, its proxy, the tunnel, the other proxy, server.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use weft_http::{
    BodyDecoder, BodyEncoder, BodySize, Fields, RequestHead, ResponseHead, Step, request, response,
};
use weft_model::{ObjectName, Port, Protocol, SpiffeId};
use weft_proxy::config::{Inbound, Outbound};
use weft_proxy::snapshot::{EndpointSpec, Reach, TunnelTarget};
use weft_world::{ListenerOptions, Stream, StreamExt, World};

use super::rules::SESSION;
use crate::entropy::Random;
use crate::error::{SimError, require};
use crate::host::{Crash, Host};
use crate::link::LinkOptions;
use crate::mesh::start_proxy;
use crate::scenario::Scenario;
use crate::simulation::{Simulation, SimulationOptions};

/// Requests of all shapes on a lossy network.
pub const CALM: Scenario = Scenario {
    name: "requests",
    about: "requests through two proxies are answered in full, and each is executed once",
    options,
    play: play_calm,
};

/// Requests while connections are reset, hosts cut off and the server's proxy crashes.
pub const FAULTS: Scenario = Scenario {
    name: "requests-faults",
    about: "under faults each request ends, none is executed twice unless idempotent, all recover",
    options,
    play: play_faults,
};

const TASKS: usize = 3;
const REQUESTS: usize = 8;
const BODY_BYTES_MAX: usize = 60_000;

fn options() -> SimulationOptions {
    let mut options = SimulationOptions::default();
    options.network.link = LinkOptions::wan().with_loss(0.01);
    options
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().expect("it is written as an address")
}

pub(super) fn identity(name: &str) -> SpiffeId {
    format!("spiffe://weft.test/ns/shop/sa/{name}").parse().expect("it is written as an identity")
}

/// How often each request was executed, by its number.
pub(super) type Executed = Rc<RefCell<BTreeMap<String, u32>>>;

/// The client's host and the server's, each with its proxy.
struct Mesh {
    client: Host,
    server: Host,
    executed: Executed,
}

impl Mesh {
    fn new(sim: &Simulation) -> Mesh {
        let ip = |text: &str| text.parse().expect("it is written as an address");
        let client = sim.host("client", [ip("10.0.0.1")]);
        let server = sim.host("server", [ip("10.0.0.2")]);
        let mesh = Mesh { client, server, executed: Executed::default() };
        let target = TunnelTarget {
            identity: identity("web"),
            workload: workload(),
            generation: 1,
            service: None,
            port: port(),
        };
        let endpoint = EndpointSpec::new(address("10.0.0.2:15008"), Reach::Tunnel(target));
        let (listen, endpoints) = (address("10.0.0.1:9001"), vec![endpoint]);
        let outbound = Outbound::fixed(listen, "shop/web", Protocol::Http, endpoints);
        start_proxy(&mesh.client, identity("client"), vec![outbound], vec![]);
        mesh.start_server(sim.seed());
        mesh
    }

    fn start_server(&self, seed: u64) {
        let (domain, listen) = (identity("web"), address("10.0.0.2:15008"));
        let ports = [(port(), Protocol::Http, address("10.0.0.2:8080"))];
        let inbound = Inbound::fixed(listen, workload(), 1, domain.trust_domain(), ports);
        start_proxy(&self.server, identity("web"), vec![], vec![inbound]);
        let (world, executed) = (self.server.world(), self.executed.clone());
        drop(
            self.server
                .spawn(async move { serve(world, address("10.0.0.2:8080"), seed, executed).await }),
        );
    }
}

fn workload() -> ObjectName {
    "shop/web-1".parse().expect("it is a name")
}

fn port() -> Port {
    Port::new(80).expect("it is not 0")
}

/// An application that answers each request with the request's own body.
pub(super) async fn serve(
    world: World,
    at: SocketAddr,
    seed: u64,
    executed: Executed,
) -> io::Result<()> {
    let mut listener = world.network.listen(at, ListenerOptions::default())?;
    for number in 0u64.. {
        let mut accepted = listener.accept().await?;
        let (world, executed) = (world.clone(), executed.clone());
        let mut random = Random::derive(seed, &format!("application {number}"));
        tokio::task::spawn_local(async move {
            // A connection that breaks is the proxy's to notice.
            let _broken = answer(&world, &mut *accepted.stream, &mut random, &executed).await;
        });
    }
    Ok(())
}

fn malformed(error: weft_http::GrammarError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

async fn answer(
    world: &World,
    stream: &mut dyn Stream,
    random: &mut Random,
    executed: &Executed,
) -> io::Result<()> {
    let mut head = RequestHead::default();
    let mut input = Vec::new();
    loop {
        let parsed = loop {
            if let Some(parsed) = request::parse(&input, &mut head).map_err(malformed)? {
                break parsed;
            }
            if !read_some(stream, &mut input).await? {
                return Ok(());
            }
        };
        input.drain(..parsed.bytes);
        let body = read_body(stream, &mut input, BodyDecoder::new(parsed.size, false)).await?;
        *executed.borrow_mut().entry(head.target().to_owned()).or_default() += 1;
        world.clock.sleep(random.duration(Duration::ZERO, Duration::from_millis(200))).await;

        let mut out = Vec::new();
        if random.chance(0.2) {
            let informational = ResponseHead::with_status(100);
            let (framing, keep) = (response::Framing::Plain, response::Keep::Implied);
            response::write(&informational, BodySize::None, framing, keep, &mut out);
        }
        let is_last = random.chance(0.15);
        let keep = if is_last { response::Keep::Close } else { response::Keep::Implied };
        let mut answered = ResponseHead::with_status(200);
        answered.fields.append("X-Request", head.target().as_bytes());
        if random.chance(0.5) {
            response::write(
                &answered,
                BodySize::Unknown,
                response::Framing::Chunked,
                keep,
                &mut out,
            );
            chunk(&body, random, &mut out).map_err(malformed)?;
        } else {
            let size = BodySize::Length(body.len() as u64);
            response::write(&answered, size, response::Framing::Plain, keep, &mut out);
            out.extend_from_slice(&body);
        }
        stream.write_all(&out).await?;
        // Some servers close idle connections without a word.
        if is_last || random.chance(0.1) {
            return stream.close().await;
        }
    }
}

/// Writes `body` in chunks of random sizes, with a trailer.
fn chunk(
    body: &[u8],
    random: &mut Random,
    out: &mut Vec<u8>,
) -> Result<(), weft_http::GrammarError> {
    let mut encoder = BodyEncoder::Chunked;
    let mut rest = body;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.size(1, rest.len()));
        encoder.before(piece.len(), out);
        out.extend_from_slice(piece);
        encoder.after(piece.len(), out)?;
        rest = after;
    }
    let mut trailers = Fields::default();
    trailers.append("X-Sum", b"1");
    encoder.end(&trailers, out)
}

async fn read_some(stream: &mut dyn Stream, input: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4_000];
    let count = stream.read(&mut buffer).await?;
    input.extend_from_slice(&buffer[..count]);
    Ok(count > 0)
}

async fn read_body(
    stream: &mut dyn Stream,
    input: &mut Vec<u8>,
    mut decoder: BodyDecoder,
) -> io::Result<Vec<u8>> {
    let (mut body, mut trailers) = (Vec::new(), Fields::default());
    loop {
        match decoder.step(input, &mut trailers).map_err(malformed)? {
            Step::Skip(count) => drop(input.drain(..count)),
            Step::Data(count) => {
                body.extend(input.drain(..count));
                decoder.consume(count);
            }
            Step::More if read_some(stream, input).await? => {}
            Step::More => decoder.connection_ended().map_err(malformed)?,
            Step::End => return Ok(body),
        }
    }
}

/// An application that calls: one connection, until it breaks or ends.
pub(super) struct Caller {
    pub(super) world: World,
    /// Where its proxy listens.
    at: SocketAddr,
    body_bytes_max: usize,
    pub(super) random: Random,
    stream: Option<(Box<dyn Stream>, Vec<u8>)>,
    /// By what it stays with the endpoint that answered it, if it does.
    session: Option<Vec<u8>>,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was answered with this status, and a body that is the request's own or is not.
    Answered(u16, bool),
    /// The connection broke before the answer was complete.
    Broken,
}

impl Caller {
    /// A caller whose proxy listens at `at`.
    pub(super) fn new(
        world: World,
        at: SocketAddr,
        body_bytes_max: usize,
        random: Random,
    ) -> Caller {
        Caller { world, at, body_bytes_max, random, stream: None, session: None }
    }

    /// Sends a request, and says what became of it.
    pub(super) async fn ask(&mut self, method: &str, number: &str) -> Result<Outcome, SimError> {
        let body: Vec<u8> = if method == "POST" {
            let bytes = self.random.size(0, self.body_bytes_max);
            (0..bytes).map(|_| self.random.next().to_le_bytes()[0]).collect()
        } else {
            Vec::new()
        };
        let mut out = format!("{method} {number} HTTP/1.1\r\nHost: web\r\n").into_bytes();
        if let Some(session) = &self.session {
            out.extend_from_slice(&[SESSION.as_bytes(), b": ", session, b"\r\n"].concat());
        }
        if !body.is_empty() && self.random.chance(0.5) {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            let chunked = chunk(&body, &mut self.random, &mut out);
            chunked.map_err(|error| SimError::Io(malformed(error)))?;
        } else {
            out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            out.extend_from_slice(&body);
        }
        match self.exchange(&out).await {
            Ok((status, echoed)) => Ok(Outcome::Answered(status, echoed == body)),
            Err(_) => {
                self.stream = None;
                Ok(Outcome::Broken)
            }
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let (mut stream, mut input) = match self.stream.take() {
            Some(kept) => kept,
            None => (self.world.network.connect(self.at).await?, Vec::new()),
        };
        stream.write_all(request).await?;
        let mut head = ResponseHead::default();
        let parsed = loop {
            match response::parse(&input, false, &mut head).map_err(malformed)? {
                Some(parsed) if head.status < 200 => drop(input.drain(..parsed.bytes)),
                Some(parsed) => break parsed,
                None if read_some(&mut *stream, &mut input).await? => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        input.drain(..parsed.bytes);
        if let Some(session) = head.fields.get(SESSION) {
            self.session = Some(session.to_vec());
        }
        let decoder = BodyDecoder::new(parsed.size, parsed.ends_with_connection);
        let body = read_body(&mut *stream, &mut input, decoder).await?;
        if parsed.keep_alive {
            self.stream = Some((stream, input));
        }
        Ok((head.status, body))
    }
}

fn caller(mesh: &Mesh, seed: u64, task: usize) -> Caller {
    let random = Random::derive(seed, &format!("caller {task}"));
    Caller::new(mesh.client.world(), address("10.0.0.1:9001"), BODY_BYTES_MAX, random)
}

fn play_calm(sim: &Simulation) -> Result<(), SimError> {
    let mesh = Mesh::new(sim);
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let mut caller = caller(&mesh, sim.seed(), task);
        tasks.push(mesh.client.spawn(async move {
            for request in 0..REQUESTS {
                let method = *caller.random.pick(&["GET", "POST"]);
                let number = format!("/{task}/{request}");
                let outcome = caller.ask(method, &number).await?;
                // A connection that the server closed just then may cost a POST, and nothing else.
                let is_fine = outcome == Outcome::Answered(200, true)
                    || (method == "POST" && outcome == Outcome::Answered(502, false));
                require(is_fine, || format!("{method} {number} ended with {outcome:?}"))?;
            }
            Ok::<(), SimError>(())
        }));
    }
    sim.run(async {
        for task in tasks {
            task.await??;
        }
        Ok::<(), SimError>(())
    })??;
    require_once(&mesh.executed, |count, _| count == 1)
}

/// Each request that was executed was executed as often as `is_allowed` allows.
pub(super) fn require_once(
    executed: &Executed,
    is_allowed: impl Fn(u32, &str) -> bool,
) -> Result<(), SimError> {
    for (number, count) in &*executed.borrow() {
        require(is_allowed(*count, number), || format!("{number} was executed {count} times"))?;
    }
    Ok(())
}

fn play_faults(sim: &Simulation) -> Result<(), SimError> {
    let mesh = Mesh::new(sim);
    let seed = sim.seed();
    let is_calm = Rc::new(Cell::new(false));
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (mut caller, is_calm) = (caller(&mesh, seed, task), is_calm.clone());
        tasks.push(mesh.client.spawn(async move {
            let mut request = 0;
            while !is_calm.get() {
                let method = *caller.random.pick(&["GET", "POST"]);
                let number = format!("/{}/{task}/{request}", method.to_lowercase());
                let outcome = caller.ask(method, &number).await?;
                let is_possible = !matches!(outcome, Outcome::Answered(200, false));
                require(is_possible, || format!("{number} was answered with another's body"))?;
                request += 1;
            }
            // What broke during the faults may be noticed only now; after that, all is well.
            for _ in 0..20 {
                let number = format!("/get/{task}/{request}");
                if caller.ask("GET", &number).await? == Outcome::Answered(200, true) {
                    return Ok::<(), SimError>(());
                }
                request += 1;
                caller.world.clock.sleep(Duration::from_secs(5)).await;
            }
            Err(SimError::Broken { promise: "requests succeed once the faults are over".into() })
        }));
    }
    sim.run(async {
        let mut random = Random::derive(seed, "faults");
        for _ in 0..4 {
            sim.sleep(random.duration(Duration::from_millis(100), Duration::from_secs(3))).await;
            match random.below(3) {
                0 => sim.reset_connections(&mesh.client, &mesh.server),
                1 => {
                    sim.partition(&mesh.client, &mesh.server);
                    sim.sleep(random.duration(Duration::from_secs(1), Duration::from_secs(20)))
                        .await;
                    sim.heal(&mesh.client, &mesh.server);
                }
                _ => {
                    let how = if random.chance(0.5) { Crash::Silent } else { Crash::Reset };
                    sim.crash(&mesh.server, how);
                    sim.sleep(random.duration(Duration::ZERO, Duration::from_secs(5))).await;
                    mesh.server.restart();
                    mesh.start_server(seed);
                }
            }
        }
        is_calm.set(true);
        for task in tasks {
            task.await??;
        }
        Ok::<(), SimError>(())
    })??;
    require_once(&mesh.executed, |count, number| count == 1 || number.starts_with("/get/"))
}
