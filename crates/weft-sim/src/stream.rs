//! The traits of `weft-world` on the simulated network.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use weft_world::{Accepted, BoxFuture, Listener, ListenerOptions, Network, Stream};

use crate::connect::connect;
use crate::connection::{EndState, Side};
use crate::link::HostId;
use crate::network::Net;
use crate::trace::Happening;

/// How often a read or a write takes less than it could.
const SHORT_CHANCE: f64 = 0.125;

/// The network as one host sees it, or the application on it.
pub(crate) struct SimNetwork {
    pub(crate) net: Rc<RefCell<Net>>,
    pub(crate) host: HostId,
    /// What it opens is subject to the host's capture.
    pub(crate) application: bool,
}

impl Network for SimNetwork {
    fn listen(
        &self,
        address: SocketAddr,
        options: ListenerOptions,
    ) -> io::Result<Box<dyn Listener>> {
        let (address, id) = self.net.borrow_mut().listen(self.host, address, options)?;
        Ok(Box::new(SimListener { net: Rc::clone(&self.net), host: self.host, address, id }))
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let connecting = connect(Rc::clone(&self.net), self.host, address, self.application);
        Box::pin(async move { Ok(Box::new(connecting.await?) as Box<dyn Stream>) })
    }
}

/// A listener on the simulated network.
struct SimListener {
    net: Rc<RefCell<Net>>,
    host: HostId,
    address: SocketAddr,
    id: u64,
}

impl Listener for SimListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let mut net = self.net.borrow_mut();
        loop {
            let listening = net.listeners.get_mut(&(self.host, self.address));
            let Some(listening) = listening.filter(|listening| listening.id == self.id) else {
                return Poll::Ready(Err(io::ErrorKind::NetworkDown.into())); // The host has crashed.
            };
            let Some(id) = listening.queue.pop_front() else {
                listening.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let keeps_wanted = listening.options.redirected || listening.options.transparent;
            let Some(connection) = net.connections.get(&id) else { continue };
            let (client, server) = (connection.end(Side::Client), connection.end(Side::Server));
            if server.state != EndState::Open {
                net.leave(id, Side::Server); // It failed while it waited.
                continue;
            }
            let peer = client.address;
            let destination = if keeps_wanted { connection.wanted } else { server.address };
            net.record(self.host, Happening::Accepted { connection: id, destination });
            let stream = Box::new(SimStream::new(Rc::clone(&self.net), id, Side::Server));
            return Poll::Ready(Ok(Accepted { stream, peer, destination }));
        }
    }

    fn local_address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.net.borrow_mut().stop_listening(self.host, self.address, self.id);
    }
}

/// One end of a simulated connection.
pub(crate) struct SimStream {
    net: Rc<RefCell<Net>>,
    id: u64,
    side: Side,
    /// To drop it is to break the connection.
    is_broken_on_drop: bool,
}

impl SimStream {
    pub(crate) fn new(net: Rc<RefCell<Net>>, id: u64, side: Side) -> SimStream {
        SimStream { net, id, side, is_broken_on_drop: false }
    }
}

impl Stream for SimStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        debug_assert!(!buffer.is_empty(), "a read into nothing looks like the end");
        let mut net = self.net.borrow_mut();
        let Some(connection) = net.connections.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let readable = connection.pipe(self.side.other()).readable();
        if readable > 0 {
            let mut bytes = readable.min(buffer.len());
            if connection.random.chance(SHORT_CHANCE) {
                bytes = connection.random.size(1, bytes);
            }
            connection.pipe(self.side.other()).read(&mut buffer[..bytes]);
            net.transmit(self.id, self.side.other()); // The peer's window is open again.
            return Poll::Ready(Ok(bytes));
        }
        if let EndState::Failed(reason) = connection.end(self.side).state {
            return Poll::Ready(Err(reason.into()));
        }
        if connection.pipe(self.side.other()).fin_received {
            return Poll::Ready(Ok(0));
        }
        connection.end_mut(self.side).reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut net = self.net.borrow_mut();
        let limits = net.limits;
        let Some(connection) = net.connections.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if let EndState::Failed(reason) = connection.end(self.side).state {
            return Poll::Ready(Err(reason.into()));
        }
        if connection.pipe(self.side).ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let offered = buffers.iter().map(|buffer| buffer.len()).sum::<usize>();
        let mut left = offered.min(connection.pipe(self.side).room(&limits));
        if left == 0 && offered > 0 {
            connection.end_mut(self.side).writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if left > 0 && connection.random.chance(SHORT_CHANCE) {
            left = connection.random.size(1, left);
        }
        let taken = left;
        for buffer in buffers {
            let bytes = left.min(buffer.len());
            connection.pipe(self.side).write(&buffer[..bytes]);
            left -= bytes;
        }
        net.transmit(self.id, self.side);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let checked = self.check();
        if matches!(checked, Poll::Ready(Ok(()))) {
            let mut net = self.net.borrow_mut();
            if let Some(connection) = net.connections.get_mut(&self.id) {
                connection.pipe(self.side).ended = true;
            }
            net.transmit(self.id, self.side);
        }
        checked
    }

    fn unsent(&self) -> usize {
        let mut net = self.net.borrow_mut();
        let Some(connection) = net.connections.get_mut(&self.id) else { return 0 };
        match connection.end(self.side).state {
            EndState::Open => connection.pipe(self.side).outstanding(),
            EndState::Failed(_) | EndState::Left => 0,
        }
    }

    fn break_on_drop(&mut self) {
        self.is_broken_on_drop = true;
    }
}

impl SimStream {
    /// The system holds all that was written, or the connection has failed.
    fn check(&self) -> Poll<io::Result<()>> {
        let net = self.net.borrow();
        let end = net.connections.get(&self.id).map(|connection| connection.end(self.side).state);
        Poll::Ready(match end {
            Some(EndState::Open) => Ok(()),
            Some(EndState::Failed(reason)) => Err(reason.into()),
            Some(EndState::Left) | None => Err(io::ErrorKind::ConnectionReset.into()),
        })
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let mut net = self.net.borrow_mut();
        if self.is_broken_on_drop {
            return net.reset_and_leave(self.id, self.side);
        }
        net.leave(self.id, self.side);
    }
}
