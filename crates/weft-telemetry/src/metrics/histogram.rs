//! Durations counted two ways at once: in buckets chosen by people, and in exponential ones.
//!
//! A cell has one writer at a time and any number of readers, who stop nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use weft_world::UnixTime;

use crate::metrics::cell::Cell;
use crate::trace::TraceContext;

/// The upper bounds of the classic buckets, in nanoseconds: 0.5 ms to 60 s.
pub(crate) const CLASSIC_NANOS: [u64; 16] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// The classic buckets and the one without a bound.
pub(crate) const CLASSIC_LEN: usize = CLASSIC_NANOS.len() + 1;

/// The finest schema: 2^3 buckets for each doubling, so that a bucket is 9 % wide.
/// Source: Prometheus, "Native Histograms", Schema.
pub(crate) const SCHEMA: i32 = 3;

/// Buckets for each doubling, at [`SCHEMA`].
const PER_DOUBLING: i32 = 1 << SCHEMA;

/// Durations up to 2^-17 s, about 7.6 µs, are counted as zero: no proxy answers faster.
pub(crate) const ZERO_THRESHOLD_EXPONENT: i32 = -17;

/// The last bucket ends at 2^15 s, about nine hours. What took longer is counted there.
const LAST_EXPONENT: i32 = 15;

/// The first bucket's index, of those above zero.
const FIRST: i32 = ZERO_THRESHOLD_EXPONENT * PER_DOUBLING + 1;

/// How many exponential buckets a cell has: 2 KiB of them.
pub(crate) const NATIVE_LEN: usize =
    ((LAST_EXPONENT - ZERO_THRESHOLD_EXPONENT) * PER_DOUBLING) as usize;

/// The most buckets that are exposed. Above it pairs are merged, which halves the resolution.
pub(crate) const EXPOSED_MAX: usize = 160;

/// The bounds of a doubling's buckets as fractions: the lower bound of each bucket of 0.5..1.0,
/// which are 2^(k/8 - 1).
const FRACTIONS: [f64; PER_DOUBLING as usize] = [
    0.5,
    0.545_253_866_332_628_8,
    0.594_603_557_501_360_5,
    0.648_419_777_325_504_8,
    std::f64::consts::FRAC_1_SQRT_2,
    0.771_105_412_703_970_4,
    0.840_896_415_253_714_5,
    0.917_004_043_204_671_2,
];

/// A request that shows what a bucket holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exemplar {
    /// Its trace.
    pub(crate) trace: TraceContext,
    /// How long it took.
    pub(crate) duration: Duration,
    /// When it ended.
    pub(crate) at: UnixTime,
}

/// One exemplar at most for each classic bucket.
pub(crate) type Exemplars = [Option<Exemplar>; CLASSIC_LEN];

/// One writer's part of a histogram.
pub(crate) struct Histogram {
    nanos: AtomicU64,
    zero: AtomicU64,
    native: Box<[AtomicU64; NATIVE_LEN]>,
    classic: [AtomicU64; CLASSIC_LEN],
    /// Made when the first trace is seen. The writer never waits for the lock: if it is being
    /// read, this exemplar is not kept.
    exemplars: OnceLock<Box<Mutex<Exemplars>>>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            nanos: AtomicU64::new(0),
            zero: AtomicU64::new(0),
            native: Box::new([const { AtomicU64::new(0) }; NATIVE_LEN]),
            classic: [const { AtomicU64::new(0) }; CLASSIC_LEN],
            exemplars: OnceLock::new(),
        }
    }
}

impl Histogram {
    /// Counts `duration`. To be called by one thread at a time.
    pub(crate) fn observe(&self, duration: Duration) -> usize {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        add(&self.nanos, nanos, Ordering::Relaxed);
        let native = native_bucket(nanos).map_or(&self.zero, |bucket| &self.native[bucket]);
        add(native, 1, Ordering::Relaxed);
        let classic = CLASSIC_NANOS.partition_point(|&bound| bound < nanos);
        // Whoever reads this sees what was written before it: see `add_to`.
        add(&self.classic[classic], 1, Ordering::Release);
        classic
    }

    /// Keeps `exemplar` for the classic bucket `classic`, unless that would mean to wait.
    pub(crate) fn keep(&self, classic: usize, exemplar: Exemplar) {
        let exemplars = self.exemplars.get_or_init(Box::default);
        if let Ok(mut exemplars) = exemplars.try_lock() {
            exemplars[classic] = Some(exemplar);
        }
    }
}

/// Adds without a locked instruction: there is one writer.
fn add(counter: &AtomicU64, count: u64, ordering: Ordering) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), ordering);
}

impl Cell for Histogram {
    type Sum = HistogramSum;

    fn add_to(&self, sum: &mut HistogramSum) {
        // The classic buckets are read first, so that they never hold more than the others, from
        // which the count is made.
        for (sum, count) in sum.classic.iter_mut().zip(&self.classic) {
            *sum += count.load(Ordering::Acquire);
        }
        sum.zero += self.zero.load(Ordering::Relaxed);
        for (sum, count) in sum.native.iter_mut().zip(&*self.native) {
            *sum += count.load(Ordering::Relaxed);
        }
        sum.nanos = sum.nanos.wrapping_add(self.nanos.load(Ordering::Relaxed));
        if let Some(exemplars) = self.exemplars.get() {
            let exemplars = exemplars.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for (newest, exemplar) in sum.exemplars.iter_mut().zip(&*exemplars) {
                let at = |exemplar: &Option<Exemplar>| exemplar.map(|exemplar| exemplar.at);
                if at(exemplar) > at(newest) {
                    *newest = *exemplar;
                }
            }
        }
    }

    fn total(&self) -> u64 {
        self.classic.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// A histogram as scraped: the sum of its cells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HistogramSum {
    nanos: u64,
    zero: u64,
    native: Box<[u64; NATIVE_LEN]>,
    classic: [u64; CLASSIC_LEN],
    exemplars: Exemplars,
}

impl Default for HistogramSum {
    fn default() -> HistogramSum {
        HistogramSum {
            nanos: 0,
            zero: 0,
            native: Box::new([0; NATIVE_LEN]),
            classic: [0; CLASSIC_LEN],
            exemplars: [None; CLASSIC_LEN],
        }
    }
}

impl HistogramSum {
    /// How many durations were counted.
    pub(crate) fn count(&self) -> u64 {
        self.zero + self.native.iter().sum::<u64>()
    }

    /// The sum of all durations, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanos).as_secs_f64()
    }

    /// The classic buckets in order: upper bound in seconds, how many were at most that long, and
    /// an exemplar. The last has no bound and holds all.
    pub(crate) fn classic(&self) -> impl Iterator<Item = (f64, u64, Option<&Exemplar>)> {
        let bound = |nanos: &u64| Duration::from_nanos(*nanos).as_secs_f64();
        let bounds = CLASSIC_NANOS.iter().map(bound).chain([f64::INFINITY]);
        let mut below = 0;
        let counts = self.classic.iter().enumerate().map(move |(place, count)| {
            below += count;
            if place < CLASSIC_NANOS.len() { below } else { self.count() }
        });
        let exemplars = self.exemplars.iter().map(Option::as_ref);
        bounds.zip(counts).zip(exemplars).map(|((bound, count), exemplar)| (bound, count, exemplar))
    }

    /// The exponential buckets, at a resolution at which they are at most [`EXPOSED_MAX`].
    pub(crate) fn native(&self) -> Native {
        let occupied = (FIRST..).zip(&*self.native).filter(|(_, count)| **count > 0);
        let buckets = occupied.map(|(index, count)| (index, *count)).collect();
        let mut native = Native { schema: SCHEMA, zero: self.zero, buckets };
        while native.buckets.len() > EXPOSED_MAX {
            native.halve();
        }
        native
    }
}

/// Exponential buckets, of which the empty ones are left out.
///
/// The bucket of index `i` holds what is above `2^((i - 1) / 2^schema)` seconds and at most
/// `2^(i / 2^schema)`. Source: Prometheus, "Native Histograms", Buckets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Native {
    /// The resolution.
    pub(crate) schema: i32,
    /// How many are in the zero bucket.
    pub(crate) zero: u64,
    /// Index and count, by index.
    pub(crate) buckets: Vec<(i32, u64)>,
}

impl Native {
    /// Merges pairs of buckets.
    fn halve(&mut self) {
        let mut merged: Vec<(i32, u64)> = Vec::with_capacity(self.buckets.len());
        for &(index, count) in &self.buckets {
            let index = (index + 1).div_euclid(2);
            match merged.last_mut() {
                Some((last, sum)) if *last == index => *sum += count,
                _ => merged.push((index, count)),
            }
        }
        *self = Native { schema: self.schema - 1, zero: self.zero, buckets: merged };
    }
}

/// The place of the exponential bucket for `nanos` nanoseconds; none for the zero bucket.
fn native_bucket(nanos: u64) -> Option<usize> {
    let index = native_index(nanos as f64 / 1e9);
    let place = usize::try_from(index - FIRST).ok()?;
    Some(place.min(NATIVE_LEN - 1))
}

/// The index of the exponential bucket for `seconds`, which are finite and not negative.
fn native_index(seconds: f64) -> i32 {
    // An f64 is a fraction and a power of two. For zero and what is nearly zero the power is so
    // low that the bucket is far below the first.
    let bits = seconds.to_bits();
    let exponent = i32::try_from(bits >> 52).expect("an exponent of eleven bits, and no sign");
    let fraction = f64::from_bits(bits & ((1 << 52) - 1) | 1022 << 52);
    let within = FRACTIONS.iter().filter(|&&bound| bound < fraction).count();
    let within = i32::try_from(within).expect("at most eight");
    (exponent - 1023) * PER_DOUBLING + within
}

#[cfg(test)]
mod tests;
