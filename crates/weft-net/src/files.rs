//! The disk.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use weft_world::Files;

/// The disk.
pub struct SystemFiles;

impl Files for SystemFiles {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let limit = bytes_max as u64;
        File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut content)?;
        if content.len() > bytes_max {
            let message = format!("more than {bytes_max} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(content)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let temporary = directory.join(name);
        let written = write_durably(&temporary, content)
            .and_then(|()| fs::rename(&temporary, path))
            .and_then(|()| File::open(directory)?.sync_all());
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// Removes from `directory` what a process had half written that was killed while it replaced a
/// file. To be called where nobody else writes there.
///
/// # Errors
/// If the directory cannot be read, or a file not be removed.
pub fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let unfinished = name.strip_suffix(".new").and_then(|name| name.rsplit_once('.'));
        if unfinished.is_some_and(|(_, process)| process.parse::<u32>().is_ok()) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    // A leftover of a crash may be in the way.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_privately() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("weft-files-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("state");
        SystemFiles.replace(&path, b"one").unwrap();
        SystemFiles.replace(&path, b"two").unwrap();
        assert_eq!(SystemFiles.read(&path, 3).unwrap(), b"two");
        let error = SystemFiles.read(&path, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left behind");
        assert!(SystemFiles.replace(&directory.join("no/such"), b"x").is_err());
        for name in ["state.4711.new", "state.new", "4711.new"] {
            fs::write(directory.join(name), b"hal").unwrap();
        }
        remove_unfinished(&directory).unwrap();
        let left: BTreeSet<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["state", "state.new", "4711.new"].map(Into::into).into());
        fs::remove_dir_all(&directory).unwrap();
    }
}
