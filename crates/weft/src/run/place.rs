//! What a run is called, and where it keeps its certificate.
//!
//! A run that was given no name makes one up, with a directory for it. When it has ended, however
//! it did, the next run for the same purpose takes both over: so nothing piles up, a start that
//! failed costs no other use of the token, and nobody waits for a certificate that is in use no
//! more.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use weft_model::ObjectName;
use weft_world::World;

use super::options::{Checked, Data};
use crate::joined::{DirectoryLock, IDENTITY};

/// The file in a directory of a run without a name that says what it is for.
const PURPOSE: &str = "unnamed";

/// The most bytes of it.
const PURPOSE_BYTES_MAX: usize = 64 << 10;

/// What a run is called, and where it keeps what it knows.
pub(super) struct Place {
    pub(super) name: ObjectName,
    pub(super) data: PathBuf,
    /// Held as long as the run lives.
    _lock: DirectoryLock,
}

impl Place {
    /// The place of the run that `checked` describes.
    pub(super) async fn find(world: &World, checked: &Checked) -> anyhow::Result<Place> {
        match (&checked.name, &checked.data) {
            (Some(name), Data::Given(data)) => {
                let lock = DirectoryLock::take(world, data, "another --data").await?;
                Ok(Place { name: name.clone(), data: data.clone(), _lock: lock })
            }
            (Some(name), Data::Below(base)) => {
                let data = base.join(directory(name));
                let lock = DirectoryLock::take(world, &data, "another --name").await?;
                Ok(Place { name: name.clone(), data, _lock: lock })
            }
            (None, Data::Given(data)) => {
                let lock = DirectoryLock::take(world, data, "another --data").await?;
                let name =
                    kept(world, data, checked).map_or_else(|| made_up(world, checked), Ok)?;
                claim(world, data, &name, checked)?;
                Ok(Place { name, data: data.clone(), _lock: lock })
            }
            (None, Data::Below(base)) => match left(world, base, checked) {
                Some(place) => Ok(place),
                None => new(world, base, checked),
            },
        }
    }
}

/// A place in `base` that a run without a name has left, with the same purpose.
fn left(world: &World, base: &Path, checked: &Checked) -> Option<Place> {
    let account = &checked.service_account;
    let start = format!("{}-", directory(account));
    let is_of_it = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(&start));
    // What cannot be read has no place for this run.
    let entries = fs::read_dir(base).ok()?.filter_map(Result::ok);
    let found = entries.filter(|entry| is_of_it(&entry.file_name()));
    let mut found: Vec<_> = found.map(|entry| entry.path()).collect();
    // The newest certificate first, and last where a run ended before it had one.
    found.sort_by_key(|data| {
        let certificate = fs::metadata(data.join(IDENTITY));
        Reverse(certificate.and_then(|certificate| certificate.modified()).ok())
    });
    found.into_iter().find_map(|data| {
        // Before and after it is locked: no directory of another purpose is touched.
        kept(world, &data, checked)?;
        let lock = DirectoryLock::try_take(&data).ok()??;
        let name = kept(world, &data, checked)?;
        Some(Place { name, data, _lock: lock })
    })
}

/// A place in `base` that nobody had.
fn new(world: &World, base: &Path, checked: &Checked) -> anyhow::Result<Place> {
    loop {
        let name = made_up(world, checked)?;
        let data = base.join(directory(&name));
        if data.exists() {
            continue;
        }
        // Somebody may be about to take over what has just been made.
        if let Some(lock) = DirectoryLock::try_take(&data)? {
            claim(world, &data, &name, checked)?;
            return Ok(Place { name, data, _lock: lock });
        }
    }
}

/// The directory of the workload `name`.
fn directory(name: &ObjectName) -> String {
    format!("{}.{}", name.namespace(), name.name())
}

fn made_up(world: &World, checked: &Checked) -> anyhow::Result<ObjectName> {
    let account = &checked.service_account;
    let ending = world.entropy.next() >> 32;
    let name = format!("{}-{ending:08x}", account.name());
    ObjectName::new(account.namespace(), &name).context("a name is needed: give one with --name")
}

/// What a run without a name is for: another may go on only where it means the same control plane,
/// identity and Services, since the certificate was given for these.
fn purpose(checked: &Checked) -> String {
    let mut services: Vec<_> = checked.services.iter().map(ToString::to_string).collect();
    services.sort();
    let (key, account) = (checked.token.control_key, &checked.service_account);
    format!("control plane {key}\nservice account {account}\nservices {}\n", services.join(" "))
}

/// The name that the run before had in `data`, if its purpose is that of this one.
fn kept(world: &World, data: &Path, checked: &Checked) -> Option<ObjectName> {
    let text = world.files.read(&data.join(PURPOSE), PURPOSE_BYTES_MAX).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (name, found) = text.split_once('\n')?;
    let name = name.parse().ok()?;
    (found == purpose(checked)).then_some(name)
}

/// Says in `data` what it is for.
fn claim(world: &World, data: &Path, name: &ObjectName, checked: &Checked) -> anyhow::Result<()> {
    let path = data.join(PURPOSE);
    let written = world.files.replace(&path, format!("{name}\n{}", purpose(checked)).as_bytes());
    written.with_context(|| format!("cannot write {}", path.display()))
}
