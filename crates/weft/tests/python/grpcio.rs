//! Python with gRPC's own library, for the tests of several groups.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What is installed from PyPI: by `cargo xtask test` before the tests, or else by the first one.
const PACKAGES: [&str; 1] = ["grpcio==1.85.1"];

/// The distribution's Python, which every user may run.
const PYTHON: &str = "/usr/bin/python3";

/// A virtual environment with [`PACKAGES`], made by one test while the others of its process wait.
pub fn environment() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(make).clone()
}

fn make() -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let ready = cache.join(PACKAGES.join("-").replace("==", "-"));
    if !ready.exists() {
        eprintln!("installing {} from PyPI into {}", PACKAGES.join(" "), ready.display());
        fs::create_dir_all(&cache).unwrap();
        // Under a name of its own until it is whole, should another process do the same.
        let draft = cache.join(format!("draft-{}", std::process::id()));
        succeeds(Command::new(PYTHON).args(["-m", "venv"]).arg(&draft));
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        succeeds(Command::new(draft.join("bin/python")).args(install).args(PACKAGES));
        if fs::rename(&draft, &ready).is_err() {
            // It was faster.
            fs::remove_dir_all(&draft).unwrap();
        }
    }
    ready
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
}
