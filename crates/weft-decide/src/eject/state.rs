//! What is remembered of an endpoint, and what follows from an attempt.

use std::time::Duration;

use super::{AVOIDED_MIN, Bounds, Change, EJECTED_MAX, PROBE_MAX, Seen, Terms, Ticket};

/// More failures in a row are not counted; a policy that asks for more is taken to ask for these.
const FAILURES_MAX: u32 = 0xffff;
/// More ejections, and more failed dials in a row, are not counted: times do not grow that long.
const TIMES_MAX: u32 = 0xff;
const DIALS_MAX: u32 = 0x1f;

/// Whether an endpoint is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Ready,
    /// After a failed dial.
    Avoided,
    /// The same, and a probe is under way.
    AvoidedProbed,
    /// After several failures in a row.
    Ejected,
    /// The same, and a probe is under way.
    EjectedProbed,
}

impl Phase {
    pub(super) fn is_ejected(self) -> bool {
        matches!(self, Phase::Ejected | Phase::EjectedProbed)
    }

    fn is_probed(self) -> bool {
        matches!(self, Phase::AvoidedProbed | Phase::EjectedProbed)
    }
}

/// What is remembered of an endpoint. It fits into 64 bits, so that it can be changed as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// Ready: when one ejection less weighs on it. Left out: when a probe is let in. Probed: when
    /// another one is. In tenths of a second, which 32 bits count for 13 years.
    until: u32,
    /// Failures in a row.
    failures: u32,
    /// How many ejections weigh on it.
    times: u32,
    /// Failed dials in a row.
    dials: u32,
}

impl State {
    /// Whether the time is over that its phase lasts.
    pub(super) fn is_due(self, now: Duration) -> bool {
        u128::from(self.until) <= now.as_millis() / 100
    }

    /// The state once a probe is under way.
    pub(super) fn probed(self, now: Duration) -> State {
        let phase =
            if self.phase.is_ejected() { Phase::EjectedProbed } else { Phase::AvoidedProbed };
        State { phase, until: tenths(now + PROBE_MAX), ..self }
    }

    /// The state after an attempt, and what changed for others. It may say that the endpoint is
    /// ejected; whoever asks sees to it that there are not too many.
    pub(super) fn after(self, ticket: Ticket, seen: Seen, terms: &Terms) -> (State, Change) {
        let counts = match ticket {
            Ticket::Regular => self.phase == Phase::Ready,
            Ticket::Probe => self.phase == Phase::Ready || self.phase.is_probed(),
            // That it failed again is no news. That it works is.
            Ticket::LastResort => seen == Seen::Success,
        };
        if !counts {
            return (self, Change::None);
        }
        match seen {
            Seen::Success => self.after_success(terms),
            Seen::Nothing if self.phase.is_probed() => {
                let phase = if self.phase.is_ejected() { Phase::Ejected } else { Phase::Avoided };
                // The next one may be the probe at once.
                (State { phase, until: tenths_past(terms.now), ..self }, Change::None)
            }
            Seen::Nothing => (self, Change::None),
            Seen::Failure | Seen::DialFailed => {
                let failed = self.counting(seen);
                let wanted = terms.policy.consecutive_failures.get().min(FAILURES_MAX);
                // A probe that fails is enough, whatever it fails by.
                if self.phase.is_ejected() || failed.failures >= wanted {
                    failed.ejected(terms)
                } else {
                    failed.kept(seen, terms)
                }
            }
        }
    }

    /// As [`State::after`] a failure, where no further endpoint may be ejected.
    pub(super) fn after_sparing(self, seen: Seen, terms: &Terms) -> (State, Change) {
        let failed = self.counting(seen);
        let (kept, change) = failed.kept(seen, terms);
        let wanted = terms.policy.consecutive_failures.get().min(FAILURES_MAX);
        // Told once.
        let is_first = failed.failures == wanted && change == Change::None;
        (kept, if is_first { Change::Spared } else { change })
    }

    fn counting(self, seen: Seen) -> State {
        let dials = if seen == Seen::DialFailed { (self.dials + 1).min(DIALS_MAX) } else { 0 };
        State { failures: (self.failures + 1).min(FAILURES_MAX), dials, ..self }
    }

    fn after_success(self, terms: &Terms) -> (State, Change) {
        let healthy = State { phase: Phase::Ready, failures: 0, dials: 0, ..self };
        let next_in = |times| tenths(terms.now + ejection_time(&terms.policy, times));
        if self.phase != Phase::Ready {
            return (State { until: next_in(self.times), ..healthy }, Change::Returned);
        }
        if self.times > 0 && self.is_due(terms.now) {
            let times = self.times - 1;
            return (State { times, until: next_in(times), ..healthy }, Change::None);
        }
        (healthy, Change::None)
    }

    pub(super) fn ejected(self, terms: &Terms) -> (State, Change) {
        let times = (self.times + 1).min(TIMES_MAX);
        let time = ejection_time(&terms.policy, times);
        let until = tenths(terms.now + time);
        (State { phase: Phase::Ejected, until, times, ..self }, Change::Ejected { time, times })
    }

    /// Not ejected after a failure; but avoided after a failed dial.
    fn kept(self, seen: Seen, terms: &Terms) -> (State, Change) {
        if seen != Seen::DialFailed {
            let until = tenths(terms.now + ejection_time(&terms.policy, self.times));
            let was_out = self.phase != Phase::Ready;
            let until = if was_out { until } else { self.until };
            let change = if was_out { Change::Returned } else { Change::None };
            return (State { phase: Phase::Ready, until, ..self }, change);
        }
        let doubled = AVOIDED_MIN.saturating_mul(1 << (self.dials.max(1) - 1).min(16));
        let time = doubled.min(terms.policy.base_time.duration());
        let until = tenths(terms.now + time);
        (State { phase: Phase::Avoided, until, ..self }, Change::Avoided(time))
    }

    pub(super) fn to_bits(self) -> u64 {
        let State { phase, until, failures, times, dials } = self;
        let phase: u64 = match phase {
            Phase::Ready => 0,
            Phase::Avoided => 1,
            Phase::AvoidedProbed => 2,
            Phase::Ejected => 3,
            Phase::EjectedProbed => 4,
        };
        u64::from(until)
            | u64::from(failures & FAILURES_MAX) << 32
            | u64::from(times & TIMES_MAX) << 48
            | u64::from(dials & DIALS_MAX) << 56
            | phase << 61
    }

    pub(super) fn from_bits(bits: u64) -> State {
        let part = |shift: u32, most: u32| {
            u32::try_from(bits >> shift & u64::from(most)).expect("it is masked")
        };
        let phase = match part(61, 7) {
            0 => Phase::Ready,
            1 => Phase::Avoided,
            2 => Phase::AvoidedProbed,
            3 => Phase::Ejected,
            _ => Phase::EjectedProbed,
        };
        State {
            phase,
            until: part(0, u32::MAX),
            failures: part(32, FAILURES_MAX),
            times: part(48, TIMES_MAX),
            dials: part(56, DIALS_MAX),
        }
    }
}

/// For how long an endpoint is ejected the `times`-th time.
fn ejection_time(policy: &Bounds, times: u32) -> Duration {
    let base = policy.base_time.duration();
    base.saturating_mul(times).min(EJECTED_MAX.max(base))
}

/// The first tenth of a second that is not before `time`.
fn tenths(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(100)).unwrap_or(u32::MAX)
}

/// The last tenth of a second that is not after `time`.
fn tenths_past(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / 100).unwrap_or(u32::MAX)
}
