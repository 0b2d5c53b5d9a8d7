//! What changes of the endpoints move, and how even shares are.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use weft_model::HashOn;

use super::*;
use crate::balance::hash::{derived, hash};
use crate::balance::{POINTS, POINTS_MAX, SLOTS};

fn both() -> [Balance; 2] {
    let hash_on = || [HashOn::SourceAddress].into();
    [Balance::RingHash(hash_on()), Balance::Maglev(hash_on())]
}

fn named(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("shop/cart-{number}")).collect()
}

fn keys(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|key| derived(7, key))
}

/// Which of `identities` each key belongs to where only those are usable that `is_usable` says.
fn owners<'i>(
    balance: &Balance,
    identities: &'i [String],
    count: u64,
    is_usable: impl Fn(&str) -> bool,
) -> Vec<&'i str> {
    let table = Table::new(balance, identities).unwrap();
    let owner = |key| {
        let index = table.find(key, |index| is_usable(&identities[index])).unwrap();
        &*identities[index]
    };
    keys(count).map(owner).collect()
}

fn shares<'i>(owners: &[&'i str]) -> BTreeMap<&'i str, usize> {
    let mut shares = BTreeMap::new();
    owners.iter().for_each(|owner| *shares.entry(*owner).or_default() += 1);
    shares
}

#[test]
fn shares_are_even() {
    for (balance, within) in both().iter().zip([0.25, 0.06]) {
        for count in [2, 3, 9, 40] {
            let identities = named(count);
            let keys = 1_000 * count as u64;
            let owners = owners(balance, &identities, keys, |_| true);
            let (shares, wanted) = (shares(&owners), 1_000.0);
            assert_eq!(shares.len(), count);
            for (identity, share) in shares {
                // With 1,000 keys each, chance alone makes 3 % of a deviation.
                let off = (share as f64 - wanted).abs() / wanted;
                assert!(off < within + 0.1, "{balance}: {identity} of {count} is {off:.3} off");
            }
        }
    }
}

#[test]
fn what_hashes_to_what_is_the_same_in_every_release() {
    // By another implementation, from the description of each.
    assert_eq!(hash(b""), 0xf52a_15e9_a9b5_e89b);
    assert_eq!(hash(b"alice"), 0xc5d1_556d_6677_4a5c);
    assert_eq!(derived(hash(b"shop/cart-1"), 0), 0x312a_8745_40c5_04a8);
    let identities = named(5);
    for (balance, expected) in
        both().iter().zip([[1, 4, 1, 1, 1, 1, 3, 4], [0, 3, 4, 3, 3, 2, 2, 1]])
    {
        let table = Table::new(balance, &identities).unwrap();
        let names = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
        let found = names.map(|name| table.find(hash(name.as_bytes()), |_| true).unwrap());
        assert_eq!(found, expected, "{balance}");
    }
}

#[test]
fn nobody_or_one_is_no_trouble() {
    for balance in both() {
        let none: [&str; 0] = [];
        assert_eq!(Table::new(&balance, &none).unwrap().find(7, |_| true), None);
        let one = Table::new(&balance, &["a"]).unwrap();
        assert!(keys(100).all(|key| one.find(key, |_| true) == Some(0)));
        assert_eq!(one.find(7, |_| false), None);
        assert!(one.serves(&balance) && !one.serves(&Balance::PeakEwma));
    }
    assert_eq!(Table::new(&Balance::Random, &["a"]), None);
}

#[test]
fn memory_is_bounded() {
    let points = |count| match Table::new(&both()[0], &named(count)) {
        Some(Table::Ring(ring)) => ring.len(),
        _ => panic!("a ring is asked for"),
    };
    assert_eq!(points(3), 3 * POINTS);
    assert_eq!(points(POINTS_MAX / POINTS), POINTS_MAX);
    assert_eq!(points(POINTS_MAX / POINTS + 1), (POINTS_MAX / POINTS + 1) * POINTS / 2);
    // Of more endpoints than slots, some have none.
    let many = Table::new(&both()[1], &named(SLOTS + 10)).unwrap();
    let owners: BTreeSet<_> = keys(1_000).map(|key| many.find(key, |_| true).unwrap()).collect();
    assert!(owners.len() > 900);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: 24, ..ProptestConfig::default()
    })]

    #[test]
    fn the_order_of_endpoints_does_not_matter(
        identities in btree_set("[a-z]{1,9}", 1..20).prop_map(Vec::from_iter).prop_shuffle(),
    ) {
        let mut sorted = identities.clone();
        sorted.sort();
        for balance in both() {
            let [one, other] =
                [&identities, &sorted].map(|all| owners(&balance, all, 2_000, |_| true));
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn who_may_not_be_called_moves_its_own_keys_and_no_others(
        identities in btree_set("[a-z]{1,9}", 2..20).prop_map(Vec::from_iter),
        away in vec(any::<bool>(), 20),
    ) {
        let is_away = |identity: &str| {
            let at = identities.iter().position(|one| one == identity).unwrap();
            at > 0 && away[at]
        };
        for balance in both() {
            let before = owners(&balance, &identities, 2_000, |_| true);
            let after = owners(&balance, &identities, 2_000, |identity| !is_away(identity));
            for (before, after) in before.into_iter().zip(after) {
                prop_assert!(!is_away(after));
                prop_assert!(before == after || is_away(before));
            }
        }
    }

    #[test]
    fn who_is_gone_moves_its_own_keys_and_few_others(
        identities in btree_set("[a-z]{1,9}", 3..30).prop_map(Vec::from_iter),
        gone in any::<prop::sample::Index>(),
    ) {
        let mut rest = identities.clone();
        let gone = rest.remove(gone.index(rest.len()));
        for (balance, moved_max) in both().iter().zip([0, 400]) {
            let count = 10_000;
            let before = owners(balance, &identities, count, |_| true);
            let after = owners(balance, &rest, count, |_| true);
            let pairs = before.iter().zip(&after);
            let moved = pairs.filter(|(before, after)| **before != gone && before != after).count();
            prop_assert!(moved <= moved_max, "{}: {} of {} keys", balance, moved, count);
            // Those of the one that is gone are spread over all others.
            let pairs = before.iter().zip(&after);
            let heirs: Vec<_> =
                pairs.filter(|(before, _)| **before == gone).map(|(_, after)| *after).collect();
            let most = shares(&heirs).into_values().max().unwrap_or(0);
            let even = heirs.len() as f64 / rest.len() as f64;
            prop_assert!((most as f64) < even * 2.5 + 20.0, "{most} instead of {even}");
        }
    }
}
