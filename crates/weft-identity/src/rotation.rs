//! The replacement of a root by another, as a pure state machine.
//!
//! ```text
//! Steady --start--> Distributing --all hold both roots--> Signing
//!                        |                                   |
//!                      abort                       all have new leaves
//!                        |                                   |
//!                        +--------> Withdrawing <------------+
//!                                        |
//!                             all hold the kept root only
//!                                        |
//!                                      Steady
//! ```
//!
//! Each state says which roots are to be trusted and which one signs; acting on it is the caller's:
//! after every change it stores the state, then publishes a bundle with
//! [`trusted`](Rotation::trusted) under the sequence number in the state or a greater one, and
//! signs with [`signing`](Rotation::signing). So a restart goes on from whatever was stored.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::key_hash::KeyHash;

/// Where the replacement of a root stands. Roots are named by the hashes of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rotation {
    /// There is one root, and nothing to do.
    Steady {
        /// The root.
        root: KeyHash,
    },
    /// Both are trusted, the old one signs.
    Distributing {
        /// The root to be replaced.
        old: KeyHash,
        /// The root to take its place.
        new: KeyHash,
        /// The number of the first bundle with both.
        sequence: u64,
    },
    /// Both are trusted, the new one signs.
    Signing {
        /// The root to be replaced.
        old: KeyHash,
        /// The root to take its place.
        new: KeyHash,
        /// The number of the first bundle with both.
        sequence: u64,
    },
    /// One is trusted and signs, and the other is taken away.
    Withdrawing {
        /// The root that stays.
        kept: KeyHash,
        /// The root that goes.
        withdrawn: KeyHash,
        /// The number of the first bundle without it.
        sequence: u64,
    },
}

/// What a proxy has acknowledged last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The sequence number of the bundle that it trusts.
    pub sequence: u64,
    /// The root above its present certificate.
    pub root: KeyHash,
}

/// All that hold a certificate which has not expired, by name, whether they are connected or not:
/// the record of what was issued tells. Nothing stands for one not heard of since the start.
pub type Fleet = BTreeMap<String, Option<Acknowledged>>;

/// Why a rotation does not go on, for one proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whom it waits for.
    pub proxy: String,
    /// What for.
    pub missing: Missing,
}

/// What a proxy has yet to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// To connect: it has not been heard of.
    Word,
    /// To acknowledge a bundle.
    Bundle {
        /// The number of the one that it has.
        held: u64,
        /// The least that is wanted.
        wanted: u64,
    },
    /// To get a certificate below the new root.
    Leaf {
        /// The root above the one that it has.
        root: KeyHash,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Waiting { proxy, missing } = self;
        match missing {
            Missing::Word => write!(f, "{proxy} has not been heard of"),
            Missing::Bundle { held, wanted } => {
                write!(f, "{proxy} holds trust bundle {held}, and {wanted} is wanted")
            }
            Missing::Leaf { root } => {
                write!(f, "{proxy} has a certificate below the old root {root}")
            }
        }
    }
}

/// A step that cannot be made in the present state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RotationError {
    /// One is under way.
    #[error("the root {old} is being replaced by {new} already: let that end, or abort it")]
    UnderWay {
        /// The root to be replaced.
        old: KeyHash,
        /// The root to take its place.
        new: KeyHash,
    },
    /// The new root is the old one.
    #[error("{0} is the present root: make a new one first")]
    SameRoot(KeyHash),
    /// There is nothing to abort.
    #[error("no root is being replaced")]
    Idle,
    /// Certificates below the new root may be in use.
    #[error(
        "certificates are signed below the root {new} already: let the rotation end, then begin \
         another one"
    )]
    TooLate {
        /// The root to take the place of the old one.
        new: KeyHash,
    },
}

impl Rotation {
    /// The roots to be trusted.
    pub fn trusted(&self) -> Vec<KeyHash> {
        match *self {
            Rotation::Steady { root } | Rotation::Withdrawing { kept: root, .. } => vec![root],
            Rotation::Distributing { old, new, .. } | Rotation::Signing { old, new, .. } => {
                vec![old, new]
            }
        }
    }

    /// The root below which certificates are signed.
    pub fn signing(&self) -> KeyHash {
        match *self {
            Rotation::Steady { root: signing }
            | Rotation::Distributing { old: signing, .. }
            | Rotation::Signing { new: signing, .. }
            | Rotation::Withdrawing { kept: signing, .. } => signing,
        }
    }

    /// The least sequence number that the published bundle must have, if this state asks for one.
    pub fn sequence(&self) -> Option<u64> {
        match *self {
            Rotation::Distributing { sequence, .. }
            | Rotation::Signing { sequence, .. }
            | Rotation::Withdrawing { sequence, .. } => Some(sequence),
            Rotation::Steady { .. } => None,
        }
    }

    /// Begins to replace the root by `new`. `next_sequence` is the number after the last bundle's.
    ///
    /// # Errors
    /// [`RotationError::UnderWay`], [`RotationError::SameRoot`].
    pub fn start(&self, new: KeyHash, next_sequence: u64) -> Result<Rotation, RotationError> {
        match *self {
            Rotation::Steady { root } if root == new => Err(RotationError::SameRoot(new)),
            Rotation::Steady { root: old } => {
                Ok(Rotation::Distributing { old, new, sequence: next_sequence })
            }
            Rotation::Distributing { old, new, .. }
            | Rotation::Signing { old, new, .. }
            | Rotation::Withdrawing { kept: new, withdrawn: old, .. } => {
                Err(RotationError::UnderWay { old, new })
            }
        }
    }

    /// Takes the new root away again, as long as nothing has been signed below it.
    ///
    /// # Errors
    /// [`RotationError::Idle`], [`RotationError::TooLate`].
    pub fn abort(&self, next_sequence: u64) -> Result<Rotation, RotationError> {
        match *self {
            Rotation::Distributing { old, new, .. } => {
                Ok(Rotation::Withdrawing { kept: old, withdrawn: new, sequence: next_sequence })
            }
            Rotation::Signing { new, .. } | Rotation::Withdrawing { kept: new, .. } => {
                Err(RotationError::TooLate { new })
            }
            Rotation::Steady { .. } => Err(RotationError::Idle),
        }
    }

    /// Whom the present state waits for, and what for. Nobody in [`Rotation::Steady`].
    pub fn waiting_for(&self, fleet: &Fleet) -> Vec<Waiting> {
        let Some(wanted) = self.sequence() else { return Vec::new() };
        let missing = |acknowledged: &Option<Acknowledged>| {
            let Some(Acknowledged { sequence: held, root }) = *acknowledged else {
                return Some(Missing::Word);
            };
            if held < wanted {
                return Some(Missing::Bundle { held, wanted });
            }
            match self {
                Rotation::Signing { new, .. } if root != *new => Some(Missing::Leaf { root }),
                _ => None,
            }
        };
        let waiting = |(proxy, acknowledged)| {
            let proxy: &String = proxy;
            missing(acknowledged).map(|missing| Waiting { proxy: proxy.clone(), missing })
        };
        fleet.iter().filter_map(waiting).collect()
    }

    /// The next state if nobody is waited for, otherwise the present one; one step at a time.
    pub fn advance(&self, fleet: &Fleet, next_sequence: u64) -> Rotation {
        if !self.waiting_for(fleet).is_empty() {
            return self.clone();
        }
        match *self {
            Rotation::Steady { root } => Rotation::Steady { root },
            Rotation::Distributing { old, new, sequence } => {
                Rotation::Signing { old, new, sequence }
            }
            Rotation::Signing { old, new, .. } => {
                Rotation::Withdrawing { kept: new, withdrawn: old, sequence: next_sequence }
            }
            Rotation::Withdrawing { kept, .. } => Rotation::Steady { root: kept },
        }
    }
}

#[cfg(test)]
mod tests;
