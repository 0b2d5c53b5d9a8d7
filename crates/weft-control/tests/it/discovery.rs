//! Objects reach the proxies that asked for them, and no others.

use std::time::Duration;

use weft_control::ConnectionState;
use weft_control::api::RevokeRequest;
use weft_wire::discovery::Lookup;
use weft_world::ListenerOptions;

use crate::lab::{Lab, registration, run};

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { selector: { app: cart }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: { name: cart-1, namespace: shop, labels: { app: cart } }
spec: { addresses: [192.0.2.1], serviceAccount: cart }
---
apiVersion: v1
kind: Service
metadata: { name: other, namespace: shop }
spec: { selector: { app: other }, ports: [{ port: 80 }] }
";

#[test]
fn a_proxy_joins_registers_subscribes_and_follows() {
    run(async {
        let lab = Lab::start().await;
        lab.apply(SHOP);
        let (joiner, credentials) = lab.join("shop/web", &["shop/web"]).await;
        let proxy = lab
            .with_credentials(&joiner, &credentials, "shop/web-1")
            .registering(registration("shop/web-1", 1, &["shop/web"]))
            .start();
        proxy.until(|seen| seen.state() == Some(ConnectionState::Connected)).await;
        proxy.until(|seen| seen.has("workload/shop/web-1")).await;
        // What holds for all, its own workload, and what guards that.
        for key in [
            "mesh",
            "trust/weft.local",
            "service/shop/web",
            "guards/mesh",
            "guards/namespace/shop",
            "guards/workload/shop/web-1",
            "guards/service/shop/web",
        ] {
            assert!(proxy.seen.has(key), "{key}");
        }
        assert!(!proxy.seen.has("service/shop/cart"));
        let registered = proxy.seen.registered.borrow()[0].clone();
        assert_eq!(registered.services, ["shop/web"]);
        let own = proxy.seen.workload("shop/web-1").unwrap();
        assert_eq!(registered.mesh_addresses.len(), 2);
        assert!(registered.mesh_addresses.iter().all(|ip| own.addresses.contains(ip)));
        assert_eq!(
            own.tunnel_address(
                own.services.values().next().unwrap().values().next().copied().unwrap()
            ),
            Some("192.0.2.7:15008".parse().unwrap())
        );
        assert_eq!(
            own.identity.as_ref().unwrap().to_string(),
            "spiffe://weft.local/ns/shop/sa/web"
        );

        // What it asks for comes with all that belongs to it.
        assert_eq!(proxy.look("service/shop/cart").await, Lookup::Found);
        assert!(proxy.seen.has("service/shop/cart") && proxy.seen.has("workload/shop/cart-1"));
        assert!(!proxy.seen.has("service/shop/other"));
        assert_eq!(proxy.look("service/shop/nothing").await, Lookup::Absent);
        let vips = proxy.seen.service("shop/cart").unwrap().vips.clone();
        assert_eq!(vips.len(), 2);
        for vip in &vips {
            assert_eq!(proxy.look(&format!("address/{vip}")).await, Lookup::Found);
        }

        // A change comes by itself, and only to those whom it concerns.
        lab.apply(&SHOP.replace("port: 80, targetPort", "port: 81, targetPort"));
        let port = weft_model::Port::new(81).unwrap();
        proxy.until(|seen| seen.service("shop/cart").unwrap().ports.contains_key(&port)).await;
        // The addresses stay.
        assert_eq!(proxy.seen.service("shop/cart").unwrap().vips, vips);
        lab.delete("Service", "shop", "cart");
        proxy.until(|seen| !seen.has("service/shop/cart")).await;
        assert_eq!(proxy.look("service/shop/cart").await, Lookup::Absent);
    });
}

#[test]
fn a_proxy_that_is_not_concerned_is_told_nothing() {
    run(async {
        let lab = Lab::start().await;
        lab.apply(SHOP);
        let concerned = lab.proxy("shop/web", "shop/web-1").await.start();
        let other = lab.proxy("shop/admin", "shop/admin-1").await.start();
        assert_eq!(concerned.look("service/shop/cart").await, Lookup::Found);
        assert_eq!(other.look("service/shop/other").await, Lookup::Found);
        // Whether there is more is said as well.
        other.until(|seen| seen.is_complete.get()).await;
        let (before, told) = (other.seen.responses.get(), concerned.seen.responses.get());
        for number in 81..91u16 {
            let port = weft_model::Port::new(number).unwrap();
            lab.apply(&SHOP.replace("port: 80, t", &format!("port: {number}, t")));
            concerned
                .until(|seen| seen.service("shop/cart").unwrap().ports.contains_key(&port))
                .await;
        }
        assert!(concerned.seen.responses.get() >= told + 10);
        // It would have been told before: both are told by the same task.
        assert_eq!(other.look("service/shop/nothing").await, Lookup::Absent);
        assert_eq!(other.seen.responses.get(), before + 1);
    });
}

#[test]
fn nothing_is_lost_when_the_control_plane_restarts() {
    run(async {
        let mut lab = Lab::start().await;
        lab.apply(SHOP);
        let proxy = lab.proxy("shop/web", "shop/web-1").await.start();
        assert_eq!(proxy.look("service/shop/cart").await, Lookup::Found);
        let before = proxy.seen.objects.borrow().clone();
        for round in 0..3 {
            lab.stop().await;
            proxy
                .until(|seen| matches!(seen.state(), Some(ConnectionState::Disconnected { .. })))
                .await;
            // Who asks meanwhile is answered later.
            let mut waiting = proxy.asked(&format!("service/shop/later-{round}")).await;
            assert!(waiting.try_recv().is_err());
            lab.restart().await;
            assert_eq!(waiting.await.unwrap(), Lookup::Absent);
            assert_eq!(proxy.seen.removed.borrow().as_slice(), []);
            let after = proxy.seen.objects.borrow();
            assert!(before.iter().all(|(key, object)| after.get(key) == Some(object)));
        }
        // It follows again.
        lab.delete("Service", "shop", "cart");
        proxy.until(|seen| !seen.has("service/shop/cart")).await;
    });
}

#[test]
fn a_proxy_that_restarts_is_told_what_changed_meanwhile() {
    run(async {
        let lab = Lab::start().await;
        lab.apply(SHOP);
        let (joiner, credentials) = lab.join("shop/web", &[]).await;
        let first = lab.with_credentials(&joiner, &credentials, "shop/web-1").start();
        assert_eq!(first.look("service/shop/cart").await, Lookup::Found);
        assert_eq!(first.look("service/shop/other").await, Lookup::Found);
        let saved = first.seen.saved.borrow().clone();
        first.kill().await;
        lab.delete("Service", "shop", "other");
        let second = lab.with_credentials(&joiner, &credentials, "shop/web-1");
        let second = second.holding(&saved).start();
        second.until(|seen| seen.removed.borrow().len() == 1).await;
        assert_eq!(second.seen.removed.borrow()[0].to_string(), "service/shop/other");
        assert!(second.seen.has("service/shop/cart"));
    });
}

#[test]
fn a_proxy_may_name_workloads_of_its_own_service_account_only() {
    run(async {
        let lab = Lab::start().await;
        lab.apply(SHOP);
        let cases = [
            ("shop/web", "shop/cart-1", "the workload shop/cart-1 runs as shop/cart"),
            ("other/cart", "shop/cart-1", "the workload shop/cart-1 is of another namespace"),
            ("shop/web", "nonsense", "node.id: `nonsense` is not NAMESPACE/NAME"),
        ];
        for (account, name, expected) in cases {
            let proxy = lab.proxy(account, name).await.start();
            let is_over = |state: Option<ConnectionState>| {
                matches!(state, Some(ConnectionState::Disconnected { .. }))
            };
            proxy.until(|seen| is_over(seen.state())).await;
            let Some(ConnectionState::Disconnected { reason }) = proxy.seen.state() else {
                panic!()
            };
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(proxy.seen.responses.get(), 0);
        }
        // What it names may come to be somebody else's.
        let proxy = lab.proxy("shop/web", "shop/new-1").await.start();
        proxy.until(|seen| seen.responses.get() > 0).await;
        lab.apply(&SHOP.replace("cart-1", "new-1"));
        proxy
            .until(|seen| matches!(seen.state(), Some(ConnectionState::Disconnected { .. })))
            .await;
        assert!(!proxy.seen.has("workload/shop/new-1"));
    });
}

#[test]
fn who_is_revoked_is_told_nothing_more() {
    run(async {
        let lab = Lab::start().await;
        let (joiner, credentials) = lab.join("shop/web", &[]).await;
        let proxy = lab.with_credentials(&joiner, &credentials, "shop/web-1").start();
        let witness = lab.proxy("shop/admin", "").await.start();
        proxy.until(|seen| seen.has("trust/weft.local")).await;
        let identity = Some("shop/web".to_owned());
        let request = RevokeRequest { identity, serial: None, undo: false };
        assert!(lab.ca().revoke(&request).unwrap().changed);
        lab.discovery().renew_trust().unwrap();
        proxy
            .until(|seen| matches!(seen.state(), Some(ConnectionState::Disconnected { .. })))
            .await;
        let Some(ConnectionState::Disconnected { reason }) = proxy.seen.state() else { panic!() };
        assert!(
            reason.contains("the identity spiffe://weft.local/ns/shop/sa/web is revoked"),
            "{reason}"
        );
        // The others are told who it is.
        witness
            .until(|seen| {
                let objects = seen.objects.borrow();
                let trust = objects.get(&"trust/weft.local".parse().unwrap());
                matches!(trust, Some(weft_wire::Object::Trust(trust)) if trust.revoked.len() == 1)
            })
            .await;
    });
}

#[test]
fn a_stream_ends_with_the_certificate_that_opened_it() {
    run(async {
        let lab = Lab::start().await;
        let proxy = lab.proxy("shop/web", "").await.start();
        proxy.until(|seen| seen.responses.get() > 0).await;
        lab.clock.advance(Duration::from_secs(24 * 3600 + 2));
        proxy.until(|seen| seen.states.borrow().len() > 1).await;
        let Some(ConnectionState::Disconnected { reason }) = proxy.seen.state() else { panic!() };
        assert!(reason.contains("expired at"), "{reason}");
    });
}

#[test]
fn a_proxy_tries_every_address() {
    run(async {
        let lab = Lab::start().await;
        let (joiner, credentials) = lab.join("shop/web", &[]).await;
        // One that refuses, and one that takes the connection and says nothing.
        let any = "127.0.0.1:0".parse().unwrap();
        let silent = lab.world.network.listen(any, ListenerOptions::default()).unwrap();
        let addresses = ["127.0.0.1:1".to_owned(), silent.local_address().to_string()];
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let proxy = lab.with_credentials(&joiner, &credentials, "").trying(&lab, addresses).start();
        let connected = proxy.until(|seen| seen.state() == Some(ConnectionState::Connected));
        lab.passing(Duration::from_millis(100), connected).await;
        // At the first attempt.
        assert_eq!(proxy.seen.states.borrow().len(), 1);
    });
}
