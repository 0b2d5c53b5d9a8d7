//! Python with gRPC's own library, for the tests of several groups.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The package from PyPI, and its version.
const PACKAGE: &str = "grpcio==1.85.1";

/// The distribution's Python, which every user may run.
const PYTHON: &str = "/usr/bin/python3";

/// A virtual environment with [`PACKAGE`], which is made when it is needed for the first time, by
/// one test while the others wait.
pub fn environment() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(make).clone()
}

fn make() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let environment = directory.join(format!("{}-distribution", PACKAGE.replace("==", "-")));
    let is_complete = environment.join("complete");
    if is_complete.exists() {
        return environment;
    }
    // What was broken off is begun again.
    let _ = fs::remove_dir_all(&environment);
    fs::create_dir_all(directory).unwrap();
    succeeds(Command::new(PYTHON).args(["-m", "venv"]).arg(&environment));
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
    succeeds(Command::new(environment.join("bin/python")).args(install));
    fs::write(is_complete, "").unwrap();
    environment
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
}
