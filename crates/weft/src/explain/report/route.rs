//! What is spoken, and by which rule something goes.

use std::collections::BTreeSet;

use weft_decide::explain::{self as words, Stage};
use weft_model::{Parent, Protocol, RouteName};
use weft_proxy::explain::{Called, Explanation, Refused};
use weft_proxy::snapshot::{Destination, DestinationName};
use weft_telemetry::Protocol as Spoken;

use super::{Mesh, Told, cause, passed, port_cause, refused, selected};

/// What is spoken.
pub(super) fn protocol(mesh: &Mesh, destination: &Destination, explanation: &Explanation) -> Told {
    let spoken = &explanation.protocol;
    let is_declared = match &destination.name {
        DestinationName::Service(service, port) => {
            mesh.service_port(service, *port).is_none_or(|(_, is_declared)| is_declared)
        }
        DestinationName::External(external, _, port) => {
            mesh.external_port(external, *port).is_none_or(|(_, is_declared)| is_declared)
        }
        _ => true,
    };
    let text = match destination.spoken() {
        Protocol::Detect if *spoken == Spoken::Http1 => {
            "nothing is declared, and the first bytes are HTTP/1.1's"
        }
        Protocol::Detect if spoken.has_requests() => {
            "nothing is declared, and the first bytes are HTTP/2's"
        }
        Protocol::Detect => "nothing is declared, and the first bytes are not HTTP's",
        Protocol::Http if !is_declared => "HTTP, since a route is for this port",
        Protocol::Http => "HTTP, as declared",
        Protocol::Http2 => "HTTP/2 to the application, as declared",
        Protocol::Grpc if !is_declared => "gRPC, since a route is for this port",
        Protocol::Grpc => "gRPC to the application, as declared",
        Protocol::WebSocket => "WebSocket or HTTP, as declared",
        Protocol::Tls if !is_declared => {
            "the applications' own TLS, since a route is for this port: its server's name is read"
        }
        Protocol::Tls => "the applications' own TLS, as declared: nobody looks into it",
        Protocol::Opaque if !is_declared => {
            "bytes that nobody looks into, since a route is for this port"
        }
        Protocol::Opaque => "bytes that nobody looks into",
    };
    let mut because = match is_declared {
        true => port_cause(mesh, &destination.name, ".appProtocol"),
        false => port_cause(mesh, &destination.name, ""),
    };
    if !is_declared {
        let routes: BTreeSet<_> = destination.routes.names().iter().collect();
        let attached =
            |route: &RouteName| cause(route.kind.kind(), &route.object, "spec.parentRefs");
        because.extend(routes.into_iter().map(attached));
    }
    passed(Stage::Protocol, text, because)
}

/// The rule that a request falls under.
pub(super) fn route(called: &Called, destination: &Destination, explanation: &Explanation) -> Told {
    let head = &explanation.head;
    let (parent, port) = match (&destination.name, called) {
        (DestinationName::Service(service, port), _) | (_, Called::Service(service, port)) => {
            (Parent::Service(service.clone()), *port)
        }
        (DestinationName::External(external, _, port), _) if !destination.routes.is_empty() => {
            (Parent::External(external.clone()), *port)
        }
        _ => return passed(Stage::Route, format!("to {} itself", destination.name), vec![]),
    };
    let matched = destination.routes.select_match(head);
    let step = words::route(&parent, port, &destination.routes, matched.as_ref());
    let mut decided = false;
    let mut not = Vec::new();
    for one in destination.routes.consider(head) {
        if one.unmet.is_none() && !std::mem::replace(&mut decided, true) {
            continue;
        }
        not.push(words::considered(head, &one));
    }
    not.extend(words::passed_over(&destination.routes));
    Told { step, not }
}

/// The rule that a connection falls under.
pub(super) fn stream_route(destination: &Destination, explanation: &Explanation) -> Told {
    let (parent, port) = match &destination.name {
        DestinationName::Service(service, port) => (Parent::Service(service.clone()), *port),
        DestinationName::External(external, _, port) => (Parent::External(external.clone()), *port),
        _ => return passed(Stage::Route, format!("to {} itself", destination.name), vec![]),
    };
    if let Err(Refused { verdict, detail, .. }) = &explanation.ways
        && verdict.reason == "bad-hello"
    {
        return refused(Stage::Route, verdict.reason, detail, vec![]);
    }
    let name = explanation.server_name.as_deref();
    let selected = explanation.rule.as_ref().map(selected);
    let step = words::stream(&parent, port, name, selected.as_ref());
    Told { step, not: words::passed_over(&destination.routes) }
}
