//! Resources in files, as commands take them with `-f`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use weft_control::api::SourceFile;
use weft_crd::{Kind, Object, Options, Parsed};

/// The trust domain of files without a Mesh, as of a control plane that is told of none.
const TRUST_DOMAIN: &str = "weft.local";

/// The files that are meant, directories searched for YAML and JSON.
pub fn sources(paths: &[PathBuf]) -> anyhow::Result<Vec<SourceFile>> {
    let mut sources = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            sources.push(SourceFile { name: "standard input".to_owned(), text });
        } else if path.is_dir() {
            let found = resources_in(path)?;
            ensure!(!found.is_empty(), "{} holds no .yaml, .yml or .json file", path.display());
            for file in found {
                sources.push(source(&file)?);
            }
        } else {
            sources.push(source(path)?);
        }
    }
    Ok(sources)
}

fn resources_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read the directory {}", directory.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn source(path: &Path) -> anyhow::Result<SourceFile> {
    let name = path.display().to_string();
    let text = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
    let text = String::from_utf8(text).with_context(|| format!("{name} is not UTF-8"))?;
    Ok(SourceFile { name, text })
}

/// `paths` in words.
pub fn named(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// What stands in `files`. `namespace` is that of objects that name none.
pub fn parse(files: &[SourceFile], namespace: Option<&str>) -> Parsed {
    let mut options = Options::default();
    if let Some(namespace) = namespace {
        namespace.clone_into(&mut options.namespace);
    }
    let files = files.iter().map(|file| (file.name.as_str(), file.text.as_bytes()));
    let mut parsed = weft_crd::parse_all(files, &options);
    weft_control::check_authorities(&mut parsed);
    parsed
}

/// The Mesh that a control plane makes where `objects` have none.
pub fn missing_mesh(objects: &[Object]) -> Option<Object> {
    if objects.iter().any(|object| object.key().kind == Kind::Mesh) {
        return None;
    }
    let text = serde_json::json!({
        "apiVersion": Kind::Mesh.api_version(),
        "kind": Kind::Mesh.name(),
        "metadata": { "name": "mesh" },
        "spec": { "trustDomain": TRUST_DOMAIN },
    });
    weft_crd::parse("default", text.to_string().as_bytes(), &Options::default()).objects.pop()
}
