//! The rules about the workspace itself, over `cargo metadata` and the files.
//!
//! Each rule is a function from plain data to findings, so that it is shown on made-up input to
//! find what it should; the tests in this file apply the rules to the real workspace.

mod defaults;
mod duplicates;
mod foreign;
mod layers;
mod licences;
mod paths;
mod source;
mod tidy;
mod tree;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// A dependency that a workspace member's manifest declares.
struct Edge {
    /// The member.
    from: String,
    /// The package it depends on.
    to: String,
    /// For the member's tests only.
    dev: bool,
    /// The member's manifest, from the workspace's root.
    manifest: String,
}

/// A package of the resolved graph.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Resolved {
    name: String,
    version: String,
    licence: Option<String>,
}

fn members() -> Metadata {
    MetadataCommand::new().no_deps().exec().expect("cargo metadata reads the workspace")
}

fn root() -> PathBuf {
    members().workspace_root.into_std_path_buf()
}

fn edges(metadata: &Metadata) -> Vec<Edge> {
    let mut edges = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            edges.push(Edge {
                from: package.name.to_string(),
                to: dependency.name.clone(),
                dev: dependency.kind == DependencyKind::Development,
                manifest: manifest(metadata, package),
            });
        }
    }
    edges
}

fn manifest(metadata: &Metadata, package: &Package) -> String {
    let path = &package.manifest_path;
    path.strip_prefix(&metadata.workspace_root).unwrap_or(path).to_string()
}

/// The packages that are built for `platforms`, tests and build scripts included.
///
/// Not from `cargo metadata`: that also has what only features that are off would need.
fn resolved(platforms: &[&str]) -> Vec<Resolved> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "--workspace", "--prefix=none", "--format={p}|{l}"]);
    cargo.args(platforms.iter().map(|platform| format!("--target={platform}")));
    let output = cargo.output().expect("cargo tree starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let lines = text.lines().filter(|line| !line.is_empty());
    // A package is printed once for each that depends on it.
    let once: BTreeSet<Resolved> = lines.map(resolved_of_line).collect();
    once.into_iter().collect()
}

/// Reads `name v1.0.0 (…)|MIT OR Apache-2.0 (*)`; the star is for what was printed before.
fn resolved_of_line(line: &str) -> Resolved {
    let (package, licence) = line.rsplit_once('|').expect("the format has a bar");
    let mut words = package.split_whitespace();
    let name = words.next().expect("a package has a name").to_owned();
    let version = words.next().expect("a package has a version").trim_start_matches('v').to_owned();
    let licence = licence.trim_end_matches("(*)").trim();
    Resolved { name, version, licence: (!licence.is_empty()).then(|| licence.to_owned()) }
}

/// Fails with all `findings`, one a line, if there are any.
fn expect_none(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} findings:\n  {}\n", findings.len(), findings.join("\n  "));
}

#[test]
fn dependencies_point_down() {
    let metadata = members();
    let members: Vec<_> = metadata
        .packages
        .iter()
        .map(|package| (package.name.to_string(), manifest(&metadata, package)))
        .collect();
    expect_none(layers::findings(&members, &edges(&metadata)));
}

#[test]
fn foreign_crates_stay_where_they_belong() {
    expect_none(foreign::misplaced(foreign::RULES, &edges(&members())));
}

#[test]
fn no_banned_crate_is_resolved() {
    expect_none(foreign::banned(foreign::BANNED, &resolved(&["all"])));
}

#[test]
fn licences_are_allowed() {
    expect_none(licences::findings(licences::ALLOWED, licences::EXCEPTIONS, &resolved(&["all"])));
}

#[test]
fn versions_are_not_duplicated() {
    expect_none(duplicates::findings(duplicates::KNOWN, &resolved(&duplicates::PLATFORMS)));
}

#[test]
fn packages_are_read_from_cargo_tree() {
    let package = |name: &str, licence: Option<&str>| Resolved {
        name: name.into(),
        version: "1.0.2".into(),
        licence: licence.map(Into::into),
    };
    let of_line = resolved_of_line;
    assert_eq!(of_line("syn v1.0.2|MIT/ISC (*)"), package("syn", Some("MIT/ISC")));
    assert_eq!(of_line("a v1.0.2 (proc-macro)|(MIT)"), package("a", Some("(MIT)")));
    assert_eq!(of_line("weft v1.0.2 (/here|there)|"), package("weft", None));
    assert_eq!(of_line("weft v1.0.2 (/here)|"), package("weft", None));
    assert!(resolved(&["all"]).iter().any(|package| package.name == "cargo_metadata"));
}

#[test]
fn sources_are_tidy() {
    let tree = tree::files(&root());
    expect_none(tidy::findings(&tidy::EXCEPTIONS, &tree::rust_sources(&root(), &tree)));
}

#[test]
fn paths_in_architecture_md_exist() {
    match std::fs::read_to_string(root().join("ARCHITECTURE.md")) {
        Ok(text) => expect_none(paths::findings(&text, &tree::files(&root()))),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "ARCHITECTURE.md"),
    }
}

#[test]
fn the_page_of_defaults_says_what_the_code_says() {
    let root = root();
    let text = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let page = |path: &str| text(path).unwrap_or_else(|| panic!("{path} cannot be read"));
    let [page, metrics, reasons] =
        ["docs/defaults.md", "docs/metrics.md", "docs/reasons.md"].map(page);
    let (page, metrics, reasons) = (&*page, &*metrics, &*reasons);
    let files = defaults::Files { page, metrics, reasons, read: &text };
    expect_none(defaults::findings(defaults::rows::ROWS, &files));
}
