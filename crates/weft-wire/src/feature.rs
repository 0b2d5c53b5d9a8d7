//! The features that an object can require of who reads it, and what a release of Weft can read.

use std::collections::BTreeSet;

use weft_model::{
    AgainstPeers, AuthorizationPolicy, BackendTimeouts, Balance, Filter, OutboundPolicy,
    PanicThreshold, Parent, PathMatch, Peer, Policy, PolicyMode, Route, RouteKind, RouteMatch,
    Rule, TrafficPolicy, UnguardedPolicy,
};

use crate::envelope::SCHEMA;
use crate::objects::Object;

/// Something that objects can hold and that not every release understands. To take such an object
/// without it would let through what is to be refused, or lead requests elsewhere.
///
/// An object requires it only if it holds that: so those without it are read by all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// A Service of which one endpoint gets what its latency lets. Ignored, it would get more.
    AdaptiveLimits,
    /// A policy in audit, or a Mesh with one by default. Ignored, it would refuse what it is only
    /// to record.
    AuditMode,
    /// A route for callers of its own namespace alone. Ignored, it would hold for all, or beside
    /// those that it replaces.
    ConsumerRoute,
    /// A route that says which pages of other origins may read answers. Ignored, none of them may,
    /// or all that the application lets.
    Cors,
    /// A Service with its own bounds on how much worse than their peers endpoints may be. Ignored,
    /// others are ejected than is asked for.
    EjectionByPeers,
    /// A destination outside that is treated otherwise on some ports. Ignored, it would get there
    /// what it does not bear, or all ports would be treated alike.
    ExternalPortPolicies,
    /// A route for calls to a destination outside, or such a destination. Ignored, calls would go
    /// there past the rules.
    ExternalRoute,
    /// A destination outside of the mesh, or a route that leads to one. Ignored, connections there
    /// would go by other rules, or be refused.
    ExternalService,
    /// A Service for which another one takes over. Ignored, requests fail that it would answer.
    Failover,
    /// A Service or a route with faults that are put in. Ignored, a drill would find nothing.
    Faults,
    /// A GRPCRoute, or a rule about calls. Ignored, calls would go where nobody sent them.
    GrpcRoute,
    /// A route that changes headers, of requests or of answers. Ignored, what is to be taken out is
    /// let through.
    HeaderModifiers,
    /// A Service of which one endpoint has its own limit. Ignored, it would get more than it bears.
    LimitsPerEndpoint,
    /// A Service whose endpoints are chosen by an algorithm beyond the first two. There is no other
    /// that would do: it would call other endpoints than is asked for.
    Algorithms,
    /// A Mesh that records what leaves it and is not registered. There is no other value that would
    /// do: it would be refused, or go unseen.
    OutboundAudit,
    /// A Service with its own share of healthy endpoints below which all are called. Ignored, those
    /// would be called that are not to be, or the few get the load of all.
    PanicThreshold,
    /// A policy whose rules exempt callers. Ignored, an allow rule would admit those.
    PeerExceptions,
    /// Policies for some ports of a Service. Ignored, they would hold for none, or for all.
    PortPolicies,
    /// A route that looks at query parameters. Ignored, it would take requests meant for others.
    QueryMatch,
    /// A route that sends callers elsewhere. Ignored, it would answer them with a failure.
    Redirect,
    /// Trust that says below which issuer a proxy is to renew. Ignored, a proxy would keep a
    /// certificate under a root that is about to be withdrawn.
    RenewBelow,
    /// A route that has copies of requests go elsewhere, too. Ignored, nothing would come there.
    Mirror,
    /// A Service with whose endpoints clients stay. Ignored, their sessions would be lost.
    SessionPersistence,
    /// A Service whose endpoints get their part slowly. Ignored, a new one would get all of it
    /// before it can bear it.
    SlowStart,
    /// A Service with its own bound on standing still. Ignored, what may be silent for long would
    /// be cut off.
    StreamIdle,
    /// A TCPRoute or a TLSRoute. Ignored, connections would go where nobody sent them.
    StreamRoute,
    /// A Service of which requests choose instances by labels. Ignored, others would be called.
    Subset,
    /// A destination outside whose servers are reached by TLS. Ignored, they would get in plaintext
    /// what is to be protected.
    TlsOrigination,
    /// A route that changes hosts or paths. Ignored, the application would be asked for others.
    UrlRewrite,
}

impl Feature {
    /// All that this release has, by name.
    pub const ALL: [Feature; 29] = [
        Feature::AdaptiveLimits,
        Feature::AuditMode,
        Feature::ConsumerRoute,
        Feature::Cors,
        Feature::EjectionByPeers,
        Feature::ExternalPortPolicies,
        Feature::ExternalRoute,
        Feature::ExternalService,
        Feature::Failover,
        Feature::Faults,
        Feature::GrpcRoute,
        Feature::HeaderModifiers,
        Feature::LimitsPerEndpoint,
        Feature::Algorithms,
        Feature::OutboundAudit,
        Feature::PanicThreshold,
        Feature::PeerExceptions,
        Feature::PortPolicies,
        Feature::QueryMatch,
        Feature::Redirect,
        Feature::RenewBelow,
        Feature::Mirror,
        Feature::SessionPersistence,
        Feature::SlowStart,
        Feature::StreamIdle,
        Feature::StreamRoute,
        Feature::Subset,
        Feature::TlsOrigination,
        Feature::UrlRewrite,
    ];

    /// Its name on the wire. It is never used for anything else.
    pub fn name(self) -> &'static str {
        match self {
            Feature::AdaptiveLimits => "adaptive-limits",
            Feature::AuditMode => "audit-mode",
            Feature::ConsumerRoute => "consumer-route",
            Feature::Cors => "cors",
            Feature::EjectionByPeers => "ejection-by-peers",
            Feature::ExternalPortPolicies => "external-port-policies",
            Feature::ExternalRoute => "external-route",
            Feature::ExternalService => "external-service",
            Feature::Failover => "failover",
            Feature::Faults => "faults",
            Feature::GrpcRoute => "grpc-route",
            Feature::HeaderModifiers => "header-modifiers",
            Feature::LimitsPerEndpoint => "limits-per-endpoint",
            Feature::Algorithms => "load-balancing-algorithms",
            Feature::OutboundAudit => "outbound-audit",
            Feature::PanicThreshold => "panic-threshold",
            Feature::PeerExceptions => "peer-exceptions",
            Feature::PortPolicies => "port-policies",
            Feature::QueryMatch => "query-match",
            Feature::Redirect => "redirect",
            Feature::RenewBelow => "renew-below",
            Feature::Mirror => "request-mirror",
            Feature::SessionPersistence => "session-persistence",
            Feature::SlowStart => "slow-start",
            Feature::StreamIdle => "stream-idle",
            Feature::StreamRoute => "stream-route",
            Feature::Subset => "subset",
            Feature::TlsOrigination => "tls-origination",
            Feature::UrlRewrite => "url-rewrite",
        }
    }

    /// The features that `object` requires, by what it holds alone.
    pub fn required_by(object: &Object) -> BTreeSet<Feature> {
        Feature::ALL.into_iter().filter(|feature| feature.is_required_by(object)).collect()
    }

    fn is_required_by(self, object: &Object) -> bool {
        if traffic(object).any(|traffic| self.is_required_to_treat(traffic)) {
            return true;
        }
        match (self, object) {
            (Feature::PortPolicies, Object::Guards(guards)) => !guards.ports.is_empty(),
            (Feature::PortPolicies, Object::Service(service)) => {
                service.ports.values().any(|port| port.traffic.is_some())
            }
            (Feature::ExternalPortPolicies, Object::External(external)) => {
                external.ports.values().any(|port| port.traffic.is_some())
            }
            (Feature::AuditMode, Object::Policy(policy)) => match &**policy {
                Policy::Authorization(policy) => policy.mode == PolicyMode::Audit,
            },
            (Feature::AuditMode, Object::Mesh(mesh)) => mesh.unguarded == UnguardedPolicy::Audit,
            (Feature::OutboundAudit, Object::Mesh(mesh)) => mesh.outbound == OutboundPolicy::Audit,
            (Feature::ExternalService, Object::External(_)) => true,
            (Feature::TlsOrigination, Object::External(external)) => {
                external.ports.values().any(|port| port.tls.is_some())
            }
            (Feature::ExternalService, Object::Route(route)) => {
                route.external_backends().next().is_some()
            }
            (Feature::Faults, Object::Route(route)) => {
                route.rules.iter().any(|rule| !rule.faults.is_empty())
            }
            (Feature::PeerExceptions, Object::Policy(policy)) => match &**policy {
                Policy::Authorization(policy) => peers(policy).any(has_exceptions),
            },
            (Feature::ConsumerRoute, Object::Route(route)) => {
                route.parents.iter().any(|parent| route.is_of_consumers(&parent.parent))
            }
            (Feature::ExternalRoute, Object::Route(route)) => {
                route.parents.iter().any(|parent| matches!(parent.parent, Parent::External(_)))
            }
            (Feature::ExternalRoute, Object::External(external)) => !external.routes.is_empty(),
            (Feature::GrpcRoute, Object::Route(route)) => is_about_calls(route),
            (Feature::StreamRoute, Object::Route(route)) => {
                matches!(route.name.kind, RouteKind::Tls | RouteKind::Tcp)
            }
            (Feature::QueryMatch, Object::Route(route)) => looks_at_queries(route),
            (_, Object::Route(route)) => filters(route).any(|filter| feature_of(filter) == self),
            (Feature::RenewBelow, Object::Trust(trust)) => trust.renew_below.is_some(),
            _ => false,
        }
    }

    /// Whether clients that treat a backend as `traffic` says need it.
    fn is_required_to_treat(self, traffic: &TrafficPolicy) -> bool {
        match self {
            Feature::Algorithms => {
                !matches!(traffic.balance, Balance::PeakEwma | Balance::RoundRobin)
            }
            Feature::Faults => !traffic.faults.is_empty(),
            Feature::PanicThreshold => traffic.panic_threshold != PanicThreshold::default(),
            Feature::EjectionByPeers => traffic.ejection.peers != AgainstPeers::default(),
            Feature::AdaptiveLimits => traffic.limits.adaptive_tolerance.is_some(),
            Feature::Failover => traffic.failover.is_some(),
            Feature::LimitsPerEndpoint => traffic.limits.requests_per_endpoint.is_some(),
            Feature::SessionPersistence => traffic.session.is_some(),
            Feature::Subset => traffic.subset.is_some(),
            Feature::SlowStart => traffic.slow_start.is_some(),
            Feature::StreamIdle => {
                traffic.timeouts.stream_idle != BackendTimeouts::default().stream_idle
            }
            _ => false,
        }
    }
}

/// How clients treat the backend that `object` is, if it is one, and its ports.
fn traffic(object: &Object) -> impl Iterator<Item = &TrafficPolicy> {
    let (mut found, mut ports) = (Vec::new(), Vec::new());
    match object {
        Object::Service(service) => {
            found.push(&service.traffic);
            ports.extend(service.ports.values().map(|port| &port.traffic));
        }
        Object::External(external) => {
            found.push(&external.traffic);
            ports.extend(external.ports.values().map(|port| &port.traffic));
        }
        _ => {}
    }
    found.extend(ports.into_iter().filter_map(Option::as_deref));
    found.into_iter()
}

fn peers(policy: &AuthorizationPolicy) -> impl Iterator<Item = &Peer> {
    let AuthorizationPolicy { name: _, mode: _, allow, deny, audit } = policy;
    let rules = allow.iter().flatten().chain(deny).chain(audit);
    rules.flat_map(|Rule { from, to: _ }| from.iter().flatten())
}

fn has_exceptions(peer: &Peer) -> bool {
    !(peer.not_identities.is_empty()
        && peer.not_service_accounts.is_empty()
        && peer.not_namespaces.is_empty()
        && peer.not_cidrs.is_empty())
}

/// The filters of its rules and of their backends.
fn filters(route: &Route) -> impl Iterator<Item = &Filter> {
    route.rules.iter().flat_map(|rule| {
        rule.filters.iter().chain(rule.backends.iter().flat_map(|backend| &backend.filters))
    })
}

fn feature_of(filter: &Filter) -> Feature {
    match filter {
        Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) => Feature::HeaderModifiers,
        Filter::Redirect(_) => Feature::Redirect,
        Filter::Rewrite(_) => Feature::UrlRewrite,
        Filter::Cors(_) => Feature::Cors,
        Filter::Mirror(_) => Feature::Mirror,
    }
}

fn looks_at_queries(route: &Route) -> bool {
    matches(route).any(|one| !one.query.is_empty())
}

fn is_about_calls(route: &Route) -> bool {
    let is_call = |one: &RouteMatch| matches!(one.path, PathMatch::Call(_));
    route.name.kind == RouteKind::Grpc || matches(route).any(is_call)
}

fn matches(route: &Route) -> impl Iterator<Item = &RouteMatch> {
    route.rules.iter().flat_map(|rule| &rule.matches)
}

/// A release of Weft, as far as objects go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its version, for people.
    pub version: String,
    /// The schema of the bodies that it reads.
    pub schema: u32,
    /// The features that it has.
    pub features: BTreeSet<Feature>,
}

impl Release {
    /// This one.
    pub fn this() -> Release {
        Release {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: SCHEMA,
            features: Feature::ALL.into(),
        }
    }

    /// Those of `required` that it lacks.
    pub(crate) fn lacking(&self, required: &[String]) -> Vec<String> {
        let has = |name: &str| self.features.iter().any(|feature| feature.name() == name);
        required.iter().filter(|name| !has(name)).map(|name| crate::shown(name)).collect()
    }
}

#[cfg(test)]
mod tests;
