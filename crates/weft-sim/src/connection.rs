//! What flows in a connection: segments, their arrival, ends, resets, giving up.
//!
//! A stream that is dropped does what the system does on `close(2)`: unread bytes mean a reset,
//! else what was written is still sent and the direction ends; whatever arrives later is answered
//! with a reset. A stream that is to be broken when it is dropped sends the reset at once, as the
//! system does with `SO_LINGER` of zero.
//!
//! Deliberately absent: keepalive, which is in `keepalive.rs`.

use std::io;
use std::net::SocketAddr;
use std::task::Waker;

use crate::clock::Event;
use crate::entropy::Random;
use crate::link::HostId;
use crate::network::{Delivery, Net};
use crate::pipe::{Pipe, Segment};
use crate::trace::{Fnv, Happening};

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Who connected.
    Client,
    /// Who accepted.
    Server,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    fn index(self) -> usize {
        match self {
            Side::Client => 0,
            Side::Server => 1,
        }
    }
}

/// What an end has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndState {
    Open,
    /// Broken, for the reason that its owner is told.
    Failed(io::ErrorKind),
    /// Nobody holds it any more.
    Left,
}

#[derive(Debug)]
pub(crate) struct End {
    pub(crate) host: HostId,
    pub(crate) address: SocketAddr,
    pub(crate) state: EndState,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

impl End {
    pub(crate) fn new(host: HostId, address: SocketAddr) -> End {
        End { host, address, state: EndState::Open, reader: None, writer: None }
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    /// Client and server.
    pub(crate) ends: [End; 2],
    /// What the client sends, and what the server does.
    pub(crate) pipes: [Pipe; 2],
    /// Where the client wanted to go.
    pub(crate) wanted: SocketAddr,
    /// Where the server listened.
    pub(crate) listener: SocketAddr,
    /// Draws the sizes of segments, reads and writes.
    pub(crate) random: Random,
}

impl Connection {
    pub(crate) fn end(&self, side: Side) -> &End {
        &self.ends[side.index()]
    }

    pub(crate) fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side.index()]
    }

    /// What `side` sends.
    pub(crate) fn pipe(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side.index()]
    }
}

impl Net {
    /// Sends what can be sent of what `side` has written.
    pub(crate) fn transmit(&mut self, id: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (from, to) = (connection.end(side).host, connection.end(side.other()).host);
        let Connection { pipes, random, .. } = connection;
        let pipe = &mut pipes[side.index()];
        while let Some(segment) = pipe.cut(&self.limits, random) {
            let latency = self.links.reliable_packet(from, to, self.options.retransmit_first);
            pipe.send(segment, self.timeline.now() + latency);
        }
        self.schedule_arrival(id, side);
    }

    /// Sends one segment behind all that is on its way.
    pub(crate) fn send(&mut self, id: u64, side: Side, segment: Segment) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (from, to) = (connection.end(side).host, connection.end(side.other()).host);
        let latency = self.links.reliable_packet(from, to, self.options.retransmit_first);
        connection.pipe(side).send(segment, self.timeline.now() + latency);
        self.schedule_arrival(id, side);
    }

    fn schedule_arrival(&mut self, id: u64, from: Side) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = connection.pipe(from);
        if !pipe.scheduled
            && let Some(due) = pipe.next_due()
        {
            pipe.scheduled = true;
            self.timeline.schedule(due, Event::Deliver(Delivery { connection: id, from }));
        }
    }

    /// The first segment that `from` has on its way arrives, or is found lost.
    pub(crate) fn deliver(&mut self, Delivery { connection: id, from }: Delivery) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.pipe(from).scheduled = false;
        if connection.pipe(from).next_due().is_none_or(|due| due > self.timeline.now()) {
            self.schedule_arrival(id, from); // What was to arrive now has been discarded.
            return self.remove_if_done(id);
        }
        let hosts = (connection.end(from).host, connection.end(from.other()).host);
        let established = connection.pipe(from).is_first_established();
        if !self.can_pass(hosts.0, hosts.1) || established && self.backlog_is_full(id) {
            self.stall(id, from);
        } else {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            connection.pipe(from).stalled = None;
            if let Some(segment) = connection.pipe(from).arrive() {
                self.arrived(id, from, segment);
            }
            self.schedule_arrival(id, from);
        }
        self.remove_if_done(id);
    }

    /// The segment did not pass: it is tried again later, up to a limit.
    fn stall(&mut self, id: u64, from: Side) {
        let now = self.timeline.now();
        let (first, most) = (self.options.retransmit_first, self.options.retransmit_max);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = connection.pipe(from);
        let (since, wait) = pipe.stalled.unwrap_or((now, first));
        if now.saturating_sub(since) < self.options.give_up_after {
            pipe.stalled = Some((since, (wait * 2).min(most)));
            pipe.scheduled = true;
            let delivery = Delivery { connection: id, from };
            self.timeline.schedule(now + wait, Event::Deliver(delivery));
            return;
        }
        pipe.discard(true);
        let host = connection.end(from).host;
        self.fail(id, from, io::ErrorKind::TimedOut);
        self.record(host, Happening::GaveUp { connection: id });
    }

    /// A segment from `from` arrives at the other end.
    fn arrived(&mut self, id: u64, from: Side, segment: Segment) {
        let to = from.other();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let host = connection.end(to).host;
        match (connection.end(to).state, segment) {
            (EndState::Left | EndState::Failed(_), Segment::Reset) => {}
            // The system has forgotten the connection, or the owner will never read it.
            (EndState::Left, Segment::Fin) if connection.pipe(to).ended => {}
            (EndState::Left | EndState::Failed(_), _) => self.reset(id, to),
            (EndState::Open, Segment::Established) => self.established(id),
            (EndState::Open, Segment::Data(bytes)) => {
                connection.pipe(from).receive(&bytes);
                let readers = connection.end_mut(to).reader.take();
                let writers = connection.end_mut(from).writer.take(); // There is room again.
                readers.into_iter().chain(writers).for_each(Waker::wake);
                let (hash, bytes) = (Fnv::of(&bytes), bytes.len());
                self.record(host, Happening::Segment { connection: id, bytes, hash });
            }
            (EndState::Open, Segment::Fin) => {
                connection.pipe(from).fin_received = true;
                connection.end_mut(to).wake();
                self.record(host, Happening::Fin { connection: id });
            }
            (EndState::Open, Segment::Reset) => {
                connection.pipe(to).discard(true);
                self.fail(id, to, io::ErrorKind::ConnectionReset);
                self.record(host, Happening::Reset { connection: id });
            }
        }
    }

    /// The handshake is complete: the listener gets the connection, if there still is one.
    fn established(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        let place = (connection.end(Side::Server).host, connection.listener);
        if let Some(listening) = self.listeners.get_mut(&place) {
            listening.queue.push_back(id);
            if let Some(waker) = listening.waker.take() {
                waker.wake();
            }
        } else {
            self.reset_and_leave(id, Side::Server);
        }
    }

    fn backlog_is_full(&self, id: u64) -> bool {
        self.connections.get(&id).is_some_and(|connection| {
            let place = (connection.end(Side::Server).host, connection.listener);
            let listening = self.listeners.get(&place);
            listening.is_some_and(|waiting| waiting.queue.len() >= self.options.backlog_max)
        })
    }

    pub(crate) fn fail(&mut self, id: u64, side: Side, reason: io::ErrorKind) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let end = connection.end_mut(side);
        if end.state == EndState::Open {
            end.state = EndState::Failed(reason);
        }
        end.wake();
    }

    /// `side` breaks the connection: the peer gets a reset behind what is on its way.
    pub(crate) fn reset(&mut self, id: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.pipe(side).discard(false);
        self.send(id, side, Segment::Reset);
        self.fail(id, side, io::ErrorKind::ConnectionReset);
    }

    /// As [`Net::reset`], and nobody holds this end any more.
    pub(crate) fn reset_and_leave(&mut self, id: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let before = std::mem::replace(&mut connection.end_mut(side).state, EndState::Left);
        if before == EndState::Open {
            self.reset(id, side);
        }
        self.remove_if_done(id);
    }

    /// The owner of this end has dropped it.
    pub(crate) fn leave(&mut self, id: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.pipe(side.other()).readable() > 0 {
            return self.reset_and_leave(id, side);
        }
        let before = std::mem::replace(&mut connection.end_mut(side).state, EndState::Left);
        if before == EndState::Open {
            connection.pipe(side).ended = true;
            self.transmit(id, side);
        }
        self.remove_if_done(id);
    }

    /// This end is gone, and nobody is told.
    pub(crate) fn vanish(&mut self, id: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.end_mut(side).state = EndState::Left;
        connection.pipe(side).discard(true);
        self.remove_if_done(id);
    }

    fn remove_if_done(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        let left = connection.ends.iter().all(|end| end.state == EndState::Left);
        if left && connection.pipes.iter().all(Pipe::is_idle) {
            self.connections.remove(&id);
        }
    }
}
