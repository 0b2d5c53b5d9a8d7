//! The mesh's own addresses: which Service and which workload has which.
//!
//! They are drawn from `Mesh.addressRange` by a hash of the name, so that a mesh that is set up
//! again has mostly the same ones, and kept in the store. Those of an owner that is gone wait for
//! its return for a day, in which clients may still have them in their caches.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_compile::{Assignment, Change};
use weft_crd::{AddressRange, Cidr};
use weft_model::{Address, Network, ObjectName};
use weft_store::{Item, Value};
use weft_world::UnixTime;

/// The beginning of the names of these among the values of the store.
pub(crate) const PREFIX: &str = "addresses/";

/// How long the addresses of what is gone are given to nobody else.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// Who has addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Service(ObjectName),
    Workload(ObjectName),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Service(name) => write!(f, "service/{name}"),
            Owner::Workload(name) => write!(f, "workload/{name}"),
        }
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Owner, ()> {
        match text.split_once('/') {
            Some(("service", name)) => Ok(Owner::Service(name.parse().map_err(|_| ())?)),
            Some(("workload", name)) => Ok(Owner::Workload(name.parse().map_err(|_| ())?)),
            _ => Err(()),
        }
    }
}

/// The addresses of one owner, as they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    /// Since when the owner is gone, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone_ms: Option<u64>,
}

impl Held {
    fn ips(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// Which Service and which workload has which addresses.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    range: Option<AddressRange>,
    held: BTreeMap<Owner, Held>,
    taken: BTreeSet<IpAddr>,
    /// Those that are there and got none.
    exhausted: BTreeSet<Owner>,
    /// Those whose entry is not in the store as it is here.
    unsaved: BTreeSet<Owner>,
    /// Those of whom the compiler does not know what is here.
    untold: BTreeSet<Owner>,
}

impl Addresses {
    /// Takes up what the store keeps, and returns what of it cannot be read.
    pub(crate) fn load(values: &[Value]) -> (Addresses, Vec<String>) {
        let mut addresses = Addresses::default();
        let mut unreadable = Vec::new();
        for Value { name, bytes, .. } in values {
            let owner = name.strip_prefix(PREFIX).unwrap_or(name).parse::<Owner>();
            match (owner, serde_json::from_slice::<Held>(bytes)) {
                (Ok(owner), Ok(held)) => {
                    addresses.taken.extend(held.ips());
                    addresses.held.insert(owner, held);
                }
                _ => unreadable.push(name.clone()),
            }
        }
        (addresses, unreadable)
    }

    /// Whether `ip` is one of the mesh's own.
    pub(crate) fn is_in_range(&self, ip: IpAddr) -> bool {
        self.range.is_some_and(|range| range.contains(ip))
    }

    /// Takes the blocks of the Mesh in force. What does not lie in them is given up.
    pub(crate) fn set_range(&mut self, range: Option<AddressRange>) {
        // Without a Mesh nothing is given out; what is held waits for the next one.
        let Some(range) = range.filter(|range| self.range != Some(*range)) else {
            return;
        };
        self.range = Some(range);
        let is_outside =
            |held: &Held| !range.v4.contains(held.v4.into()) || !range.v6.contains(held.v6.into());
        let moved: Vec<_> = self.held.iter().filter(|(_, held)| is_outside(held)).collect();
        let moved: Vec<(Owner, bool)> =
            moved.iter().map(|(owner, held)| ((*owner).clone(), held.gone_ms.is_some())).collect();
        for (owner, is_gone) in moved {
            self.forget(&owner);
            if !is_gone {
                self.give(owner);
            }
        }
        self.retry();
    }

    /// Sees to it that `owner`, which is there, has addresses.
    pub(crate) fn give(&mut self, owner: Owner) {
        self.untold.insert(owner.clone());
        if let Some(held) = self.held.get_mut(&owner) {
            if held.gone_ms.take().is_some() {
                self.unsaved.insert(owner);
            }
            return;
        }
        let Some(range) = self.range else {
            self.exhausted.insert(owner);
            return;
        };
        let hash = hash(&owner.to_string());
        let (v4, v6) = (self.free(range.v4, hash), self.free(range.v6, hash));
        let (Some(IpAddr::V4(v4)), Some(IpAddr::V6(v6))) = (v4, v6) else {
            self.exhausted.insert(owner);
            return;
        };
        self.exhausted.remove(&owner);
        let held = Held { v4, v6, gone_ms: None };
        self.taken.extend(held.ips());
        self.held.insert(owner.clone(), held);
        self.unsaved.insert(owner);
    }

    /// Notes that `owner` is gone.
    pub(crate) fn release(&mut self, owner: &Owner, wall: UnixTime) {
        self.exhausted.remove(owner);
        self.untold.insert(owner.clone());
        if let Some(held) = self.held.get_mut(owner)
            && held.gone_ms.is_none()
        {
            held.gone_ms = Some(millis(wall));
            self.unsaved.insert(owner.clone());
        }
    }

    /// Frees what nobody came back for, and gives it to those who wait.
    pub(crate) fn expire(&mut self, wall: UnixTime) {
        let now = millis(wall);
        let is_over = |held: &Held| {
            held.gone_ms
                .is_some_and(|gone| Duration::from_millis(now.saturating_sub(gone)) >= KEPT_FOR)
        };
        let over: Vec<_> = self.held.iter().filter(|(_, held)| is_over(held)).collect();
        let over: Vec<Owner> = over.into_iter().map(|(owner, _)| owner.clone()).collect();
        for owner in &over {
            self.forget(owner);
        }
        if !over.is_empty() {
            self.retry();
        }
    }

    /// When [`Addresses::expire`] has something to do again, at the latest.
    pub(crate) fn next_expiry(&self) -> Option<UnixTime> {
        let gone = self.held.values().filter_map(|held| held.gone_ms).min()?;
        Some(UnixTime(Duration::from_millis(gone) + KEPT_FOR))
    }

    /// Those that are held for owners that are there.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Owner> {
        let held = self.held.iter().filter(|(_, held)| held.gone_ms.is_none());
        held.map(|(owner, _)| owner).chain(&self.exhausted)
    }

    /// What the store is to be told, and of whom. See [`Addresses::saved`].
    pub(crate) fn unsaved(&self) -> (Vec<Item>, BTreeSet<Owner>) {
        let item = |owner: &Owner| {
            let name = format!("{PREFIX}{owner}");
            match self.held.get(owner) {
                Some(held) => {
                    let bytes = serde_json::to_vec(held).expect("three plain fields");
                    Item::put_value(name, bytes)
                }
                None => Item::delete_value(name),
            }
        };
        (self.unsaved.iter().map(item).collect(), self.unsaved.clone())
    }

    /// Notes that the store was told of `owners`.
    pub(crate) fn saved(&mut self, owners: &BTreeSet<Owner>) {
        self.unsaved.retain(|owner| !owners.contains(owner));
    }

    /// What changed since the last call, but for what the store does not know: nobody is told of
    /// addresses that a restart could give to somebody else.
    pub(crate) fn changes(&mut self) -> Vec<Change> {
        let untold = std::mem::take(&mut self.untold);
        let (later, now) = untold.into_iter().partition(|owner| self.unsaved.contains(owner));
        self.untold = later;
        let change = |owner: Owner| {
            let assignment = self.assignment(&owner);
            match owner {
                Owner::Service(name) => Change::Assign(name, assignment),
                Owner::Workload(name) => Change::AssignWorkload(name, assignment),
            }
        };
        let now: BTreeSet<Owner> = now;
        now.into_iter().map(change).collect()
    }

    fn assignment(&self, owner: &Owner) -> Option<Assignment> {
        if self.exhausted.contains(owner) {
            return self.range.map(|_| Assignment::Exhausted);
        }
        let address = |ip| Address { network: Network::default(), ip };
        Some(Assignment::Given(self.of(owner)?.map(address).into()))
    }

    /// The addresses of `owner`, if it is there and has some.
    pub(crate) fn of(&self, owner: &Owner) -> Option<[IpAddr; 2]> {
        let held = self.held.get(owner).filter(|held| held.gone_ms.is_none())?;
        Some(held.ips())
    }

    fn forget(&mut self, owner: &Owner) {
        if let Some(held) = self.held.remove(owner) {
            for ip in held.ips() {
                self.taken.remove(&ip);
            }
            self.unsaved.insert(owner.clone());
        }
    }

    fn retry(&mut self) {
        for owner in std::mem::take(&mut self.exhausted) {
            self.give(owner);
        }
    }

    /// A free address of `block`, the first from where `hash` points to.
    fn free(&self, block: Cidr, hash: u64) -> Option<IpAddr> {
        let bits: u32 = if block.first().is_ipv4() { 32 } else { 128 };
        let size = 1u128.checked_shl(bits - u32::from(block.prefix())).unwrap_or(u128::MAX);
        // The first and the last of a block have meanings of their own in many networks.
        let usable = size.checked_sub(2).filter(|usable| *usable > 0)?;
        let tries = usable.min(self.taken.len() as u128 + 1);
        let start = u128::from(hash) % usable;
        let mut candidates = (0..tries).map(|step| 1 + (start + step) % usable);
        candidates.find_map(|offset| {
            let ip = match block.first() {
                IpAddr::V4(first) => {
                    let offset = u32::try_from(offset).ok()?;
                    IpAddr::V4(Ipv4Addr::from_bits(first.to_bits().checked_add(offset)?))
                }
                IpAddr::V6(first) => {
                    IpAddr::V6(Ipv6Addr::from_bits(first.to_bits().checked_add(offset)?))
                }
            };
            (!self.taken.contains(&ip)).then_some(ip)
        })
    }
}

fn millis(wall: UnixTime) -> u64 {
    u64::try_from(wall.0.as_millis()).unwrap_or(u64::MAX)
}

/// FNV-1a with the finish of SplitMix64: the same in every version of this program.
///
/// Sources: draft-eastlake-fnv; Steele, Lea and Flood, Fast Splittable Pseudorandom Number
/// Generators, 2014.
fn hash(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests;
