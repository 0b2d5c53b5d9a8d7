//! The network that a confined command is in, for the proxy outside of it.

#![expect(clippy::disallowed_types, reason = "this is where sockets are made")]

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use weft_world::{BoxFuture, Listener, ListenerOptions, Network, Splicer, Stream};

use super::wire::{Channel, FILES_MAX};
use crate::socket::{SystemListener, SystemNetwork, dial, listen_on};

/// How many sockets the keeper makes at once, so that not every connection asks it.
const BATCH: u8 = 8;

const _: () = assert!(BATCH as usize <= FILES_MAX);

/// How long [`Network::listen`], which blocks, waits for the keeper.
const LISTEN_PATIENCE: Duration = Duration::from_secs(5);

const IPV4: u8 = 4;
const IPV6: u8 = 6;

/// The network namespace of a confined command. Its sockets are made by the keeper there.
pub struct InsideNetwork {
    shared: Rc<Shared>,
}

struct Shared {
    channel: AsyncFd<Channel>,
    stock: RefCell<Stock>,
    /// Told when something was received: what one has taken out of the channel before the runtime
    /// looks at it, the runtime tells nobody of.
    received: Notify,
}

/// Sockets that belong to the namespace and are not used yet.
#[derive(Default)]
struct Stock {
    ipv4: Family,
    ipv6: Family,
}

#[derive(Default)]
struct Family {
    sockets: Vec<OwnedFd>,
    /// Some were asked for and have not come.
    ordered: bool,
}

impl Stock {
    fn family(&mut self, version: u8) -> &mut Family {
        if version == IPV4 { &mut self.ipv4 } else { &mut self.ipv6 }
    }
}

impl InsideNetwork {
    pub(super) fn new(channel: Channel) -> io::Result<InsideNetwork> {
        let channel = channel.into_async()?;
        let (stock, received) = Default::default();
        Ok(InsideNetwork { shared: Rc::new(Shared { channel, stock, received }) })
    }
}

impl Shared {
    /// A socket out of the stock, which is filled up in time.
    fn take(&self, version: u8) -> io::Result<Option<OwnedFd>> {
        let mut stock = self.stock.borrow_mut();
        let family = stock.family(version);
        let socket = family.sockets.pop();
        if family.sockets.len() < usize::from(BATCH) / 2 && !family.ordered {
            match self.channel.get_ref().send(&[version, BATCH], &[]) {
                Ok(()) => family.ordered = true,
                Err(_) if socket.is_some() => {} // Whoever finds none will be told.
                Err(error) => return Err(error),
            }
        }
        Ok(socket)
    }

    /// Puts what has come into the stock.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing has; the keeper's, if it could make no socket.
    fn receive(&self) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the command's network is gone");
        let received = match self.channel.get_ref().receive() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            other => other,
        };
        self.received.notify_waiters();
        if received.is_err() {
            // Whatever came is lost, and must be asked for again.
            let mut stock = self.stock.borrow_mut();
            for version in [IPV4, IPV6] {
                stock.family(version).ordered = false;
            }
        }
        let (message, files) = received?.ok_or_else(gone)?;
        let [version, error @ ..] = &message[..] else { return Err(gone()) };
        let mut stock = self.stock.borrow_mut();
        let family = stock.family(*version);
        family.ordered = false;
        if files.is_empty() {
            let error = error.first_chunk().map_or(libc::EIO, |bytes| i32::from_ne_bytes(*bytes));
            return Err(io::Error::from_raw_os_error(error));
        }
        family.sockets.extend(files);
        Ok(())
    }

    async fn socket(&self, version: u8) -> io::Result<OwnedFd> {
        loop {
            let received = self.received.notified();
            if let Some(socket) = self.take(version)? {
                return Ok(socket);
            }
            tokio::select! {
                // The stock is looked at again.
                () = received => {}
                ready = self.channel.readable() => {
                    // Another may have been faster.
                    if let Ok(received) = ready?.try_io(|_| self.receive()) {
                        received?;
                    }
                }
            }
        }
    }

    fn socket_now(&self, version: u8) -> io::Result<OwnedFd> {
        loop {
            if let Some(socket) = self.take(version)? {
                return Ok(socket);
            }
            let mut files = [PollFd::new(self.channel.get_ref(), PollFlags::IN)];
            let patience = Timespec::try_from(LISTEN_PATIENCE).expect("it is a few seconds");
            if poll(&mut files, Some(&patience))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => other?,
            }
        }
    }
}

fn version(address: SocketAddr) -> u8 {
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

impl Network for InsideNetwork {
    fn listen(
        &self,
        address: SocketAddr,
        options: ListenerOptions,
    ) -> io::Result<Box<dyn Listener>> {
        let socket = Socket::from(self.shared.socket_now(version(address))?);
        listen_on(&socket, address, options.transparent)?;
        Ok(Box::new(SystemListener::adopt(socket.into(), options)?))
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let socket = shared.socket(version(address)).await?;
            dial(TcpSocket::from_std_stream(socket.into()), address).await
        })
    }

    fn splicer(&self) -> Option<Box<dyn Splicer>> {
        SystemNetwork.splicer()
    }
}

/// The keeper's side: answers one request for sockets. False once nobody will ask any more.
pub fn serve(channel: &Channel) -> bool {
    let Ok(Some((message, _))) = channel.receive() else { return false };
    let [version, count] = message[..] else { return false };
    let domain = if version == IPV4 { Domain::IPV4 } else { Domain::IPV6 };
    let mut made: Vec<OwnedFd> = Vec::new();
    let mut failure = 0;
    for _ in 0..count.min(BATCH) {
        match Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP)) {
            Ok(socket) => made.push(socket.into()),
            Err(error) => {
                failure = error.raw_os_error().unwrap_or(libc::EIO);
                break;
            }
        }
    }
    let lent: Vec<_> = made.iter().map(AsFd::as_fd).collect();
    let answer = |error: i32| [&[version], &error.to_ne_bytes()[..]].concat();
    match channel.send(&answer(failure), &lent) {
        Ok(()) => true,
        // Too many files on their way, or no memory: whoever asked can ask again.
        Err(error) => {
            let error = error.raw_os_error().unwrap_or(libc::EIO);
            channel.send(&answer(error), &[]).is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One takes all that has come for two before the runtime has seen that something has: it sees
    /// nothing then, and has nobody to tell.
    #[test]
    fn whoever_waits_is_told_of_what_others_have_received() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let (own, keeper) = Channel::pair().unwrap();
            let inside = InsideNetwork::new(own).unwrap();
            let shared = Rc::clone(&inside.shared);
            let waiting = tokio::task::spawn_local(async move { shared.socket(IPV4).await });
            tokio::task::yield_now().await;
            assert!(serve(&keeper));
            inside.shared.socket_now(IPV4).unwrap();
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(waiting.is_finished(), "it waits on, and there are sockets");
            waiting.await.unwrap().unwrap();
        });
    }
}
