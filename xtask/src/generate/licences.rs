//! `docs/licences.md`: what is linked into the binary, and under which licences.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};

use crate::run;

/// What the binary is built for.
const PLATFORMS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

const OPENING: &str = "\
# Licences

*Made by `cargo xtask generate` from `Cargo.lock` and the packages' manifests; do not edit it here.*

Weft is under Apache-2.0. The binary `weft` for Linux contains the packages below, each under the
licence that its manifest states. Where there is a choice, as in `MIT OR Apache-2.0`, either will
do. Whoever hands a binary on hands the texts of these licences on with it: `cargo xtask notices
FILE` collects them from the packages' sources.

Which licences are allowed is a list in `xtask/tests/workspace/licences.rs`, and a test. Packages
that only build or test Weft are not in the binary, and not here.

| Package | Version | Licence |
|---|---|---|
";

/// A package that is linked into the binary.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Linked {
    /// How it is called.
    pub name: String,
    /// Which version of it.
    pub version: String,
    /// The licence that its manifest states.
    pub licence: String,
}

/// The page.
pub fn page() -> Result<String> {
    let line = |Linked { name, version, licence }: &Linked| {
        format!("| {name} | {version} | {licence} |\n")
    };
    Ok(OPENING.to_owned() + &linked()?.iter().map(line).collect::<String>())
}

/// What is linked into the binary that is not Weft's own.
///
/// Not from `cargo metadata`: that also has what only features that are off would need.
pub fn linked() -> Result<BTreeSet<Linked>> {
    let mut cargo = run::cargo(&["tree", "--locked", "--package=weft", "--prefix=none"]);
    cargo.args(["--edges=normal,no-proc-macro", "--format={p}|{l}"]);
    cargo.args(PLATFORMS.iter().map(|platform| format!("--target={platform}")));
    let output = cargo.output().context("cargo tree could not be started")?;
    if !output.status.success() {
        bail!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    read(&String::from_utf8(output.stdout).context("cargo does not write UTF-8")?)
}

/// The packages in `tree`, in which one is once for each that depends on it.
fn read(tree: &str) -> Result<BTreeSet<Linked>> {
    let mut found = BTreeSet::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package, licence) = line.rsplit_once('|').context("a line without a bar")?;
        // What has a path is Weft's own.
        if package.contains("(/") {
            continue;
        }
        let mut words = package.split_whitespace();
        let name = words.next().context("a package without a name")?.to_owned();
        let version = words.next().with_context(|| format!("{name} has no version"))?;
        let version = version.trim_start_matches('v').to_owned();
        let licence = licence.trim_end_matches("(*)").trim().to_owned();
        ensure!(!licence.is_empty(), "{name} {version} states no licence");
        found.insert(Linked { name, version, licence });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_is_there_once_and_ours_are_not() {
        let tree =
            "weft v0.1.0 (/src/weft)|Apache-2.0\nb v2.0.0|MIT\na v1.0.0|ISC\nb v2.0.0|MIT (*)\n";
        let linked = |name: &str, version: &str, licence: &str| Linked {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: licence.to_owned(),
        };
        let expected = [linked("a", "1.0.0", "ISC"), linked("b", "2.0.0", "MIT")];
        assert_eq!(read(tree).unwrap(), BTreeSet::from(expected));
    }

    #[test]
    fn a_package_without_a_licence_is_named() {
        let error = read("a v1.0.0|\n").unwrap_err();
        assert_eq!(error.to_string(), "a 1.0.0 states no licence");
    }
}
