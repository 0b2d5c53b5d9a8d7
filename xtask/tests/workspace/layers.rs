//! Layers: a crate depends only on crates of lower layers.

use crate::Edge;

/// The crates of each layer, the lowest first. One that is not written yet may be listed.
const LAYERS: &[&[&str]] = &[
    &["weft-model", "weft-world", "weft-http"],
    &["weft-decide", "weft-wire", "weft-crd", "weft-dns"],
    &["weft-compile", "weft-identity", "weft-net", "weft-telemetry"],
    &["weft-proxy", "weft-store", "weft-kube"],
    &["weft-control"],
    &["weft", "weft-sim"],
];

/// Crates that may depend on all others, and that nothing may depend on.
const BESIDE: &[&str] = &["xtask", "weft-bench"];

enum Place {
    Layer(usize),
    Beside,
}

fn place(name: &str) -> Option<Place> {
    if BESIDE.contains(&name) {
        return Some(Place::Beside);
    }
    LAYERS.iter().position(|layer| layer.contains(&name)).map(Place::Layer)
}

/// What is wrong with `members`, each a name and its manifest's path, and the `edges` from them.
pub fn findings(members: &[(String, String)], edges: &[Edge]) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, manifest) in members {
        if place(name).is_none() {
            findings.push(format!(
                "{manifest}: {name} has no layer: add it to LAYERS in \
                 xtask/tests/workspace/layers.rs"
            ));
        }
        if manifest.starts_with("crates/") && *manifest != format!("crates/{name}/Cargo.toml") {
            findings.push(format!("{manifest}: the folder of {name} must be named as the crate"));
        }
    }
    for Edge { from, to, manifest, .. } in edges.iter().filter(|edge| !edge.dev) {
        let wrong = match (place(from), place(to)) {
            (Some(Place::Layer(_)), Some(Place::Beside)) => Some("which stands beside".to_owned()),
            (Some(Place::Layer(above)), Some(Place::Layer(below))) if below >= above => {
                Some(format!("layer {above} on layer {below}"))
            }
            _ => None,
        };
        if let Some(how) = wrong {
            findings.push(format!(
                "{manifest}: {from} must not depend on {to} ({how}): move what it needs \
                 further down"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str, dev: bool) -> Edge {
        let manifest = format!("crates/{from}/Cargo.toml");
        Edge { from: from.into(), to: to.into(), dev, manifest }
    }

    #[test]
    fn downward_foreign_and_test_dependencies_are_fine() {
        let edges = [
            edge("weft-proxy", "weft-decide", false),
            edge("weft-bench", "weft", false),
            edge("weft-model", "serde", false),
            edge("weft-decide", "weft-sim", true),
        ];
        assert_eq!(findings(&[], &edges), [""; 0]);
    }

    #[test]
    fn upward_sideways_and_beside_are_found() {
        let found = findings(&[], &[edge("weft-model", "weft-net", false)]);
        assert_eq!(
            found,
            ["crates/weft-model/Cargo.toml: weft-model must not depend on weft-net \
            (layer 0 on layer 2): move what it needs further down"]
        );
        assert_eq!(findings(&[], &[edge("weft-net", "weft-identity", false)]).len(), 1);
        assert_eq!(findings(&[], &[edge("weft", "xtask", false)]).len(), 1);
    }

    #[test]
    fn unknown_and_misnamed_crates_are_found() {
        let member = |name: &str, manifest: &str| (name.to_owned(), manifest.to_owned());
        let known = member("weft-model", "crates/weft-model/Cargo.toml");
        let unknown = member("weft-helper", "crates/weft-helper/Cargo.toml");
        let misnamed = member("weft-net", "crates/network/Cargo.toml");
        let found = findings(&[known, unknown, misnamed], &[]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("weft-helper has no layer"), "{found:?}");
        assert!(
            found[1].contains("crates/network/Cargo.toml: the folder of weft-net"),
            "{found:?}"
        );
    }
}
