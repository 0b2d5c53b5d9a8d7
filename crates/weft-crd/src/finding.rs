//! Findings: what is wrong in a resource, where, and what to do about it.
//!
//! Deliberately absent: any decision on what a finding leads to. The caller refuses what has an
//! error, shows a warning, and turns either into status conditions or marks on a page.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object is taken, yet something in it has no effect.
    Warning,
    /// The object is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// A stretch of one line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The file, as it was named to the parser.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted in characters from 1.
    pub column: u32,
    /// How many characters to mark.
    pub length: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of a long name the end says most, so it stays whole.
        write!(f, "{}:{}:{}", harmless(&self.file), self.line, self.column)
    }
}

/// The name of an object as far as it could be read, whether or not its kind is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// The kind as written.
    pub kind: String,
    /// The namespace; empty for what is in none.
    pub namespace: String,
    /// The name; empty if it has none.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "(no name)" } else { &self.name };
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", tamed(&self.kind), tamed(name)),
            namespace => write!(f, "{} {}/{}", tamed(&self.kind), tamed(namespace), tamed(name)),
        }
    }
}

/// Something wrong in a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Finding {
    /// Whether the object is refused for it.
    pub severity: Severity,
    /// The field, such as `spec.rules[0].backendRefs[1].weight`; empty for the whole file.
    pub path: String,
    /// What is wrong, in lower case, without a full stop.
    pub message: String,
    /// What to do about it, if that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where it stands, if it came from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The object it was found in, if one could be made out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectName>,
}

impl Finding {
    /// Whether the object is refused for it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The path and the message: `spec.limits.pending: 0 is not allowed, the least is 1`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// How many characters of a user's text a message repeats.
const QUOTE_MAX: usize = 64;

/// `text` in quotes, shortened, with nothing in it that could drive a terminal.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", tamed(text).replace('"', "\\\""))
}

/// `text` shortened, with nothing in it that could drive a terminal.
pub(crate) fn tamed(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("{}…", harmless(&text[..end])),
        None => harmless(text),
    }
}

/// `text` with nothing in it that could drive a terminal.
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => harmless.push_str("\\n"),
            '\t' => harmless.push_str("\\t"),
            c if drives_terminal(c) => harmless.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => harmless.push(c),
        }
    }
    harmless
}

/// Whether `c` could change what a terminal shows elsewhere: controls and direction marks.
pub(crate) fn drives_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
