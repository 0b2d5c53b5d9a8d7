//! What the authority cannot do, and what an operator is told of it.

use thiserror::Error;
use weft_identity::{AuthorityError, CredentialsError, KeyHash, RotationError, TrustError};
use weft_store::StoreError;

use super::beside::STATE_FILE;
use super::kept::REVOCATIONS_MAX;

/// What the authority cannot do, and why.
#[derive(Debug, Error)]
pub enum CaError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds what this version cannot read.
    #[error("the store's value {name} is malformed, restore the store from a backup: {reason}")]
    Value {
        /// Which value.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file beside the store holds what this version cannot read.
    #[error(
        "{STATE_FILE} beside the store is damaged: {reason}: restore it from a backup; without \
         one, remove it: then the authority is as the store has it, and if that was restored from \
         a copy, what was revoked since is not known"
    )]
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// The file beside the store cannot be read or written.
    #[error("the state of the authority, beside the store: {0}")]
    Beside(AuthorityError),
    /// An authority cannot be made or opened.
    #[error("the authority of generation {generation}: {source}")]
    Authority {
        /// Which one.
        generation: u32,
        /// Why.
        source: AuthorityError,
    },
    /// The files are of another root than the store says.
    #[error(
        "the root of generation {generation} has the key {found}, and {recorded} is on record: \
         bring the files of before back"
    )]
    Root {
        /// Which one.
        generation: u32,
        /// What is in its file.
        found: KeyHash,
        /// What was there.
        recorded: KeyHash,
    },
    /// The roots make no bundle.
    #[error("the roots cannot be trusted: {0}")]
    Bundle(#[from] CredentialsError),
    /// The bundle cannot be put in force.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The bundle is in force here, and cannot be told to proxies.
    #[error("done, but proxies cannot be told of it: {0}")]
    Told(String),
    /// The rotation cannot do that now.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The request names something that is not one.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong with it, and what to give.
        reason: String,
    },
    /// So much cannot be revoked.
    #[error(
        "{REVOCATIONS_MAX} revocations are in force, which is the most: let some in again with \
         --undo, or replace the root"
    )]
    Full,
}

impl CaError {
    /// The stable code of the reason, and the HTTP status that goes with it.
    pub fn reason(&self) -> (&'static str, u16) {
        match self {
            CaError::Rotation(_) => ("rotation-state", 409),
            CaError::Invalid { .. } => ("invalid", 422),
            CaError::Full => ("too-many-revocations", 422),
            CaError::Store(_)
            | CaError::Value { .. }
            | CaError::Damaged { .. }
            | CaError::Beside(_)
            | CaError::Authority { .. }
            | CaError::Root { .. }
            | CaError::Bundle(_)
            | CaError::Trust(_)
            | CaError::Told(_) => ("authority-failed", 503),
        }
    }
}
