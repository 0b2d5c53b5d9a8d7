//! Changes that are made together, and what became of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weft_world::{Moment, UnixTime};

use crate::key::{DocumentKey, EntryKey};
use crate::version::Version;

/// Changes that are made together or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    /// When leases registered in it start to run.
    pub now: Moment,
    /// When what it creates was created; kept in whole milliseconds.
    pub wall: UnixTime,
    /// The changes, at most one for each entry.
    pub items: Vec<Item>,
}

/// One change, and what it expects to find.
#[derive(Clone, Debug)]
pub struct Item {
    pub(crate) key: EntryKey,
    pub(crate) expectation: Expectation,
    pub(crate) change: Change,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put { bytes: Arc<[u8]>, ttl: Option<Duration> },
    Delete,
}

/// What an entry must be for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// There or not.
    Any,
    /// Not there.
    Absent,
    /// There, as this version wrote it.
    Version(Version),
}

impl Item {
    fn new(key: EntryKey, change: Change) -> Item {
        Item { key, expectation: Expectation::Any, change }
    }

    /// Writes a document.
    pub fn put(key: DocumentKey, text: impl Into<Arc<[u8]>>) -> Item {
        Item::new(EntryKey::Document(key), Change::Put { bytes: text.into(), ttl: None })
    }

    /// Removes a document.
    pub fn delete(key: DocumentKey) -> Item {
        Item::new(EntryKey::Document(key), Change::Delete)
    }

    /// Writes a value.
    pub fn put_value(name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Item {
        Item::new(EntryKey::Value(name.into()), Change::Put { bytes: bytes.into(), ttl: None })
    }

    /// Removes a value.
    pub fn delete_value(name: impl Into<String>) -> Item {
        Item::new(EntryKey::Value(name.into()), Change::Delete)
    }

    /// Registers a lease, and starts its time anew also where it was registered like this before.
    ///
    /// `ttl`, kept in whole milliseconds, is how long it is healthy without being renewed.
    pub fn register(name: impl Into<String>, ttl: Duration, text: impl Into<Arc<[u8]>>) -> Item {
        let ttl = Duration::from_millis(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let change = Change::Put { bytes: text.into(), ttl: Some(ttl) };
        Item::new(EntryKey::Lease(name.into()), change)
    }

    /// Removes a lease.
    pub fn deregister(name: impl Into<String>) -> Item {
        Item::new(EntryKey::Lease(name.into()), Change::Delete)
    }

    /// The same change, made only if the entry is as `expectation` says.
    pub fn expecting(mut self, expectation: Expectation) -> Item {
        self.expectation = expectation;
        self
    }

    /// The entry that it changes.
    pub fn key(&self) -> &EntryKey {
        &self.key
    }
}

/// What a batch did. All of it is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The store's version after the batch. A batch that changes nothing leaves it as it was.
    pub version: Version,
    /// What each item did, in the order of the batch.
    pub outcomes: Vec<Outcome>,
}

/// What an item did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The entry is new.
    Created(Version),
    /// The entry was there with other bytes.
    Updated(Version),
    /// The entry had these bytes already, and keeps its version.
    Unchanged(Version),
    /// The entry is gone.
    Deleted,
    /// There was none to delete.
    Missing,
}

/// An entry that was not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The entry.
    pub key: EntryKey,
    /// What the batch expects it to be.
    pub expected: Expectation,
    /// The version it has, if it is there.
    pub found: Option<Version>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conflict { key, expected, found } = self;
        match (expected, found) {
            (Expectation::Version(expected), Some(found)) => {
                let at = format_args!("{key} is at version {found}, not {expected}");
                write!(f, "{at}: read it again and repeat the change")
            }
            (Expectation::Version(expected), None) => {
                write!(f, "{key} does not exist, version {expected} is expected: it was deleted")
            }
            (Expectation::Absent, Some(found)) => {
                write!(f, "{key} exists already, at version {found}: update it instead")
            }
            // Kept for completeness: these two expectations are met.
            (Expectation::Absent, None) | (Expectation::Any, _) => write!(f, "{key}: no conflict"),
        }
    }
}
