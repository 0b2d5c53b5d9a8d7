//! Container images without a container engine: OCI archives of one layer that hold the given files
//! and nothing else.
//!
//! The same files give the same bytes: no time, no user, no order of a folder is in them.
//!
//! Deliberately absent: compression, several layers or platforms, and reading images.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name with its tag, as manifests of pods have it.
    pub name: String,
    /// The processors that its programs are for, as Go calls them.
    pub architecture: &'static str,
    /// The program that runs, and its first arguments.
    pub entrypoint: Vec<String>,
    /// The user that it runs as, `UID:GID`.
    pub user: &'static str,
    /// Where a file comes from, and where it is in the image, absolute.
    pub files: Vec<(PathBuf, String)>,
}

/// Writes `image` to `file`.
///
/// # Errors
/// If a file cannot be read or written.
pub fn write(image: &Image, file: &Path) -> Result<()> {
    let layer = layer(&image.files)?;
    let config = json!({
        "architecture": image.architecture,
        "os": "linux",
        "config": {
            "User": image.user,
            "Entrypoint": image.entrypoint,
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/"],
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let (_, tag) = image.name.rsplit_once(':').context("an image's name has a tag")?;
    let mut described = descriptor(MANIFEST, &manifest);
    described["annotations"] = json!({
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": tag,
    });
    let index = json!({ "schemaVersion": 2, "manifests": [described] }).to_string();
    let mut archive = Builder::new(Vec::new());
    put(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    put(&mut archive, "index.json", index.as_bytes(), 0o644)?;
    for blob in [config, manifest, layer] {
        put(&mut archive, &digest(&blob).replace("sha256:", "blobs/sha256/"), &blob, 0o644)?;
    }
    let bytes = archive.into_inner().context("an archive in memory")?;
    fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// What this machine's processors are called in images.
///
/// # Errors
/// If images have no name for them that is known here.
pub fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("images are made on x86_64 and aarch64, and not on {other}"),
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn layer(files: &[(PathBuf, String)]) -> Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for (from, to) in files {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let name = to.strip_prefix('/').context("a place in an image is absolute")?;
        put(&mut layer, name, &bytes, mode(from)?)?;
    }
    layer.into_inner().context("a layer in memory")
}

/// Executable for all or for nobody, and readable for all: what else a file's mode says is about
/// this machine.
fn mode(file: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().with_context(|| format!("cannot read {}", file.display()))?;
    Ok(if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 })
}

fn put(archive: &mut Builder<Vec<u8>>, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, path, bytes).with_context(|| format!("{path} in an archive"))
}

fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        text += &format!("{byte:02x}");
    }
    text
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_holds_its_files_and_nothing_of_the_machine() {
        let directory = std::env::temp_dir().join(format!("weft-oci-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let program = directory.join("program");
        let made = |when: u64, out: &str| {
            fs::write(&program, "#!/bin/true\n").unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(when);
            fs::File::options().write(true).open(&program).unwrap().set_modified(time).unwrap();
            let image = Image {
                name: "weft.test/a:1".to_owned(),
                architecture: "amd64",
                entrypoint: vec!["/bin/program".to_owned()],
                user: "65532:65532",
                files: vec![(program.clone(), "/bin/program".to_owned())],
            };
            write(&image, &directory.join(out)).unwrap();
            fs::read(directory.join(out)).unwrap()
        };
        let archive = made(1, "one.tar");
        assert_eq!(archive, made(1_000_000, "two.tar"));

        let mut blobs = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            blobs.insert(path, bytes);
        }
        let of = |value: &Value| {
            let path = value["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
            let blob = &blobs[&path];
            assert_eq!(value["digest"], digest(blob));
            assert_eq!(value["size"], blob.len());
            blob
        };
        let index: Value = serde_json::from_slice(&blobs["index.json"]).unwrap();
        let manifest: Value = serde_json::from_slice(of(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(of(&manifest["config"])).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/program"]));
        let layer = of(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(layer));
        let mut layer = tar::Archive::new(&layer[..]);
        let paths =
            layer.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned());
        assert_eq!(paths.collect::<Vec<PathBuf>>(), [PathBuf::from("bin/program")]);
        fs::remove_dir_all(&directory).unwrap();
    }
}
