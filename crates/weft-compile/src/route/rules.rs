//! The rules of a route.

use std::collections::BTreeSet;

use weft_crd as crd;
use weft_model::{
    Backend, CallMatch, ExactValue, HeaderMatch, HeaderName, HttpPath, Method, ObjectName, Parent,
    PathMatch, Protocol, QueryMatch, RegexText, Retry, RetryStatus, RouteKind, RouteMatch,
    RouteParent, RouteRule, TimeBound, Timeouts, ValueMatch, Weight, WeightedBackend,
};

use super::filters;
use super::parent::spoken;
use crate::backend_tls_policy;
use crate::fault_policy;
use crate::findings::Findings;
use crate::reader::Reader;
use crate::service::{declared, to_port};
use crate::status::Condition;

/// The rules of `route`, which `parents` take, and whether all their backends are there.
///
/// # Errors
/// In words, if a rule cannot be said on the wire.
pub(super) fn convert(
    reader: &Reader<'_>,
    (kind, route): (RouteKind, &crd::Route),
    parents: &BTreeSet<RouteParent>,
    findings: &mut Findings<'_>,
) -> Result<(Vec<RouteRule>, Condition), String> {
    let mut rules = Vec::new();
    let mut unresolved: Option<&'static str> = None;
    let crd::Metadata { namespace: own, name: own_name, .. } = &route.metadata;
    let from = From { kind, own, called: only_external(parents) };
    for (index, rule) in route.rules.iter().enumerate() {
        let crd::RouteRule { name, matches, filters, backends, timeouts, retry } = rule;
        let mut or_missing = |resolved: Result<_, (&'static str, String)>, part: String, so| {
            resolved.unwrap_or_else(|(reason, message)| {
                let path = format!("spec.rules[{index}].{part}");
                findings.error(&path, format!("{message}: {so}"));
                unresolved.get_or_insert(reason);
                Backend::Missing { reason: message }
            })
        };
        let mut compiled = Vec::new();
        for (at, backend) in backends.iter().enumerate() {
            let crd::BackendRef { kind: of, namespace, name, weight, filters } = backend;
            let resolved = resolve(reader, &from, (of, namespace, name));
            let so = match weight {
                0 => "its weight is 0, so that nothing is sent there anyway",
                _ => share_without_backend(kind),
            };
            let backend = or_missing(resolved, format!("backendRefs[{at}]"), so);
            // Only rules have mirrors.
            let no_mirror =
                |_, mirror: &crd::Mirror| Backend::Missing { reason: mirror.name.clone() };
            let filters = filters::convert(filters, no_mirror)?;
            let weight = Weight::new(*weight).map_err(|error| error.to_string())?;
            compiled.push(WeightedBackend { backend, weight, filters });
        }
        let filters = filters::convert(filters, |at, mirror| {
            let crd::Mirror { kind: of, namespace, name, share: _ } = mirror;
            let resolved = resolve(reader, &from, (of, namespace, name));
            let part = format!("filters[{at}].requestMirror.backendRef");
            or_missing(resolved, part, "nothing is sent there")
        })?;
        rules.push(RouteRule {
            name: name.clone(),
            matches: matches.iter().map(to_match).collect::<Result<_, _>>()?,
            filters,
            backends: compiled,
            timeouts: to_timeouts(timeouts)?,
            retry: retry.as_ref().map(to_retry).transpose()?,
            faults: fault_policy::of_rule(reader, kind, (own, own_name), name.as_deref()),
        });
    }
    let condition = match unresolved {
        None => Condition::resolved(true, "ResolvedRefs"),
        Some(reason) => Condition::resolved(false, reason),
    };
    Ok((rules, condition))
}

fn share_without_backend(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Grpc => "its share is answered with UNAVAILABLE",
        RouteKind::Http => "its share is answered with 500",
        RouteKind::Tls | RouteKind::Tcp => "its share is closed",
    }
}

/// The route that backends are of.
struct From<'r> {
    kind: RouteKind,
    /// Its namespace.
    own: &'r str,
    /// The ExternalService that is called wherever it holds, if it is for one alone.
    called: Option<ObjectName>,
}

/// The ExternalService that all of `parents` are, if they are one.
fn only_external(parents: &BTreeSet<RouteParent>) -> Option<ObjectName> {
    let Parent::External(name) = &parents.first()?.parent else { return None };
    let is_it = |one: &RouteParent| one.parent == Parent::External(name.clone());
    parents.iter().all(is_it).then(|| name.clone())
}

/// Where the backend with this kind, namespace and name leads from a route, or why nowhere.
fn resolve(
    reader: &Reader<'_>,
    from: &From<'_>,
    (kind, namespace, name): (&crd::BackendKind, &String, &String),
) -> Result<Backend, (&'static str, String)> {
    let port = match kind {
        crd::BackendKind::Service { port } => *port,
        crd::BackendKind::External { port } => {
            return resolve_external(reader, from, (namespace, name, *port));
        }
        crd::BackendKind::Other { group, kind, port: _ } => {
            let message = format!("kind {kind} of group `{group}` is not known here");
            return Err(("InvalidKind", message));
        }
    };
    let missing = || ("BackendNotFound", format!("Service {namespace}/{name} is not there"));
    let name = ObjectName::new(namespace, name).map_err(|_| missing())?;
    let (_, service) = reader.service(&name).ok_or_else(missing)?;
    let is_wanted =
        |own: &&crd::ServicePort| own.port == port && own.protocol == crd::Protocol::Tcp;
    let Some(found) = service.ports.iter().find(is_wanted) else {
        return Err(("BackendNotFound", format!("Service {name} has no port {port}")));
    };
    if !takes(from.kind, declared(found.app_protocol)) {
        let spoken = spoken(from.kind);
        let message = format!("Service {name} declares that no {spoken} is spoken on port {port}");
        return Err(("UnsupportedProtocol", message));
    }
    Ok(Backend::Service { name, port: to_port(port) })
}

/// The same for an ExternalService, of which it must be known where it is: that it is what was
/// called says so as well.
fn resolve_external(
    reader: &Reader<'_>,
    &From { kind: route, own, ref called }: &From<'_>,
    (namespace, name, port): (&String, &String, crd::Port),
) -> Result<Backend, (&'static str, String)> {
    let missing =
        || ("BackendNotFound", format!("ExternalService {namespace}/{name} is not there"));
    let name = ObjectName::new(namespace, name).map_err(|_| missing())?;
    if namespace != own && *namespace != reader.options.mesh_namespace {
        let message = format!("ExternalService {name} is for its own namespace alone");
        return Err(("RefNotPermitted", message));
    }
    let (_, external) = reader.external(&name).ok_or_else(missing)?;
    let Some(found) = external.ports.iter().find(|own| own.port == port) else {
        return Err(("BackendNotFound", format!("ExternalService {name} has no port {port}")));
    };
    let is_one = matches!(&external.hosts[..], [host] if !host.starts_with("*."));
    let is_one = is_one || *called == Some(name.clone());
    if !is_one && external.endpoints.is_empty() {
        let message = format!(
            "ExternalService {name} has neither endpoints nor one host alone, so that it is not \
             known which to call, but to a route for itself alone"
        );
        return Err(("UnsupportedValue", message));
    }
    let tls = backend_tls_policy::of_port(reader, external, found);
    if !is_one && tls.as_ref().is_some_and(|tls| tls.hostname.is_none()) {
        let message = format!(
            "ExternalService {name} has neither one host alone nor tls.hostname on port {port}, \
             so that it is not known which name is to be proved"
        );
        return Err(("UnsupportedValue", message));
    }
    if route == RouteKind::Tls && tls.is_some() {
        let message = format!(
            "to port {port} of ExternalService {name} TLS is opened: the program's own is not put \
             into it"
        );
        return Err(("UnsupportedProtocol", message));
    }
    if !takes(route, declared(found.app_protocol)) {
        let spoken = spoken(route);
        let message =
            format!("ExternalService {name} declares that no {spoken} is spoken on port {port}");
        return Err(("UnsupportedProtocol", message));
    }
    Ok(Backend::External { name, port: to_port(port) })
}

/// Whether what routes of `kind` lead can be written to a port that speaks `declared`.
fn takes(kind: RouteKind, declared: Option<Protocol>) -> bool {
    match kind {
        RouteKind::Grpc => matches!(declared, None | Some(Protocol::Http2 | Protocol::Grpc)),
        RouteKind::Http => declared.is_none_or(Protocol::is_http),
        RouteKind::Tls => matches!(declared, None | Some(Protocol::Tls | Protocol::Opaque)),
        RouteKind::Tcp => !declared.is_some_and(Protocol::is_http),
    }
}

fn to_match(one: &crd::RouteMatch) -> Result<RouteMatch, String> {
    let crd::RouteMatch { path, headers, query, method } = one;
    let to_path = |text: &str| HttpPath::new(text).map_err(|error| error.to_string());
    let header = |header: &crd::HeaderMatch| {
        let crd::HeaderMatch { name, value } = header;
        let name = HeaderName::new(name).map_err(|error| error.to_string())?;
        Ok::<_, String>(HeaderMatch { name, value: to_value(value)? })
    };
    let parameter = |query: &crd::QueryMatch| {
        let crd::QueryMatch { name, value } = query;
        QueryMatch::new(name, to_value(value)?).map_err(|error| error.to_string())
    };
    let to_method = |method: &crd::Method| Method::new(method.as_str());
    Ok(RouteMatch {
        path: match path {
            crd::PathMatch::Exact(path) => PathMatch::Exact(to_path(path)?),
            crd::PathMatch::Prefix(path) => PathMatch::Prefix(to_path(path)?),
            crd::PathMatch::Regex(regex) => PathMatch::Regex(to_regex(regex)?),
            crd::PathMatch::Call(crd::CallMatch { service, method }) => {
                let name = |name: &Option<_>| name.as_ref().map(to_value).transpose();
                PathMatch::Call(CallMatch { service: name(service)?, method: name(method)? })
            }
        },
        headers: headers.iter().map(header).collect::<Result<_, _>>()?,
        query: query.iter().map(parameter).collect::<Result<_, _>>()?,
        method: method.as_ref().map(to_method).transpose().map_err(|error| error.to_string())?,
    })
}

fn to_value(value: &crd::ValueMatch) -> Result<ValueMatch, String> {
    Ok(match value {
        crd::ValueMatch::Exact(text) => {
            ValueMatch::Exact(ExactValue::new(text).map_err(|error| error.to_string())?)
        }
        crd::ValueMatch::Regex(regex) => ValueMatch::Regex(to_regex(regex)?),
    })
}

fn to_regex(text: &str) -> Result<RegexText, String> {
    RegexText::new(text).map_err(|error| error.to_string())
}

fn to_timeouts(timeouts: &crd::Timeouts) -> Result<Timeouts, String> {
    let crd::Timeouts { request, backend_request } = timeouts;
    let bound = |timeout: &Option<crd::Timeout>| match timeout {
        Some(crd::Timeout::After(duration)) => TimeBound::new(*duration).map(Some),
        Some(crd::Timeout::Never) | None => Ok(None),
    };
    let request = bound(request).map_err(|error| error.to_string())?;
    let attempt = bound(backend_request).map_err(|error| error.to_string())?;
    Timeouts::new(request, attempt).map_err(|error| error.to_string())
}

fn to_retry(retry: &crd::Retry) -> Result<Retry, String> {
    let crd::Retry { attempts, backoff, codes } = retry;
    let default = Retry::default();
    let backoff_base = match backoff {
        Some(backoff) => TimeBound::new(*backoff).map_err(|error| error.to_string())?,
        None => default.backoff_base,
    };
    let statuses = codes.iter().map(|code| RetryStatus::new(*code));
    Ok(Retry {
        retries_max: *attempts,
        statuses: statuses.collect::<Result<_, _>>().map_err(|error| error.to_string())?,
        backoff_base,
        backoff_max: Retry::BACKOFF_MAX.max(backoff_base),
    })
}
