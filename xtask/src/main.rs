//! The contributor's commands: `cargo xtask check`, `test`, `generate`, `new-policy`, `notices`,
//! `image`, `lab`, `sim`, `bench`.
//!
//! The rules about the workspace itself (layers, licences, tidiness) are tests, in
//! `xtask/tests/workspace/`, so that a plain `cargo test` finds them too.
//!
//! Deliberately absent: anything that a user of Weft needs; that is in the binary `weft`.

mod check;
mod generate;
mod groups;
mod image;
mod kubernetes;
mod lab;
mod new_policy;
mod notices;
mod oci;
mod packages;
mod python;
mod run;
mod test;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

/// The contributor's commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, lints, docs, the rules about the workspace, generated files.
    Check,
    /// Writes the files that are made from code.
    Generate,
    /// Writes the skeleton of a new kind of policy.
    NewPolicy {
        /// Its kind, as in RateLimitPolicy.
        name: String,
    },
    /// Writes the licence notices that go with a binary.
    Notices {
        /// Where they are written.
        file: PathBuf,
    },
    /// Every group of tests, after installing what they need.
    ///
    /// Without CI=true a group may be left out, and is then named with the reason. With CI=true
    /// that is a failure.
    Test {
        /// Runs this group only. May be repeated.
        #[arg(long, value_name = "GROUP")]
        #[arg(value_parser = PossibleValuesParser::new(groups::names()))]
        only: Vec<String>,
        /// Prints the groups, what they need and their budgets, and runs nothing.
        #[arg(long)]
        list: bool,
    },
    /// The container image, as an OCI archive, without a container engine.
    Image(image::Arguments),
    /// A real Kubernetes on this machine: `up`, `kubectl a get nodes`, `down`; needs root.
    ///
    /// Without arguments it says what there is. See lab/lab.
    Lab {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The mesh in one process, as a function of a seed.
    Sim {
        /// The seed to replay, or the first of several.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// How many seeds to run.
        #[arg(long, value_name = "COUNT")]
        seeds: Option<u64>,
    },
    /// What Weft costs, beside its peers. All arguments go to `weft-bench`.
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().task {
        Task::Check => {
            enter_workspace()?;
            Ok(exit_code(check::run(check::Rules::Run)?))
        }
        Task::Generate => {
            enter_workspace()?;
            generate::write_all()?;
            Ok(ExitCode::SUCCESS)
        }
        Task::NewPolicy { name } => {
            enter_workspace()?;
            print!("{}", new_policy::write(Path::new("."), &name)?);
            Ok(ExitCode::SUCCESS)
        }
        Task::Notices { file } => {
            let count = notices::write(&file)?;
            println!("notices of {count} packages: {}", file.display());
            Ok(ExitCode::SUCCESS)
        }
        Task::Test { list: true, .. } => {
            print!("{}", groups::list());
            Ok(ExitCode::SUCCESS)
        }
        Task::Test { only, list: false } => {
            enter_workspace()?;
            Ok(exit_code(test::run(&only)?))
        }
        Task::Image(arguments) => {
            enter_workspace()?;
            image::run(&arguments)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Lab { arguments } => {
            enter_workspace()?;
            lab::run(&arguments)
        }
        Task::Sim { seed, seeds } => {
            let mut cargo = run::cargo(&["run", "--release", "--package", "weft-sim", "--"]);
            cargo.args(seed.map(|seed| format!("--seed={seed}")));
            cargo.args(seeds.map(|count| format!("--seeds={count}")));
            run::replace(cargo)
        }
        Task::Bench { arguments } => {
            let mut cargo = run::cargo(&["run", "--profile", "dist", "--package", "weft-bench"]);
            cargo.arg("--").args(arguments);
            run::replace(cargo)
        }
    }
}

fn exit_code(success: bool) -> ExitCode {
    if success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Goes to the root of the workspace, so that paths in messages are relative to it.
fn enter_workspace() -> Result<()> {
    let output = run::cargo(&["locate-project", "--workspace", "--message-format", "plain"])
        .output()
        .context("cargo could not be started: install Rust with rustup")?;
    if !output.status.success() {
        bail!("no workspace around the current folder: run this inside a checkout of Weft");
    }
    let manifest = String::from_utf8(output.stdout).context("the workspace's path is not UTF-8")?;
    let root = manifest.trim_end().trim_end_matches("Cargo.toml");
    std::env::set_current_dir(root).with_context(|| format!("could not enter {root}"))
}
