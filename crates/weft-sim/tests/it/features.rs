//! Proxies of an older release beside such as have all features, told by the same control plane.

use weft_model::{ExactValue, HeaderMatch, HeaderName, Peer, QueryMatch, Rule, ValueMatch};
use weft_sim::Crash;
use weft_wire::{Object, Release};

use crate::shop::{Plan, Shop, route, shared};

/// What lacks all features.
fn older() -> Release {
    Release { version: "0.9".to_owned(), features: [].into(), ..Release::this() }
}

/// A route that takes only requests with `canary=1` in their query.
fn by_query() -> Object {
    let one = ValueMatch::Exact(ExactValue::new("1").unwrap());
    route(|rule| rule.matches[0].query.push(QueryMatch::new("canary", one).unwrap()))
}

/// A route that takes only requests with the field `X-Canary: 1`.
fn by_header() -> Object {
    let value = ValueMatch::Exact(ExactValue::new("1").unwrap());
    let name = HeaderName::new("x-canary").unwrap();
    route(|rule| rule.matches[0].headers.push(HeaderMatch { name, value }))
}

/// Callers that match if they are of the mesh's namespace `shop` and not the shop's client.
fn all_but_the_client() -> Rule {
    let peer = Peer {
        namespace: Some(weft_model::Namespace::new("shop").unwrap()),
        not_service_accounts: ["shop/client".parse().unwrap()].into(),
        ..Peer::default()
    };
    Rule { from: Some(vec![peer]), to: None }
}

/// What is answered to a request for `target`.
async fn status(shop: &Shop, target: &str) -> u16 {
    let mut line = shop.call().await;
    line.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    line.answer().await.unwrap().0
}

#[test]
fn a_route_that_a_proxy_cannot_read_leaves_the_one_before_until_it_can() {
    let shop = Shop::new(1, Plan { release: older(), ..Plan::http(1) });
    let executed = shared();
    let done = shop.sim.run(async {
        shop.serve(0, &executed);
        shop.registry.apply([route(|_| ())], []);
        assert_eq!(status(&shop, "/a").await, 200);
        shop.registry.apply([by_query()], []);
        let refused = shop.registry.refused();
        let [(object, reason)] = &refused[..] else { panic!("{refused:?}") };
        assert_eq!(object, "route/http/shop/web");
        let expected = "requires the feature query-match, which weft 0.9 lacks: upgrade this proxy";
        assert!(reason.starts_with(expected), "{reason}");
        for target in ["/a", "/a?canary=1"] {
            assert_eq!(status(&shop, target).await, 200, "{target}");
        }
        // One that it can read is taken as ever.
        shop.registry.apply([by_header()], []);
        assert!(shop.registry.refused().is_empty());
        assert_eq!(status(&shop, "/a?canary=1").await, 404);
        // As is the one that it could not, by the proxy that takes its place.
        shop.registry.apply([by_query()], []);
        assert_eq!(status(&shop, "/a?canary=1").await, 404);
        shop.sim.crash(&shop.client, Crash::Reset);
        let _caller = shop.restart_caller(&Release::this());
        assert_eq!(status(&shop, "/a?canary=1").await, 200);
        assert_eq!(status(&shop, "/a").await, 404);
    });
    done.unwrap();
}

#[test]
fn a_service_whose_route_a_proxy_never_could_read_is_not_called_as_if_there_were_none() {
    let shop = Shop::new(1, Plan::http(1));
    let executed = shared();
    let done = shop.sim.run(async {
        shop.serve(0, &executed);
        shop.registry.apply([by_query()], []);
        assert_eq!(status(&shop, "/a?canary=1").await, 200);
        shop.sim.crash(&shop.client, Crash::Reset);
        let caller = shop.restart_caller(&older());
        let mut line = shop.call().await;
        assert_eq!(line.answer().await, None);
        let record = caller.records.borrow().last().cloned().unwrap();
        assert_eq!(record.reason, Some("service-unknown"));
        let why = "route/http/shop/web is refused: requires the feature query-match";
        assert!(record.detail.contains(why), "{}", record.detail);
        shop.registry.apply([by_header()], []);
        assert_eq!(status(&shop, "/a?canary=1").await, 404);
        shop.registry.apply([route(|_| ())], []);
        assert_eq!(status(&shop, "/a").await, 200);
    });
    done.unwrap();
}

#[test]
fn a_policy_that_a_proxy_cannot_read_never_opens_what_was_closed() {
    let shop = Shop::new(1, Plan { release: older(), ..Plan::http(1) });
    let executed = shared();
    let done = shop.sim.run(async {
        shop.serve(0, &executed);
        assert_eq!(status(&shop, "/a").await, 200);
        // Nobody may; then, as the proxy would read it without the exception, all of the shop may.
        shop.registry.guard_service("shop/web", Some(vec![]), vec![]);
        assert_eq!(status(&shop, "/a").await, 403);
        let allow = || Some(vec![all_but_the_client()]);
        shop.registry.guard_service("shop/web", allow(), vec![]);
        let refused: Vec<_> = shop.registry.refused().into_iter().map(|(key, _)| key).collect();
        assert_eq!(refused, ["policy/authorization/shop/web", "guards/service/shop/web"]);
        assert_eq!(status(&shop, "/a").await, 403);
        // Nor where there is nothing from before.
        shop.sim.crash(&shop.hosts[0], Crash::Reset);
        shop.restart_as(0, 2, &older());
        shop.serve(0, &executed);
        assert_eq!(status(&shop, "/a").await, 503);
        let records = shop.replica(0).records;
        let reasons: Vec<_> = records.borrow().iter().filter_map(|one| one.reason).collect();
        assert!(reasons.contains(&"policy-pending"), "{reasons:?}");
        // It opens with a policy that it can read, and with a proxy that can read this one.
        shop.registry.guard_service("shop/web", None, vec![]);
        assert_eq!(status(&shop, "/a").await, 200);
        shop.registry.guard_service("shop/web", None, vec![all_but_the_client()]);
        shop.sim.crash(&shop.hosts[0], Crash::Reset);
        shop.restart(0, 3);
        shop.serve(0, &executed);
        assert_eq!(status(&shop, "/a").await, 200);
        shop.registry.guard_service("shop/web", allow(), vec![]);
        assert_eq!(status(&shop, "/a").await, 403);
    });
    done.unwrap();
}
