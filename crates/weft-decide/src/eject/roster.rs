//! How many endpoints of a backend are ejected.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many endpoints of a backend are ejected. All its endpoints share one.
#[derive(Debug, Default)]
pub struct Roster {
    ejected: AtomicUsize,
}

impl Roster {
    /// How many are ejected now, those among them that are being probed.
    pub fn ejected(&self) -> usize {
        self.ejected.load(Ordering::Acquire)
    }

    /// Counts one more, unless that would be more than `most`.
    pub(super) fn take(&self, most: usize) -> bool {
        let one_more = |ejected| (ejected < most).then_some(ejected + 1);
        self.ejected.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    /// Counts one less, of those that were taken.
    pub(super) fn give_back(&self) {
        let before = self.ejected.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "only what was taken is given back");
    }
}
