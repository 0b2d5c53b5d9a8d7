//! All that is in a store, and how it looks from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weft_world::{Moment, UnixTime};

use crate::feed::Event;
use crate::key::{DocumentKey, EntryKey};
use crate::lease::{Lease, Registration};
use crate::store::{Document, Filter, Listing, Value};
use crate::version::Version;

/// One entry of any sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The version that wrote it.
    pub version: Version,
    /// When it was created, in whole milliseconds.
    pub created: UnixTime,
    /// For leases: how long it is healthy without being renewed, in whole milliseconds.
    pub ttl: Option<Duration>,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// What is written to one entry: what it becomes, or nothing where it goes.
#[derive(Clone, Debug)]
pub struct Write {
    /// The entry.
    pub key: EntryKey,
    /// What it becomes.
    pub entry: Option<Entry>,
}

/// All writes of one version.
#[derive(Clone, Debug)]
pub struct Revision {
    /// The version.
    pub version: Version,
    /// Its writes.
    pub writes: Vec<Write>,
}

/// What is durable of a store.
pub type Entries = BTreeMap<EntryKey, Entry>;

/// All that is in a store.
pub struct State {
    /// The store's version.
    pub version: Version,
    /// Its entries.
    pub entries: Entries,
    /// When each lease was last renewed.
    pub renewed: BTreeMap<String, Moment>,
}

impl State {
    /// The state with these entries, whose leases all start at `now`.
    pub fn new(version: Version, entries: Entries, now: Moment) -> State {
        let names = entries.keys().filter_map(|key| match key {
            EntryKey::Lease(name) => Some((name.clone(), now)),
            EntryKey::Document(_) | EntryKey::Value(_) => None,
        });
        let renewed = names.collect();
        State { version, entries, renewed }
    }

    /// Makes the writes of `revision`, whose leases start at `now`.
    pub fn install(&mut self, revision: Revision, now: Moment) {
        debug_assert!(revision.version > self.version, "versions grow");
        self.version = revision.version;
        for Write { key, entry } in revision.writes {
            if let EntryKey::Lease(name) = &key {
                match entry {
                    Some(_) => self.renewed.insert(name.clone(), now),
                    None => self.renewed.remove(name),
                };
            }
            match entry {
                Some(entry) => self.entries.insert(key, entry),
                None => self.entries.remove(&key),
            };
        }
    }

    /// Starts the time of a lease anew; `false` if there is no such lease.
    pub fn renew(&mut self, name: &str, now: Moment) -> bool {
        let renewed = self.renewed.get_mut(name).map(|renewed| *renewed = now.max(*renewed));
        renewed.is_some()
    }

    /// The document of `key`.
    pub fn document(&self, key: &DocumentKey) -> Option<Document> {
        let key = EntryKey::Document(key.clone());
        let entry = self.entries.get(&key)?;
        as_document(&key, entry)
    }

    /// The documents that `filter` lets pass.
    pub fn list(&self, filter: &Filter) -> Listing {
        // Documents are ordered before values, and values before leases.
        let documents = self.entries.range(..EntryKey::Value(String::new()));
        let passing = documents.filter_map(|(key, entry)| match key {
            EntryKey::Document(name) if filter.matches(name) => as_document(key, entry),
            _ => None,
        });
        Listing { version: self.version, documents: passing.collect() }
    }

    /// The value of `name`.
    pub fn value(&self, name: &str) -> Option<Value> {
        let Entry { version, bytes, .. } = self.entries.get(&EntryKey::Value(name.to_owned()))?;
        Some(Value { name: name.to_owned(), version: *version, bytes: bytes.clone() })
    }

    /// The values whose names start with `prefix`.
    pub fn values(&self, prefix: &str) -> Vec<Value> {
        let from = self.entries.range(EntryKey::Value(prefix.to_owned())..);
        let values = from.map_while(|(key, entry)| match key {
            EntryKey::Value(name) if name.starts_with(prefix) => {
                let (version, bytes) = (entry.version, entry.bytes.clone());
                Some(Value { name: name.clone(), version, bytes })
            }
            _ => None,
        });
        values.collect()
    }

    /// All leases.
    pub fn leases(&self) -> Vec<Lease> {
        self.renewed.keys().filter_map(|name| self.lease(name)).collect()
    }

    /// The lease of `name`.
    pub fn lease(&self, name: &str) -> Option<Lease> {
        let renewed = *self.renewed.get(name)?;
        let entry = self.entries.get(&EntryKey::Lease(name.to_owned()))?;
        Some(Lease { registration: as_registration(name, entry), renewed })
    }
}

/// What watchers see of `revision`: nothing of values.
pub fn events(revision: &Revision) -> Vec<Event> {
    let event = |Write { key, entry }: &Write| match (key, entry) {
        (EntryKey::Document(_), Some(entry)) => as_document(key, entry).map(Event::Put),
        (EntryKey::Document(key), None) => Some(Event::Deleted(key.clone())),
        (EntryKey::Lease(name), Some(entry)) => {
            Some(Event::Registered(as_registration(name, entry)))
        }
        (EntryKey::Lease(name), None) => Some(Event::Deregistered(name.clone())),
        (EntryKey::Value(_), _) => None,
    };
    revision.writes.iter().filter_map(event).collect()
}

fn as_document(key: &EntryKey, entry: &Entry) -> Option<Document> {
    let EntryKey::Document(key) = key else { return None };
    let Entry { version, created, ttl: _, bytes } = entry;
    let (version, created, text) = (*version, *created, bytes.clone());
    Some(Document { key: key.clone(), version, created, text })
}

fn as_registration(name: &str, entry: &Entry) -> Registration {
    let Entry { version, created, ttl, bytes } = entry;
    Registration {
        name: name.to_owned(),
        version: *version,
        created: *created,
        ttl: ttl.unwrap_or_default(),
        text: bytes.clone(),
    }
}
