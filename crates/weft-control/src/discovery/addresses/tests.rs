//! Who gets which address, over time.

use proptest::prelude::*;
use weft_store::{Batch, LocalStore, Options, Store};
use weft_world::Moment;

use super::*;

const NOON: UnixTime = UnixTime(Duration::from_secs(1_795_413_823));
const HOUR: Duration = Duration::from_secs(3600);

fn range(v4: &str) -> AddressRange {
    let v6 = Cidr::parse("fd77:6566:7400::/64").unwrap();
    AddressRange { v4: Cidr::parse(v4).unwrap(), v6 }
}

fn service(number: u32) -> Owner {
    Owner::Service(format!("shop/s{number}").parse().unwrap())
}

fn after(time: Duration) -> UnixTime {
    UnixTime(NOON.0 + time)
}

/// Addresses of a range of 14, with so many Services.
fn addresses(services: u32) -> Addresses {
    let mut addresses = Addresses::default();
    addresses.set_range(Some(range("10.9.0.0/28")));
    (0..services).for_each(|number| addresses.give(service(number)));
    addresses
}

/// The same after the store was told, and read again.
fn restarted(addresses: &mut Addresses, store: &LocalStore) -> Addresses {
    let (items, owners) = addresses.unsaved();
    store.apply(Batch { now: Moment::default(), wall: NOON, items }).unwrap();
    addresses.saved(&owners);
    let (loaded, unreadable) = Addresses::load(&store.list_values(PREFIX).unwrap());
    assert_eq!(unreadable, [""; 0]);
    loaded
}

fn store() -> LocalStore {
    LocalStore::in_memory(&Options::at(Moment::default()))
}

#[test]
fn every_address_is_given_out_and_to_one_owner() {
    let mut addresses = addresses(15);
    let of = |number| addresses.of(&service(number));
    let given: BTreeSet<IpAddr> = (0..15).filter_map(of).flatten().collect();
    assert_eq!(given.len(), 28);
    let block = Cidr::parse("10.9.0.0/28").unwrap();
    let edges = ["10.9.0.0", "10.9.0.15"].map(|ip| ip.parse::<IpAddr>().unwrap());
    assert!(given.iter().filter(|ip| ip.is_ipv4()).all(|ip| block.contains(*ip)));
    assert!(edges.iter().all(|edge| !given.contains(edge)));
    assert_eq!(addresses.exhausted.len(), 1);
    let (_, owners) = addresses.unsaved();
    addresses.saved(&owners);
    let exhausted =
        |change: &Change| matches!(change, Change::Assign(_, Some(Assignment::Exhausted)));
    assert_eq!(addresses.changes().iter().filter(|change| exhausted(change)).count(), 1);
    assert_eq!(addresses.changes().len(), 0);
}

#[test]
fn nobody_is_told_of_what_is_not_saved() {
    let mut addresses = addresses(2);
    assert_eq!(addresses.changes().len(), 0);
    let (items, owners) = addresses.unsaved();
    assert_eq!(items.len(), 2);
    addresses.saved(&owners);
    assert_eq!(addresses.changes().len(), 2);
}

#[test]
fn the_same_names_get_the_same_addresses_in_another_mesh() {
    let (one, mut other) = (addresses(5), addresses(0));
    (0..5).for_each(|number| other.give(service(number)));
    assert!((0..5).all(|number| one.of(&service(number)) == other.of(&service(number))));
    assert_eq!(hash("service/shop/cart"), 0x5fbf_38d6_943a_32fb);
}

#[test]
fn what_is_released_waits_for_its_owner_for_a_day_over_restarts_too() {
    let (store, mut addresses) = (store(), addresses(14));
    let before = addresses.of(&service(3)).unwrap();
    addresses.release(&service(3), NOON);
    let mut later = restarted(&mut addresses, &store);
    later.set_range(Some(range("10.9.0.0/28")));
    assert_eq!(later.next_expiry(), Some(after(24 * HOUR)));
    later.expire(after(24 * HOUR - Duration::from_secs(1)));
    later.give(service(99));
    assert_eq!(later.of(&service(99)), None);
    // Its owner has it back.
    let mut back = restarted(&mut later, &store);
    back.set_range(Some(range("10.9.0.0/28")));
    back.give(service(3));
    assert_eq!(back.of(&service(3)), Some(before));
    // Or, a day later, whoever waits.
    later.expire(after(24 * HOUR));
    assert_eq!(later.of(&service(99)).unwrap()[0], before[0]);
    assert!(later.next_expiry().is_none());
}

#[test]
fn another_range_moves_all() {
    let mut addresses = addresses(10);
    addresses.set_range(Some(range("10.10.0.0/16")));
    for number in 0..10 {
        let [v4, _] = addresses.of(&service(number)).unwrap();
        assert!(Cidr::parse("10.10.0.0/16").unwrap().contains(v4));
    }
    assert!(addresses.is_in_range("10.10.3.4".parse().unwrap()));
    assert!(!addresses.is_in_range("10.9.0.3".parse().unwrap()));
    // Without a Mesh all stays as it is.
    addresses.set_range(None);
    assert!(addresses.of(&service(0)).is_some());
}

#[test]
fn what_cannot_be_read_is_named() {
    let value = |name: &str, bytes: &[u8]| Value {
        name: name.to_owned(),
        version: weft_store::Version::FIRST,
        bytes: bytes.into(),
    };
    let good = br#"{"v4":"10.9.0.1","v6":"fd77::1"}"#;
    let values = [
        value("addresses/service/shop/a", good),
        value("addresses/service/shop/b", b"{}"),
        value("addresses/pod/shop/c", good),
    ];
    let (_, unreadable) = Addresses::load(&values);
    assert_eq!(unreadable, ["addresses/service/shop/b", "addresses/pod/shop/c"]);
}

proptest! {
    /// Whatever comes and goes: nobody has what another one has, or had less than a day ago.
    #[test]
    fn no_address_has_two_owners(
        steps in prop::collection::vec((0..3u8, 0..20u32, 0..30u64), 1..80),
    ) {
        let store = store();
        let mut addresses = addresses(0);
        let mut time = Duration::ZERO;
        let mut left: BTreeMap<IpAddr, (Owner, Duration)> = BTreeMap::new();
        for (step, number, hours) in steps {
            time += HOUR * u32::try_from(hours).unwrap() / 4;
            addresses.expire(after(time));
            let owner = service(number);
            match step {
                0 => addresses.give(owner),
                1 => {
                    for ip in addresses.of(&owner).into_iter().flatten() {
                        left.insert(ip, (owner.clone(), time));
                    }
                    addresses.release(&owner, after(time));
                }
                _ => {
                    // Those that wait come again by themselves.
                    let waiting = addresses.exhausted.clone();
                    addresses = restarted(&mut addresses, &store);
                    addresses.set_range(Some(range("10.9.0.0/28")));
                    waiting.into_iter().for_each(|owner| addresses.give(owner));
                }
            }
            let mut seen = BTreeSet::new();
            for owner in addresses.present() {
                for ip in addresses.of(owner).into_iter().flatten() {
                    prop_assert!(seen.insert(ip), "{} has two owners", ip);
                    if let Some((before, since)) = left.get(&ip) {
                        prop_assert!(before == owner || time - *since >= KEPT_FOR);
                    }
                }
            }
        }
    }
}
