//! The seam between Weft and the outside: clock, randomness, network, files.
//!
//! Whatever can differ between two runs of the same program comes through a trait of this crate.
//! `weft-net` implements them with the operating system, `weft-sim` with a simulated one that is a
//! function of a seed.
//!
//! Deliberately absent: any implementation, any async runtime, and any protocol above TCP.

mod buffer;
mod clock;
mod files;
mod network;

pub use buffer::{BUFFER_BYTES, Buffer, LARGE_BUFFER_BYTES, LARGE_BUFFERS_MAX};
pub use clock::{Clock, Moment, Timer, UnixTime};
pub use files::Files;
pub use network::{
    Accepted, BoxFuture, Listener, ListenerOptions, Network, Spliced, Splicer, Stream, StreamExt,
};

use std::rc::Rc;

/// A source of random numbers.
///
/// Not for keys: those are made by the TLS library, from the system's own generator.
pub trait Entropy {
    /// Sixty-four random bits.
    fn next(&self) -> u64;

    /// A number drawn evenly from `0.0..1.0`.
    fn fraction(&self) -> f64 {
        // 53 bits are what an f64 holds exactly.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// All of the outside that one worker sees. Cheap to clone.
///
/// A worker is one thread, so that nothing here needs to be `Send`; each thread builds its own.
#[derive(Clone)]
pub struct World {
    /// Time and timers.
    pub clock: Rc<dyn Clock>,
    /// Randomness for jitter, sampling and balancing.
    pub entropy: Rc<dyn Entropy>,
    /// Sockets.
    pub network: Rc<dyn Network>,
    /// The disk.
    pub files: Rc<dyn Files>,
}
