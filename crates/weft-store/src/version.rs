//! The version of a store, and of each entry in it.

use std::fmt;

/// How often the store has been changed: a version of the whole store, or the one that wrote an
/// entry. It only grows, over restarts too, and is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version of a store that nothing was ever written to.
    pub const FIRST: Version = Version(1);

    /// The greatest that a file may hold. Above it, a file is taken for damaged.
    pub(crate) const MAX: Version = Version(u64::MAX / 2);

    /// The version with this number.
    pub const fn new(number: u64) -> Version {
        Version(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The version after this one.
    pub(crate) fn next(self) -> Version {
        self.plus(1)
    }

    /// The version `count` changes after this one.
    pub(crate) fn plus(self, count: u64) -> Version {
        Version(self.0 + count)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
