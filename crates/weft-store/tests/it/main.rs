//! The store as its users see it: in memory and in a file, by the same laws.

#![expect(clippy::unwrap_used, reason = "clippy takes what these tests share for no test")]

mod files;
mod kill;
mod laws;
mod leases;
mod model;
mod place;
mod watching;

use std::time::Duration;

use weft_store::{Applied, Batch, DocumentKey, Item, LocalStore, Options, Store, StoreError};
use weft_world::{Moment, UnixTime};

use place::Place;

/// The moment at which every test starts.
const START: Moment = Moment::from_nanos(1_000_000_000);

fn options() -> Options {
    Options::at(START)
}

fn apply(store: &dyn Store, items: Vec<Item>) -> Result<Applied, StoreError> {
    apply_at(store, 0, items)
}

fn apply_at(store: &dyn Store, seconds: u64, items: Vec<Item>) -> Result<Applied, StoreError> {
    let after = Duration::from_secs(seconds);
    store.apply(Batch { now: START + after, wall: UnixTime(after), items })
}

fn key(kind: &str, namespace: &str, name: &str) -> DocumentKey {
    DocumentKey::new(kind, namespace, name)
}

fn put(name: &str, text: &str) -> Item {
    Item::put(key("Service", "shop", name), text.as_bytes())
}

/// Runs `law` on an empty store of each sort.
fn on_each_store(law: impl Fn(&LocalStore)) {
    on_each_store_with(&options(), law);
}

fn on_each_store_with(options: &Options, law: impl Fn(&LocalStore)) {
    law(&LocalStore::in_memory(options));
    let place = Place::new();
    law(&LocalStore::open(place.file(), options).unwrap());
}
