//! Who holds what: counted from what the proxies acknowledge.

use std::time::Duration;

use weft_control::api::{Enforced, ProxyStatus, ResourceStatus};
use weft_wire::discovery::Lookup;

use crate::lab::{Lab, run, until};

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
        assert_eq!(enforced(&lab), Enforced { by: 2, of: 2, behind_ms: None, refused: vec![] });
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
