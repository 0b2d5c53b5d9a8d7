//! When an endpoint is left out for a while.

use std::num::NonZeroU32;

use crate::units::{Percent, Ratio, TimeBound};

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
    /// What of its peers an endpoint may be worse than.
    pub peers: AgainstPeers,
}

impl Default for Ejection {
    fn default() -> Ejection {
        const FAILURES: NonZeroU32 = NonZeroU32::new(5).expect("not zero");
        const BASE: TimeBound = TimeBound::from_millis(30_000).expect("not zero");
        const EJECTED_MAX: Percent = Percent::new(50).expect("at most 100");
        Ejection {
            consecutive_failures: FAILURES,
            base_time: BASE,
            ejected_max: EJECTED_MAX,
            peers: AgainstPeers::default(),
        }
    }
}

/// How much worse than its peers an endpoint may be over an interval before it is left out. The
/// peers are the other endpoints, and their median counts: so what is wrong with most of them is no
/// endpoint's own fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgainstPeers {
    /// Over which time endpoints are compared. Default: 10 s, as in Envoy.
    pub interval: TimeBound,
    /// How many requests in that time say enough about an endpoint. Default: 50: where a tenth
    /// fails everywhere, chance alone makes one of ten thousand endpoints a fifth worse.
    pub requests_min: NonZeroU32,
    /// By how many percent of the requests more may fail than at the peers; 0 is no bound. Default:
    /// 20 %: less is seldom one endpoint's own fault, and more is felt by every caller.
    pub failures: Percent,
    /// How many times as long as the peers it may take to answer; none is no bound. Default: none,
    /// since endpoints may differ for good reasons, and the default algorithm calls slow ones less.
    pub latency: Option<Ratio>,
}

impl Default for AgainstPeers {
    fn default() -> AgainstPeers {
        const INTERVAL: TimeBound = TimeBound::from_millis(10_000).expect("not zero");
        const REQUESTS_MIN: NonZeroU32 = NonZeroU32::new(50).expect("not zero");
        const FAILURES_ABOVE: Percent = Percent::new(20).expect("at most 100");
        AgainstPeers {
            interval: INTERVAL,
            requests_min: REQUESTS_MIN,
            failures: FAILURES_ABOVE,
            latency: None,
        }
    }
}
