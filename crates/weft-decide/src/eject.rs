//! Which endpoints are left out for a while, because they fail.
//!
//! Two things take an endpoint out of the choice. A failed dial does so at once and for a short
//! time: it is *avoided*, as long as others are to be had. Several failures in a row do so for
//! longer: it is *ejected*, but never more endpoints than the policy allows. So is one that fails
//! more often, or takes longer, than its peers. Either way one request is let in as a probe when
//! the time is over, and what becomes of it decides.

mod peers;
mod roster;
mod state;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weft_model::{Ejection, Percent, TimeBound};

pub use self::peers::{LATENCY_ABOVE_MIN, Measured, Window, outliers};
pub use self::roster::Roster;
use self::state::{Phase, State};
use crate::grpc;

/// For how long an endpoint is avoided after a failed dial; twice as long after each further one.
///
/// A second is enough for others to take over, and short enough for an application that restarts.
pub const AVOIDED_MIN: Duration = Duration::from_secs(1);

/// The longest ejection, unless `base_time` is longer. Source: Envoy's `max_ejection_time`.
pub const EJECTED_MAX: Duration = Duration::from_secs(300);

/// How long a probe may take before another request may be one. It need not have failed: an answer
/// may stream for hours.
pub const PROBE_MAX: Duration = Duration::from_secs(10);

/// What was seen of an endpoint in one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It answered as one does that works. Refusals are such answers: 4xx, PERMISSION_DENIED,
    /// RESOURCE_EXHAUSTED say that the request is at fault, or that the endpoint protects itself.
    Success,
    /// It failed: a timeout, a broken connection, or an answer that says so.
    Failure,
    /// No connection came about, or no tunnel on it.
    DialFailed,
    /// Nothing that speaks for or against it: the caller went away, or Weft refused for reasons of
    /// its own, as where a limit is reached or the workload is draining.
    Nothing,
}

impl Seen {
    /// What an answer of the endpoint itself says about it.
    ///
    /// Failures are 500, 502, 503 and 504, and the gRPC statuses that mean one of these: UNKNOWN,
    /// DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS. `grpc_status` is that of the head or
    /// the trailers, if there is one.
    pub fn of_answer(status: u16, grpc_status: Option<u32>) -> Seen {
        let status = match grpc_status {
            Some(grpc_status) if status == 200 => grpc::http_status(grpc_status),
            _ => status,
        };
        if matches!(status, 500 | 502..=504) { Seen::Failure } else { Seen::Success }
    }
}

/// What of the policy concerns an endpoint by itself. Each attempt has a copy.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    consecutive_failures: NonZeroU32,
    base_time: TimeBound,
    ejected_max: Percent,
}

impl From<&Ejection> for Bounds {
    fn from(policy: &Ejection) -> Bounds {
        let Ejection { consecutive_failures, base_time, ejected_max, peers: _ } = *policy;
        Bounds { consecutive_failures, base_time, ejected_max }
    }
}

/// What the decision depends on besides the endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The policy of the backend.
    pub policy: Bounds,
    /// How many endpoints the backend has, ejected or not.
    pub endpoints: usize,
    /// The time since a common start.
    pub now: Duration,
}

impl Terms {
    /// How many endpoints may be ejected at once: the share that the policy allows, one at least
    /// unless it allows none, and never the last one.
    fn ejected_max(&self) -> usize {
        let percent = usize::from(self.policy.ejected_max.get());
        let share = self.endpoints.saturating_mul(percent) / 100;
        let wanted = if percent == 0 { 0 } else { share.max(1) };
        wanted.min(self.endpoints.saturating_sub(1))
    }
}

/// Whether an endpoint may be chosen; the better before the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As any other.
    Ready,
    /// It was left out, and the time is over: one request may try it.
    Probe,
    /// A dial failed lately.
    Avoided,
    /// It failed several times in a row, or was worse than its peers.
    Ejected,
}

/// The worst standing of an endpoint that may be chosen, of those whose standings are given.
///
/// Those that are ready or due for a probe are chosen from; where there is none, those that are
/// avoided; where there is none either, those that are ejected: a backend whose endpoints have all
/// failed is still called.
pub fn worst_chosen(standings: impl IntoIterator<Item = Standing>) -> Standing {
    let best = standings.into_iter().min().unwrap_or(Standing::Ready);
    best.max(Standing::Probe)
}

/// In what role an attempt was let through to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// The endpoint was ready.
    Regular,
    /// It is the one that tries whether the endpoint is back.
    Probe,
    /// The endpoint is left out, and there was no better one.
    LastResort,
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// It failed several times in a row.
    Consecutive,
    /// More of its requests failed than at its peers.
    FailureRate,
    /// It took longer to answer than its peers.
    Latency,
}

impl Cause {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Consecutive => "consecutive",
            Cause::FailureRate => "failure-rate",
            Cause::Latency => "latency",
        }
    }
}

/// What an observation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that others would notice.
    None,
    /// The endpoint is avoided for this long.
    Avoided(Duration),
    /// The endpoint is ejected.
    Ejected {
        /// For how long.
        time: Duration,
        /// How many ejections weigh on it by now, this one included.
        times: u32,
    },
    /// It would have been ejected, but as many as may be are.
    Spared,
    /// The endpoint may be chosen again as any other.
    Returned,
}

/// What is remembered of an endpoint of a backend. Threads share it; it never blocks.
///
/// Source: Envoy's outlier detection (consecutive failures, the share that may be ejected at most,
/// times that grow with each ejection and shrink while all is well); the single probe is that of
/// Linkerd's failure accrual.
#[derive(Debug)]
pub struct Ejector {
    state: AtomicU64,
    roster: Arc<Roster>,
}

impl Ejector {
    /// An endpoint of which nothing is known yet. `roster` counts the ejected ones of its backend.
    pub fn new(roster: Arc<Roster>) -> Ejector {
        Ejector { state: AtomicU64::new(State::default().to_bits()), roster }
    }

    /// Whether the endpoint may be chosen.
    pub fn standing(&self, terms: &Terms) -> Standing {
        self.standing_in(self.state(), terms)
    }

    fn standing_in(&self, state: State, terms: &Terms) -> Standing {
        // Where endpoints went away, more may be ejected than should be: their time is over.
        let is_over = state.is_due(terms.now)
            || state.phase == Phase::Ejected && self.roster.ejected() > terms.ejected_max();
        match state.phase {
            Phase::Ready => Standing::Ready,
            _ if is_over => Standing::Probe,
            Phase::Avoided | Phase::AvoidedProbed => Standing::Avoided,
            Phase::Ejected | Phase::EjectedProbed => Standing::Ejected,
        }
    }

    /// Lets an attempt through to the endpoint, which was chosen. Of several at once, one is the
    /// probe. What was seen of the attempt is to be told with the ticket that it got.
    #[must_use]
    pub fn admit(&self, terms: &Terms) -> Ticket {
        let mut ticket = Ticket::Regular;
        self.update(|state| {
            let standing = self.standing_in(state, terms);
            ticket = match standing {
                Standing::Ready => Ticket::Regular,
                Standing::Probe => Ticket::Probe,
                Standing::Avoided | Standing::Ejected => Ticket::LastResort,
            };
            (standing == Standing::Probe).then(|| state.probed(terms.now))
        });
        ticket
    }

    /// Takes in what was seen of an attempt that was let through with `ticket`.
    ///
    /// Attempts that began before the endpoint was left out say nothing about it any more.
    pub fn observe(&self, ticket: Ticket, seen: Seen, terms: &Terms) -> Change {
        let mut change = Change::None;
        self.update(|state| {
            let (mut next, mut found) = state.after(ticket, seen, terms);
            if next.phase.is_ejected() {
                // The place is taken before the state says so, and given back if another thread
                // was faster: so there are never too many.
                let most = terms.ejected_max();
                let has_place = match state.phase.is_ejected() {
                    true => self.roster.ejected() <= most,
                    false => self.roster.take(most),
                };
                if !has_place {
                    (next, found) = state.after_sparing(seen, terms);
                }
            }
            change = found;
            (next != state).then_some(next)
        });
        change
    }

    /// Ejects the endpoint, which is worse than its peers, if one more may be. It stays as it is if
    /// it is ejected already.
    pub fn eject(&self, terms: &Terms) -> Change {
        let mut change = Change::None;
        self.update(|state| {
            if state.phase.is_ejected() {
                change = Change::None;
                return None;
            }
            if !self.roster.take(terms.ejected_max()) {
                change = Change::Spared;
                return None;
            }
            let (next, found) = state.ejected(terms);
            change = found;
            Some(next)
        });
        change
    }

    /// Replaces the state by what `next` makes of it, and keeps the roster in step.
    ///
    /// `next` takes a place in the roster if it returns an ejected state for one that was not.
    fn update(&self, mut next: impl FnMut(State) -> Option<State>) {
        let mut bits = self.state.load(Ordering::Acquire);
        loop {
            let before = State::from_bits(bits);
            let Some(after) = next(before) else { return };
            let new = after.to_bits();
            let swapped =
                self.state.compare_exchange(bits, new, Ordering::AcqRel, Ordering::Acquire);
            let (was_out, is_out) = (before.phase.is_ejected(), after.phase.is_ejected());
            match swapped {
                Ok(_) => {
                    if was_out && !is_out {
                        self.roster.give_back();
                    }
                    return;
                }
                Err(found) => {
                    if is_out && !was_out {
                        self.roster.give_back();
                    }
                    bits = found;
                }
            }
        }
    }

    fn state(&self) -> State {
        State::from_bits(self.state.load(Ordering::Acquire))
    }
}

/// An endpoint that goes away is no longer counted.
impl Drop for Ejector {
    fn drop(&mut self) {
        if self.state().phase.is_ejected() {
            self.roster.give_back();
        }
    }
}

#[cfg(test)]
mod tests;
