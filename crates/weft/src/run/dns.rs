//! The DNS server of a command in a network of its own: names of the mesh are answered, others are
//! asked of the host's own servers.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use weft_dns::{Answer, Malformed, Query, Said, Subject, Transport, Zones};
use weft_model::{Namespace, ObjectName};
use weft_net::Datagrams;
use weft_proxy::{Meaning, Proxy};
use weft_telemetry::{Event, Recorder};
use weft_world::{Listener, Moment, Stream, StreamExt as _, World};

use crate::name_servers::{NameServers, framed, read_message, within};

/// How long an answer about a Service may be kept, in seconds. Its addresses hardly ever change.
const TTL: u32 = 30;

/// How long an answer about a host outside may be kept, in seconds: what stands for it may stand
/// for another one later.
const EXTERNAL_TTL: u32 = 5;

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
    servers: Rc<NameServers>,
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
        servers: Rc<NameServers>,
    ) -> Server {
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
            Subject::Outside => return Some(self.ask_outside(&query, &zones, transport).await),
            Subject::Service { name, maybe_outside } => {
                match self.proxy.addresses_of(&name, maybe_outside).await {
                    Meaning::Addresses(addresses) => answer_of(&addresses, TTL),
                    Meaning::Nothing => Answer::NoSuchName,
                    Meaning::NotOurs => {
                        return Some(self.ask_outside(&query, &zones, transport).await);
                    }
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

    /// What the host's servers say, the first that answers; of a host that an ExternalService has,
    /// what stands for it here.
    async fn ask_outside(&self, query: &Query, zones: &Zones, transport: Transport) -> Vec<u8> {
        let host = host_of(query);
        if query.asks_where() {
            match self.proxy.outside_host(&host) {
                Meaning::Addresses(addresses) => {
                    self.count("external");
                    let answer = answer_of(&addresses, EXTERNAL_TTL);
                    return query.answered(&answer, zones, transport);
                }
                Meaning::Unknown(_) => {
                    self.count("failed");
                    return query.failed();
                }
                Meaning::Nothing | Meaning::NotOurs => {}
            }
        }
        if let Some(answer) = self.servers.ask(query, transport).await {
            self.count("outside");
            if let Said::Addresses { addresses, .. } = query.said(&answer) {
                self.proxy.told(&host, &addresses);
            }
            return query.relayed(answer, transport);
        }
        self.count("failed");
        query.failed()
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

/// The host that `query` is about, in lower case and without a dot at the end.
fn host_of(query: &Query) -> String {
    query.name().to_string().trim_end_matches('.').to_ascii_lowercase()
}

fn answer_of(addresses: &[IpAddr], ttl: u32) -> Answer {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.push(*address),
            IpAddr::V6(address) => v6.push(*address),
        }
    }
    Answer::Addresses { v4, v6, ttl }
}
