//! The table of metrics: names, types, units and labels. `docs/metrics.md` says the same to people.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts durations in buckets.
    Histogram,
}

impl Kind {
    /// As the text formats call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A metric, without its values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its unit, which its name says too; empty for plain numbers.
    pub(crate) unit: &'static str,
    /// Its labels, in the order of the values of a series.
    pub(crate) labels: &'static [&'static str],
    /// A sentence for people.
    pub(crate) help: &'static str,
}

const fn family(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind, unit, labels, help }
}

/// Counted in cells by workers: each is the metric of that name in the table behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counted {
    Requests,
    RequestBytes,
    TcpConnections,
    TcpBytes,
    Retries,
    Refusals,
    Connections,
    ConnectionsOpen,
    Ejections,
    EndpointsEjected,
    HealthChecks,
    Mirrored,
    DnsQueries,
    Lookups,
    Audited,
    Faults,
}

/// How many of them there are.
pub(crate) const COUNTED_LEN: usize = 16;

/// What [`Counted`] names, in its order.
static COUNTED: [Family; COUNTED_LEN] = [
    family(
        "weft_requests_total",
        Kind::Counter,
        "",
        &[
            "direction",
            "protocol",
            "service",
            "route",
            "peer",
            "status_class",
            "status",
            "grpc_status",
            "reason",
        ],
        "Requests that have ended.",
    ),
    family(
        "weft_request_bytes_total",
        Kind::Counter,
        "bytes",
        &["direction", "protocol", "service", "route", "peer", "flow"],
        "Bytes of the bodies of requests (received) and of their answers (sent).",
    ),
    family(
        "weft_tcp_connections_total",
        Kind::Counter,
        "",
        &["direction", "protocol", "service", "route", "peer", "reason"],
        "Connections that have ended and whose bytes were not looked into, or that never got so far.",
    ),
    family(
        "weft_tcp_bytes_total",
        Kind::Counter,
        "bytes",
        &["direction", "protocol", "service", "route", "peer", "flow"],
        "Bytes that callers sent (received) and were sent (sent) over such connections.",
    ),
    family(
        "weft_retries_total",
        Kind::Counter,
        "",
        &["service", "route", "outcome"],
        "Attempts beyond the first, by what became of the request in the end, and attempts denied.",
    ),
    family(
        "weft_refusals_total",
        Kind::Counter,
        "",
        &["direction", "route", "peer", "reason"],
        "Requests and connections that Weft itself refused or ended.",
    ),
    family(
        "weft_connections_total",
        Kind::Counter,
        "",
        &["direction"],
        "Connections taken from callers.",
    ),
    family(
        "weft_connections_open",
        Kind::Gauge,
        "",
        &["direction"],
        "Connections taken from callers that are open.",
    ),
    family(
        "weft_ejections_total",
        Kind::Counter,
        "",
        &["service", "cause"],
        "Times that an endpoint was ejected since it failed, or was worse than its peers.",
    ),
    family(
        "weft_endpoints_ejected",
        Kind::Gauge,
        "",
        &["service"],
        "Endpoints that are ejected now.",
    ),
    family(
        "weft_health_checks_total",
        Kind::Counter,
        "",
        &["port", "outcome"],
        "Checks of the own application.",
    ),
    family(
        "weft_mirrored_requests_total",
        Kind::Counter,
        "",
        &["service", "outcome"],
        "Copies of requests that have ended, by what became of them.",
    ),
    family(
        "weft_dns_queries_total",
        Kind::Counter,
        "",
        &["answer"],
        "Queries of the own command for names, by who answered them, and how.",
    ),
    family(
        "weft_outside_lookups_total",
        Kind::Counter,
        "",
        &["outcome"],
        "Times that DNS was asked where a host outside of the mesh is, by what it said.",
    ),
    family(
        "weft_audited_total",
        Kind::Counter,
        "",
        &["policy"],
        "Requests and connections that a policy would have refused if it was not in audit.",
    ),
    family(
        "weft_faults_total",
        Kind::Counter,
        "",
        &["policy", "fault"],
        "Faults that were put into requests on purpose, and those that were not for want of a place.",
    ),
];

impl Counted {
    /// All of them.
    pub(crate) const ALL: [Counted; COUNTED_LEN] = [
        Counted::Requests,
        Counted::RequestBytes,
        Counted::TcpConnections,
        Counted::TcpBytes,
        Counted::Retries,
        Counted::Refusals,
        Counted::Connections,
        Counted::ConnectionsOpen,
        Counted::Ejections,
        Counted::EndpointsEjected,
        Counted::HealthChecks,
        Counted::Mirrored,
        Counted::DnsQueries,
        Counted::Lookups,
        Counted::Audited,
        Counted::Faults,
    ];

    /// Its row in the table.
    pub(crate) fn family(self) -> &'static Family {
        &COUNTED[self as usize]
    }
}

pub(crate) static DURATIONS: Family = family(
    "weft_request_duration_seconds",
    Kind::Histogram,
    "seconds",
    &["direction", "protocol", "service", "route", "peer", "status_class"],
    "Time from the first byte of a request to the end of its answer.",
);

pub(crate) static SERIES_CAPPED: Family = family(
    "weft_metrics_series_capped_total",
    Kind::Counter,
    "",
    &["metric"],
    "Label sets that were counted under the labels other, since the metric has its most series.",
);

pub(crate) static BACKEND_IN_USE: Family = family(
    "weft_backend_in_use",
    Kind::Gauge,
    "",
    &["service", "port", "limit"],
    "Requests, requests that wait and connections that are under way towards a backend.",
);

pub(crate) static BACKEND_LIMIT: Family = family(
    "weft_backend_limit",
    Kind::Gauge,
    "",
    &["service", "port", "limit"],
    "How many of these may be under way.",
);

pub(crate) static BACKEND_ATTEMPTS: Family = family(
    "weft_backend_attempts_total",
    Kind::Counter,
    "",
    &["service", "port", "locality"],
    "Attempts at the endpoints of a backend, by where they are as seen from here.",
);

pub(crate) static BACKEND_CONNECTIONS: Family = family(
    "weft_backend_connections_total",
    Kind::Counter,
    "",
    &["service", "port"],
    "Connections that were opened to the endpoints of a backend.",
);

pub(crate) static MEMORY_USED: Family = family(
    "weft_memory_used_bytes",
    Kind::Gauge,
    "bytes",
    &[],
    "Memory that counts towards the limit of the control group.",
);

pub(crate) static MEMORY_LIMIT: Family = family(
    "weft_memory_limit_bytes",
    Kind::Gauge,
    "bytes",
    &[],
    "The limit of the control group on memory.",
);

pub(crate) static MEMORY_PRESSURE: Family = family(
    "weft_memory_pressure",
    Kind::Gauge,
    "",
    &[],
    "0 while all is taken, 1 while new requests are refused, 2 while new connections wait as well.",
);

pub(crate) static ACCESS_LOG_LINES: Family = family(
    "weft_access_log_lines_total",
    Kind::Counter,
    "",
    &[],
    "Lines of the access log that were given to be written.",
);

pub(crate) static CERTIFICATE_EXPIRY: Family = family(
    "weft_certificate_expiry_timestamp_seconds",
    Kind::Gauge,
    "seconds",
    &[],
    "When the own certificate ends, as Unix time.",
);

pub(crate) static CONFIG_AGE: Family = family(
    "weft_config_age_seconds",
    Kind::Gauge,
    "seconds",
    &[],
    "Time since the configuration was last known to be up to date.",
);

pub(crate) static CONFIG_LAST_CHANGE: Family = family(
    "weft_config_last_change_timestamp_seconds",
    Kind::Gauge,
    "seconds",
    &[],
    "When the configuration last changed, as Unix time.",
);

pub(crate) static CONTROL_CONNECTED: Family = family(
    "weft_control_connected",
    Kind::Gauge,
    "",
    &[],
    "1 while there is a connection to the control plane, else 0.",
);

pub(crate) static ACCESS_LOG_DROPPED: Family = family(
    "weft_access_log_dropped_total",
    Kind::Counter,
    "",
    &[],
    "Lines of the access log, and of what the proxy says beside it, that were dropped since nobody took them in time.",
);

pub(crate) static BUILD_INFO: Family = family(
    "weft_build_info",
    Kind::Gauge,
    "",
    &["version", "revision"],
    "Always 1; the labels say what is running.",
);

pub(crate) static PROCESS_START: Family = family(
    "process_start_time_seconds",
    Kind::Gauge,
    "seconds",
    &[],
    "When the process began, as Unix time.",
);

pub(crate) static PROCESS_MEMORY: Family = family(
    "process_resident_memory_bytes",
    Kind::Gauge,
    "bytes",
    &[],
    "Memory of the process that is in RAM.",
);

pub(crate) static PROCESS_FDS: Family =
    family("process_open_fds", Kind::Gauge, "", &[], "Open file descriptors.");

pub(crate) static PROCESS_CPU: Family = family(
    "process_cpu_seconds_total",
    Kind::Counter,
    "seconds",
    &[],
    "CPU time that the process used, in user and system mode.",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<&'static Family> {
        let counted = Counted::ALL.into_iter().map(Counted::family);
        let others = [
            &DURATIONS,
            &SERIES_CAPPED,
            &BACKEND_IN_USE,
            &BACKEND_LIMIT,
            &BACKEND_ATTEMPTS,
            &BACKEND_CONNECTIONS,
            &MEMORY_USED,
            &MEMORY_LIMIT,
            &MEMORY_PRESSURE,
            &ACCESS_LOG_LINES,
            &CERTIFICATE_EXPIRY,
            &CONFIG_AGE,
            &CONFIG_LAST_CHANGE,
            &CONTROL_CONNECTED,
            &ACCESS_LOG_DROPPED,
            &BUILD_INFO,
            &PROCESS_START,
            &PROCESS_MEMORY,
            &PROCESS_FDS,
            &PROCESS_CPU,
        ];
        counted.chain(others).collect()
    }

    #[test]
    fn every_counted_family_is_in_its_place() {
        for (place, counted) in Counted::ALL.into_iter().enumerate() {
            assert_eq!(counted as usize, place);
        }
        assert_eq!(Counted::EndpointsEjected.family().name, "weft_endpoints_ejected");
        assert_eq!(Counted::Retries.family().name, "weft_retries_total");
    }

    #[test]
    fn names_follow_the_conventions() {
        for Family { name, kind, unit, help, .. } in all() {
            let is_total = name.ends_with("_total");
            assert_eq!(*kind == Kind::Counter, is_total, "{name}");
            let base = name.trim_end_matches("_total");
            assert!(base.ends_with(unit), "{name} does not say its unit, {unit}");
            assert!(help.ends_with('.') && !help.contains(['\\', '\n', '"']), "{name}: {help}");
        }
    }

    #[test]
    fn every_metric_is_documented_with_type_unit_and_labels() {
        let page = include_str!("../../../../docs/metrics.md");
        for Family { name, kind, unit, labels, .. } in all() {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            let unit = if unit.is_empty() { "–" } else { unit };
            let row = format!("| `{name}` | {} | {unit} | {labels} |", kind.name());
            assert!(page.contains(&row), "docs/metrics.md has no row `{row}`: write it");
        }
        let is_row = |line: &&str| line.starts_with("| `weft_") || line.starts_with("| `process_");
        assert_eq!(page.lines().filter(is_row).count(), all().len());
    }
}
