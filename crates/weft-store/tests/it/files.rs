//! What holds of a store in a file: restarts, locks, backups, and what is said when it cannot be.

use std::fs;
use std::path::Path;
use std::time::Duration;

use weft_store::{Filter, Item, LocalStore, Store, StoreError, Version};

use crate::place::Place;
use crate::{apply, key, on_each_store, options, put};

fn open(path: &Path) -> Result<LocalStore, StoreError> {
    LocalStore::open(path, &options())
}

fn message(path: &Path) -> String {
    open(path).err().expect("refused").to_string()
}

#[test]
fn a_restart_keeps_all_and_uses_no_version_twice() {
    let place = Place::new();
    let store = open(&place.file()).unwrap();
    let items = vec![
        put("cart", "a"),
        put("web", "a"),
        Item::put_value("next", *b"1"),
        Item::register("web-1", Duration::from_millis(1500), *b"x"),
    ];
    apply(&store, items).unwrap();
    // The last version belongs to nothing that is left.
    apply(&store, vec![Item::delete(key("Service", "shop", "web"))]).unwrap();
    let (documents, values) = (store.list(&Filter::default()), store.list_values(""));
    let leases = store.leases().unwrap();
    drop(store);

    let store = open(&place.file()).unwrap();
    assert_eq!(store.list(&Filter::default()).unwrap(), documents.unwrap());
    assert_eq!(store.list_values("").unwrap(), values.unwrap());
    assert_eq!(store.leases().unwrap(), leases);
    assert_eq!(apply(&store, vec![put("web", "b")]).unwrap().version, Version::new(4));
}

#[test]
fn a_second_one_is_kept_out() {
    let place = Place::new();
    let path = place.file();
    let store = open(&path).unwrap();
    let error = open(&path).err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "{} is in use: stop the other control plane, or give this one its own file",
            path.display()
        )
    );
    apply(&store, vec![put("cart", "a")]).unwrap();
    drop(store);
    assert_eq!(open(&path).unwrap().version().unwrap(), Version::new(2));
}

#[test]
fn what_a_crash_left_of_making_the_file_is_no_hindrance() {
    let place = Place::new();
    fs::write(place.path().join("store.redb.new"), "half").unwrap();
    apply(&open(&place.file()).unwrap(), vec![put("cart", "a")]).unwrap();
    assert!(!place.path().join("store.redb.new").exists());
}

#[test]
fn what_cannot_be_opened_says_why_and_what_to_do() {
    let place = Place::new();
    let path = place.file();
    let nowhere = place.path().join("nowhere/store.redb");
    let expected = format!("cannot open {}: make its directory first", nowhere.display());
    assert_eq!(message(&nowhere), expected);

    fs::write(&path, "kind: Mesh\n").unwrap();
    let advice = "put a copy from a backup in its place";
    let expected = format!("{} is damaged: it is not a store: {advice}", path.display());
    assert_eq!(message(&path), expected);
    assert_eq!(fs::read(&path).unwrap(), b"kind: Mesh\n");

    fs::write(&path, "").unwrap();
    let expected = format!("{} is damaged: it is empty: {advice}", path.display());
    assert_eq!(message(&path), expected);

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let expected = format!("cannot open {}: it is a directory: name a file in it", path.display());
    assert_eq!(message(&path), expected);
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_what_is_made() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    open(&place.file()).unwrap().backup(&place.path().join("backup.redb")).unwrap();
    let mut count = 0;
    for file in fs::read_dir(place.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn a_backup_is_a_store_of_its_own_whose_versions_are_new() {
    on_each_store(|store| {
        let place = Place::new();
        let path = place.path().join("backup.redb");
        let items = vec![
            put("cart", "a"),
            Item::put_value("next", *b"1"),
            Item::register("web-1", Duration::from_secs(30), *b"x"),
        ];
        apply(store, items).unwrap();
        store.backup(&path).unwrap();
        apply(store, vec![put("cart", "b")]).unwrap();

        let copy = open(&path).unwrap();
        let found = copy.get(&key("Service", "shop", "cart")).unwrap().unwrap();
        assert_eq!((&*found.text, found.version), (&b"a"[..], Version::new(2)));
        assert_eq!(copy.list_values("").unwrap(), store.list_values("").unwrap());
        assert_eq!(copy.leases().unwrap(), store.leases().unwrap());
        // No version that the store gives out after the backup is given out by the copy.
        let version = apply(&copy, vec![put("cart", "c")]).unwrap().version;
        assert_eq!(version, Version::new(1_000_000_003));
        drop(copy);

        let error = store.backup(&path).unwrap_err().to_string();
        assert!(error.ends_with("there is a file already: choose another name, or remove it"));
        assert_eq!(open(&path).unwrap().version().unwrap(), version);
    });
}

/// While somebody writes, each backup is the state of one version.
#[test]
fn a_backup_is_consistent_while_the_store_is_used() {
    let place = Place::new();
    let store = open(&place.file()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..60 {
                let text = number.to_string();
                apply(&store, vec![put("cart", &text), put("web", &text)]).unwrap();
            }
        });
        let mut count = 0;
        while !writer.is_finished() || count == 0 {
            let path = place.path().join(format!("backup-{count}.redb"));
            store.backup(&path).unwrap();
            let listing = open(&path).unwrap().list(&Filter::default()).unwrap();
            if let [cart, web] = &listing.documents[..] {
                assert_eq!((&cart.text, cart.version), (&web.text, web.version));
            } else {
                assert_eq!(listing.documents, []);
            }
            count += 1;
        }
    });
}
