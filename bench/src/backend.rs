//! The application behind the proxies: it answers every GET with the same 1 KiB and keeps the
//! connection.
//!
//! It has no thread of its own. Whoever owns the epoll instance calls [`Backend::on_ready`], so
//! that a proxy never pays for waking a sleeping backend on another core.

use rustix::event::epoll;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

/// The body of every answer, bytes.
pub const BODY_BYTES: usize = 1024;

/// Marks the tokens that belong to the backend; the rest of the number is the backend's own
/// business.
pub const TOKEN_BIT: u64 = 1 << 63;

const LISTENER_TOKEN: u64 = u64::MAX;
const REQUEST_BYTES_MAX: usize = 8 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// The bytes of the body every answer carries.
pub fn body() -> Vec<u8> {
    (0..BODY_BYTES).map(|position| b"weft "[position % 5]).collect()
}

/// A listener on a free port of 127.0.0.1 and the connections it has accepted.
pub struct Backend {
    listener: TcpListener,
    address: SocketAddr,
    answer: Vec<u8>,
    conversations: Vec<Option<Conversation>>,
}

struct Conversation {
    stream: TcpStream,
    unread: Box<[u8; REQUEST_BYTES_MAX]>,
    filled: usize,
}

impl Backend {
    /// Listens on a free port and registers with `epoll`.
    pub fn bind(epoll: &OwnedFd) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let token = epoll::EventData::new_u64(LISTENER_TOKEN);
        epoll::add(epoll, &listener, token, epoll::EventFlags::IN)?;
        let address = listener.local_addr()?;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        );
        let answer = [head.as_bytes(), &body()].concat();
        Ok(Self { listener, address, answer, conversations: Vec::new() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Handles one readiness event whose token has [`TOKEN_BIT`].
    ///
    /// A connection that misbehaves is closed: the client at the other end sees that as a failure,
    /// which spoils the run.
    pub fn on_ready(&mut self, epoll: &OwnedFd, token: u64) -> io::Result<()> {
        if token == LISTENER_TOKEN {
            return self.accept(epoll);
        }
        let index = usize::try_from(token & !TOKEN_BIT).expect("tokens are indexes");
        let Some(Some(conversation)) = self.conversations.get_mut(index) else {
            return Ok(()); // Closed earlier in the same batch of events.
        };
        match conversation.answer_all(&self.answer) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.conversations[index] = None, // Closing removes it from epoll.
        }
        Ok(())
    }

    fn accept(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let index = self.conversations.iter().position(Option::is_none).unwrap_or_else(|| {
                self.conversations.push(None);
                self.conversations.len() - 1
            });
            let token = epoll::EventData::new_u64(TOKEN_BIT | index as u64);
            epoll::add(epoll, &stream, token, epoll::EventFlags::IN)?;
            let unread = Box::new([0; REQUEST_BYTES_MAX]);
            self.conversations[index] = Some(Conversation { stream, unread, filled: 0 });
        }
    }
}

impl Conversation {
    /// Reads what is there and answers each complete request head.
    fn answer_all(&mut self, answer: &[u8]) -> io::Result<()> {
        let read = self.stream.read(&mut self.unread[self.filled..])?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into()); // Also when a head exceeds the buffer.
        }
        self.filled += read;
        while let Some(length) = head_bytes(&self.unread[..self.filled]) {
            if !self.unread.starts_with(b"GET ") {
                return Err(ErrorKind::InvalidData.into());
            }
            // An answer fits an empty socket buffer, and nobody here asks twice before reading.
            if self.stream.write(answer)? < answer.len() {
                return Err(ErrorKind::WriteZero.into());
            }
            self.unread.copy_within(length..self.filled, 0);
            self.filled -= length;
        }
        Ok(())
    }
}

/// The length of the message head at the start of `bytes`, its empty line included, once it is
/// complete.
pub fn head_bytes(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(HEAD_END.len())
        .position(|window| window == HEAD_END)
        .map(|at| at + HEAD_END.len())
}
