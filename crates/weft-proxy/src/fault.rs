//! Puts faults into requests on purpose, at the caller's own proxy and once for each request.
//!
//! Which ones is decided by `weft-decide`. What Weft answers itself has none: it comes before.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use weft_decide::deadline::{Bound, Deadline};
use weft_decide::fault;
use weft_http::RequestHead;
use weft_model::{Fault, ObjectName, RouteRule};
use weft_telemetry::{Event, Record};

use crate::Proxy;
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::snapshot::Destination;

/// How many requests are held, by policy.
#[derive(Default)]
pub(crate) struct Held {
    counts: RefCell<HashMap<ObjectName, u32>>,
}

/// The place of a request that is held.
struct Place<'h> {
    held: &'h Held,
    policy: ObjectName,
}

impl Held {
    /// A place for one request more, unless `fault` has no more.
    fn take(&self, fault: &Fault) -> Option<Place<'_>> {
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry(fault.policy.clone()).or_default();
        if *count >= fault.active_max.get() {
            return None;
        }
        *count += 1;
        Some(Place { held: self, policy: fault.policy.clone() })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.held.counts.borrow_mut();
        if let Some(count) = counts.get_mut(&self.policy) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.policy);
            }
        }
    }
}

/// The fault that is for the request `head`, which falls under `rule` of what was `called` and goes
/// to `backend`.
pub(crate) fn of<'f>(
    rule: Option<&'f RouteRule>,
    called: &'f Destination,
    backend: &'f Destination,
    head: &RequestHead,
) -> Option<&'f Fault> {
    let of_rule = rule.into_iter().flat_map(|rule| &rule.faults);
    let faults = of_rule.chain(&called.traffic.faults).chain(&backend.traffic.faults);
    fault::for_request(faults, head)
}

/// How long a request may wait.
pub(crate) struct Patience<'t> {
    pub(crate) deadline: &'t Deadline,
    /// How long it may go without a byte in either direction.
    pub(crate) idle: Duration,
}

/// Puts `fault` into the request of `exchange`, if that is drawn and there is a place for it.
///
/// # Errors
/// [`ProxyError::FaultInjected`]; [`ProxyError::Timeout`], if it may not be held for so long; and
/// what ends a request that waits.
pub(crate) async fn put_in(
    proxy: &Proxy,
    exchange: &mut Exchange<'_>,
    record: &mut Record,
    fault: &Fault,
    patience: &Patience<'_>,
) -> Result<(), ProxyError> {
    let entropy = &proxy.world.entropy;
    let chances = [entropy.fraction(), entropy.fraction()];
    let Some(drawn) = fault::draw(fault, exchange.head, chances) else { return Ok(()) };
    let mut told = Told { proxy, record, policy: format!("fault/{}", fault.policy) };
    if let Some(delay) = drawn.delay {
        let Some(_place) = proxy.held.take(fault) else {
            told.tell("skipped", "spec.maxActive");
            return Ok(());
        };
        told.tell("delay", "spec.delay");
        hold(proxy, exchange, delay, patience).await?;
    }
    if let Some(with) = drawn.abort {
        told.tell("abort", "spec.abort");
        return Err(ProxyError::FaultInjected { policy: fault.policy.to_string(), with });
    }
    Ok(())
}

/// Where it is told what was put in.
struct Told<'a> {
    proxy: &'a Proxy,
    record: &'a mut Record,
    policy: String,
}

impl Told<'_> {
    fn tell(&mut self, fault: &'static str, field: &str) {
        let Told { proxy, record, policy } = self;
        let told = record.fault.get_or_insert_default();
        if !told.is_empty() {
            told.push_str(", ");
        }
        told.push_str(&format!("{policy} {field}"));
        proxy.recorder.note(Event::Faulted { policy, fault });
    }
}

/// Holds the request for `delay`, as long as its caller waits and its deadline lets it.
async fn hold(
    proxy: &Proxy,
    exchange: &mut Exchange<'_>,
    delay: Duration,
    patience: &Patience<'_>,
) -> Result<(), ProxyError> {
    let Patience { deadline, idle } = *patience;
    let clock = &proxy.world.clock;
    let end = deadline.left(proxy.now()).filter(|bound| bound.left <= delay);
    let waiting = pin!(async {
        match end {
            None => {
                clock.sleep(delay).await;
                Ok(())
            }
            Some(Bound { left, whole, limit }) => {
                clock.sleep(left).await;
                Err(ProxyError::Timeout { limit, whole })
            }
        }
    });
    exchange.while_wanted(&proxy.live, idle, false, waiting).await
}
