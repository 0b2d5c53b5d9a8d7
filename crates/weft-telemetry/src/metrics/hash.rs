//! The hashes by which a worker finds where it counts.

use std::hash::Hasher;

use crate::record::Record;

/// The hash of what makes a line. Nobody outside the mesh chooses what goes into it, and those
/// inside only names that the limit counts: it need not resist them.
pub(super) fn hash(record: &Record) -> u64 {
    let mut hash = Mix(record.direction as u64 * 8 + record.protocol as u64);
    hash.text(record.backend.as_deref().unwrap_or_default());
    hash.text(record.route.as_deref().unwrap_or_default());
    if let Some(peer) = &record.peer {
        hash.text(peer.trust_domain().as_str());
        hash.text(peer.namespace());
        hash.text(peer.service_account().name());
    }
    hash.0 ^ hash.0 >> 32
}

struct Mix(u64);

impl Mix {
    fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        match bytes.last_chunk::<8>() {
            // The last word overlaps the one before, so that nothing needs to be filled up.
            Some(last) => {
                for word in bytes.as_chunks::<8>().0 {
                    self.word(u64::from_le_bytes(*word));
                }
                self.word(u64::from_le_bytes(*last));
            }
            None => {
                self.word(bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
            }
        }
        self.word(bytes.len() as u64);
    }

    fn word(&mut self, word: u64) {
        // An odd number without pattern: the golden ratio's digits.
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Takes keys that are hashes already.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "keys are of type u64");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
