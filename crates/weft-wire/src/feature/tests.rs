//! What an object requires follows from what it holds.

use std::sync::Arc;

use weft_model::{
    ExactValue, HashOn, HeaderName, Label, QueryMatch, Service, SessionCarrier, SessionPersistence,
    Subset, SubsetFallback, SubsetLabel, TimeBound, ValueMatch,
};

use super::*;
use crate::envelope::{SourceVersion, WireObject};
use crate::testing::{
    external, external_of_ports, external_route, faults, filters, guards_of_port, one_of_each,
    policy, read, route, routed_external, service, service_of_ports, trust,
};

fn required(object: impl Into<Object>) -> Vec<&'static str> {
    Feature::required_by(&object.into()).into_iter().map(Feature::name).collect()
}

fn subset() -> Subset {
    let header = HeaderName::new("x-version").unwrap();
    let label = SubsetLabel { name: Label::new("version").unwrap(), header, default: None };
    Subset { labels: vec![label], fallback: SubsetFallback::Any }
}

fn session() -> SessionPersistence {
    let carrier = SessionCarrier::Header(HeaderName::new("x-session").unwrap());
    SessionPersistence { carrier, absolute: None, idle: None }
}

#[test]
fn each_feature_is_required_by_what_uses_it_and_by_nothing_else() {
    assert_eq!(required(policy("shop/callers", "dev")), [""; 0]);
    let Policy::Authorization(plain) = policy("shop/callers", "dev");
    type Lists = fn(&mut AuthorizationPolicy) -> &mut Vec<Rule>;
    let lists: [Lists; 3] = [|it| it.allow.insert(vec![]), |it| &mut it.deny, |it| &mut it.audit];
    let exceptions: [fn(&mut Peer) -> bool; 4] = [
        |it| it.not_identities.insert(read("spiffe://weft.local/ns/shop/sa/web")),
        |it| it.not_service_accounts.insert(read("shop/web")),
        |it| it.not_namespaces.insert(weft_model::Namespace::new("dev").unwrap()),
        |it| it.not_cidrs.insert(weft_model::Cidr::new(read("10.0.0.0"), 8).unwrap()),
    ];
    for list in lists {
        for exception in exceptions {
            let (mut policy, mut peer) = (plain.clone(), Peer::default());
            assert!(exception(&mut peer));
            list(&mut policy).push(Rule { from: Some(vec![peer]), to: None });
            assert_eq!(required(Policy::Authorization(policy)), ["peer-exceptions"]);
        }
    }

    let auditing = AuthorizationPolicy { mode: PolicyMode::Audit, ..plain };
    assert_eq!(required(Policy::Authorization(auditing)), ["audit-mode"]);

    let mesh = crate::testing::mesh();
    let auditing = weft_model::MeshSettings { unguarded: UnguardedPolicy::Audit, ..mesh };
    assert_eq!(required(Object::Mesh(Arc::new(auditing))), ["audit-mode"]);
    let mesh = crate::testing::mesh();
    let auditing = weft_model::MeshSettings { outbound: OutboundPolicy::Audit, ..mesh };
    assert_eq!(required(Object::Mesh(Arc::new(auditing))), ["outbound-audit"]);

    assert_eq!(required(Object::Guards(Arc::new(guards_of_port()))), ["port-policies"]);
    // Also what the port alone asks for.
    assert_eq!(required(service_of_ports()), ["port-policies", "slow-start"]);
    let of_external = ["external-port-policies", "external-service", "slow-start"];
    assert_eq!(required(external_of_ports()), of_external);

    let mut outside = external("shop/api");
    assert_eq!(required(outside.clone()), ["external-service"]);
    outside.ports.get_mut(&crate::testing::port(80)).unwrap().tls = Some(crate::testing::tls());
    assert_eq!(required(outside.clone()), ["external-service", "tls-origination"]);
    outside.ports.get_mut(&crate::testing::port(80)).unwrap().tls = None;
    outside.traffic.slow_start = TimeBound::from_millis(7);
    assert_eq!(required(outside), ["external-service", "slow-start"]);
    let mut led_out = route("http/shop/cart", "shop/cart", &["shop/cart-v1"]);
    led_out.rules[0].backends[0].backend =
        weft_model::Backend::External { name: read("shop/api"), port: crate::testing::port(80) };
    assert_eq!(required(led_out), ["external-service"]);

    assert_eq!(required(routed_external()), ["external-route", "external-service"]);
    let mut egress = external_route("http/shop/egress", "shop/routed");
    assert_eq!(required(egress.clone()), ["external-route", "external-service"]);
    egress.rules[0].backends.pop();
    assert_eq!(required(egress), ["external-route"]);

    let mut by_query = route("http/shop/cart", "shop/cart", &["shop/cart-v1"]);
    assert_eq!(required(by_query.clone()), [""; 0]);
    let one = ValueMatch::Exact(ExactValue::new("1").unwrap());
    by_query.rules[0].matches[0].query.push(QueryMatch::new("canary", one).unwrap());
    assert_eq!(required(by_query), ["query-match"]);

    let plain = route("http/shop/cart", "shop/cart", &["shop/cart-v1"]);
    let required_by = [
        "header-modifiers",
        "header-modifiers",
        "url-rewrite",
        "redirect",
        "cors",
        "request-mirror",
    ];
    assert_eq!(filters().len(), required_by.len());
    for (filter, feature) in filters().into_iter().zip(required_by) {
        let mut of_backend = plain.clone();
        of_backend.rules[0].backends[0].filters.push(filter.clone());
        assert_eq!(required(of_backend), [feature]);
        let mut of_rule = plain.clone();
        of_rule.rules[0].filters.push(filter);
        assert_eq!(required(of_rule), [feature]);
    }

    assert_eq!(required(route("grpc/shop/cart", "shop/cart", &[])), ["grpc-route"]);
    assert_eq!(required(route("http/other/cart", "shop/cart", &[])), ["consumer-route"]);
    assert_eq!(required(route("tcp/shop/cart", "shop/cart", &[])), ["stream-route"]);
    assert_eq!(required(route("tls/shop/cart", "shop/cart", &[])), ["stream-route"]);

    assert_eq!(required(Object::Trust(Arc::new(trust(1)))), [""; 0]);
    let renewing = weft_model::Trust { renew_below: Some([9; 32]), ..trust(1) };
    assert_eq!(required(Object::Trust(Arc::new(renewing))), ["renew-below"]);

    let mut faulty = service("shop/cart", "240.119.0.1");
    faulty.traffic.faults = faults();
    assert_eq!(required(faulty), ["faults"]);
    let mut faulty = plain.clone();
    faulty.rules[0].faults = faults();
    assert_eq!(required(faulty), ["faults"]);

    let mut balanced = service("shop/cart", "240.119.0.1");
    for (balance, expected) in [
        (Balance::PeakEwma, &[][..]),
        (Balance::RoundRobin, &[]),
        (Balance::LeastRequest, &["load-balancing-algorithms"]),
        (Balance::Random, &["load-balancing-algorithms"]),
        (Balance::RingHash([HashOn::SourceAddress].into()), &["load-balancing-algorithms"]),
        (Balance::Maglev([HashOn::SourceAddress].into()), &["load-balancing-algorithms"]),
    ] {
        balanced.traffic.balance = balance.clone();
        assert_eq!(required(balanced.clone()), expected, "{balance:?}");
    }

    let mut calm = service("shop/cart", "240.119.0.1");
    calm.traffic.panic_threshold = PanicThreshold(weft_model::Percent::new(0).unwrap());
    assert_eq!(required(calm), ["panic-threshold"]);

    let mut strict = service("shop/cart", "240.119.0.1");
    strict.traffic.ejection.peers.latency = weft_model::Ratio::from_thousandths(2_000);
    assert_eq!(required(strict), ["ejection-by-peers"]);

    let mut replaced = service("shop/cart", "240.119.0.1");
    replaced.traffic.failover = Some(weft_model::Failover {
        service: read("shop/other"),
        port: Some(crate::testing::port(81)),
        healthy_min: weft_model::Percent::new(50).unwrap(),
    });
    assert_eq!(required(replaced), ["failover"]);

    let mut limited = service("shop/cart", "240.119.0.1");
    limited.traffic.limits.requests_per_endpoint = std::num::NonZeroU32::new(9);
    assert_eq!(required(limited), ["limits-per-endpoint"]);

    let mut adaptive = service("shop/cart", "240.119.0.1");
    adaptive.traffic.limits.adaptive_tolerance = weft_model::Ratio::from_thousandths(2_000);
    assert_eq!(required(adaptive), ["adaptive-limits"]);

    let mut sticky = service("shop/cart", "240.119.0.1");
    sticky.traffic.session = Some(session());
    assert_eq!(required(sticky), ["session-persistence"]);

    let mut by_version = service("shop/cart", "240.119.0.1");
    by_version.traffic.subset = Some(subset());
    assert_eq!(required(by_version), ["subset"]);

    let mut slow = service("shop/cart", "240.119.0.1");
    slow.traffic.slow_start = TimeBound::from_millis(7);
    assert_eq!(required(slow), ["slow-start"]);

    let mut patient: Service = service("shop/cart", "240.119.0.1");
    assert_eq!(required(patient.clone()), [""; 0]);
    patient.traffic.timeouts.stream_idle = TimeBound::from_millis(7).unwrap();
    assert_eq!(required(patient), ["stream-idle"]);
}

#[test]
fn every_feature_has_a_name_of_its_own_and_an_object_that_requires_it() {
    let names: Vec<_> = Feature::ALL.into_iter().map(Feature::name).collect();
    assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
    // Names are sent in the order of the features, and read in their own: these are the same.
    assert!(Feature::ALL.is_sorted_by(|one, other| one < other), "{names:?}");
    let unusual = {
        let mut service = service("shop/unusual", "240.119.0.9");
        service.traffic.timeouts.stream_idle = TimeBound::from_millis(7).unwrap();
        service.traffic.balance = Balance::Random;
        service.traffic.slow_start = TimeBound::from_millis(7);
        service.traffic.session = Some(session());
        service.traffic.subset = Some(subset());
        service.traffic.ejection.peers.latency = weft_model::Ratio::from_thousandths(2_000);
        service.traffic.failover = Some(weft_model::Failover {
            service: read("shop/other"),
            port: None,
            healthy_min: weft_model::Percent::new(50).unwrap(),
        });
        let tolerance = weft_model::Ratio::from_thousandths(2_000);
        service.traffic.limits.adaptive_tolerance = tolerance;
        service.traffic.limits.requests_per_endpoint = std::num::NonZeroU32::new(9);
        service.traffic.panic_threshold = PanicThreshold(weft_model::Percent::new(0).unwrap());
        service.into()
    };
    let auditing =
        weft_model::MeshSettings { outbound: OutboundPolicy::Audit, ..crate::testing::mesh() };
    let auditing = Object::Mesh(Arc::new(auditing));
    let objects = one_of_each().into_iter().chain([unusual, auditing]);
    let used: BTreeSet<_> = objects.flat_map(|object| Feature::required_by(&object)).collect();
    assert_eq!(used, Feature::ALL.into());
}

#[test]
fn every_feature_stands_in_the_page_for_users() {
    let page = include_str!("../../../../docs/control.md");
    for feature in Feature::ALL {
        assert!(page.contains(&format!("\n| `{}` | ", feature.name())), "{feature:?}");
    }
}

#[test]
fn a_release_reads_what_requires_only_what_it_has() {
    let source = SourceVersion { epoch: 1, revision: 1 };
    for object in one_of_each() {
        let wire = WireObject::new(object, source).unwrap();
        let required = Feature::required_by(wire.object());
        for lacking in Feature::ALL {
            let mut release = Release::this();
            release.features.remove(&lacking);
            let read = WireObject::decode("it", wire.bytes(), &release);
            match required.contains(&lacking) {
                true => assert!(read.unwrap_err().to_string().contains(lacking.name())),
                false => assert_eq!(read.unwrap(), wire),
            }
        }
    }
}
