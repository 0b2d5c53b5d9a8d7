//! The findings of one object, gathered while it is read.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::finding::{Finding, ObjectName, Position, Severity};
use crate::node::Span;
use crate::object::Options;
use crate::path::Path;

/// How many findings are kept of one object. What is beyond would not be read either.
pub(crate) const FINDINGS_MAX: usize = 200;

/// What is known of the object that is being read, and what was found in it so far.
pub(crate) struct Report<'o> {
    pub(crate) file: Arc<str>,
    pub(crate) object: Option<ObjectName>,
    pub(crate) options: &'o Options,
    findings: RefCell<Vec<Finding>>,
    /// The paths of what could not be read.
    unreadable: RefCell<BTreeSet<String>>,
}

impl<'o> Report<'o> {
    pub(crate) fn new(file: Arc<str>, object: Option<ObjectName>, options: &'o Options) -> Self {
        Report {
            file,
            object,
            options,
            findings: RefCell::default(),
            unreadable: RefCell::default(),
        }
    }

    /// Adds what is wrong with `path` as YAML, which has no value to be wrong otherwise.
    pub(crate) fn unreadable(
        &self,
        path: &Path,
        span: Span,
        message: String,
        help: Option<String>,
    ) {
        self.add(Severity::Error, path, span, message, help);
        self.unreadable.borrow_mut().insert(path.to_string());
    }

    pub(crate) fn add(
        &self,
        severity: Severity,
        path: &Path,
        span: Span,
        message: String,
        help: Option<String>,
    ) {
        let mut findings = self.findings.borrow_mut();
        let path = path.to_string();
        if findings.len() > FINDINGS_MAX || self.unreadable.borrow().contains(&path) {
            return;
        }
        let full = findings.len() == FINDINGS_MAX;
        let position = (span.line > 0 && !full).then(|| Position {
            file: self.file.to_string(),
            line: span.line,
            column: span.column,
            length: span.length,
        });
        findings.push(Finding {
            // The last one stands for all that are left out, so it counts as the worst of them.
            severity: if full { Severity::Error } else { severity },
            path: if full { String::new() } else { path },
            message: if full { "more than can be shown is wrong".to_owned() } else { message },
            help: if full { None } else { help },
            position,
            object: self.object.clone(),
        });
    }

    /// Whether nothing more is kept, so that there is no use in looking further.
    pub(crate) fn is_full(&self) -> bool {
        self.findings.borrow().len() > FINDINGS_MAX
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.findings.borrow().iter().any(Finding::is_error)
    }

    /// All that was found, in the order of the file; what has no place comes last.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings = self.findings.borrow().clone();
        let place = |finding: &Finding| match &finding.position {
            Some(place) => (place.line, place.column),
            None => (u32::MAX, u32::MAX),
        };
        findings.sort_by_key(place);
        findings
    }
}
