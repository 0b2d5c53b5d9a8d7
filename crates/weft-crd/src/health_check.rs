//! `healthCheck` of a BackendPolicy: how it is found out whether applications serve.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::duration::format;
use crate::names;
use crate::reader::{At, check_unique, fields};
use crate::units::Port;

/// How it is found out whether the applications of a Service serve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HealthCheck {
    /// What they are asked.
    pub probe: Probe,
    /// The port of the Service that leads to the one that is asked. Absent: its first.
    pub port: Option<Port>,
    /// How often. Default: 5 s, so that with three failures it takes some ten seconds to notice.
    pub interval: Duration,
    /// How long an answer may take; no longer than the interval. Default: 1 s, as for probes of
    /// Kubernetes.
    pub timeout: Duration,
    /// After how many failures in a row it counts as unhealthy. Default: 3, as in Kubernetes.
    pub failure_threshold: NonZeroU32,
    /// After how many successes in a row it counts as healthy again. Default: 1, as in Kubernetes.
    pub success_threshold: NonZeroU32,
}

/// What an application is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// A GET.
    Http {
        /// For this path.
        path: String,
        /// What the answer may be. None: 200 to 299.
        expected_statuses: Vec<u16>,
    },
    /// The health protocol of gRPC.
    Grpc {
        /// For this service. Empty: the whole server.
        service: String,
    },
    /// A connection.
    Tcp,
}

/// More often than this is load, and less often no check.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(600);
const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(1);
const FAILURES: NonZeroU32 = NonZeroU32::new(3).expect("not zero");
const SUCCESSES: NonZeroU32 = NonZeroU32::new(1).expect("not zero");
/// More in a row than this is no longer a check.
const THRESHOLD_MAX: u32 = 100;
/// As many as there are statuses.
const STATUSES_MAX: usize = 400;
/// Longer than any name of a service of gRPC.
const SERVICE_BYTES_MAX: usize = 256;

pub(crate) fn read(at: &At<'_>) -> Option<Option<HealthCheck>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Type {
        Http,
        Grpc,
        Tcp,
        None,
    }
    let object = at.object(fields(&[
        "type",
        "path",
        "expectedStatuses",
        "service",
        "port",
        "interval",
        "timeout",
        "failureThreshold",
        "successThreshold",
    ]))?;
    let known =
        [("HTTP", Type::Http), ("GRPC", Type::Grpc), ("TCP", Type::Tcp), ("None", Type::None)];
    let of_type = object.need("type", |at| at.choice(&known, &[]))?;
    let only = |names: &[&'static str], whose: Type, words: &str| {
        let wrong = names.iter().filter(|_| of_type != whose).find_map(|name| object.field(name));
        wrong.map_or(Some(()), |at| at.error(format!("is for {words} only")))
    };
    let is_http = only(&["path", "expectedStatuses"], Type::Http, "HTTP");
    let is_grpc = only(&["service"], Type::Grpc, "GRPC");
    is_http.and(is_grpc)?;
    let probe = match of_type {
        Type::None => None,
        Type::Tcp => Some(Probe::Tcp),
        Type::Grpc => {
            let service = object.or("service", String::new(), read_service)?;
            Some(Probe::Grpc { service })
        }
        Type::Http => {
            let path = object.need("path", |at| {
                at.parsed(|text| names::http_path(text).map(|()| text.to_owned()))
            });
            let statuses = object.or("expectedStatuses", Vec::new(), read_statuses);
            Some(Probe::Http { path: path?, expected_statuses: statuses? })
        }
    };
    let port = object.maybe("port", At::port);
    let interval = object.or("interval", INTERVAL, |at| at.within(INTERVAL_MIN, INTERVAL_MAX));
    let timeout = object.or("timeout", TIMEOUT, At::positive_duration);
    let threshold = |at: &At<'_>| NonZeroU32::new(at.number(1, THRESHOLD_MAX)?);
    let failure_threshold = object.or("failureThreshold", FAILURES, threshold);
    let success_threshold = object.or("successThreshold", SUCCESSES, threshold);
    let (interval, timeout) = (interval?, timeout?);
    if let Some(at) = object.field("timeout").filter(|_| timeout > interval) {
        let (timeout, interval) = (format(timeout), format(interval));
        return at.error(format!("{timeout} is not allowed, the interval is {interval}"));
    }
    let Some(probe) = probe else { return Some(None) };
    Some(Some(HealthCheck {
        probe,
        port: port?,
        interval,
        timeout,
        failure_threshold: failure_threshold?,
        success_threshold: success_threshold?,
    }))
}

fn read_service(at: &At<'_>) -> Option<String> {
    at.text_within(SERVICE_BYTES_MAX)?;
    at.parsed(|text| match text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("may hold no spaces, and of letters only those of ASCII".to_owned()),
    })
}

fn read_statuses(at: &At<'_>) -> Option<Vec<u16>> {
    let statuses: Vec<u16> =
        at.filled_list(STATUSES_MAX, "an answer has a status", |at| at.number(200, 599))?;
    let placed = at.items(STATUSES_MAX)?.into_iter().zip(&statuses);
    let unique = check_unique(placed, |code, first| format!("{code} is already listed as {first}"));
    unique.then_some(statuses)
}

#[cfg(test)]
mod tests;
