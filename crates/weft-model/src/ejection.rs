//! When an endpoint is left out for a while.

use std::num::NonZeroU32;

use crate::units::{Percent, TimeBound};

/// When an endpoint is left out for a while, as one client proxy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ejection {
    /// After how many failures in a row. Default: 5, since a few are chance at any error rate that
    /// a user would bear.
    pub consecutive_failures: NonZeroU32,
    /// For how long the first time; it grows with each further one. Default: 30 s, about what a
    /// restart takes.
    pub base_time: TimeBound,
    /// How many of the endpoints at most; 0 leaves none out. Default: 50 %, so that a failure of
    /// all of them, which is no endpoint's own, leaves enough to serve.
    pub ejected_max: Percent,
}

impl Default for Ejection {
    fn default() -> Ejection {
        const FAILURES: NonZeroU32 = NonZeroU32::new(5).expect("not zero");
        const BASE: TimeBound = TimeBound::from_millis(30_000).expect("not zero");
        const EJECTED_MAX: Percent = Percent::new(50).expect("at most 100");
        Ejection { consecutive_failures: FAILURES, base_time: BASE, ejected_max: EJECTED_MAX }
    }
}
