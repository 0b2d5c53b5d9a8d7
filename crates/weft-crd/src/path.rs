//! Where in an object a value stands: `spec.rules[0].backendRefs[1].weight`.

use std::fmt;

use crate::node::{Node, Span};

/// The path of a field, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(String);

impl Path {
    /// The path of `key` below this one.
    pub(crate) fn key(&self, key: &str) -> Path {
        let mut path = self.0.clone();
        push_key(&mut path, key);
        Path(path)
    }

    /// The path of item `index` below this one.
    pub(crate) fn index(&self, index: usize) -> Path {
        Path(format!("{}[{index}]", self.0))
    }

    /// Whether this is at or below `above`.
    pub(crate) fn is_within(&self, above: &str) -> bool {
        self.0
            .strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }

    /// This path as seen from `above`.
    pub(crate) fn without(&self, above: &str) -> Path {
        Path(self.0.strip_prefix(above).unwrap_or(&self.0).trim_start_matches('.').to_owned())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One step of a path, kept apart while a tree is composed, so that text is made only for findings.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Into a map.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// The path that `steps` lead along.
pub(crate) fn of_steps(steps: &[Step]) -> Path {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(key) => push_key(&mut path, key),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    Path(path)
}

/// Appends `key`: after a dot if it is a plain word, else in brackets, as in
/// `metadata.labels[app.kubernetes.io/name]`.
fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty()
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !key.starts_with(|c: char| c.is_ascii_digit());
    if plain {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    } else {
        path.push('[');
        path.push_str(&crate::finding::tamed(key));
        path.push(']');
    }
}

/// The place of `path` in `root`, or of the nearest field above it that is written there.
///
/// A collection is marked by its key, everything else by its value.
pub(crate) fn locate(root: &Node, path: &str) -> Option<Span> {
    let mut node = root;
    let mut found = None;
    let mut rest = path;
    while !rest.is_empty() {
        let (step, after) = next_step(rest)?;
        rest = after;
        let (child, key_span) = match node.entry(step) {
            Some(entry) => (&entry.value, Some(entry.key.span)),
            None => match step.parse().ok().and_then(|index| node.item(index)) {
                Some(item) => (item, None),
                None => break,
            },
        };
        found = Some(mark(child, key_span));
        node = child;
    }
    found.filter(|span| span.line > 0)
}

/// What to mark for a node that is reached by a key at `key`.
pub(crate) fn mark(node: &Node, key: Option<Span>) -> Span {
    use crate::node::Value;
    match (&node.value, key) {
        (Value::List(_) | Value::Map(_) | Value::Null, Some(key)) => key,
        _ => node.span,
    }
}

/// The first step of `path` and what comes after it.
fn next_step(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    if let Some(bracketed) = path.strip_prefix('[') {
        return bracketed.split_once(']');
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    Some(path.split_at(end))
}
