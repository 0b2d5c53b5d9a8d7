//! Random numbers for jitter and balancing, seeded by the system.

use std::cell::Cell;

use rustix::rand::{GetRandomFlags, getrandom};
use weft_world::Entropy;

/// A SplitMix64 generator, seeded by the system.
///
/// Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
pub struct SystemEntropy {
    state: Cell<u64>,
}

impl SystemEntropy {
    /// A generator with a seed of its own.
    #[expect(clippy::new_without_default, reason = "a default would hide that it asks the system")]
    pub fn new() -> SystemEntropy {
        let mut seed = [0; 8];
        // Without the system's randomness, jitter falls back to an address, which differs by run.
        if getrandom(&mut seed[..], GetRandomFlags::empty()).is_err() {
            seed = (std::ptr::from_ref(&seed).addr() as u64).to_le_bytes();
        }
        SystemEntropy { state: Cell::new(u64::from_le_bytes(seed)) }
    }
}

impl Entropy for SystemEntropy {
    fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
