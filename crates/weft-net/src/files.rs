//! The disk.

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

fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    // A leftover of a crash may be in the way.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
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
        fs::remove_dir_all(&directory).unwrap();
    }
}
