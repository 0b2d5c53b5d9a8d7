//! How an endpoint is chosen.

/// How an endpoint is chosen among those that may be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Balance {
    /// Of two drawn at random, the one that answers sooner by a decaying average of its peaks. The
    /// default, since it notices a slow endpoint within a few answers and needs no tuning.
    #[default]
    PeakEwma,
    /// One after the other.
    RoundRobin,
}
