//! Who holds what: counted from what the proxies acknowledge.

use std::time::Duration;

use weft_control::api::{Enforced, ProxyStatus, ResourceStatus};
use weft_wire::discovery::Lookup;
use weft_wire::{Feature, Release};

use crate::lab::{Lab, release, run, until};

const CART: &str = "
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { selector: { app: cart }, ports: [{ port: 80 }] }
";

fn cart(lab: &Lab) -> ResourceStatus {
    let resources = lab.discovery().status().resources;
    resources.into_iter().find(|it| it.key.name == "cart").unwrap()
}

fn enforced(lab: &Lab) -> Enforced {
    cart(lab).enforced.unwrap()
}

fn proxy(lab: &Lab, name: &str) -> ProxyStatus {
    let proxies = lab.discovery().status().proxies;
    proxies.into_iter().find(|it| it.workload == name).unwrap()
}

#[test]
fn a_resource_says_how_many_have_it_in_force_and_who_refuses_it() {
    run(async {
        let lab = Lab::start().await;
        lab.apply(CART);
        let content = lab.proxy("shop/web", "shop/web-1").await.start();
        let picky = lab.proxy("shop/admin", "shop/admin-1").await.start();
        let other = lab.proxy("shop/other", "shop/other-1").await.start();
        other.until(|seen| seen.has("mesh")).await;
        for proxy in [&content, &picky] {
            assert_eq!(proxy.look("service/shop/cart").await, Lookup::Found);
        }
        // The third has not asked for it.
        until("both acknowledge", || enforced(&lab).by == 2).await;
        assert_eq!(enforced(&lab), Enforced { by: 2, of: 2, ..Enforced::default() });
        let status = cart(&lab);
        assert!(status.conditions.iter().all(|it| it.kind == "Accepted" && it.holds));
        assert_eq!(status.addresses.len(), 2);

        picky.seen.unusable.borrow_mut().push("service/shop/cart".parse().unwrap());
        lab.apply(&CART.replace("port: 80", "port: 81"));
        until("one refuses", || !enforced(&lab).refused.is_empty()).await;
        until("one takes it", || enforced(&lab).by == 1).await;
        lab.clock.advance(Duration::from_secs(12));
        let found = enforced(&lab);
        assert_eq!((found.by, found.of), (1, 2));
        assert_eq!(found.behind_ms, Some(12_000));
        assert_eq!(found.refused[0].proxy, "shop/admin-1");
        assert!(found.refused[0].reason.contains("this proxy does not like it"));

        let refusing = proxy(&lab, "shop/admin-1");
        assert_eq!(refusing.refused[0].object, "service/shop/cart");
        assert_eq!(refusing.pending, 1);
        let taking = proxy(&lab, "shop/web-1");
        assert_eq!((taking.pending, taking.refused.len()), (0, 0));
        assert_eq!(taking.identity, "spiffe://weft.local/ns/shop/sa/web");
        assert_eq!(taking.version, "test");
        // What is confirmed is not old, however long nothing changes; what is refused stays so.
        until("it is confirmed", || {
            proxy(&lab, "shop/web-1").configuration_age_ms.is_some_and(|age| age < 12_000)
        })
        .await;
        assert_eq!(proxy(&lab, "shop/admin-1").configuration_age_ms, Some(12_000));
        assert_eq!(taking.connected_ms, 12_000);
        assert!((1..=86_400_000).contains(&taking.certificate_left_ms), "{taking:?}");
        assert!(taking.objects >= 3, "{taking:?}");

        // Once it is usable again, the next version is taken by all.
        picky.seen.unusable.borrow_mut().clear();
        lab.apply(&CART.replace("port: 80", "port: 82"));
        until("both take it", || enforced(&lab).by == 2).await;
        picky.kill().await;
        until("one is gone", || enforced(&lab).of == 1).await;
    });
}

#[test]
fn what_is_not_in_force_says_why() {
    run(async {
        let lab = Lab::start().await;
        let key = weft_store::DocumentKey::new("Service", "shop", "cart");
        let item = weft_store::Item::put(key, &b"kind: Service\nspec: 7\n"[..]);
        let (now, wall) = (lab.world.clock.now(), lab.world.clock.wall());
        let batch = weft_store::Batch { now, wall, items: vec![item] };
        weft_store::Store::apply(&**lab.store(), batch).unwrap();
        until("it is seen", || {
            lab.discovery().status().resources.iter().any(|it| it.key.name == "cart")
        })
        .await;
        let status = cart(&lab);
        assert_eq!(status.conditions[0].reason, "Unreadable");
        assert!(!status.conditions[0].holds && !status.findings.is_empty());
        // A good one takes its place.
        lab.apply(CART);
        until("it is in force", || cart(&lab).conditions[0].holds).await;
        assert!(cart(&lab).findings.is_empty());
    });
}

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: cart, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: cart }]
  rules:
  - matches: [{ path: { value: /a } }]
    backendRefs: [{ name: cart, port: 80 }]
";

/// The route above, for requests with a parameter only.
fn by_query() -> String {
    let query = "queryParams: [{ name: canary, value: '1' }]";
    ROUTE.replace("path: { value: /a }", &format!("path: {{ value: /a }}, {query}"))
}

fn route(lab: &Lab) -> Enforced {
    let resources = lab.discovery().status().resources;
    let route = resources.into_iter().find(|it| it.key.kind == "HTTPRoute").unwrap();
    route.enforced.unwrap()
}

#[test]
fn a_proxy_that_lacks_a_feature_is_not_counted_until_it_or_the_object_is_another() {
    run(async {
        let lab = Lab::start().await;
        lab.apply(CART);
        lab.apply(ROUTE);
        let newer = lab.proxy("shop/web", "shop/web-1").await.start();
        let (joiner, credentials) = lab.join("shop/admin", &[]).await;
        let of = |release: Release| {
            lab.with_credentials(&joiner, &credentials, "").of("shop/admin-1", release)
        };
        let older = of(release("0.9", [Feature::PeerExceptions])).start();
        for proxy in [&newer, &older] {
            assert_eq!(proxy.look("service/shop/cart").await, Lookup::Found);
        }
        until("both have it", || route(&lab).by == 2).await;

        lab.apply(&by_query());
        until("one refuses", || !route(&lab).refused.is_empty()).await;
        until("one takes it", || route(&lab).by == 1).await;
        assert_eq!(route(&lab).of, 2);
        let reason = "requires the feature query-match, which weft 0.9 lacks: upgrade this proxy \
                      to the version of the control plane, or a newer one";
        let refusing = &route(&lab).refused[0];
        assert_eq!(refusing.proxy, "shop/admin-1");
        assert_eq!(refusing.reason, format!("route/http/shop/cart: {reason}"));
        let shown = proxy(&lab, "shop/admin-1");
        assert_eq!((shown.version.as_str(), shown.pending), ("0.9", 1));
        assert_eq!(shown.refused[0].object, "route/http/shop/cart");
        assert_eq!(shown.refused[0].reason, reason);

        // It is replaced by one that has the feature, and holds what the other held.
        let saved = older.seen.saved.borrow().clone();
        older.kill().await;
        let upgraded = of(release("1.1", Feature::ALL)).holding(&saved).start();
        until("both have it", || route(&lab).by == 2).await;
        assert_eq!(route(&lab), Enforced { by: 2, of: 2, ..Enforced::default() });

        // And back: that one does not know what it held, until it is said in another way.
        upgraded.kill().await;
        let _older = of(release("0.9", [])).holding(&saved).start();
        until("one refuses", || !route(&lab).refused.is_empty()).await;
        lab.apply(ROUTE);
        until("both have it", || route(&lab).by == 2).await;
        assert!(route(&lab).refused.is_empty());
    });
}

/// Whoever of them is behind: nothing is taken, and what is to be done is said.
#[test]
fn a_proxy_that_reads_another_schema_says_who_is_to_be_upgraded() {
    run(async {
        let lab = Lab::start().await;
        lab.apply(CART);
        let (joiner, credentials) = lab.join("shop/admin", &[]).await;
        for (schema, who) in [(0, "this proxy"), (2, "the control plane")] {
            let other = Release { schema, ..release("0.9", Feature::ALL) };
            let other = lab.with_credentials(&joiner, &credentials, "").of("shop/admin-1", other);
            let other = other.start();
            assert_eq!(other.look("service/shop/cart").await, Lookup::Found);
            until("it refuses", || !enforced(&lab).refused.is_empty()).await;
            let found = enforced(&lab);
            assert_eq!((found.by, found.of), (0, 1));
            let begin = format!(
                "service/shop/cart: of schema 1, and weft 0.9 reads schema {schema}: upgrade {who}"
            );
            let reason = &found.refused[0].reason;
            assert!(reason.starts_with(&begin), "{reason}");
            assert!(other.seen.objects.borrow().is_empty());
            other.kill().await;
            until("it is gone", || enforced(&lab).of == 0).await;
        }
    });
}
