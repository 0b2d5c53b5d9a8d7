//! `weft.dev/v1alpha1` BackendPolicy: how clients treat a Service.
//!
//! What is absent here is left to a less specific policy, field by field, and in the end to the
//! defaults; so nothing is filled in.
//!
//! Deliberately absent: keep-alive, refused by name until it is built.

use std::time::Duration;

use crate::balance::{self, LoadBalancing};
use crate::failover::{self, Failover};
use crate::health_check::{self, HealthCheck};
use crate::metadata::{Header, Metadata};
use crate::node::Value;
use crate::reader::{At, Fields, fields};
use crate::session_persistence::{self, SessionPersistence};
use crate::subset::Subset;
use crate::target::{self, Allowed, Target};
use crate::units::{Percent, Ratio};

/// How clients treat a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendPolicy {
    /// What every object has.
    pub metadata: Metadata,
    /// What it is for: Services of its own namespace, all of them, or those of the whole mesh.
    pub targets: Vec<Target>,
    /// How an endpoint is chosen.
    pub load_balancing: Option<LoadBalancing>,
    /// Below which share of healthy endpoints the unhealthy ones are called too; 0 is never.
    pub panic_threshold: Option<Percent>,
    /// Which of the endpoints a request is for.
    pub subset: Option<Subset>,
    /// Over which time the part of an endpoint grows that is new, or back; 0 is none.
    pub slow_start: Option<Duration>,
    /// Whether near endpoints are preferred.
    pub locality: LocalityPreference,
    /// What one client proxy has under way at most.
    pub limits: Limits,
    /// When an endpoint is left out for a while.
    pub ejection: Ejection,
    /// How it is found out whether the applications serve; none where that is not asked for.
    pub health_check: Option<Option<HealthCheck>>,
    /// Which Service takes over where too few endpoints are healthy.
    pub failover: Option<Failover>,
    /// How clients stay with the endpoint that first answered them.
    pub session_persistence: Option<SessionPersistence>,
    /// How much of the traffic may be retries.
    pub retry_budget: RetryBudget,
    /// How long connecting and idling may take.
    pub timeouts: BackendTimeouts,
}

/// Whether near endpoints are preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalityPreference {
    /// How near.
    pub prefer: Option<Prefer>,
    /// How loaded the near ones must be, compared with the average of all, before farther ones
    /// are used; at least 1.
    pub spill_at_load_ratio: Option<Ratio>,
}

/// How near an endpoint is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefer {
    /// Those of the same zone, then of the same region.
    Zone,
    /// Those of the same region.
    Region,
    /// No preference.
    None,
}

/// What one client proxy has under way at most towards the Service; each at least 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limits {
    /// Requests that are being answered.
    pub requests: Option<u32>,
    /// Requests that wait for a connection.
    pub pending: Option<u32>,
    /// Connections.
    pub connections: Option<u32>,
    /// Requests and streams of bytes at one endpoint.
    pub requests_per_endpoint: Option<u32>,
    /// How many times as long as in the long run answers of an endpoint may take before less may be
    /// under way there; none is no such limit.
    pub adaptive_tolerance: Option<Option<Ratio>>,
}

/// When an endpoint is left out for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ejection {
    /// After how many failures in a row; at least 1.
    pub consecutive_failures: Option<u32>,
    /// For how long the first time; it grows from there.
    pub base_time: Option<Duration>,
    /// How many of the endpoints at most; 0 leaves none out.
    pub ejected_max: Option<Percent>,
    /// By how many percent of the requests more may fail than at the peers; 0 is no bound.
    pub failures_above_peers: Option<Percent>,
    /// How many times as long as the peers it may take to answer; none is no bound.
    pub latency_times_peers: Option<Option<Ratio>>,
    /// Over which time endpoints are compared.
    pub interval: Option<Duration>,
    /// How many requests in that time say enough about an endpoint; at least 1.
    pub requests_min: Option<u32>,
}

/// How much of the traffic may be retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetryBudget {
    /// The share of requests.
    pub percent: Option<Percent>,
    /// How many per second are allowed in any case.
    pub per_second_min: Option<u32>,
}

/// How long connecting and idling may take; never zero, since no bound is infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendTimeouts {
    /// How long the TCP connection to an endpoint may take.
    pub connect: Option<Duration>,
    /// How long a connection that is kept for later may be unused before it is closed.
    pub idle: Option<Duration>,
    /// How long an exchange or a stream may go without a byte in either direction.
    pub stream_idle: Option<Duration>,
}

/// More than one proxy can have; a bound, not a recommendation.
const LIMIT_MAX: u32 = 1_000_000;
/// More failures in a row than this is no longer a detector.
const FAILURES_MAX: u32 = 1_000;
/// What takes longer than this to warm up is not started but deployed.
const SLOW_START_MAX: Duration = Duration::from_secs(3600);
/// The largest ratio of loads or latencies; beyond it, nothing would ever follow.
const RATIO_THOUSANDTHS_MAX: u32 = 100_000;
/// How often endpoints can be compared, and how long what was seen of them is worth something.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(600);

const FIELDS: Fields = Fields {
    known: &[
        "targetRefs",
        "loadBalancing",
        "slowStart",
        "locality",
        "limits",
        "ejection",
        "healthCheck",
        "failover",
        "sessionPersistence",
        "retryBudget",
        "timeouts",
    ],
    not_yet: &["keepAlive", "targetSelectors"],
    ignored: &[],
    no_nulls: false,
};

const ALLOWED: Allowed = Allowed { wide: true, external: true, ..Allowed::SERVICES };

pub(crate) fn read(header: Header, at: &At<'_>) -> Option<BackendPolicy> {
    let object = at.object(FIELDS)?;
    let targets = object.need("targetRefs", |at| target::read(at, &header.namespace, ALLOWED));
    let balancing = object.or("loadBalancing", balance::Written::default(), balance::read);
    let slow_start = object.maybe("slowStart", read_slow_start);
    let locality = object.or("locality", LocalityPreference::default(), read_locality);
    let limits = object.or("limits", Limits::default(), read_limits);
    let ejection = object.or("ejection", Ejection::default(), read_ejection);
    let health_check = object.maybe("healthCheck", |at| {
        let is_for_port = |target: &Target| matches!(target, Target::ServicePort(..));
        match targets.iter().flatten().any(is_for_port) {
            false => health_check::read(at),
            true => at.error_help(
                "a policy for one port cannot say it: it is the workload that is healthy or not",
                "say it for the Service, with healthCheck.port",
            ),
        }
    });
    let failover = object.maybe("failover", |at| {
        let is_for_service =
            |target: &Target| matches!(target, Target::Service(_) | Target::ServicePort(..));
        match targets.iter().flatten().all(is_for_service) {
            true => failover::read(at),
            false => at.error("only a policy for Services alone may say what takes over"),
        }
    });
    let session_persistence = object.maybe("sessionPersistence", session_persistence::read);
    let retry_budget = object.or("retryBudget", RetryBudget::default(), read_retry_budget);
    let timeouts = object.or("timeouts", BackendTimeouts::default(), read_timeouts);
    let balance::Written { load_balancing, panic_threshold, subset } = balancing?;
    Some(BackendPolicy {
        metadata: header.metadata?,
        targets: targets?,
        load_balancing,
        panic_threshold,
        subset,
        slow_start: slow_start?.flatten(),
        locality: locality?,
        limits: limits?,
        ejection: ejection?,
        health_check: health_check?,
        failover: failover?,
        session_persistence: session_persistence?,
        retry_budget: retry_budget?,
        timeouts: timeouts?,
    })
}

fn read_slow_start(at: &At<'_>) -> Option<Option<Duration>> {
    let object = at.object(fields(&["window"]))?;
    object.maybe("window", |at| at.within(Duration::ZERO, SLOW_START_MAX))
}

fn read_locality(at: &At<'_>) -> Option<LocalityPreference> {
    let object = at.object(fields(&["prefer", "spillAtLoadRatio"]))?;
    let known = [("Zone", Prefer::Zone), ("Region", Prefer::Region), ("None", Prefer::None)];
    let prefer = object.maybe("prefer", |at| at.choice(&known, &[]));
    let spill = object.maybe("spillAtLoadRatio", read_ratio);
    Some(LocalityPreference { prefer: prefer?, spill_at_load_ratio: spill? })
}

/// A ratio from 1 to 100, with at most three decimals.
fn read_ratio(at: &At<'_>) -> Option<Ratio> {
    let ratio = match at.node.value {
        Value::Float(ratio) => ratio,
        Value::Int(ratio) => ratio as f64,
        _ => return at.error(format!("a number is needed, this is {}", at.node.in_words())),
    };
    if ratio < 1.0 {
        return at.error(format!("{ratio} is not allowed, the least is 1"));
    }
    if ratio * 1000.0 > f64::from(RATIO_THOUSANDTHS_MAX) {
        return at.error(format!(
            "{ratio} is not allowed, the most is {}",
            RATIO_THOUSANDTHS_MAX / 1000
        ));
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
    let thousandths = (ratio * 1000.0).round() as u32;
    if (f64::from(thousandths) - ratio * 1000.0).abs() > 1e-6 {
        return at.error(format!("{ratio} has too many decimals, the most is 3"));
    }
    Some(Ratio::from_thousandths(thousandths))
}

/// The same, or 0 for none.
fn read_ratio_or_none(at: &At<'_>) -> Option<Option<Ratio>> {
    match at.node.value {
        Value::Int(0) => Some(None),
        _ => read_ratio(at).map(Some),
    }
}

fn read_limits(at: &At<'_>) -> Option<Limits> {
    let object = at.object(fields(&[
        "requests",
        "pending",
        "connections",
        "requestsPerEndpoint",
        "adaptiveTolerance",
    ]))?;
    let limit = |at: &At<'_>| at.number(1, LIMIT_MAX);
    let requests = object.maybe("requests", limit);
    let pending = object.maybe("pending", limit);
    let connections = object.maybe("connections", limit);
    let requests_per_endpoint = object.maybe("requestsPerEndpoint", limit);
    let adaptive_tolerance = object.maybe("adaptiveTolerance", read_ratio_or_none);
    Some(Limits {
        requests: requests?,
        pending: pending?,
        connections: connections?,
        requests_per_endpoint: requests_per_endpoint?,
        adaptive_tolerance: adaptive_tolerance?,
    })
}

fn read_ejection(at: &At<'_>) -> Option<Ejection> {
    let object = at.object(fields(&[
        "consecutiveFailures",
        "baseTime",
        "maxEjectedPercent",
        "failuresAbovePeersPercent",
        "latencyTimesPeers",
        "interval",
        "minRequests",
    ]))?;
    let failures = object.maybe("consecutiveFailures", |at| at.number(1, FAILURES_MAX));
    let base_time = object.maybe("baseTime", At::positive_duration);
    let ejected_max = object.maybe("maxEjectedPercent", At::percent);
    let failures_above_peers = object.maybe("failuresAbovePeersPercent", At::percent);
    let latency_times_peers = object.maybe("latencyTimesPeers", read_ratio_or_none);
    let interval = object.maybe("interval", |at| at.within(INTERVAL_MIN, INTERVAL_MAX));
    let requests_min = object.maybe("minRequests", |at| at.number(1, LIMIT_MAX));
    Some(Ejection {
        consecutive_failures: failures?,
        base_time: base_time?,
        ejected_max: ejected_max?,
        failures_above_peers: failures_above_peers?,
        latency_times_peers: latency_times_peers?,
        interval: interval?,
        requests_min: requests_min?,
    })
}

fn read_retry_budget(at: &At<'_>) -> Option<RetryBudget> {
    let object = at.object(fields(&["percent", "minPerSecond"]))?;
    let percent = object.maybe("percent", At::percent);
    let per_second_min = object.maybe("minPerSecond", |at| at.number(0, LIMIT_MAX));
    Some(RetryBudget { percent: percent?, per_second_min: per_second_min? })
}

fn read_timeouts(at: &At<'_>) -> Option<BackendTimeouts> {
    let object = at.object(fields(&["connect", "idle", "streamIdle"]))?;
    let connect = object.maybe("connect", At::positive_duration);
    let idle = object.maybe("idle", At::positive_duration);
    let stream_idle = object.maybe("streamIdle", At::positive_duration);
    Some(BackendTimeouts { connect: connect?, idle: idle?, stream_idle: stream_idle? })
}

#[cfg(test)]
mod tests;
