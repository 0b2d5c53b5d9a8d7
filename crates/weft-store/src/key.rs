//! What identifies an entry.

use std::fmt;

/// What identifies a document: no two have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey {
    /// Its kind, as the caller spells it.
    pub kind: String,
    /// Its namespace; empty if its kind is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl DocumentKey {
    /// The key of `name` in `namespace`, which may be empty.
    pub fn new(
        kind: impl Into<String>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> DocumentKey {
        DocumentKey { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// What identifies an entry of any sort.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKey {
    /// A document.
    Document(DocumentKey),
    /// A value, by its name.
    Value(String),
    /// A lease, by its name.
    Lease(String),
}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryKey::Document(key) => key.fmt(f),
            EntryKey::Value(name) => write!(f, "value {name}"),
            EntryKey::Lease(name) => write!(f, "lease {name}"),
        }
    }
}
