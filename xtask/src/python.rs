//! Python packages that tests need, from PyPI: each set in an environment of its own in the target
//! folder, where the tests look for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::packages::words;

/// The Python of the distribution, which every user may run.
const PYTHON: &str = "/usr/bin/python3";

/// Makes an environment with `packages` in `target`, unless it is there, after saying so.
///
/// # Errors
/// If Python or pip fails.
pub fn install(packages: &[&str], target: &Path) -> Result<()> {
    let ready = environment(packages, target);
    if packages.is_empty() || ready.exists() {
        return Ok(());
    }
    println!("missing Python packages: {}", packages.join(" "));
    let cache = cache(target);
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    // Under a name of its own until it is whole.
    let draft = cache.join(format!("draft-{}", std::process::id()));
    let mut environment = Command::new(PYTHON);
    environment.args(["-m", "venv"]).arg(&draft);
    let mut install = Command::new(draft.join("bin/python"));
    install.args(["-m", "pip", "install", "--disable-pip-version-check"]).args(packages);
    let words = [words(&environment), words(&install)];
    println!("installing them from PyPI now, into the target folder only, with:");
    println!("  {}\n  {}", words[0], words[1]);
    for (mut command, words) in [environment, install].into_iter().zip(&words) {
        let status = command.stdin(Stdio::null()).status().with_context(|| words.clone())?;
        if !status.success() {
            let _ = fs::remove_dir_all(&draft);
            bail!("`{words}` failed, see above");
        }
    }
    fs::rename(&draft, &ready).with_context(|| format!("cannot make {}", ready.display()))
}

/// Where the environment with `packages` is.
pub fn environment(packages: &[&str], target: &Path) -> PathBuf {
    cache(target).join(name(packages))
}

fn cache(target: &Path) -> PathBuf {
    target.join("tmp/python")
}

/// How the environment with `packages` is called, for the tests as well.
fn name(packages: &[&str]) -> String {
    packages.join("-").replace("==", "-")
}

#[cfg(test)]
mod tests {
    use crate::groups::{DISCOVERY_CLIENT, GRPC};

    /// Else the tests install what nobody was told of.
    #[test]
    fn the_tests_look_for_what_is_installed_here() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (file, packages) in [
            ("crates/weft/tests/python/grpcio.rs", GRPC),
            ("crates/weft-control/tests/it/grpcio.rs", DISCOVERY_CLIENT),
        ] {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            let quoted: Vec<_> = packages.iter().map(|package| format!("\"{package}\"")).collect();
            let list =
                format!("const PACKAGES: [&str; {}] = [{}];", quoted.len(), quoted.join(", "));
            assert!(text.contains(&list), "{file} has not `{list}`");
        }
    }
}
