//! How long a request may take.

use std::time::Duration;

use crate::duration;
use crate::reader::{At, fields};

/// How long a request may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeouts {
    /// From the caller's request to the end of the answer, all attempts together.
    pub request: Option<Timeout>,
    /// The same of each attempt.
    pub backend_request: Option<Timeout>,
}

/// A bound that was written. Where none was, the defaults hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timeout {
    /// It may take this long.
    After(Duration),
    /// There is no bound: `0s`.
    Never,
}

pub(crate) fn read(at: &At<'_>) -> Option<Timeouts> {
    let object = at.object(fields(&["request", "backendRequest"]))?;
    let request = object.maybe("request", read_timeout);
    let backend_request = object.maybe("backendRequest", read_timeout);
    let timeouts = Timeouts { request: request?, backend_request: backend_request? };
    if let Timeouts {
        request: Some(Timeout::After(request)),
        backend_request: Some(Timeout::After(backend)),
    } = timeouts
        && backend > request
    {
        return object.field("backendRequest")?.error(format!(
            "{} is longer than the {} of the whole request",
            duration::format(backend),
            duration::format(request)
        ));
    }
    Some(timeouts)
}

fn read_timeout(at: &At<'_>) -> Option<Timeout> {
    match at.duration()? {
        Duration::ZERO => Some(Timeout::Never),
        duration => Some(Timeout::After(duration)),
    }
}

#[cfg(test)]
mod tests;
