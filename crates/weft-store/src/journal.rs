//! Where changes are made durable.

use std::io;
use std::path::PathBuf;

use crate::error::StoreError;
use crate::state::Revision;
use crate::version::Version;

/// What makes changes durable.
pub trait Journal: Send {
    /// Makes `revision` durable, all of it. After an error it may be durable or not, and nothing
    /// else may be recorded before [`recover`](Journal::recover) has succeeded.
    fn record(&mut self, revision: &Revision) -> Result<(), io::Error>;

    /// Makes the journal usable again, and says which version it is at: whatever it holds up to
    /// there is durable now.
    fn recover(&mut self) -> Result<Version, StoreError>;

    /// What it is called in messages.
    fn path(&self) -> PathBuf;
}

/// A journal that forgets: for stores that live as long as their process.
pub struct Forgetful {
    version: Version,
}

impl Forgetful {
    /// The journal of an empty store.
    pub fn new() -> Forgetful {
        Forgetful { version: Version::FIRST }
    }
}

impl Journal for Forgetful {
    fn record(&mut self, revision: &Revision) -> Result<(), io::Error> {
        self.version = revision.version;
        Ok(())
    }

    fn recover(&mut self) -> Result<Version, StoreError> {
        Ok(self.version)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("memory")
    }
}
