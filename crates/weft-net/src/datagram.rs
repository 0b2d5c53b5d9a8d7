//! UDP by the operating system, for DNS.

#![expect(clippy::disallowed_types, reason = "this is where sockets are made")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// A UDP socket.
pub struct Datagrams {
    socket: UdpSocket,
    local: SocketAddr,
}

impl Datagrams {
    /// A socket at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// As `bind(2)`.
    pub fn bind(address: SocketAddr) -> io::Result<Datagrams> {
        let kind = Type::DGRAM.nonblocking();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
        socket.bind(&address.into())?;
        Datagrams::adopt(socket.into())
    }

    /// A socket at a free port that talks to `peer` alone: what others send does not arrive, and
    /// that nobody listens there is an error of the next call.
    ///
    /// # Errors
    /// As `bind(2)` and `connect(2)`.
    pub fn towards(peer: SocketAddr) -> io::Result<Datagrams> {
        let kind = Type::DGRAM.nonblocking();
        let socket = Socket::new(Domain::for_address(peer), kind, Some(Protocol::UDP))?;
        socket.connect(&peer.into())?;
        Datagrams::adopt(socket.into())
    }

    /// A socket that exists and does not block.
    pub(crate) fn adopt(socket: OwnedFd) -> io::Result<Datagrams> {
        let socket = UdpSocket::from_std(socket.into())?;
        let local = socket.local_addr()?;
        Ok(Datagrams { socket, local })
    }

    /// The address it is at.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The next datagram: its length, and who sent it. What does not fit into `buffer` is lost.
    ///
    /// # Errors
    /// As `recv(2)`.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buffer).await
    }

    /// Sends a datagram to `to`.
    ///
    /// # Errors
    /// As `sendto(2)`.
    pub async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(datagram, to).await.map(|_| ())
    }

    /// Sends a datagram to the peer of a socket made by [`Datagrams::towards`].
    ///
    /// # Errors
    /// As `send(2)`.
    pub async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram).await.map(|_| ())
    }
}
