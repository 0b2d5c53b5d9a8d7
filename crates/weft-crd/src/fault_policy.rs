//! `weft.dev/v1alpha1` FaultPolicy: faults that are put in on purpose.
//!
//! Deliberately absent: limits on how many bytes a second pass, and shares below a percent.

use std::time::Duration;

use crate::authorization_policy::{HeaderCondition, read_header};
use crate::duration::format;
use crate::metadata::{Header, Metadata};
use crate::reader::{At, Fields, fields};
use crate::target::{self, Allowed, Target};
use crate::units::Percent;

/// What is done to a share of the requests for a Service, or under a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPolicy {
    /// What every object has.
    pub metadata: Metadata,
    /// What it is for: Services and routes of its own namespace, and rules of these.
    pub targets: Vec<Target>,
    /// It is for requests with all of these headers.
    pub headers: Vec<HeaderCondition>,
    /// For how long some are held. At least one of this and `abort` is there.
    pub delay: Option<Delay>,
    /// How some are answered.
    pub abort: Option<Abort>,
    /// How many requests of one client proxy are held at a time.
    pub active_max: Option<u32>,
}

/// For how long a share of requests is held before it is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delay {
    /// How many of them. Default: all.
    pub percent: Percent,
    /// How long.
    pub duration: Duration,
}

/// How a share of requests is answered, without being sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Abort {
    /// How many of them. Default: all.
    pub percent: Percent,
    /// The answer.
    pub with: AbortWith,
}

/// The answer in place of an application's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AbortWith {
    /// This status of HTTP.
    Http(u16),
    /// This status of gRPC, to calls alone.
    Grpc(u8),
}

/// More headers than these no drill is told apart by.
const HEADERS_MAX: usize = 16;
/// What is held longer is no slow server any more, and most callers have given up before.
const DELAY_MAX: Duration = Duration::from_secs(300);
/// More than one proxy can hold; a bound, not a recommendation.
const ACTIVE_MAX: u32 = 10_000;

const FIELDS: Fields = Fields {
    known: &["targetRefs", "match", "delay", "abort", "maxActive"],
    not_yet: &["targetSelectors"],
    ignored: &[],
    no_nulls: true,
};

const ALLOWED: Allowed =
    Allowed { routes: true, not_yet: &[("weft.dev", "ExternalService")], ..Allowed::SERVICES };

pub(crate) fn read(header: Header, at: &At<'_>) -> Option<FaultPolicy> {
    let object = at.object(FIELDS)?;
    let targets = object.need("targetRefs", |at| target::read(at, &header.namespace, ALLOWED));
    let headers = object.or("match", Vec::new(), |at| {
        let object = at.object(fields(&["headers"]).without_nulls())?;
        let why = "leave `match` out for all requests";
        object.need("headers", |at| at.filled_list(HEADERS_MAX, why, read_header))
    });
    let delay = object.maybe("delay", read_delay);
    let abort = object.maybe("abort", read_abort);
    let active_max = object.maybe("maxActive", |at| at.number(1, ACTIVE_MAX));
    let (delay, abort) = (delay?, abort?);
    if delay.is_none() && abort.is_none() {
        return at.error("at least one of delay, abort is required");
    }
    Some(FaultPolicy {
        metadata: header.metadata?,
        targets: targets?,
        headers: headers?,
        delay,
        abort,
        active_max: active_max?,
    })
}

/// A share that hits something.
fn read_percent(at: &At<'_>) -> Option<Percent> {
    Percent::new(at.number(1, 100)?)
}

const ALL: Percent = Percent::new(100).expect("at most 100");

fn read_delay(at: &At<'_>) -> Option<Delay> {
    let object = at.object(fields(&["duration", "percent"]).without_nulls())?;
    let duration = object.need("duration", |at| match at.positive_duration()? {
        long if long > DELAY_MAX => {
            at.error(format!("{} is not allowed, the most is {}", format(long), format(DELAY_MAX)))
        }
        duration => Some(duration),
    });
    let percent = object.or("percent", ALL, read_percent);
    Some(Delay { percent: percent?, duration: duration? })
}

fn read_abort(at: &At<'_>) -> Option<Abort> {
    let object = at.object(fields(&["status", "grpcStatus", "percent"]).without_nulls())?;
    let status = object.maybe("status", |at| at.number(400, 599));
    let grpc = object.maybe("grpcStatus", |at| at.number(1, 16));
    let percent = object.or("percent", ALL, read_percent);
    let with = match (status?, grpc?) {
        (Some(status), None) => AbortWith::Http(status),
        (None, Some(code)) => AbortWith::Grpc(code),
        (Some(_), Some(_)) => {
            return object.field("grpcStatus")?.error_help(
                "cannot stand beside status",
                "calls of gRPC are answered `status` too, in the way that their clients read it",
            );
        }
        (None, None) => return at.error("one of status, grpcStatus is required"),
    };
    Some(Abort { percent: percent?, with })
}

#[cfg(test)]
mod tests;
