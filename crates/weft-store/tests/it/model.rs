//! Random operations on each store and on a simple model beside it: they always agree.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use weft_store::{
    Event, Expectation, Filter, Item, LocalStore, Outcome, Store, StoreError, Version,
};

use crate::place::Place;
use crate::{apply, key, options};

/// What to do to one of a few entries.
#[derive(Clone, Debug)]
struct Step {
    entry: usize,
    text: Option<Vec<u8>>,
    expectation: Expected,
}

/// What is expected, in words that fit any state.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Any,
    Absent,
    AsItIs,
    Version(u64),
}

#[derive(Clone, Debug)]
enum Operation {
    Apply(Vec<Step>),
    Reopen,
    Watch,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let text = prop_oneof![
        3 => vec(0..3u8, 0..2).prop_map(Some),
        1 => vec(any::<u8>(), 0..5000).prop_map(Some),
        2 => Just(None)
    ];
    let expectation = prop_oneof![
        6 => Just(Expected::Any),
        1 => Just(Expected::Absent),
        4 => Just(Expected::AsItIs),
        1 => (1..20u64).prop_map(Expected::Version)
    ];
    let step = (0..ENTRIES, text, expectation).prop_map(|(entry, text, expectation)| Step {
        entry,
        text,
        expectation,
    });
    let operation = prop_oneof![
        12 => vec(step, 0..5).prop_map(Operation::Apply),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Watch)
    ];
    vec(operation, 1..30)
}

/// Documents, values and leases, by the number of an entry.
const ENTRIES: usize = 9;

fn document(entry: usize) -> weft_store::DocumentKey {
    key(["Service", "Mesh"][entry % 2], ["shop", ""][entry % 2], &entry.to_string())
}

fn item(step: &Step, expectation: Expectation) -> Item {
    let Step { entry, text, .. } = step.clone();
    let name = entry.to_string();
    let item = match (entry / 3, text) {
        (0, Some(text)) => Item::put(document(entry), text),
        (0, None) => Item::delete(document(entry)),
        (1, Some(text)) => Item::put_value(name, text),
        (1, None) => Item::delete_value(name),
        (_, Some(text)) => Item::register(name, Duration::from_secs(30), text),
        (_, None) => Item::deregister(name),
    };
    item.expecting(expectation)
}

/// The model: entries by number, each with its version and text.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    version: u64,
    entries: BTreeMap<usize, (u64, Vec<u8>)>,
}

impl Model {
    fn expectation(&self, step: &Step) -> Expectation {
        match (step.expectation, self.entries.get(&step.entry)) {
            (Expected::Any, _) => Expectation::Any,
            (Expected::Absent, _) | (Expected::AsItIs, None) => Expectation::Absent,
            (Expected::AsItIs, Some((version, _))) => Expectation::Version(Version::new(*version)),
            (Expected::Version(version), _) => Expectation::Version(Version::new(version)),
        }
    }

    /// Whether what `step` expects is so.
    fn is_met(&self, step: &Step) -> bool {
        let found = self.entries.get(&step.entry).map(|(version, _)| Version::new(*version));
        match self.expectation(step) {
            Expectation::Any => true,
            Expectation::Absent => found.is_none(),
            Expectation::Version(version) => found == Some(version),
        }
    }

    fn apply(&mut self, steps: &[Step]) -> Vec<Outcome> {
        let next = self.version + 1;
        let mut outcomes = Vec::new();
        for Step { entry, text, .. } in steps {
            let found = self.entries.get(entry).cloned();
            outcomes.push(match (text, found) {
                (Some(text), Some((version, old))) if *text == old => {
                    Outcome::Unchanged(Version::new(version))
                }
                (Some(text), found) => {
                    self.entries.insert(*entry, (next, text.clone()));
                    self.version = next;
                    match found {
                        Some(_) => Outcome::Updated(Version::new(next)),
                        None => Outcome::Created(Version::new(next)),
                    }
                }
                (None, Some(_)) => {
                    self.entries.remove(entry);
                    self.version = next;
                    Outcome::Deleted
                }
                (None, None) => Outcome::Missing,
            });
        }
        outcomes
    }
}

/// What `store` holds, in the words of the model.
fn seen(store: &LocalStore) -> Model {
    let listing = store.list(&Filter::default()).unwrap();
    let mut entries = BTreeMap::new();
    let mut add = |name: &str, version: Version, text: &[u8]| {
        entries.insert(name.parse().unwrap(), (version.number(), text.to_vec()));
    };
    for found in listing.documents {
        assert_eq!(store.get(&found.key).unwrap(), Some(found.clone()));
        add(&found.key.name, found.version, &found.text);
    }
    for found in store.list_values("").unwrap() {
        assert_eq!(store.get_value(&found.name).unwrap(), Some(found.clone()));
        add(&found.name, found.version, &found.bytes);
    }
    for lease in store.leases().unwrap() {
        let found = lease.registration;
        add(&found.name, found.version, &found.text);
    }
    Model { version: listing.version.number(), entries }
}

/// Follows a watch from what `model` was, leaving out the values, which nobody watches.
fn follow(store: &LocalStore, mut model: Model) -> BTreeMap<usize, (u64, Vec<u8>)> {
    let mut watch = store.watch(Version::new(model.version)).unwrap();
    while let Some(commit) = watch.try_next().unwrap() {
        for event in &commit.events {
            let (name, entry) = match event {
                Event::Put(found) => (&found.key.name, Some((found.version, &found.text))),
                Event::Deleted(key) => (&key.name, None),
                Event::Registered(found) => (&found.name, Some((found.version, &found.text))),
                Event::Deregistered(name) => (name, None),
            };
            let name = name.parse().unwrap();
            match entry {
                Some((version, text)) => {
                    assert_eq!(version, commit.version);
                    model.entries.insert(name, (version.number(), text.to_vec()))
                }
                None => model.entries.remove(&name),
            };
        }
    }
    model.entries
}

fn run(operations: &[Operation], mut store: LocalStore, reopen: Option<&Place>) {
    let mut model = Model { version: 1, entries: BTreeMap::new() };
    let mut watched = model.clone();
    for operation in operations {
        match operation {
            Operation::Apply(steps) => {
                let mut steps = steps.clone();
                steps.sort_by_key(|step| step.entry);
                steps.dedup_by_key(|step| step.entry);
                let items = steps.iter().map(|step| item(step, model.expectation(step))).collect();
                let unmet = steps.iter().filter(|step| !model.is_met(step)).count();
                match apply(&store, items) {
                    Ok(applied) => {
                        assert_eq!(unmet, 0);
                        assert_eq!(applied.outcomes, model.apply(&steps));
                        assert_eq!(applied.version.number(), model.version);
                    }
                    Err(StoreError::Conflict(conflicts)) => {
                        assert!(unmet > 0);
                        assert_eq!(conflicts.len(), unmet);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            Operation::Reopen => {
                if let Some(place) = reopen {
                    drop(store);
                    store = LocalStore::open(place.file(), &options()).unwrap();
                    watched = model.clone();
                }
            }
            Operation::Watch => watched = model.clone(),
        }
        assert_eq!(seen(&store), model);
        let is_value = |entry: &usize| entry / 3 == 1;
        let mut followed = follow(&store, watched.clone());
        let mut expected = model.entries.clone();
        followed.retain(|entry, _| !is_value(entry));
        expected.retain(|entry, _| !is_value(entry));
        assert_eq!(followed, expected);
    }
}

/// So many cases; one that fails is printed, not written to a file.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn a_store_in_memory_agrees_with_the_model(operations in operations()) {
        run(&operations, LocalStore::in_memory(&options()), None);
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn a_store_in_a_file_agrees_with_the_model(operations in operations()) {
        let place = Place::new();
        run(&operations, LocalStore::open(place.file(), &options()).unwrap(), Some(&place));
    }
}
