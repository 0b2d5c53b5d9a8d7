//! Changes to headers.

use crate::finding::quoted;
use crate::names;
use crate::reader::{At, check_unique, fields};

/// Changes to headers, of which each name occurs once, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Headers that have this value and no other.
    pub set: Vec<HeaderValue>,
    /// Values that stand behind what a header has.
    pub add: Vec<HeaderValue>,
    /// Headers that are taken out.
    pub remove: Vec<String>,
}

/// A header with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderValue {
    /// Its name, in lower case.
    pub name: String,
    /// Its value.
    pub value: String,
}

const HEADERS_MAX: usize = 16;

/// The most bytes of names and values that one filter writes: a quarter of what a head may have.
const BYTES_MAX: usize = 16 * 1024;

/// Source: Gateway API, HTTPHeaderFilter: each name once, in all three lists together.
pub(super) fn read(at: &At<'_>) -> Option<HeaderEdits> {
    let object = at.object(fields(&["set", "add", "remove"]))?;
    let headers = |at: &At<'_>| at.list(HEADERS_MAX, read_header);
    let set = object.or("set", Vec::new(), headers);
    let add = object.or("add", Vec::new(), headers);
    let remove = object.or("remove", Vec::new(), |at| at.list(HEADERS_MAX, read_name));
    let (set, add, remove) = (set?, add?, remove?);
    let items = ["set", "add", "remove"].map(|key| object.field(key)?.items(HEADERS_MAX));
    let names = set.iter().chain(&add).map(|header| &header.name).chain(&remove);
    check_unique(items.into_iter().flatten().flatten().zip(names), |name, first| {
        format!("the header {} is changed by {first}", quoted(name))
    });
    if set.is_empty() && add.is_empty() && remove.is_empty() {
        at.warning("changes nothing");
    }
    let bytes = |header: &HeaderValue| header.name.len() + header.value.len();
    let total: usize = set.iter().chain(&add).map(bytes).sum();
    if total > BYTES_MAX {
        return at.error(format!(
            "{total} bytes of names and values are not allowed, the most is {BYTES_MAX}"
        ));
    }
    Some(HeaderEdits { set, add, remove })
}

fn read_header(at: &At<'_>) -> Option<HeaderValue> {
    let object = at.object(fields(&["name", "value"]))?;
    let name = object.need("name", read_name);
    let value = object
        .need("value", |at| at.parsed(|text| names::header_value(text).map(|()| text.to_owned())));
    Some(HeaderValue { name: name?, value: value? })
}

fn read_name(at: &At<'_>) -> Option<String> {
    at.parsed(|text| names::changed_header(text).map(|()| text.to_ascii_lowercase()))
}
