//! How long an endpoint takes, as a decaying average that jumps to its peaks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Load;

/// The time in which what is known of an endpoint loses half of its weight.
///
/// Long enough for the average to span many answers of an endpoint with little traffic, short
/// enough for one that has recovered to be called again within a minute.
pub const HALF_LIFE: Duration = Duration::from_secs(10);

/// What an endpoint is taken to need for a request as long as no answer is known, once one is under
/// way. It is longer than most calls within a mesh take, so that a new endpoint is not flooded
/// before it has answered.
pub const COST_DEFAULT: Duration = Duration::from_millis(30);

/// The least that an endpoint is taken to need. Without it, of endpoints that have been idle for
/// long none would seem loaded, however much is under way there.
pub const COST_MIN: Duration = Duration::from_micros(1);

/// How long an endpoint takes to answer: the peak of its latencies, which decays.
///
/// A slower answer than expected counts at once and in full; faster ones pull the average down as
/// time passes, with [`HALF_LIFE`]. What is known of an endpoint that gives no answers decays in
/// the same way, so that it is tried again.
///
/// Times are since a common start. What is kept of them wraps after 49 days: an endpoint that was
/// last heard of so long ago counts as heard of lately, and its old average is decayed by less.
///
/// Source: the peak EWMA of Finagle (`PeakEwma` in `com.twitter.finagle.loadbalancer`) and Linkerd
/// (`PeakEwma` in `tower`), which let an unknown endpoint decay from its default in the same way.
/// Different here: an endpoint without answers costs next to nothing while nothing is under way
/// there, so that it is tried soon, and the default from then on, so that it is not flooded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ewma {
    /// Seconds as of `at`; 0 before the first answer.
    cost: f32,
    /// The milliseconds of the last answer, modulo 2^32.
    at: u32,
}

impl Ewma {
    /// Takes in that a request took `latency` and ended at `now`.
    ///
    /// A failure that came quickly would make its endpoint look fast: of failed attempts tell the
    /// time only if it was spent at the endpoint, as with timeouts.
    pub fn observe(&mut self, latency: Duration, now: Duration) {
        let latency = latency.max(COST_MIN).as_secs_f32();
        let now = stamp(now);
        if !self.is_known() {
            *self = Ewma { cost: latency, at: now };
            return;
        }
        if latency >= self.cost {
            self.cost = latency;
        } else {
            let old = decay(self.at, now);
            self.cost = self.cost * old + latency * (1.0 - old);
        }
        // Answers that come in the same moment, or late from another thread, do not turn time back.
        if elapsed(self.at, now) > 0 {
            self.at = now;
        }
    }

    /// How much is waiting at the endpoint if `in_flight` requests are under way there.
    pub fn load(&self, now: Duration, in_flight: u32) -> Load {
        let least = COST_MIN.as_secs_f64();
        let cost = if self.is_known() {
            f64::from(self.cost * decay(self.at, stamp(now))).max(least)
        } else if in_flight == 0 {
            least
        } else {
            COST_DEFAULT.as_secs_f64()
        };
        Load(cost * (f64::from(in_flight) + 1.0))
    }

    /// Whether there was an answer yet.
    pub fn is_known(&self) -> bool {
        self.cost > 0.0
    }

    fn to_bits(self) -> u64 {
        u64::from(self.cost.to_bits()) << 32 | u64::from(self.at)
    }

    fn from_bits(bits: u64) -> Ewma {
        let low = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).expect("it is masked");
        Ewma { cost: f32::from_bits(low(bits >> 32)), at: low(bits) }
    }
}

/// An [`Ewma`] that several threads share.
#[derive(Debug, Default)]
pub struct AtomicEwma(AtomicU64);

impl AtomicEwma {
    /// As [`Ewma::observe`].
    pub fn observe(&self, latency: Duration, now: Duration) {
        let observed = |bits| {
            let mut ewma = Ewma::from_bits(bits);
            ewma.observe(latency, now);
            Some(ewma.to_bits())
        };
        // It cannot fail, as there is always a next value.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, observed);
    }

    /// As [`Ewma::load`].
    pub fn load(&self, now: Duration, in_flight: u32) -> Load {
        self.get().load(now, in_flight)
    }

    /// As it is now.
    pub fn get(&self) -> Ewma {
        Ewma::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Milliseconds modulo 2^32.
fn stamp(time: Duration) -> u32 {
    let millis = time.as_millis() & u128::from(u32::MAX);
    u32::try_from(millis).expect("it is masked")
}

/// Milliseconds from `from` to `to`; 0 if that is in the past.
fn elapsed(from: u32, to: u32) -> u32 {
    /// By how much the clock reading of one thread may be older than that of another.
    const LATE_MAX: u32 = 60_000;
    let difference = to.wrapping_sub(from);
    if difference > u32::MAX - LATE_MAX { 0 } else { difference }
}

/// The weight at `now` of what was known at `at`.
fn decay(at: u32, now: u32) -> f32 {
    let half_lives = f64::from(elapsed(at, now)) / 1000.0 / HALF_LIFE.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, reason = "a weight needs no more digits")]
    let weight = (-half_lives).exp2() as f32;
    weight
}
