//! What a file store lies on: a disk, or in tests one that fails.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::error::StoreError;

/// Where the bytes of one file are.
pub trait Medium: Send + 'static {
    /// What redb reads and writes through.
    type Backend: StorageBackend;

    /// The file, as it is called in messages.
    fn path(&self) -> PathBuf;

    /// Keeps other processes away from the file from now on. Does nothing the second time.
    fn claim(&mut self) -> Result<(), StoreError>;

    /// The file, to be read and written.
    fn backend(&self) -> io::Result<Self::Backend>;

    /// The file's content.
    fn content(&self) -> io::Result<Vec<u8>>;
}

/// A file of the system.
pub struct Disk {
    path: PathBuf,
    lock: Option<File>,
}

impl Disk {
    /// The file at `path`, which need not exist.
    pub fn new(path: PathBuf) -> Disk {
        Disk { path, lock: None }
    }
}

impl Medium for Disk {
    type Backend = FileBackend;

    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn claim(&mut self) -> Result<(), StoreError> {
        if self.lock.is_some() {
            return Ok(());
        }
        let failed = |source| StoreError::Open { path: self.path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // A file of its own, which is never renamed, truncated or removed: whoever holds it may do
        // all that to the store.
        let file = owner_only(&mut options).open(beside(&self.path, ".lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { path: self.path.clone() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        Ok(())
    }

    fn backend(&self) -> io::Result<FileBackend> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        FileBackend::new(file).map_err(io::Error::other)
    }

    fn content(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }
}

/// Where a file was changed since it was last synced, over all openings of it.
///
/// Once a sync has failed, the system may take pages for written that never reached the disk: they
/// can be read, a later sync does not write them, and a crash loses them.
#[derive(Clone, Debug, Default)]
pub struct Unsynced(Arc<Mutex<Changes>>);

#[derive(Debug, Default)]
struct Changes {
    written: Vec<Range<u64>>,
    resized: bool,
}

impl Unsynced {
    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all changes once more that may not have reached the disk, and waits until they have.
    ///
    /// Not the whole file, since a hole in it would take room then, which a full disk has not.
    pub fn repeat(&self, backend: &impl StorageBackend) -> io::Result<()> {
        let mut changes = self.changes();
        if changes.written.is_empty() && !changes.resized {
            return Ok(());
        }
        let length = backend.len()?;
        backend.set_len(length)?;
        for range in &changes.written {
            let (start, end) = (range.start.min(length), range.end.min(length));
            let mut bytes = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
            backend.read(start, &mut bytes)?;
            backend.write(start, &bytes)?;
        }
        backend.sync_data()?;
        *changes = Changes::default();
        Ok(())
    }
}

/// A backend that notes where it was changed, and has no holes.
///
/// A write into a hole may find the disk full, and a part of it written, in a file that says it has
/// room. Without holes only growing can fail, and does so before anything relies on it: on a full
/// disk, whatever fits into the file can be written, and what is deleted makes room.
#[derive(Debug)]
pub struct Tracked<B> {
    inner: B,
    unsynced: Unsynced,
}

impl<B> Tracked<B> {
    /// `inner`, whose changes are noted in `unsynced`.
    pub fn new(inner: B, unsynced: Unsynced) -> Tracked<B> {
        Tracked { inner, unsynced }
    }
}

impl<B: StorageBackend> Tracked<B> {
    /// Writes zeros where the file has grown.
    fn allocate(&self, before: u64, len: u64) -> io::Result<()> {
        if len <= before {
            return Ok(());
        }
        // First the length: a crash may leave some of the zeros only, and so must not decide it.
        self.inner.sync_data()?;
        let zeros = vec![0; 64 << 10];
        let mut offset = before;
        while offset < len {
            let count = usize::try_from(len - offset).map_or(zeros.len(), |n| n.min(zeros.len()));
            self.inner.write(offset, &zeros[..count])?;
            offset += count as u64;
        }
        Ok(())
    }
}

/// As redb passes it: both ends of a range of bytes.
type Ends = Bound<u64>;

impl<B: StorageBackend> StorageBackend for Tracked<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let before = self.inner.len()?;
        self.inner.set_len(len)?;
        self.unsynced.changes().resized = true;
        self.allocate(before, len).inspect_err(|_| {
            // What was taken of the last room is given back; the first error is the one to tell.
            let _ = self.inner.set_len(before);
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()?;
        *self.unsynced.changes() = Changes::default();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)?;
        // Not what failed: no commit relies on it, and there may be no room to write it again.
        self.unsynced.changes().written.push(offset..offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Ends, end: Ends) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Ends, end: Ends) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Ends, end: Ends) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Ends, end: Ends) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Ends, end: Ends) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Ends, end: Ends) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

/// `path` with `suffix` after its name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// `options` for a file that only its owner may read: hashes of tokens are among the values.
pub fn owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}
