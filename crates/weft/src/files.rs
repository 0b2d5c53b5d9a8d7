//! Resources in files, as commands take them with `-f`.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use weft_control::api::SourceFile;
use weft_crd::{FILE_BYTES_MAX, Kind, Object, Options, Parsed, harmless};

/// The trust domain of files without a Mesh, as of a control plane that is told of none.
const TRUST_DOMAIN: &str = "weft.local";

/// The files that are meant, directories searched for YAML and JSON.
pub fn sources(paths: &[PathBuf]) -> anyhow::Result<Vec<SourceFile>> {
    let mut sources = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            sources.push(source(stdin(), "standard input")?);
        } else if path.is_dir() {
            let found = resources_in(path)?;
            ensure!(
                !found.is_empty(),
                "{} holds no .yaml, .yml or .json file; directories within it are not searched",
                shown(path)
            );
            for file in found {
                sources.push(source_at(&file)?);
            }
        } else {
            sources.push(source_at(path)?);
        }
    }
    Ok(sources)
}

/// The files of `directory` that hold resources by their names, in their order. One that is there
/// by name alone, as a link that leads nowhere, is not passed over.
fn resources_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read the directory {}", shown(directory));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_meant = |extension: &str| {
            ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
        };
        if !extension.is_some_and(is_meant) {
            continue;
        }
        let kind = std::fs::metadata(&path);
        let kind = kind.with_context(|| format!("cannot read {}", shown(&path)))?.file_type();
        if kind.is_dir() {
            continue;
        }
        // To read from a pipe that nobody writes to would never end.
        ensure!(kind.is_file(), "{} is called like a file, and is none", shown(&path));
        found.push(path);
    }
    found.sort();
    Ok(found)
}

fn source_at(path: &Path) -> anyhow::Result<SourceFile> {
    let file = File::open(path).with_context(|| format!("cannot read {}", shown(path)))?;
    source(file, &path.display().to_string())
}

/// What `from` holds, which is called `name`. Not more of it is read than a file may hold.
fn source(from: impl Read, name: &str) -> anyhow::Result<SourceFile> {
    let (mut text, shown) = (Vec::new(), harmless(name));
    let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let read = from.take(most.saturating_add(1)).read_to_end(&mut text);
    read.with_context(|| format!("cannot read {shown}"))?;
    ensure!(
        text.len() <= FILE_BYTES_MAX,
        "{shown} has more than {FILE_BYTES_MAX} bytes, which is the most of a file: divide it"
    );
    let text = String::from_utf8(text).with_context(|| format!("{shown} is not UTF-8"))?;
    Ok(SourceFile { name: name.to_owned(), text })
}

/// `path` for people.
fn shown(path: &Path) -> String {
    harmless(&path.display().to_string())
}

/// `paths` in words.
pub fn named(paths: &[PathBuf]) -> String {
    let name = |path: &PathBuf| match path.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => shown(path),
    };
    paths.iter().map(name).collect::<Vec<_>>().join(", ")
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
