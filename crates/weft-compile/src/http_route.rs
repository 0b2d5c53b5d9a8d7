//! HTTPRoutes attached to Services: producer routes, which hold for all callers of the Service.
//!
//! Source: GAMMA, as of Gateway API v1.7. Conditions and reasons are the standard's own.

mod filters;
mod rules;

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_crd as crd;
use weft_model::{ObjectName, Route, RouteKind, RouteName, RouteParent};
use weft_wire::{Object, ObjectKey};

use crate::compiler::Output;
use crate::findings::Findings;
use crate::mesh;
use crate::reader::Reader;
use crate::service::{declared, means, to_port};
use crate::status::{Condition, Status};

pub(crate) fn compile(reader: &Reader<'_>, name: &ObjectName) -> Output {
    let Some((object, route)) = reader.http_route(name) else { return Output::default() };
    let mut findings = Findings::new(object);
    let (parents, mut conditions) = attach(reader, route, &mut findings);
    let (rules, resolved) = match rules::convert(reader, route, &mut findings) {
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
    let name = RouteName { kind: RouteKind::Http, object: name.clone() };
    let is_attached = !parents.is_empty();
    let objects = if is_attached { vec![ObjectKey::Route(name.clone())] } else { vec![] };
    let status: Status = findings.status(conditions, objects);
    let compiled = Route {
        name,
        created: mesh::created(&route.metadata),
        parents,
        // They hold for Gateways only.
        hostnames: BTreeSet::new(),
        rules,
    };
    let object = is_attached.then(|| Object::Route(Arc::new(compiled)));
    Output { object, status: Some(status) }
}

/// The parents that take the route, and for each whether it does.
fn attach(
    reader: &Reader<'_>,
    route: &crd::HttpRoute,
    findings: &mut Findings<'_>,
) -> (BTreeSet<RouteParent>, Vec<Condition>) {
    let (mut parents, mut conditions) = (BTreeSet::new(), Vec::new());
    for (index, parent) in route.parents.iter().enumerate() {
        let path = format!("spec.parentRefs[{index}]");
        let condition = match attach_one(reader, route, parent) {
            Ok(taken) => {
                parents.extend(taken);
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

/// The Service, or those of its ports, that `parent` means; or why it takes no such route.
fn attach_one(
    reader: &Reader<'_>,
    route: &crd::HttpRoute,
    parent: &crd::ParentRef,
) -> Result<Vec<RouteParent>, (&'static str, String)> {
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
    if parent.namespace != *own {
        let message = "routes for Services of another namespace are not supported yet".to_owned();
        return Err(("NoMatchingParent", message));
    }
    let missing = || ("NoMatchingParent", format!("Service {own}/{} is not there", parent.name));
    let name = ObjectName::new(own, &parent.name).map_err(|_| missing())?;
    let (_, service) = reader.service(&name).ok_or_else(missing)?;
    let wanted: Vec<_> = service.ports.iter().filter(|port| means(parent, &name, port)).collect();
    if wanted.is_empty() {
        return Err(("NoMatchingParent", format!("Service {name} has no such port")));
    }
    let speaks_http = |port: &&&crd::ServicePort| {
        let protocol = declared(port.app_protocol);
        port.protocol == crd::Protocol::Tcp && protocol.is_none_or(|protocol| protocol.is_http())
    };
    let fitting: Vec<_> = wanted.iter().filter(speaks_http).collect();
    if fitting.is_empty() {
        let message = format!("Service {name} declares that no HTTP is spoken there");
        return Err(("NotAllowedByListeners", message));
    }
    let is_whole = parent.port.is_none() && parent.section_name.is_none();
    if is_whole && fitting.len() == service.ports.len() {
        return Ok(vec![RouteParent { service: name, port: None }]);
    }
    let of_port = |port: &&crd::ServicePort| RouteParent {
        service: name.clone(),
        port: Some(to_port(port.port)),
    };
    Ok(fitting.into_iter().map(of_port).collect())
}
