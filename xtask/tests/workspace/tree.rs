//! The files of the checkout, without what is built or hidden from view.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A Rust source file.
pub struct Source {
    /// Its path from the workspace's root.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// The paths of all files and folders below `root`, relative to it, with `/` between the parts.
///
/// Build output and the folder of git are passed over.
pub fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the checkout can be read") {
            let path = entry.expect("a folder of the checkout can be read").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy();
            if name == "target" || name == ".git" {
                continue;
            }
            let relative = path.strip_prefix(root).expect("it is below the root");
            found.insert(relative.to_string_lossy().into_owned());
            // A link might lead out of the checkout, or in a circle.
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    found
}

/// The Rust sources among `files` that the rules are about.
pub fn rust_sources(root: &Path, files: &BTreeSet<String>) -> Vec<Source> {
    let ours = |path: &&String| {
        path.ends_with(".rs")
            && ["crates/", "bench/", "xtask/"].iter().any(|folder| path.starts_with(folder))
    };
    let read = |path: &String| Source {
        path: path.clone(),
        text: fs::read_to_string(root.join(path)).expect("a source file is readable UTF-8"),
    };
    files.iter().filter(ours).map(read).collect()
}
