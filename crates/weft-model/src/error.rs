//! A value that cannot be what it is said to be.

use thiserror::Error;

/// A value that cannot be what it is said to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{found}` is not {what}: {allowed}")]
pub struct ValueError {
    found: String,
    what: &'static str,
    allowed: &'static str,
}

impl ValueError {
    /// `found` is not `what`, which is `allowed`. Of long text only the beginning is kept.
    pub(crate) fn new(
        found: impl ToString,
        what: &'static str,
        allowed: &'static str,
    ) -> ValueError {
        const SHOWN_MAX: usize = 80;
        let mut found = found.to_string();
        if found.chars().count() > SHOWN_MAX {
            found = found.chars().take(SHOWN_MAX).chain(['…']).collect();
        }
        ValueError { found, what, allowed }
    }
}
