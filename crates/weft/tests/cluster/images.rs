//! Images of programs that this machine has, with the libraries that they need and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::oci::{self, Image};

/// The image of Weft itself, which `cargo xtask test` makes.
pub const WEFT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../image/test.tar");

/// Its name.
pub const WEFT_NAME: &str = "weft.test/weft:1";

/// What any program may look for.
const COMMON: [&str; 2] = ["/etc/passwd", "/etc/group"];

/// Writes an archive of the image `name`, with `programs` in it, and returns where it is.
pub fn of_programs(directory: &Path, name: &str, programs: &[&str]) -> PathBuf {
    let mut files = BTreeSet::new();
    for program in programs {
        files.insert((*program).to_owned());
        let output = Command::new("ldd").arg(program).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "ldd {program}: {text}");
        // The name it is linked by, at the place where it is; the kernel's own has none.
        files.extend(
            text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned),
        );
    }
    files.extend(COMMON.map(str::to_owned));
    let image = Image {
        name: name.to_owned(),
        architecture: oci::architecture().unwrap(),
        entrypoint: vec![programs[0].to_owned()],
        user: "0:0",
        files: files.into_iter().map(|file| (PathBuf::from(&file), file)).collect(),
    };
    let archive = directory.join(name.replace(['/', ':'], "-") + ".tar");
    oci::write(&image, &archive).unwrap();
    archive
}
