//! Files that are made from code: written by `cargo xtask generate`, compared by `check`.

pub mod licences;
mod reasons;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

/// A file's path from the workspace's root, and the function that makes its content.
type Generator = (&'static str, fn() -> Result<String>);

/// Every generated file. A new one is a new line here, and is committed like any other file.
const GENERATORS: &[Generator] =
    &[("docs/licences.md", licences::page), ("docs/reasons.md", reasons::page)];

/// Writes every generated file that is not as it should be, and says which.
///
/// # Errors
/// If a generator fails or a file cannot be read or written.
pub fn write_all() -> Result<()> {
    let stale = stale(GENERATORS, Path::new("."))?;
    println!("generated files: {}, to be rewritten: {}", GENERATORS.len(), stale.len());
    write(&stale, Path::new("."))
}

/// The generated files that are missing or not what their generators make.
///
/// # Errors
/// If a generator fails or a file cannot be read.
pub fn out_of_date() -> Result<Vec<&'static str>> {
    Ok(stale(GENERATORS, Path::new("."))?.into_iter().map(|(path, _)| path).collect())
}

fn stale(generators: &[Generator], root: &Path) -> Result<Vec<(&'static str, String)>> {
    let mut stale = Vec::new();
    for (path, make) in generators {
        let wanted = make().with_context(|| format!("{path} could not be generated"))?;
        let found = match fs::read_to_string(root.join(path)) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("{path} cannot be read")),
        };
        if found.as_ref() != Some(&wanted) {
            stale.push((*path, wanted));
        }
    }
    Ok(stale)
}

fn write(files: &[(&'static str, String)], root: &Path) -> Result<()> {
    for (path, content) in files {
        let target = root.join(path);
        let folder = target.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder of {path}"))?;
        fs::write(&target, content).with_context(|| format!("{path} cannot be written"))?;
        println!("  wrote {path}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_stale_until_it_is_written() {
        let root = std::env::temp_dir().join(format!("xtask-generate-{}", std::process::id()));
        let generators: &[Generator] = &[("docs/a.md", || Ok("a\n".into()))];
        let missing = stale(generators, &root).unwrap();
        assert_eq!(missing, [("docs/a.md", "a\n".to_owned())]);
        write(&missing, &root).unwrap();
        assert!(stale(generators, &root).unwrap().is_empty());
        fs::write(root.join("docs/a.md"), "edited by hand\n").unwrap();
        assert_eq!(stale(generators, &root).unwrap().len(), 1);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_generator_that_fails_is_named() {
        let generators: &[Generator] = &[("docs/a.md", || anyhow::bail!("no such crate"))];
        let error = stale(generators, Path::new(".")).unwrap_err();
        assert_eq!(format!("{error:#}"), "docs/a.md could not be generated: no such crate");
    }
}
