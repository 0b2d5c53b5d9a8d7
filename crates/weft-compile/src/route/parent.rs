//! What routes attach to.

use std::collections::BTreeSet;

use weft_crd as crd;
use weft_model::{ObjectName, Parent, Protocol, RouteKind, RouteParent};

use crate::backend_tls_policy;
use crate::external_service;
use crate::findings::{Findings, listed};
use crate::mesh;
use crate::reader::{Reader, names};
use crate::service::{declared, to_port};
use crate::status::Condition;

/// Why something is not attached: a reason of the standard, and the same in words.
type Refused = (&'static str, String);

/// The parents that take the route, and for each whether it does.
pub(super) fn attach(
    reader: &Reader<'_>,
    kind: RouteKind,
    route: &crd::Route,
    findings: &mut Findings<'_>,
) -> (BTreeSet<RouteParent>, Vec<Condition>) {
    let (mut parents, mut conditions) = (BTreeSet::new(), Vec::new());
    for (index, reference) in route.parents.iter().enumerate() {
        let path = format!("spec.parentRefs[{index}]");
        let condition = match attach_one(reader, kind, route, reference) {
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
    /// The parent, or those of its ports that do.
    taken: Vec<RouteParent>,
    /// Why the others do not.
    but: Vec<String>,
}

/// Something that routes attach to, as they see it.
struct Attachable<'s> {
    parent: Parent,
    ports: Vec<PortOf<'s>>,
}

/// A port of that.
pub(super) struct PortOf<'s> {
    pub(super) number: crd::Port,
    name: Option<&'s str>,
    declared: Option<Protocol>,
    is_tcp: bool,
    /// Whether the proxy opens TLS to its servers.
    has_tls: bool,
}

/// What of `reference` takes the route; or why nothing of it does.
fn attach_one(
    reader: &Reader<'_>,
    kind: RouteKind,
    route: &crd::Route,
    reference: &crd::ParentRef,
) -> Result<Attached, Refused> {
    let own = &route.metadata.namespace;
    let Attachable { parent, ports: all } = match &reference.kind {
        crd::ParentKind::Service => service(reader, reference)?,
        crd::ParentKind::External => external(reader, own, reference)?,
        crd::ParentKind::Gateway => {
            return Err(("NoMatchingParent", "no Gateway is served yet".to_owned()));
        }
        crd::ParentKind::Other { group, kind } => {
            let message = format!("kind {kind} of group `{group}` is not served here");
            return Err(("NoMatchingParent", message));
        }
    };
    let wanted: Vec<_> = all.iter().filter(|port| means(reference, &parent, port)).collect();
    if wanted.is_empty() {
        return Err(("NoMatchingParent", format!("{parent} has no such port")));
    }
    let fitting: Vec<_> = wanted.iter().copied().filter(|port| fits(kind, port)).collect();
    if fitting.is_empty() {
        return Err(("NotAllowedByListeners", unfit(kind, &parent, &wanted)));
    }
    let (mut ports, mut but) = (Vec::new(), Vec::new());
    for port in fitting {
        match before(reader, kind, own, &parent, port) {
            None => ports.push(port),
            Some(other) => but.push(format!(
                "{} {own}/{} is for port {} of {parent}: of several kinds of routes, its kind \
                 alone holds",
                other.0.kind(),
                other.1.metadata.name,
                port.number,
            )),
        }
    }
    if ports.is_empty() {
        return Err(("RouteReasonConflicted", but.join("; ")));
    }
    for port in &ports {
        but.extend(without_effect(reader, kind, own, &parent, port));
        if kind == RouteKind::Tcp {
            but.extend(against_alike(reader, route, &parent, port));
        }
    }
    let is_whole = reference.port.is_none() && reference.section_name.is_none();
    if is_whole && ports.len() == all.len() {
        return Ok(Attached { taken: vec![RouteParent { parent, port: None }], but });
    }
    let of_port = |port: &PortOf<'_>| RouteParent {
        parent: parent.clone(),
        port: Some(to_port(port.number)),
    };
    Ok(Attached { taken: ports.into_iter().map(of_port).collect(), but })
}

/// The Service that `reference` is to.
fn service<'s>(reader: &Reader<'s>, reference: &crd::ParentRef) -> Result<Attachable<'s>, Refused> {
    let crd::ParentRef { namespace, name, .. } = reference;
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
    let ports = ports_of_service(service);
    Ok(Attachable { parent: Parent::Service(name), ports })
}

fn ports_of_service<'s>(service: &'s crd::Service) -> Vec<PortOf<'s>> {
    let port = |port: &'s crd::ServicePort| PortOf {
        number: port.port,
        name: port.name.as_deref(),
        declared: declared(port.app_protocol),
        is_tcp: port.protocol == crd::Protocol::Tcp,
        has_tls: false,
    };
    service.ports.iter().map(port).collect()
}

/// The ports of `parent`, if it is there.
pub(super) fn ports_of<'s>(reader: &Reader<'s>, parent: &Parent) -> Vec<PortOf<'s>> {
    match parent {
        Parent::Service(name) => {
            reader.service(name).map_or_else(Vec::new, |(_, found)| ports_of_service(found))
        }
        Parent::External(name) => reader
            .external(name)
            .map_or_else(Vec::new, |(_, found)| ports_of_external(reader, found)),
    }
}

fn ports_of_external<'s>(
    reader: &Reader<'s>,
    external: &'s crd::ExternalService,
) -> Vec<PortOf<'s>> {
    let port = |port: &'s crd::ExternalPort| PortOf {
        number: port.port,
        name: port.name.as_deref(),
        declared: declared(port.app_protocol),
        is_tcp: true,
        has_tls: backend_tls_policy::of_port(reader, external, port).is_some(),
    };
    external.ports.iter().map(port).collect()
}

/// The ExternalService that `reference`, of a route of the namespace `own`, is to. Routes of other
/// namespaces have no use for it: who may call it is of its own, or can have one for the same hosts
/// there, which goes before it.
fn external<'s>(
    reader: &Reader<'s>,
    own: &str,
    reference: &crd::ParentRef,
) -> Result<Attachable<'s>, Refused> {
    let crd::ParentRef { namespace, name, .. } = reference;
    let missing =
        || ("NoMatchingParent", format!("ExternalService {namespace}/{name} is not there"));
    let name = ObjectName::new(namespace, name).map_err(|_| missing())?;
    if namespace != own {
        let message = format!(
            "ExternalService {name} takes routes of its own namespace alone: for the workloads of \
             {own}, write an ExternalService with its hosts in {own}, which goes before it there, \
             and attach the route to that"
        );
        return Err(("NotAllowedByListeners", message));
    }
    let (_, external) = reader.external(&name).ok_or_else(missing)?;
    if !external_service::is_accepted(reader, &name) {
        let message = format!(
            "ExternalService {name} is not accepted, as it has no host and no block of its own: \
             its status says why"
        );
        return Err(("NoMatchingParent", message));
    }
    let ports = ports_of_external(reader, external);
    Ok(Attachable { parent: Parent::External(name), ports })
}

/// Whether `reference` of a route means `port` of `parent`.
pub(super) fn means(reference: &crd::ParentRef, parent: &Parent, port: &PortOf<'_>) -> bool {
    names(reference, parent)
        && reference.port.is_none_or(|wanted| wanted == port.number)
        && reference.section_name.as_deref().is_none_or(|wanted| port.name == Some(wanted))
}

/// Whether routes of `kind` can be for `port`.
fn fits(kind: RouteKind, port: &PortOf<'_>) -> bool {
    let speaks = |protocol: Protocol| match kind {
        RouteKind::Grpc | RouteKind::Http => protocol.is_http(),
        RouteKind::Tls => protocol == Protocol::Tls,
        // What is written in HTTP is for the other kinds.
        RouteKind::Tcp => !protocol.is_http(),
    };
    // Where the proxy opens TLS, programs do not.
    let is_plain = kind != RouteKind::Tls || !port.has_tls;
    port.is_tcp && is_plain && port.declared.is_none_or(speaks)
}

/// Why no route of `kind` can be for any of `ports` of `parent`, and what to do.
fn unfit(kind: RouteKind, parent: &Parent, ports: &[&PortOf<'_>]) -> String {
    let spoken = spoken(kind);
    let plain = format!("{parent} declares that no {spoken} is spoken there");
    let Parent::External(_) = parent else { return plain };
    let all = |is: fn(&PortOf<'_>) -> bool| ports.iter().all(|port| is(port));
    match kind {
        RouteKind::Tls if all(|port| port.has_tls) => format!(
            "to {parent} the proxy opens TLS there, so that programs speak none of their own: \
             attach an HTTPRoute, a GRPCRoute or a TCPRoute"
        ),
        RouteKind::Grpc | RouteKind::Http if all(|port| port.declared == Some(Protocol::Tls)) => {
            format!(
                "{plain}, but the program's own TLS, in which no request is seen: attach a \
                 TLSRoute, or declare appProtocol http with `tls`, which the proxy opens then"
            )
        }
        RouteKind::Grpc | RouteKind::Http => format!("{plain}: attach a TCPRoute"),
        RouteKind::Tls | RouteKind::Tcp
            if all(|port| port.declared.is_some_and(Protocol::is_http)) =>
        {
            format!("{plain}: attach an HTTPRoute or a GRPCRoute")
        }
        RouteKind::Tls | RouteKind::Tcp => plain,
    }
}

/// What routes of `kind` are about.
pub(super) fn spoken(kind: RouteKind) -> &'static str {
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
    parent: &Parent,
    port: &PortOf<'_>,
) -> Option<String> {
    let crd::Metadata { namespace, name, .. } = &route.metadata;
    let age = |route: &crd::Route| (mesh::created(&route.metadata), route.metadata.name.clone());
    let routes = for_port(reader, RouteKind::Tcp, namespace, parent, port);
    let oldest = routes.iter().min_by_key(|route| age(route))?;
    let number = port.number;
    if oldest.metadata.name != *name {
        let first = mesh::goes_first(&oldest.metadata, [&route.metadata]);
        return Some(format!(
            "TCPRoute {namespace}/{} is {first}, and has all connections to port {number} of {parent}",
            oldest.metadata.name
        ));
    }
    let others: Vec<_> =
        routes.iter().map(|other| &other.metadata).filter(|other| other.name != *name).collect();
    let first = mesh::goes_first(&route.metadata, others.iter().copied());
    let younger: BTreeSet<_> =
        others.iter().map(|other| format!("{namespace}/{}", other.name)).collect();
    (!younger.is_empty()).then(|| {
        format!(
            "no effect of TCPRoute {} on port {number} of {parent}: this one is {first}, and has all \
             connections",
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
    parent: &Parent,
    port: &PortOf<'_>,
) -> Vec<String> {
    let after = RouteKind::ALL.into_iter().skip_while(|other| *other != kind).skip(1);
    let said = after.filter(|other| fits(*other, port)).filter_map(|other| {
        let routes = for_port(reader, other, namespace, parent, port);
        let names: BTreeSet<_> =
            routes.iter().map(|route| format!("{namespace}/{}", route.metadata.name)).collect();
        (!names.is_empty()).then(|| {
            format!(
                "no effect of {} {} on port {} of {parent}: of several kinds of routes, this kind \
                 alone holds",
                other.kind(),
                listed(&names),
                port.number,
            )
        })
    });
    said.collect()
}

/// The routes of `kind` in `namespace` that are for `port` of `parent`.
pub(super) fn for_port<'s>(
    reader: &Reader<'s>,
    kind: RouteKind,
    namespace: &str,
    parent: &Parent,
    port: &PortOf<'_>,
) -> Vec<&'s crd::Route> {
    let mut routes = reader.routes_of(kind, namespace, parent);
    routes.retain(|route| route.parents.iter().any(|it| means(it, parent, port)));
    routes
}

/// A route of `namespace` for `port` of `parent` that goes before all of `kind`, since it is of a
/// kind that says more.
///
/// Source: GEP-1294, "Route types".
fn before<'s>(
    reader: &Reader<'s>,
    kind: RouteKind,
    namespace: &str,
    parent: &Parent,
    port: &PortOf<'_>,
) -> Option<(RouteKind, &'s crd::Route)> {
    let mut kinds = RouteKind::ALL.into_iter().take_while(|other| *other != kind);
    kinds.find_map(|kind| {
        if !fits(kind, port) {
            return None;
        }
        Some((kind, *for_port(reader, kind, namespace, parent, port).first()?))
    })
}
