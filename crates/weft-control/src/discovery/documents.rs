//! What the store keeps, as the compiler takes it.

use std::sync::Arc;

use weft_crd::{Key, Kind, Object, Options, Timestamp};
use weft_store::{Document, DocumentKey};

/// The object that `document` is, with what the store says of it.
///
/// # Errors
/// What is wrong with it: it was written by another version, which knew more or less.
pub(crate) fn read(document: &Document) -> Result<Arc<Object>, String> {
    let name = document.key.to_string();
    let mut parsed = weft_crd::parse(&name, &document.text, &Options::default());
    match parsed.objects.as_mut_slice() {
        [object] => {
            let seconds = i64::try_from(document.created.0.as_secs()).unwrap_or(i64::MAX);
            object.stamp(&document.version.to_string(), Timestamp::from_unix(seconds));
            Ok(Arc::new(parsed.objects.remove(0)))
        }
        _ => {
            let mut findings = parsed.findings.iter().map(ToString::to_string);
            Err(findings.next().unwrap_or_else(|| "it holds no single object".to_owned()))
        }
    }
}

/// The compiler's name of what the store calls `key`; nothing for a kind that is not known here.
pub(crate) fn crd_key(key: &DocumentKey) -> Option<Key> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == key.kind)?;
    Some(Key { kind, namespace: key.namespace.clone(), name: key.name.clone() })
}

/// `object` as the store keeps it, checked as if its author had applied it.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn written(object: &serde_json::Value) -> Result<String, String> {
    let text = object.to_string();
    let parsed = weft_crd::parse("object", text.as_bytes(), &Options::default());
    match parsed.objects.as_slice() {
        [object] if !parsed.has_errors() => Ok(object.to_stored()),
        _ => {
            let found: Vec<_> = parsed.findings.iter().map(ToString::to_string).collect();
            Err(found.join("; "))
        }
    }
}
