//! A directory of one proxy is used by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use weft_world::World;

use super::kept::make_private;

/// How long a directory is waited for whose process is about to end: one that was killed goes a
/// moment after the signal.
const WAIT: Duration = Duration::from_secs(1);

/// How often it is looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// That a directory is the own one. It ends with this value, and with the process however that
/// ends.
pub(crate) struct DirectoryLock {
    /// None on a disk that is read-only: what nobody writes can be shared.
    _file: Option<File>,
}

impl DirectoryLock {
    /// Makes `directory` the own one.
    ///
    /// # Errors
    /// Another process has it; `instead` is what this one is to be given then.
    pub(crate) async fn take(
        world: &World,
        directory: &Path,
        instead: &str,
    ) -> anyhow::Result<DirectoryLock> {
        let until = world.clock.now() + WAIT;
        loop {
            if let Some(lock) = DirectoryLock::try_take(directory)? {
                return Ok(lock);
            }
            if world.clock.now() >= until {
                bail!(
                    "{} is in use by another process: end that one, or give this one {instead}",
                    directory.display()
                );
            }
            world.clock.sleep(LOOK_INTERVAL).await;
        }
    }

    /// Makes `directory` the own one, unless another process has it.
    pub(crate) fn try_take(directory: &Path) -> anyhow::Result<Option<DirectoryLock>> {
        make_private(directory)?;
        let path = directory.join("lock");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        if file.as_ref().is_err_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem) {
            return Ok(Some(DirectoryLock { _file: None }));
        }
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        // What a process that was killed had half written.
        let _ = weft_net::remove_unfinished(directory);
        Ok(Some(DirectoryLock { _file: Some(file) }))
    }
}
