//! The rules and policies that scenarios draw, none of which a caller is to notice but by time.

use std::sync::Arc;

use weft_model::{
    Abort, AbortStatus, AbortWith, Backend, Balance, Delay, ExactValue, Fault, Filter, Fraction,
    HashOn, HeaderEdits, HeaderName, HttpPath, Mirror, ObjectName, Parent, PathMatch, Percent,
    Retry, RetryStatus, Route, RouteMatch, RouteParent, RouteRule, SessionCarrier,
    SessionPersistence, TimeBound, Timeouts, TrafficPolicy, Weight, WeightedBackend,
};
use weft_wire::Object;

use crate::entropy::Random;
use crate::registry::port;

/// What is called.
pub(super) fn service() -> ObjectName {
    "shop/web".parse().expect("it is a name")
}

/// Where rules have copies of requests go.
fn shadow() -> ObjectName {
    "shop/shadow".parse().expect("it is a name")
}

/// How callers treat the Service: by which endpoint they go, and whether they stay with it.
pub(super) fn traffic(random: &mut Random) -> TrafficPolicy {
    let name = || HeaderName::new(SESSION).expect("it is a name");
    let hash_on = || [HashOn::Header(name())].into();
    let balance = match random.below(4) {
        0 => Balance::RoundRobin,
        1 => Balance::RingHash(hash_on()),
        2 => Balance::Maglev(hash_on()),
        _ => Balance::default(),
    };
    let session = SessionPersistence {
        carrier: SessionCarrier::Header(name()),
        absolute: None,
        idle: TimeBound::from_millis(2_000),
    };
    let session = random.chance(0.5).then_some(session);
    TrafficPolicy { balance, session, ..TrafficPolicy::default() }
}

/// The header of answers that says with whom a caller stays.
pub(super) const SESSION: &str = "x-session";

/// Filters that callers and applications do not mind: fields of both heads, and copies.
fn filters(random: &mut Random) -> Vec<Filter> {
    let field = |name: &str| {
        let name = HeaderName::new(name).expect("it is a name");
        (name, ExactValue::new("1").expect("it is a value"))
    };
    let edits = || {
        let edits = HeaderEdits::new(vec![field("x-set")], vec![field("x-added")], vec![]);
        edits.expect("each name stands there once")
    };
    let mirror = Mirror {
        backend: Backend::Service { name: shadow(), port: port(80) },
        share: Fraction::new(1, 2).expect("it is a part"),
    };
    let all =
        [Filter::RequestHeaders(edits()), Filter::ResponseHeaders(edits()), Filter::Mirror(mirror)];
    all.into_iter().filter(|_| random.chance(0.4)).collect()
}

/// A fault: one that only takes time, if it `is_gentle`.
fn fault(random: &mut Random, is_gentle: bool) -> Fault {
    let percent = Percent::new(50).expect("it is at most 100");
    let time = TimeBound::from_millis(300).expect("it is not zero");
    let status = AbortStatus::new(418).expect("it is a failure");
    let abort = Abort { percent, with: AbortWith::Http(status) };
    Fault {
        policy: "shop/drill".parse().expect("it is a name"),
        headers: vec![],
        delay: Some(Delay { percent, time }),
        abort: (!is_gentle && random.chance(0.5)).then_some(abort),
        active_max: Fault::ACTIVE_MAX,
    }
}

/// A route that leads where there is none, too.
pub(super) fn rules(random: &mut Random, retried: &[u16], is_gentle: bool) -> Object {
    let backend = Backend::Service { name: service(), port: port(80) };
    let weight = Weight::new(1).expect("it is small");
    let path = PathMatch::Prefix(HttpPath::new("/").expect("it is a path"));
    let statuses = retried.iter().map(|status| RetryStatus::new(*status).expect("it is an error"));
    let retry = Retry { retries_max: 3, statuses: statuses.collect(), ..Retry::default() };
    // Longer than any answer takes.
    let bound = TimeBound::from_millis(60_000);
    let timeouts = Timeouts::new(bound, None).expect("there is no attempt's");
    let rule = RouteRule {
        name: None,
        matches: vec![RouteMatch { path, headers: vec![], query: vec![], method: None }],
        filters: filters(random),
        backends: vec![WeightedBackend { backend, weight, filters: vec![] }],
        timeouts: if random.chance(0.5) { timeouts } else { Timeouts::default() },
        retry: random.chance(0.5).then_some(retry),
        faults: if random.chance(0.4) { vec![fault(random, is_gentle)] } else { vec![] },
    };
    Object::Route(Arc::new(Route {
        name: "http/shop/web".parse().expect("it is a name"),
        created: 0,
        parents: [RouteParent { parent: Parent::Service(service()), port: None }].into(),
        hostnames: Default::default(),
        rules: vec![rule],
    }))
}
