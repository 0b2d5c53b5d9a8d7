//! What a route attaches to.

use crate::kind::{GATEWAY_GROUP, WEFT_GROUP};
use crate::names;
use crate::reader::{At, fields};
use crate::units::Port;

/// What a route attaches to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParentRef {
    /// What it is.
    pub kind: ParentKind,
    /// Its namespace. Default: the route's own.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Of a Service or an ExternalService, the name of one port; of a Gateway, of one listener.
    /// Absent: all.
    pub section_name: Option<String>,
    /// One port. Absent: all.
    pub port: Option<Port>,
}

/// A kind of parent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParentKind {
    /// A Service: the route holds for calls to it within the mesh.
    Service,
    /// An ExternalService: the route holds for calls that leave the mesh for it.
    External,
    /// A Gateway. Understood, while none is served yet.
    Gateway,
    /// Someone else's.
    Other {
        /// Its API group.
        group: String,
        /// Its kind.
        kind: String,
    },
}

pub(super) fn read(at: &At<'_>, own_namespace: &str) -> Option<ParentRef> {
    let known = &["group", "kind", "namespace", "name", "sectionName", "port"];
    let object = at.object(fields(known))?;
    let group = object.or("group", GATEWAY_GROUP, read_group);
    let kind = object.or("kind", "Gateway", At::kind);
    let namespace = object.or("namespace", own_namespace.to_owned(), |at| {
        at.parsed(|text| names::dns_label(text).map(|()| text.to_owned()))
    });
    let subdomain =
        |at: &At<'_>| at.parsed(|text| names::dns_subdomain(text).map(|()| text.to_owned()));
    let name = object.need("name", subdomain);
    let section_name = object.maybe("sectionName", subdomain);
    let port = object.maybe("port", At::port);
    let kind = match (group?, kind?) {
        ("", "Service") => ParentKind::Service,
        (WEFT_GROUP, "ExternalService") => ParentKind::External,
        (GATEWAY_GROUP, "Gateway") => ParentKind::Gateway,
        (GATEWAY_GROUP, "Service") => {
            return at.error_help(
                format!("no kind Service is in group {GATEWAY_GROUP}, which is the default"),
                "add `group: \"\"`",
            );
        }
        (GATEWAY_GROUP, "ExternalService") => {
            return at.error_help(
                format!(
                    "no kind ExternalService is in group {GATEWAY_GROUP}, which is the default"
                ),
                format!("add `group: {WEFT_GROUP}`"),
            );
        }
        (group, kind) => ParentKind::Other { group: group.to_owned(), kind: kind.to_owned() },
    };
    Some(ParentRef {
        kind,
        namespace: namespace?,
        name: name?,
        section_name: section_name?,
        port: port?,
    })
}

/// An API group. The core one is empty, and also written `core`.
pub(crate) fn read_group<'a>(at: &At<'a>) -> Option<&'a str> {
    match at.text()? {
        "" | "core" => Some(""),
        group => match names::dns_subdomain(group) {
            Ok(()) => Some(group),
            Err(why) => at.error(why),
        },
    }
}

/// Checks that of several references to one parent each says which part of it, and not the same.
///
/// Source: Gateway API's CEL on `parentRefs`, with `port`, which Service parents are told apart by.
pub(super) fn check_distinct(places: &[At<'_>], parents: &[ParentRef]) {
    let same_object = |a: &ParentRef, b: &ParentRef| {
        (&a.kind, &a.namespace, &a.name) == (&b.kind, &b.namespace, &b.name)
    };
    for (index, (at, parent)) in places.iter().zip(parents).enumerate() {
        for (before, other) in parents.iter().enumerate().take(index) {
            if !same_object(parent, other) {
                continue;
            }
            let first = &places[before].path;
            if parent == other {
                at.error::<()>(format!("names the same as {first}"));
                break;
            }
            let told_by =
                |parent: &ParentRef| (parent.section_name.is_some(), parent.port.is_some());
            if told_by(parent) != told_by(other) {
                at.error::<()>(format!(
                    "names the same object as {first}, so both need a sectionName, or both a port"
                ));
                break;
            }
        }
    }
}
