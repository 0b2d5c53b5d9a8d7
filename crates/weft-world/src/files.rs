//! The disk, as far as Weft uses it: small files, read and replaced whole.

use std::io;
use std::path::Path;

/// Small files, read and replaced whole. Calls block: they are made at start and off the data path.
pub trait Files {
    /// The whole content of the file at `path`.
    ///
    /// # Errors
    /// As [`std::fs::read`], and [`io::ErrorKind::FileTooLarge`] above `bytes_max` bytes.
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>>;

    /// Replaces the file at `path` so that a crash leaves the old content or the new,
    /// never a mixture.
    ///
    /// The new file can be read by its owner only.
    ///
    /// # Errors
    /// As the system's: no space, no permission, no such directory.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()>;
}
