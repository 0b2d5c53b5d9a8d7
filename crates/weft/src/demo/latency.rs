//! How long requests took: over the whole run, and lately.

use std::collections::VecDeque;
use std::time::Duration;

use weft_world::Moment;

/// How far a window looks back.
const WINDOW: Duration = Duration::from_secs(5);

/// The most requests that a window holds. Beyond that it covers a shorter time.
const WINDOW_REQUESTS_MAX: usize = 8192;

/// Each bucket of a histogram ends 2 % above the one before it.
const GROWTH: f64 = 1.02;

/// Enough buckets from 1 µs to more than ten minutes.
const BUCKETS: usize = 1024;

/// Latencies of any number of requests in constant memory, told to 2 %.
pub struct Histogram {
    counts: Box<[u64]>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS].into(), count: 0 }
    }
}

impl Histogram {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        let micros = (latency.as_secs_f64() * 1e6).max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a logarithm of at least 1 is small and not negative"
        )]
        let bucket = (micros.ln() / GROWTH.ln()) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.count += 1;
    }

    /// The time within which `share`, 0.0 to 1.0, were done. Zero if there is none.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count as f64 * share).ceil().max(1.0);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                let micros = ((bucket as f64 + 0.5) * GROWTH.ln()).exp();
                return Duration::from_secs_f64(micros / 1e6);
            }
        }
        Duration::ZERO
    }
}

/// The requests of the last seconds.
#[derive(Default)]
pub struct Window {
    requests: VecDeque<(Moment, Duration, bool)>,
    started: Option<Moment>,
}

/// What a window shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lately {
    /// Requests in a second.
    pub rate: f64,
    /// Which share of them failed, 0.0 to 1.0.
    pub failed: f64,
    /// Half took no longer than this.
    pub p50: Duration,
    /// Ninety-nine of a hundred took no longer than this.
    pub p99: Duration,
}

impl Window {
    /// Adds a request that ended at `now`.
    pub fn add(&mut self, now: Moment, latency: Duration, failed: bool) {
        self.started.get_or_insert(now);
        if self.requests.len() == WINDOW_REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back((now, latency, failed));
    }

    /// What happened in the seconds before `now`.
    pub fn lately(&mut self, now: Moment) -> Lately {
        while self.requests.front().is_some_and(|(at, ..)| now.since(*at) > WINDOW) {
            self.requests.pop_front();
        }
        let count = self.requests.len();
        if count == 0 {
            return Lately::default();
        }
        let covered = self.started.map_or(WINDOW, |started| now.since(started)).min(WINDOW);
        let failed = self.requests.iter().filter(|(.., failed)| *failed).count();
        let mut latencies: Vec<_> = self.requests.iter().map(|(_, latency, _)| *latency).collect();
        latencies.sort_unstable();
        let at = |hundredths: usize| latencies[(count - 1) * hundredths / 100];
        Lately {
            // A window that has just begun would make one request a thousand in a second.
            rate: count as f64 / covered.as_secs_f64().max(1.0),
            failed: failed as f64 / count as f64,
            p50: at(50),
            p99: at(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn quantiles_are_told_to_two_in_a_hundred() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        (1..=1000).for_each(|number| histogram.add(millis(number)));
        for (share, exact) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let told = histogram.quantile(share).as_secs_f64() * 1000.0;
            assert!((told / exact - 1.0).abs() < 0.02, "{share}: {told} instead of {exact}");
        }
        histogram.add(Duration::ZERO);
        histogram.add(Duration::MAX);
    }

    #[test]
    fn a_window_forgets() {
        let at = |seconds: u64| Moment::from_nanos(seconds * 1_000_000_000);
        let mut window = Window::default();
        assert_eq!(window.lately(at(9)), Lately::default());
        (0..20).for_each(|number| window.add(at(10 + number / 2), millis(number), number < 10));
        let lately = window.lately(at(20));
        assert_eq!((lately.rate, lately.failed), (2.0, 0.0));
        assert_eq!((lately.p50, lately.p99), (millis(14), millis(18)));
        assert_eq!(window.lately(at(30)).rate, 0.0);
    }
}
