//! Who may use the API: the first admin credential, which the control plane makes, and makes anew
//! where it is gone.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use weft_identity::{AdminCredential, AdminFileError, AdminRecord, ControlAddress};
use weft_store::{Batch, Expectation, Item, Store};
use weft_world::World;

use super::Kept;

/// The name of an admin's record among the values of the store.
const ADMINS: &str = "admins/";

/// How it stands with the file of the first credential.
pub(super) struct Credential {
    path: PathBuf,
    state: State,
}

enum State {
    /// It is as it was, or has just been made for the first time.
    Usable,
    /// It was gone, and is made anew.
    Renewed,
    /// It said that the control plane was elsewhere, and says now where it is.
    Moved { before: ControlAddress, now: ControlAddress },
    /// It still says that the control plane is elsewhere.
    Stale { before: ControlAddress, why: String },
    /// It is of no use.
    Useless { why: String },
}

impl Credential {
    /// Says where it is, and what has become of it.
    pub(super) fn say(&self) {
        let path = self.path.display();
        match &self.state {
            State::Usable => {}
            State::Renewed => weft_control::say!(
                "weft control: {path} was gone, and is made anew: the one before, and copies of \
                 it, are refused from now on"
            ),
            State::Moved { before, now } => weft_control::say!(
                "weft control: {path} said {before}, and says {now} now; copies of it, join tokens \
                 and proxies that joined by these still look for this control plane at {before}"
            ),
            State::Stale { before, why } => weft_control::say!(
                "weft control: {path} says {before}, where this control plane is no longer, and \
                 cannot be changed: {why}: see to that and start again"
            ),
            State::Useless { why } => weft_control::say!(
                "weft control: {why}: to get another, remove {path} and start again; the one \
                 before is refused then"
            ),
        }
        if !matches!(self.state, State::Useless { .. } | State::Stale { .. }) {
            weft_control::say!(
                "weft control: for `weft apply` and others: export WEFT_CREDENTIAL={path}"
            );
        }
    }
}

/// Who may use the API, and how it stands with the first one's credential at `path`, by which the
/// control plane is reached at `address`.
pub(super) fn open(
    world: &World,
    kept: &Kept,
    path: &Path,
    address: ControlAddress,
) -> anyhow::Result<(Vec<AdminRecord>, Credential)> {
    let values = kept.store.list_values(ADMINS)?;
    let mut records: Vec<AdminRecord> = Vec::new();
    for value in &values {
        let record = serde_json::from_slice(&value.bytes);
        records.push(
            record.with_context(|| format!("the store's value {} is malformed", value.name))?,
        );
    }
    let state = match AdminCredential::read(&*world.files, path) {
        _ if records.is_empty() => {
            records = vec![issue(world, kept, path, address, &[])?];
            State::Usable
        }
        Err(AdminFileError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let before: Vec<_> = values.iter().map(|value| value.name.as_str()).collect();
            // What is served does not depend on it.
            match issue(world, kept, path, address, &before) {
                Ok(record) => {
                    records = vec![record];
                    State::Renewed
                }
                Err(error) => State::Useless { why: format!("{error:#}") },
            }
        }
        Err(error) => State::Useless { why: error.to_string() },
        Ok(found) if !records.iter().any(|record| record.admits(&found.bearer)) => {
            let path = path.display();
            State::Useless { why: format!("{path} is no credential of this control plane") }
        }
        Ok(found) if found.address != address => {
            let before = found.address.clone();
            let moved = AdminCredential { address: address.clone(), ..found };
            match moved.write(&*world.files, path) {
                Ok(()) => State::Moved { before, now: address },
                Err(error) => State::Stale { before, why: error.to_string() },
            }
        }
        Ok(_) => State::Usable,
    };
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Ok((records, Credential { path, state }))
}

/// Makes a credential, in place of those whose records are called `before`.
fn issue(
    world: &World,
    kept: &Kept,
    path: &Path,
    address: ControlAddress,
    before: &[&str],
) -> anyhow::Result<AdminRecord> {
    let (credential, record) = AdminCredential::issue(address, kept.key.hash())?;
    // Killed between the two, the next start makes another: where there is no record, or no file.
    // A file that no record knows would stay, since what is there may be somebody's.
    let is_first = before.is_empty();
    if is_first {
        credential.write(&*world.files, path)?;
    }
    let name = format!("{ADMINS}{}", record.id);
    let item = Item::put_value(name, serde_json::to_vec(&record)?).expecting(Expectation::Absent);
    let mut items = vec![item];
    items.extend(before.iter().map(|name| Item::delete_value(*name)));
    let (now, wall) = (world.clock.now(), world.clock.wall());
    kept.store.apply(Batch { now, wall, items })?;
    if !is_first {
        credential.write(&*world.files, path)?;
    }
    Ok(record)
}
