//! What a policy is for: `spec.targetRefs`.
//!
//! Source: GEP-713. A policy lives in the namespace of its target, so a reference has no namespace.

use crate::finding::quoted;
use crate::kind::{GATEWAY_GROUP, Kind, WEFT_GROUP};
use crate::names;
use crate::reader::{At, Fields, check_unique};

/// What a policy is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The whole mesh of this name.
    Mesh(String),
    /// All workloads of the policy's own namespace.
    Namespace,
    /// A Service of the policy's own namespace, by name.
    Service(String),
    /// Of the Service of this name the port that has the second one.
    ServicePort(String, String),
    /// An ExternalService of the policy's own namespace, by name.
    ExternalService(String),
    /// Of the ExternalService of this name the port that has the second one.
    ExternalPort(String, String),
    /// A route of the policy's own namespace, an HTTPRoute or GRPCRoute, or the rule of it that has
    /// this name.
    Route(Kind, String, Option<String>),
}

impl Target {
    fn of_service(name: String, port: Option<String>) -> Target {
        match port {
            None => Target::Service(name),
            Some(port) => Target::ServicePort(name, port),
        }
    }

    fn of_external(name: String, port: Option<String>) -> Target {
        match port {
            None => Target::ExternalService(name),
            Some(port) => Target::ExternalPort(name, port),
        }
    }
}

/// The kinds that a policy may be for.
#[derive(Clone, Copy)]
pub(crate) struct Allowed {
    /// Whether a Mesh and a Namespace are among them, besides a Service.
    pub(crate) wide: bool,
    /// Whether routes are among them.
    pub(crate) routes: bool,
    /// Whether an ExternalService and its ports are among them.
    pub(crate) external: bool,
    /// Group and kind of those that come later.
    pub(crate) not_yet: &'static [(&'static str, &'static str)],
    /// Group and kind of those that never can, and what does instead.
    pub(crate) instead: &'static [((&'static str, &'static str), &'static str)],
}

impl Allowed {
    /// Services and their ports alone.
    pub(crate) const SERVICES: Allowed =
        Allowed { wide: false, routes: false, external: false, not_yet: &[], instead: &[] };
}

const TARGETS_MAX: usize = 16;

const FIELDS: Fields = Fields {
    known: &["group", "kind", "name", "sectionName"],
    not_yet: &[],
    ignored: &[],
    no_nulls: false,
};

/// The targets of a policy that lives in `namespace`.
pub(crate) fn read(at: &At<'_>, namespace: &str, allowed: Allowed) -> Option<Vec<Target>> {
    let why = "a policy is for something";
    let targets = at.filled_list(TARGETS_MAX, why, |at| read_one(at, namespace, allowed))?;
    let places = at.items(TARGETS_MAX)?;
    let unique = check_unique(places.into_iter().zip(&targets), |_, first| {
        format!("names the same as {first}")
    });
    unique.then_some(targets)
}

fn read_one(at: &At<'_>, namespace: &str, allowed: Allowed) -> Option<Target> {
    if let Some(entry) = at.node.entry("namespace") {
        let path = at.path.key("namespace");
        let field = At { node: &entry.value, key: Some(entry.key.span), path, report: at.report };
        return field.error("is not allowed: a policy lives in the namespace of its target");
    }
    let object = at.object(FIELDS)?;
    let group = object.need("group", At::text);
    let kind = object.need("kind", At::kind);
    let name = object
        .need("name", |at| at.parsed(|text| names::dns_subdomain(text).map(|()| text.to_owned())));
    let section = object.maybe("sectionName", |at| {
        at.parsed(|text| names::dns_subdomain(text).map(|()| text.to_owned()))
    });
    let (group, kind, name, section) = (group?, kind?, name?, section?);
    let group = if group == "core" { "" } else { group };
    let route = [Kind::HttpRoute, Kind::GrpcRoute].into_iter().find(|route| route.name() == kind);
    if let (true, GATEWAY_GROUP, Some(route)) = (allowed.routes, group, route) {
        return Some(Target::Route(route, name, section));
    }
    let whole = match (group, kind) {
        ("", "Service") => return Some(Target::of_service(name, section)),
        (WEFT_GROUP, "ExternalService") if allowed.external => {
            return Some(Target::of_external(name, section));
        }
        ("", "Namespace") if allowed.wide => {
            let message = format!(
                "namespace {} cannot be reached from here: the policy lives in {}",
                quoted(&name),
                quoted(namespace)
            );
            match name == namespace {
                true => Some(Target::Namespace),
                false => object.field("name")?.error(message),
            }
        }
        (WEFT_GROUP, "Mesh") if allowed.wide => {
            let home = &at.report.options.mesh_namespace;
            let message = format!(
                "a policy for the whole mesh lives in namespace {}, this one is in {}",
                quoted(home),
                quoted(namespace)
            );
            match namespace == home {
                true => Some(Target::Mesh(name)),
                false => at.error(message),
            }
        }
        known if allowed.not_yet.contains(&known) => {
            object.field("kind")?.not_yet(format!("{} as a target", quoted(kind)))
        }
        _ => {
            let all = match allowed {
                Allowed { external: true, wide: true, .. } => {
                    "Mesh, Namespace, Service, ExternalService"
                }
                Allowed { external: true, .. } => "Service, ExternalService",
                Allowed { wide: true, .. } => "Mesh, Namespace, Service",
                Allowed { routes: true, .. } => "Service, HTTPRoute, GRPCRoute",
                _ => "Service",
            };
            let message = format!("{} of group {} cannot be a target", quoted(kind), quoted(group));
            let help = allowed.instead.iter().find(|(instead, _)| *instead == (group, kind));
            let help =
                help.map_or_else(|| format!("one of: {all}"), |(_, help)| (*help).to_owned());
            object.field("kind")?.error_help(message, help)
        }
    }?;
    match (&whole, object.field("sectionName")) {
        (_, None) => Some(whole),
        (_, Some(at)) => at.error(format!("a {} has no sections", quoted(kind))),
    }
}
