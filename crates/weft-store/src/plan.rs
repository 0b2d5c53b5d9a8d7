//! What a batch does to the entries: decided here, made elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_world::UnixTime;

use crate::batch::{Applied, Batch, Change, Conflict, Expectation, Item, Outcome};
use crate::error::StoreError;
use crate::key::EntryKey;
use crate::state::{Entries, Entry, Revision, Write};
use crate::version::Version;

/// The most bytes that one entry may have: four times the largest file of resources one writes by
/// hand, and little enough for a thousand of them to be held in memory.
pub const BYTES_MAX: usize = 1 << 20;

/// The most bytes that the parts of a key may have together: kind, namespace and name of
/// Kubernetes fit, and so does a SPIFFE ID of 2,048.
pub const NAME_BYTES_MAX: usize = 4096;

/// What a batch does.
#[derive(Debug)]
pub struct Plan {
    /// What is to be written, if anything.
    pub revision: Option<Revision>,
    /// What the caller is told once it is written.
    pub applied: Applied,
    /// Leases that were registered as they are already: only their time starts anew.
    pub renewed: Vec<String>,
}

/// Decides what `batch` does to a store of `version` with `entries`.
///
/// # Errors
/// All that [`Store::apply`](crate::Store::apply) refuses.
pub fn plan(version: Version, entries: &Entries, batch: Batch) -> Result<Plan, StoreError> {
    let Batch { now: _, wall, items } = batch;
    check(&items)?;
    let conflicts: Vec<Conflict> = items.iter().filter_map(|i| conflict(entries, i)).collect();
    if !conflicts.is_empty() {
        return Err(StoreError::Conflict(conflicts));
    }
    let (next, wall) = (version.next(), whole_millis(wall));
    let (mut writes, mut renewed) = (Vec::new(), Vec::new());
    let mut outcomes = Vec::with_capacity(items.len());
    for Item { key, expectation: _, change } in items {
        let (outcome, entry) = outcome(entries.get(&key), change, next, wall);
        outcomes.push(outcome);
        match (outcome, key) {
            (Outcome::Unchanged(_), EntryKey::Lease(name)) => renewed.push(name),
            (Outcome::Unchanged(_) | Outcome::Missing, _) => {}
            (Outcome::Created(_) | Outcome::Updated(_) | Outcome::Deleted, key) => {
                writes.push(Write { key, entry });
            }
        }
    }
    if writes.is_empty() {
        return Ok(Plan { revision: None, applied: Applied { version, outcomes }, renewed });
    }
    let revision = Some(Revision { version: next, writes });
    Ok(Plan { revision, applied: Applied { version: next, outcomes }, renewed })
}

/// What `change` does to the entry `found`, and what it becomes.
fn outcome(
    found: Option<&Entry>,
    change: Change,
    next: Version,
    wall: UnixTime,
) -> (Outcome, Option<Entry>) {
    match (change, found) {
        (Change::Put { bytes, ttl }, Some(old)) if old.bytes == bytes && old.ttl == ttl => {
            (Outcome::Unchanged(old.version), None)
        }
        (Change::Put { bytes, ttl }, Some(old)) => {
            let entry = Entry { version: next, created: old.created, ttl, bytes };
            (Outcome::Updated(next), Some(entry))
        }
        (Change::Put { bytes, ttl }, None) => {
            (Outcome::Created(next), Some(Entry { version: next, created: wall, ttl, bytes }))
        }
        (Change::Delete, Some(_)) => (Outcome::Deleted, None),
        (Change::Delete, None) => (Outcome::Missing, None),
    }
}

fn conflict(entries: &Entries, item: &Item) -> Option<Conflict> {
    let found = entries.get(&item.key).map(|entry| entry.version);
    let met = match item.expectation {
        Expectation::Any => true,
        Expectation::Absent => found.is_none(),
        Expectation::Version(version) => found == Some(version),
    };
    (!met).then(|| Conflict { key: item.key.clone(), expected: item.expectation, found })
}

/// Refuses what could not be stored in any store.
fn check(items: &[Item]) -> Result<(), StoreError> {
    let mut seen = BTreeSet::new();
    for item in items {
        if !seen.insert(&item.key) {
            return Err(StoreError::NamedTwice { key: item.key.clone() });
        }
        let bad = |what: String| StoreError::BadKey { key: item.key.clone(), what };
        let (parts, needed): (usize, &[&String]) = match &item.key {
            EntryKey::Document(key) => {
                (key.kind.len() + key.namespace.len() + key.name.len(), &[&key.kind, &key.name])
            }
            EntryKey::Value(name) | EntryKey::Lease(name) => (name.len(), &[name]),
        };
        if needed.iter().any(|part| part.is_empty()) {
            return Err(bad("has an empty part: only a namespace may be empty".into()));
        }
        if parts > NAME_BYTES_MAX {
            return Err(bad(format!("has {parts} bytes, the most is {NAME_BYTES_MAX}")));
        }
        if let Change::Put { bytes, .. } = &item.change
            && bytes.len() > BYTES_MAX
        {
            let (key, bytes) = (item.key.clone(), bytes.len());
            return Err(StoreError::TooLarge { key, bytes, bytes_max: BYTES_MAX });
        }
    }
    Ok(())
}

/// What the file keeps of a time, so that a store in memory and one in a file say the same.
fn whole_millis(wall: UnixTime) -> UnixTime {
    UnixTime(Duration::from_millis(u64::try_from(wall.0.as_millis()).unwrap_or(u64::MAX)))
}
