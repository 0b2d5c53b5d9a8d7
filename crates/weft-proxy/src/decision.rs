//! What is decided about a request before any connection is used: the proxy acts on it, and an
//! explanation shows it.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use weft_decide::egress::host_of;
use weft_decide::eject::Standing;
use weft_decide::failover::Tally;
use weft_decide::filters::{self, Facts};
use weft_decide::route::{self, Matched, Selected};
use weft_decide::subset::Wanted;
use weft_decide::{normalize, panic};
use weft_http::{Known, RequestHead};
use weft_model::{self as model, ExternalService, Failover, Health};

use crate::connection::Codec;
use crate::error::ProxyError;
use crate::outbound::{of_external, of_service};
use crate::snapshot::{Destination, Snapshot};

/// How the endpoints of `destination` must fare to be called, those before the others; each a list
/// of equals.
pub(crate) fn callable(destination: &Destination) -> &'static [&'static [Health]] {
    let healths = destination.endpoints.iter().map(|spec| spec.health);
    panic::callable(healths, destination.traffic.panic_threshold.0)
}

/// The endpoints of `destination` that the request `head` is for, or a connection without one;
/// none where it is for all.
pub(crate) fn wanted<'d>(
    destination: &'d Destination,
    head: Option<&'d RequestHead>,
) -> Option<Wanted<'d>> {
    destination.traffic.subset.as_ref().map(|policy| Wanted::new(policy, head))
}

/// That the backend called `name` has no endpoint for a request that is for those `wanted`.
pub(crate) fn no_endpoint(name: &impl Display, wanted: Option<Wanted<'_>>) -> ProxyError {
    let wanted = wanted.map(|wanted| wanted.to_string()).filter(|wanted| !wanted.is_empty());
    let backend = match wanted {
        Some(wanted) => format!("{name} with {wanted}"),
        None => name.to_string(),
    };
    ProxyError::NoEndpoint { backend }
}

/// Gives the request its one spelling, and takes out what only the mesh may say, unless it comes
/// from there. `called` is the address that it came to.
///
/// # Errors
/// [`ProxyError::ConnectMethod`], [`ProxyError::BadPath`].
pub(crate) fn prepare(
    head: &mut RequestHead,
    called: SocketAddr,
    is_from_mesh: bool,
) -> Result<(), ProxyError> {
    if head.method() == "CONNECT" {
        return Err(ProxyError::ConnectMethod);
    }
    normalize::target(head).map_err(ProxyError::BadPath)?;
    if head.authority().is_empty() {
        // HTTP/1.0 may name no host, HTTP/1.1 must: the address that was called is the best guess.
        head.set_authority(&called.to_string());
    }
    if !is_from_mesh {
        head.fields.remove_known(|known| known == Known::Weft);
    }
    Ok(())
}

/// The rule that a request to `called` falls under; none if that has no rules at all.
///
/// # Errors
/// [`ProxyError::NoRoute`].
pub(crate) fn rule<'d>(
    called: &'d Destination,
    head: &RequestHead,
) -> Result<Option<Matched<'d>>, ProxyError> {
    if called.routes.is_empty() {
        return Ok(None);
    }
    let no_route = || ProxyError::NoRoute { destination: called.name.to_string() };
    called.routes.select_match(head).ok_or_else(no_route).map(Some)
}

/// The rule that a connection to `called` falls under, which is for the server `name` if it says
/// one.
///
/// # Errors
/// [`ProxyError::NoRoute`].
pub(crate) fn stream_rule<'d>(
    called: &'d Destination,
    name: Option<&str>,
) -> Result<Selected<'d>, ProxyError> {
    let no_route = || ProxyError::NoRoute { destination: called.name.to_string() };
    called.routes.select_stream(name).ok_or_else(no_route)
}

/// Checks that a request on a connection to `host` is for the destination `service` that has it: a
/// name opens no other.
///
/// # Errors
/// [`ProxyError::WrongHost`].
pub(crate) fn check_host(
    head: &RequestHead,
    host: &str,
    service: &ExternalService,
) -> Result<(), ProxyError> {
    let asked = host_of(head.authority());
    if service.has_host(&asked) {
        return Ok(());
    }
    let (host, service) = (host.to_owned(), service.name.to_string());
    Err(ProxyError::WrongHost { asked, host, service })
}

/// The same for a connection of TLS, which must say whom it is for where TLS is `declared`.
///
/// # Errors
/// [`ProxyError::WrongServerName`].
pub(crate) fn check_server_name(
    asked: Option<&str>,
    declared: model::Protocol,
    host: &str,
    service: &ExternalService,
) -> Result<(), ProxyError> {
    let is_fine = match asked {
        Some(name) => service.has_host(name),
        None => declared != model::Protocol::Tls,
    };
    if is_fine {
        return Ok(());
    }
    let (host, service) = (host.to_owned(), service.name.to_string());
    Err(ProxyError::WrongServerName { asked: asked.map(str::to_owned), host, service })
}

/// Whether TLS of the program's own may go to `destination`.
///
/// # Errors
/// [`ProxyError::TlsInTls`].
pub(crate) fn check_own_tls(destination: &Destination) -> Result<(), ProxyError> {
    match destination.tls() {
        None => Ok(()),
        Some(_) => Err(ProxyError::TlsInTls(destination.name.to_string())),
    }
}

/// Has the filters of the backend that `to` is change the request, as those of its rule have.
pub(crate) fn on_way(to: route::Destination<'_>, facts: &Facts<'_>, head: &mut RequestHead) {
    if let route::Destination::Backend(backend) = to {
        filters::on_request(&backend.filters, facts, head);
    }
}

/// What the backend of a rule of what was `called` is, as `to` says it, which is what was drawn of
/// the rule's backends.
///
/// # Errors
/// [`ProxyError::NoBackend`], [`ProxyError::NoWeight`].
pub(crate) fn backend(
    snapshot: &Snapshot,
    called: &Destination,
    selected: Selected<'_>,
    to: route::Destination<'_>,
) -> Result<Arc<Destination>, ProxyError> {
    let Selected { route, rule_index: rule, rule: _ } = selected;
    let no_backend =
        |why: String| ProxyError::NoBackend { route: route.name.to_string(), rule, why };
    match to {
        route::Destination::Backend(backend) => match &backend.backend {
            model::Backend::Service { name, port } => {
                of_service(snapshot, name, *port).map_err(|error| no_backend(error.to_string()))
            }
            model::Backend::External { name, port } => {
                let found = of_external(snapshot, called, name, *port);
                found.map_err(|error| no_backend(error.to_string()))
            }
            model::Backend::Missing { reason } => Err(no_backend(reason.clone())),
        },
        route::Destination::NoBackend => Err(no_backend("none is named".to_owned())),
        route::Destination::NoWeight => {
            Err(ProxyError::NoWeight { route: route.name.to_string(), rule })
        }
    }
}

/// The Service that takes over from `destination`, if one may and is there.
pub(crate) fn other(snapshot: &Snapshot, destination: &Destination) -> Option<Arc<Destination>> {
    let Failover { service, port, healthy_min: _ } = destination.traffic.failover.as_ref()?;
    of_service(snapshot, service, port.or(destination.name.port())?).ok()
}

/// The same for one of whose endpoints only their health is known, and only if it does take over.
pub(crate) fn other_by_health(
    snapshot: &Snapshot,
    destination: &Destination,
) -> Option<Arc<Destination>> {
    let tally = |destination: &Destination| {
        let mut tally = Tally::default();
        let healths = destination.endpoints.iter().map(|spec| spec.health);
        healths.for_each(|health| tally.add(health, Standing::Ready));
        tally
    };
    let failover = destination.traffic.failover.as_ref()?;
    let other = other(snapshot, destination)?;
    (tally(destination).is_too_low(failover) && tally(&other).can_serve()).then_some(other)
}

/// How the request is written to its server: as the caller wrote it, unless it is declared
/// otherwise. Only HTTP/1.1 can change to another protocol.
pub(crate) fn upstream_codec(declared: model::Protocol, head: &RequestHead, from: Codec) -> Codec {
    match declared {
        _ if head.upgrade => Codec::Http1,
        model::Protocol::Http2 | model::Protocol::Grpc => Codec::Http2,
        model::Protocol::Http | model::Protocol::WebSocket => Codec::Http1,
        model::Protocol::Detect | model::Protocol::Tls | model::Protocol::Opaque => from,
    }
}
