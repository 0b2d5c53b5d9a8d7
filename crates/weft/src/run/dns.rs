//! The DNS server of a command in a network of its own: names of the mesh are answered, others are
//! asked of the host's own servers.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use weft_dns::{
    Answer, Malformed, NAME_SERVERS_MAX, Query, Subject, Transport, Zones, name_servers,
};
use weft_model::{Namespace, ObjectName};
use weft_net::Datagrams;
use weft_proxy::{Meaning, Proxy};
use weft_telemetry::{Event, Recorder};
use weft_world::{Clock, Listener, Moment, Stream, StreamExt as _, World};

/// How long an answer about a Service may be kept, in seconds. Its addresses hardly ever change.
const TTL: u32 = 30;

/// How long one server of the host's is waited for.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The most queries under way at once. Further ones are dropped: the command asks again.
const QUERIES_MAX: usize = 512;

/// The most connections at once.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest datagram.
const DATAGRAM_BYTES: usize = 65_535;

/// How far apart two lines about names that are not answered are at least.
const SAY_INTERVAL: Duration = Duration::from_secs(10);

/// How long a listener waits after an error of its own.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers queries.
pub(super) struct Server {
    world: World,
    proxy: Rc<Proxy>,
    /// The command's own.
    namespace: Namespace,
    /// The host's servers, in the order to be asked.
    servers: Vec<SocketAddr>,
    recorder: Rc<dyn Recorder>,
    under_way: Cell<usize>,
    /// When it was last said that a name is not answered.
    said: Cell<Option<Moment>>,
}

impl Server {
    pub(super) fn new(
        world: &World,
        proxy: Rc<Proxy>,
        namespace: Namespace,
        recorder: Rc<dyn Recorder>,
    ) -> Server {
        // As the host's own programs would ask, read before the command runs.
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let servers = name_servers(&text).into_iter().take(NAME_SERVERS_MAX);
        let servers = servers.map(|ip: IpAddr| SocketAddr::new(ip, 53)).collect();
        let (world, under_way, said) = (world.clone(), Cell::default(), Cell::default());
        Server { world, proxy, namespace, servers, recorder, under_way, said }
    }

    /// How the command's names are read, by what is known of the mesh now.
    pub(super) fn zones(&self) -> Zones {
        Zones::new(self.proxy.dns_zone(), self.namespace.clone())
    }

    /// Answers for ever.
    pub(super) async fn serve(
        self: Rc<Self>,
        datagrams: Vec<Datagrams>,
        listeners: Vec<Box<dyn Listener>>,
    ) {
        let mut tasks = JoinSet::new();
        for socket in datagrams {
            tasks.spawn_local(self.clone().datagrams(Rc::new(socket)));
        }
        for listener in listeners {
            tasks.spawn_local(self.clone().connections(listener));
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn datagrams(self: Rc<Self>, socket: Rc<Datagrams>) {
        let mut queries = JoinSet::new();
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            while queries.try_join_next().is_some() {}
            let Ok((length, from)) = socket.receive(&mut buffer).await else {
                self.world.clock.sleep(ACCEPT_PAUSE).await;
                continue;
            };
            if self.under_way.get() >= QUERIES_MAX {
                self.count("dropped");
                continue;
            }
            let (server, socket, message) =
                (self.clone(), socket.clone(), buffer[..length].to_vec());
            queries.spawn_local(async move {
                let _counted = Counted::new(&server.under_way);
                if let Some(reply) = server.answer(&message, Transport::Udp).await {
                    // Who has gone has no use for it.
                    let _ = socket.send_to(&reply, from).await;
                }
            });
        }
    }

    async fn connections(self: Rc<Self>, mut listener: Box<dyn Listener>) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok(accepted) if connections.len() < CONNECTIONS_MAX => {
                    let server = self.clone();
                    connections.spawn_local(async move {
                        // What a program does with its connection is no concern of others.
                        let _ended = server.connection(accepted.stream).await;
                    });
                }
                Ok(_) => self.count("dropped"),
                Err(_) => self.world.clock.sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Counts a query by who answered it, or how.
    fn count(&self, answer: &'static str) {
        self.recorder.note(Event::Named(answer));
    }

    /// Says that the name of `service` is not answered, unless the same was said just now.
    fn say_unknown(&self, service: &ObjectName, why: &str) {
        let now = self.world.clock.now();
        if self.said.get().is_some_and(|said| now.since(said) < SAY_INTERVAL) {
            return;
        }
        self.said.set(Some(now));
        weft_control::say!(
            "weft run: the name of Service {service} is not answered: {why}. Those that are known \
             are; for others see that the control plane runs and is reached from here"
        );
    }

    /// Answers the queries of a connection, one after the other (RFC 7766).
    async fn connection(&self, mut stream: Box<dyn Stream>) -> io::Result<()> {
        loop {
            let reading = read_message(&mut *stream);
            let Some(message) = within(&*self.world.clock, IDLE_TIMEOUT, reading).await else {
                return Ok(());
            };
            let Some(message) = message? else { return Ok(()) };
            let Some(reply) = self.answer(&message, Transport::Tcp).await else { return Ok(()) };
            stream.write_all(&framed(&reply)).await?;
        }
    }

    /// What to send back for `message`, if anything.
    async fn answer(&self, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(malformed) => {
                self.count("refused");
                return match malformed {
                    Malformed::Answered(reply) => Some(reply),
                    Malformed::Ignored => None,
                };
            }
        };
        let zones = self.zones();
        let answer = match zones.subject(&query) {
            Subject::Known(answer) => answer,
            Subject::Refused => {
                self.count("refused");
                return Some(query.refused());
            }
            Subject::Outside => return Some(self.ask_outside(&query, transport).await),
            Subject::Service { name, maybe_outside } => {
                match self.proxy.addresses_of(&name, maybe_outside).await {
                    Meaning::Addresses(addresses) => answer_of(&addresses),
                    Meaning::Nothing => Answer::NoSuchName,
                    Meaning::NotOurs => return Some(self.ask_outside(&query, transport).await),
                    Meaning::Unknown(why) => {
                        self.count("failed");
                        self.say_unknown(&name, &why);
                        return Some(query.failed());
                    }
                }
            }
        };
        self.count(match answer {
            Answer::Addresses { .. } => "mesh",
            Answer::NoSuchName | Answer::NotOurs => "absent",
        });
        Some(query.answered(&answer, &zones, transport))
    }

    /// What the host's servers say, the first that answers.
    async fn ask_outside(&self, query: &Query, transport: Transport) -> Vec<u8> {
        for server in &self.servers {
            let asking = async {
                match transport {
                    Transport::Udp => self.ask_by_datagram(query, *server).await,
                    Transport::Tcp => self.ask_by_stream(query, *server).await,
                }
            };
            let asked = within(&*self.world.clock, SERVER_TIMEOUT, asking).await;
            if let Some(Ok(answer)) = asked {
                self.count("outside");
                return query.relayed(answer, transport);
            }
        }
        self.count("failed");
        query.failed()
    }

    async fn ask_by_datagram(&self, query: &Query, server: SocketAddr) -> io::Result<Vec<u8>> {
        // A port of its own for each query, and an id at random: who guesses must guess both.
        let socket = Datagrams::towards(server)?;
        let id = self.id();
        let mut message = query.message().to_vec();
        weft_dns::set_id(&mut message, id);
        socket.send(&message).await?;
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            let (length, _) = socket.receive(&mut buffer).await?;
            if query.is_answered_by(&buffer[..length], id) {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }

    async fn ask_by_stream(&self, query: &Query, server: SocketAddr) -> io::Result<Vec<u8>> {
        let mut stream = self.world.network.connect(server).await?;
        let id = self.id();
        let mut message = query.message().to_vec();
        weft_dns::set_id(&mut message, id);
        stream.write_all(&framed(&message)).await?;
        let answer = read_message(&mut *stream).await?;
        let answer = answer.filter(|answer| query.is_answered_by(answer, id));
        answer.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn id(&self) -> u16 {
        let [high, low, ..] = self.world.entropy.next().to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

/// Counts a query under way.
struct Counted<'c>(&'c Cell<usize>);

impl<'c> Counted<'c> {
    fn new(count: &'c Cell<usize>) -> Counted<'c> {
        count.set(count.get() + 1);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn answer_of(addresses: &[IpAddr]) -> Answer {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.push(*address),
            IpAddr::V6(address) => v6.push(*address),
        }
    }
    Answer::Addresses { v4, v6, ttl: TTL }
}

/// `message` behind its length.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let body = &message[..usize::from(length)];
    [&length.to_be_bytes(), body].concat()
}

/// The next message of a stream; none at its end.
async fn read_message(stream: &mut dyn Stream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    if !read_whole(stream, &mut length).await? {
        return Ok(None);
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    if !read_whole(stream, &mut message).await? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message))
}

/// Fills `buffer`; false if the stream ends before its first byte.
async fn read_whole(stream: &mut dyn Stream, buffer: &mut [u8]) -> io::Result<bool> {
    let mut read = 0;
    while read < buffer.len() {
        match stream.read(&mut buffer[read..]).await? {
            0 if read == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => read += count,
        }
    }
    Ok(true)
}

async fn within<F: Future>(clock: &dyn Clock, limit: Duration, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = clock.sleep(limit) => None,
    }
}
