//! How it stands with the authority, put together when somebody asks.

use std::collections::BTreeSet;

use weft_identity::{Rotation, Validity, Waiting};

use super::{Ca, Core};
use crate::api::{CaStatus, IntermediateStatus, Phase, RevokedSerial, RootStatus, RotationStatus};

impl Ca {
    /// How it stands. `registered` are the workloads that are registered.
    pub(super) fn status(&self, registered: &BTreeSet<String>) -> CaStatus {
        let core = self.core();
        let wall = self.passed();
        let (waiting, holders) = {
            let fleet = self.fleet(&core.kept, registered);
            (core.kept.rotation.waiting_for(&fleet), self.records().holders(wall))
        };
        let signing = core.signing();
        let (serial, validity) = signing.intermediate();
        let revocations = core.kept.revocations();
        let revoked_serials = revocations.serials.iter().map(|(serial, until)| RevokedSerial {
            serial: serial.to_string(),
            until: until.0.as_secs(),
        });
        CaStatus {
            trust_domain: self.0.trust_domain.to_string(),
            sequence: core.kept.sequence,
            roots: roots(&core),
            intermediate: IntermediateStatus {
                serial: serial.to_string(),
                validity: seconds(validity),
                renew_at: signing.renew_at().0.as_secs(),
            },
            rotation: rotation(&core.kept.rotation, &waiting),
            revoked_identities: revocations.identities.iter().map(ToString::to_string).collect(),
            revoked_serials: revoked_serials.collect(),
            holders,
        }
    }
}

fn roots(core: &Core) -> Vec<RootStatus> {
    let signing = core.kept.rotation.signing();
    let described = |(generation, key): (&u32, &weft_identity::KeyHash)| {
        let authority = core.authorities.get(key);
        RootStatus {
            key: key.to_string(),
            generation: *generation,
            validity: authority.map(|authority| seconds(authority.root_validity())),
            signs: *key == signing,
            trusted: authority.is_some(),
        }
    };
    core.kept.generations.iter().map(described).collect()
}

fn rotation(rotation: &Rotation, waiting: &[Waiting]) -> RotationStatus {
    let (phase, old, new) = match rotation {
        Rotation::Steady { root } => (Phase::Steady, None, root),
        Rotation::Distributing { old, new, .. } => (Phase::Distributing, Some(old), new),
        Rotation::Signing { old, new, .. } => (Phase::Signing, Some(old), new),
        Rotation::Withdrawing { kept, withdrawn, .. } => {
            (Phase::Withdrawing, Some(withdrawn), kept)
        }
    };
    RotationStatus {
        phase,
        old: old.map(ToString::to_string),
        new: new.to_string(),
        waiting_for: waiting.iter().map(ToString::to_string).collect(),
    }
}

fn seconds(validity: Validity) -> (u64, u64) {
    (validity.not_before.0.as_secs(), validity.not_after.0.as_secs())
}
