//! What holds in every store about leases.

use std::time::Duration;

use weft_store::{Item, Outcome};
use weft_store::{LeaseState, LocalStore, Options, Store, StoreError, Version};

use crate::place::Place;
use crate::{START, apply_at, on_each_store, options};

const TTL: Duration = Duration::from_secs(30);

fn states(store: &LocalStore, seconds: u64) -> Vec<LeaseState> {
    let now = START + Duration::from_secs(seconds);
    store.leases().unwrap().iter().map(|lease| lease.state(now)).collect()
}

#[test]
fn a_lease_lives_by_being_renewed() {
    on_each_store(|store| {
        let items = vec![
            Item::register("cart-1", TTL, *b"10.0.0.1"),
            Item::register("cart-2", TTL, *b"10.0.0.2"),
        ];
        apply_at(store, 100, items).unwrap();
        assert_eq!(states(store, 129), [LeaseState::Healthy; 2]);
        store.renew("cart-2", START + Duration::from_secs(120)).unwrap();
        assert_eq!(states(store, 140), [LeaseState::Unhealthy, LeaseState::Healthy]);
        assert_eq!(states(store, 710), [LeaseState::Expired, LeaseState::Unhealthy]);
        assert_eq!(store.lease("cart-2").unwrap().as_ref(), store.leases().unwrap().get(1));
        assert_eq!(store.lease("cart-3").unwrap(), None);
        // To renew writes nothing, and a late call does not set the lease back.
        assert_eq!(store.version().unwrap(), Version::new(2));
        store.renew("cart-2", START).unwrap();
        assert_eq!(states(store, 140), [LeaseState::Unhealthy, LeaseState::Healthy]);
    });
}

#[test]
fn to_register_again_renews_without_a_write() {
    on_each_store(|store| {
        let register = |seconds, text: &[u8]| {
            apply_at(store, seconds, vec![Item::register("cart-1", TTL, text)]).unwrap()
        };
        register(0, b"10.0.0.1");
        let again = register(100, b"10.0.0.1");
        assert_eq!(again.outcomes, [Outcome::Unchanged(Version::new(2))]);
        assert_eq!(states(store, 120), [LeaseState::Healthy]);
        let moved = register(200, b"10.0.0.9");
        assert_eq!(moved.outcomes, [Outcome::Updated(Version::new(3))]);
        assert_eq!(states(store, 220), [LeaseState::Healthy]);
        assert_eq!(&*store.leases().unwrap()[0].registration.text, b"10.0.0.9");
    });
}

#[test]
fn a_removed_lease_cannot_be_renewed() {
    on_each_store(|store| {
        apply_at(store, 0, vec![Item::register("cart-1", TTL, *b"x")]).unwrap();
        apply_at(store, 0, vec![Item::deregister("cart-1")]).unwrap();
        let error = store.renew("cart-1", START).unwrap_err();
        assert!(matches!(error, StoreError::NoSuchLease { .. }));
        assert_eq!(error.to_string(), "lease cart-1 is not registered: register it again");
        assert_eq!(store.leases().unwrap(), []);
    });
}

#[test]
fn leases_stand_still_while_the_store_is_closed() {
    let place = Place::new();
    let store = LocalStore::open(place.file(), &options()).unwrap();
    apply_at(&store, 0, vec![Item::register("cart-1", TTL, *b"10.0.0.1")]).unwrap();
    let before = store.leases().unwrap();
    drop(store);

    let day = Duration::from_secs(86_400);
    let store = LocalStore::open(place.file(), &Options::at(START + day)).unwrap();
    let after = store.leases().unwrap();
    assert_eq!(after[0].registration, before[0].registration);
    assert_eq!(states(&store, 86_400 + 29), [LeaseState::Healthy]);
    assert_eq!(states(&store, 86_400 + 30), [LeaseState::Unhealthy]);
}
