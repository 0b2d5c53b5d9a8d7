//! The host's name servers: they are asked for what programs want to know, and for where hosts
//! outside of the mesh are.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use weft_dns::{Family, NAME_SERVERS_MAX, Query, Said, Transport, name_servers, set_id};
use weft_net::Datagrams;
use weft_proxy::{Resolution, Resolver};
use weft_world::{BoxFuture, Clock, Moment, Stream, StreamExt as _, World};

/// How long one server is waited for.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest datagram.
const DATAGRAM_BYTES: usize = 65_535;

/// How far apart two lines about hosts whose address is not known are at least.
const SAY_INTERVAL: Duration = Duration::from_secs(10);

/// The port that it is looked for a way to, which says nothing to anybody: "discard".
const ANY_PORT: u16 = 9;

/// The host's name servers.
pub struct NameServers {
    world: World,
    /// In the order to be asked.
    servers: Vec<SocketAddr>,
    /// When it was last said that it is not known where a host is.
    said: Cell<Option<Moment>>,
}

impl NameServers {
    /// Those that the host's own programs ask, as they are now.
    pub fn of_host(world: &World) -> Rc<NameServers> {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let servers = name_servers(&text).into_iter().take(NAME_SERVERS_MAX);
        let servers = servers.map(|ip: IpAddr| SocketAddr::new(ip, 53)).collect();
        Rc::new(NameServers { world: world.clone(), servers, said: Cell::default() })
    }

    /// The answer to `query` of the first that answers.
    pub async fn ask(&self, query: &Query, transport: Transport) -> Option<Vec<u8>> {
        for server in &self.servers {
            let asking = async {
                match transport {
                    Transport::Udp => self.ask_by_datagram(query, *server).await,
                    Transport::Tcp => self.ask_by_stream(query, *server).await,
                }
            };
            let asked = within(&*self.world.clock, SERVER_TIMEOUT, asking).await;
            if let Some(Ok(answer)) = asked {
                return Some(answer);
            }
        }
        None
    }

    async fn ask_by_datagram(&self, query: &Query, server: SocketAddr) -> io::Result<Vec<u8>> {
        // A port of its own for each query, and an id at random: who guesses must guess both.
        let socket = Datagrams::towards(server)?;
        let id = self.id();
        let mut message = query.message().to_vec();
        set_id(&mut message, id);
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
        set_id(&mut message, id);
        stream.write_all(&framed(&message)).await?;
        let answer = read_message(&mut *stream).await?;
        let answer = answer.filter(|answer| query.is_answered_by(answer, id));
        answer.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn id(&self) -> u16 {
        let [high, low, ..] = self.world.entropy.next().to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// What they say of the addresses of `host` in one family.
    async fn said(&self, host: &str, family: Family) -> Said {
        let Some(query) = Query::for_addresses(host, family) else { return Said::NoSuchName };
        let unanswered = || Said::Failed("no name server has answered".to_owned());
        let mut said = Said::Truncated;
        for transport in [Transport::Udp, Transport::Tcp] {
            let Some(answer) = self.ask(&query, transport).await else { return unanswered() };
            said = query.said(&answer);
            if said != Said::Truncated {
                break;
            }
        }
        said
    }

    async fn resolution(&self, host: &str) -> Resolution {
        let both = async { tokio::join!(self.said(host, Family::V4), self.said(host, Family::V6)) };
        let resolution = merged(both.await, has_way);
        if let Resolution::Failed(why) = &resolution {
            self.say(host, why);
        }
        resolution
    }

    /// Says that it is not known where `host` is, unless the like was said just now.
    fn say(&self, host: &str, why: &str) {
        let now = self.world.clock.now();
        if self.said.get().is_some_and(|said| now.since(said) < SAY_INTERVAL) {
            return;
        }
        self.said.set(Some(now));
        weft_control::say!(
            "weft: it is not known where {host} is: {why}. Where it was last is used for 1 h; see \
             that the name servers of this host are reached"
        );
    }
}

/// What the host's name servers say, for a worker of the proxy.
pub struct OfWorker(pub Rc<NameServers>);

impl Resolver for OfWorker {
    fn resolve(&self, host: &str) -> BoxFuture<'static, Resolution> {
        let (servers, host) = (self.0.clone(), host.to_owned());
        Box::pin(async move { servers.resolution(&host).await })
    }
}

/// Whether this host has a way to `address`: none leads to IPv6 from many.
fn has_way(address: &IpAddr) -> bool {
    Datagrams::towards(SocketAddr::new(*address, ANY_PORT)).is_ok()
}

/// What both families together say. Addresses to which there `has_way` are taken before others.
fn merged((v4, v6): (Said, Said), has_way: impl Fn(&IpAddr) -> bool) -> Resolution {
    let (mut all, mut ttl_min, mut failed) = (Vec::new(), u32::MAX, None);
    for said in [v4, v6] {
        match said {
            Said::Addresses { addresses, ttl } => {
                if !addresses.is_empty() {
                    ttl_min = ttl_min.min(ttl);
                }
                all.extend(addresses);
            }
            Said::NoSuchName => {}
            Said::Failed(why) => failed = failed.or(Some(why)),
            Said::Truncated => failed = failed.or(Some("the answer is cut off".to_owned())),
        }
    }
    let near: Vec<_> = all.iter().copied().filter(has_way).collect();
    let addresses = if near.is_empty() { all } else { near };
    match failed {
        _ if !addresses.is_empty() => {
            Resolution::Found { addresses, ttl: Duration::from_secs(ttl_min.into()) }
        }
        Some(why) => Resolution::Failed(why),
        None => Resolution::Absent,
    }
}

/// `message` behind its length.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let body = &message[..usize::from(length)];
    [&length.to_be_bytes(), body].concat()
}

/// The next message of a stream; none at its end.
pub async fn read_message(stream: &mut dyn Stream) -> io::Result<Option<Vec<u8>>> {
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

pub async fn within<F: Future>(clock: &dyn Clock, limit: Duration, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = clock.sleep(limit) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(addresses: &[&str], ttl: u32) -> Said {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Said::Addresses { addresses, ttl }
    }

    #[test]
    fn both_families_make_one_answer() {
        let of = |v4, v6| match merged((v4, v6), |ip: &IpAddr| ip.is_ipv4()) {
            Resolution::Found { addresses, ttl } => {
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                format!("{} for {ttl:?}", addresses.join(" "))
            }
            Resolution::Absent => "absent".to_owned(),
            Resolution::Failed(why) => why,
        };
        let (none, why) = (said(&[], 0), || Said::Failed("broken".to_owned()));
        assert_eq!(of(said(&["192.0.2.1"], 60), said(&["::2"], 30)), "192.0.2.1 for 30s");
        assert_eq!(of(none.clone(), said(&["::2"], 30)), "::2 for 30s");
        assert_eq!(of(said(&["192.0.2.1"], 60), why()), "192.0.2.1 for 60s");
        assert_eq!(of(none.clone(), why()), "broken");
        assert_eq!(of(none.clone(), none.clone()), "absent");
        assert_eq!(of(Said::NoSuchName, Said::NoSuchName), "absent");
        assert_eq!(of(Said::Truncated, none), "the answer is cut off");
    }
}
