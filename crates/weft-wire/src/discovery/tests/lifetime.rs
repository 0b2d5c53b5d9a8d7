//! What outlives a stream, a proxy, and its use.

use std::time::Duration;

use super::*;

fn after(seconds: u64) -> Moment {
    NOW + Duration::from_secs(seconds)
}

#[test]
fn a_restarted_proxy_holds_what_it_held() {
    let mut world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.subscribe("service/shop/gone");
    pair.settle(&world);
    let saved = pair.client.save();
    let held = pair.held();
    pair.client = client(Feature::ALL);
    assert_eq!(pair.client.restore(&saved, NOW), Ok(vec![]));
    assert_eq!(pair.held(), held);
    assert_eq!(pair.subscribe("service/shop/cart"), Lookup::Found);
    assert_eq!(pair.subscribe("service/shop/gone"), Lookup::Absent);
    assert_eq!(pair.client.save(), saved);
    // And it need not be told again.
    let before = pair.responses.len();
    pair.reconnect();
    pair.settle(&world);
    assert_eq!(pair.responses.len(), before);
    pair.apply(&mut world, [], &["workload/shop/cart-1"], 2);
    assert_eq!(pair.settle(&world).removed.len(), 1);
}

#[test]
fn a_proxy_is_told_once_it_has_all_there_is_for_it_removals_included() {
    let mut world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.settle(&world);
    // It was not asked for.
    assert!(!pair.client.is_complete() && pair.server.is_current());
    pair.reconnect();
    pair.apply(&mut world, [], &["workload/shop/cart-1"], 2);
    pair.server.confirm();
    let count = pair.responses.len();
    assert_eq!(pair.settle(&world).removed.len(), 1);
    assert!(pair.client.is_complete() && pair.client.is_current() && pair.server.is_current());
    let [removal, last] = &pair.responses[count..] else { panic!("{:?}", pair.responses) };
    assert!(!removal.removed_resources.is_empty());
    assert!(last.resources.is_empty() && last.removed_resources.is_empty());
    // Nothing is said twice, unless it is asked for, and of another stream it says nothing.
    pair.settle(&world);
    assert_eq!(pair.responses.len(), count + 2);
    pair.server.confirm();
    pair.settle(&world);
    assert_eq!(pair.responses.len(), count + 3);
    pair.reconnect();
    assert!(!pair.client.is_complete() && !pair.client.is_current());
}

#[test]
fn before_all_sources_are_read_no_proxy_is_told_that_it_has_everything() {
    let mut world = World::new();
    let mut pair = Pair::new();
    pair.subscribe("self");
    pair.server.confirm();
    pair.apply(&mut world, [wire(Object::Mesh(Arc::new(mesh())), 1)], &[], 1);
    assert_eq!(pair.settle(&world).changed.len(), 1);
    assert!(!pair.client.is_complete());
    let touched = world.set_fully_listed();
    pair.server.on_change(&touched);
    pair.settle(&world);
    assert!(pair.client.is_complete());
}

#[test]
fn who_refuses_something_has_everything_and_is_not_up_to_date() {
    let mut world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("service/shop/other");
    pair.server.confirm();
    let refuse = |_: &Object| Err("no".to_owned());
    pair.settle_with(&world, &refuse);
    assert!(pair.client.is_complete());
    assert!(!pair.client.is_current() && !pair.server.is_current());
    let better = wire(service("shop/other", "240.119.0.9"), 2);
    pair.apply(&mut world, [better], &[], 2);
    let refused = wire(workload("shop/cart-v1-1", "192.0.2.3", &["shop/cart-v1", "shop/other"]), 2);
    pair.apply(&mut world, [refused], &[], 2);
    pair.settle(&world);
    assert!(pair.client.is_current() && pair.server.is_current());
}

#[test]
fn damaged_state_is_noticed() {
    let mut pair = Pair::new();
    pair.subscribe("service/shop/cart");
    pair.settle(&small_world());
    let saved = pair.client.save();
    let restore = |bytes: &[u8]| client(Feature::ALL).restore(bytes, NOW);
    for cut in [0, 7] {
        assert_eq!(restore(&saved[..cut]), Err(SavedError::Form));
    }
    for cut in [8, 39, 40, saved.len() - 1] {
        assert_eq!(restore(&saved[..cut]), Err(SavedError::Checksum));
    }
    for at in [8, 40, saved.len() - 1] {
        let mut damaged = saved.clone();
        damaged[at] ^= 1;
        assert_eq!(restore(&damaged), Err(SavedError::Checksum));
    }
}

#[test]
fn unused_subscriptions_end() {
    let world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("self");
    pair.subscribe("service/shop/cart");
    pair.subscribe("service/shop/other");
    pair.settle(&world);
    pair.client.subscribe(&read("service/shop/other"), after(50), None);
    let expired = pair.client.expire(after(60), Duration::from_secs(60));
    assert_eq!(expired.ended, [read("service/shop/cart")]);
    pair.settle(&world);
    assert_eq!(pair.held(), ["service/shop/other", "workload/shop/cart-v1-1"]);
    // Whoever still waits uses it.
    let mut waiting = client(Feature::ALL);
    waiting.subscribe(&read("service/shop/cart"), NOW, Some(Waiter(1)));
    waiting.connected();
    let expire =
        |client: &mut Client| client.expire(after(1000), Duration::from_secs(60)).ended.len();
    assert_eq!(expire(&mut waiting), 0);
    waiting.give_up(&read("service/shop/cart"), Waiter(1));
    // Nor does any end that could not be asked for again.
    waiting.disconnected();
    assert_eq!(expire(&mut waiting), 0);
    waiting.connected();
    assert_eq!(expire(&mut waiting), 1);
}

/// A backend's own rules are not told to who has not asked for it.
#[test]
fn what_was_asked_for_is_followed_and_no_backend_of_it() {
    let world = small_world();
    let mut pair = Pair::new();
    pair.subscribe("self");
    pair.subscribe("service/shop/cart-v1");
    pair.settle(&world);
    assert!(pair.held().iter().any(|key| key == "service/shop/other"), "{:?}", pair.held());
    let followed =
        |pair: &Pair| pair.client.followed().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(followed(&pair), ["shop/cart-v1"]);
    pair.subscribe("service/shop/other");
    assert_eq!(followed(&pair), ["shop/cart-v1"]);
    let outcome = pair.settle(&world);
    // That alone is news.
    assert!(outcome.changed.is_empty() && outcome.answered.len() == 1, "{outcome:?}");
    assert_eq!(followed(&pair), ["shop/cart-v1", "shop/other"]);
    pair.client.expire(after(60), Duration::from_secs(60));
    assert!(followed(&pair).is_empty());
}

/// A client that had let go of an answer is not thought to hold it.
#[test]
fn a_subscription_that_ends_and_begins_while_its_answer_is_under_way_is_answered_again() {
    let world = small_world();
    let mut server = ServerStream::new(None);
    let other = || vec!["service/shop/other".to_owned()];
    let ours = || DeltaDiscoveryRequest {
        type_url: message::OBJECT_TYPE.to_owned(),
        ..Default::default()
    };
    let begin = DeltaDiscoveryRequest { resource_names_subscribe: other(), ..ours() };
    server.on_request(begin.clone()).unwrap();
    let response = server.next_response(&world).unwrap();
    let end = DeltaDiscoveryRequest { resource_names_unsubscribe: other(), ..begin };
    server.on_request(end).unwrap();
    let taken = DeltaDiscoveryRequest { response_nonce: response.nonce, ..ours() };
    server.on_request(taken).unwrap();
    let again = server.next_response(&world).unwrap();
    let names: Vec<_> = again.resources.iter().map(|resource| resource.name.as_str()).collect();
    assert_eq!(names, ["answer/service/shop/other"]);
}

#[test]
fn subscriptions_and_waiters_are_capped() {
    let mut pair = Pair::new();
    let name = |n: usize| format!("service/shop/s{n}");
    for n in 0..SUBSCRIPTIONS_MAX {
        assert_eq!(pair.subscribe(&name(n)), Lookup::Waiting);
    }
    let refused = Lookup::Refused("4096 subscriptions are the most".to_owned());
    assert_eq!(pair.subscribe(&name(SUBSCRIPTIONS_MAX)), refused);
    for n in 1..1024 {
        pair.client.subscribe(&read(&name(0)), NOW, Some(Waiter(n)));
    }
    let lookup = pair.client.subscribe(&read(&name(0)), NOW, Some(Waiter(0)));
    assert_eq!(lookup, Lookup::Refused("1024 wait for it already".to_owned()));
}

#[test]
fn the_server_caps_those_who_do_not_cap_themselves() {
    let world = small_world();
    let mut server = ServerStream::new(None);
    let names = (0..SUBSCRIPTIONS_MAX + 2).map(|n| format!("service/shop/s{n}"));
    let request = DeltaDiscoveryRequest {
        type_url: message::OBJECT_TYPE.to_owned(),
        resource_names_subscribe: names.collect(),
        ..Default::default()
    };
    server.on_request(request).unwrap();
    let response = server.next_response(&world).unwrap();
    assert_eq!(response.resources.len(), SUBSCRIPTIONS_MAX + 2);
    // A client that had asked for one of these is told so, and may ask again.
    let last = format!("service/shop/s{}", SUBSCRIPTIONS_MAX + 1);
    let mut client = client(Feature::ALL);
    client.connected();
    client.subscribe(&read(&last), NOW, Some(Waiter(3)));
    let outcome = client.on_response(response, &|_| Ok(())).unwrap();
    let [answered] = outcome.answered.as_slice() else { panic!("{:?}", outcome.answered) };
    assert_eq!(answered.waiters, [Waiter(3)]);
    assert_eq!(answered.lookup, Lookup::Refused("4096 subscriptions are the most".to_owned()));
    assert_eq!(client.subscribe(&read(&last), NOW, None), Lookup::Waiting);
}
