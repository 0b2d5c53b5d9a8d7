//! Routes attached to Services: producer routes, of the Service's own namespace, which hold for all
//! callers; and consumer routes, which hold for those of the route's namespace. And those attached
//! to ExternalServices of their own namespace, which hold for all who may call these.
//!
//! Source: GAMMA, as of Gateway API v1.7. Conditions and reasons are the standard's own.

mod alike;
mod filters;
mod parent;
mod rules;

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_crd as crd;
use weft_model::{ObjectName, Parent, Route, RouteKind, RouteName};
use weft_wire::{Object, ObjectKey};

use crate::compiler::Output;
use crate::findings::Findings;
use crate::mesh;
use crate::reader::Reader;
use crate::status::{Condition, Status};

pub(crate) fn compile(reader: &Reader<'_>, name: &RouteName) -> Output {
    let Some((object, route)) = reader.route(name) else { return Output::default() };
    let mut findings = Findings::new(object);
    let (parents, mut conditions) = parent::attach(reader, name.kind, route, &mut findings);
    alike::warn(reader, name.kind, route, &parents, &mut findings);
    let (rules, resolved) =
        match rules::convert(reader, (name.kind, route), &parents, &mut findings) {
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

/// The routes that hold for calls to the ExternalService `name`, if that is accepted.
pub(crate) fn of_external(reader: &Reader<'_>, name: &ObjectName) -> BTreeSet<RouteName> {
    let parent = Parent::External(name.clone());
    let named = RouteKind::ALL.into_iter().flat_map(|kind| {
        let routes = reader.routes_of(kind, name.namespace(), &parent).into_iter();
        routes.filter_map(move |route| {
            let crd::Metadata { namespace, name, .. } = &route.metadata;
            Some(RouteName { kind, object: ObjectName::new(namespace, name).ok()? })
        })
    });
    let holds = |name: &RouteName| match compile(reader, name).object {
        Some(Object::Route(route)) => route.parents.iter().any(|one| one.parent == parent),
        _ => false,
    };
    named.filter(holds).collect()
}
