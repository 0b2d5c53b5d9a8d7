//! A ring of hashes, on which each endpoint has many points.

use super::hash::{derived, hash};

/// How many points each endpoint has. The shares of endpoints then differ by a few percent from
/// each other.
pub const POINTS: usize = 256;

/// The most points of a ring, 8 MiB. Where there are more than 4,096 endpoints, each has half of
/// the points, or a quarter, and so on, but one in any case.
pub const POINTS_MAX: usize = 1 << 20;

/// A ring of hashes. A key belongs to the endpoint of the first point that is not before it.
///
/// An endpoint's points follow from its identity alone. So all proxies have the same ring; and who
/// goes takes away its own points only, whose keys go to the next point on the ring.
///
/// Source: D. Karger et al., "Consistent Hashing and Random Trees", 1997.
#[derive(Debug, PartialEq, Eq)]
pub struct Ring {
    /// The upper half of each point's hash, and its endpoint; in order.
    points: Box<[(u32, u32)]>,
}

impl Ring {
    /// The ring of the endpoints that have these identities, in their order.
    pub fn new<I: AsRef<str>>(identities: &[I]) -> Ring {
        let mut each = POINTS;
        while each > 1 && each * identities.len() > POINTS_MAX {
            each /= 2;
        }
        let mut points: Vec<_> = (0u32..)
            .zip(identities)
            .flat_map(|(index, identity)| {
                let own = hash(identity.as_ref().as_bytes());
                (0..each).map(move |point| (upper(derived(own, point as u64)), index))
            })
            .collect();
        // Of points at the same place, which are rare, the order of endpoints must not decide.
        let name = |index: u32| identities[index as usize].as_ref();
        points.sort_unstable_by_key(|(at, index)| (*at, name(*index)));
        Ring { points: points.into() }
    }

    /// How many points it has.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// The endpoint that `key` belongs to among those that are usable: its own, or else the next
    /// one on the ring. `None` if none is usable.
    pub fn find(&self, key: u64, is_usable: impl Fn(usize) -> bool) -> Option<usize> {
        let first = self.points.partition_point(|(at, _)| *at < upper(key));
        let (before, from) = self.points.split_at(first);
        let mut endpoints = from.iter().chain(before).map(|(_, index)| *index as usize);
        endpoints.find(|index| is_usable(*index))
    }
}

fn upper(hash: u64) -> u32 {
    u32::try_from(hash >> 32).expect("32 bits are left")
}
