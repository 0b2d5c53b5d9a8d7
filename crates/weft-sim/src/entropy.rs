//! Random numbers that are a function of a seed.
//!
//! Each thing that draws has a stream of its own, derived from the seed and the thing's name, so
//! that one more draw in one place, or one more host, leaves what all others draw as it was.
//!
//! Deliberately absent: anything fit for keys, and any way to seed from outside.

use std::cell::RefCell;
use std::hash::Hasher;
use std::time::Duration;

use weft_world::Entropy;

use crate::trace::Fnv;

/// A generator of random numbers: xoshiro256++.
///
/// Source: D. Blackman, S. Vigna, "Scrambled linear pseudorandom number generators", 2021; the
/// state is filled by SplitMix64, as they advise (G. Steele et al., "Fast splittable PRNGs", 2014).
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Random {
        let mut mixed = seed;
        let state = std::array::from_fn(|_| {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = mixed;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        });
        Random { state }
    }

    /// The stream of whatever is called `label` under `seed`.
    pub fn derive(seed: u64, label: &str) -> Random {
        let mut hash = Fnv::default();
        hash.write_u64(seed);
        hash.write(label.as_bytes());
        Random::new(hash.finish())
    }

    /// Sixty-four random bits.
    #[expect(clippy::should_implement_trait, reason = "it never ends: an iterator would mislead")]
    pub fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let drawn = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        drawn
    }

    /// A number drawn evenly from `0..end`, up to a bias of one part in 2^64 / `end`.
    ///
    /// # Panics
    /// If `end` is zero.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "nothing is below zero");
        let product = u128::from(self.next()) * u128::from(end);
        u64::try_from(product >> 64).expect("the upper half of 128 bits is 64 bits")
    }

    /// A size drawn evenly from `least..=most`.
    pub fn size(&mut self, least: usize, most: usize) -> usize {
        let span = most.saturating_sub(least) as u64;
        let extra = self.below(span.saturating_add(1));
        least + usize::try_from(extra).expect("it is at most a difference of sizes")
    }

    /// A duration drawn evenly from `least..=most`, to the nanosecond.
    pub fn duration(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_nanos();
        let span = u64::try_from(span).unwrap_or(u64::MAX - 1);
        least + Duration::from_nanos(self.below(span.saturating_add(1)))
    }

    /// True in `probability` of the cases.
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what an f64 holds exactly.
        ((self.next() >> 11) as f64 / (1u64 << 53) as f64) < probability
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.size(0, choices.len() - 1)]
    }
}

/// The randomness of one host.
pub(crate) struct HostEntropy {
    random: RefCell<Random>,
}

impl HostEntropy {
    pub(crate) fn new(seed: u64, host: &str) -> HostEntropy {
        HostEntropy { random: RefCell::new(Random::derive(seed, &format!("entropy of {host}"))) }
    }
}

impl Entropy for HostEntropy {
    fn next(&self) -> u64 {
        self.random.borrow_mut().next()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first outputs for the state 1, 2, 3, 4, worked out by hand from the definition.
    #[test]
    fn draws_are_xoshiro256_plus_plus() {
        let mut random = Random { state: [1, 2, 3, 4] };
        // (1 + 4) <<< 23 + 1
        assert_eq!(random.next(), (5 << 23) + 1);
        assert_eq!(random.state, [1 ^ (4 ^ 2), 2 ^ (3 ^ 1), (3 ^ 1) ^ (2 << 17), 6 << 45]);
    }

    #[test]
    fn splitmix_fills_the_state() {
        // The first output of SplitMix64 for seed 0, as published with java.util.SplittableRandom.
        assert_eq!(Random::new(0).state[0], 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn streams_differ_by_name_and_by_seed() {
        let first = |seed, label| Random::derive(seed, label).next();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
        assert_ne!(first(1, "a"), first(2, "a"));
    }

    proptest! {
        #[test]
        fn draws_stay_in_range(
            seed: u64,
            end in 1u64..,
            least in 0usize..100,
            more in 0usize..100,
        ) {
            let mut random = Random::new(seed);
            prop_assert!(random.below(end) < end);
            let size = random.size(least, least + more);
            prop_assert!((least..=least + more).contains(&size));
        }
    }

    #[test]
    fn chances_come_about_as_often_as_asked() {
        let mut random = Random::new(7);
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits} of 10000");
        assert!(!(0..1_000).any(|_| random.chance(0.0)));
        assert!((0..1_000).all(|_| random.chance(1.0)));
    }
}
