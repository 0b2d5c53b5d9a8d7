//! What `cargo xtask new-policy` writes compiles, passes its own tests, and is a kind of resource:
//! seen on a copy of the workspace.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::MetadataCommand;

/// What the copy has of the workspace.
const PARTS: [&str; 7] =
    ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "bench", "crates", "docs", "xtask"];

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// What a command says that must succeed, in the copy, on both of its outputs.
fn said(copied: &Path, command: &mut Command) -> String {
    let output = command.current_dir(copied).output().unwrap();
    let said = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    let said = said.concat();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn a_skeleton_compiles_and_passes_its_tests() {
    let workspace = MetadataCommand::new().no_deps().exec().unwrap();
    let copied: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-policy");
    if copied.exists() {
        fs::remove_dir_all(&copied).unwrap();
    }
    fs::create_dir_all(&copied).unwrap();
    for part in PARTS {
        copy(workspace.workspace_root.join(part).as_std_path(), &copied.join(part));
    }

    // One of the kinds that are not built yet, and one that nobody has thought of.
    for name in ["RateLimitPolicy", "CanaryPolicy"] {
        let mut new_policy = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let told = said(&copied, new_policy.args(["new-policy", name]));
        assert!(told.contains(&format!("{name} is a kind now")), "{told}");
    }
    let again = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["new-policy", "CanaryPolicy"])
        .current_dir(&copied)
        .output()
        .unwrap();
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));

    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--offline", "--lib", "--test=it"]);
    cargo.args(["-p=weft-model", "-p=weft-crd", "-p=weft-decide", "-p=weft-compile"]);
    cargo.args(["--", "canary", "rate_limit", "cases_compile"]);
    cargo.env("UPDATE_EXPECT", "1");
    // In the workspace's own folder the copy's crates would take the places of those that the tests
    // after this one are linked with.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-policy-target");
    cargo.env("CARGO_TARGET_DIR", target);
    let tests = said(&copied, &mut cargo);
    assert!(!tests.contains("warning: "), "{tests}");
    for test in [
        "canary_policy::tests::what_is_wrong",
        "rate_limit_policy::tests::what_is_wrong",
        "canary::tests::a_share_is_drawn",
        "cases_compile_to_what_was_agreed",
    ] {
        assert!(tests.contains(&format!("{test} ... ok")), "{test}: {tests}");
    }
    let case = copied.join("crates/weft-compile/tests/cases/canary_policy/out.yaml");
    let compiled = fs::read_to_string(case).unwrap();
    assert!(compiled.contains("\"CanaryPolicy shop/cart\""), "{compiled}");
    fs::remove_dir_all(&copied).unwrap();
}
