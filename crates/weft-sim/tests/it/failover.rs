//! A Service that takes over while another one cannot serve.

use std::collections::BTreeSet;

use weft_model::{
    Balance, CookieName, Failover, HashOn, HeaderName, Health, Percent, Protocol, Workload,
};
use weft_sim::{Crash, http2, port, workload};

use crate::shop::{Executed, Plan, Shop, identity};
use crate::*;

/// Two replicas of `shop/web`, and a third one that is of `shop/other`, which takes over while less
/// than half are healthy.
fn shop() -> Shop {
    let mut plan = Plan::http(3);
    let service = "shop/other".parse().unwrap();
    let healthy_min = Percent::new(50).unwrap();
    plan.traffic.failover = Some(Failover { service, port: Some(port(80)), healthy_min });
    let other = plan.traffic.clone();
    let shop = Shop::new(1, plan);
    shop.registry.add_service("shop/other", "240.0.0.2", Protocol::Http, other);
    let at = shop.at(2, 15008);
    let name = shop.workload(2, 1).name.to_string();
    let moved = workload(&name, 1, &identity("web"), at, &["shop/other"], Protocol::Http);
    shop.registry.add_workload(moved);
    shop
}

/// Which replicas answer, of so many requests, all of which must be answered.
async fn answering(shop: &Shop, executed: &Executed, count: usize) -> Vec<usize> {
    executed.borrow_mut().clear();
    for _ in 0..count {
        let mut line = shop.call().await;
        line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(line.answer().await.unwrap().0, 200);
    }
    let mut numbers: Vec<_> = executed.borrow().iter().map(|one| one.0).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn fares(shop: &Shop, number: usize, health: Health) {
    shop.registry.add_workload(Workload { health, ..shop.workload(number, 1) });
}

#[test]
fn another_takes_over_while_too_few_are_healthy() {
    let executed = Executed::default();
    let shop = shop();
    let done = shop.sim.run(async {
        (0..3).for_each(|number| shop.serve(number, &executed));
        shop.sim.sleep(seconds(1)).await;
        assert_eq!(answering(&shop, &executed, 20).await, [0, 1]);
        fares(&shop, 0, Health::Unhealthy);
        shop.sim.sleep(seconds(1)).await;
        assert_eq!(answering(&shop, &executed, 20).await, [1], "a half is enough");
        fares(&shop, 1, Health::Unhealthy);
        shop.sim.sleep(seconds(1)).await;
        assert_eq!(answering(&shop, &executed, 20).await, [2]);
        fares(&shop, 0, Health::Healthy);
        shop.sim.sleep(seconds(1)).await;
        assert_eq!(answering(&shop, &executed, 20).await, [0]);
    });
    done.unwrap();
}

#[test]
fn another_takes_over_at_once_where_nobody_was_told_that_they_are_gone() {
    let executed = Executed::default();
    let shop = shop();
    let done = shop.sim.run(async {
        (0..3).for_each(|number| shop.serve(number, &executed));
        shop.sim.sleep(seconds(1)).await;
        assert_eq!(answering(&shop, &executed, 20).await, [0, 1]);
        for number in 0..2 {
            shop.sim.crash(&shop.hosts[number], Crash::Reset);
        }
        // None fails: what nobody can have processed is sent to the one that takes over.
        assert_eq!(answering(&shop, &executed, 50).await, [2]);
        for number in 0..2 {
            shop.restart(number, 2);
            shop.serve(number, &executed);
        }
        shop.sim.sleep(seconds(40)).await;
        answering(&shop, &executed, 5).await;
        assert_eq!(answering(&shop, &executed, 20).await, [0, 1], "they are back");
    });
    done.unwrap();
    let records = shop.records();
    let of_other = records.iter().filter(|it| it.backend.as_deref() == Some("shop/other"));
    assert_eq!(of_other.count(), 50);
}

#[test]
fn where_nobody_can_serve_it_is_as_if_there_was_no_other() {
    let executed = Executed::default();
    let shop = shop();
    let done = shop.sim.run(async {
        (0..3).for_each(|number| shop.serve(number, &executed));
        let at = shop.at(2, 15008);
        let name = shop.workload(2, 1).name.to_string();
        let other = workload(&name, 1, &identity("web"), at, &["shop/other"], Protocol::Http);
        shop.registry.add_workload(Workload { health: Health::Unhealthy, ..other });
        fares(&shop, 0, Health::Unhealthy);
        fares(&shop, 1, Health::Unhealthy);
        shop.sim.sleep(seconds(1)).await;
        assert_eq!(answering(&shop, &executed, 20).await, [0, 1]);
    });
    done.unwrap();
}

#[test]
fn what_takes_over_is_balanced_as_it_says_itself() {
    let hash_on = |name: &str| [HashOn::Header(HeaderName::new(name).unwrap())].into();
    let mut plan = Plan::http(5);
    let service = "shop/other".parse().unwrap();
    let healthy_min = Percent::new(100).unwrap();
    let cookie = HashOn::Cookie { name: CookieName::new("c").unwrap(), ttl_seconds: Some(9) };
    plan.traffic.failover = Some(Failover { service, port: Some(port(80)), healthy_min });
    plan.traffic.balance = Balance::Maglev([cookie].into());
    let mut other = plan.traffic.clone();
    other.failover = None;
    other.balance = Balance::Maglev(hash_on("x-user"));
    let shop = Shop::new(1, plan);
    shop.registry.add_service("shop/other", "240.0.0.2", Protocol::Http, other);
    for number in 1..5 {
        let at = shop.at(number, 15008);
        let name = shop.workload(number, 1).name.to_string();
        let moved = workload(&name, 1, &identity("web"), at, &["shop/other"], Protocol::Http);
        shop.registry.add_workload(moved);
    }
    fares(&shop, 0, Health::Unhealthy);
    let executed = Executed::default();
    let done = shop.sim.run(async {
        (0..5).for_each(|number| shop.serve(number, &executed));
        let client = shop.client().await;
        let head = http2::head("GET /a HTTP/1.1\r\nHost: a\r\nX-User: u\r\n\r\n");
        for _ in 0..20 {
            let answer = client.ask(&head, b"").await.unwrap();
            assert_eq!(answer.head.status, 200);
            assert_eq!(answer.head.fields.get("set-cookie"), None, "it would mean nothing there");
        }
    });
    done.unwrap();
    let numbers: BTreeSet<_> = executed.borrow().iter().map(|one| one.0).collect();
    assert_eq!(numbers.len(), 1, "all of a user go to one: {numbers:?}");
}
