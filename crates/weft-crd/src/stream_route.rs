//! `gateway.networking.k8s.io/v1` TCPRoute and TLSRoute: where connections go, of whose bytes no
//! more is looked at than the name of the server that TLS says at its beginning.
//!
//! Source: Gateway API v1.7, standard channel, and GAMMA for Service parents.

use crate::metadata::Header;
use crate::names;
use crate::reader::{At, Fields};
use crate::route::{self, Route, RouteRule, Traffic};
use crate::timeouts::Timeouts;

/// The most hosts of a TLSRoute.
const SERVER_NAMES_MAX: usize = 1024;

const TCP_FIELDS: Fields = Fields {
    known: &["parentRefs", "rules"],
    not_yet: &["useDefaultGateways"],
    ignored: &[],
    no_nulls: false,
};

const TLS_FIELDS: Fields = Fields { known: &["parentRefs", "hostnames", "rules"], ..TCP_FIELDS };

const RULE_FIELDS: Fields =
    Fields { known: &["name", "backendRefs"], not_yet: &[], ignored: &[], no_nulls: false };

/// What nothing is left of without backends.
const NO_BACKENDS: &str = "name a backend";

pub(crate) fn read_tcp(header: Header, at: &At<'_>) -> Option<Route> {
    read(header, at, TCP_FIELDS)
}

pub(crate) fn read_tls(header: Header, at: &At<'_>) -> Option<Route> {
    read(header, at, TLS_FIELDS)
}

fn read(header: Header, at: &At<'_>, fields: Fields) -> Option<Route> {
    let namespace = header.namespace.as_str();
    let object = at.object(fields)?;
    let parents = route::read_parents(&object, namespace);
    let hostnames = match fields.known.contains(&"hostnames") {
        true => object.need("hostnames", |at| {
            let read =
                |at: &At<'_>| at.parsed(|text| names::hostname(text).map(|()| text.to_owned()));
            at.filled_list(SERVER_NAMES_MAX, "name a host, or write a TCPRoute", read)
        }),
        false => Some(Vec::new()),
    };
    let rules =
        object.need("rules", |at| at.filled_list(1, "write a rule", |at| read_rule(at, namespace)));
    Some(Route {
        metadata: header.metadata?,
        parents: parents?,
        hostnames: hostnames?,
        rules: rules?,
    })
}

fn read_rule(at: &At<'_>, namespace: &str) -> Option<RouteRule> {
    let object = at.object(RULE_FIELDS)?;
    let name = route::read_name(&object);
    let backends = object
        .need("backendRefs", |at| {
            if matches!(&at.node.value, crate::node::Value::List(items) if items.is_empty()) {
                return at.error(format!("an empty list is not allowed: {NO_BACKENDS}"));
            }
            Some(())
        })
        .and_then(|()| route::read_backends(&object, namespace, Traffic::Streams));
    let (backends, _) = backends?;
    route::warn_if_nowhere(at, &backends, Traffic::Streams);
    Some(RouteRule {
        name: name?,
        matches: Vec::new(),
        filters: Vec::new(),
        backends,
        timeouts: Timeouts::default(),
        retry: None,
    })
}

#[cfg(test)]
mod tests;
