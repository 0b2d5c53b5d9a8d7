//! The hash by which endpoints are chosen.

/// A hash that is the same in all proxies, in every release: the choice of an endpoint hangs on it.
///
/// It need not resist who looks for collisions: a caller that wants to burden one endpoint can send
/// the same key again.
///
/// Source: FNV-1a, 64 bits (Fowler, Noll and Vo), in which last bytes reach only a few bits; the
/// mixing of SplitMix64 (G. Steele, D. Lea and C. Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014) spreads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hasher(u64);

impl Hasher {
    /// Nothing so far.
    pub(super) fn new() -> Hasher {
        Hasher(0xcbf2_9ce4_8422_2325)
    }

    /// Takes in some bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The hash of all that was taken in.
    pub(super) fn finish(self) -> u64 {
        mix(self.0)
    }
}

/// The hash of some bytes.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = Hasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The `number`-th of many hashes that follow from one.
pub(super) fn derived(hash: u64, number: u64) -> u64 {
    mix(hash.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
