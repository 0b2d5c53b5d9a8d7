//! A proxy that lacks what an object requires, or reads another schema.

use weft_model::{ExactValue, Namespace, Policy, QueryMatch, Rule, ValueMatch};

use super::guarding::{deny, in_force, policies, set, unguarded};
use super::*;
use crate::testing::{external_route, routed_external};

const ROUTE: &str = "route/http/shop/cart";

/// The route of the small world, for requests with this value of the parameter `canary` only.
fn by_query(value: &str, revision: u64) -> Arc<WireObject> {
    let mut route = route("http/shop/cart", "shop/cart", &["shop/cart-v1"]);
    let value = ValueMatch::Exact(ExactValue::new(value).unwrap());
    route.rules[0].matches[0].query.push(QueryMatch::new("canary", value).unwrap());
    wire(route, revision)
}

/// A policy that denies `dev` but for one of its service accounts.
fn deny_but_one(name: &str, revision: u64) -> Arc<WireObject> {
    let Policy::Authorization(mut denies) = policy(name, "dev");
    let Some([peer]) = denies.deny[0].from.as_deref_mut() else { panic!("it has one peer") };
    peer.not_service_accounts.insert(read("dev/job"));
    wire(Policy::Authorization(denies), revision)
}

fn refusals(pair: &Pair) -> Vec<(String, String)> {
    let refused = pair.server.receipts();
    refused.filter_map(|it| Some((it.key.to_string(), it.refused?))).collect()
}

#[test]
fn what_requires_a_feature_that_is_lacking_is_refused_alone_and_the_old_one_stays() {
    let mut world = small_world();
    let mut pair = Pair::with([Feature::StreamIdle]);
    pair.subscribe("service/shop/cart");
    pair.settle(&world);
    let before = pair.client.get(&read(ROUTE)).unwrap().clone();

    let beside = wire(workload("shop/cart-2", "192.0.2.9", &["shop/cart"]), 2);
    pair.apply(&mut world, [by_query("1", 2), beside], &[], 2);
    let outcome = pair.settle(&world);
    assert_eq!(outcome.changed, BTreeSet::from([read("workload/shop/cart-2")]));
    let [refusal] = &outcome.refused[..] else { panic!("{outcome:?}") };
    let reason = "requires the feature query-match, which weft 0.9 lacks: upgrade this proxy to \
                  the version of the control plane, or a newer one";
    assert_eq!((refusal.name.as_str(), refusal.reason.as_str()), (ROUTE, reason));
    assert_eq!(pair.client.get(&read(ROUTE)), Some(&before));
    // The control plane knows which, and why, and does not insist.
    assert_eq!(refusals(&pair), [(ROUTE.to_owned(), reason.to_owned())]);
    let count = pair.responses.len();
    pair.settle(&world);
    assert_eq!(pair.responses.len(), count);

    // A new stream changes nothing about that.
    pair.reconnect();
    assert_eq!(pair.settle(&world).refused.len(), 1);
    assert_eq!(refusals(&pair).len(), 1);
    // It is over with a version that requires nothing.
    let plain = wire(route("http/shop/cart", "shop/cart", &["shop/cart"]), 3);
    pair.apply(&mut world, [plain.clone()], &[], 3);
    assert_eq!(pair.settle(&world).changed, BTreeSet::from([read(ROUTE)]));
    assert_eq!((pair.client.get(&read(ROUTE)), refusals(&pair)), (Some(&plain), vec![]));
    assert_eq!(pair.client.refused().count(), 0);
}

#[test]
fn a_proxy_that_is_replaced_by_one_with_the_feature_takes_what_was_refused() {
    let mut world = small_world();
    let mut pair = Pair::with([]);
    pair.subscribe("service/shop/cart");
    pair.settle(&world);
    pair.apply(&mut world, [by_query("1", 2)], &[], 2);
    assert_eq!(pair.settle(&world).refused.len(), 1);

    let saved = pair.client.save();
    pair.client = client([Feature::QueryMatch]);
    assert_eq!(pair.client.restore(&saved, NOW), Ok(vec![]));
    pair.reconnect();
    assert_eq!(pair.settle(&world).changed, BTreeSet::from([read(ROUTE)]));
    assert_eq!((pair.client.get(&read(ROUTE)), refusals(&pair)), (world.get(&read(ROUTE)), vec![]));
}

#[test]
fn a_proxy_that_is_replaced_by_an_older_one_says_what_of_the_saved_state_it_lacks() {
    let mut world = unguarded();
    let policy = deny_but_one("shop/denies", 2);
    world.apply([policy.clone(), set("mesh", &[&policy], 2), by_query("1", 2)], [], source(2));
    let mut pair = Pair::new();
    pair.subscribe("self");
    pair.subscribe("service/shop/cart");
    pair.settle(&world);
    assert_eq!(in_force(&pair), policies(&[&policy]));

    let saved = pair.client.save();
    pair.client = client([]);
    let lost = pair.client.restore(&saved, NOW).unwrap();
    let lost: BTreeSet<_> = lost.iter().map(ToString::to_string).collect();
    let lacks = |object: &str, feature: &str| {
        format!(
            "{object}: requires the feature {feature}, which weft 0.9 lacks: upgrade this proxy \
             to the version of the control plane, or a newer one"
        )
    };
    let policy = "policy/authorization/shop/denies";
    let expected = [lacks(policy, "peer-exceptions"), lacks(ROUTE, "query-match")];
    assert_eq!(lost, expected.into());
    // What guards it is not known any more: it is closed, and stays so. So is what it called.
    assert_eq!((in_force(&pair), closed(&pair)), (None, vec!["shop/cart".to_owned()]));
    pair.reconnect();
    pair.settle(&world);
    assert_eq!(in_force(&pair), None);
    let refused: Vec<_> = refusals(&pair).into_iter().map(|(key, _)| key).collect();
    assert_eq!(refused, [policy, ROUTE]);
}

#[test]
fn a_set_of_policies_that_cannot_all_be_read_leaves_the_one_before_or_a_closed_port() {
    let mut world = unguarded();
    let before = deny("shop/denies", "dev", 2);
    world.apply([before.clone(), set("mesh", &[&before], 2)], [], source(2));
    let mut pair = Pair::with([]);
    pair.subscribe("self");
    pair.settle(&world);
    let after = deny_but_one("shop/denies", 3);
    pair.apply(&mut world, [after.clone(), set("mesh", &[&after], 3)], &[], 3);
    let outcome = pair.settle(&world);
    let names: Vec<_> = outcome.refused.iter().map(|refusal| refusal.name.as_str()).collect();
    assert_eq!(names, ["policy/authorization/shop/denies", "guards/mesh"]);
    let because = "it refers to policy/authorization/shop/denies, which was refused: requires the \
                   feature peer-exceptions, which weft 0.9 lacks: upgrade this proxy to the \
                   version of the control plane, or a newer one";
    assert_eq!(outcome.refused[1].reason, because);
    // Nothing of it is cut off on the way.
    assert!(refusals(&pair).iter().any(|(_, reason)| reason == because));
    assert_eq!(in_force(&pair), policies(&[&before]));

    let mut fresh = Pair::with([]);
    fresh.subscribe("self");
    fresh.settle(&world);
    assert_eq!(in_force(&fresh), None);
    // Both are as they should be once the policy says it in another way.
    let plain = Policy::Authorization(weft_model::AuthorizationPolicy {
        deny: ["dev", "test"].map(denying).into(),
        ..authorization("shop/denies")
    });
    let plain = wire(plain, 4);
    let sets = [plain.clone(), set("mesh", &[&plain], 4)];
    let touched = world.apply(sets, [], source(4));
    for pair in [&mut pair, &mut fresh] {
        pair.server.on_change(&touched);
        pair.settle(&world);
        assert_eq!((in_force(pair), refusals(pair)), (policies(&[&plain]), vec![]));
    }
}

fn closed(pair: &Pair) -> Vec<String> {
    pair.client.closed().map(|(service, _)| service.to_string()).collect()
}

#[test]
fn a_service_whose_route_was_never_read_is_closed_until_it_is() {
    let mut world = small_world();
    world.apply([by_query("1", 2)], [], source(2));
    let mut pair = Pair::with([]);
    pair.subscribe("service/shop/cart");
    pair.settle(&world);
    let (service, why) = pair.client.closed().next().unwrap();
    assert_eq!((service.to_string().as_str(), closed(&pair).len()), ("shop/cart", 1));
    assert!(why.starts_with("route/http/shop/cart is refused: requires the feature"), "{why}");
    // It stays so over a new stream and a restart.
    pair.reconnect();
    pair.settle(&world);
    assert_eq!(closed(&pair), ["shop/cart"]);
    let saved = pair.client.save();
    pair.client = client([]);
    assert_eq!(pair.client.restore(&saved, NOW), Ok(vec![]));
    assert_eq!(closed(&pair), ["shop/cart"]);
    pair.reconnect();
    pair.settle(&world);
    assert_eq!(closed(&pair), ["shop/cart"]);
    // Until the route says it in another way, or is gone.
    let mut gone = world.clone();
    let plain = wire(route("http/shop/cart", "shop/cart", &["shop/cart"]), 3);
    pair.apply(&mut world, [plain], &[], 3);
    pair.settle(&world);
    assert_eq!(closed(&pair), [""; 0]);
    let mut other = Pair::with([]);
    other.subscribe("address/default/240.119.0.1");
    other.settle(&gone);
    assert_eq!(closed(&other), ["shop/cart"]);
    other.apply(&mut gone, [], &[ROUTE], 3);
    assert!(other.settle(&gone).removed.contains(&read(ROUTE)));
    assert_eq!(closed(&other), [""; 0]);
    // From then on it is called without one, and goes on so.
    other.apply(&mut gone, [by_query("1", 4)], &[], 4);
    assert_eq!(other.settle(&gone).refused.len(), 1);
    assert_eq!(closed(&other), [""; 0]);
}

fn authorization(name: &str) -> weft_model::AuthorizationPolicy {
    let Policy::Authorization(policy) = policy(name, "dev");
    policy
}

fn denying(namespace: &str) -> Rule {
    let namespace = Some(Namespace::new(namespace).unwrap());
    Rule { from: Some(vec![weft_model::Peer { namespace, ..Default::default() }]), to: None }
}

#[test]
fn what_is_of_a_kind_that_came_later_says_what_it_requires() {
    let world = small_world();
    let mut pair = Pair::with([]);
    pair.subscribe("service/shop/cart");
    while let Some(request) = pair.client.next_request() {
        pair.server.on_request(request).unwrap();
    }
    let mut response = pair.server.next_response(&world).unwrap();
    let later = by_query("1", 1);
    response.resources[0].name = "gateway/shop/cart".to_owned();
    response.resources[0].resource.as_mut().unwrap().value = later.bytes().to_vec();
    let outcome = pair.client.on_response(response, &|_| Ok(())).unwrap();
    assert_eq!(outcome.refused[0].name, "gateway/shop/cart");
    assert!(outcome.refused[0].reason.contains("lacks: upgrade this proxy"), "{outcome:?}");
}

#[test]
fn objects_of_another_schema_are_refused_with_who_is_to_be_upgraded() {
    for (reads, who) in [(0, "this proxy"), (2, "the control plane")] {
        let mut world = small_world();
        let mut pair = Pair::new();
        pair.subscribe("service/shop/cart");
        pair.settle(&world);
        let held = pair.held();
        let before = pair.client.get(&read(ROUTE)).unwrap().clone();
        pair.client.release.schema = reads;
        let newer = wire(route("http/shop/cart", "shop/cart", &["shop/cart"]), 2);
        pair.apply(&mut world, [newer.clone()], &[], 2);
        let outcome = pair.settle(&world);
        let refusal = outcome.refused.iter().find(|refusal| refusal.name == ROUTE).unwrap();
        let begin = format!("of schema 1, and weft 0.9 reads schema {reads}: upgrade {who} to");
        assert!(refusal.reason.starts_with(&begin), "{}", refusal.reason);
        assert!(refusals(&pair).iter().any(|(key, _)| key == ROUTE));
        assert_eq!((pair.held(), pair.client.get(&read(ROUTE))), (held, Some(&before)));

        pair.client.release.schema = 1;
        pair.reconnect();
        pair.settle(&world);
        assert_eq!((pair.client.get(&read(ROUTE)), refusals(&pair)), (Some(&newer), vec![]));
    }
}

#[test]
fn a_destination_outside_is_not_called_past_rules_that_are_not_known() {
    let routed = || -> Vec<Object> {
        let route = external_route("http/shop/egress", "shop/routed");
        vec![routed_external().into(), route.into()]
    };
    let names = |pair: &Pair| -> BTreeSet<String> {
        pair.client.objects().map(|object| object.key().to_string()).collect()
    };
    let mut world = small_world();
    world.apply(routed().into_iter().map(|object| wire(object, 1)), [], source(1));
    let of_shop = |features: &[Feature]| {
        let mut pair = Pair::with(features.iter().copied());
        pair.subscribe("self");
        pair
    };
    // One that lacks the feature has neither, and what it has not is not registered.
    let mut old = of_shop(&[Feature::ExternalService]);
    old.settle(&world);
    let refused: BTreeSet<_> = refusals(&old).into_iter().map(|(name, _)| name).collect();
    let both = ["external/shop/routed", "route/http/shop/egress"].map(str::to_owned);
    assert_eq!(refused, both.clone().into());
    assert!(names(&old).is_disjoint(&both.clone().into()));
    // One that has it has both.
    let mut new = of_shop(&[Feature::ExternalService, Feature::ExternalRoute]);
    new.settle(&world);
    assert_eq!(refusals(&new), []);
    assert!(names(&new).is_superset(&both.into()));
}
