//! What holds in every store, about reading and writing.

use std::time::Duration;

use weft_store::{
    BYTES_MAX, Conflict, EntryKey, Expectation, Filter, Item, NAME_BYTES_MAX, Outcome, Store,
    StoreError, Version,
};
use weft_world::UnixTime;

use crate::{apply, apply_at, key, on_each_store, put};

#[test]
fn a_new_store_is_empty_and_at_version_one() {
    on_each_store(|store| {
        assert_eq!(store.version().unwrap(), Version::new(1));
        let listing = store.list(&Filter::default()).unwrap();
        assert_eq!((listing.version, listing.documents), (Version::new(1), vec![]));
        assert_eq!(store.get(&key("Service", "shop", "cart")).unwrap(), None);
        assert_eq!(store.get_value("revocations").unwrap(), None);
        assert_eq!(store.leases().unwrap(), []);
    });
}

#[test]
fn what_was_written_is_read() {
    on_each_store(|store| {
        let name = key("Service", "shop", "cart");
        let text: &[u8] = b"kind: Service\0\xff";
        let applied = apply_at(store, 7, vec![Item::put(name.clone(), text)]).unwrap();
        assert_eq!(applied.version, Version::new(2));
        assert_eq!(applied.outcomes, [Outcome::Created(Version::new(2))]);
        let found = store.get(&name).unwrap().unwrap();
        assert_eq!((&found.key, found.version), (&name, Version::new(2)));
        assert_eq!(found.created, UnixTime(Duration::from_secs(7)));
        assert_eq!(&*found.text, text);
    });
}

#[test]
fn an_update_keeps_the_time_of_creation_and_a_new_one_does_not() {
    on_each_store(|store| {
        let name = key("Service", "shop", "cart");
        let created = || store.get(&name).unwrap().unwrap().created.0.as_secs();
        apply_at(store, 1, vec![put("cart", "a")]).unwrap();
        let applied = apply_at(store, 2, vec![put("cart", "b")]).unwrap();
        assert_eq!(applied.outcomes, [Outcome::Updated(Version::new(3))]);
        assert_eq!(created(), 1);
        apply_at(store, 3, vec![Item::delete(name.clone())]).unwrap();
        apply_at(store, 4, vec![put("cart", "c")]).unwrap();
        assert_eq!(created(), 4);
        assert_eq!(store.version().unwrap(), Version::new(5));
    });
}

#[test]
fn what_changes_nothing_raises_no_version() {
    on_each_store(|store| {
        apply(store, vec![put("cart", "a"), Item::put_value("next", *b"1")]).unwrap();
        let again = vec![
            put("cart", "a"),
            Item::put_value("next", *b"1"),
            Item::delete(key("Service", "shop", "web")),
        ];
        let applied = apply(store, again).unwrap();
        let unchanged = Outcome::Unchanged(Version::new(2));
        assert_eq!(applied.outcomes, [unchanged, unchanged, Outcome::Missing]);
        assert_eq!(applied.version, Version::new(2));
        assert_eq!(apply(store, vec![]).unwrap().version, Version::new(2));
    });
}

#[test]
fn a_batch_has_one_version() {
    on_each_store(|store| {
        apply(store, vec![put("cart", "a"), put("web", "a")]).unwrap();
        let batch = vec![
            put("web", "b"),
            Item::delete(key("Service", "shop", "cart")),
            put("api", "a"),
            Item::put_value("next", *b"1"),
            Item::register("web-1", Duration::from_secs(30), *b"10.0.0.1"),
        ];
        let version = Version::new(3);
        let applied = apply(store, batch).unwrap();
        let (created, updated) = (Outcome::Created(version), Outcome::Updated(version));
        assert_eq!(applied.outcomes, [updated, Outcome::Deleted, created, created, created]);
        let listing = store.list(&Filter::default()).unwrap();
        let versions: Vec<Version> = listing.documents.iter().map(|found| found.version).collect();
        assert_eq!(versions, [version, version]);
        assert_eq!(store.get_value("next").unwrap().unwrap().version, version);
        assert_eq!(store.leases().unwrap()[0].registration.version, version);
    });
}

#[test]
fn all_conflicts_come_at_once_and_nothing_is_changed() {
    on_each_store(|store| {
        apply(store, vec![put("cart", "a"), Item::put_value("next", *b"1")]).unwrap();
        let expected = Expectation::Version(Version::new(9));
        let batch = vec![
            put("cart", "b").expecting(Expectation::Absent),
            put("web", "a").expecting(Expectation::Absent),
            put("api", "a").expecting(expected),
            Item::put_value("next", *b"2").expecting(expected),
            Item::deregister("web-1").expecting(expected),
        ];
        let error = apply(store, batch).unwrap_err();
        let document = |name| EntryKey::Document(key("Service", "shop", name));
        let (found, absent) = (Some(Version::new(2)), Expectation::Absent);
        let conflict = |key, expected, found| Conflict { key, expected, found };
        let StoreError::Conflict(conflicts) = &error else { panic!("{error}") };
        assert_eq!(
            *conflicts,
            [
                conflict(document("cart"), absent, found),
                conflict(document("api"), expected, None),
                conflict(EntryKey::Value("next".into()), expected, found),
                conflict(EntryKey::Lease("web-1".into()), expected, None),
            ]
        );
        assert_eq!(
            error.to_string(),
            "Service shop/cart exists already, at version 2: update it instead; \
             Service shop/api does not exist, version 9 is expected: it was deleted; \
             value next is at version 2, not 9: read it again and repeat the change; \
             lease web-1 does not exist, version 9 is expected: it was deleted"
        );
        assert_eq!(store.version().unwrap(), Version::new(2));
        assert_eq!(store.get(&key("Service", "shop", "web")).unwrap(), None);
    });
}

#[test]
fn a_value_is_compared_and_swapped() {
    on_each_store(|store| {
        let swap = |bytes: &[u8], expectation| {
            apply(store, vec![Item::put_value("next", bytes).expecting(expectation)])
        };
        let first = swap(b"1", Expectation::Absent).unwrap().version;
        assert!(matches!(swap(b"1", Expectation::Absent), Err(StoreError::Conflict(_))));
        let second = swap(b"2", Expectation::Version(first)).unwrap().version;
        assert!(matches!(swap(b"3", Expectation::Version(first)), Err(StoreError::Conflict(_))));
        let value = store.get_value("next").unwrap().unwrap();
        assert_eq!((&*value.bytes, value.version), (&b"2"[..], second));
    });
}

#[test]
fn values_are_listed_by_prefix() {
    on_each_store(|store| {
        let names = ["token/b", "token/a", "tokens", "address/a"];
        let batch = names.iter().map(|name| Item::put_value(*name, *b"x")).collect();
        apply(store, batch).unwrap();
        let listed = |prefix: &str| -> Vec<String> {
            let values = store.list_values(prefix).unwrap();
            values.into_iter().map(|value| value.name).collect()
        };
        assert_eq!(listed("token/"), ["token/a", "token/b"]);
        assert_eq!(listed("").len(), 4);
        assert_eq!(listed("u"), [""; 0]);
    });
}

#[test]
fn documents_are_listed_by_kind_and_namespace() {
    on_each_store(|store| {
        let keys = [
            key("Mesh", "", "mesh"),
            key("HTTPRoute", "shop", "web"),
            key("Service", "shop", "cart"),
            key("Service", "bank", "cart"),
        ];
        let batch = keys.iter().map(|key| Item::put(key.clone(), *b"x")).collect();
        apply(store, batch).unwrap();
        let listed = |kind: Option<&str>, namespace: Option<&str>| -> Vec<String> {
            let (kind, namespace) = (kind.map(str::to_owned), namespace.map(str::to_owned));
            let listing = store.list(&Filter { kind, namespace }).unwrap();
            listing.documents.iter().map(|document| document.key.to_string()).collect()
        };
        assert_eq!(listed(Some("Service"), None), ["Service bank/cart", "Service shop/cart"]);
        assert_eq!(listed(None, Some("shop")), ["HTTPRoute shop/web", "Service shop/cart"]);
        assert_eq!(listed(None, Some("")), ["Mesh mesh"]);
        assert_eq!(listed(Some("Service"), Some("bank")), ["Service bank/cart"]);
        assert_eq!(listed(None, None).len(), 4);
    });
}

#[test]
fn what_cannot_be_stored_is_refused() {
    on_each_store(|store| {
        let refusal = |item: Item| {
            let error = apply(store, vec![put("web", "a"), item]).unwrap_err();
            assert_eq!(store.version().unwrap(), Version::FIRST);
            error.to_string()
        };
        assert_eq!(
            refusal(put("web", "b")),
            "Service shop/web is named twice in one batch: send one change for it"
        );
        assert_eq!(
            refusal(Item::put(key("Service", "shop", "cart"), vec![0; BYTES_MAX + 1])),
            "Service shop/cart has 1048577 bytes, the most is 1048576: split it"
        );
        assert!(refusal(Item::put_value("", *b"")).contains("only a namespace may be empty"));
        assert!(refusal(put("", "a")).contains("only a namespace may be empty"));
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert!(refusal(Item::deregister(long)).ends_with("has 4097 bytes, the most is 4096"));
        let largest = Item::put(key("Service", "shop", "cart"), vec![0; BYTES_MAX]);
        apply(store, vec![largest]).unwrap();
    });
}
