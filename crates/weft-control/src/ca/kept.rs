//! What the store keeps of the authority, in one value, so that it changes as one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_identity::{Authority, KeyHash, LEAF_LIFETIME, Revocations, Rotation, Serial};
use weft_model::{SpiffeId, TrustDomain};
use weft_world::UnixTime;

use super::CaError;

/// The name of the value.
pub(super) const NAME: &str = "ca/state";

/// The most revocations in force: with them, the bundle is far within what proxies take and keep.
pub(super) const REVOCATIONS_MAX: usize = 1024;

/// What the store keeps of the authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// The trust domain of all identities. Earlier versions kept none.
    #[serde(default)]
    pub(super) trust_domain: Option<String>,
    /// The number of the published bundle.
    pub(super) sequence: u64,
    /// How far the replacement of a root is.
    pub(super) rotation: Rotation,
    /// The generations of the files of the roots that matter.
    pub(super) generations: BTreeMap<u32, KeyHash>,
    /// The greatest generation that ever was.
    pub(super) last_generation: u32,
    /// Roots that were withdrawn, while certificates below them may not have expired.
    #[serde(default)]
    pub(super) withdrawn: BTreeMap<KeyHash, Withdrawn>,
    /// Identities that are revoked.
    pub(super) revoked_identities: BTreeSet<String>,
    /// Serial numbers that are revoked, and the last seconds of their certificates.
    pub(super) revoked_serials: BTreeMap<String, u64>,
}

/// A root that was withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Withdrawn {
    /// Its certificate, PEM.
    pem: String,
    /// When the last certificate below it has expired.
    until: u64,
}

impl Kept {
    /// The beginning: one root, of generation 1.
    pub(super) fn first(trust_domain: &TrustDomain, root: KeyHash, now: UnixTime) -> Kept {
        Kept {
            trust_domain: Some(trust_domain.to_string()),
            sequence: millis(now).max(1),
            rotation: Rotation::Steady { root },
            generations: BTreeMap::from([(1, root)]),
            last_generation: 1,
            withdrawn: BTreeMap::new(),
            revoked_identities: BTreeSet::new(),
            revoked_serials: BTreeMap::new(),
        }
    }

    /// What is written in the store.
    ///
    /// # Errors
    /// [`CaError::Value`].
    pub(super) fn read(bytes: &[u8]) -> Result<Kept, CaError> {
        let wrong = |reason: String| CaError::Value { name: NAME.to_owned(), reason };
        let kept: Kept = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if let Some(text) = &kept.trust_domain {
            text.parse::<TrustDomain>().map_err(|error| wrong(error.to_string()))?;
        }
        for identity in &kept.revoked_identities {
            identity.parse::<SpiffeId>().map_err(|error| wrong(error.to_string()))?;
        }
        for serial in kept.revoked_serials.keys() {
            serial.parse::<Serial>().map_err(|error| wrong(error.to_string()))?;
        }
        for root in kept.rotation.trusted() {
            if !kept.generations.values().any(|known| *known == root) {
                return Err(wrong(format!("the files of the root {root} are not named")));
            }
        }
        Ok(kept)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data with texts as keys")
    }

    /// What is revoked.
    pub(super) fn revocations(&self) -> Revocations {
        let identities = self.revoked_identities.iter().filter_map(|text| text.parse().ok());
        let serials = self.revoked_serials.iter();
        let serials = serials.filter_map(|(text, until)| Some((text.parse().ok()?, at(*until))));
        Revocations {
            identities: identities.collect(),
            serials: serials.collect(),
            ..Revocations::default()
        }
    }

    /// The generation of the files of `root`, if they matter.
    pub(super) fn generation(&self, root: KeyHash) -> Option<u32> {
        let found = self.generations.iter().find(|(_, known)| **known == root);
        found.map(|(generation, _)| *generation)
    }

    /// Revokes `identity`, or lets it in again. False if that is so already.
    pub(super) fn revoke_identity(&mut self, identity: &SpiffeId, undo: bool) -> bool {
        let text = identity.to_string();
        if undo {
            self.revoked_identities.remove(&text)
        } else {
            self.revoked_identities.insert(text)
        }
    }

    /// Revokes `serial`, whose certificate ends at `until`, or lets it in again. False if that is
    /// so already.
    pub(super) fn revoke_serial(&mut self, serial: Serial, until: UnixTime, undo: bool) -> bool {
        let text = serial.to_string();
        if undo {
            self.revoked_serials.remove(&text).is_some()
        } else {
            self.revoked_serials.insert(text, until.0.as_secs()).is_none()
        }
    }

    /// How many revocations are in force.
    pub(super) fn revocations_count(&self) -> usize {
        self.revoked_identities.len() + self.revoked_serials.len()
    }

    /// Remembers the root of `authority`, which is withdrawn at `now`.
    pub(super) fn withdraw(&mut self, authority: &Authority, now: UnixTime) {
        let until = (now.0 + LEAF_LIFETIME).as_secs();
        let withdrawn = Withdrawn { pem: authority.root_pem(), until };
        self.withdrawn.insert(authority.root_key(), withdrawn);
    }

    /// The roots that were withdrawn, while certificates below them may not have expired.
    pub(super) fn withdrawn(&self) -> impl Iterator<Item = &str> {
        self.withdrawn.values().map(|withdrawn| withdrawn.pem.as_str())
    }

    /// Forgets what concerns only certificates that have expired. False if there is nothing.
    pub(super) fn prune(&mut self, now: UnixTime) -> bool {
        let before = (self.revoked_serials.len(), self.withdrawn.len());
        self.revoked_serials.retain(|_, until| at(*until) >= now);
        self.withdrawn.retain(|_, withdrawn| at(withdrawn.until) >= now);
        (self.revoked_serials.len(), self.withdrawn.len()) != before
    }
}

/// The milliseconds of `time`, of which there are enough for ages.
pub(super) fn millis(time: UnixTime) -> u64 {
    u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX / 2)
}

fn at(seconds: u64) -> UnixTime {
    UnixTime(Duration::from_secs(seconds))
}
