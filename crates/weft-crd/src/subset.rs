//! `loadBalancing.subset` of a BackendPolicy: requests that are for some of the endpoints only.

use crate::names;
use crate::reader::{At, check_unique, fields};

/// Which of a Service's endpoints a request is for: those of workloads with certain labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subset {
    /// The labels, all of which must be as the request wants them.
    pub labels: Vec<SubsetLabel>,
    /// What becomes of a request where no endpoint that may be called has them. Default: it is
    /// refused, since who names instances does not mean others.
    pub fallback: SubsetFallback,
}

/// A label of workloads, and how a request says which value of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubsetLabel {
    /// The key of the label.
    pub name: String,
    /// The header of requests that has the wanted value.
    pub header: String,
    /// The value that is wanted where there is no such header. Absent: any.
    pub default: Option<String>,
}

/// What becomes of a request for a subset of which no endpoint may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubsetFallback {
    /// It is refused.
    None,
    /// It is treated as if it had none of the headers.
    Default,
    /// It is for all endpoints.
    Any,
}

/// More labels tell no more instances apart.
const LABELS_MAX: usize = 4;

pub(crate) fn read(at: &At<'_>) -> Option<Subset> {
    let object = at.object(fields(&["labels", "fallback"]))?;
    let labels = object.need("labels", |at| {
        let labels = at.filled_list(LABELS_MAX, "a label tells instances apart", read_label)?;
        let named = at.items(LABELS_MAX)?.into_iter().zip(labels.iter().map(|label| &label.name));
        let taken = |name: &&String, first: &_| format!("the label {name} is wanted by {first}");
        check_unique(named, taken).then_some(labels)
    });
    let known = [
        ("None", SubsetFallback::None),
        ("Default", SubsetFallback::Default),
        ("Any", SubsetFallback::Any),
    ];
    let fallback = object.or("fallback", SubsetFallback::None, |at| at.choice(&known, &[]));
    let (labels, fallback) = (labels?, fallback?);
    let has_default = labels.iter().any(|label| label.default.is_some());
    match object.field("fallback") {
        Some(at) if fallback == SubsetFallback::Default && !has_default => {
            at.error("none of the labels has a default: `Any` means all instances")
        }
        _ => Some(Subset { labels, fallback }),
    }
}

fn read_label(at: &At<'_>) -> Option<SubsetLabel> {
    let object = at.object(fields(&["name", "header", "default"]))?;
    let name = object
        .need("name", |at| at.parsed(|text| names::label_key(text).map(|()| text.to_owned())));
    let header = object.need("header", |at| {
        at.parsed(|text| names::matched_header(text).map(|()| text.to_ascii_lowercase()))
    });
    let default = object.maybe("default", |at| {
        at.parsed(|text| names::label_value(text).map(|()| text.to_owned()))
    });
    Some(SubsetLabel { name: name?, header: header?, default: default? })
}
