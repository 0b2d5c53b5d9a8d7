//! Who may register what.

use weft_control::ConnectionState;
use weft_wire::discovery::Lookup;

use crate::lab::{Lab, Proxy, registration, run};

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { selector: { app: cart, tier: back }, ports: [{ port: 80, targetPort: web }] }
---
apiVersion: v1
kind: Service
metadata: { name: cash, namespace: shop }
spec: { selector: { app: cash }, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: money, namespace: shop }
spec: { selector: { app: money }, ports: [{ port: 80 }] }
---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: { name: mine, namespace: shop }
spec: { addresses: [192.0.2.1], serviceAccount: cart }
";

/// Why a proxy is not registered.
async fn refusal(proxy: &Proxy) -> String {
    let is_told = |seen: &crate::lab::Seen| {
        let states = seen.states.borrow();
        states.iter().any(|state| !matches!(state, ConnectionState::Disconnected { .. }))
    };
    proxy.until(is_told).await;
    match proxy.seen.states.borrow().first() {
        Some(ConnectionState::Unregistered { reason }) => reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_granted_is_refused_and_says_why() {
    run(async {
        let lab = Lab::start().await;
        lab.apply(SHOP);
        let (joiner, credentials) = lab.join("shop/cart", &["shop/cart", "shop/cash"]).await;
        let of = |name: &str, request| {
            lab.with_credentials(&joiner, &credentials, name).registering(request).start()
        };
        let mut in_range = registration("shop/cart-1", 1, &["shop/cart"]);
        in_range.addresses = vec!["240.119.3.4".parse().unwrap()];
        let mut nowhere = registration("shop/cart-1", 1, &["shop/cart"]);
        nowhere.addresses.clear();
        let cases = [
            (
                registration("shop/cart-1", 1, &["shop/money"]),
                "no join token lets shop/cart serve shop/money",
            ),
            (registration("shop/cart-1", 1, &["other/cart"]), "is in another namespace"),
            (
                registration("other/cart-1", 1, &[]),
                "is of another namespace: name a workload of shop",
            ),
            (
                registration("shop/mine", 1, &["shop/cart"]),
                "Workload shop/mine was written by somebody",
            ),
            (
                registration("shop/cart-1", 1, &["shop/cart", "shop/cash"]),
                "shop/cash selects workloads with the label app=cash, and cart is asked for",
            ),
            (in_range, "240.119.3.4 belongs to the mesh's own addressRange"),
            (nowhere, "spec.addresses: an empty list is not allowed"),
        ];
        for (request, expected) in cases {
            let proxy = of("shop/cart-1", request);
            let reason = refusal(&proxy).await;
            assert!(reason.contains(expected), "{reason}");
            // It is told what it may know all the same.
            assert_eq!(proxy.look("service/shop/cart").await, Lookup::Found);
        }
        assert!(lab.get("Workload", "shop", "cart-1").is_none());
        assert!(lab.get("Workload", "shop", "mine").unwrap().contains("192.0.2.1"));
        // Another service account of the namespace takes nothing over.
        let first = of("shop/cart-1", registration("shop/cart-1", 1, &["shop/cart"]));
        first.until(|seen| seen.has("workload/shop/cart-1")).await;
        let (joiner, credentials) = lab.join("shop/thief", &["shop/cart"]).await;
        let thief = lab
            .with_credentials(&joiner, &credentials, "")
            .registering(registration("shop/cart-1", 2, &["shop/cart"]))
            .start();
        let reason = refusal(&thief).await;
        assert!(reason.contains("the workload shop/cart-1 runs as shop/cart"), "{reason}");
        assert!(first.seen.workload("shop/cart-1").unwrap().generation == 1);
    });
}

#[test]
fn a_registration_joins_the_services_that_are_there_and_makes_those_that_are_not() {
    run(async {
        let lab = Lab::start().await;
        lab.apply(SHOP);
        let granted = ["shop/cart", "shop/fresh"];
        let (joiner, credentials) = lab.join("shop/cart", &granted).await;
        let mut request = registration("shop/cart-1", 1, &granted);
        request.region = Some("eu".to_owned());
        request.ports[0].protocol = Some(weft_control::api::RegisteredProtocol::Http);
        let proxy =
            lab.with_credentials(&joiner, &credentials, "shop/cart-1").registering(request).start();
        proxy.until(|seen| seen.has("workload/shop/cart-1")).await;
        let own = proxy.seen.workload("shop/cart-1").unwrap();
        let port = |number| weft_model::Port::new(number).unwrap();
        for service in granted {
            let ports = &own.services[&service.parse().unwrap()];
            assert_eq!(ports[&port(80)], port(8080), "{service}");
        }
        assert_eq!(own.locality.as_ref().unwrap().region(), "eu");
        // The Service that was there is as it was.
        assert!(lab.get("Service", "shop", "cart").unwrap().contains("targetPort: web"));
        let made = lab.get("Service", "shop", "fresh").unwrap();
        assert!(
            made.contains("weft.dev/service: fresh") && made.contains("appProtocol: http"),
            "{made}"
        );
        let workload = lab.get("Workload", "shop", "cart-1").unwrap();
        assert!(
            workload.contains("weft.dev/registered-by: spiffe://weft.local/ns/shop/sa/cart"),
            "{workload}"
        );
    });
}

#[test]
fn other_services_do_not_select_what_was_registered_whenever_they_are_written() {
    run(async {
        let lab = Lab::start().await;
        lab.apply(SHOP);
        let other = |name: &str| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: shop }}\n\
                 spec: {{ selector: {{ app: cart }}, ports: [{{ port: 80 }}] }}\n"
            )
        };
        lab.apply(&other("before"));
        let (joiner, credentials) = lab.join("shop/cart", &["shop/cart"]).await;
        let proxy = lab
            .with_credentials(&joiner, &credentials, "shop/cart-1")
            .registering(registration("shop/cart-1", 1, &["shop/cart"]))
            .start();
        proxy.until(|seen| seen.has("workload/shop/cart-1")).await;
        lab.apply(&other("later"));
        // It is asked for, and comes once it is compiled.
        proxy.look("service/shop/later").await;
        proxy.until(|seen| seen.has("service/shop/later")).await;
        let workload = proxy.seen.workload("shop/cart-1").unwrap();
        let services: Vec<_> = workload.services.keys().map(ToString::to_string).collect();
        assert_eq!(services, ["shop/cart"]);
        let kept = lab.get("Workload", "shop", "cart-1").unwrap();
        assert!(kept.contains("weft.dev/registered-for: cart\n"), "{kept}");
    });
}

#[test]
fn an_older_instance_takes_nothing_over() {
    run(async {
        let lab = Lab::start().await;
        let (joiner, credentials) = lab.join("shop/cart", &["shop/cart"]).await;
        let start = |generation| {
            lab.with_credentials(&joiner, &credentials, "shop/cart-1")
                .registering(registration("shop/cart-1", generation, &["shop/cart"]))
                .start()
        };
        let newer = start(7);
        newer.until(|seen| seen.has("workload/shop/cart-1")).await;
        let reason = refusal(&start(6)).await;
        assert!(
            reason.contains("generation 7 is registered, and this is 6, an older one"),
            "{reason}"
        );
        assert_eq!(newer.seen.workload("shop/cart-1").unwrap().generation, 7);
    });
}
