//! Which Services a service account may serve, as its join tokens said.

use std::collections::BTreeSet;

use weft_model::ObjectName;
use weft_store::{Expectation, Item, Store, StoreError};

/// The beginning of the names of these among the values of the store.
const PREFIX: &str = "grants/";

/// The Services that `account` may serve.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn of(
    store: &dyn Store,
    account: &ObjectName,
) -> Result<BTreeSet<ObjectName>, StoreError> {
    let value = store.get_value(&name(account))?;
    // What cannot be read grants nothing.
    Ok(value.map(|value| read(&value.bytes)).unwrap_or_default())
}

/// The change that lets `account` serve `services` too; none if it may already.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn more(
    store: &dyn Store,
    account: &ObjectName,
    services: &BTreeSet<ObjectName>,
) -> Result<Option<Item>, StoreError> {
    let before = store.get_value(&name(account))?;
    let mut granted = before.as_ref().map(|value| read(&value.bytes)).unwrap_or_default();
    if services.is_subset(&granted) {
        return Ok(None);
    }
    granted.extend(services.iter().cloned());
    let texts: Vec<String> = granted.iter().map(ToString::to_string).collect();
    let bytes = serde_json::to_vec(&texts).expect("a list of texts");
    let expected = before.map_or(Expectation::Absent, |it| Expectation::Version(it.version));
    Ok(Some(Item::put_value(name(account), bytes).expecting(expected)))
}

fn name(account: &ObjectName) -> String {
    format!("{PREFIX}{account}")
}

fn read(bytes: &[u8]) -> BTreeSet<ObjectName> {
    let texts: Vec<String> = serde_json::from_slice(bytes).unwrap_or_default();
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}
