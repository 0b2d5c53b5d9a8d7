//! What was issued: one record for each certificate, and what has been heard of those who hold
//! them.
//!
//! A holder is a chain of certificates of which each renewed the one before; it is known by the
//! serial number of the first. Records are durable, what was heard is not: after a restart nobody
//! has been heard of, and proxies connect again by themselves.

mod fleet;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_identity::{Issued, KeyHash, PeerFacts, Serial};
use weft_model::{ObjectName, SpiffeId};
use weft_store::{Item, Value};
use weft_world::UnixTime;

pub(super) use self::fleet::Present;
use super::CaError;

/// The beginning of the names of records among the values of the store.
pub(super) const PREFIX: &str = "ca/issued/";

/// How many certificates of one holder are on record at most: one that renews without end makes no
/// endless record.
const PER_HOLDER_MAX: usize = 8;

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    identity: String,
    /// The serial number of the holder's first certificate.
    holder: String,
    /// Counts all that was issued, in order.
    number: u64,
    /// The last second of the certificate, since the Unix epoch.
    not_after: u64,
    root: KeyHash,
    /// The workload that the holder stands for, once that is known.
    #[serde(default)]
    workload: Option<String>,
    /// Whether the holder has said that it ends.
    #[serde(default)]
    left: bool,
    /// Since when the holder has had a first certificate without proving it, since the Unix epoch.
    #[serde(default)]
    unproved_since: Option<u64>,
}

/// A proxy with a stream, as it is found.
pub(super) struct Seen {
    /// Counts the streams since the start, in order.
    pub(super) seat: u64,
    pub(super) facts: PeerFacts,
    pub(super) workload: Option<String>,
    /// The number of the bundle that it holds; 0 if it is not known.
    pub(super) sequence: u64,
}

/// What was heard of a holder since the start.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// The newest certificate that it has proved, by number.
    number: u64,
    root: KeyHash,
    sequence: u64,
    /// The last stream that it had.
    seat: u64,
}

/// What was issued, and what has been heard.
#[derive(Debug, Default)]
pub(super) struct Records {
    records: BTreeMap<Serial, Record>,
    holders: BTreeMap<Serial, BTreeSet<(u64, Serial)>>,
    heard: BTreeMap<Serial, Heard>,
    /// The holders that had a stream when it was last looked.
    live: BTreeSet<Serial>,
    /// The last stream of those who have left since the start.
    left: BTreeMap<Serial, u64>,
    /// Those that the store has otherwise.
    dirty: BTreeSet<Serial>,
    number: u64,
    seats: u64,
}

impl Records {
    /// The records in `values`.
    ///
    /// # Errors
    /// [`CaError::Value`] if one cannot be read: a rotation would not wait for its holder.
    pub(super) fn load(values: &[Value]) -> Result<Records, CaError> {
        let mut records = Records::default();
        for value in values {
            let wrong = |reason: String| CaError::Value { name: value.name.clone(), reason };
            let serial = value.name.strip_prefix(PREFIX).unwrap_or_default();
            let serial: Serial = serial.parse().map_err(|error| wrong(format!("{error}")))?;
            let record: Record =
                serde_json::from_slice(&value.bytes).map_err(|error| wrong(error.to_string()))?;
            record.holder.parse::<Serial>().map_err(|error| wrong(error.to_string()))?;
            records.insert(serial, record);
        }
        Ok(records)
    }

    /// The record of `issued`, which renews the certificate `before` if it does.
    pub(super) fn draft(
        &mut self,
        issued: &Issued,
        identity: &SpiffeId,
        root: KeyHash,
        before: Option<Serial>,
        wall: UnixTime,
    ) -> (Serial, Record) {
        let renewed = before.and_then(|before| self.records.get(&before));
        let holder = match (renewed, before) {
            (Some(renewed), _) => renewed.holder.clone(),
            (None, Some(before)) => before.to_string(),
            (None, None) => issued.serial.to_string(),
        };
        let workload = renewed.and_then(|renewed| renewed.workload.clone());
        self.number += 1;
        let record = Record {
            identity: identity.to_string(),
            holder,
            number: self.number,
            not_after: issued.validity.not_after.0.as_secs(),
            root,
            workload,
            left: false,
            // Who renews has proved the one before.
            unproved_since: before.is_none().then_some(wall.0.as_secs()),
        };
        (issued.serial, record)
    }

    /// The changes of the store that put `record` on record, and those beyond the bound off it.
    pub(super) fn items(&self, serial: Serial, record: &Record) -> Vec<Item> {
        let mut items = vec![item(serial, record)];
        items.extend(self.excess(record).into_iter().map(|old| Item::delete_value(name(old))));
        items
    }

    fn excess(&self, record: &Record) -> Vec<Serial> {
        let Ok(holder) = record.holder.parse::<Serial>() else { return Vec::new() };
        let Some(chain) = self.holders.get(&holder) else { return Vec::new() };
        let excess = (chain.len() + 1).saturating_sub(PER_HOLDER_MAX);
        let proved = self.heard.get(&holder).map(|heard| heard.number);
        let others = chain.iter().filter(|(number, _)| Some(*number) != proved);
        others.take(excess).map(|(_, serial)| *serial).collect()
    }

    /// Puts on record what the store has already.
    pub(super) fn take(&mut self, serial: Serial, record: Record) {
        for old in self.excess(&record) {
            self.remove(old);
        }
        self.insert(serial, record);
    }

    fn insert(&mut self, serial: Serial, record: Record) {
        self.number = self.number.max(record.number);
        if let Ok(holder) = record.holder.parse() {
            self.holders.entry(holder).or_default().insert((record.number, serial));
        }
        self.records.insert(serial, record);
    }

    fn remove(&mut self, serial: Serial) {
        self.dirty.remove(&serial);
        let Some(record) = self.records.remove(&serial) else { return };
        let Ok(holder) = record.holder.parse() else { return };
        if let Some(chain) = self.holders.get_mut(&holder) {
            chain.remove(&(record.number, serial));
            if chain.is_empty() {
                self.holders.remove(&holder);
                self.heard.remove(&holder);
                self.left.remove(&holder);
            }
        }
    }

    /// The last second of the certificate `serial`, if it is on record.
    pub(super) fn not_after(&self, serial: &Serial) -> Option<UnixTime> {
        let record = self.records.get(serial)?;
        Some(UnixTime(Duration::from_secs(record.not_after)))
    }

    /// The last second of the certificate that the holder of the certificate `serial` uses by now,
    /// as far as it was heard of.
    pub(super) fn in_use_until(&self, serial: &Serial) -> Option<UnixTime> {
        let holder: Serial = self.records.get(serial)?.holder.parse().ok()?;
        let number = self.heard.get(&holder)?.number;
        let (_, newest) = self.holders.get(&holder)?.iter().find(|(found, _)| *found == number)?;
        self.not_after(newest)
    }

    /// Whether the certificate that `facts` tell of is on record.
    pub(super) fn knows(&self, facts: &PeerFacts) -> bool {
        self.records.get(&facts.serial).is_some_and(|record| {
            record.root == facts.issuer.root && record.identity == facts.identity.to_string()
        })
    }

    /// Notes that the holder of a certificate has proved it, and returns the holder. One that is
    /// not on record, since an earlier version issued it, is put there.
    pub(super) fn proved(&mut self, facts: &PeerFacts) -> Option<Serial> {
        if !self.records.contains_key(&facts.serial) {
            let record = Record {
                identity: facts.identity.to_string(),
                holder: facts.serial.to_string(),
                // Older than all that is on record by itself.
                number: 0,
                not_after: facts.not_after.0.as_secs(),
                root: facts.issuer.root,
                workload: None,
                left: false,
                unproved_since: None,
            };
            self.insert(facts.serial, record);
            self.dirty.insert(facts.serial);
        }
        let record = self.records.get(&facts.serial)?;
        let holder = record.holder.parse().ok()?;
        let new = Heard { number: record.number, root: record.root, sequence: 0, seat: 0 };
        let heard = self.heard.entry(holder).or_insert(new);
        if record.number > heard.number {
            (heard.number, heard.root) = (record.number, record.root);
        }
        self.edit(holder, |record| record.unproved_since.take().is_some());
        Some(holder)
    }

    /// Notes that the holder of a certificate has registered `workload`.
    pub(super) fn register(&mut self, facts: &PeerFacts, workload: &ObjectName) {
        let Some(holder) = self.proved(facts) else { return };
        let workload = Some(workload.to_string());
        self.edit(holder, |record| {
            let is_news = record.workload != workload;
            record.workload.clone_from(&workload);
            is_news
        });
    }

    /// Changes the records of `holder`; `edit` says whether there is something to write.
    fn edit(&mut self, holder: Serial, mut edit: impl FnMut(&mut Record) -> bool) {
        for (_, serial) in self.holders.get(&holder).into_iter().flatten() {
            if let Some(record) = self.records.get_mut(serial)
                && edit(record)
            {
                self.dirty.insert(*serial);
            }
        }
    }

    /// Notes those who have a stream.
    pub(super) fn see(&mut self, streams: &[Seen]) {
        self.live.clear();
        for seen in streams {
            self.seats = self.seats.max(seen.seat);
            let Some(holder) = self.proved(&seen.facts) else { continue };
            self.live.insert(holder);
            if let Some(heard) = self.heard.get_mut(&holder)
                && seen.seat >= heard.seat
            {
                (heard.seat, heard.sequence) = (seen.seat, seen.sequence);
            }
            let is_back = self.left.get(&holder).is_none_or(|before| seen.seat > *before);
            if is_back {
                self.left.remove(&holder);
            }
            self.edit(holder, |record| {
                let is_news = seen.workload.is_some() && record.workload != seen.workload;
                let is_changed = is_news || (is_back && record.left);
                if is_changed {
                    record.left &= !is_back;
                    record.workload = seen.workload.clone().or(record.workload.take());
                }
                is_changed
            });
        }
    }

    /// Notes that the holder of a certificate ends. `seats` is how many streams there were, and
    /// `streams` has the certificates of those that there are: if two are the holder's, it goes on
    /// in another process.
    pub(super) fn leave(&mut self, facts: &PeerFacts, seats: u64, streams: &[Serial]) {
        let Some(holder) = self.proved(facts) else { return };
        let holder_text = holder.to_string();
        let is_own = |serial: &&Serial| {
            self.records.get(*serial).is_some_and(|record| record.holder == holder_text)
        };
        if streams.iter().filter(is_own).count() > 1 {
            return;
        }
        self.left.insert(holder, seats);
        self.edit(holder, |record| !std::mem::replace(&mut record.left, true));
    }

    /// Forgets what has expired, and returns at most `most` changes of the store that are due, and
    /// the certificates to be [marked](Self::mark) again if the store does not take them.
    pub(super) fn settle(&mut self, now: UnixTime, most: usize) -> (Vec<Item>, Vec<Serial>) {
        let now = now.0.as_secs();
        let expired = self.records.iter().filter(|(_, record)| record.not_after < now);
        let expired: Vec<_> = expired.map(|(serial, _)| *serial).take(most).collect();
        let mut items: Vec<_> =
            expired.iter().map(|serial| Item::delete_value(name(*serial))).collect();
        expired.into_iter().for_each(|serial| self.remove(serial));
        let mut written = Vec::new();
        while items.len() < most
            && let Some(serial) = self.dirty.pop_first()
        {
            items.extend(self.records.get(&serial).map(|record| item(serial, record)));
            written.push(serial);
        }
        (items, written)
    }

    /// Has the records of `serials` written again.
    pub(super) fn mark(&mut self, serials: Vec<Serial>) {
        let there = serials.into_iter().filter(|serial| self.records.contains_key(serial));
        self.dirty.extend(there);
    }
}

fn name(serial: Serial) -> String {
    format!("{PREFIX}{serial}")
}

fn item(serial: Serial, record: &Record) -> Item {
    let bytes = serde_json::to_vec(record).expect("plain data");
    Item::put_value(name(serial), bytes)
}
