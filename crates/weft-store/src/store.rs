//! What every store does.

use std::path::Path;
use std::sync::Arc;

use weft_world::{Moment, UnixTime};

use crate::batch::{Applied, Batch};
use crate::error::StoreError;
use crate::feed::Watch;
use crate::key::DocumentKey;
use crate::lease::Lease;
use crate::version::Version;

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What identifies it.
    pub key: DocumentKey,
    /// The version that wrote it.
    pub version: Version,
    /// When it was created: the last time that it was written without having been there.
    pub created: UnixTime,
    /// Its bytes, as they were given.
    pub text: Arc<[u8]>,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// The version that wrote it.
    pub version: Version,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// Which documents are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this kind.
    pub kind: Option<String>,
    /// Only those in this namespace.
    pub namespace: Option<String>,
}

impl Filter {
    /// Whether it lets `key` pass.
    pub fn matches(&self, key: &DocumentKey) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == key.kind)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
    }
}

/// Documents as they were at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The store's version. A watch from here gives all that changed since.
    pub version: Version,
    /// The documents, ordered by kind, namespace and name.
    pub documents: Vec<Document>,
}

/// A store of documents, values and leases.
///
/// Every call is synchronous; the caller decides where it may block. Only [`apply`](Store::apply)
/// and [`backup`](Store::backup) wait for a disk.
pub trait Store: Send + Sync {
    /// The version of the whole store.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn version(&self) -> Result<Version, StoreError>;

    /// The document of `key`, if there is one.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StoreError>;

    /// The documents that `filter` lets pass, all at one version.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn list(&self, filter: &Filter) -> Result<Listing, StoreError>;

    /// The value of `name`, if there is one.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get_value(&self, name: &str) -> Result<Option<Value>, StoreError>;

    /// The values whose names start with `prefix`, ordered by name.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn list_values(&self, prefix: &str) -> Result<Vec<Value>, StoreError>;

    /// The lease of `name`, if there is one.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError>;

    /// All leases, ordered by name. How one stands is for [`Lease::state`] to say.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn leases(&self) -> Result<Vec<Lease>, StoreError>;

    /// Makes all changes of `batch`, or none of them. When this returns `Ok`, they will survive
    /// a crash.
    ///
    /// Writing what is there already, and deleting what is not, is no change: it raises no version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] with every entry that is not as expected; keys that are named
    /// twice, empty or too long; entries that are too large; [`StoreError::Write`] if the disk did
    /// not take it.
    fn apply(&self, batch: Batch) -> Result<Applied, StoreError>;

    /// Starts the time of the lease `name` anew. Nothing is written.
    ///
    /// # Errors
    /// [`StoreError::NoSuchLease`] if it is not registered, or was removed.
    fn renew(&self, name: &str, now: Moment) -> Result<(), StoreError>;

    /// The changes after version `from`, first those that were, then those to come.
    ///
    /// Documents and leases are seen, values are not.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if some of them are no longer known, [`StoreError::Ahead`] if the
    /// store has never been at `from`: list again in both cases.
    fn watch(&self, from: Version) -> Result<Watch, StoreError>;

    /// Writes a store with all that is in this one, at one version, into the new file at `path`.
    ///
    /// The store may be used meanwhile. The copy's own version is far ahead of this one's, so that
    /// after it was restored no version is used for a second time.
    ///
    /// # Errors
    /// [`StoreError::Backup`] if the file exists or cannot be written.
    fn backup(&self, path: &Path) -> Result<(), StoreError>;
}
