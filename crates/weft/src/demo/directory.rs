//! The directory of a demo, which is gone when the demo is.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::process::geteuid;

/// How the names of such directories begin.
const PREFIX: &str = "weft-demo-";

/// The file in it that is locked as long as the demo lives.
const LOCK: &str = "lock";

/// How often a directory is removed in which somebody goes on to write.
const REMOVALS_MAX: usize = 10;

/// A directory for its owner only, removed with this value.
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    /// Absent once the directory is to be removed.
    _lock: Option<File>,
}

impl Directory {
    /// Makes one for this process, and removes those that demos of this user have left behind
    /// which were killed.
    pub fn new() -> anyhow::Result<Directory> {
        let base = std::env::temp_dir();
        remove_left(&base);
        for attempt in 0..100 {
            let suffix = if attempt == 0 { String::new() } else { format!("-{attempt}") };
            let path = base.join(format!("{PREFIX}{}{suffix}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let mut directory = Directory { path, _lock: None };
                    let cannot = || format!("cannot write to {}", directory.path.display());
                    directory._lock = Some(lock(&directory.path).with_context(cannot)?);
                    return Ok(directory);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let path = path.display();
                    return Err(error).with_context(|| {
                        format!("cannot make {path}: let TMPDIR name a directory to write to")
                    });
                }
            }
        }
        bail!("{} holds a hundred directories of this name: remove them", base.display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            weft_control::say!("weft demo: cannot remove {}: {error}", self.path.display());
        }
    }
}

/// A lock in `directory`. It gets its name when it is held, so that nobody finds it free.
fn lock(directory: &Path) -> io::Result<File> {
    let unnamed = directory.join("lock.new");
    let file = File::create(&unnamed)?;
    file.lock()?;
    fs::rename(unnamed, directory.join(LOCK))?;
    Ok(file)
}

/// Removes what demos of this user have left in `base`. What cannot be removed stays.
fn remove_left(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user());
        if is_ours && is_left(&entry.path()) {
            let _ = remove(&entry.path());
        }
    }
}

/// Whether nobody lives any more who holds the lock in `directory`.
fn is_left(directory: &Path) -> bool {
    let Ok(file) = File::open(directory.join(LOCK)) else { return false };
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_)))
}

fn user() -> u32 {
    geteuid().as_raw()
}

fn remove(directory: &Path) -> io::Result<()> {
    for _ in 1..REMOVALS_MAX {
        match fs::remove_dir_all(directory) {
            // A Prometheus that is still there writes beside the removal.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            result => return result,
        }
    }
    fs::remove_dir_all(directory)
}

/// `path` as a shell takes it as one word.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if text.bytes().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_is_removed() {
        let base = std::env::temp_dir().join(format!("weft-left-{}", std::process::id()));
        let directory = |name: &str| {
            let path = base.join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (held, left) = (directory("weft-demo-1"), directory("weft-demo-2"));
        let (starting, foreign) = (directory("weft-demo-3"), directory("something"));
        let lives = lock(&held).unwrap();
        drop(lock(&left).unwrap());
        drop(lock(&foreign).unwrap());
        remove_left(&base);
        assert!(held.exists() && starting.exists() && foreign.exists());
        assert!(!left.exists());
        drop(lives);
        remove_left(&base);
        assert!(!held.exists());
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        assert_eq!(quoted(Path::new("/tmp/weft-demo-1")), "/tmp/weft-demo-1");
        assert_eq!(quoted(Path::new("/tmp/a b")), "'/tmp/a b'");
        assert_eq!(quoted(Path::new("/tmp/it's")), r"'/tmp/it'\''s'");
    }
}
