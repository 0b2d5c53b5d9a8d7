//! Changes to the fields of a head.

use std::collections::BTreeSet;

use crate::error::ValueError;
use crate::http::HeaderName;
use crate::route::ExactValue;

/// A field with its value.
pub type HeaderValue = (HeaderName, ExactValue);

/// Changes to the fields of a head, of which each name occurs once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    set: Vec<HeaderValue>,
    add: Vec<HeaderValue>,
    remove: Vec<HeaderName>,
}

impl HeaderEdits {
    /// These changes.
    ///
    /// # Errors
    /// If a name occurs twice, or is one that [`is_editable`] refuses.
    pub fn new(
        set: Vec<HeaderValue>,
        add: Vec<HeaderValue>,
        remove: Vec<HeaderName>,
    ) -> Result<HeaderEdits, ValueError> {
        let written = set.iter().chain(&add).map(|(name, _)| name);
        let mut seen = BTreeSet::new();
        for name in written.chain(&remove) {
            if !is_editable(name.as_str()) {
                let allowed = "neither what frames a message or calls, nor the mesh's own";
                return Err(ValueError::new(name, "a header that a route may change", allowed));
            }
            if !seen.insert(name) {
                return Err(ValueError::new(name, "changed in one way", "each name once"));
            }
        }
        Ok(HeaderEdits { set, add, remove })
    }

    /// Fields that have this value and no other.
    pub fn set(&self) -> &[HeaderValue] {
        &self.set
    }

    /// Values that stand behind what a field has.
    pub fn add(&self) -> &[HeaderValue] {
        &self.add
    }

    /// Fields that are taken out.
    pub fn remove(&self) -> &[HeaderName] {
        &self.remove
    }
}

/// Whether a route may change the header `name`, in lower case.
///
/// It may not where a message would be read differently, or for another connection than it was
/// written for; the host is changed by [`super::UrlRewrite`]; names that begin with `weft-` are the
/// mesh's, those with `grpc-` the protocol's, by which calls end and wait.
pub fn is_editable(name: &str) -> bool {
    const FIXED: [&str; 12] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    !FIXED.contains(&name) && !name.starts_with("weft-") && !name.starts_with("grpc-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_leave_alone_what_frames_a_message_and_say_each_name_once() {
        let name = |text| HeaderName::new(text).unwrap();
        let field = |text| (name(text), ExactValue::new("1").unwrap());
        assert!(HeaderEdits::new(vec![field("a")], vec![field("b")], vec![name("c")]).is_ok());
        assert!(HeaderEdits::new(vec![field("a")], vec![field("a")], vec![]).is_err());
        assert!(HeaderEdits::new(vec![], vec![field("a")], vec![name("a")]).is_err());
        for fixed in ["host", "content-length", "connection", "te", "weft-held", "grpc-status"] {
            assert!(HeaderEdits::new(vec![], vec![], vec![name(fixed)]).is_err(), "{fixed}");
        }
    }
}
