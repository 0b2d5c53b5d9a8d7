//! How a connection comes about: first packet, answer, and what if one of them is lost.
//!
//! Deliberately absent: ICMP. A host that is off, cut off or not there does not answer.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::connection::{Connection, End, Side};
use crate::entropy::Random;
use crate::link::HostId;
use crate::network::{Net, Power, Route};
use crate::pipe::{Pipe, Segment};
use crate::stream::SimStream;
use crate::trace::Happening;

/// What came of one first packet.
enum Answer {
    /// The connection stands.
    Open(u64),
    /// Nobody listens there.
    Refused,
    /// None: a packet was lost somewhere.
    None,
}

/// Opens a connection from `host` to `wanted`.
pub(crate) async fn connect(
    net: Rc<RefCell<Net>>,
    host: HostId,
    wanted: SocketAddr,
    application: bool,
) -> io::Result<SimStream> {
    let (route, attempt, options, timeline) = {
        let mut net = net.borrow_mut();
        let route = net.route(host, wanted, application)?;
        let attempt = net.new_id();
        net.record(host, Happening::Connecting { attempt, from: route.from, to: wanted });
        (route, attempt, net.options.clone(), Rc::clone(&net.timeline))
    };
    let end = timeline.now() + options.connect_timeout;
    let mut wait = options.connect_retry;
    loop {
        let retry_at = (timeline.now() + wait).min(end);
        match ask(&net, host, &route).await {
            Answer::Open(connection) => {
                net.borrow().record(host, Happening::Connected { attempt, connection });
                return Ok(SimStream::new(net, connection, Side::Client));
            }
            Answer::Refused => {
                net.borrow().record(host, Happening::Refused { attempt });
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Answer::None => {}
        }
        timeline.timer(retry_at).await;
        if timeline.now() >= end {
            net.borrow().record(host, Happening::ConnectTimedOut { attempt });
            return Err(io::ErrorKind::TimedOut.into());
        }
        wait *= 2;
    }
}

/// Sends one first packet and waits for its answer.
async fn ask(net: &RefCell<Net>, host: HostId, route: &Route) -> Answer {
    let Some(target) = route.target else { return Answer::None };
    if !pass(net, host, target).await {
        return Answer::None;
    }
    let listener = {
        let net = net.borrow();
        let power = net.hosts[target.0].power;
        net.listener_for(host, target, route).filter(|_| power == Power::On)
    };
    if !pass(net, target, host).await {
        return Answer::None;
    }
    match listener {
        None => Answer::Refused,
        Some((listener, at)) => {
            Answer::Open(net.borrow_mut().open(host, target, route, listener, at))
        }
    }
}

/// Waits for a packet to get from one host to the other; false if it does not arrive.
async fn pass(net: &RefCell<Net>, from: HostId, to: HostId) -> bool {
    let packet = {
        let mut net = net.borrow_mut();
        if !net.can_pass(from, to) {
            return false;
        }
        net.links.packet(from, to).map(|latency| net.timeline.sleep(latency))
    };
    let Some(packet) = packet else { return false };
    packet.await;
    net.borrow().can_pass(from, to)
}

impl Net {
    /// Makes the connection, whose listener will hear of it by the next packet.
    fn open(
        &mut self,
        host: HostId,
        target: HostId,
        route: &Route,
        listener: SocketAddr,
        at: SocketAddr,
    ) -> u64 {
        let id = self.new_id();
        let connection = Connection {
            ends: [End::new(host, route.from), End::new(target, at)],
            pipes: [Pipe::default(), Pipe::default()],
            wanted: route.wanted,
            listener,
            random: Random::derive(self.seed, &format!("connection {id}")),
        };
        self.connections.insert(id, connection);
        self.send(id, Side::Client, Segment::Established);
        self.start_probes(id);
        id
    }
}
