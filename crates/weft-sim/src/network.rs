//! The network between the hosts: who has which address, who listens where, who can reach whom.
//!
//! What flows in a connection is in `connection.rs`, how one comes about in `connect.rs`.
//!
//! Deliberately absent: UDP, DNS, routers, and IPv4 through IPv6 sockets (a listener at `[::]`
//! takes IPv6 only).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use weft_world::ListenerOptions;

use crate::clock::Timeline;
use crate::connection::{Connection, Side};
use crate::link::{HostId, LinkOptions, Links};
use crate::pipe::PipeLimits;
use crate::trace::{Happening, Trace};

/// The first and last port given out for port 0 and to who connects, as in Linux.
const EPHEMERAL_PORTS: (u16, u16) = (32_768, 60_999);

/// How the network and the systems of the hosts behave.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Every link that is not set otherwise.
    pub link: LinkOptions,
    /// The way from a host to itself.
    pub loopback: LinkOptions,
    /// Bytes that can be written before they have arrived.
    pub send_buffer_bytes: usize,
    /// Bytes that can arrive before they are read.
    pub receive_buffer_bytes: usize,
    /// Bytes in a segment. Small ones meet more boundaries and take more steps.
    pub segment_bytes_max: usize,
    /// Connections that wait to be accepted; more are answered late, as if lost.
    pub backlog_max: usize,
    /// How long a connect goes on without an answer.
    pub connect_timeout: Duration,
    /// The wait before a first packet of a connect is sent again; it doubles each time.
    pub connect_retry: Duration,
    /// The wait before a lost segment is sent again; it doubles each time.
    pub retransmit_first: Duration,
    /// The most that this wait becomes.
    pub retransmit_max: Duration,
    /// How long a segment can stay unacknowledged before the connection is given up.
    pub give_up_after: Duration,
    /// How often an idle connection is probed.
    pub keepalive_interval: Duration,
    /// How long probes may go unanswered before the connection is given up.
    pub keepalive_give_up_after: Duration,
}

impl Default for NetworkOptions {
    /// As Linux sets it, but for smaller buffers, so that they fill.
    fn default() -> NetworkOptions {
        NetworkOptions {
            link: LinkOptions::lan(),
            loopback: LinkOptions::loopback(),
            send_buffer_bytes: 64 * 1024,
            receive_buffer_bytes: 64 * 1024,
            segment_bytes_max: 1_460,
            backlog_max: 128,
            connect_timeout: Duration::from_secs(127), // tcp_syn_retries = 6
            connect_retry: Duration::from_secs(1),
            retransmit_first: Duration::from_millis(200),
            retransmit_max: Duration::from_secs(120),
            give_up_after: Duration::from_secs(924), // tcp_retries2 = 15
            keepalive_interval: Duration::from_secs(15), // As weft-net sets it.
            keepalive_give_up_after: Duration::from_secs(45),
        }
    }
}

/// What becomes of connections that were not meant for a proxy, as by nftables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// The local port to which go the connections that the application opens to other hosts.
    pub outbound: Option<u16>,
    /// The local port to which go the connections that other hosts open to this one.
    pub inbound: Option<u16>,
    /// Ports to which other hosts come directly, the proxy's own.
    pub inbound_except: BTreeSet<u16>,
}

/// Whether a host answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// Yes.
    On,
    /// Its system does, but nothing runs there.
    Idle,
    /// No.
    Off,
}

pub(crate) struct NetHost {
    pub(crate) name: Rc<str>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) power: Power,
    pub(crate) capture: Capture,
    next_port: u16,
}

/// The loopback address of the same family.
fn loopback(address: &IpAddr) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

/// The address of the same family that stands for all of a host's.
fn unspecified(address: &IpAddr) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// A place where connections are waited for.
pub(crate) struct Listening {
    pub(crate) id: u64,
    pub(crate) options: ListenerOptions,
    pub(crate) queue: VecDeque<u64>,
    pub(crate) waker: Option<Waker>,
}

/// Where a connect leads.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The caller's address.
    pub(crate) from: SocketAddr,
    /// Where the caller wants to go.
    pub(crate) wanted: SocketAddr,
    /// Whose that is; none if nobody has the address.
    pub(crate) target: Option<HostId>,
    /// Whether the own host redirects it.
    pub(crate) captured: bool,
}

/// The whole network.
pub(crate) struct Net {
    pub(crate) seed: u64,
    pub(crate) timeline: Rc<Timeline>,
    pub(crate) trace: Trace,
    pub(crate) options: NetworkOptions,
    pub(crate) limits: PipeLimits,
    pub(crate) links: Links,
    pub(crate) hosts: Vec<NetHost>,
    addresses: BTreeMap<IpAddr, HostId>,
    pub(crate) listeners: BTreeMap<(HostId, SocketAddr), Listening>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    next_id: u64,
}

/// A segment on its way, which arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub(crate) connection: u64,
    pub(crate) from: Side,
}

impl Net {
    pub(crate) fn new(
        seed: u64,
        options: NetworkOptions,
        timeline: Rc<Timeline>,
        trace: Trace,
    ) -> Net {
        Net {
            seed,
            timeline,
            trace,
            limits: PipeLimits {
                send_buffer: options.send_buffer_bytes,
                receive_buffer: options.receive_buffer_bytes,
                segment: options.segment_bytes_max,
            },
            links: Links::new(seed, options.link.clone(), options.loopback.clone()),
            options,
            hosts: Vec::new(),
            addresses: BTreeMap::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_id: 1,
        }
    }

    /// Adds a host.
    ///
    /// # Panics
    /// If its name or one of the addresses is taken, or an address is not one of a host.
    pub(crate) fn add_host(&mut self, name: &str, addresses: &[IpAddr]) -> HostId {
        let id = HostId(self.hosts.len());
        assert!(
            !self.hosts.iter().any(|host| *host.name == *name),
            "there is a host {name} already"
        );
        for address in addresses {
            let usable = !address.is_loopback() && !address.is_unspecified();
            assert!(usable, "{address} cannot be the address of a host");
            let before = self.addresses.insert(*address, id);
            assert!(before.is_none(), "{address} is the address of two hosts");
        }
        let name = Rc::from(name);
        self.links.add_host(&name);
        self.hosts.push(NetHost {
            name,
            addresses: addresses.to_vec(),
            power: Power::On,
            capture: Capture::default(),
            next_port: EPHEMERAL_PORTS.0,
        });
        id
    }

    pub(crate) fn host(&mut self, id: HostId) -> &mut NetHost {
        &mut self.hosts[id.0]
    }

    /// An id for a connection, an attempt at one, or a listener.
    pub(crate) fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub(crate) fn record(&self, host: HostId, what: Happening) {
        self.trace.add(&self.hosts[host.0].name, what);
    }

    /// Whether packets can pass from one host to the other.
    pub(crate) fn can_pass(&self, from: HostId, to: HostId) -> bool {
        let off = |host: HostId| self.hosts[host.0].power == Power::Off;
        !off(from) && !off(to) && !self.links.is_cut(from, to)
    }

    fn ephemeral_port(&mut self, host: HostId) -> io::Result<u16> {
        let (first, last) = EPHEMERAL_PORTS;
        let used: BTreeSet<u16> = self.ports_in_use(host).collect();
        for _ in first..=last {
            let port = self.hosts[host.0].next_port;
            self.hosts[host.0].next_port = if port == last { first } else { port + 1 };
            if !used.contains(&port) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }

    fn ports_in_use(&self, host: HostId) -> impl Iterator<Item = u16> {
        let listening = self.listeners.keys().filter(move |(at, _)| *at == host);
        let ends = self.connections.values().flat_map(|connection| &connection.ends);
        let ends = ends.filter(move |end| end.host == host);
        listening.map(|(_, at)| at.port()).chain(ends.map(|end| end.address.port()))
    }

    /// Starts to listen, and says where and under which id.
    pub(crate) fn listen(
        &mut self,
        host: HostId,
        at: SocketAddr,
        options: ListenerOptions,
    ) -> io::Result<(SocketAddr, u64)> {
        if self.hosts[host.0].power != Power::On {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let ip = at.ip();
        let own = ip.is_loopback() || ip.is_unspecified() || self.addresses.get(&ip) == Some(&host);
        if !own && !options.transparent {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = if at.port() == 0 { self.ephemeral_port(host)? } else { at.port() };
        let taken = self.listeners.keys().any(|(holder, other)| {
            let overlaps = other.ip() == ip || other.ip() == unspecified(&ip);
            let overlaps = overlaps || other.ip().is_ipv4() == ip.is_ipv4() && ip.is_unspecified();
            *holder == host && other.port() == port && overlaps
        });
        if taken {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let at = SocketAddr::new(ip, port);
        let (id, queue) = (self.new_id(), VecDeque::new());
        self.listeners.insert((host, at), Listening { id, options, queue, waker: None });
        self.record(host, Happening::Listening { at });
        Ok((at, id))
    }

    /// Stops to listen; what waited to be accepted is reset.
    pub(crate) fn stop_listening(&mut self, host: HostId, at: SocketAddr, id: u64) {
        if self.listeners.get(&(host, at)).is_none_or(|listening| listening.id != id) {
            return; // It went away in a crash, and the place may have a new owner.
        }
        let stopped = self.listeners.remove(&(host, at));
        for connection in stopped.into_iter().flat_map(|listening| listening.queue) {
            self.reset_and_leave(connection, Side::Server);
        }
    }

    /// Where a connect from `host` to `wanted` leads.
    pub(crate) fn route(
        &mut self,
        host: HostId,
        wanted: SocketAddr,
        application: bool,
    ) -> io::Result<Route> {
        let here = &self.hosts[host.0];
        if here.power != Power::On {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let ip = wanted.ip();
        if ip.is_unspecified() || wanted.port() == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let local = ip.is_loopback() || here.addresses.contains(&ip);
        let from = if local {
            ip
        } else {
            let own = here.addresses.iter().find(|own| own.is_ipv4() == ip.is_ipv4());
            *own.ok_or(io::ErrorKind::NetworkUnreachable)?
        };
        let captured = application && !local && here.capture.outbound.is_some();
        let target = if local || captured { Some(host) } else { self.addresses.get(&ip).copied() };
        let from = SocketAddr::new(from, self.ephemeral_port(host)?);
        Ok(Route { from, wanted, target, captured })
    }

    /// The listener on `target` that takes a connection from `host`, and the address that it really
    /// comes to.
    pub(crate) fn listener_for(
        &self,
        host: HostId,
        target: HostId,
        route: &Route,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let capture = &self.hosts[target.0].capture;
        let inbound = capture.inbound.filter(|_| host != target);
        let inbound = inbound.filter(|_| !capture.inbound_except.contains(&route.wanted.port()));
        let at = match (capture.outbound, inbound) {
            (Some(port), _) if route.captured => {
                SocketAddr::new(loopback(&route.wanted.ip()), port)
            }
            (_, Some(port)) => SocketAddr::new(route.wanted.ip(), port),
            _ => route.wanted,
        };
        let places = [at, SocketAddr::new(unspecified(&at.ip()), at.port())];
        let place = places.into_iter().find(|at| self.listeners.contains_key(&(target, *at)))?;
        Some((place, at))
    }

    /// Takes all that `host` had in the network from it.
    pub(crate) fn crash(&mut self, host: HostId, silently: bool) {
        self.record(host, Happening::Crashed { silently });
        self.listeners.retain(|(holder, _), _| *holder != host);
        let ends: Vec<(u64, Side)> = self.ends_on(host).collect();
        for (connection, side) in ends {
            if silently {
                self.vanish(connection, side);
            } else {
                self.reset_and_leave(connection, side);
            }
        }
        self.hosts[host.0].power = if silently { Power::Off } else { Power::Idle };
    }

    fn ends_on(&self, host: HostId) -> impl Iterator<Item = (u64, Side)> {
        self.connections.iter().flat_map(move |(id, connection)| {
            let sides = [Side::Client, Side::Server].into_iter();
            sides.filter(move |side| connection.end(*side).host == host).map(|side| (*id, side))
        })
    }

    /// Breaks all connections between two hosts, with resets to both.
    pub(crate) fn reset_between(&mut self, a: HostId, b: HostId) {
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            let hosts = self.connections[&id].ends.each_ref().map(|end| end.host);
            if hosts == [a, b] || hosts == [b, a] {
                self.reset(id, Side::Client);
                self.reset(id, Side::Server);
            }
        }
    }
}
