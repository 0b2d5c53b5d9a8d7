//! Conversations in raw bytes through one proxy or two: what each side says, and what must arrive.
//!
//! A talk is a list of turns, played one after the other. It is played through both meshes and
//! under several seeds, so that the network cuts the bytes at other places each time.

use std::fmt;

use weft_http::{
    BodyDecoder, BodySize, Fields, HeadLimits, RequestHead, ResponseHead, Step, request, response,
};
use weft_model::{ObjectName, Port, Protocol, SpiffeId};
use weft_proxy::config::{Inbound, Outbound};
use weft_proxy::snapshot::{EndpointSpec, Reach, TunnelTarget};
use weft_sim::start_proxy;
use weft_world::{Clock, World};

use super::*;

/// How long a turn waits for bytes before it has failed.
const PATIENCE: Duration = seconds(30);

/// How long something is waited for where the test's own limit is another one.
const ENDLESS: Duration = seconds(3_000);

/// How long nothing more may come after the last turn.
const SILENCE: Duration = seconds(2);

/// How many proxies are between the caller and the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hops {
    /// The caller's proxy alone, which calls the application in plaintext.
    One,
    /// The caller's proxy and the application's, with a tunnel between them.
    Two,
    /// The caller's proxy alone, which opens a tunnel to where nobody listens yet.
    Tunnel,
}

/// A client and a server with the proxies between them.
pub(crate) struct Mesh {
    pub(crate) sim: Simulation,
    pub(crate) client: Host,
    pub(crate) server: Host,
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Mesh {
    pub(crate) fn new(seed: u64, hops: Hops, protocol: Protocol) -> Mesh {
        let Pair { sim, client, server } = Pair::new(seed);
        let identity = |name: &str| -> SpiffeId {
            format!("spiffe://weft.test/ns/shop/sa/{name}").parse().unwrap()
        };
        let (workload, port): (ObjectName, _) =
            ("shop/web-1".parse().unwrap(), Port::new(80).unwrap());
        let application = address("10.0.0.1:8080");
        let endpoint = match hops {
            Hops::One => EndpointSpec::new(application, Reach::Plain),
            Hops::Two | Hops::Tunnel => {
                let (web, listen) = (identity("web"), address("10.0.0.1:15008"));
                if hops == Hops::Two {
                    let ports = [(port, protocol, application)];
                    let domain = web.trust_domain();
                    let inbound = Inbound::fixed(listen, workload.clone(), 1, domain, ports);
                    start_proxy(&server, web.clone(), vec![], vec![inbound]);
                }
                let (identity, generation, service) = (web, 1, None);
                let target = TunnelTarget { identity, workload, generation, service, port };
                EndpointSpec::new(listen, Reach::Tunnel(target))
            }
        };
        let listen = address("10.0.0.2:9001");
        let outbound = Outbound::fixed(listen, "shop/web", protocol, vec![endpoint]);
        start_proxy(&client, identity("client"), vec![outbound], vec![]);
        Mesh { sim, client, server }
    }

    /// A connection of the caller to its proxy.
    pub(crate) async fn call(&self) -> Box<dyn Stream> {
        loop {
            // The proxy may not listen yet.
            match self.client.world().network.connect(address("10.0.0.2:9001")).await {
                Ok(stream) => return stream,
                Err(_) => self.sim.sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// The application's listener.
    pub(crate) fn application(&self) -> Box<dyn Listener> {
        let network = self.server.world().network;
        network.listen(address("10.0.0.1:8080"), ListenerOptions::default()).unwrap()
    }
}

/// Bytes that are shown as text.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", shown(&self.0))
    }
}

/// One turn in a talk.
#[derive(Clone, Debug)]
enum Turn {
    Sends(Bytes),
    Gets(Bytes),
    GetsAnswer(u16, &'static str, Last),
    GetsChunks(&'static str, &'static str),
    Ends,
    Ended,
    Broken,
    Leaves,
    Calls,
    AppGets(Bytes),
    AppGetsChunks(&'static str, &'static str),
    AppSends(Bytes),
    AppEnds,
    AppEnded,
    AppLeaves,
    AppAccepts,
    AppGetsNoWhole(&'static str),
    Pause(Duration),
}

/// Whether an answer says that the connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Yes,
    No,
}

/// A conversation. In texts, `\n` stands for the line end of HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    name: &'static str,
    protocol: Protocol,
    turns: Vec<Turn>,
}

fn wire(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in text.as_ref() {
        if byte == b'\n' {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

impl Talk {
    /// An empty talk over HTTP, whose `name` says what is promised.
    pub(crate) fn new(name: &'static str) -> Talk {
        Talk { name, protocol: Protocol::Http, turns: Vec::new() }
    }

    /// An empty talk over a port whose bytes are not looked into.
    pub(crate) fn opaque(name: &'static str) -> Talk {
        Talk { protocol: Protocol::Opaque, ..Talk::new(name) }
    }

    /// An empty talk over a port of which nobody said what is spoken there.
    pub(crate) fn unknown(name: &'static str) -> Talk {
        Talk { protocol: Protocol::Detect, ..Talk::new(name) }
    }

    fn then(mut self, turn: Turn) -> Talk {
        self.turns.push(turn);
        self
    }

    /// The caller sends `text`.
    pub(crate) fn sends(self, text: impl AsRef<[u8]>) -> Talk {
        self.then(Turn::Sends(Bytes(wire(text))))
    }

    /// The caller sends exactly `bytes`.
    pub(crate) fn sends_raw(self, bytes: impl AsRef<[u8]>) -> Talk {
        self.then(Turn::Sends(Bytes(bytes.as_ref().to_vec())))
    }

    /// Next, the caller gets exactly `text`.
    pub(crate) fn gets(self, text: impl AsRef<[u8]>) -> Talk {
        self.then(Turn::Gets(Bytes(wire(text))))
    }

    /// Next, the caller gets exactly `bytes`.
    pub(crate) fn gets_raw(self, bytes: impl AsRef<[u8]>) -> Talk {
        self.then(Turn::Gets(Bytes(bytes.as_ref().to_vec())))
    }

    /// Next, the caller gets an answer of Weft itself, for `reason`.
    pub(crate) fn answered(self, status: u16, reason: &'static str, last: Last) -> Talk {
        self.then(Turn::GetsAnswer(status, reason, last))
    }

    /// Next, the caller gets the chunks of `body`, cut anywhere, and their end with `trailers`.
    pub(crate) fn gets_chunks(self, body: &'static str, trailers: &'static str) -> Talk {
        self.then(Turn::GetsChunks(body, trailers))
    }

    /// Next, the application gets the chunks of `body`, cut anywhere, and the end with `trailers`.
    pub(crate) fn app_gets_chunks(self, body: &'static str, trailers: &'static str) -> Talk {
        self.then(Turn::AppGetsChunks(body, trailers))
    }

    /// The caller ends its direction.
    pub(crate) fn ends(self) -> Talk {
        self.then(Turn::Ends)
    }

    /// Next, the caller sees the end of the connection: without any further byte.
    pub(crate) fn ended(self) -> Talk {
        self.then(Turn::Ended)
    }

    /// Next, the caller sees that the connection is over, orderly or not.
    pub(crate) fn broken(self) -> Talk {
        self.then(Turn::Broken)
    }

    /// The caller drops its connection.
    pub(crate) fn leaves(self) -> Talk {
        self.then(Turn::Leaves)
    }

    /// The caller opens another connection in place of the one it had.
    pub(crate) fn calls_again(self) -> Talk {
        self.then(Turn::Calls)
    }

    /// Next, the application gets exactly `text`, on the connection it has or else on its next one.
    pub(crate) fn app_gets(self, text: impl AsRef<[u8]>) -> Talk {
        self.then(Turn::AppGets(Bytes(wire(text))))
    }

    /// The application sends `text`.
    pub(crate) fn app_sends(self, text: impl AsRef<[u8]>) -> Talk {
        self.then(Turn::AppSends(Bytes(wire(text))))
    }

    /// The application sends exactly `bytes`.
    pub(crate) fn app_sends_raw(self, bytes: impl AsRef<[u8]>) -> Talk {
        self.then(Turn::AppSends(Bytes(bytes.as_ref().to_vec())))
    }

    /// The application ends its direction.
    pub(crate) fn app_ends(self) -> Talk {
        self.then(Turn::AppEnds)
    }

    /// Next, the application sees the end of its connection, orderly or not.
    pub(crate) fn app_ended(self) -> Talk {
        self.then(Turn::AppEnded)
    }

    /// The application drops its connection.
    pub(crate) fn app_leaves(self) -> Talk {
        self.then(Turn::AppLeaves)
    }

    /// The application takes another connection in place of the one it had.
    pub(crate) fn app_accepts(self) -> Talk {
        self.then(Turn::AppAccepts)
    }

    /// The application never gets a whole request, nor `text`, on whatever connection.
    pub(crate) fn app_gets_no_whole(self, text: &'static str) -> Talk {
        self.then(Turn::AppGetsNoWhole(text))
    }

    /// Nothing is said for a while.
    pub(crate) fn pause(self, duration: Duration) -> Talk {
        self.then(Turn::Pause(duration))
    }

    fn play(&self, seed: u64, hops: Hops) -> Result<(), String> {
        let mesh = Mesh::new(seed, hops, self.protocol);
        let played = mesh.sim.run(async {
            let mut stage = Stage {
                mesh: &mesh,
                listener: mesh.application(),
                caller: Some(Line::new(mesh.client.world(), mesh.call().await)),
                application: None,
            };
            for (number, turn) in (1..).zip(&self.turns) {
                let played = stage.play(turn).await;
                played.map_err(|what| format!("turn {number}, {turn:?}: {what}"))?;
            }
            stage.silence().await
        });
        let played = played.unwrap_or_else(|error| Err(error.to_string()));
        played.map_err(|what| format!("{} (seed {seed}, {hops:?}): {what}", self.name))
    }
}

/// Plays all `talks` through both meshes under several seeds, and names those that failed.
#[track_caller]
pub(crate) fn play(talks: impl IntoIterator<Item = Talk>) {
    play_through(&[Hops::One, Hops::Two], talks);
}

/// As [`play`], for talks that make sense with so many proxies only.
#[track_caller]
pub(crate) fn play_through(hops: &[Hops], talks: impl IntoIterator<Item = Talk>) {
    let mut failures = Vec::new();
    for talk in talks {
        let runs = hops.iter().flat_map(|&hops| (0..5).map(move |seed| (seed, hops)));
        failures.extend(runs.filter_map(|(seed, hops)| talk.play(seed, hops).err()).take(1));
    }
    assert!(failures.is_empty(), "{} talks failed:\n{}", failures.len(), failures.join("\n"));
}

/// One end of a connection, and what it has got beyond what was looked at.
pub(crate) struct Line {
    world: World,
    stream: Box<dyn Stream>,
    rest: Vec<u8>,
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(300)].escape_ascii().to_string()
}

impl Line {
    pub(crate) fn new(world: World, stream: Box<dyn Stream>) -> Line {
        Line { world, stream, rest: Vec::new() }
    }

    /// The tunnel's stream, once all that came before was taken.
    pub(crate) fn into_stream(self) -> Box<dyn Stream> {
        assert!(self.rest.is_empty(), "{:?}", shown(&self.rest));
        self.stream
    }

    /// What comes next: some bytes, none at the end, or none within `limit`.
    async fn read(&mut self, limit: Duration) -> Option<io::Result<usize>> {
        let mut buffer = [0; 5_000];
        let clock: &dyn Clock = &*self.world.clock;
        let mut timer = clock.sleep(limit);
        let read = tokio::select! {
            biased;
            read = self.stream.read(&mut buffer) => read,
            () = &mut timer => return None,
        };
        if let Ok(count) = read {
            self.rest.extend_from_slice(&buffer[..count]);
        }
        Some(read)
    }

    /// Takes exactly `expected`.
    pub(crate) async fn expect(&mut self, expected: &[u8]) -> Result<(), String> {
        while self.rest.len() < expected.len() && expected.starts_with(&self.rest) {
            match self.read(PATIENCE).await {
                Some(Ok(1..)) => {}
                Some(Ok(0)) => return Err(format!("the end after {:?}", shown(&self.rest))),
                Some(Err(error)) => {
                    return Err(format!(
                        "{error} after {} bytes, {:?}",
                        self.rest.len(),
                        shown(&self.rest)
                    ));
                }
                None => return Err(format!("nothing comes after {:?}", shown(&self.rest))),
            }
        }
        if !self.rest.starts_with(expected) {
            return Err(format!("{:?} came", shown(&self.rest)));
        }
        self.rest.drain(..expected.len());
        Ok(())
    }

    /// Sends exactly `bytes`.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// All that comes until the end, orderly or not, or until nothing more comes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while matches!(self.read(PATIENCE).await, Some(Ok(1..))) {}
        std::mem::take(&mut self.rest)
    }

    /// The next request's target and body; none once the caller is gone.
    pub(crate) async fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let mut head = RequestHead::default();
        let parsed = loop {
            if let Some(parsed) =
                request::parse_within(HeadLimits::MESH, &self.rest, &mut head).ok()?
            {
                break parsed;
            }
            if !matches!(self.read(ENDLESS).await, Some(Ok(1..))) {
                return None;
            }
        };
        self.rest.drain(..parsed.bytes);
        let body = self.body(BodyDecoder::new(parsed.size, false)).await?;
        Some((head.target().to_owned(), body))
    }

    /// The next answer's status and body, or none if it does not come whole.
    pub(crate) async fn answer(&mut self) -> Option<(u16, Vec<u8>)> {
        let mut head = ResponseHead::default();
        loop {
            match response::parse_within(HeadLimits::MESH, &self.rest, false, &mut head).ok()? {
                Some(parsed) => {
                    self.rest.drain(..parsed.bytes);
                    if head.status >= 200 {
                        let decoder = BodyDecoder::new(parsed.size, parsed.ends_with_connection);
                        return Some((head.status, self.body(decoder).await?));
                    }
                }
                None if matches!(self.read(ENDLESS).await, Some(Ok(1..))) => {}
                None => return None,
            }
        }
    }

    async fn body(&mut self, mut decoder: BodyDecoder) -> Option<Vec<u8>> {
        let (mut body, mut trailers) = (Vec::new(), Fields::default());
        loop {
            match decoder.step(&self.rest, &mut trailers).ok()? {
                Step::Skip(count) => drop(self.rest.drain(..count)),
                Step::Data(count) => {
                    body.extend(self.rest.drain(..count));
                    decoder.consume(count);
                }
                Step::More => match self.read(ENDLESS).await? {
                    Ok(0) => decoder.connection_ended().ok()?,
                    Ok(_) => {}
                    Err(_) => return None,
                },
                Step::End => return Some(body),
            }
        }
    }

    /// Fills `buffer` with what comes next.
    pub(crate) async fn take(&mut self, buffer: &mut [u8]) -> Option<()> {
        while self.rest.len() < buffer.len() {
            if !matches!(self.read(ENDLESS).await, Some(Ok(1..))) {
                return None;
            }
        }
        buffer.copy_from_slice(&self.rest[..buffer.len()]);
        self.rest.drain(..buffer.len());
        Some(())
    }

    /// Waits for the end, orderly or not; bytes before it are thrown away.
    pub(crate) async fn ended(&mut self) {
        while matches!(self.read(ENDLESS).await, Some(Ok(1..))) {
            self.rest.clear();
        }
    }

    /// Takes an answer of Weft itself.
    pub(crate) async fn expect_answer(
        &mut self,
        status: u16,
        reason: &str,
        last: Last,
    ) -> Result<(), String> {
        let mut head = ResponseHead::default();
        let parsed = loop {
            match response::parse(&self.rest, false, &mut head) {
                Ok(Some(parsed)) => break parsed,
                Ok(None) => {}
                Err(error) => return Err(format!("{error}: {:?} came", shown(&self.rest))),
            }
            if !matches!(self.read(PATIENCE).await, Some(Ok(1..))) {
                return Err(format!("no answer, but {:?}", shown(&self.rest)));
            }
        };
        let found = head.fields.get("Weft-Reason").unwrap_or_default();
        let is_last = !parsed.keep_alive;
        if (head.status, found, is_last) != (status, reason.as_bytes(), last == Last::Yes) {
            return Err(format!("{:?} came", shown(&self.rest)));
        }
        let BodySize::Length(length) = parsed.size else {
            return Err(format!("a body of {:?}", parsed.size));
        };
        let end = parsed.bytes + usize::try_from(length).unwrap();
        while self.rest.len() < end {
            if !matches!(self.read(PATIENCE).await, Some(Ok(1..))) {
                return Err(format!("no whole answer, but {:?}", shown(&self.rest)));
            }
        }
        self.rest.drain(..end);
        Ok(())
    }

    /// Takes a chunked body up to its end.
    async fn expect_chunks(&mut self, body: &[u8], trailers: &[u8]) -> Result<(), String> {
        let mut decoder = BodyDecoder::new(BodySize::Unknown, false);
        let (mut came, mut trailer_fields) = (Vec::new(), Fields::default());
        loop {
            match decoder.step(&self.rest, &mut trailer_fields) {
                Ok(Step::Skip(count)) => drop(self.rest.drain(..count)),
                Ok(Step::Data(count)) => {
                    came.extend(self.rest.drain(..count));
                    decoder.consume(count);
                }
                Ok(Step::More) => {
                    if !matches!(self.read(PATIENCE).await, Some(Ok(1..))) {
                        return Err(format!("no end of the chunks after {:?}", shown(&came)));
                    }
                }
                Ok(Step::End) => break,
                Err(error) => return Err(format!("{error}: {:?}", shown(&self.rest))),
            }
        }
        let mut written = Vec::new();
        trailer_fields.write(&mut written);
        if came != body || written != trailers {
            return Err(format!("chunks of {:?} and {:?} came", shown(&came), shown(&written)));
        }
        Ok(())
    }

    /// Takes the end, before which nothing more may come; `orderly` if it must be no failure.
    async fn expect_end(&mut self, orderly: bool) -> Result<(), String> {
        let ended = if self.rest.is_empty() { self.read(PATIENCE).await } else { None };
        match ended {
            Some(Ok(0)) => Ok(()),
            Some(Err(_)) if !orderly => Ok(()),
            Some(Err(error)) => Err(error.to_string()),
            _ => Err(format!("no end, but {:?}", shown(&self.rest))),
        }
    }

    /// Waits for the break of the connection, before which anything may come.
    pub(crate) async fn expect_cut(&mut self) -> Result<(), String> {
        loop {
            match self.read(PATIENCE).await {
                Some(Ok(1..)) => {}
                Some(Err(_)) => return Ok(()),
                Some(Ok(0)) => return Err(format!("an end after {:?}", shown(&self.rest))),
                None => return Err(format!("nothing after {:?}", shown(&self.rest))),
            }
        }
    }

    /// Nothing more comes, but maybe the end.
    async fn expect_silence(&mut self) -> Result<(), String> {
        let read = if self.rest.is_empty() { self.read(SILENCE).await } else { Some(Ok(1)) };
        match read {
            Some(Ok(1..)) => Err(format!("{:?} comes in the end", shown(&self.rest))),
            _ => Ok(()),
        }
    }
}

/// Who takes part in a talk.
struct Stage<'m> {
    mesh: &'m Mesh,
    listener: Box<dyn Listener>,
    caller: Option<Line>,
    application: Option<Line>,
}

impl Stage<'_> {
    async fn accept(&mut self, limit: Duration) -> Result<(), String> {
        let world = self.mesh.server.world();
        let mut timer = world.clock.sleep(limit);
        let accepted = tokio::select! {
            biased;
            accepted = self.listener.accept() => accepted.map_err(|error| error.to_string())?,
            () = &mut timer => return Err("the application is not called".to_owned()),
        };
        self.application = Some(Line::new(world, accepted.stream));
        Ok(())
    }

    async fn play(&mut self, turn: &Turn) -> Result<(), String> {
        let Stage { mesh, caller, application, .. } = self;
        match turn {
            Turn::Sends(_)
            | Turn::Gets(_)
            | Turn::GetsAnswer(..)
            | Turn::GetsChunks(..)
            | Turn::Ends
            | Turn::Ended
            | Turn::Broken => {
                return play_line(still_there(caller)?, turn).await;
            }
            Turn::Leaves => *caller = None,
            Turn::Calls => *caller = Some(Line::new(mesh.client.world(), mesh.call().await)),
            Turn::AppGets(_)
            | Turn::AppGetsChunks(..)
            | Turn::AppSends(_)
            | Turn::AppEnds
            | Turn::AppEnded => {
                if application.is_none() {
                    self.accept(PATIENCE).await?;
                }
                let application = self.application.as_mut().expect("it was accepted");
                return play_line(application, turn).await;
            }
            Turn::AppLeaves => *application = None,
            Turn::AppAccepts => return self.accept(PATIENCE).await,
            Turn::AppGetsNoWhole(text) => return self.no_whole(text).await,
            Turn::Pause(duration) => mesh.sim.sleep(*duration).await,
        }
        Ok(())
    }

    /// On no connection there is a whole chunked request, nor `text`.
    async fn no_whole(&mut self, text: &str) -> Result<(), String> {
        while self.accept(SILENCE).await.is_ok() {
            let application = self.application.as_mut().expect("it was accepted");
            while matches!(application.read(SILENCE).await, Some(Ok(1..))) {}
            let came = String::from_utf8_lossy(&application.rest);
            if came.contains(text) || came.contains("0\r\n\r\n") {
                return Err(format!("{came:?} came"));
            }
            self.application = None;
        }
        Ok(())
    }

    /// Nobody says anything beyond what was expected.
    async fn silence(&mut self) -> Result<(), String> {
        if let Some(caller) = &mut self.caller {
            caller.expect_silence().await.map_err(|what| format!("to the caller: {what}"))?;
        }
        if let Some(application) = &mut self.application {
            let silent = application.expect_silence().await;
            silent.map_err(|what| format!("to the application: {what}"))?;
        }
        while self.accept(SILENCE).await.is_ok() {
            let application = self.application.as_mut().expect("it was accepted");
            let silent = application.expect_silence().await;
            silent.map_err(|what| format!("to the application, by a new connection: {what}"))?;
        }
        Ok(())
    }
}

fn still_there(caller: &mut Option<Line>) -> Result<&mut Line, String> {
    caller.as_mut().ok_or_else(|| "the caller has left".to_owned())
}

async fn play_line(line: &mut Line, turn: &Turn) -> Result<(), String> {
    match turn {
        Turn::Sends(Bytes(bytes)) | Turn::AppSends(Bytes(bytes)) => {
            line.stream.write_all(bytes).await.map_err(|error| error.to_string())
        }
        Turn::Gets(Bytes(expected)) | Turn::AppGets(Bytes(expected)) => line.expect(expected).await,
        Turn::GetsChunks(body, trailers) | Turn::AppGetsChunks(body, trailers) => {
            line.expect_chunks(body.as_bytes(), &wire(trailers)).await
        }
        Turn::GetsAnswer(status, reason, last) => line.expect_answer(*status, reason, *last).await,
        Turn::Ends | Turn::AppEnds => line.stream.close().await.map_err(|error| error.to_string()),
        Turn::Ended => line.expect_end(true).await,
        Turn::Broken | Turn::AppEnded => line.expect_end(false).await,
        _ => Ok(()),
    }
}
