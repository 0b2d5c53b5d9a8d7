//! What is refused hurts only itself, and comes again when it is better.

use std::time::Duration;

use super::*;

/// Refuses whatever says `bad`, as one whose parts cannot be used.
fn not_bad(object: &Object) -> Result<(), String> {
    match object {
        Object::Service(service) if service.vips.iter().any(|vip| vip.ip.is_loopback()) => {
            Err("a bad address".to_owned())
        }
        _ => Ok(()),
    }
}

#[test]
fn a_bad_object_hurts_only_itself_and_what_refers_to_it() {
    let mut world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.settle(&world);
    let before = pair.client.get(&read("route/http/shop/cart")).cloned();
    // A new backend that is bad, a route that leads there, and something unrelated.
    let changes = [
        wire(service("shop/new", "127.0.0.1"), 2),
        wire(route("http/shop/cart", "shop/cart", &["shop/cart-v1", "shop/new"]), 2),
        wire(workload("shop/cart-2", "192.0.2.9", &["shop/cart"]), 2),
    ];
    pair.apply(&mut world, changes, &[], 2);
    let outcome = pair.settle_with(&world, &not_bad);
    assert_eq!(outcome.changed, BTreeSet::from([read("workload/shop/cart-2")]));
    let reasons: Vec<_> = outcome.refused.iter().map(|refusal| refusal.reason.as_str()).collect();
    let expected =
        ["a bad address", "it refers to service/shop/new, which was refused: a bad address"];
    assert_eq!(reasons, expected);
    assert_eq!(pair.client.get(&read("route/http/shop/cart")).cloned(), before);
    // The server knows who has what.
    let refused: Vec<_> = pair.server.receipts().filter(|it| it.refused.is_some()).collect();
    assert_eq!(refused.len(), 2);
    assert_eq!(refused[0].key, read("service/shop/new"));
    // It does not insist.
    let count = pair.responses.len();
    pair.settle_with(&world, &not_bad);
    assert_eq!(pair.responses.len(), count);
    // When the one is mended, the other comes again by itself.
    pair.apply(&mut world, [wire(service("shop/new", "240.119.0.5"), 3)], &[], 3);
    let outcome = pair.settle_with(&world, &not_bad);
    let expected = [read("service/shop/new"), read("route/http/shop/cart")];
    assert_eq!(outcome.changed, BTreeSet::from(expected));
    assert_eq!(pair.client.refused().count(), 0);
    assert!(pair.server.receipts().all(|receipt| receipt.refused.is_none()));
}

/// The server goes by the new version, which has no use for what the old one refers to.
#[test]
fn what_stays_as_it_was_keeps_what_it_refers_to() {
    let mut world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.settle(&world);
    let held = pair.held();
    let elsewhere = |object: &Object| match object {
        Object::Route(route) if route.backends().any(|it| *it == read("shop/other")) => {
            Err("a bad route".to_owned())
        }
        _ => Ok(()),
    };
    let bad = wire(route("http/shop/cart", "shop/cart", &["shop/other"]), 2);
    pair.apply(&mut world, [bad], &[], 2);
    let outcome = pair.settle_with(&world, &elsewhere);
    assert_eq!((outcome.removed, pair.responses[1].removed_resources.len()), (BTreeSet::new(), 1));
    assert!(held.iter().all(|key| pair.held().contains(key)), "{:?}", pair.held());
    // It is kept up to date, for as long as it is needed.
    let changes = [wire(workload("shop/cart-v1-2", "192.0.2.8", &["shop/cart-v1"]), 3)];
    pair.apply(&mut world, changes, &["workload/shop/cart-v1-1"], 3);
    let outcome = pair.settle_with(&world, &elsewhere);
    assert_eq!(outcome.changed, BTreeSet::from([read("workload/shop/cart-v1-2")]));
    let day = Duration::from_secs(86_400);
    pair.client.subscribe(&read("service/shop/cart"), NOW + day, None);
    assert!(pair.client.expire(NOW + day, day / 2).ended.is_empty());
    assert_eq!(outcome.removed, BTreeSet::from([read("workload/shop/cart-v1-1")]));
    // Also over a new stream, and a restart.
    let saved = pair.client.save();
    let before = pair.held();
    pair.client = client(Feature::ALL);
    assert_eq!(pair.client.restore(&saved, NOW), Ok(vec![]));
    pair.reconnect();
    assert!(pair.settle_with(&world, &elsewhere).removed.is_empty());
    assert_eq!(pair.held(), before);
    // Then it goes.
    let good = wire(route("http/shop/cart", "shop/cart", &["shop/cart"]), 4);
    pair.apply(&mut world, [good], &[], 4);
    pair.settle_with(&world, &elsewhere);
    let expired = pair.client.expire(NOW + day, day / 2).ended;
    assert!(expired.contains(&read("service/shop/cart-v1")), "{expired:?}");
    pair.settle_with(&world, &elsewhere);
    assert!(pair.client.get(&read("service/shop/cart-v1")).is_none());
}

#[test]
fn damaged_and_misnamed_objects_are_refused_and_the_rest_is_taken() {
    let world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    while let Some(request) = pair.client.next_request() {
        pair.server.on_request(request).unwrap();
    }
    let mut response = pair.server.next_response(&world).unwrap();
    let set = |resource: &mut message::Resource, bytes: &[u8]| {
        resource.resource.as_mut().unwrap().value = bytes.to_vec();
    };
    set(&mut response.resources[0], b"\xff\xff");
    let other = wire(service("shop/else", "240.119.0.1"), 1);
    set(&mut response.resources[1], other.bytes());
    response.resources[2].version = "0".repeat(64);
    response.resources[3].resource.as_mut().unwrap().type_url = "x".to_owned();
    response.resources[5].name = "pod/a/b".to_owned();
    let outcome = pair.client.on_response(response, &|_| Ok(())).unwrap();
    let reasons: Vec<_> = outcome.refused.iter().map(|refusal| refusal.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "damaged, or with something that this version does not know",
            "it calls itself service/shop/else",
            "its version is not that of its content",
            "its type is x",
            "it refers to service/shop/cart-v1, which was refused: it calls itself \
             service/shop/else",
            "the kind is not known here",
        ]
    );
    assert!(outcome.changed.is_empty());
}

#[test]
fn what_is_older_is_refused_and_what_is_newer_is_kept() {
    let newer = {
        let mut world = small_world();
        let late = wire(workload("shop/cart-9", "192.0.2.9", &["shop/cart"]), 5);
        world.apply([wire(service("shop/cart", "240.119.0.7"), 5), late], [], source(5));
        world
    };
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.settle(&newer);
    let held = pair.held();
    // Another replica is behind: it has the old Service, and not the new workload.
    let mut behind = small_world();
    pair.reconnect();
    let outcome = pair.settle(&behind);
    assert!(outcome.changed.is_empty() && outcome.removed.is_empty(), "{outcome:?}");
    assert_eq!(outcome.refused.len(), 2, "{outcome:?}");
    assert_eq!(pair.held(), held);
    // It catches up, and the workload is gone by then.
    pair.apply(&mut behind, [wire(service("shop/cart", "240.119.0.7"), 5)], &[], 6);
    let outcome = pair.settle(&behind);
    assert_eq!(outcome.removed, BTreeSet::from([read("workload/shop/cart-9")]));
    assert!(outcome.refused.is_empty() && outcome.changed.is_empty(), "{outcome:?}");
    // So it would be if nothing had changed that this proxy looks at.
    pair.reconnect();
    pair.settle(&newer);
    let mut behind = small_world();
    behind.apply([wire(service("shop/cart", "240.119.0.7"), 4)], [], source(4));
    pair.reconnect();
    assert_eq!(pair.settle(&behind).refused.len(), 1);
    pair.apply(&mut behind, [wire(service("shop/unrelated", "240.119.0.9"), 6)], &[], 6);
    assert_eq!(pair.settle(&behind).removed.len(), 1);
    // A restored store begins a new epoch, in which nothing is older.
    let mut restored = World::new();
    let epoch = SourceVersion { epoch: 2, revision: 1 };
    let cart = service("shop/cart", "240.119.0.1").into();
    restored.apply([WireObject::new(cart, epoch).unwrap()], [], epoch);
    pair.reconnect();
    let outcome = pair.settle(&restored);
    assert_eq!(outcome.changed, BTreeSet::from([read("service/shop/cart")]));
}

#[test]
fn what_was_refused_as_too_old_is_taken_when_it_is_true_again() {
    let of = |vip, revision| wire(service("shop/cart", vip), revision);
    let mut behind = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    let mut ahead = small_world();
    ahead.apply([of("240.119.0.2", 2)], [], source(2));
    pair.settle(&ahead);
    pair.reconnect();
    assert_eq!(pair.settle(&behind).refused.len(), 1);
    // What this replica has was changed back meanwhile.
    pair.apply(&mut behind, [of("240.119.0.1", 3)], &[], 3);
    let outcome = pair.settle(&behind);
    assert_eq!(outcome.changed, BTreeSet::from([read("service/shop/cart")]));
}

#[test]
fn trust_never_goes_back() {
    let of = |sequence, revision| wire(Object::Trust(Arc::new(trust(sequence))), revision);
    let mut world = small_world();
    world.apply([of(3, 2)], [], source(2));
    let mut pair = Pair::new();
    pair.subscribe("self");
    pair.settle(&world);
    pair.apply(&mut world, [of(2, 3)], &[], 3);
    let outcome = pair.settle(&world);
    assert_eq!(outcome.refused[0].name, "trust/weft.local");
    assert_eq!(outcome.refused[0].reason, "held with the later sequence 3, this is 2");
    // Nor is there another of the same number.
    let mut other = trust(3);
    other.revoked.clear();
    let other = Object::Trust(Arc::new(other));
    pair.apply(&mut world, [wire(other, 4)], &[], 4);
    let reason = pair.settle(&world).refused.remove(0).reason;
    // It says what would be lost.
    let expected = "held with the later sequence 3, this is 3: the control plane was set back; \
                    revoke again serial 010203, spiffe://weft.local/ns/shop/sa/old";
    assert_eq!(reason, expected);
    assert_eq!(pair.server.refusal(&read("trust/weft.local")), Some(expected));
    pair.apply(&mut world, [of(4, 5)], &[], 5);
    assert_eq!(pair.settle(&world).changed.len(), 1);
}

#[test]
fn who_says_not_what_was_wrong_refused_all_of_it() {
    let world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/other");
    while let Some(request) = pair.client.next_request() {
        pair.server.on_request(request).unwrap();
    }
    let response = pair.server.next_response(&world).unwrap();
    let error = message::Status { code: 3, message: "no".to_owned(), details: vec![] };
    let request = DeltaDiscoveryRequest {
        type_url: message::OBJECT_TYPE.to_owned(),
        response_nonce: response.nonce.clone(),
        error_detail: Some(error),
        ..Default::default()
    };
    let receipts = pair.server.on_request(request.clone()).unwrap();
    assert_eq!(receipts.len(), 2);
    assert!(receipts.iter().all(|receipt| receipt.refused.as_deref() == Some("no")));
    // The same once more is about nothing that is under way.
    assert_eq!(pair.server.on_request(request), Ok(vec![]));
    assert_eq!(pair.server.next_response(&world), None);
}

#[test]
fn foreign_streams_are_ended() {
    let mut pair = Pair::new();
    let request = DeltaDiscoveryRequest { type_url: "x".to_owned(), ..Default::default() };
    assert_eq!(pair.server.on_request(request), Err(StreamError::Type("x".to_owned())));
    let mut response = DeltaDiscoveryResponse { type_url: "x".to_owned(), ..Default::default() };
    let error = pair.client.on_response(response.clone(), &|_| Ok(())).unwrap_err();
    assert_eq!(error.to_string(), "resources of type `x` were not asked for");
    response.type_url = message::OBJECT_TYPE.to_owned();
    assert!(pair.client.on_response(response, &|_| Ok(())).is_err());
}
