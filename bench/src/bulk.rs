//! The raw TCP load: one connection, a gigabyte one way, checked byte for byte at the other end.

use crate::clock;
use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventFlags};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Which way the bytes go, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the backend to the client.
    Download,
    /// From the client to the backend.
    Upload,
}

const CHUNK_BYTES: usize = 256 * 1024;
const ESTABLISH_PATIENCE: Duration = Duration::from_secs(2);
const STALL_PATIENCE: Duration = Duration::from_secs(10);

/// Both ends of the transfers, driven by one thread without sleeping.
pub struct Bulk {
    listener: TcpListener,
    pattern: Vec<u8>,
    received: Vec<u8>,
    transfers: u64,
}

impl Bulk {
    /// Listens on a free port of 127.0.0.1.
    pub fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let pattern = noise(CHUNK_BYTES);
        Ok(Self { listener, pattern, received: vec![0; CHUNK_BYTES], transfers: 0 })
    }

    /// Where the backend end listens.
    pub fn backend(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Moves `bytes` through a new connection to `entry` and returns how long it took, nanoseconds.
    pub fn transfer(&mut self, entry: SocketAddr, direction: Direction, bytes: u64) -> Result<u64> {
        let (client, backend) = self.establish(entry)?;
        let (mut from, mut to) = match direction {
            Direction::Download => (backend, client),
            Direction::Upload => (client, backend),
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &from, epoll::EventData::new_u64(0), EventFlags::OUT)?;
        epoll::add(&epoll, &to, epoll::EventData::new_u64(1), EventFlags::IN)?;

        let start_ns = clock::now_ns();
        let mut progress_ns = start_ns;
        let (mut sent, mut got) = (0_u64, 0_u64);
        let mut events: Vec<epoll::Event> = Vec::with_capacity(2);
        while got < bytes {
            events.clear();
            epoll::wait(&epoll, spare_capacity(&mut events), Some(&clock::timespec(0)))?;
            if events.is_empty() && clock::now_ns() - progress_ns > clock::to_ns(STALL_PATIENCE) {
                bail!("the transfer stalled after {got} of {bytes} bytes");
            }
            for event in &events {
                progress_ns = clock::now_ns();
                if event.data.u64() == 1 {
                    got += receive(&mut to, &mut self.received, &self.pattern, got)?;
                } else if sent < bytes {
                    sent += send(&mut from, &self.pattern, sent, bytes)?;
                } else {
                    epoll::delete(&epoll, &from)?;
                }
            }
        }
        Ok(clock::now_ns() - start_ns)
    }

    /// Connects to `entry` and finds the connection that arrives at the backend for it.
    ///
    /// Checking whether a proxy is up leaves connections behind, so the right one is known by the
    /// number it sends.
    fn establish(&mut self, entry: SocketAddr) -> Result<(TcpStream, TcpStream)> {
        self.transfers += 1;
        let number = self.transfers.to_be_bytes();
        let mut client = TcpStream::connect_timeout(&entry, ESTABLISH_PATIENCE)?;
        client.set_nodelay(true)?;
        client.write_all(&number)?;
        let deadline = clock::now_ns() + clock::to_ns(ESTABLISH_PATIENCE);
        while clock::now_ns() < deadline {
            let mut backend = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("the backend cannot accept"),
            };
            backend.set_nonblocking(false)?;
            backend.set_read_timeout(Some(ESTABLISH_PATIENCE))?;
            let mut said = [0; 8];
            if backend.read_exact(&mut said).is_ok() && said == number {
                backend.set_nodelay(true)?;
                backend.set_nonblocking(true)?;
                client.set_nonblocking(true)?;
                return Ok((client, backend));
            }
        }
        bail!("no connection came through {entry} within {ESTABLISH_PATIENCE:?}")
    }
}

/// Sends the next piece of the pattern at position `sent` and returns how many bytes were taken.
fn send(stream: &mut TcpStream, pattern: &[u8], sent: u64, bytes: u64) -> Result<u64> {
    let offset = offset(sent, pattern.len());
    let left = usize::try_from(bytes - sent).unwrap_or(usize::MAX);
    let piece = &pattern[offset..];
    match stream.write(&piece[..piece.len().min(left)]) {
        Ok(written) => Ok(written as u64),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error).with_context(|| format!("sending after {sent} bytes")),
    }
}

/// Receives what is there, which must be the pattern from position `got`, and returns its length.
fn receive(stream: &mut TcpStream, buffer: &mut [u8], pattern: &[u8], got: u64) -> Result<u64> {
    let read = match stream.read(buffer) {
        Ok(0) => bail!("the connection was closed after {got} bytes"),
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
        Err(error) => return Err(error).with_context(|| format!("receiving after {got} bytes")),
    };
    let offset = offset(got, pattern.len());
    let until_wrap = read.min(pattern.len() - offset);
    let (first, second) = buffer[..read].split_at(until_wrap);
    if first != &pattern[offset..offset + until_wrap] || second != &pattern[..second.len()] {
        bail!("other bytes than were sent, after {got}");
    }
    Ok(read as u64)
}

fn offset(position: u64, period: usize) -> usize {
    usize::try_from(position % period as u64).expect("less than the period")
}

/// Bytes that no two places look alike in (xorshift, fixed seed).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..bytes.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(bytes).collect()
}

#[cfg(test)]
mod tests;
