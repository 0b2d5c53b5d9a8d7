//! How an endpoint is chosen.

use std::fmt;
use std::sync::Arc;

use crate::hash_on::HashOn;
use crate::units::Percent;

/// How an endpoint is chosen among those that may be called.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Balance {
    /// Of two drawn at random, the one that answers sooner by a decaying average of its peaks. The
    /// default, since it notices a slow endpoint within a few answers and needs no tuning.
    #[default]
    PeakEwma,
    /// One after the other.
    RoundRobin,
    /// Of two drawn at random, the one with fewer requests under way.
    LeastRequest,
    /// One drawn at random.
    Random,
    /// The one to which a hash of the request belongs, on a ring: who comes or goes takes or leaves
    /// its own share only. Requests without anything to hash go by the default.
    RingHash(Arc<[HashOn]>),
    /// The same by a table, in which all shares are equal; who comes or goes moves a few more.
    Maglev(Arc<[HashOn]>),
}

impl Balance {
    /// What of a request is hashed: the first of these that it has. Empty where nothing is.
    pub fn hash_on(&self) -> &[HashOn] {
        match self {
            Balance::RingHash(hash_on) | Balance::Maglev(hash_on) => hash_on,
            Balance::PeakEwma | Balance::RoundRobin | Balance::LeastRequest | Balance::Random => {
                &[]
            }
        }
    }
}

impl fmt::Display for Balance {
    /// As it is written in a BackendPolicy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Balance::PeakEwma => "PeakEwma",
            Balance::RoundRobin => "RoundRobin",
            Balance::LeastRequest => "LeastRequest",
            Balance::Random => "Random",
            Balance::RingHash(_) => "RingHash",
            Balance::Maglev(_) => "Maglev",
        })
    }
}

/// Below which share of healthy endpoints, of those that are not about to end, the unhealthy ones
/// are called too; 0 is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PanicThreshold(pub Percent);

impl Default for PanicThreshold {
    /// 50 %: fewer would have more than twice the load that they are made for.
    fn default() -> PanicThreshold {
        const HEALTHY: Percent = Percent::new(50).expect("at most 100");
        PanicThreshold(HEALTHY)
    }
}
