//! What is wrong with one resource, by itself and in view of the others.

use std::collections::BTreeSet;
use std::fmt::Display;

use weft_crd::{Finding, Object, ObjectName, Severity};

use crate::status::{Condition, Status};
use weft_wire::ObjectKey;

/// The findings about one resource.
pub(crate) struct Findings<'o> {
    object: &'o Object,
    found: Vec<Finding>,
}

impl<'o> Findings<'o> {
    /// Those that it has by itself, whatever else there is.
    pub(crate) fn new(object: &'o Object) -> Findings<'o> {
        Findings { object, found: object.warnings().to_vec() }
    }

    /// Something that was written at `path` and is not in force.
    pub(crate) fn error(&mut self, path: &str, message: impl Display) {
        self.add(Severity::Error, path, message);
    }

    /// Something that is in force, and may not be what was meant.
    pub(crate) fn warning(&mut self, path: &str, message: impl Display) {
        self.add(Severity::Warning, path, message);
    }

    fn add(&mut self, severity: Severity, path: &str, message: impl Display) {
        let key = self.object.key();
        self.found.push(Finding {
            severity,
            path: path.to_owned(),
            message: message.to_string(),
            help: None,
            position: self.object.locate(path),
            object: Some(ObjectName {
                kind: key.kind.name().to_owned(),
                namespace: key.namespace,
                name: key.name,
            }),
        });
    }

    /// The status of the resource, with these findings.
    pub(crate) fn status(self, conditions: Vec<Condition>, objects: Vec<ObjectKey>) -> Status {
        Status { key: self.object.key(), conditions, findings: self.found, objects }
    }
}

/// How many others a message names.
const NAMED_MAX: usize = 3;

/// The first of `names`, and how many more there are.
pub(crate) fn listed(names: &BTreeSet<String>) -> String {
    let first: Vec<_> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", first.join(", "))
}
