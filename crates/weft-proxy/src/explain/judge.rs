//! What the proxy of an endpoint says to a request or a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use weft_decide::authorize::{Attempt, Audited, Decision};
use weft_http::RequestHead;
use weft_identity::OriginationError;
use weft_model::{BackendTimeouts, Port, TlsOrigination, TlsRoots};
use weft_wire::tunnel::InnerProtocol;

use super::{Caller, End, Refused};
use crate::connection::Codec;
use crate::decision;
use crate::error::ProxyError;
use crate::guard::{Guard, enforce};
use crate::inbound::admit;
use crate::snapshot::{EndpointSpec, Own, OwnPort, Reach, Snapshot, TunnelTarget};

/// What an endpoint's proxy says.
pub(super) struct Judged {
    pub decision: Option<Decision>,
    pub audits: Vec<Audited>,
    pub end: End,
}

/// That nobody whom `settings` trust can vouch for the server at `address`, if that is so.
pub(super) fn untrusted(settings: &TlsOrigination, address: SocketAddr) -> Option<ProxyError> {
    let TlsRoots::Nobody(why) = &settings.roots else { return None };
    let (hostname, source) =
        (settings.hostname.as_str().into(), OriginationError::NoRoots(why.clone()));
    Some(ProxyError::TlsOrigination { address, hostname, source })
}

/// What the endpoint of `spec` says to the caller: to a request, or to a connection whose bytes are
/// not looked into.
pub(super) fn judge(
    caller: &Caller,
    spec: &EndpointSpec,
    http: Option<(&mut RequestHead, Codec)>,
    server: &dyn Fn(&TunnelTarget) -> Arc<Snapshot>,
) -> Judged {
    let mut judged = Judged { decision: None, audits: Vec::new(), end: End::Application };
    let target = match &spec.reach {
        Reach::Application | Reach::Plain => return judged,
        Reach::Tls(settings) => {
            if let Some(error) = untrusted(settings, spec.address) {
                judged.end = End::Caller { refused: Refused::new(&error), server: None };
            }
            return judged;
        }
        Reach::NotInMesh(workload) => {
            let error = ProxyError::PeerNotInMesh { workload: workload.to_string() };
            judged.end = End::Caller { refused: Refused::new(&error), server: None };
            return judged;
        }
        Reach::Tunnel(target) => target,
    };
    let protocol = match &http {
        Some((_, Codec::Http1)) => InnerProtocol::Http1,
        Some((_, Codec::Http2)) => InnerProtocol::Http2,
        None => InnerProtocol::Opaque,
    };
    let snapshot = server(target);
    let pending = || ProxyError::PolicyPending { missing: "the own workload".to_owned() };
    let own = snapshot.own.as_deref().ok_or_else(pending);
    let opened = own
        .and_then(|own: &Own| admit(own, &target.preface(protocol, &BackendTimeouts::default())));
    let is_opaque = http.is_none();
    let result = match opened {
        Ok((port, OwnPort { guard, .. })) => {
            let called = spec.address;
            guarded(caller, &guard, port, called, http.map(|(head, _)| head), &mut judged)
                .map_err(|error| (error, is_opaque))
        }
        Err(error) => Err((error, true)),
    };
    let workload = target.workload.to_string();
    judged.end = match result {
        Ok(()) => End::Application,
        // It is told by the answer to the tunnel, before which nothing is read.
        Err((error, true)) => {
            let (reason, detail) = (error.verdict().reason.to_owned(), error.to_string());
            let server = Some(Refused::silent(&error));
            let refused = ProxyError::TunnelRefused { workload, reason, detail };
            End::Caller { refused: Refused::new(&refused), server }
        }
        Err((error, false)) if error.is_of_instance() => {
            let reason = error.verdict().reason.to_owned();
            let refused = ProxyError::NotProcessed { workload, reason };
            End::Caller { refused: Refused::new(&refused), server: Some(Refused::new(&error)) }
        }
        Err((error, false)) => End::Server(Refused::new(&error)),
    };
    judged
}

/// Whether what guards a port lets the caller through.
fn guarded(
    caller: &Caller,
    guard: &Guard,
    port: Port,
    called: SocketAddr,
    mut head: Option<&mut RequestHead>,
    judged: &mut Judged,
) -> Result<(), ProxyError> {
    if let Some(head) = head.as_deref_mut() {
        decision::prepare(head, called, true)?;
    }
    let (peer, address) = (Some(&caller.identity), caller.address);
    let attempt = Attempt { peer, address, port, http: head.as_deref() };
    if let Guard::Ready { authorizer, .. } = guard {
        judged.audits = authorizer.audits(&attempt).collect();
    }
    let decision = guard.decide(&attempt)?;
    judged.decision = Some(decision.clone());
    enforce(decision, &attempt)
}
