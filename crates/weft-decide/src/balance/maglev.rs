//! A table of hashes, in which each endpoint has equally many slots.

use super::hash::{derived, hash};

/// How many slots there are: a prime, as the paper has it for up to some hundreds of endpoints,
/// whose shares then differ by less than a percent. 256 KiB.
pub const SLOTS: usize = 65_537;

/// A table of slots, to one of which each key belongs.
///
/// Each endpoint prefers the slots in an order of its own, which follows from its identity, and
/// they take turns: so all have the same number of slots, or one more or less, and who comes or
/// goes changes few slots of the others.
///
/// Source: D. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", 2016,
/// section 3.4.
#[derive(Debug, PartialEq, Eq)]
pub struct Maglev {
    /// The endpoint of each slot; empty if there are none.
    slots: Box<[u32]>,
}

/// The order in which an endpoint prefers slots: each once, since their number is a prime.
struct Preference {
    index: u32,
    next: usize,
    skip: usize,
}

impl Maglev {
    /// The table of the endpoints that have these identities, in their order.
    pub fn new<I: AsRef<str>>(identities: &[I]) -> Maglev {
        const FREE: u32 = u32::MAX;
        if identities.is_empty() {
            return Maglev { slots: Box::default() };
        }
        let mut turns: Vec<_> = (0u32..).zip(identities).map(|(i, id)| (id.as_ref(), i)).collect();
        turns.sort_unstable();
        let mut turns: Vec<_> = turns
            .into_iter()
            .map(|(identity, index)| {
                let own = hash(identity.as_bytes());
                let (next, skip) =
                    (below(derived(own, 0), SLOTS), below(derived(own, 1), SLOTS - 1));
                Preference { index, next, skip: skip + 1 }
            })
            .collect();
        let mut slots = vec![FREE; SLOTS];
        let mut free = SLOTS;
        'filling: loop {
            for Preference { index, next, skip } in &mut turns {
                while slots[*next] != FREE {
                    *next = (*next + *skip) % SLOTS;
                }
                slots[*next] = *index;
                free -= 1;
                if free == 0 {
                    break 'filling;
                }
            }
        }
        Maglev { slots: slots.into() }
    }

    /// The endpoint that `key` belongs to among those that are usable: that of its slot, or else of
    /// the next slots, which spread the keys of one endpoint over all others. `None` if none is
    /// usable.
    pub fn find(&self, key: u64, is_usable: impl Fn(usize) -> bool) -> Option<usize> {
        let (before, from) = self.slots.split_at_checked(below(key, SLOTS))?;
        let mut endpoints = from.iter().chain(before).map(|index| *index as usize);
        endpoints.find(|index| is_usable(*index))
    }
}

/// A number below `count` that follows from `hash`.
fn below(hash: u64, count: usize) -> usize {
    usize::try_from(hash % count as u64).expect("it is below a usize")
}
