//! Whether a proxy is short of memory, and what it still takes then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How short of memory a proxy is; the worse after the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// All is taken.
    #[default]
    None,
    /// New requests and tunnels are refused, so that those under way have room.
    High,
    /// No new connections are taken either: they wait in the system's queue.
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

/// The pressure of a proxy, told by who measures it and heeded by all workers.
#[derive(Clone, Debug, Default)]
pub struct Overload(Arc<AtomicU8>);

impl Overload {
    /// From now on, the pressure is this.
    pub fn set(&self, pressure: Pressure) {
        self.0.store(pressure as u8, Ordering::Relaxed);
    }

    /// The pressure now.
    pub fn pressure(&self) -> Pressure {
        match self.0.load(Ordering::Relaxed) {
            0 => Pressure::None,
            1 => Pressure::High,
            _ => Pressure::Critical,
        }
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
            assert_eq!(overload.pressure(), pressure);
        }
    }
}
