//! How a backend is treated: each value with the policy and the field that it comes from.

use weft_decide::explain::Stage;
use weft_decide::locality::Reach as Distance;
use weft_model::{
    AgainstPeers, Balance, Ejection, Failover, Limits, SubsetFallback, TrafficPolicy,
};
use weft_proxy::explain::{Endpoint, Way};
use weft_proxy::snapshot::{Destination, DestinationName, ExternalAt};

use super::{Told, passed, written};
use crate::explain::mesh::Mesh;

/// What takes over from `backend`, or why it has taken over from `instead_of`.
pub(super) fn failover(
    mesh: &Mesh,
    backend: &Destination,
    instead_of: Option<&Destination>,
) -> Option<Told> {
    let of = instead_of.unwrap_or(backend);
    let DestinationName::Service(_, port) = &of.name else { return None };
    let Failover { service: other, port: other_port, healthy_min } =
        of.traffic.failover.as_ref()?;
    let percent = healthy_min.get();
    let text = match instead_of {
        Some(of) => format!(
            "to {}, since less than {percent} % of the endpoints of {} are healthy",
            backend.name, of.name
        ),
        None => format!(
            "to {other}:{} while less than {percent} % of the endpoints are healthy",
            other_port.unwrap_or(*port)
        ),
    };
    let because = mesh.traffic_source(&of.name, "spec.failover").into_iter().collect();
    Some(passed(Stage::Failover, text, because))
}

/// How the backend is treated besides.
pub(super) fn traffic(mesh: &Mesh, backend: &Destination, is_http: bool, way: &Way) -> Vec<Told> {
    let name = &backend.name;
    if !matches!(name, DestinationName::Service(..) | DestinationName::External(..)) {
        return vec![];
    }
    let setting = |stage, text: String, fields: &[&'static str]| {
        let because: Vec<_> =
            fields.iter().filter_map(|field| mesh.traffic_source(name, field)).collect();
        let text = if because.is_empty() { format!("{text} (default)") } else { text };
        passed(stage, text, because)
    };
    let TrafficPolicy {
        balance, subset, slow_start, session, limits, retry_budget, timeouts, ..
    } = &backend.traffic;
    let hashed = way.hashed.as_ref();
    let mut how = match hashed {
        Some(hash_on) => format!("by {balance} of {hash_on}"),
        None if balance.hash_on().is_empty() => format!("by {balance}"),
        None => format!("by {}, as {balance} finds nothing to hash", Balance::default()),
    };
    if let Some(window) = slow_start.filter(|_| hashed.is_none()) {
        how.push_str(&format!(", to a new one over {}", written(window.duration())));
    }
    if let Some(session) = session.as_ref().filter(|_| is_http) {
        how.push_str(&format!(
            "; who was answered stays with its endpoint, by {}",
            session.carrier
        ));
    }
    if !way.wanted.is_empty() {
        let or_else = match subset.as_ref().map(|subset| subset.fallback) {
            None | Some(SubsetFallback::None) => "",
            Some(SubsetFallback::Default) => ", or else what is the default",
            Some(SubsetFallback::Any) => ", or else any",
        };
        how.push_str(&format!("; one with {}{or_else}", way.wanted));
    }
    let fields = [
        "spec.loadBalancing.algorithm",
        "spec.loadBalancing.subset",
        "spec.slowStart.window",
        "spec.sessionPersistence",
    ];
    let balancing = setting(Stage::Balancing, how, &fields);
    let ejection = match name {
        DestinationName::External(_, ExternalAt::Address(_), _) => passed(
            Stage::Ejection,
            "never, as there is no other in the place of an address",
            vec![],
        ),
        _ => setting(Stage::Ejection, ejected(&backend.traffic), &EJECTION),
    };
    if !is_http {
        let text = format!(
            "{} to connect, {} without a byte in either direction",
            written(timeouts.connect.duration()),
            written(timeouts.stream_idle.duration())
        );
        let fields = ["spec.timeouts.connect", "spec.timeouts.streamIdle"];
        let per_endpoint = per_endpoint(limits);
        let connections =
            format!("{} connections from one caller{per_endpoint}", limits.connections);
        return vec![
            setting(Stage::Timeouts, text, &fields),
            setting(
                Stage::Limits,
                connections,
                &[
                    "spec.limits.connections",
                    "spec.limits.requestsPerEndpoint",
                    "spec.limits.adaptiveTolerance",
                ],
            ),
            ejection,
            balancing,
        ];
    }
    vec![
        setting(
            Stage::Timeouts,
            format!(
                "{} to connect, {} without a byte in either direction, {} without use of a \
                 connection",
                written(timeouts.connect.duration()),
                written(timeouts.stream_idle.duration()),
                written(timeouts.idle.duration())
            ),
            &["spec.timeouts.connect", "spec.timeouts.streamIdle", "spec.timeouts.idle"],
        ),
        setting(
            Stage::Retry,
            format!(
                "at most {} % of the requests are retries, or {} in a second",
                retry_budget.percent.get(),
                retry_budget.per_second_min
            ),
            &["spec.retryBudget.percent", "spec.retryBudget.minPerSecond"],
        ),
        setting(
            Stage::Limits,
            format!(
                "{} requests under way from one caller, {} waiting, {} connections{}",
                limits.requests,
                limits.pending,
                limits.connections,
                per_endpoint(limits)
            ),
            &[
                "spec.limits.requests",
                "spec.limits.pending",
                "spec.limits.connections",
                "spec.limits.requestsPerEndpoint",
                "spec.limits.adaptiveTolerance",
            ],
        ),
        ejection,
        balancing,
    ]
}

/// How much may be under way at one endpoint, where that is limited.
fn per_endpoint(limits: &Limits) -> String {
    let mut text = String::new();
    if let Some(most) = limits.requests_per_endpoint {
        text.push_str(&format!(", {most} requests at one endpoint"));
    }
    if limits.adaptive_tolerance.is_some() {
        text.push_str(", at one endpoint as many as its latency lets");
    }
    text
}

/// The fields that say when an endpoint is ejected.
const EJECTION: [&str; 8] = [
    "spec.ejection.consecutiveFailures",
    "spec.ejection.failuresAbovePeersPercent",
    "spec.ejection.latencyTimesPeers",
    "spec.ejection.interval",
    "spec.ejection.minRequests",
    "spec.ejection.baseTime",
    "spec.ejection.maxEjectedPercent",
    "spec.loadBalancing.panicThresholdPercent",
];

/// When an endpoint is ejected.
fn ejected(traffic: &TrafficPolicy) -> String {
    let panic = match traffic.panic_threshold.0.get() {
        0 => "the unhealthy are never called".to_owned(),
        least => format!("all are called if less than {least} % are healthy"),
    };
    let Ejection { consecutive_failures, base_time, ejected_max, peers } = &traffic.ejection;
    if ejected_max.get() == 0 {
        return format!("never; {panic}");
    }
    let AgainstPeers { interval, requests_min, failures, latency } = peers;
    let mut text = format!("after {consecutive_failures} failures in a row");
    let mut worse = Vec::new();
    if failures.get() > 0 {
        worse.push(format!("{} % more of its requests fail than its peers'", failures.get()));
    }
    if let Some(times) = latency {
        worse.push(format!("it takes {} times as long as its peers", times.as_f64()));
    }
    if !worse.is_empty() {
        let interval = written(interval.duration());
        let worse = worse.join(" or ");
        text.push_str(&format!(", or where {worse}, in {interval} and {requests_min} requests"));
    }
    let base_time = written(base_time.duration());
    text.push_str(&format!(
        "; for {base_time} and longer, at most {} % of the endpoints; {panic}",
        ejected_max.get()
    ));
    text
}

/// How far away its endpoints are used.
pub(super) fn locality(mesh: &Mesh, backend: &Destination, endpoints: &[Endpoint]) -> Told {
    let preferred = endpoints.iter().filter(|endpoint| endpoint.is_preferred);
    let farthest = preferred.map(|endpoint| endpoint.distance).max();
    let near = |place: &str| {
        let ratio = backend.traffic.locality.spill_at_load_ratio.as_f64();
        format!(
            "endpoints of the same {place}, unless they have more than {ratio} times the average load"
        )
    };
    let text = match farthest {
        Some(Distance::Zone) => near("zone"),
        Some(Distance::Region) => near("region"),
        Some(Distance::All) | None => "endpoints wherever they are".to_owned(),
    };
    let fields = ["spec.locality.prefer", "spec.locality.spillAtLoadRatio"];
    let source = |field: &&'static str| mesh.traffic_source(&backend.name, field);
    let because = fields.iter().filter_map(source).collect();
    passed(Stage::Locality, text, because)
}
