//! What becomes of a connection of whose bytes no more is looked at than the name of a server.

use std::sync::Arc;

use weft_decide::route;

use super::endpoints::{endpoints, key};
use super::judge::judge;
use super::{Caller, Chosen, End, Explanation, Sent, Way, ends, place};
use crate::decision;
use crate::detect::HelloError;
use crate::error::ProxyError;
use crate::snapshot::{Destination, EndpointSpec, Snapshot, TunnelTarget};

/// What becomes of bytes that are not looked into, but for the name of a server.
pub(super) fn stream(
    caller: &Caller,
    destination: &Arc<Destination>,
    sent: &Sent,
    server: &dyn Fn(&TunnelTarget) -> Arc<Snapshot>,
    told: &mut Explanation,
) -> Result<Vec<Way>, ProxyError> {
    let is_tls = matches!(sent, Sent::Tls(_));
    let check = |backend: Arc<Destination>| match is_tls {
        true => decision::check_own_tls(&backend).map(|()| backend),
        false => Ok(backend),
    };
    if destination.routes.is_empty() {
        let destination = check(destination.clone())?;
        let mut way = Way::new(None, 1, 1);
        way.carry(caller, destination, server);
        return Ok(vec![way]);
    }
    let name = match sent {
        Sent::Tls(name) => {
            told.server_name.clone_from(name);
            name.as_deref()
        }
        _ if destination.routes.needs_server_name() => {
            return Err(ProxyError::BadHello(HelloError::NotTls));
        }
        _ => None,
    };
    let selected = decision::stream_rule(destination, name)?;
    let (route, rule_index) = (selected.route.clone(), selected.rule_index);
    let port = destination.name.port().expect("routes are for ports of Services");
    told.rule = Some(Chosen { route, rule_index, match_index: 0, port, prefix: String::new() });
    let all = route::destinations(selected.rule);
    let total = all.iter().map(|(_, share)| share).sum();
    let way = |(to, share): (route::Destination<'_>, u64)| {
        let mut way = Way::new(place(selected.rule, to), share, total);
        match decision::backend(&caller.snapshot, destination, selected, to).and_then(check) {
            Ok(backend) => way.carry(caller, backend, server),
            Err(error) => way.end(&error),
        }
        way.ends.iter_mut().for_each(End::silence);
        way
    };
    Ok(all.into_iter().map(way).collect())
}

impl Way {
    /// The connection goes to `backend`.
    fn carry(
        &mut self,
        caller: &Caller,
        backend: Arc<Destination>,
        server: &dyn Fn(&TunnelTarget) -> Arc<Snapshot>,
    ) {
        let backend = self.taken_over(caller, backend);
        let judge = |spec: &EndpointSpec| {
            let mut judged = judge(caller, spec, None, server);
            judged.end.silence();
            judged
        };
        let wanted = decision::wanted(&backend, None);
        self.wanted = wanted.map(|wanted| wanted.to_string()).unwrap_or_default();
        let key = key(caller, &backend, None);
        self.hashed = key.as_ref().map(|key| key.by.clone());
        self.endpoints = endpoints(caller, &backend, None, key.as_ref(), judge);
        self.ends = ends(&self.endpoints, &backend, None, None);
        self.ends.iter_mut().for_each(End::silence);
    }
}
