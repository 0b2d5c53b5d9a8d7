//! Duplicates: a package in two versions is built, linked and audited twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::Resolved;

/// What Weft is built for; what other platforms would need is never built.
pub const PLATFORMS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Packages that are there in several versions, each with the reason.
pub const KNOWN: &[(&str, &str)] = &[
    ("base64", "kube is at 0.22"),
    ("getrandom", "ahash, under kube, is at 0.3"),
    ("hashbrown", "kube-runtime is at 0.16"),
    ("syn", "asn1-rs, under x509-parser, still derives with version 2; it is not linked"),
    ("untrusted", "aws-lc-rs takes 0.7 for its likeness to ring, webpki is at 0.9; both are tiny"),
];

/// The packages in several versions that are not in `known`, and those of `known` that are not.
pub fn findings(known: &[(&str, &str)], packages: &[Resolved]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Resolved { name, version, .. } in packages {
        versions.entry(name).or_default().insert(version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let mut findings = Vec::new();
    for (name, versions) in &versions {
        if !known.iter().any(|(known, _)| known == name) {
            let versions = versions.iter().copied().collect::<Vec<_>>().join(" and ");
            findings.push(format!(
                "Cargo.lock: {name} is there as {versions}: bring its users to one \
                 (`cargo tree --workspace --duplicates` shows them), or add it with the reason to \
                 KNOWN in xtask/tests/workspace/duplicates.rs"
            ));
        }
    }
    for (name, _) in known.iter().filter(|(name, _)| !versions.contains_key(name)) {
        findings.push(format!(
            "xtask/tests/workspace/duplicates.rs: {name} is there once: remove it from KNOWN"
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Resolved {
        Resolved { name: name.into(), version: version.into(), licence: None }
    }

    #[test]
    fn two_versions_are_found_unless_listed() {
        let packages = [package("a", "1.0.0"), package("a", "2.0.0"), package("b", "1.0.0")];
        let found = findings(&[], &packages);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("Cargo.lock: a is there as 1.0.0 and 2.0.0:"), "{found:?}");
        assert_eq!(findings(&[("a", "its users move slowly")], &packages), [""; 0]);
    }

    #[test]
    fn a_stale_entry_is_found() {
        let found = findings(&[("b", "its users move slowly")], &[package("b", "1.0.0")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("b is there once: remove it from KNOWN"), "{found:?}");
    }
}
