//! What can go wrong.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::batch::Conflict;
use crate::key::EntryKey;
use crate::version::Version;

/// Why the store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Some entries were not as the batch expects. Nothing was changed.
    #[error("{}", list(.0))]
    Conflict(Vec<Conflict>),

    /// A batch names an entry twice. Nothing was changed.
    #[error("{key} is named twice in one batch: send one change for it")]
    NamedTwice {
        /// The entry.
        key: EntryKey,
    },

    /// A key that cannot be stored.
    #[error("{key:?} {what}")]
    BadKey {
        /// The entry.
        key: EntryKey,
        /// What is wrong with it, and what is allowed.
        what: String,
    },

    /// An entry with more bytes than are allowed.
    #[error("{key} has {bytes} bytes, the most is {bytes_max}: split it")]
    TooLarge {
        /// The entry.
        key: EntryKey,
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        bytes_max: usize,
    },

    /// The changes asked for are no longer known, or the watcher was too slow to get them.
    #[error(
        "the changes after version {from} are no longer known, only those after {oldest}: \
         list again and watch from the listing's version"
    )]
    Compacted {
        /// The version the watcher has seen.
        from: Version,
        /// The least version from which one can watch now.
        oldest: Version,
    },

    /// A watcher has seen a version that this store never had.
    #[error(
        "version {from} is ahead of the store, which is at {latest}: it belongs to another store, \
         so list again and watch from the listing's version"
    )]
    Ahead {
        /// The version the watcher has seen.
        from: Version,
        /// The store's version.
        latest: Version,
    },

    /// A lease that is not registered, or no longer.
    #[error("lease {name} is not registered: register it again")]
    NoSuchLease {
        /// The lease.
        name: String,
    },

    /// The store is gone, and with it all that could be watched.
    #[error("the store was closed")]
    Closed,

    /// Another process, or another part of this one, has the file open.
    #[error(
        "{} is in use: stop the other control plane, or give this one its own file", path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },

    /// The system does not let the file be opened or made.
    #[error("cannot open {}: {}", path.display(), remedy(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// The file is not a store, or no longer a whole one.
    #[error(
        "{} is damaged: {what}: put a copy from a backup in its place", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },

    /// The file was written by a newer Weft.
    #[error(
        "{} has schema {found}, and this version of weft knows schemas up to {known}: run the \
         version of weft that wrote it, or a newer one", path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
        /// The newest schema known here.
        known: u64,
    },

    /// The disk did not take a change.
    #[error("cannot write {}: {fate}: {}", path.display(), remedy(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// What became of the change.
        fate: Fate,
        /// What the system says.
        source: io::Error,
    },

    /// A backup could not be made.
    #[error("cannot write the backup {}: {}", path.display(), remedy(source))]
    Backup {
        /// The backup.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What became of a change that the disk did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was not made, and will not be.
    NotMade,
    /// The disk may have taken it or not. Until the disk works again, nothing shows it; then it
    /// either appears as if it had been made now, or has never been.
    InDoubt,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fate::NotMade => "the change was not made",
            Fate::InDoubt => "whether the change was made is known when the disk works again",
        })
    }
}

fn list(conflicts: &[Conflict]) -> String {
    let lines: Vec<String> = conflicts.iter().map(Conflict::to_string).collect();
    lines.join("; ")
}

/// What to do about `error`.
fn remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull => "its disk is full: make room there and try again",
        Kind::QuotaExceeded => "its quota is used up: make room and try again",
        Kind::ReadOnlyFilesystem => "its disk is read-only: mount it writable and try again",
        Kind::PermissionDenied => "let this user read and write it and its directory",
        Kind::NotFound => "make its directory first",
        Kind::AlreadyExists => "there is a file already: choose another name, or remove it",
        Kind::IsADirectory => "it is a directory: name a file in it",
        _ => "look after its disk and try again",
    }
}
