//! What the store keeps, as the compiler takes it.

use std::sync::Arc;

use weft_crd::{Key, Kind, Object, Options, Platform, Timestamp};
use weft_store::{Document, DocumentKey};

/// The object that `document` is, which lives in `platform`, with what the store says of it. In
/// Kubernetes an object says itself when it was made.
///
/// # Errors
/// What is wrong with it: it was written by another version, which knew more or less.
pub(crate) fn read(document: &Document, platform: Platform) -> Result<Arc<Object>, String> {
    let name = document.key.to_string();
    let options = Options { platform, ..Options::default() };
    let mut parsed = weft_crd::parse(&name, &document.text, &options);
    match parsed.objects.as_mut_slice() {
        [object] => {
            let seconds = i64::try_from(document.created.0.as_secs()).unwrap_or(i64::MAX);
            let own = object.metadata().creation_timestamp;
            let own = own.filter(|_| platform == Platform::Kubernetes);
            let created = own.unwrap_or_else(|| Timestamp::from_unix(seconds));
            object.stamp(&document.version.to_string(), created);
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
