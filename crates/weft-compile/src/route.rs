//! Routes attached to Services: producer routes, of the Service's own namespace, which hold for all
//! callers; and consumer routes, which hold for those of the route's namespace.
//!
//! Source: GAMMA, as of Gateway API v1.7. Conditions and reasons are the standard's own.

mod alike;
mod filters;
mod rules;

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_crd as crd;
use weft_model::{ObjectName, Protocol, Route, RouteKind, RouteName, RouteParent};
use weft_wire::{Object, ObjectKey};

use crate::compiler::Output;
use crate::findings::{Findings, listed};
use crate::mesh;
use crate::reader::Reader;
use crate::service::{declared, means, to_port};
use crate::status::{Condition, Status};

pub(crate) fn compile(reader: &Reader<'_>, name: &RouteName) -> Output {
    let Some((object, route)) = reader.route(name) else { return Output::default() };
    let mut findings = Findings::new(object);
    let (parents, mut conditions) = attach(reader, name.kind, route, &mut findings);
    alike::warn(reader, name.kind, route, &parents, &mut findings);
    let (rules, resolved) = match rules::convert(reader, name.kind, route, &mut findings) {
        Ok(converted) => converted,
        Err(message) => {
            findings.error("spec.rules", message);
            let invalid = Condition::accepted(false, "UnsupportedValue");
            let status = findings.status(vec![invalid], vec![]);
            return Output { object: None, status: Some(status) };
        }
    };
    let parent_count = route.parents.len();
    conditions.extend((0..parent_count).map(|parent| resolved.clone().for_parent(parent)));
    let is_attached = !parents.is_empty();
    let objects = if is_attached { vec![ObjectKey::Route(name.clone())] } else { vec![] };
    let status: Status = findings.status(conditions, objects);
    let compiled = Route {
        name: name.clone(),
        created: mesh::created(&route.metadata),
        parents,
        hostnames: match name.kind {
            RouteKind::Tls => route.hostnames.iter().cloned().collect(),
            // They hold for Gateways only.
            _ => BTreeSet::new(),
        },
        rules,
    };
    let object = is_attached.then(|| Object::Route(Arc::new(compiled)));
    Output { object, status: Some(status) }
}

/// The parents that take the route, and for each whether it does.
fn attach(
    reader: &Reader<'_>,
    kind: RouteKind,
    route: &crd::Route,
    findings: &mut Findings<'_>,
) -> (BTreeSet<RouteParent>, Vec<Condition>) {
    let (mut parents, mut conditions) = (BTreeSet::new(), Vec::new());
    for (index, parent) in route.parents.iter().enumerate() {
        let path = format!("spec.parentRefs[{index}]");
        let condition = match attach_one(reader, kind, route, parent) {
            Ok(Attached { taken, but }) => {
                parents.extend(taken);
                but.iter().for_each(|message| findings.warning(&path, message));
                Condition::accepted(true, "Accepted")
            }
            Err((reason, message)) => {
                findings.error(&path, message);
                Condition::accepted(false, reason)
            }
        };
        conditions.push(condition.for_parent(index));
    }
    (parents, conditions)
}

/// What of a parent takes a route.
struct Attached {
    /// The Service, or those of its ports that do.
    taken: Vec<RouteParent>,
    /// Why the others do not.
    but: Vec<String>,
}

/// What of `parent` takes the route; or why nothing of it does.
fn attach_one(
    reader: &Reader<'_>,
    kind: RouteKind,
    route: &crd::Route,
    parent: &crd::ParentRef,
) -> Result<Attached, (&'static str, String)> {
    let own = &route.metadata.namespace;
    match &parent.kind {
        crd::ParentKind::Service => {}
        crd::ParentKind::Gateway => {
            return Err(("NoMatchingParent", "no Gateway is served yet".to_owned()));
        }
        crd::ParentKind::Other { group, kind } => {
            let message = format!("kind {kind} of group `{group}` is not served here");
            return Err(("NoMatchingParent", message));
        }
    }
    let crd::ParentRef { namespace, name, .. } = parent;
    let missing = || ("NoMatchingParent", format!("Service {namespace}/{name} is not there"));
    let name = ObjectName::new(namespace, name).map_err(|_| missing())?;
    let (_, service) = reader.service(&name).ok_or_else(missing)?;
    if service.cluster_ip == crd::ClusterIp::Headless {
        let message = format!(
            "Service {name} is headless: who calls it calls its workloads, by their addresses, \
             which no route is for"
        );
        return Err(("NoMatchingParent", message));
    }
    let wanted: Vec<_> = service.ports.iter().filter(|port| means(parent, &name, port)).collect();
    if wanted.is_empty() {
        return Err(("NoMatchingParent", format!("Service {name} has no such port")));
    }
    let fitting: Vec<_> = wanted.into_iter().filter(|port| fits(kind, port)).collect();
    if fitting.is_empty() {
        let spoken = spoken(kind);
        let message = format!("Service {name} declares that no {spoken} is spoken there");
        return Err(("NotAllowedByListeners", message));
    }
    let (mut ports, mut but) = (Vec::new(), Vec::new());
    for port in fitting {
        match before(reader, kind, own, &name, port) {
            None => ports.push(port),
            Some(other) => but.push(format!(
                "{} {own}/{} is for port {} of Service {name}: of several kinds of routes, its \
                 kind alone holds",
                other.0.kind(),
                other.1.metadata.name,
                port.port,
            )),
        }
    }
    if ports.is_empty() {
        return Err(("RouteReasonConflicted", but.join("; ")));
    }
    for port in &ports {
        but.extend(without_effect(reader, kind, own, &name, port));
        if kind == RouteKind::Tcp {
            but.extend(against_alike(reader, route, &name, port));
        }
    }
    let is_whole = parent.port.is_none() && parent.section_name.is_none();
    if is_whole && ports.len() == service.ports.len() {
        let taken = vec![RouteParent { service: name, port: None }];
        return Ok(Attached { taken, but });
    }
    let of_port = |port: &crd::ServicePort| RouteParent {
        service: name.clone(),
        port: Some(to_port(port.port)),
    };
    Ok(Attached { taken: ports.into_iter().map(of_port).collect(), but })
}

/// Whether routes of `kind` can be for `port`.
fn fits(kind: RouteKind, port: &crd::ServicePort) -> bool {
    let protocol = declared(port.app_protocol);
    let speaks = |protocol: Protocol| match kind {
        RouteKind::Grpc | RouteKind::Http => protocol.is_http(),
        RouteKind::Tls => protocol == Protocol::Tls,
        // What is written in HTTP is for the other kinds.
        RouteKind::Tcp => !protocol.is_http(),
    };
    port.protocol == crd::Protocol::Tcp && protocol.is_none_or(speaks)
}

/// What routes of `kind` are about.
fn spoken(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Grpc => "gRPC",
        RouteKind::Http => "HTTP",
        RouteKind::Tls => "TLS of its own",
        RouteKind::Tcp => "TCP other than HTTP",
    }
}

/// Which TCPRoute has all connections to `port`, where `route` is not the only one for it: the
/// oldest.
fn against_alike(
    reader: &Reader<'_>,
    route: &crd::Route,
    service: &ObjectName,
    port: &crd::ServicePort,
) -> Option<String> {
    let crd::Metadata { namespace, name, .. } = &route.metadata;
    let age = |route: &crd::Route| (mesh::created(&route.metadata), route.metadata.name.clone());
    let routes = for_port(reader, RouteKind::Tcp, namespace, service, port);
    let oldest = routes.iter().min_by_key(|route| age(route))?;
    let number = port.port;
    if oldest.metadata.name != *name {
        return Some(format!(
            "TCPRoute {namespace}/{} is older, and has all connections to port {number} of Service \
             {service}",
            oldest.metadata.name
        ));
    }
    let younger: BTreeSet<_> = routes
        .iter()
        .filter(|other| other.metadata.name != *name)
        .map(|other| format!("{namespace}/{}", other.metadata.name))
        .collect();
    (!younger.is_empty()).then(|| {
        format!(
            "no effect of TCPRoute {} on port {number} of Service {service}: this one is older, \
             and has all connections",
            listed(&younger)
        )
    })
}

/// The routes of other kinds, in the same namespace, that have no effect on `port` for those of
/// `kind`.
fn without_effect(
    reader: &Reader<'_>,
    kind: RouteKind,
    namespace: &str,
    service: &ObjectName,
    port: &crd::ServicePort,
) -> Vec<String> {
    let after = RouteKind::ALL.into_iter().skip_while(|other| *other != kind).skip(1);
    let said = after.filter(|other| fits(*other, port)).filter_map(|other| {
        let routes = for_port(reader, other, namespace, service, port);
        let names: BTreeSet<_> =
            routes.iter().map(|route| format!("{namespace}/{}", route.metadata.name)).collect();
        (!names.is_empty()).then(|| {
            format!(
                "no effect of {} {} on port {} of Service {service}: of several kinds of routes, \
                 this kind alone holds",
                other.kind(),
                listed(&names),
                port.port,
            )
        })
    });
    said.collect()
}

/// The routes of `kind` in `namespace` that are for `port` of `service`.
fn for_port<'s>(
    reader: &Reader<'s>,
    kind: RouteKind,
    namespace: &str,
    service: &ObjectName,
    port: &crd::ServicePort,
) -> Vec<&'s crd::Route> {
    let mut routes = reader.routes_of(kind, namespace, service);
    routes.retain(|route| route.parents.iter().any(|parent| means(parent, service, port)));
    routes
}

/// A route of `namespace` for `port` of `service` that goes before all of `kind`, since it is of a
/// kind that says more.
///
/// Source: GEP-1294, "Route types".
fn before<'s>(
    reader: &Reader<'s>,
    kind: RouteKind,
    namespace: &str,
    service: &ObjectName,
    port: &crd::ServicePort,
) -> Option<(RouteKind, &'s crd::Route)> {
    let mut kinds = RouteKind::ALL.into_iter().take_while(|other| *other != kind);
    kinds.find_map(|kind| {
        if !fits(kind, port) {
            return None;
        }
        Some((kind, *for_port(reader, kind, namespace, service, port).first()?))
    })
}
