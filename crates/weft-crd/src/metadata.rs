//! What every object has besides its `spec`.

use std::collections::BTreeMap;

use crate::kind::Kind;
use crate::names;
use crate::reader::{At, Fields};
use crate::suggest;
use crate::timestamp::Timestamp;

/// How many bytes all annotations of an object may have, as in Kubernetes.
const ANNOTATION_BYTES_MAX: usize = 256 << 10;

/// The annotation of a workload that has registered itself: by which identity.
pub const REGISTERED_BY: &str = "weft.dev/registered-by";

/// The annotation with the names of the Services that it has registered itself for, which it was
/// granted; a comma between them.
pub const REGISTERED_FOR: &str = "weft.dev/registered-for";

/// What annotations of ours begin with.
const OWN_PREFIX: &str = "weft.dev/";

/// What every object has besides its `spec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its namespace; empty if its kind is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Labels, by which selectors find it.
    pub labels: BTreeMap<String, String>,
    /// Notes of other programs, kept and not read.
    pub annotations: BTreeMap<String, String>,
    /// Which version this is, in the words of whoever stores it; opaque.
    pub resource_version: Option<String>,
    /// How often its `spec` changed, as whoever stores it counts.
    pub generation: Option<u64>,
    /// When it was made; of two routes that match alike, the older wins.
    pub creation_timestamp: Option<Timestamp>,
}

/// What is written by those who store objects, and means nothing here.
const FIELDS: Fields = Fields {
    known: &[
        "name",
        "namespace",
        "labels",
        "annotations",
        "resourceVersion",
        "generation",
        "creationTimestamp",
    ],
    not_yet: &[],
    ignored: &[
        "uid",
        "managedFields",
        "ownerReferences",
        "finalizers",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
        "selfLink",
    ],
    no_nulls: false,
};

/// Metadata as far as it could be read, for what the rest of the object needs of it.
pub(crate) struct Header {
    /// The metadata, if nothing in it is wrong.
    pub(crate) metadata: Option<Metadata>,
    /// The namespace, or what stands for one if it is wrong.
    pub(crate) namespace: String,
}

pub(crate) fn read(at: &At<'_>, kind: Kind) -> Option<Metadata> {
    let object = at.object(FIELDS)?;
    let name = object.need("name", |at| {
        at.parsed(|text| {
            let check = match kind {
                // A Service's name becomes one label of a host name. New API servers let it begin
                // with a digit, others do not.
                Kind::Service if at.is_standalone() => names::dns_1035_label,
                Kind::Service => names::dns_label,
                _ => names::dns_subdomain,
            };
            check(text).map(|()| text.to_owned())
        })
    });
    let namespace = match (object.field("namespace"), kind.is_namespaced()) {
        (None, true) => {
            let default = &at.report.options.namespace;
            match names::dns_label(default) {
                Ok(()) => Some(default.clone()),
                Err(message) => at.below("namespace").error_help(
                    format!("{message}, and this is that of objects that name none"),
                    "name one here, or another as that of objects that name none",
                ),
            }
        }
        (None, false) => Some(String::new()),
        (Some(at), true) => at.parsed(|text| names::dns_label(text).map(|()| text.to_owned())),
        (Some(at), false) => at.error(format!("a {kind} is in no namespace")),
    };
    let labels = object
        .or("labels", BTreeMap::new(), |at| at.text_map(names::label_key, names::label_value));
    let annotations = object.or("annotations", BTreeMap::new(), |at| {
        let annotations = at.text_map(annotation_key, names::anything)?;
        let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > ANNOTATION_BYTES_MAX {
            return at.error(format!(
                "{bytes} bytes are not allowed, the most is {ANNOTATION_BYTES_MAX}"
            ));
        }
        Some(annotations)
    });
    let resource_version =
        object.maybe("resourceVersion", |at| at.text_within(128).map(str::to_owned));
    let generation = object.maybe("generation", |at| {
        at.integer(0, i64::MAX).and_then(|number| u64::try_from(number).ok())
    });
    let creation_timestamp = object.maybe("creationTimestamp", |at| at.parsed(Timestamp::parse));
    Some(Metadata {
        namespace: namespace?,
        name: name?,
        labels: labels?,
        annotations: annotations?,
        resource_version: resource_version?,
        generation: generation?,
        creation_timestamp: creation_timestamp?,
    })
}

/// Whether `text` is the key of an annotation, and none that looks like one of ours.
fn annotation_key(text: &str) -> Result<(), String> {
    names::label_key(text)?;
    if !text.starts_with(OWN_PREFIX) || [REGISTERED_BY, REGISTERED_FOR].contains(&text) {
        return Ok(());
    }
    let meant = suggest::nearest(text, [REGISTERED_BY, REGISTERED_FOR]);
    let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
    Err(format!("Weft has no annotation of this name: it would have no effect{meant}"))
}

#[cfg(test)]
mod tests;
