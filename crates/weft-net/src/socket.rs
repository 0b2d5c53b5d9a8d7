//! TCP by the operating system.

#![expect(clippy::disallowed_types, reason = "this is where sockets are made")]

use std::any::Any;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use weft_world::{Accepted, BoxFuture, Listener, ListenerOptions, Network, Splicer, Stream};

use crate::splice::PipeSplicer;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A peer that is gone without a word is noticed after a minute without traffic at the latest:
/// 15 s of silence, then three probes 15 s apart.
fn keepalive() -> TcpKeepalive {
    let interval = Duration::from_secs(15);
    TcpKeepalive::new().with_time(interval).with_interval(interval).with_retries(3)
}

/// Sockets of the network namespace that the calling thread is in.
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn listen(
        &self,
        address: SocketAddr,
        options: ListenerOptions,
    ) -> io::Result<Box<dyn Listener>> {
        let socket = listening(address, options.transparent)?;
        Ok(Box::new(SystemListener::adopt(socket.into(), options)?))
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            dial(socket, address).await
        })
    }

    fn splicer(&self) -> Option<Box<dyn Splicer>> {
        // Without a pipe, bytes are copied, which is slower and nothing else.
        PipeSplicer::new().ok().map(|splicer| Box::new(splicer) as Box<dyn Splicer>)
    }
}

/// A socket that listens at `address` and does not block.
pub(crate) fn listening(address: SocketAddr, transparent: bool) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    listen_on(&socket, address, transparent)?;
    Ok(socket)
}

/// Lets `socket` listen at `address`.
pub(crate) fn listen_on(socket: &Socket, address: SocketAddr, transparent: bool) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    if transparent {
        match address {
            SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)
}

/// Connects `socket` to `address`.
pub(crate) async fn dial(socket: TcpSocket, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_keepalive(&keepalive())?;
    let stream = socket.connect(address).await?;
    Ok(Box::new(SystemStream { stream }))
}

pub(crate) struct SystemListener {
    listener: TcpListener,
    local: SocketAddr,
    options: ListenerOptions,
    only_redirected: bool,
}

impl Listener for SystemListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        loop {
            let (stream, peer) = match ready!(self.listener.poll_accept(cx)) {
                Ok(accepted) => accepted,
                Err(error) if concerns_connection(&error) => continue,
                Err(error) => return Poll::Ready(Err(error)),
            };
            let has_options = stream
                .set_nodelay(true)
                .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive()));
            if has_options.is_err() {
                continue; // It is broken already.
            }
            let destination = self.destination(&stream);
            if self.only_redirected && destination == self.local {
                continue; // It was meant for the listener itself, which is no destination.
            }
            let stream = Box::new(SystemStream { stream });
            return Poll::Ready(Ok(Accepted { stream, peer, destination }));
        }
    }

    fn local_address(&self) -> SocketAddr {
        self.local
    }
}

impl SystemListener {
    /// A listener out of a socket that listens and does not block.
    pub(crate) fn adopt(socket: OwnedFd, options: ListenerOptions) -> io::Result<SystemListener> {
        let listener = TcpListener::from_std(socket.into())?;
        let local = listener.local_addr()?;
        Ok(SystemListener { listener, local, options, only_redirected: false })
    }

    /// Closes connections that were not redirected to it. A proxy that took one for a captured
    /// connection would call itself, or a program of the host's on the same port.
    pub(crate) fn only_redirected(self) -> SystemListener {
        SystemListener { only_redirected: true, ..self }
    }

    fn destination(&self, stream: &TcpStream) -> SocketAddr {
        let local = stream.local_addr().unwrap_or(self.local);
        if !self.options.redirected {
            return local;
        }
        let socket = SockRef::from(stream);
        let original = match local {
            SocketAddr::V4(_) => socket.original_dst_v4(),
            SocketAddr::V6(_) => socket.original_dst_v6(),
        };
        original.ok().and_then(|address| address.as_socket()).unwrap_or(local)
    }
}

/// Whether `error` is about the connection that was to be accepted, not about the listener.
///
/// Source: accept(2), "Error handling".
fn concerns_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
    )
}

pub(crate) struct SystemStream {
    pub(crate) stream: TcpStream,
}

impl Stream for SystemStream {
    fn as_any(&mut self) -> Option<&mut dyn Any> {
        Some(self)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match buffers {
            [one] => Pin::new(&mut self.stream).poll_write(cx, one),
            several => Pin::new(&mut self.stream).poll_write_vectored(cx, several),
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // Nothing is held back.
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            // The peer was faster.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }

    fn unsent(&self) -> usize {
        // Of a connection that is over, the system still tells how it was.
        if self.stream.peer_addr().is_err() { 0 } else { unacknowledged(&self.stream) }
    }

    fn break_on_drop(&mut self) {
        // Where it cannot be set, the connection is broken already.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// How many bytes were written to `socket` that its peer has not acknowledged.
///
/// Source: tcp(7), `SIOCOUTQ`, which is `TIOCOUTQ`.
#[expect(unsafe_code, reason = "no safe interface has this request")]
fn unacknowledged(socket: &TcpStream) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: the request writes one integer to where it is told.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result == 0 { usize::try_from(count).unwrap_or(0) } else { 0 }
}
