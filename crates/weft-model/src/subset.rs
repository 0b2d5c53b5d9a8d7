//! Requests that are for some of a Service's endpoints only.

use std::fmt;
use std::sync::Arc;

use crate::error::ValueError;
use crate::http::HeaderName;

/// Which of a Service's endpoints a request is for: those of workloads with certain labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subset {
    /// The labels, all of which must be as the request wants them.
    pub labels: Vec<SubsetLabel>,
    /// What becomes of a request where no endpoint that may be called has them.
    pub fallback: SubsetFallback,
}

/// A label of workloads, and how a request says which value of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubsetLabel {
    /// The key of the label.
    pub name: Label,
    /// The header of requests that has the wanted value.
    pub header: HeaderName,
    /// The value that is wanted where there is no such header. None: any, or no such label.
    pub default: Option<Label>,
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

/// The key or the value of a label of workloads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// The key or value `text`.
    ///
    /// # Errors
    /// If it is longer than 317 bytes, as no key of Kubernetes' is, or has others than letters,
    /// digits, `-`, `_`, `.` and `/`.
    pub fn new(text: &str) -> Result<Label, ValueError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        if text.len() > 317 || !text.bytes().all(is_allowed) {
            let allowed = "at most 317 letters, digits, `-`, `_`, `.` and `/`";
            return Err(ValueError::new(text, "a label", allowed));
        }
        Ok(Label(text.into()))
    }

    /// The key or value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_kubernetes_own() {
        for right in ["", "v1", "app.kubernetes.io/version", "A_b-c.9"] {
            assert_eq!(Label::new(right).unwrap().as_str(), right);
        }
        for wrong in ["a b", "ä", "a\r\nb", &"x".repeat(318)] {
            assert!(Label::new(wrong).is_err(), "{wrong}");
        }
    }
}
