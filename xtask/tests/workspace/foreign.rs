//! Foreign crates: who may use which, and which nobody may.

use crate::{Edge, Resolved};

/// Which workspace members may depend on some foreign crates.
pub struct Rule {
    crates: &'static [&'static str],
    users: Users,
    tests: Tests,
    reason: &'static str,
}

enum Users {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

#[derive(PartialEq, Eq)]
enum Tests {
    /// Any crate's tests may use them.
    Free,
    /// The rule holds for dev-dependencies too.
    Bound,
}

pub const RULES: &[Rule] = &[
    Rule {
        crates: &["kube", "kube-client", "kube-core", "kube-runtime", "k8s-openapi"],
        users: Users::Only(&["weft-kube"]),
        tests: Tests::Bound,
        reason: "everything else must work without Kubernetes",
    },
    Rule {
        crates: &[
            "rustls",
            "rustls-webpki",
            "webpki",
            "rcgen",
            "x509-parser",
            "tokio-rustls",
            "rustls-pemfile",
        ],
        users: Users::Only(&["weft-identity", "weft-bench"]),
        tests: Tests::Free,
        reason: "what is trusted is decided in one crate",
    },
    Rule {
        crates: &["tokio", "tokio-util", "tokio-stream"],
        users: Users::AllBut(&[
            "weft-model",
            "weft-world",
            "weft-http",
            "weft-decide",
            "weft-wire",
            "weft-crd",
            "weft-compile",
        ]),
        tests: Tests::Bound,
        reason: "it is pure: no async runtime, in tests neither",
    },
    Rule {
        crates: &["socket2", "rustix", "nix", "libc"],
        users: Users::Only(&["weft-net", "weft", "weft-bench", "xtask"]),
        tests: Tests::Bound,
        reason: "the operating system is behind weft-net (processes and signals excepted)",
    },
    Rule {
        crates: &["redb"],
        users: Users::Only(&["weft-store"]),
        tests: Tests::Bound,
        reason: "the file format of the store is its own affair",
    },
];

/// Packages that must not be in the resolved graph, each with the reason.
pub const BANNED: &[(&str, &str)] = &[
    ("ring", "there is one cryptographic library, aws-lc-rs; switch the feature that asks for it"),
    ("openssl-sys", "TLS is rustls; switch the dependency's TLS feature"),
    ("native-tls", "TLS is rustls; switch the dependency's TLS feature"),
];

/// Those of `edges` that `rules` do not allow.
pub fn misplaced(rules: &[Rule], edges: &[Edge]) -> Vec<String> {
    let mut findings = Vec::new();
    for Edge { from, to, dev, manifest } in edges {
        for rule in rules.iter().filter(|rule| rule.crates.contains(&to.as_str())) {
            let allowed = match rule.users {
                Users::Only(users) => users.contains(&from.as_str()),
                Users::AllBut(others) => !others.contains(&from.as_str()),
            };
            if !(allowed || *dev && rule.tests == Tests::Free) {
                let may = match rule.users {
                    Users::Only(users) => format!("only {} may", users.join(", ")),
                    Users::AllBut(others) => format!("{} may not", others.join(", ")),
                };
                findings
                    .push(format!("{manifest}: {from} must not use {to}: {}; {may}", rule.reason));
            }
        }
    }
    findings
}

/// Those of `packages` that nobody may use.
pub fn banned(banned: &[(&str, &str)], packages: &[Resolved]) -> Vec<String> {
    let mut findings = Vec::new();
    for Resolved { name, version, .. } in packages {
        for (_, reason) in banned.iter().filter(|(banned, _)| banned == name) {
            findings.push(format!(
                "the graph of packages: {name} {version} must not be in it: {reason} \
                 (`cargo tree --workspace --target all --invert {name}` shows who)"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(from: &str, to: &str, dev: bool) -> usize {
        let manifest = format!("crates/{from}/Cargo.toml");
        misplaced(RULES, &[Edge { from: from.into(), to: to.into(), dev, manifest }]).len()
    }

    #[test]
    fn only_weft_kube_knows_kubernetes() {
        assert_eq!(findings("weft-kube", "kube", false), 0);
        assert_eq!(findings("weft-control", "kube", false), 1);
        assert_eq!(findings("weft-control", "k8s-openapi", true), 1);
    }

    #[test]
    fn only_weft_identity_knows_certificates_but_in_tests() {
        assert_eq!(findings("weft-identity", "rustls", false), 0);
        assert_eq!(findings("weft-bench", "rustls", false), 0);
        assert_eq!(findings("weft-proxy", "rcgen", true), 0);
        assert_eq!(findings("weft-proxy", "rustls", false), 1);
        assert_eq!(findings("weft-net", "x509-parser", false), 1);
    }

    #[test]
    fn pure_crates_have_no_runtime_not_even_in_tests() {
        assert_eq!(findings("weft-proxy", "tokio", false), 0);
        assert_eq!(findings("weft-decide", "tokio", false), 1);
        assert_eq!(findings("weft-http", "tokio", true), 1);
    }

    #[test]
    fn the_system_and_the_store_have_one_owner() {
        assert_eq!(findings("weft-net", "socket2", false), 0);
        assert_eq!(findings("weft-proxy", "libc", false), 1);
        assert_eq!(findings("weft-store", "redb", false), 0);
        assert_eq!(findings("weft-control", "redb", false), 1);
    }

    #[test]
    fn the_message_says_where_why_and_who_may() {
        let manifest = "crates/weft-control/Cargo.toml".to_owned();
        let edge = Edge { from: "weft-control".into(), to: "redb".into(), dev: false, manifest };
        assert_eq!(
            misplaced(RULES, &[edge]),
            ["crates/weft-control/Cargo.toml: weft-control must \
            not use redb: the file format of the store is its own affair; only weft-store may"]
        );
    }

    #[test]
    fn banned_packages_are_found() {
        let package =
            |name: &str| Resolved { name: name.into(), version: "0.17.8".into(), licence: None };
        let found = banned(BANNED, &[package("ring"), package("ring-buffer")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("the graph of packages: ring 0.17.8 must not be in it: there is"),
            "{found:?}"
        );
    }
}
