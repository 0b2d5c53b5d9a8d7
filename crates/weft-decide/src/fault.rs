//! Which faults are put into a request on purpose.
//!
//! At most one policy decides about a request: the first that is for it, of its rule, of its route,
//! of the Service that was called, of that which it goes to. What it does not draw is not drawn by
//! another one.

use std::time::Duration;

use weft_http::RequestHead;
use weft_model::{AbortWith, Fault, HeaderCondition, Percent};

use crate::grpc::{http_status, is_call};
use crate::route::test::field;

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// For how long it is held.
    pub delay: Option<Duration>,
    /// How it is answered after that.
    pub abort: Option<AbortWith>,
}

/// Of `faults` the one that is for the request `head`.
pub fn for_request<'f>(
    mut faults: impl Iterator<Item = &'f Fault>,
    head: &RequestHead,
) -> Option<&'f Fault> {
    faults.find(|fault| fault.headers.iter().all(|wanted| has(head, wanted)))
}

fn has(head: &RequestHead, wanted: &HeaderCondition) -> bool {
    let HeaderCondition { name, value } = wanted;
    let found = field(head, name.as_str());
    found.is_some_and(|found| value.as_ref().is_none_or(|value| value.as_str() == found))
}

/// What `fault` does to the request `head`, if anything. Each of `chances` is drawn from
/// `0.0..1.0`, for the delay and for the answer, which do not depend on each other.
pub fn draw(fault: &Fault, head: &RequestHead, chances: [f64; 2]) -> Option<Drawn> {
    let is_hit = |percent: Percent, chance: f64| chance * 100.0 < f64::from(percent.get());
    let [of_delay, of_abort] = chances;
    let delay = fault.delay.filter(|delay| is_hit(delay.percent, of_delay));
    let abort = fault.abort.filter(|abort| is_hit(abort.percent, of_abort));
    let abort = abort.map(|abort| abort.with).filter(|with| is_for(*with, head));
    let delay = delay.map(|delay| delay.time.duration());
    (delay.is_some() || abort.is_some()).then_some(Drawn { delay, abort })
}

/// Whether the request can be answered so: who does not speak gRPC would take it for success.
pub fn is_for(with: AbortWith, head: &RequestHead) -> bool {
    match with {
        AbortWith::Http(_) => true,
        AbortWith::Grpc(_) => is_call(head),
    }
}

/// The status of HTTP that says most nearly what is answered.
pub fn status(with: AbortWith) -> u16 {
    match with {
        AbortWith::Http(status) => status.get(),
        AbortWith::Grpc(code) => http_status(code.get().into()),
    }
}

#[cfg(test)]
mod tests;
