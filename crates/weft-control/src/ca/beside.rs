//! The copy of the authority's state in a file beside the store.
//!
//! A store that is restored from an older copy, or begun anew, does not know what was revoked
//! since, nor which roots were replaced. The file does: whichever of the two is the later counts.

use std::sync::PoisonError;

use weft_store::{Store, Version};

use super::kept::{self, Kept};
use super::{Ca, CaError, Keys};

/// The name of the file.
pub const STATE_FILE: &str = "authority.json";

/// What was found of the state.
pub(super) struct Found {
    /// The later of what the store and the file have.
    pub(super) kept: Option<Kept>,
    /// The version of what the store has.
    pub(super) stored: Option<Version>,
    /// Whether it is the file that has the later.
    pub(super) is_newer: bool,
    /// What the file has.
    pub(super) beside: Option<Vec<u8>>,
}

/// What `store` and the file of `keys` have of the state.
pub(super) fn find(store: &dyn Store, keys: &dyn Keys) -> Result<Found, CaError> {
    let value = store.get_value(kept::NAME)?;
    let stored = value.as_ref().map(|value| Kept::read(&value.bytes)).transpose()?;
    let beside = keys.recall().map_err(CaError::Beside)?;
    let recalled = beside.as_deref().map(read).transpose()?;
    let sequence = |kept: &Option<Kept>| kept.as_ref().map(|kept| kept.sequence);
    let is_newer = sequence(&recalled) > sequence(&stored);
    let kept = if is_newer { recalled } else { stored };
    Ok(Found { kept, stored: value.map(|value| value.version), is_newer, beside })
}

fn read(bytes: &[u8]) -> Result<Kept, CaError> {
    Kept::read(bytes).map_err(|error| match error {
        CaError::Value { reason, .. } => CaError::Damaged { reason },
        other => other,
    })
}

impl Ca {
    /// Keeps `kept` in the file too, if it has another state. Waits for the disk.
    pub(super) fn remember(&self, kept: &Kept) -> Result<(), CaError> {
        let mut beside = self.0.beside.lock().unwrap_or_else(PoisonError::into_inner);
        let state = kept.bytes();
        if beside.as_ref() != Some(&state) {
            self.0.keys.remember(&state).map_err(CaError::Beside)?;
            *beside = Some(state);
        }
        Ok(())
    }

    /// [Remembers](Self::remember); if the disk does not take it, it is tried again, and said.
    pub(super) fn remember_or_try_again(&self, kept: &Kept) {
        if self.remember(kept).is_err() {
            self.0.stirred.notify_one();
        }
    }

    /// [Remembers](Self::remember) the state in force, which no change overtakes meanwhile.
    pub(super) fn remember_now(&self) -> Result<(), CaError> {
        let _turn = self.0.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.remember(&self.core().kept)
    }
}
