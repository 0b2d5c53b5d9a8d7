//! The journal in a file: redb tables, what is checked when they are opened, and backups.
//!
//! Every commit is written in two phases, so that redb never takes an older state for the newest
//! because the newest is damaged: such a file is refused. Every opening verifies the checksums of
//! all pages, since the whole file is read then anyway. One bit is beyond both: the one by which
//! redb's header says which of its two commits is the newer.
//!
//! After a sync has failed, the system may take for written what never reached the disk. Here that
//! is harmless, since nothing is written through the same opening then: what the sync of the first
//! phase lost belongs to no commit, and what the second lost is the header, which the next opening
//! writes again and syncs.

use std::any::Any;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition, WriteTransaction,
};
use weft_world::UnixTime;

use crate::error::StoreError;
use crate::journal::Journal;
use crate::key::{DocumentKey, EntryKey};
use crate::local::Opened;
use crate::medium::{Disk, Medium, Solid, beside, owner_only};
use crate::state::{Entries, Entry, Revision, Write};
use crate::version::Version;

/// The layout below. A change that older versions of Weft cannot read raises it.
const SCHEMA: u64 = 1;

/// Numbers about the whole store: [`SCHEMA_ROW`] and [`VERSION_ROW`].
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const SCHEMA_ROW: &str = "schema";
const VERSION_ROW: &str = "version";

/// Sort, kind, namespace and name; kind and namespace are empty for all but documents.
type KeyRow<'a> = (u8, &'a str, &'a str, &'a str);
/// Version, creation in Unix milliseconds, milliseconds to live (0 for all but leases), bytes.
type EntryRow<'a> = (u64, u64, u64, &'a [u8]);
const ENTRIES: TableDefinition<KeyRow, EntryRow> = TableDefinition::new("entries");

/// Little, since all that is read is held by the store.
const CACHE_BYTES: usize = 8 << 20;

/// By how much the version in a backup is ahead of the store's: more changes than a store sees
/// between a backup and the day when the backup is needed.
pub const BACKUP_VERSIONS_AHEAD: u64 = 1_000_000_000;

/// Opens the file of `disk`, or makes it.
pub fn open(mut disk: Disk) -> Result<Opened, StoreError> {
    match disk.claim() {
        Err(StoreError::Open { path, source }) if is_read_only(&source) => {
            // Where there is nothing to be read, that it cannot be made is the trouble.
            if !path.exists() {
                return Err(StoreError::Open { path, source });
            }
        }
        claimed => {
            claimed?;
            make(&disk.path())?;
        }
    }
    open_on(disk)
}

/// Opens the file on `medium`, which is there.
pub fn open_on<M: Medium>(medium: M) -> Result<Opened, StoreError> {
    let path = medium.path();
    let (database, (version, entries)) = match open_database(&medium) {
        Err(StoreError::Open { source, .. }) if is_read_only(&source) => {
            (None, load(&copy(&medium)?, &path)?)
        }
        opened => {
            let database = opened?;
            let loaded = load(&database, &path)?;
            (Some(database), loaded)
        }
    };
    let broken = database.is_none();
    let journal = Box::new(FileJournal { medium, database });
    Ok(Opened { journal, broken, version, entries })
}

/// Writes a store of `entries` into a new file at `path`.
pub fn backup(path: &Path, version: Version, entries: &Entries) -> Result<(), StoreError> {
    let failed = |source| StoreError::Backup { path: path.to_owned(), source };
    if path.exists() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    write_new(path, version.plus(BACKUP_VERSIONS_AHEAD), entries).map_err(failed)
}

struct FileJournal<M> {
    /// `None` from a failure until the journal has recovered. It is closed before the medium, which
    /// keeps others away.
    database: Option<Database>,
    medium: M,
}

impl<M: Medium> Journal for FileJournal<M> {
    fn record(&mut self, revision: &Revision) -> Result<(), io::Error> {
        let Some(database) = &self.database else {
            return Err(io::Error::other("the file was not opened again"));
        };
        let recorded = guarded(|| write(database, revision)).map_err(as_io);
        if recorded.is_err() {
            self.close();
        }
        recorded
    }

    fn recover(&mut self) -> Result<Version, StoreError> {
        self.close();
        let path = self.medium.path();
        self.medium.claim()?;
        let database = open_database(&self.medium)?;
        let (version, _) = load(&database, &path)?;
        self.database = Some(database);
        Ok(version)
    }

    fn path(&self) -> PathBuf {
        self.medium.path()
    }
}

impl<M> FileJournal<M> {
    /// Lets go of the file. What redb still writes then is not needed.
    fn close(&mut self) {
        let database = self.database.take();
        let _ = guarded(|| {
            drop(database);
            Ok(())
        });
    }
}

/// Makes an empty store at `path` if nothing is there. The caller holds the lock.
fn make(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    // Left by a crash; it was never a store.
    match fs::remove_file(beside(path, ".new")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    write_new(path, Version::FIRST, &Entries::new()).map_err(failed)
}

/// Writes a store under another name, and gives it its name when it is whole.
fn write_new(path: &Path, version: Version, entries: &Entries) -> io::Result<()> {
    let unfinished = beside(path, ".new");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let file = owner_only(&mut options).open(&unfinished)?;
    let filled = FileBackend::new(file)
        .map_err(redb::Error::from)
        .and_then(|backend| fill(backend, version, entries))
        .map_err(as_io)
        .and_then(|()| fs::rename(&unfinished, path))
        .and_then(|()| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        });
    if filled.is_err() {
        // What failed matters more than what it leaves behind.
        let _ = fs::remove_file(&unfinished);
    }
    filled
}

/// Writes a store to an empty `backend`.
pub fn fill(
    backend: impl StorageBackend,
    version: Version,
    entries: &Entries,
) -> Result<(), redb::Error> {
    guarded(|| {
        let mut builder = Builder::new();
        let database = builder.set_cache_size(CACHE_BYTES).create_with_backend(Solid(backend))?;
        let transaction = begin(&database)?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert(SCHEMA_ROW, SCHEMA)?;
            meta.insert(VERSION_ROW, version.number())?;
            let mut table = transaction.open_table(ENTRIES)?;
            for (key, entry) in entries {
                table.insert(key_row(key), entry_row(entry))?;
            }
        }
        transaction.commit()?;
        Ok(database.close()?)
    })
}

fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

fn write(database: &Database, revision: &Revision) -> Result<(), redb::Error> {
    let transaction = begin(database)?;
    {
        let mut table = transaction.open_table(ENTRIES)?;
        for Write { key, entry } in &revision.writes {
            match entry {
                Some(entry) => table.insert(key_row(key), entry_row(entry))?,
                None => table.remove(key_row(key))?,
            };
        }
        transaction.open_table(META)?.insert(VERSION_ROW, revision.version.number())?;
    }
    Ok(transaction.commit()?)
}

/// Opens and verifies the file on `medium`.
fn open_database<M: Medium>(medium: &M) -> Result<Database, StoreError> {
    let path = medium.path();
    let failed = |source| StoreError::Open { path: path.clone(), source };
    verified(Solid(medium.backend().map_err(failed)?), &path)
}

/// A copy in memory of the file on `medium`, which cannot be written.
fn copy<M: Medium>(medium: &M) -> Result<Database, StoreError> {
    let path = medium.path();
    let failed = |source| StoreError::Open { path: path.clone(), source };
    let content = medium.content().map_err(failed)?;
    let backend = InMemoryBackend::new();
    backend.set_len(content.len() as u64).map_err(failed)?;
    backend.write(0, &content).map_err(failed)?;
    verified(backend, &path)
}

fn verified(backend: impl StorageBackend, path: &Path) -> Result<Database, StoreError> {
    match backend.len() {
        // redb would make a new database of it, and all that was in it would be forgotten.
        Ok(0) => return Err(damaged(path, "it is empty")),
        Ok(_) => {}
        Err(source) => return Err(StoreError::Open { path: path.to_owned(), source }),
    }
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    guarded(|| Ok(builder.create_with_backend(backend)?)).map_err(|error| opening(path, error))
}

/// All that is in `database`.
fn load(database: &Database, path: &Path) -> Result<(Version, Entries), StoreError> {
    let failed = |error| opening(path, error);
    let numbers = guarded(|| {
        let meta = database.begin_read()?.open_table(META)?;
        let number = |row| Ok::<_, redb::Error>(meta.get(row)?.map(|number| number.value()));
        Ok((number(SCHEMA_ROW)?, number(VERSION_ROW)?))
    });
    let (schema, version) = match numbers.map_err(failed)? {
        (Some(found), _) if found > SCHEMA => {
            return Err(StoreError::NewerSchema { path: path.to_owned(), found, known: SCHEMA });
        }
        (Some(schema), Some(version)) => (schema, Version::new(version)),
        _ => return Err(damaged(path, "it does not say its schema and version")),
    };
    if schema != SCHEMA || version < Version::FIRST || version > Version::MAX {
        let what = format!("schema {schema} with version {version} is not possible");
        return Err(damaged(path, what));
    }
    let rows = guarded(|| {
        let table = database.begin_read()?.open_table(ENTRIES)?;
        let mut entries = Vec::new();
        for row in table.iter()? {
            let (key, entry) = row?;
            entries.push((from_key_row(key.value()), from_entry_row(entry.value())));
        }
        Ok(entries)
    });
    let mut entries = Entries::new();
    for (key, mut entry) in rows.map_err(failed)? {
        let key = key.map_err(|sort| damaged(path, format!("an entry is of sort {sort}")))?;
        if entry.version > version {
            let what = format!("{key} is of version {}, the store of {version}", entry.version);
            return Err(damaged(path, what));
        }
        if !matches!(key, EntryKey::Lease(_)) {
            entry.ttl = None;
        }
        entries.insert(key, entry);
    }
    Ok((version, entries))
}

fn key_row(key: &EntryKey) -> KeyRow<'_> {
    match key {
        EntryKey::Document(DocumentKey { kind, namespace, name }) => (0, kind, namespace, name),
        EntryKey::Value(name) => (1, "", "", name),
        EntryKey::Lease(name) => (2, "", "", name),
    }
}

fn from_key_row((sort, kind, namespace, name): KeyRow<'_>) -> Result<EntryKey, u8> {
    match sort {
        0 => Ok(EntryKey::Document(DocumentKey::new(kind, namespace, name))),
        1 => Ok(EntryKey::Value(name.to_owned())),
        2 => Ok(EntryKey::Lease(name.to_owned())),
        unknown => Err(unknown),
    }
}

fn entry_row(Entry { version, created, ttl, bytes }: &Entry) -> EntryRow<'_> {
    // Both are whole milliseconds that came from a u64.
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    (version.number(), millis(created.0), millis(ttl.unwrap_or_default()), bytes)
}

fn from_entry_row((version, created, ttl, bytes): EntryRow<'_>) -> Entry {
    Entry {
        version: Version::new(version),
        created: UnixTime(Duration::from_millis(created)),
        ttl: Some(Duration::from_millis(ttl)),
        bytes: Arc::from(bytes),
    }
}

/// Does `work`, taking a panic for damage: redb asserts some of what a file says.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let what = message(panic.as_ref()).unwrap_or("an assertion failed");
        Err(redb::Error::Corrupted(what.to_owned()))
    })
}

fn message(panic: &(dyn Any + Send)) -> Option<&str> {
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(owned)
}

/// What it means that the file at `path` cannot be opened because of `error`.
fn opening(path: &Path, error: redb::Error) -> StoreError {
    use redb::Error as E;
    let path = path.to_owned();
    match error {
        E::DatabaseAlreadyOpen | E::LockProtocolMismatch => StoreError::InUse { path },
        // What redb calls a file that is none of its own, or shorter than it says.
        E::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            StoreError::Damaged { path, what: "it is not a store".into() }
        }
        E::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            StoreError::Damaged { path, what: "it ends too early".into() }
        }
        E::Io(source) => StoreError::Open { path, source },
        E::Corrupted(what) => StoreError::Damaged { path, what },
        other => StoreError::Damaged { path, what: other.to_string() },
    }
}

fn as_io(error: redb::Error) -> io::Error {
    match error {
        redb::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

fn damaged(path: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), what: what.into() }
}

fn is_read_only(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ReadOnlyFilesystem
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
