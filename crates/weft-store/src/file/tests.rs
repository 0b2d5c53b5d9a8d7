//! What survives crashes, failing disks and damage.

use std::io;
use std::time::Duration;

use redb::Builder;
use weft_world::{Moment, UnixTime};

use super::faults::{Dice, FaultyDisk};
use super::{META, SCHEMA_ROW, begin, fill, open_on};
use crate::batch::{Applied, Batch, Item};
use crate::error::{Fate, StoreError};
use crate::key::{DocumentKey, EntryKey};
use crate::local::{LocalStore, Options};
use crate::state::Entries;
use crate::store::{Filter, Listing, Store};
use crate::version::Version;

fn new_disk() -> FaultyDisk {
    let disk = FaultyDisk::default();
    fill(disk.clone(), Version::FIRST, &Entries::new()).unwrap();
    disk
}

fn open(disk: &FaultyDisk) -> Result<LocalStore, StoreError> {
    Ok(LocalStore::new(open_on(disk.clone())?, &Options::at(Moment::from_nanos(0))))
}

fn apply(store: &LocalStore, items: Vec<Item>) -> Result<Applied, StoreError> {
    store.apply(Batch { now: Moment::from_nanos(0), wall: UnixTime(Duration::ZERO), items })
}

fn key(name: impl ToString) -> DocumentKey {
    DocumentKey::new("Service", "shop", name.to_string())
}

fn put(name: impl ToString, bytes: usize) -> Item {
    Item::put(key(name), vec![b'x'; bytes])
}

fn all(store: &LocalStore) -> Listing {
    store.list(&Filter::default()).unwrap()
}

/// All that can be seen of a store, but for what starts anew with it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    listing: Listing,
    values: Vec<crate::Value>,
    leases: Vec<crate::Registration>,
}

fn seen(store: &LocalStore) -> Seen {
    let leases = store.leases().unwrap().into_iter().map(|lease| lease.registration).collect();
    Seen { listing: all(store), values: store.list_values("").unwrap(), leases }
}

/// A batch of several changes, each of which shows that the others belong to it: all that it
/// writes are documents, values and leases with its number in them.
fn random_batch(dice: &mut Dice, number: u64) -> Vec<Item> {
    let mut items = Vec::new();
    for name in 0..6 {
        let text = || [number.to_string().into_bytes(), vec![b'.'; 40]].concat();
        match dice.below(6) {
            0 => items.push(Item::delete(key(name))),
            1 => {
                let long = vec![b'.'; dice.below(30_000)];
                items.push(Item::put(key(name), [text(), long].concat()));
            }
            2 => items.push(Item::put_value(name.to_string(), text())),
            3 => items.push(Item::register(name.to_string(), Duration::from_secs(30), text())),
            4 => items.push(Item::deregister(name.to_string())),
            _ => {}
        }
    }
    items
}

/// What `store` shows after `items`, found out by a store in memory.
fn expected(before: &Seen, items: &[Item]) -> Seen {
    let mut entries = Entries::new();
    let entry = |version, created, ttl, bytes: &std::sync::Arc<[u8]>| crate::state::Entry {
        version,
        created,
        ttl,
        bytes: bytes.clone(),
    };
    for found in &before.listing.documents {
        let key = EntryKey::Document(found.key.clone());
        entries.insert(key, entry(found.version, found.created, None, &found.text));
    }
    for found in &before.values {
        let key = EntryKey::Value(found.name.clone());
        entries.insert(key, entry(found.version, UnixTime(Duration::ZERO), None, &found.bytes));
    }
    for found in &before.leases {
        let key = EntryKey::Lease(found.name.clone());
        let ttl = Some(found.ttl);
        entries.insert(key, entry(found.version, found.created, ttl, &found.text));
    }
    let opened = crate::local::Opened {
        journal: Box::new(crate::journal::Forgetful::new()),
        broken: false,
        version: before.listing.version,
        entries,
    };
    let store = LocalStore::new(opened, &Options::at(Moment::from_nanos(0)));
    apply(&store, items.to_vec()).unwrap();
    seen(&store)
}

/// Writes batches until the power goes, and checks after it came back that all that was
/// acknowledged is there, and the batch that was not either whole or not at all.
fn crash_and_check(seed: u64, failed_sync: bool) {
    let mut dice = Dice::new(seed);
    let mut disk = new_disk();
    let mut number = 0;
    let mut known = seen(&open(&disk).unwrap());
    for _ in 0..3 {
        // The power may also go while the store is opened.
        let crash_after = dice.below(120) as u64;
        disk.faults().until_crash = Some(crash_after);
        if failed_sync {
            disk.faults().until_failed_sync = Some(dice.below(12) as u64);
        }
        let mut in_doubt = None;
        if let Ok(store) = open(&disk) {
            assert_eq!(seen(&store), known, "seed {seed}: what was opened");
            loop {
                number += 1;
                let items = random_batch(&mut dice, number);
                let after = expected(&known, &items);
                match apply(&store, items) {
                    Ok(applied) => {
                        known = after;
                        assert_eq!(applied.version, known.listing.version, "seed {seed}");
                        assert_eq!(seen(&store), known, "seed {seed}: batch {number}");
                    }
                    Err(StoreError::Write { fate: Fate::NotMade, .. }) => {
                        assert_eq!(seen(&store), known, "seed {seed}: batch {number}, not made");
                    }
                    Err(StoreError::Write { fate: Fate::InDoubt, .. }) => {
                        assert_eq!(seen(&store), known, "seed {seed}: batch {number}, in doubt");
                        in_doubt = Some(after);
                        break;
                    }
                    Err(other) => panic!("seed {seed}: batch {number}: {other}"),
                }
            }
        }
        disk = disk.crash(&mut dice);
        let found = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = seen(&found);
        if in_doubt.as_ref() == Some(&found) {
            known = found;
        } else {
            assert_eq!(found, known, "seed {seed}: after the crash");
        }
    }
}

#[test]
fn a_crash_keeps_what_was_acknowledged_and_no_half_of_a_batch() {
    for seed in 0..200 {
        crash_and_check(seed, false);
    }
}

#[test]
fn a_failed_sync_and_then_a_crash_lose_nothing_either() {
    for seed in 1000..1200 {
        crash_and_check(seed, true);
    }
}

#[test]
fn a_disk_that_takes_nothing_leaves_the_old_state_readable_and_works_again() {
    let disk = new_disk();
    let store = open(&disk).unwrap();
    let mut watch = store.watch(Version::FIRST).unwrap();
    apply(&store, vec![put("cart", 10)]).unwrap();
    let before = all(&store);

    disk.faults().failing = Some(io::ErrorKind::StorageFull);
    let error = apply(&store, vec![put("web", 10)]).unwrap_err();
    assert!(matches!(error, StoreError::Write { fate: Fate::InDoubt, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "cannot write faulty.redb: whether the change was made is known when the disk works again: \
         its disk is full: make room there and try again"
    );
    // The next one is not even begun.
    let error = apply(&store, vec![put("api", 10)]).unwrap_err();
    assert!(matches!(error, StoreError::Write { fate: Fate::NotMade, .. }), "{error}");
    assert_eq!(all(&store), before);

    disk.faults().failing = None;
    let applied = apply(&store, vec![put("web", 20)]).unwrap();
    assert_eq!(store.get(&key("web")).unwrap().unwrap().text.len(), 20);
    assert_eq!(store.get(&key("api")).unwrap(), None);
    // Watchers saw just what happened, once and in order.
    let mut versions = Vec::new();
    while let Some(commit) = watch.try_next().unwrap() {
        versions.push(commit.version);
    }
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert_eq!(versions.last(), Some(&applied.version));
    let after = seen(&store);
    drop(store);
    assert_eq!(seen(&open(&disk).unwrap()), after);
}

#[test]
fn a_disk_that_gets_full_refuses_what_does_not_fit() {
    let disk = new_disk();
    let store = open(&disk).unwrap();
    apply(&store, vec![put("cart", 10)]).unwrap();
    let blocks = disk.faults().blocks();
    disk.faults().blocks_max = Some(blocks + 500);

    let mut kept = Vec::new();
    let error = loop {
        let name = kept.len().to_string();
        match apply(&store, vec![put(&name, 300_000)]) {
            Ok(_) => kept.push(name),
            Err(error) => break error,
        }
        assert!(kept.len() < 100, "the disk never was full");
    };
    let StoreError::Write { fate: Fate::NotMade, source, .. } = error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    assert_eq!(all(&store).documents.len(), 1 + kept.len());

    // What fits is taken at once, and so is what makes room.
    apply(&store, vec![put("cart", 20)]).unwrap();
    apply(&store, vec![Item::delete(key(&kept[0]))]).unwrap();
    let after = seen(&store);
    drop(store);
    assert_eq!(seen(&open(&disk).unwrap()), after);
}

#[test]
fn a_read_only_disk_can_be_read() {
    let disk = new_disk();
    apply(&open(&disk).unwrap(), vec![put("cart", 10)]).unwrap();

    disk.faults().read_only = true;
    let store = open(&disk).unwrap();
    assert_eq!(all(&store).documents.len(), 1);
    let error = apply(&store, vec![put("web", 10)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot write faulty.redb: the change was not made: its disk is read-only: mount it \
         writable and try again"
    );

    disk.faults().read_only = false;
    apply(&store, vec![put("web", 10)]).unwrap();
    drop(store);
    assert_eq!(all(&open(&disk).unwrap()).documents.len(), 2);
}

#[test]
fn a_newer_schema_is_refused_by_its_number() {
    let disk = new_disk();
    let database = Builder::new().create_with_backend(disk.clone()).unwrap();
    let transaction = begin(&database).unwrap();
    transaction.open_table(META).unwrap().insert(SCHEMA_ROW, 7).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = open(&disk).err().unwrap();
    assert!(matches!(error, StoreError::NewerSchema { found: 7, known: 1, .. }), "{error}");
    assert!(error.to_string().starts_with("faulty.redb has schema 7"), "{error}");
}

#[test]
fn a_database_of_somebody_else_is_refused() {
    let disk = FaultyDisk::default();
    drop(Builder::new().create_with_backend(disk.clone()).unwrap());
    let error = open(&disk).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

fn refused(content: Vec<u8>) -> String {
    match open(&FaultyDisk::with(content)) {
        Err(error @ StoreError::Damaged { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(store) => panic!("opened with {:?}", all(&store)),
    }
}

#[test]
fn what_is_no_store_is_refused() {
    let advice = "put a copy from a backup in its place";
    for content in [vec![], b"apiVersion: v1".to_vec(), vec![0; 4096], vec![b'x'; 100_000]] {
        let error = refused(content);
        assert!(error.starts_with("faulty.redb is damaged: "), "{error}");
        assert!(error.ends_with(advice), "{error}");
    }
}

/// A file with damage is refused, or holds just what it should: where a bit does not matter, such
/// as in a free page. It is never taken for a store with something else in it.
#[test]
fn damage_is_found() {
    let disk = new_disk();
    let store = open(&disk).unwrap();
    for number in 0..40 {
        apply(&store, vec![put(number % 8, 100 * number), put("cart", number)]).unwrap();
    }
    let whole = seen(&store);
    let unclosed = disk.content();
    drop(store);
    let closed = disk.content();

    let mut refusals = 0;
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let mut content = if seed % 2 == 0 { closed.clone() } else { unclosed.clone() };
        // Half of the damage is where most of the sense is.
        let within = if dice.below(2) == 0 { 16 << 10 } else { content.len() };
        for _ in 0..=dice.below(3) {
            let place = dice.below(within);
            content[place] ^= 1 << dice.below(8);
        }
        if dice.below(8) == 0 {
            content.truncate(dice.below(closed.len()));
        }
        match open(&FaultyDisk::with(content)) {
            Ok(store) => assert_eq!(seen(&store), whole, "seed {seed}"),
            Err(StoreError::Damaged { .. }) => refusals += 1,
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
    assert!(refusals > 100, "{refusals}");
}
