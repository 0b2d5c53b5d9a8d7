//! How much may be under way at an endpoint, as its latency says.

use std::time::Duration;

use weft_model::Ratio;

/// How much may be under way before anything is known: what most endpoints bear.
pub const INITIAL: f64 = 20.0;

/// The least that may be under way. With less, nothing would be learnt any more.
pub const LEAST: f64 = 4.0;

/// How much more than what is served at once may wait: without it, a limit would never grow.
const QUEUE: f64 = 4.0;

/// How long answers are collected before the limit changes, and how many there must be.
pub const WINDOW: Duration = Duration::from_millis(500);
const ANSWERS_MIN: u32 = 10;

/// How much of a change is taken over at once, and how much of what is new counts in the long run.
const SMOOTHING: f64 = 0.2;
const LONG_RUN: f64 = 2.0 / 601.0;

/// How much may be under way at an endpoint: so much that its answers take about as long as they do
/// in the long run.
///
/// Source: Gradient2 of Netflix' concurrency-limits: the limit is multiplied by the latency of the
/// long run, times a tolerance, over that of a moment ago, and gets room for a short queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveLimit {
    limit: f64,
    /// The latency of the long run, in seconds; 0 before it is known.
    long: f64,
    /// What was seen since `began`.
    sum: f64,
    answers: u32,
    under_way_max: u32,
    began: Duration,
}

impl Default for AdaptiveLimit {
    fn default() -> AdaptiveLimit {
        AdaptiveLimit {
            limit: INITIAL,
            long: 0.0,
            sum: 0.0,
            answers: 0,
            under_way_max: 0,
            began: Duration::ZERO,
        }
    }
}

impl AdaptiveLimit {
    /// How much may be under way.
    pub fn allowed(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is bounded where it changes, and cut off on purpose"
        )]
        let allowed = self.limit as u32;
        allowed
    }

    /// Takes in an answer that took `latency`, where `under_way` were with the endpoint. Latencies
    /// are borne up to `tolerance` times those of the long run. `most` is never exceeded.
    pub fn observe(
        &mut self,
        tolerance: Ratio,
        most: u32,
        latency: Duration,
        under_way: u32,
        now: Duration,
    ) {
        self.sum += latency.as_secs_f64();
        self.answers += 1;
        self.under_way_max = self.under_way_max.max(under_way);
        if self.answers < ANSWERS_MIN || now.saturating_sub(self.began) < WINDOW {
            return;
        }
        let short = (self.sum / f64::from(self.answers)).max(1e-6);
        let was_used = f64::from(self.under_way_max) * 2.0 >= self.limit;
        self.long = match self.long {
            0.0 => short,
            // It was slow for long, and has recovered.
            long if long > short * 2.0 => long * 0.95,
            long => long + (short - long) * LONG_RUN,
        };
        // Where little is under way, its latency says nothing about more.
        if was_used {
            let gradient = (tolerance.as_f64() * self.long / short).clamp(0.5, 1.0);
            let wanted = self.limit * gradient + QUEUE;
            self.limit += (wanted - self.limit) * SMOOTHING;
            self.limit = self.limit.clamp(LEAST, f64::from(most).max(LEAST));
        }
        (self.sum, self.answers, self.under_way_max, self.began) = (0.0, 0, 0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that serves `capacity` at once, 20 ms each, and lets the others wait. `offered`
    /// would be under way if they might. The limit after so many windows.
    fn after(limit: &mut AdaptiveLimit, capacity: f64, offered: u32, windows: u64, from: u64) {
        let tolerance = Ratio::from_thousandths(1_500).unwrap();
        for window in from..from + windows {
            let now = WINDOW * u32::try_from(window + 1).unwrap();
            let under_way = offered.min(limit.allowed());
            let rounds = (f64::from(under_way) / capacity).max(1.0);
            for _ in 0..ANSWERS_MIN {
                let latency = Duration::from_millis(20).mul_f64(rounds);
                limit.observe(tolerance, 1_000, latency, under_way, now);
            }
        }
    }

    #[test]
    fn it_grows_to_what_is_served_and_shrinks_with_it() {
        let mut limit = AdaptiveLimit::default();
        after(&mut limit, 100.0, 10, 50, 0);
        assert!((10..=25).contains(&limit.allowed()), "nobody needs more: {limit:?}");
        after(&mut limit, 100.0, 1_000, 300, 50);
        let grown = limit.allowed();
        assert!((100..=250).contains(&grown), "{limit:?}");
        // Its capacity falls to a tenth.
        after(&mut limit, 10.0, 1_000, 60, 350);
        assert!(limit.allowed() < grown / 3, "{limit:?}");
        after(&mut limit, 100.0, 1_000, 300, 410);
        assert!(limit.allowed() >= 100, "it is back: {limit:?}");
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut limit = AdaptiveLimit::default();
        let tolerance = Ratio::from_thousandths(1_000).unwrap();
        for window in 1..500u32 {
            let (now, slow) = (WINDOW * window, Duration::from_millis(u64::from(window)));
            (0..ANSWERS_MIN).for_each(|_| limit.observe(tolerance, 50, slow, 50, now));
            assert!((LEAST..=50.0).contains(&limit.limit), "{limit:?}");
        }
        let mut limit = AdaptiveLimit::default();
        for window in 1..500u32 {
            let (now, same) = (WINDOW * window, Duration::from_millis(1));
            (0..ANSWERS_MIN).for_each(|_| limit.observe(tolerance, 50, same, 50, now));
        }
        assert_eq!(limit.allowed(), 50);
    }
}
