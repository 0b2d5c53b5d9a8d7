//! A route, on the wire.

mod filters;
mod matches;

use std::collections::BTreeSet;

use prost::{Message, Oneof};
use weft_model::{
    Backend, ObjectName, Parent, Retry, RetryStatus, Route, RouteName, RouteParent, RouteRule,
    TimeBound, Timeouts, Weight, WeightedBackend, is_subdomain,
};

use self::filters::FilterMessage;
use self::matches::MatchMessage;
use super::common::{from_port, list, needed, to_bound, to_port};
use super::fault::FaultMessage;
use crate::error::{At, FieldError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct RouteBody {
    #[prost(sint64, tag = "1")]
    created: i64,
    #[prost(message, repeated, tag = "2")]
    parents: Vec<ParentMessage>,
    #[prost(string, repeated, tag = "3")]
    hostnames: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    rules: Vec<RuleMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ParentMessage {
    /// Empty where it is no Service.
    #[prost(string, tag = "1")]
    service: String,
    #[prost(uint32, optional, tag = "2")]
    port: Option<u32>,
    /// An ExternalService, in the place of a Service.
    #[prost(string, optional, tag = "3")]
    external: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct RuleMessage {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    matches: Vec<MatchMessage>,
    #[prost(message, repeated, tag = "3")]
    backends: Vec<BackendMessage>,
    #[prost(uint64, optional, tag = "4")]
    request_ms_max: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    attempt_ms_max: Option<u64>,
    #[prost(message, optional, tag = "6")]
    retry: Option<RetryMessage>,
    #[prost(message, repeated, tag = "7")]
    filters: Vec<FilterMessage>,
    #[prost(message, repeated, tag = "8")]
    faults: Vec<FaultMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct BackendMessage {
    #[prost(oneof = "BackendKind", tags = "1, 2, 5")]
    backend: Option<BackendKind>,
    #[prost(uint32, tag = "3")]
    weight: u32,
    #[prost(message, repeated, tag = "4")]
    filters: Vec<FilterMessage>,
}

#[derive(Clone, PartialEq, Oneof)]
enum BackendKind {
    #[prost(message, tag = "1")]
    Service(ServiceReference),
    #[prost(string, tag = "2")]
    Missing(String),
    #[prost(message, tag = "5")]
    External(ServiceReference),
}

#[derive(Clone, PartialEq, Message)]
struct ServiceReference {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    port: u32,
}

#[derive(Clone, PartialEq, Message)]
struct RetryMessage {
    #[prost(uint32, tag = "1")]
    retries_max: u32,
    #[prost(uint32, repeated, tag = "2")]
    statuses: Vec<u32>,
    #[prost(uint64, tag = "3")]
    backoff_base_ms: u64,
    #[prost(uint64, tag = "4")]
    backoff_ms_max: u64,
}

/// The part of a route that says what it is attached to. It stays where it is in all releases, so
/// that who cannot read the rest knows for whom something is missing.
#[derive(Clone, PartialEq, Message)]
struct RouteParents {
    #[prost(message, repeated, tag = "2")]
    parents: Vec<ParentMessage>,
}

/// The Services that the route is attached to whose body this is, as far as they can be read.
pub(super) fn services_of(body: &[u8]) -> BTreeSet<ObjectName> {
    let RouteParents { parents } = RouteParents::decode(body).unwrap_or_default();
    parents.iter().filter_map(|parent| parent.service.parse().ok()).collect()
}

impl From<&Route> for RouteBody {
    fn from(route: &Route) -> RouteBody {
        let Route { name: _, created, parents, hostnames, rules } = route;
        RouteBody {
            created: *created,
            parents: parents.iter().map(ParentMessage::new).collect(),
            hostnames: hostnames.iter().cloned().collect(),
            rules: rules.iter().map(RuleMessage::new).collect(),
        }
    }
}

impl RouteBody {
    pub(super) fn check(self, name: RouteName) -> Result<Route, FieldError> {
        let RouteBody { created, parents, hostnames, rules } = self;
        Ok(Route {
            name,
            created,
            parents: list("parents", parents, ParentMessage::check)?,
            hostnames: list("hostnames", hostnames, to_hostname)?,
            rules: list("rules", rules, RuleMessage::check)?,
        })
    }
}

impl ParentMessage {
    fn new(parent: &RouteParent) -> ParentMessage {
        let RouteParent { parent, port } = parent;
        let (service, external) = match parent {
            Parent::Service(name) => (name.to_string(), None),
            Parent::External(name) => (String::new(), Some(name.to_string())),
        };
        ParentMessage { service, port: port.map(from_port), external }
    }

    fn check(self) -> Result<RouteParent, FieldError> {
        let ParentMessage { service, port, external } = self;
        let parent = match external {
            None => Parent::Service(service.parse().at("service")?),
            Some(_) if !service.is_empty() => {
                return Err(FieldError::new("is both a Service and an ExternalService"));
            }
            Some(external) => Parent::External(external.parse().at("external")?),
        };
        Ok(RouteParent { parent, port: port.map(to_port).transpose().at("port")? })
    }
}

impl RuleMessage {
    fn new(rule: &RouteRule) -> RuleMessage {
        let RouteRule { name, matches, filters, backends, timeouts, retry, faults } = rule;
        RuleMessage {
            name: name.clone(),
            matches: matches.iter().map(MatchMessage::new).collect(),
            backends: backends.iter().map(BackendMessage::new).collect(),
            request_ms_max: timeouts.request().map(TimeBound::millis),
            attempt_ms_max: timeouts.attempt().map(TimeBound::millis),
            retry: retry.as_ref().map(RetryMessage::new),
            filters: filters.iter().map(FilterMessage::new).collect(),
            faults: faults.iter().map(FaultMessage::new).collect(),
        }
    }

    fn check(self) -> Result<RouteRule, FieldError> {
        let timeouts = self.timeouts()?;
        let RuleMessage { name, matches, backends, retry, filters, faults, .. } = self;
        Ok(RouteRule {
            name,
            matches: list("matches", matches, MatchMessage::check)?,
            filters: list("filters", filters, FilterMessage::check)?,
            backends: list("backends", backends, BackendMessage::check)?,
            timeouts,
            retry: retry.map(RetryMessage::check).transpose().at("retry")?,
            faults: list("faults", faults, FaultMessage::check)?,
        })
    }

    fn timeouts(&self) -> Result<Timeouts, FieldError> {
        let request = self.request_ms_max.map(to_bound).transpose().at("request_ms_max")?;
        let attempt = self.attempt_ms_max.map(to_bound).transpose().at("attempt_ms_max")?;
        Timeouts::new(request, attempt).at("attempt_ms_max")
    }
}

impl BackendMessage {
    fn new(backend: &WeightedBackend) -> BackendMessage {
        let WeightedBackend { backend, weight, filters } = backend;
        BackendMessage {
            backend: Some(BackendKind::new(backend)),
            weight: weight.get(),
            filters: filters.iter().map(FilterMessage::new).collect(),
        }
    }

    fn check(self) -> Result<WeightedBackend, FieldError> {
        let BackendMessage { backend, weight, filters } = self;
        let backend = needed("backend", backend)?.check()?;
        let filters = list("filters", filters, FilterMessage::check_of_backend)?;
        Ok(WeightedBackend { backend, weight: Weight::new(weight).at("weight")?, filters })
    }
}

impl BackendKind {
    fn new(backend: &Backend) -> BackendKind {
        match backend {
            Backend::Service { name, port } => BackendKind::Service(ServiceReference {
                name: name.to_string(),
                port: from_port(*port),
            }),
            Backend::External { name, port } => BackendKind::External(ServiceReference {
                name: name.to_string(),
                port: from_port(*port),
            }),
            Backend::Missing { reason } => BackendKind::Missing(reason.clone()),
        }
    }

    fn check(self) -> Result<Backend, FieldError> {
        Ok(match self {
            BackendKind::Service(ServiceReference { name, port }) => Backend::Service {
                name: name.parse().at("service.name")?,
                port: to_port(port).at("service.port")?,
            },
            BackendKind::External(ServiceReference { name, port }) => Backend::External {
                name: name.parse().at("external.name")?,
                port: to_port(port).at("external.port")?,
            },
            BackendKind::Missing(reason) => Backend::Missing { reason },
        })
    }
}

impl RetryMessage {
    fn new(retry: &Retry) -> RetryMessage {
        let Retry { retries_max, statuses, backoff_base, backoff_max } = retry;
        RetryMessage {
            retries_max: *retries_max,
            statuses: statuses.iter().map(|status| status.get().into()).collect(),
            backoff_base_ms: backoff_base.millis(),
            backoff_ms_max: backoff_max.millis(),
        }
    }

    fn check(self) -> Result<Retry, FieldError> {
        let RetryMessage { retries_max, statuses, backoff_base_ms, backoff_ms_max } = self;
        let status = |code: u32| {
            let narrow = u16::try_from(code).map_err(|_| FieldError::new("is not a status"))?;
            Ok(RetryStatus::new(narrow)?)
        };
        Ok(Retry {
            retries_max,
            statuses: list("statuses", statuses, status)?,
            backoff_base: to_bound(backoff_base_ms).at("backoff_base_ms")?,
            backoff_max: to_bound(backoff_ms_max).at("backoff_ms_max")?,
        })
    }
}

/// A host, of which the first label may be `*`.
fn to_hostname(text: String) -> Result<String, FieldError> {
    if !is_subdomain(text.strip_prefix("*.").unwrap_or(&text)) {
        return Err(FieldError::new(format!("{} is not a host", crate::shown(&text))));
    }
    Ok(text)
}
