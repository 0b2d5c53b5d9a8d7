//! Which endpoints are worse than their peers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use weft_model::AgainstPeers;

use super::{Cause, Seen};
use crate::locality::Reach;

/// By how much more than its peers an endpoint must take for that to count, whatever the ratio:
/// less is a matter of where it runs.
pub const LATENCY_ABOVE_MIN: Duration = Duration::from_millis(10);

/// What was seen of an endpoint since the last comparison. Threads share it.
#[derive(Debug, Default)]
pub struct Window {
    requests: AtomicU32,
    failures: AtomicU32,
    answers: AtomicU32,
    /// The sum of the logarithms of latencies, as the least bits of it count.
    logarithms: AtomicU64,
}

/// One in a sum of logarithms: to the base of two, of microseconds.
const LOGARITHM_UNIT: f64 = 1024.0;

impl Window {
    /// Takes in what was seen of an attempt.
    pub fn observe(&self, seen: Seen) {
        if seen == Seen::Nothing {
            return;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        if seen != Seen::Success {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes in how long an answer took to begin.
    pub fn answered(&self, latency: Duration) {
        let micros = latency.as_secs_f64() * 1e6;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the logarithm of what is at least one is not negative, and far below 2^50"
        )]
        let logarithm = (micros.max(1.0).log2() * LOGARITHM_UNIT) as u64;
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.logarithms.fetch_add(logarithm, Ordering::Relaxed);
    }

    /// What was seen, of which nothing is kept. `distance` is how far away the endpoint is.
    pub fn take(&self, distance: Reach) -> Measured {
        let answers = self.answers.swap(0, Ordering::Relaxed);
        let logarithms = self.logarithms.swap(0, Ordering::Relaxed);
        Measured {
            requests: self.requests.swap(0, Ordering::Relaxed),
            failures: self.failures.swap(0, Ordering::Relaxed),
            answers,
            latency: mean(logarithms, answers),
            distance,
        }
    }
}

/// The geometric mean: a few answers that take very long, as those of a long poll, hardly move it.
fn mean(logarithms: u64, answers: u32) -> Duration {
    if answers == 0 {
        return Duration::ZERO;
    }
    let logarithm = logarithms as f64 / LOGARITHM_UNIT / f64::from(answers);
    Duration::try_from_secs_f64(logarithm.exp2() / 1e6).unwrap_or(Duration::MAX)
}

/// What was seen of an endpoint over an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Requests whose end says something about the endpoint.
    pub requests: u32,
    /// Those of them that failed.
    pub failures: u32,
    /// Requests that were answered, whatever with.
    pub answers: u32,
    /// What an answer took to begin.
    pub latency: Duration,
    /// How far away it is. Latencies are compared among those that are equally far away.
    pub distance: Reach,
}

impl Measured {
    fn failed_percent(&self) -> f64 {
        f64::from(self.failures) * 100.0 / f64::from(self.requests.max(1))
    }
}

/// The endpoints that are worse than their peers by more than `policy` allows, by their numbers
/// among `measured`, the worst first.
///
/// Only those count, on either side, of which enough was seen. An endpoint is compared with the
/// median of the others, the better one of two: so at least half of the others are that much
/// better than it is. Where most are bad nobody is.
pub fn outliers(policy: &AgainstPeers, measured: &[Measured]) -> Vec<(usize, Cause)> {
    let enough = policy.requests_min.get();
    let mut found = Vec::new();
    let above = f64::from(policy.failures.get());
    if above > 0.0 {
        let rates = (measured.iter().enumerate())
            .filter(|(_, one)| one.requests >= enough)
            .map(|(index, one)| (index, one.failed_percent()));
        let mut worse: Vec<_> = against_median(rates.collect())
            .filter(|(_, rate, median)| rate - median >= above)
            .collect();
        worse.sort_by(|(_, one, _), (_, other, _)| other.total_cmp(one));
        found.extend(worse.into_iter().map(|(index, ..)| (index, Cause::FailureRate)));
    }
    let Some(times) = policy.latency else { return found };
    let mut slower = Vec::new();
    for distance in [Reach::Zone, Reach::Region, Reach::All] {
        let latencies = (measured.iter().enumerate())
            .filter(|(_, one)| one.distance == distance && one.answers >= enough)
            .map(|(index, one)| (index, one.latency.as_secs_f64()));
        slower.extend(against_median(latencies.collect()).filter(|(_, latency, median)| {
            let above = latency - median;
            *latency > median * times.as_f64() && above >= LATENCY_ABOVE_MIN.as_secs_f64()
        }));
    }
    slower.sort_by(|(_, one, _), (_, other, _)| other.total_cmp(one));
    let is_new = |index: &usize| !found.iter().any(|(one, _)| one == index);
    let slower: Vec<_> = slower.iter().map(|(index, ..)| *index).filter(is_new).collect();
    found.extend(slower.into_iter().map(|index| (index, Cause::Latency)));
    found
}

/// Each of `values` with the median of the others, the lower one of two. None where there is no
/// other.
fn against_median(mut values: Vec<(usize, f64)>) -> impl Iterator<Item = (usize, f64, f64)> {
    values.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    let others = values.len().saturating_sub(1);
    let middle = others.saturating_sub(1) / 2;
    let median: Vec<_> = (0..values.len())
        .filter(|_| others > 0)
        .map(|place| values[if place <= middle { middle + 1 } else { middle }].1)
        .collect();
    values.into_iter().zip(median).map(|((index, value), median)| (index, value, median))
}

#[cfg(test)]
mod tests;
