//! Which endpoints of a backend a request may go to.

use weft_decide::balance::{self, Key, Source};
use weft_decide::locality::{self, Tally};
use weft_http::RequestHead;
use weft_model::HashOn;

use super::judge::Judged;
use super::{Caller, Endpoint};
use crate::decision;
use crate::snapshot::{Destination, EndpointSpec};

/// What a request with `head` is told apart by at `backend`, or a connection without one.
pub(super) fn key<'d>(
    caller: &Caller,
    backend: &'d Destination,
    head: Option<&RequestHead>,
) -> Option<Key<'d>> {
    let source = Source { address: caller.address, workload: None };
    balance::key(backend.traffic.balance.hash_on(), head, source, || 0)
}

/// The endpoint that `key` leads to among those that are callable, if that can be told: a new
/// cookie is drawn, and where its caller calls from only a proxy sees.
fn by_key(
    destination: &Destination,
    key: &Key<'_>,
    is_callable: impl Fn(&EndpointSpec) -> bool,
) -> Option<usize> {
    let is_told = key.set_cookie.is_none() && *key.by != HashOn::SourceAddress;
    let table = destination.table.as_ref().filter(|_| is_told)?;
    table.find(key.hash, |index| is_callable(&destination.endpoints[index]))
}

/// Which endpoints of `destination` may be called: of those that are wanted, or that come instead,
/// those that fare best. None where there are none.
fn callable<'d>(
    destination: &'d Destination,
    head: Option<&'d RequestHead>,
) -> Option<impl Fn(&EndpointSpec) -> bool + 'd> {
    let mut wanted = decision::wanted(destination, head);
    loop {
        let is_wanted = move |spec: &EndpointSpec| wanted.is_none_or(|it| it.has(&spec.labels));
        let best = decision::callable(destination).iter().find(|healths| {
            let mut specs = destination.endpoints.iter();
            specs.any(|spec| is_wanted(spec) && healths.contains(&spec.health))
        });
        if let Some(best) = best {
            return Some(move |spec: &EndpointSpec| is_wanted(spec) && best.contains(&spec.health));
        }
        wanted = wanted?.fallback()?;
    }
}

/// The endpoints of `destination`, each with what `judge` says of it and whether a request with
/// `head` may go there, or a connection without one.
pub(super) fn endpoints(
    caller: &Caller,
    destination: &Destination,
    head: Option<&RequestHead>,
    key: Option<&Key<'_>>,
    judge: impl Fn(&EndpointSpec) -> Judged,
) -> Vec<Endpoint> {
    let own = caller.snapshot.own.as_ref().and_then(|own| own.locality.as_ref());
    let specs = &destination.endpoints;
    let distance = |spec: &EndpointSpec| locality::distance(own, spec.locality.as_ref());
    let is_callable = callable(destination, head);
    let is_callable = |spec: &EndpointSpec| is_callable.as_ref().is_some_and(|it| it(spec));
    let mut tally = Tally::default();
    specs.iter().filter(|spec| is_callable(spec)).for_each(|spec| tally.add(distance(spec), 0));
    let reach = match key {
        Some(_) => locality::Reach::All,
        None => locality::reach(&destination.traffic.locality, &tally),
    };
    let of_key = key.and_then(|key| by_key(destination, key, is_callable));
    let endpoint = |(index, spec): (usize, &EndpointSpec)| {
        let Judged { decision, audits, end } = judge(spec);
        let (is_callable, distance) = (is_callable(spec), distance(spec));
        let is_preferred =
            is_callable && distance <= reach && of_key.is_none_or(|of_key| of_key == index);
        let spec = spec.clone();
        Endpoint { spec, distance, is_callable, is_preferred, decision, audits, end }
    };
    specs.iter().enumerate().map(endpoint).collect()
}
