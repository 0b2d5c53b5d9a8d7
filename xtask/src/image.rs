//! `cargo xtask image`: the container image, which is the binary and the notices of what is in it.
//!
//! The binary is linked statically against the C library, so that nothing else has to be there. The
//! same sources give the same bytes, whichever folder they are in.
//!
//! Deliberately absent: other processors than this machine's, which need a linker for them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::MetadataCommand;

use crate::notices;
use crate::oci::{self, Image};
use crate::run;

/// The largest that the image of a release may be.
const BYTES_MAX: u64 = 30_000_000;

/// Who runs it: nobody that a machine knows.
const USER: &str = "65532:65532";

/// How the image is made.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How the binary is built: `dist`, as it is shipped, or another profile, to try things out.
    #[arg(long, default_value = "dist")]
    profile: String,
    /// Makes it a second time in a folder of its own, and fails unless all bytes are the same.
    #[arg(long)]
    twice: bool,
    /// Its name with its tag. Default: `weft.dev/weft:VERSION`.
    #[arg(long, value_name = "NAME:TAG")]
    name: Option<String>,
    /// Where it is written, as an OCI archive. Default: `image/weft.tar` in the target folder.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Makes the image and says where it is.
///
/// # Errors
/// If anything cannot be built or written, if the image of a release is too large, or if a second
/// one differs.
pub fn run(arguments: &Arguments) -> Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    let target = metadata.target_directory.as_std_path();
    let file = arguments.file.clone().unwrap_or_else(|| target.join("image/weft.tar"));
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => format!("weft.dev/weft:{}", env!("CARGO_PKG_VERSION")),
    };
    make(&arguments.profile, &name, target, &file)?;
    let bytes = fs::metadata(&file)?.len();
    ensure!(
        arguments.profile != "dist" || bytes <= BYTES_MAX,
        "{} has {bytes} bytes, more than the {BYTES_MAX} that it may have",
        file.display()
    );
    if arguments.twice {
        let (again, second) = (target.join("image/again"), target.join("image/again.tar"));
        make(&arguments.profile, &name, &again, &second)?;
        let same = fs::read(&file)? == fs::read(&second)?;
        ensure!(same, "{} and {} differ", file.display(), second.display());
        println!("a second one, built in {}, has the same bytes", again.display());
    }
    println!("{name}, {bytes} bytes: {}", file.display());
    Ok(())
}

/// Makes the image for tests in `target`, of the binary as it is while one works on it.
///
/// # Errors
/// If it cannot be built or written.
pub fn for_tests(target: &Path) -> Result<()> {
    fs::create_dir_all(target.join("image"))?;
    make("dev", "weft.test/weft:1", target, &target.join("image/test.tar"))
}

fn make(profile: &str, name: &str, target: &Path, file: &Path) -> Result<()> {
    let binary = build(profile, target)?;
    let text = file.with_extension("notices");
    notices::write(&text)?;
    let image = Image {
        name: name.to_owned(),
        architecture: oci::architecture()?,
        entrypoint: vec!["/weft".to_owned()],
        user: USER,
        files: vec![(binary, "/weft".to_owned()), (text.clone(), "/NOTICES".to_owned())],
    };
    oci::write(&image, file)?;
    fs::remove_file(&text).with_context(|| format!("cannot remove {}", text.display()))
}

/// Builds the binary with all that it needs inside, in `target`.
fn build(profile: &str, target: &Path) -> Result<PathBuf> {
    let triple = match std::env::consts::ARCH {
        arch @ ("x86_64" | "aarch64") => format!("{arch}-unknown-linux-gnu"),
        other => bail!("images are made on x86_64 and aarch64, and not on {other}"),
    };
    let here = std::env::current_dir().context("the current folder")?;
    // Where it was built is nobody's business, and would make two builds differ.
    let mut flags = format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/target --remap-path-prefix={}=/weft",
        std::path::absolute(target)?.display(),
        here.display()
    );
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    if let Some(home) = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))) {
        flags += &format!(" --remap-path-prefix={}=/cargo", home.display());
    }
    let mut cargo = run::cargo(&["build", "--locked", "--package", "weft", "--bin", "weft"]);
    // Profiles are called like their folders, but for this one.
    let folder = if profile == "dev" { "debug" } else { profile };
    cargo.args(["--profile", profile, "--target", &triple, "--target-dir"]).arg(target);
    cargo.args(["--config", &format!("profile.{profile}.strip=\"debuginfo\"")]);
    cargo.env("RUSTFLAGS", flags);
    let status = cargo.status().context("cargo cannot be started")?;
    ensure!(status.success(), "the binary cannot be built, see above");
    Ok(target.join(triple).join(folder).join("weft"))
}
