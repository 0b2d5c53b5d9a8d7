//! The licence notices of what is linked into the binary, as whoever hands it on needs them.
//!
//! They are others' texts, and so are not in the repository: they come from the packages' sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use cargo_metadata::MetadataCommand;

use crate::generate::licences::{self, Linked};

/// How files are called that hold licences or notices, in any case.
const NAMES: [&str; 6] = ["licence", "license", "copying", "copyright", "notice", "unlicense"];

/// How deep below a package's folder they are looked for: C sources are in folders of their own.
const DEPTH: usize = 1;

/// Writes the notices to `file`, and says how many packages they are of.
///
/// # Errors
/// If the packages' sources are not there, or `file` cannot be written.
pub fn write(file: &Path) -> Result<usize> {
    let linked = licences::linked()?;
    let metadata = MetadataCommand::new()
        .other_options(["--locked".to_owned()])
        .exec()
        .context("cargo metadata failed")?;
    // Equal texts once, with all that they are of.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for Linked { name, version, licence } in &linked {
        let is_it = |it: &&cargo_metadata::Package| {
            it.name.as_str() == name && it.version.to_string() == *version
        };
        let package = metadata.packages.iter().find(is_it);
        let package = package.with_context(|| format!("{name} {version} has no source"))?;
        let folder = package.manifest_path.parent().context("a manifest is in a folder")?;
        let found = notices(folder.as_std_path(), DEPTH)?;
        if found.is_empty() {
            without.push(format!("{name} {version} ({licence}): {}", package.authors.join(", ")));
        }
        for text in found {
            texts.entry(text).or_default().push(format!("{name} {version} ({licence})"));
        }
    }
    ensure!(!texts.is_empty(), "no package has a notice: are their sources there?");
    let mut page = "Weft contains these packages, under the licences below them.\n".to_owned();
    for (text, packages) in &texts {
        let line = "-".repeat(72);
        page.push_str(&format!("\n{line}\n{}\n{line}\n\n{text}\n", packages.join("\n")));
    }
    if !without.is_empty() {
        let list = without.join("\n");
        page.push_str(&format!(
            "\nThese state their licence, and come without a text:\n\n{list}\n"
        ));
    }
    fs::write(file, page).with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(linked.len())
}

/// The notices in `folder` and, `depth` deep, below it.
fn notices(folder: &Path, depth: usize) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = entries.with_context(|| format!("{} cannot be read", folder.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut found = Vec::new();
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().to_lowercase());
        if path.is_dir() {
            if depth > 0 {
                found.extend(notices(&path, depth - 1)?);
            }
        } else if NAMES.iter().any(|start| name.starts_with(start)) && !name.ends_with(".rs") {
            let text = fs::read_to_string(&path);
            let text = text.with_context(|| format!("{} cannot be read", path.display()))?;
            found.push(text.trim().to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_found_by_name() {
        let root = std::env::temp_dir().join(format!("xtask-notices-{}", std::process::id()));
        fs::create_dir_all(root.join("c/deep")).unwrap();
        for (path, text) in [
            ("LICENSE-MIT", "mit\n"),
            ("license.rs", "code\n"),
            ("README.md", "readme\n"),
            ("c/COPYING", "c\n"),
            ("c/deep/NOTICE", "too deep\n"),
        ] {
            fs::write(root.join(path), text).unwrap();
        }
        assert_eq!(notices(&root, DEPTH).unwrap(), ["mit", "c"]);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_binary_has_notices_of_what_is_in_it() {
        let file = std::env::temp_dir().join(format!("xtask-notices-{}.txt", std::process::id()));
        let count = write(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(file).unwrap();
        assert!(count > 100, "{count}");
        for part in ["aws-lc-sys ", "rustls ", "tokio ", "Permission is hereby granted"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
