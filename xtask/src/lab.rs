//! `cargo xtask lab`: a real Kubernetes on this machine, for tests and for trying things out.
//!
//! `lab/lab` does it; here is only what that needs: programs that are built, packages that are
//! installed, and root's rights.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;

use crate::kubernetes;
use crate::packages::{self, Root};
use crate::run;

/// What `lab/lab` calls, as Debian packages.
pub const PACKAGES: &[&str] = &[
    "containerd",
    "containernetworking-plugins",
    "curl",
    "iproute2",
    "nftables",
    "openssl",
    "procps",
    "python3",
    "python3-venv",
    "runc",
    "util-linux",
];

/// The same, and what tests put into pods.
pub const PACKAGES_OF_TESTS: &[&str] = &[
    "containerd",
    "containernetworking-plugins",
    "curl",
    "iproute2",
    "libc-bin",
    "nftables",
    "nginx-light",
    "openssl",
    "procps",
    "python3",
    "python3-venv",
    "runc",
    "util-linux",
];

/// Runs `lab/lab` with `arguments`, after installing what it needs; its exit code is the result.
///
/// # Errors
/// If that cannot be installed, or there is no way to become root.
pub fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    let target = metadata.target_directory.as_std_path();
    let root = Root::find();
    packages::install(PACKAGES, root)?;
    kubernetes::install(target)?;
    let programs = std::path::absolute(kubernetes::place(target))?;
    let mut command = root.command("env")?;
    let variable = |name: &str, value: &Path| {
        let mut words = OsString::from(name);
        words.push("=");
        words.push(value);
        words
    };
    command.arg(variable("LAB_BIN", &programs)).arg(variable("LAB_GATEWAY_API", &programs));
    // sudo drops them.
    for name in ["LAB_DUAL", "LAB_POD_BITS", "LAB_RUN"] {
        command.args(std::env::var_os(name).map(|value| variable(name, Path::new(&value))));
    }
    command.args(["bash", "lab/lab"]).args(arguments);
    run::replace(command)
}
