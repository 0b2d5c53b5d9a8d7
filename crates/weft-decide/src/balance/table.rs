//! What a key leads to its endpoint by.

use weft_model::Balance;

use super::{Maglev, Ring};

/// What a key leads to its endpoint by. It follows from the endpoints' identities alone: not from
/// their order, nor from how they fare.
#[derive(Debug, PartialEq, Eq)]
pub enum Table {
    /// A ring.
    Ring(Ring),
    /// A table.
    Maglev(Maglev),
}

impl Table {
    /// What `balance` needs for the endpoints that have these identities, in their order; nothing
    /// unless it hashes.
    pub fn new<I: AsRef<str>>(balance: &Balance, identities: &[I]) -> Option<Table> {
        match balance {
            Balance::RingHash(_) => Some(Table::Ring(Ring::new(identities))),
            Balance::Maglev(_) => Some(Table::Maglev(Maglev::new(identities))),
            Balance::PeakEwma | Balance::RoundRobin | Balance::LeastRequest | Balance::Random => {
                None
            }
        }
    }

    /// Whether it is what `balance` needs.
    pub fn serves(&self, balance: &Balance) -> bool {
        match self {
            Table::Ring(_) => matches!(balance, Balance::RingHash(_)),
            Table::Maglev(_) => matches!(balance, Balance::Maglev(_)),
        }
    }

    /// The endpoint that `key` belongs to among those that are usable: its own, or else the one
    /// that takes over its keys. `None` if none is usable.
    pub fn find(&self, key: u64, is_usable: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Table::Ring(ring) => ring.find(key, is_usable),
            Table::Maglev(maglev) => maglev.find(key, is_usable),
        }
    }
}

#[cfg(test)]
mod tests;
