//! The groups of tests: one table of what they are, what they need and how long they may take.

use std::fmt::Write;
use std::time::Duration;

use crate::lab;

/// Tests that run together and need the same things.
pub struct Group {
    /// How it is called in `--only` and in the closing table.
    pub name: &'static str,
    /// What it shows, for `--list`.
    pub shows: &'static str,
    /// The time it may take on two cores, from an empty target folder.
    pub budget: Duration,
    /// Debian packages that must be installed.
    pub packages: &'static [&'static str],
    /// Python packages, which are installed from PyPI into the target folder.
    pub python: &'static [&'static str],
    /// What it needs of Kubernetes, which is built in the target folder.
    pub kubernetes: Kubernetes,
    /// What it may do that an ordinary user may not.
    pub rights: Rights,
    /// How it is run.
    pub work: Work,
}

/// What a group needs of Kubernetes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kubernetes {
    /// Nothing.
    Nothing,
    /// Its programs, and the kinds of Gateway API.
    Programs,
    /// These, and an image of Weft.
    ProgramsAndImage,
}

/// What a group may do that an ordinary user may not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Nothing.
    None,
    /// Make network namespaces: the tests run as root, the build does not.
    NetworkNamespaces,
}

/// How a group is run.
pub enum Work {
    /// The steps of `cargo xtask check`.
    Check,
    /// One call of cargo.
    Cargo(Cargo),
}

/// One call of cargo.
pub struct Cargo {
    /// The package and the target that must be there, if it is not the whole workspace.
    pub target: Option<(&'static str, &'static str)>,
    /// What follows `cargo`.
    pub arguments: &'static [&'static str],
    /// Variables for the program that cargo runs, beside those inherited.
    pub env: &'static [(&'static str, &'static str)],
    /// What shows that something ran.
    pub proof: Proof,
}

/// What shows that a group that ended well did run something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// At least one test passed.
    Tests,
    /// The program said something.
    Output,
}

/// gRPC's own library for Python, with clients and servers.
pub const GRPC: &[&str] = &["grpcio==1.85.1"];

/// The same with the messages of discovery, as Envoy publishes them.
pub const DISCOVERY_CLIENT: &[&str] = &["grpcio==1.85.1", "xds-protos==1.85.0", "protobuf==7.36.2"];

/// Every group, in the order they run.
pub const GROUPS: &[Group] = &[
    Group {
        name: "check",
        shows: "formatting, lints, docs, generated files",
        budget: Duration::from_secs(420),
        packages: &[],
        python: &[],
        kubernetes: Kubernetes::Nothing,
        rights: Rights::None,
        work: Work::Check,
    },
    Group {
        name: "unit",
        shows: "all that needs no root, cluster or network, and the rules about the workspace",
        budget: Duration::from_secs(1080),
        packages: &["bsdutils", "curl", "openssl", "prometheus", "python3-venv"],
        python: DISCOVERY_CLIENT,
        kubernetes: Kubernetes::Nothing,
        rights: Rights::None,
        work: Work::Cargo(Cargo {
            target: None,
            arguments: &["test", "--workspace", "--no-fail-fast"],
            env: &[],
            proof: Proof::Tests,
        }),
    },
    Group {
        name: "netns",
        shows: "real clients and servers through real proxies, what goes over the wire, full disks, \
                little memory",
        budget: Duration::from_secs(360),
        packages: &[
            "curl",
            "iproute2",
            "nghttp2-client",
            "nginx-light",
            "openssl",
            "procps",
            "python3",
            "python3-h2",
            "tshark",
            "util-linux",
        ],
        python: &[],
        kubernetes: Kubernetes::Nothing,
        rights: Rights::NetworkNamespaces,
        work: Work::Cargo(Cargo {
            target: Some(("weft", "netns")),
            arguments: &["test", "--package=weft", "--test=netns", "--", "--test-threads=1"],
            env: &[("WEFT_NETNS", "1")],
            proof: Proof::Tests,
        }),
    },
    Group {
        name: "confined",
        shows: "commands in networks of their own, as root and as an ordinary user",
        budget: Duration::from_secs(180),
        packages: &["bsdutils", "curl", "iproute2", "nftables", "procps", "util-linux"],
        python: &[],
        kubernetes: Kubernetes::Nothing,
        rights: Rights::NetworkNamespaces,
        work: Work::Cargo(Cargo {
            target: Some(("weft-net", "confined")),
            arguments: &["test", "--package=weft-net", "--test=confined"],
            env: &[],
            proof: Proof::Tests,
        }),
    },
    Group {
        name: "mesh",
        shows: "whole meshes of real processes under load, restarts, kills and foreign programs",
        budget: Duration::from_secs(540),
        packages: &[
            "chromium",
            "curl",
            "faketime",
            "nghttp2-client",
            "nginx-light",
            "openssl",
            "python3",
            "python3-venv",
            "redis-server",
            "redis-tools",
        ],
        python: GRPC,
        kubernetes: Kubernetes::Nothing,
        rights: Rights::None,
        work: Work::Cargo(Cargo {
            target: Some(("weft", "mesh")),
            // Tests that wait, and tests that take turns, leave the processors to others.
            arguments: &["test", "--package=weft", "--test=mesh", "--", "--test-threads=8"],
            env: &[],
            proof: Proof::Tests,
        }),
    },
    Group {
        name: "run",
        shows: "unchanged programs, as an ordinary user and as root, each in a network of its own",
        budget: Duration::from_secs(420),
        packages: &[
            "bsdutils",
            "curl",
            "iproute2",
            "mariadb-client",
            "mariadb-server",
            "nginx-light",
            "openssl",
            "postgresql",
            "procps",
            "python3",
            "python3-venv",
            "redis-server",
            "redis-tools",
            "util-linux",
        ],
        python: GRPC,
        kubernetes: Kubernetes::Nothing,
        rights: Rights::NetworkNamespaces,
        work: Work::Cargo(Cargo {
            target: Some(("weft", "run")),
            arguments: &["test", "--package=weft", "--test=run", "--", "--test-threads=1"],
            env: &[],
            proof: Proof::Tests,
        }),
    },
    Group {
        name: "kubernetes",
        shows: "that a Kubernetes API server refuses the same objects, for the same field",
        budget: Duration::from_secs(900),
        packages: &["curl", "python3-venv"],
        python: &[], // Go is installed with the programs that it builds.
        kubernetes: Kubernetes::Programs,
        rights: Rights::None,
        work: Work::Cargo(Cargo {
            target: Some(("weft", "kubernetes")),
            arguments: &["test", "--package=weft", "--test=kubernetes", "--", "--test-threads=1"],
            env: &[],
            proof: Proof::Tests,
        }),
    },
    Group {
        name: "cluster",
        shows: "whole Kubernetes clusters, with Weft in their pods",
        budget: Duration::from_secs(480),
        packages: lab::PACKAGES_OF_TESTS,
        python: &[],
        kubernetes: Kubernetes::ProgramsAndImage,
        rights: Rights::NetworkNamespaces,
        work: Work::Cargo(Cargo {
            target: Some(("weft", "cluster")),
            arguments: &["test", "--package=weft", "--test=cluster", "--", "--test-threads=1"],
            env: &[],
            proof: Proof::Tests,
        }),
    },
    Group {
        name: "sim",
        shows: "the mesh in one process, under faults drawn from seeds",
        budget: Duration::from_secs(420),
        packages: &[],
        python: &[],
        kubernetes: Kubernetes::Nothing,
        rights: Rights::None,
        work: Work::Cargo(Cargo {
            target: Some(("weft-sim", "weft-sim")),
            arguments: &["run", "--release", "--package=weft-sim", "--", "--seeds=20"],
            env: &[],
            proof: Proof::Output,
        }),
    },
    Group {
        name: "bench-smoke",
        shows: "that the measurements can be taken; the numbers mean nothing",
        budget: Duration::from_secs(540),
        packages: &["haproxy", "iproute2", "nginx-light", "python3-venv", "util-linux"],
        python: &[], // Envoy is installed by the program itself.
        kubernetes: Kubernetes::Nothing,
        rights: Rights::None,
        work: Work::Cargo(Cargo {
            target: Some(("weft-bench", "weft-bench")),
            arguments: &["run", "--package=weft-bench", "--", "--quick"],
            env: &[],
            proof: Proof::Output,
        }),
    },
];

/// The groups' names.
pub fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().map(|group| group.name)
}

const TAKES_ALL: &str = "a string takes all that is written to it";

/// The groups as a text for people.
pub fn list() -> String {
    let mut text = String::new();
    for group in GROUPS {
        let command = match &group.work {
            Work::Check => "cargo xtask check".to_owned(),
            Work::Cargo(cargo) => {
                let env = cargo.env.iter().map(|(name, value)| format!("{name}={value} "));
                env.collect::<String>() + "cargo " + &cargo.arguments.join(" ")
            }
        };
        let mut needs = group.packages.join(" ");
        if !group.python.is_empty() {
            write!(needs, "; from PyPI {}", group.python.join(" ")).expect(TAKES_ALL);
        }
        needs.push_str(match group.kubernetes {
            Kubernetes::Nothing => "",
            Kubernetes::Programs => "; Kubernetes, built from Go modules",
            Kubernetes::ProgramsAndImage => "; Kubernetes, built from Go modules; an image of Weft",
        });
        if group.rights == Rights::NetworkNamespaces {
            needs.push_str("; root, for network namespaces");
        }
        let needs = if needs.is_empty() { "nothing but Rust" } else { &needs };
        writeln!(
            text,
            "{}: {}\n  runs    {command}\n  needs   {needs}\n  budget  {} s",
            group.name,
            group.shows,
            group.budget.as_secs()
        )
        .expect(TAKES_ALL);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_are_all_listed() {
        let mut sorted: Vec<_> = names().collect();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), GROUPS.len());
        assert!(names().all(|name| list().contains(&format!("{name}: "))));
    }

    #[test]
    fn the_budgets_leave_ci_its_limit() {
        let sum: Duration = GROUPS.iter().map(|group| group.budget).sum();
        assert!(sum <= Duration::from_secs(90 * 60), ".ci/run stops after 90 minutes");
    }
}
