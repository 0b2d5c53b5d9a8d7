//! What a file store lies on: a disk, or in tests one that fails.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

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

impl Drop for Disk {
    /// Gives the file up for all. To close it is not enough: a process that another thread is about
    /// to start has a copy of it until its program begins, and the lock with it.
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            // Closing it is the other way.
            let _ = lock.unlock();
        }
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

/// A backend whose file has no holes.
///
/// A write into a hole may find the disk full, and a part of it written, in a file that says it has
/// room. Without holes only growing can fail, and does so before anything relies on it: on a full
/// disk, whatever fits into the file can be written, and what is deleted makes room.
#[derive(Debug)]
pub struct Solid<B>(pub B);

impl<B: StorageBackend> Solid<B> {
    /// Writes zeros where the file has grown.
    fn allocate(&self, before: u64, len: u64) -> io::Result<()> {
        if len <= before {
            return Ok(());
        }
        // First the length: a crash may leave some of the zeros only, and so must not decide it.
        self.0.sync_data()?;
        let zeros = vec![0; 64 << 10];
        let mut offset = before;
        while offset < len {
            let count = usize::try_from(len - offset).map_or(zeros.len(), |n| n.min(zeros.len()));
            self.0.write(offset, &zeros[..count])?;
            offset += count as u64;
        }
        Ok(())
    }
}

/// As redb passes it: both ends of a range of bytes.
type Ends = Bound<u64>;

impl<B: StorageBackend> StorageBackend for Solid<B> {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let before = self.0.len()?;
        self.0.set_len(len)?;
        self.allocate(before, len).inspect_err(|_| {
            // What was taken of the last room is given back; the first error is the one to tell.
            let _ = self.0.set_len(before);
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Ends, end: Ends) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Ends, end: Ends) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Ends, end: Ends) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Ends, end: Ends) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Ends, end: Ends) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Ends, end: Ends) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_free_though_a_process_that_is_being_started_has_a_copy() {
        let name = format!("weft-store-lock-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("store.redb");
        let mut first = Disk::new(path.clone());
        first.claim().unwrap();
        // As a fork has it.
        let copy = first.lock.as_ref().unwrap().try_clone().unwrap();
        let mut second = Disk::new(path);
        assert!(matches!(second.claim(), Err(StoreError::InUse { .. })));
        drop(first);
        second.claim().unwrap();
        drop(copy);
        fs::remove_dir_all(directory).unwrap();
    }
}
