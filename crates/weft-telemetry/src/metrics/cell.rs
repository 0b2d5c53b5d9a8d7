//! One writer's part of a series, which others read while it is written.

use std::sync::atomic::{AtomicU64, Ordering};

/// One writer's part of a series. A series is the sum of its cells.
pub(crate) trait Cell: Default {
    /// What cells add up to.
    type Sum: Default;

    /// Adds what this cell holds to `sum`.
    fn add_to(&self, sum: &mut Self::Sum);

    /// A number that changes whenever something is counted; those of several cells are added.
    fn total(&self) -> u64;
}

/// A number that grows, or that of things which come and go.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. To be called by one thread at a time.
    pub(crate) fn add(&self, count: u64) {
        // A load and a store: there is one writer, so that nothing needs to be locked.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Subtracts one. What another writer added may be subtracted here: the sum is right.
    pub(crate) fn subtract_one(&self) {
        self.add(u64::MAX);
    }
}

impl Cell for Counter {
    type Sum = u64;

    fn add_to(&self, sum: &mut u64) {
        *sum = sum.wrapping_add(self.0.load(Ordering::Relaxed));
    }

    fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
