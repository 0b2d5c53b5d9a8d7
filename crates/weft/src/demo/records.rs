//! What the proxies' access logs say: how each instance does, and who has called it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use weft_world::{Clock, Moment};

use super::latency::{Lately, Window};

/// An instance that gets no request for that long after a failure is avoided.
const AVOIDED_AFTER: Duration = Duration::from_secs(1);

/// How long the reason of a refusal is shown.
const REASON_SHOWN: Duration = Duration::from_secs(3);

/// A line of an access log, as far as the demo reads it.
#[derive(Deserialize)]
struct Line {
    direction: String,
    #[serde(default)]
    status: u16,
    grpc_status: Option<u16>,
    reason: Option<String>,
    duration_ms: f64,
    peer: Option<String>,
}

/// What is known of one instance.
pub struct Instance {
    /// Its name.
    pub name: &'static str,
    /// The Service that it stands for.
    pub service: &'static str,
    /// The identity that is to call it.
    caller: String,
    window: Window,
    counts: Counts,
    last: Option<Last>,
}

/// The last request that reached an instance's proxy.
struct Last {
    at: Moment,
    is_failed: bool,
    reason: Option<String>,
}

/// What an instance looks like from outside.
pub struct Look {
    /// Since the start.
    pub counts: Counts,
    /// In the last seconds.
    pub lately: Lately,
    /// Whether its last request failed, and none has come since, though a second has passed.
    pub is_avoided: bool,
    /// Why its proxy itself refused the last request, if it came within the last seconds.
    pub reason: Option<String>,
}

/// How many requests reached an instance's proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that the application answered, whatever it said.
    pub served: u64,
    /// Those of them whose caller has proved, by mutual TLS, the identity that was to call.
    pub proved: u64,
    /// Those that failed: refused, not answered, or answered with a failure.
    pub failed: u64,
}

/// All instances. Cheap to clone.
#[derive(Clone)]
pub struct Instances {
    clock: Rc<dyn Clock>,
    list: Rc<RefCell<Vec<Instance>>>,
}

impl Instances {
    /// No instances yet.
    pub fn new(clock: Rc<dyn Clock>) -> Instances {
        Instances { clock, list: Rc::default() }
    }

    /// Adds one, and gives what takes the lines of its proxy's access log.
    pub fn add(
        &self,
        name: &'static str,
        service: &'static str,
        caller: String,
    ) -> impl Fn(&str) + use<> {
        let mut list = self.list.borrow_mut();
        let index = list.len();
        list.push(Instance {
            name,
            service,
            caller,
            window: Window::default(),
            counts: Counts::default(),
            last: None,
        });
        let instances = self.clone();
        move |line| instances.take(index, line)
    }

    fn take(&self, index: usize, line: &str) {
        // What is no record is in the log all the same.
        let Ok(line) = serde_json::from_str::<Line>(line) else { return };
        if line.direction == "inbound" {
            let now = self.clock.now();
            self.list.borrow_mut()[index].take(now, line);
        }
    }

    /// What `name` looks like now.
    pub fn look(&self, name: &str) -> Option<Look> {
        let now = self.clock.now();
        let mut list = self.list.borrow_mut();
        let instance = list.iter_mut().find(|instance| instance.name == name)?;
        let last = instance.last.as_ref();
        let is_avoided =
            last.is_some_and(|last| last.is_failed && now.since(last.at) > AVOIDED_AFTER);
        let recent = last.filter(|last| now.since(last.at) < REASON_SHOWN);
        let reason = recent.and_then(|last| last.reason.clone());
        let lately = instance.window.lately(now);
        Some(Look { counts: instance.counts, lately, is_avoided, reason })
    }

    /// The counts of all instances of each Service.
    pub fn services(&self) -> Vec<(&'static str, Counts)> {
        let mut services: Vec<(&'static str, Counts)> = Vec::new();
        for Instance { service, counts, .. } in self.list.borrow().iter() {
            let Counts { served, proved, failed } = *counts;
            match services.iter_mut().find(|(name, _)| name == service) {
                Some((_, sum)) => {
                    sum.served += served;
                    sum.proved += proved;
                    sum.failed += failed;
                }
                None => services.push((service, *counts)),
            }
        }
        services
    }
}

impl Instance {
    fn take(&mut self, now: Moment, line: Line) {
        let Line { status, grpc_status, reason, duration_ms, peer, .. } = line;
        let Counts { served, proved, failed } = &mut self.counts;
        let is_failed =
            reason.is_some() || status >= 500 || grpc_status.is_some_and(|status| status != 0);
        // The caller may go away from what was served; everything else with a reason was refused.
        let is_served = reason.as_deref().is_none_or(|reason| reason == "client-gone");
        if is_served {
            *served += 1;
            *proved += u64::from(peer.as_ref() == Some(&self.caller));
        }
        *failed += u64::from(is_failed);
        self.last = Some(Last { at: now, is_failed, reason });
        let latency = Duration::try_from_secs_f64(duration_ms / 1000.0).unwrap_or_default();
        self.window.add(now, latency, is_failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "spiffe://weft.local/ns/shop/sa/web";

    #[test]
    fn what_was_served_must_have_been_called_by_whom_it_was_to_be() {
        let instances = Instances::new(Rc::new(weft_net::SystemClock::new()));
        let take = instances.add("cart-v1-1", "cart", WEB.to_owned());
        let inbound = |rest: &str| {
            take(&format!(r#"{{"direction":"inbound","duration_ms":1.5,{rest}}}"#));
        };
        inbound(&format!(r#""status":200,"peer":"{WEB}""#));
        inbound(&format!(r#""status":500,"peer":"{WEB}""#));
        inbound(&format!(r#""peer":"{WEB}","status":200,"grpc_status":13"#));
        inbound(r#""status":200"#);
        inbound(r#""status":200,"peer":"spiffe://weft.local/ns/shop/sa/motto""#);
        inbound(&format!(r#""status":403,"reason":"denied","peer":"{WEB}""#));
        take(r#"{"direction":"outbound","duration_ms":1,"status":200}"#);
        take("{ no record");
        let Look { counts, lately, reason, is_avoided } = instances.look("cart-v1-1").unwrap();
        assert!(!is_avoided, "it has just been called");
        assert_eq!(counts, Counts { served: 5, proved: 3, failed: 3 });
        assert_eq!(lately.p50, Duration::from_micros(1500));
        assert_eq!(reason.as_deref(), Some("denied"));
        assert!(instances.look("cart-v1-2").is_none());
        assert_eq!(instances.services(), [("cart", counts)]);
    }
}
