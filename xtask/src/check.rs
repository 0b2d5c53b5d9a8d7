//! `cargo xtask check`: what must hold before a change is looked at.
//!
//! Every step runs, also after one that failed, so that one run shows all there is to do.

use anyhow::Result;

use crate::generate;
use crate::run::{self, Stopwatch};

/// Whether the tests about the workspace are part of this check.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// They run.
    Run,
    /// They are counted elsewhere: `cargo xtask test` runs them in the group `unit`.
    RunElsewhere,
}

struct Step {
    name: &'static str,
    work: Work,
    remedy: &'static str,
}

enum Work {
    Cargo { arguments: &'static [&'static str], env: &'static [(&'static str, &'static str)] },
    GeneratedFiles,
}

const RULES: &str = "rules";

const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        work: Work::Cargo { arguments: &["fmt", "--all", "--", "--check"], env: &[] },
        remedy: "run cargo fmt --all",
    },
    Step {
        name: "clippy",
        work: Work::Cargo {
            arguments: &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--keep-going",
                "--",
                "-Dwarnings",
            ],
            env: &[],
        },
        remedy: "follow the lints above, or #[expect(…, reason = \"…\")] where one is wrong",
    },
    Step {
        name: "clippy of tests with real programs",
        work: Work::Cargo {
            // They are no part of all targets: they need more than `cargo test` can give them.
            arguments: &[
                "clippy",
                "--package=weft",
                "--package=weft-net",
                "--test=netns",
                "--test=mesh",
                "--test=run",
                "--test=confined",
                "--keep-going",
                "--",
                "-Dwarnings",
            ],
            env: &[],
        },
        remedy: "follow the lints above, or #[expect(…, reason = \"…\")] where one is wrong",
    },
    Step {
        name: "docs",
        work: Work::Cargo {
            // Most modules are private, and their links can break as well.
            arguments: &[
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--keep-going",
            ],
            env: &[("RUSTDOCFLAGS", "-Dwarnings")],
        },
        remedy: "mend the doc comments named above",
    },
    Step {
        name: RULES,
        work: Work::Cargo {
            // The whole workspace is selected, so that features and thus builds are shared with
            // `cargo test --workspace`.
            arguments: &["test", "--workspace", "--test", "workspace"],
            env: &[],
        },
        remedy: "each finding above says what to do; the rules are in xtask/tests/workspace/",
    },
    Step {
        name: "generated",
        work: Work::GeneratedFiles,
        remedy: "run cargo xtask generate and commit what it wrote",
    },
];

/// Runs every step and prints a table of them. True if all passed.
///
/// # Errors
/// If a step cannot be run at all.
pub fn run(rules: Rules) -> Result<bool> {
    let mut table = String::new();
    let mut success = true;
    for step in STEPS {
        if step.name == RULES && rules == Rules::RunElsewhere {
            table += &format!("  {:<10} runs in the group `unit`\n", step.name);
            continue;
        }
        println!("== {}", step.name);
        let stopwatch = Stopwatch::start();
        let passed = step.passes()?;
        let seconds = stopwatch.read().as_secs_f64();
        let result = if passed { "passed".to_owned() } else { format!("FAILED: {}", step.remedy) };
        println!("== {} {seconds:.1} s {result}\n", step.name);
        table += &format!("  {:<10} {seconds:>6.1} s  {result}\n", step.name);
        success &= passed;
    }
    print!("check:\n{table}");
    Ok(success)
}

impl Step {
    fn passes(&self) -> Result<bool> {
        match &self.work {
            Work::Cargo { arguments, env } => {
                let mut cargo = run::cargo(arguments);
                cargo.envs(env.iter().copied());
                Ok(run::stream(cargo)?.success)
            }
            Work::GeneratedFiles => {
                let stale = generate::out_of_date()?;
                for path in &stale {
                    println!("{path}: not what the code makes");
                }
                Ok(stale.is_empty())
            }
        }
    }
}
