//! A scope is closed until its set is complete, and sets are swapped whole.

use super::*;
use crate::testing::port;
use weft_model::Policy;

pub(super) fn deny(name: &str, denied: &str, revision: u64) -> Arc<WireObject> {
    wire(Object::Policy(Arc::new(policy(name, denied))), revision)
}

pub(super) fn set(scope: &str, policies: &[&Arc<WireObject>], revision: u64) -> Arc<WireObject> {
    let names: Vec<_> = policies.iter().map(|policy| policy.key().name()).collect();
    let pairs: Vec<_> =
        names.iter().map(String::as_str).zip(policies.iter().map(|it| it.version())).collect();
    wire(Object::Guards(Arc::new(guards(read(scope), &pairs))), revision)
}

pub(super) fn own() -> Workload {
    workload(OWN, "192.0.2.8", &["shop/cart"])
}

pub(super) fn in_force(pair: &Pair) -> Option<Vec<Arc<Policy>>> {
    match pair.client.guarding(&own(), port(8080)) {
        Guarding::Complete(policies) => Some(policies),
        Guarding::Pending { .. } => None,
    }
}

pub(super) fn policies(objects: &[&Arc<WireObject>]) -> Option<Vec<Arc<Policy>>> {
    let policy = |object: &&Arc<WireObject>| match object.object() {
        Object::Policy(policy) => Arc::clone(policy),
        other => panic!("{other:?}"),
    };
    Some(objects.iter().map(policy).collect())
}

/// A world in which `OWN` is guarded by nothing, in every scope.
pub(super) fn unguarded() -> World {
    let mut world = small_world();
    let scopes = ["mesh", "namespace/shop", "service/shop/cart", "workload/shop/web-1"];
    let sets = scopes.map(|scope| set(scope, &[], 1));
    world.apply(sets.into_iter().chain([wire(own(), 1)]), [], source(1));
    world
}

#[test]
fn a_workload_is_closed_until_every_scope_is_complete() {
    let mut world = unguarded();
    world.apply([], [read("guards/namespace/shop")], source(2));
    let mut pair = Pair::new();
    pair.subscribe("self");
    assert_eq!(in_force(&pair), None);
    pair.settle(&world);
    let missing = BTreeSet::from([read("namespace/shop")]);
    assert_eq!(pair.client.guarding_all(&own()), Guarding::Pending { missing });
    pair.apply(&mut world, [set("namespace/shop", &[], 3)], &[], 3);
    pair.settle(&world);
    assert_eq!(in_force(&pair), Some(vec![]));
}

#[test]
fn a_set_is_in_force_only_with_the_content_that_it_means() {
    let mut world = unguarded();
    let first = deny("shop/denies", "dev", 2);
    let second = deny("shop/denies", "test", 3);
    let other = deny("shop/other", "qa", 3);
    world.apply([first.clone(), set("mesh", &[&first], 2)], [], source(2));
    let mut pair = Pair::new();
    pair.subscribe("self");
    pair.settle(&world);
    assert_eq!(in_force(&pair), policies(&[&first]));
    // The policy has changed and its set has not: what was in force stays.
    pair.apply(&mut world, [second.clone()], &[], 3);
    pair.settle(&world);
    assert_eq!(pair.client.get(second.key()), Some(&second));
    assert_eq!(in_force(&pair), policies(&[&first]));
    // The next set is in force as a whole, or not at all.
    pair.apply(&mut world, [set("mesh", &[&second, &other], 4)], &[], 4);
    pair.settle(&world);
    assert_eq!(in_force(&pair), policies(&[&first]));
    pair.apply(&mut world, [other.clone()], &[], 5);
    pair.settle(&world);
    assert_eq!(in_force(&pair), policies(&[&second, &other]));
    // A set that is gone leaves its scope closed.
    pair.apply(&mut world, [], &["guards/mesh"], 6);
    pair.settle(&world);
    assert_eq!(in_force(&pair), None);
}

#[test]
fn a_set_with_a_policy_that_is_refused_is_refused_with_it() {
    let mut world = unguarded();
    let mut pair = Pair::new();
    pair.subscribe("self");
    pair.settle(&world);
    let bad = deny("shop/denies", "dev", 2);
    let refuse = |object: &Object| match object {
        Object::Policy(_) => Err("not understood".to_owned()),
        _ => Ok(()),
    };
    pair.apply(&mut world, [bad.clone(), set("mesh", &[&bad], 2)], &[], 2);
    let outcome = pair.settle_with(&world, &refuse);
    let names: Vec<_> = outcome.refused.iter().map(|refusal| refusal.name.as_str()).collect();
    assert_eq!(names, ["policy/authorization/shop/denies", "guards/mesh"]);
    assert_eq!(in_force(&pair), Some(vec![]));
    // A proxy that knows no earlier set is closed.
    let mut fresh = Pair::new();
    fresh.subscribe("self");
    fresh.settle_with(&world, &refuse);
    assert_eq!(in_force(&fresh), None);
}

#[test]
fn a_set_that_means_another_version_than_the_refused_one_waits_for_it() {
    let mut world = unguarded();
    let (bad, good) = (deny("shop/denies", "dev", 2), deny("shop/denies", "test", 4));
    let refuse = |object: &Object| match object {
        Object::Policy(policy) if bad.object() == &Object::Policy(Arc::clone(policy)) => {
            Err("not understood".to_owned())
        }
        _ => Ok(()),
    };
    let mut pair = Pair::new();
    pair.subscribe("self");
    pair.apply(&mut world, [bad.clone(), set("mesh", &[&bad], 2)], &[], 2);
    pair.settle_with(&world, &refuse);
    pair.apply(&mut world, [set("mesh", &[&good], 3)], &[], 3);
    assert!(pair.settle_with(&world, &refuse).refused.is_empty());
    assert_eq!(in_force(&pair), None);
    pair.apply(&mut world, [good.clone()], &[], 4);
    pair.settle_with(&world, &refuse);
    assert_eq!(in_force(&pair), policies(&[&good]));
}

#[test]
fn a_policy_for_a_port_of_a_service_guards_what_that_leads_to() {
    let mut world = unguarded();
    let (all, one) = (deny("shop/all", "dev", 2), deny("shop/one", "test", 2));
    let mut own = own();
    own.services.insert(
        read("shop/cart"),
        BTreeMap::from([(port(80), port(8080)), (port(81), port(9090)), (port(82), port(9091))]),
    );
    let pairs = [&all, &one].map(|it| (it.key().name(), it.version()));
    let pairs: Vec<_> = pairs.iter().map(|(name, hash)| (name.as_str(), *hash)).collect();
    let mut set = guards(read("service/shop/cart"), &pairs);
    let ports = BTreeSet::from([port(81), port(82), port(8080)]);
    set.ports.insert(read("authorization/shop/one"), ports);
    let set = wire(Object::Guards(Arc::new(set)), 2);
    world.apply([wire(own.clone(), 2), all.clone(), one.clone(), set], [], source(2));
    let mut pair = Pair::new();
    pair.subscribe("self");
    pair.settle(&world);
    let guarding = |client: &Client, number| match client.guarding(&own, port(number)) {
        Guarding::Complete(policies) => Some(policies),
        Guarding::Pending { .. } => None,
    };
    let check = |client: &Client| {
        assert_eq!(guarding(client, 8080), policies(&[&all]));
        assert_eq!(guarding(client, 9090), policies(&[&all, &one]));
        assert_eq!(guarding(client, 9091), policies(&[&all, &one]));
    };
    check(&pair.client);
    let saved = pair.client.save();
    let mut again = client(Feature::ALL);
    assert_eq!(again.restore(&saved, NOW), Ok(vec![]));
    check(&again);
    // One that does not understand for what it is takes it neither from the control plane nor from
    // what was saved: nobody may call then.
    let mut older = Pair::with([]);
    older.subscribe("self");
    assert_eq!(older.settle(&world).refused.len(), 1);
    assert_eq!(guarding(&older.client, 8080), None);
    let mut older = client([]);
    assert_ne!(older.restore(&saved, NOW), Ok(vec![]));
    assert_eq!(guarding(&older, 8080), None);
}

#[test]
fn what_is_in_force_survives_a_restart() {
    let mut world = unguarded();
    let first = deny("shop/denies", "dev", 2);
    world.apply([first.clone(), set("mesh", &[&first], 2)], [], source(2));
    let mut pair = Pair::new();
    pair.subscribe("self");
    pair.settle(&world);
    // Caught between two sets: the policy is the next one already.
    pair.apply(&mut world, [deny("shop/denies", "test", 3)], &[], 3);
    pair.settle(&world);
    let mut again = client(Feature::ALL);
    assert_eq!(again.restore(&pair.client.save(), NOW), Ok(vec![]));
    pair.client = again;
    assert_eq!(in_force(&pair), policies(&[&first]));
}
