//! Registrations that live and end, and addresses that outlive both.

use std::time::Duration;

use weft_control::{ConnectionState, Joiner};
use weft_identity::Credentials;
use weft_model::Health;
use weft_wire::discovery::Lookup;
use weft_world::Clock as _;

use crate::lab::{Lab, Proxy, Seen, registration, run, until};

const CART: &str = "service/shop/cart";

/// The right to serve `shop/cart`.
async fn right(lab: &Lab) -> (Joiner, Credentials) {
    lab.join("shop/cart", &["shop/cart"]).await
}

/// A proxy that serves `shop/cart`, registered as generation `generation`.
async fn server(
    lab: &Lab,
    (joiner, credentials): &(Joiner, Credentials),
    generation: u64,
) -> Proxy {
    let proxy = lab
        .with_credentials(joiner, credentials, "shop/cart-1")
        .registering(registration("shop/cart-1", generation, &["shop/cart"]))
        .start();
    proxy.until(|seen| seen.has("workload/shop/cart-1")).await;
    proxy
}

/// A proxy that calls `shop/cart`.
async fn client(lab: &Lab) -> Proxy {
    let proxy = lab.proxy("shop/web", "shop/web-1").await.start();
    assert_eq!(proxy.look(CART).await, Lookup::Found);
    proxy
}

fn fares(proxy: &Proxy) -> Option<Health> {
    proxy.seen.workload("shop/cart-1").map(|workload| workload.health)
}

/// Waits until the control plane has looked at everything, and all of `proxies` were told.
async fn settled(lab: &Lab, step: u32, proxies: &[&Proxy]) {
    lab.apply(&format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: step-{step}, namespace: shop}}, spec: \
         {{selector: {{app: none}}, ports: [{{port: 80}}]}}}}"
    ));
    let name = format!("step-{step}");
    let is_there = || lab.discovery().status().resources.iter().any(|it| it.key.name == name);
    until("the step is compiled", is_there).await;
    for proxy in proxies {
        assert_eq!(proxy.look(&format!("service/shop/{name}")).await, Lookup::Found);
    }
}

#[test]
fn a_registration_lives_as_long_as_its_stream_and_a_little_longer() {
    run(async {
        let lab = Lab::start().await;
        let right = right(&lab).await;
        let server = server(&lab, &right, 1).await;
        let client = client(&lab).await;
        let addresses = client.seen.workload("shop/cart-1").unwrap().addresses.clone();
        // Minutes pass; it stays healthy. Each step is short enough for the signs of life.
        for step in 0..20 {
            lab.clock.advance(Duration::from_secs(14));
            settled(&lab, step, &[&client, &server]).await;
        }
        assert_eq!(fares(&client), Some(Health::Healthy));
        server.kill().await;
        until("the stream ends", || lab.discovery().status().proxies.len() == 1).await;
        for step in 20..22 {
            lab.clock.advance(Duration::from_secs(14));
            settled(&lab, step, &[&client]).await;
        }
        assert_eq!(fares(&client), Some(Health::Healthy));
        lab.clock.advance(Duration::from_secs(3));
        client
            .until(|seen| seen.workload("shop/cart-1").unwrap().health == Health::Unhealthy)
            .await;
        // Ten minutes after it was last seen alive it is gone, and the Service stays.
        let gone = client.until(|seen| !seen.has("workload/shop/cart-1"));
        lab.passing(Duration::from_secs(5), gone).await;
        until("the document goes", || lab.get("Workload", "shop", "cart-1").is_none()).await;
        assert!(client.seen.has(CART));
        assert!(weft_store::Store::leases(&**lab.store()).unwrap().is_empty());
        // Whoever comes back within a day has the same addresses.
        let _server = self::server(&lab, &right, 2).await;
        client.until(|seen| seen.has("workload/shop/cart-1")).await;
        assert_eq!(client.seen.workload("shop/cart-1").unwrap().addresses, addresses);
        assert_eq!(fares(&client), Some(Health::Healthy));
    });
}

#[test]
fn leases_stand_still_while_the_control_plane_is_away() {
    run(async {
        let mut lab = Lab::start().await;
        let right = right(&lab).await;
        let server = server(&lab, &right, 1).await;
        let client = client(&lab).await;
        lab.stop().await;
        server.kill().await;
        lab.clock.advance(Duration::from_secs(500));
        lab.restart().await;
        client.until(|seen| seen.state() == Some(ConnectionState::Connected)).await;
        assert_eq!(client.look("service/shop/x").await, Lookup::Absent);
        assert_eq!(fares(&client), Some(Health::Healthy));
        // From its start on, it has the usual time to come back.
        let unhealthy =
            client.until(|seen| seen.workload("shop/cart-1").unwrap().health == Health::Unhealthy);
        lab.passing(Duration::from_secs(1), unhealthy).await;
        assert!(lab.get("Workload", "shop", "cart-1").is_some());
    });
}

#[test]
fn a_workload_drains_and_leaves_when_it_says_so() {
    run(async {
        let lab = Lab::start().await;
        let right = right(&lab).await;
        let server = server(&lab, &right, 5).await;
        let client = client(&lab).await;
        server.drain().await.unwrap();
        client.until(|seen| seen.workload("shop/cart-1").unwrap().health == Health::Draining).await;
        // The next instance does not drain, and the old one takes nothing away any more.
        let newer = self::server(&lab, &right, 6).await;
        client.until(|seen| seen.workload("shop/cart-1").unwrap().generation == 6).await;
        assert_eq!(fares(&client), Some(Health::Healthy));
        let error = server.leave().await.unwrap_err();
        assert!(error.contains("generation 6 is registered, and this is 5"), "{error}");
        let error = newer.leave().await;
        assert_eq!(error, Ok(()));
        client.until(|seen| !seen.has("workload/shop/cart-1")).await;
        assert!(lab.get("Workload", "shop", "cart-1").is_none());
        // Having left, it stays connected, and does not register again.
        assert_eq!(newer.seen.registered.borrow().len(), 1);
        assert_eq!(newer.leave().await, Ok(()));
    });
}

#[test]
fn an_older_instance_takes_the_name_back_once_the_newer_one_is_gone() {
    run(async {
        let lab = Lab::start().await;
        let right = right(&lab).await;
        let (joiner, credentials) = &right;
        // In the time of the lab, so that the pauses pass.
        let older = lab
            .with_credentials(joiner, credentials, "shop/cart-1")
            .registering(registration("shop/cart-1", 5, &["shop/cart"]))
            .trying(&lab, vec![])
            .start();
        older.until(|seen| seen.has("workload/shop/cart-1")).await;
        let client = client(&lab).await;
        let has = |proxy: &Proxy, generation: u64| {
            let workload = proxy.seen.workload("shop/cart-1");
            workload.is_some_and(|workload| workload.generation == generation)
        };
        let unregistered = |lab: &Lab| {
            let proxies = lab.discovery().status().proxies;
            proxies.into_iter().filter_map(|proxy| proxy.unregistered).collect::<Vec<_>>()
        };
        let lost = |seen: &Seen| match seen.state() {
            Some(ConnectionState::Unregistered { reason }) => {
                reason.contains("generation 6 is registered, and this is 5, an older one")
            }
            _ => false,
        };
        let is_back = |seen: &Seen| seen.state() == Some(ConnectionState::Connected);

        // The newer one leaves.
        let newer = server(&lab, &right, 6).await;
        lab.passing(Duration::from_millis(100), older.until(lost)).await;
        client.until(|_| has(&client, 6)).await;
        let found = unregistered(&lab);
        let [reason] = &found[..] else { panic!("{found:?}") };
        assert!(reason.contains("generation 6 is registered, and this is 5"), "{reason}");
        assert_eq!(newer.leave().await, Ok(()));
        lab.passing(Duration::from_millis(100), older.until(is_back)).await;
        client.until(|_| has(&client, 5)).await;
        newer.kill().await;
        until("the stream ends", || unregistered(&lab).is_empty()).await;

        // It is killed, while the older one's stream goes on.
        let newer = server(&lab, &right, 6).await;
        lab.passing(Duration::from_millis(100), older.until(lost)).await;
        newer.kill().await;
        let began = lab.clock.now();
        lab.passing(Duration::from_millis(200), older.until(is_back)).await;
        let took = lab.clock.now().since(began);
        assert!(took >= Duration::from_secs(30), "{took:?}: it could have come back");
        client.until(|_| has(&client, 5)).await;
        assert_eq!(fares(&client), Some(Health::Healthy));
    });
}

#[test]
fn a_workload_that_somebody_takes_away_comes_back() {
    run(async {
        let lab = Lab::start().await;
        let right = right(&lab).await;
        let server = server(&lab, &right, 1).await;
        lab.delete("Workload", "shop", "cart-1");
        server.until(|seen| seen.registered.borrow().len() == 2).await;
        server.until(|seen| seen.has("workload/shop/cart-1")).await;
        let states = server.seen.states.borrow();
        let is_lost = |state: &ConnectionState| {
            let reason = "its Workload was taken away".to_owned();
            *state == ConnectionState::Unregistered { reason }
        };
        assert!(states.iter().any(is_lost), "{states:?}");
    });
}

#[test]
fn addresses_stay_over_restarts_and_wait_for_their_owner_for_a_day() {
    run(async {
        let mut lab = Lab::start().await;
        // A range of 14 addresses: every one is soon given out.
        lab.apply(
            "{apiVersion: weft.dev/v1alpha1, kind: Mesh, metadata: {name: mesh}, spec: \
             {trustDomain: weft.local, addressRange: {v4: 10.9.0.0/28}}}",
        );
        let service = |number: u32| {
            format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: s{number}, namespace: shop}}, \
                 spec: {{selector: {{app: s{number}}}, ports: [{{port: 80}}]}}}}\n---\n"
            )
        };
        let all: String = (0..14).map(service).collect();
        lab.apply(&all);
        let proxy = lab.proxy("shop/web", "").await.start();
        let mut given = Vec::new();
        for number in 0..14 {
            assert_eq!(proxy.look(&format!("service/shop/s{number}")).await, Lookup::Found);
            given.push(proxy.seen.service(&format!("shop/s{number}")).unwrap().vips.clone());
        }
        let distinct: std::collections::BTreeSet<_> = given.iter().flatten().collect();
        assert_eq!(distinct.len(), 28);
        // One more gets none, and is told so.
        lab.apply(&service(14));
        assert_eq!(proxy.look("service/shop/s14").await, Lookup::Found);
        assert!(proxy.seen.service("shop/s14").unwrap().vips.is_empty());
        // After a restart all have what they had.
        lab.stop().await;
        proxy
            .until(|seen| matches!(seen.state(), Some(ConnectionState::Disconnected { .. })))
            .await;
        lab.restart().await;
        proxy.until(|seen| seen.state() == Some(ConnectionState::Connected)).await;
        assert_eq!(proxy.look("service/shop/nothing").await, Lookup::Absent);
        for (number, vips) in given.iter().enumerate() {
            assert_eq!(proxy.seen.service(&format!("shop/s{number}")).unwrap().vips, *vips);
        }
        // One goes: its addresses are nobody's for a day.
        lab.delete("Service", "shop", "s3");
        proxy.until(|seen| !seen.has("service/shop/s3")).await;
        assert!(proxy.seen.service("shop/s14").unwrap().vips.is_empty());
        let assigned = || {
            let resources = lab.discovery().status().resources;
            resources.into_iter().find(|it| it.key.name == "s14").unwrap().addresses
        };
        lab.clock.advance(Duration::from_secs(23 * 3600));
        // Something else that is compiled shows that there was time to give them away.
        lab.delete("Service", "shop", "s0");
        let is_there = || lab.discovery().status().resources.iter().any(|it| it.key.name == "s0");
        until("the other goes", || !is_there()).await;
        assert_eq!(assigned(), Vec::<std::net::IpAddr>::new());
        lab.clock.advance(Duration::from_secs(2 * 3600));
        until("the addresses are given to another", || !assigned().is_empty()).await;
        let v4 = given[3].iter().find(|vip| vip.ip.is_ipv4()).unwrap().ip;
        assert!(assigned().contains(&v4));
    });
}
