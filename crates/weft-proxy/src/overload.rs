//! Whether a proxy is short of memory, and what it still takes then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use weft_world::Buffer;

use crate::h2::Room;

/// How short of memory a proxy is; the worse after the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// All is taken.
    #[default]
    None,
    /// New requests and tunnels are refused, so that those under way have room.
    High,
    /// New connections are taken a few at a time only, to be told so: the others wait in the
    /// system's queue. What is under way may never end.
    Critical,
}

impl Pressure {
    /// That of a proxy that uses `used` of `limit` bytes: high from 75 %, critical from 85 %, so
    /// that what is under way may still grow somewhat before the limit is reached.
    pub fn of(used: u64, limit: u64) -> Pressure {
        let percent = u128::from(used) * 100 / u128::from(limit.max(1));
        match percent {
            0..75 => Pressure::None,
            75..85 => Pressure::High,
            _ => Pressure::Critical,
        }
    }
}

/// How many connections may be there at a time that were taken while memory was critically short,
/// so that callers are told why they are refused; and how many there may be in any case.
pub(crate) const CONNECTIONS_MIN: usize = 16;

/// What a connection takes while nothing is under way on it, with some to spare: its task and its
/// sockets.
const CONNECTION_BYTES: u64 = 48 * 1024;

/// What an exchange or a stream that is under way takes beside: a buffer in each direction, and
/// what the system keeps for it.
const BUSY_BYTES: u64 = 128 * 1024;

/// How many copies of requests a worker has under way at most.
const COPIES_MAX: usize = 1024;

/// For how much memory one stream may have a wide window: those windows take an eighth of it.
const WIDE_STREAM_BYTES: u64 = 8 * 128 * 1024;

/// The pressure of a proxy, told by who measures it and heeded by all workers.
#[derive(Clone, Debug, Default)]
pub struct Overload(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pressure: AtomicU8,
    /// How much memory there is, in bytes; 0 if nobody limits it.
    limit: AtomicU64,
}

impl Overload {
    /// The process may use this much memory, in bytes.
    pub fn set_limit(&self, bytes: u64) {
        self.0.limit.store(bytes, Ordering::Relaxed);
    }

    /// How many connections are taken at most; further ones wait in the system's queue.
    pub(crate) fn connections_max(&self) -> usize {
        match self.0.limit.load(Ordering::Relaxed) {
            0 => usize::MAX,
            limit => {
                usize::try_from(limit / CONNECTION_BYTES).unwrap_or(usize::MAX).max(CONNECTIONS_MIN)
            }
        }
    }

    /// How many streams of tunnels may have a wide window.
    pub(crate) fn wide_streams_max(&self) -> usize {
        match self.0.limit.load(Ordering::Relaxed) {
            0 => usize::MAX,
            limit => usize::try_from(limit / WIDE_STREAM_BYTES).unwrap_or(usize::MAX),
        }
    }

    /// How many copies of requests a worker may have under way: an eighth of what it takes of work,
    /// so that they do not keep out requests.
    pub(crate) fn copies_max(&self) -> usize {
        match self.0.limit.load(Ordering::Relaxed) {
            0 => COPIES_MAX,
            limit => usize::try_from(limit / BUSY_BYTES / 8).unwrap_or(COPIES_MAX).min(COPIES_MAX),
        }
    }

    /// How much a connection of HTTP/2 may hold.
    pub(crate) fn room(&self) -> Room {
        match self.0.limit.load(Ordering::Relaxed) {
            0 => Room::WIDE,
            _ => Room::NARROW,
        }
    }

    /// What the buffers of this worker say, which is known sooner than what the system says: they
    /// alone may take a third of what all may.
    fn of_buffers(&self) -> Pressure {
        match self.0.limit.load(Ordering::Relaxed) {
            0 => Pressure::None,
            limit => Pressure::of(Buffer::lent_bytes() as u64 * 3, limit),
        }
    }

    /// From now on, the pressure is this.
    pub fn set(&self, pressure: Pressure) {
        self.0.pressure.store(pressure as u8, Ordering::Relaxed);
    }

    /// The pressure now, on a worker that has `busy` exchanges and streams under way.
    pub(crate) fn pressure(&self, busy: usize) -> Pressure {
        let told = match self.0.pressure.load(Ordering::Relaxed) {
            0 => Pressure::None,
            1 => Pressure::High,
            _ => Pressure::Critical,
        };
        let limit = self.0.limit.load(Ordering::Relaxed);
        let is_busy = limit > 0 && busy as u64 >= limit / BUSY_BYTES;
        let of_work = if is_busy { Pressure::High } else { Pressure::None };
        told.max(of_work).max(self.of_buffers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_grows_with_use() {
        assert_eq!(Pressure::of(0, 0), Pressure::None);
        assert_eq!(Pressure::of(74, 100), Pressure::None);
        assert_eq!(Pressure::of(75, 100), Pressure::High);
        assert_eq!(Pressure::of(85, 100), Pressure::Critical);
        assert_eq!(Pressure::of(u64::MAX, 100), Pressure::Critical);
        let overload = Overload::default();
        for pressure in [Pressure::Critical, Pressure::High, Pressure::None] {
            overload.set(pressure);
            assert_eq!(overload.pressure(0), pressure);
        }
        assert_eq!(
            (overload.pressure(usize::MAX), overload.connections_max()),
            (Pressure::None, usize::MAX)
        );
        overload.set_limit(64 << 20);
        assert_eq!(
            (overload.pressure(511), overload.pressure(512)),
            (Pressure::None, Pressure::High)
        );
        assert_eq!((overload.connections_max(), overload.wide_streams_max()), (1365, 64));
    }
}
