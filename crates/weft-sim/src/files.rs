//! A host's disk: small files in memory, which outlive a crash of the host.
//!
//! Every directory exists, so that a missing one is not found out here.
//! Deliberately absent: permissions of single files, and torn writes, since [`Files::replace`]
//! promises that there are none.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use weft_world::Files;

use crate::trace::{Fnv, Happening, Trace};

/// How a disk behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskState {
    /// Everything works.
    #[default]
    Working,
    /// No write finds room.
    Full,
    /// Mounted read-only.
    ReadOnly,
    /// Neither reads nor writes work.
    Broken,
}

#[derive(Default)]
struct Contents {
    state: DiskState,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// The disk of one host. Cheap to clone: all clones are one disk.
#[derive(Clone)]
pub struct Disk {
    host: Rc<str>,
    trace: Trace,
    contents: Rc<RefCell<Contents>>,
}

impl Disk {
    pub(crate) fn new(host: Rc<str>, trace: Trace) -> Disk {
        Disk { host, trace, contents: Rc::default() }
    }

    /// Makes the disk behave so from now on.
    pub fn set_state(&self, state: DiskState) {
        self.contents.borrow_mut().state = state;
    }

    /// Puts a file there, whatever the state of the disk.
    pub fn put(&self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) {
        self.contents.borrow_mut().files.insert(path.into(), content.into());
    }

    /// What is in the file, whatever the state of the disk.
    pub fn content(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.contents.borrow().files.get(path.as_ref()).cloned()
    }

    /// Takes a file away, whatever the state of the disk.
    pub fn remove(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.contents.borrow_mut().files.remove(path.as_ref())
    }
}

impl Files for Disk {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        let contents = self.contents.borrow();
        if contents.state == DiskState::Broken {
            return Err(io::Error::other("simulated fault of the disk"));
        }
        let content = contents.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        if content.len() > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content.clone())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut contents = self.contents.borrow_mut();
        match contents.state {
            DiskState::Working => {}
            DiskState::Full => return Err(io::ErrorKind::StorageFull.into()),
            DiskState::ReadOnly => return Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            DiskState::Broken => return Err(io::Error::other("simulated fault of the disk")),
        }
        contents.files.insert(path.to_owned(), content.to_vec());
        let (bytes, hash) = (content.len(), Fnv::of(content));
        self.trace.add(&self.host, Happening::Replaced { path: path.to_owned(), bytes, hash });
        Ok(())
    }
}
