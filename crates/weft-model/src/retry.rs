//! Whether a request is tried again, and how much of the traffic that may become.

use std::collections::BTreeSet;

use crate::error::ValueError;
use crate::units::{Percent, TimeBound};

/// A status that a retry can be asked for: 400 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetryStatus(u16);

impl RetryStatus {
    /// The status `code`.
    ///
    /// # Errors
    /// If it is below 400 or above 599.
    pub fn new(code: u16) -> Result<RetryStatus, ValueError> {
        if !(400..=599).contains(&code) {
            return Err(ValueError::new(code, "a status to retry", "400 to 599"));
        }
        Ok(RetryStatus(code))
    }

    /// The code.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// What the user of a route allows to be sent again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry {
    /// How often, the first attempt not counted; 0 is never. Default: 1, so that writing `retry:
    /// {}` asks for something and the load at most doubles.
    pub retries_max: u32,
    /// The statuses after which it is sent again. Default: none; then only failures count.
    pub statuses: BTreeSet<RetryStatus>,
    /// The wait before the first, doubled for each further one, of which a random share is waited.
    /// Default: 25 ms, longer than a scheduling hiccup and shorter than a person notices.
    pub backoff_base: TimeBound,
    /// The longest wait. Default: 1 s; an own base above that is its own longest wait.
    pub backoff_max: TimeBound,
}

impl Retry {
    /// The longest wait where none is written.
    pub const BACKOFF_MAX: TimeBound = TimeBound::from_millis(1_000).expect("not zero");
}

impl Default for Retry {
    fn default() -> Retry {
        const BASE: TimeBound = TimeBound::from_millis(25).expect("not zero");
        Retry {
            retries_max: 1,
            statuses: BTreeSet::new(),
            backoff_base: BASE,
            backoff_max: Retry::BACKOFF_MAX,
        }
    }
}

/// How much of a client proxy's traffic to a Service may be retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetryBudget {
    /// The share of requests. Default: 20 %, so that a failing Service gets a fifth more load and
    /// not several times as much.
    pub percent: Percent,
    /// How many per second are allowed in any case. Default: 10, so that a client with little
    /// traffic can retry at all.
    pub per_second_min: u32,
}

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        const PERCENT: Percent = Percent::new(20).expect("at most 100");
        RetryBudget { percent: PERCENT, per_second_min: 10 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_are_tried_again() {
        assert!(RetryStatus::new(399).is_err() && RetryStatus::new(600).is_err());
        assert_eq!(RetryStatus::new(503).unwrap().get(), 503);
    }
}
