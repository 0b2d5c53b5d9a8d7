//! Endpoints that take requests and stay silent: whose fault it is, and what follows for them.

use weft_model::{Protocol, TimeBound};
use weft_sim::SimProxy;

use crate::shop::{Executed, Plan, Shop};
use crate::talk::Last;
use crate::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const MINUTE: Duration = seconds(60);

fn shop(replicas: usize) -> Shop {
    let mut plan = Plan::of(replicas, Protocol::Http);
    plan.traffic.timeouts.stream_idle = TimeBound::new(MINUTE).unwrap();
    // Whoever is ejected stays so for the whole of the test.
    plan.traffic.ejection.base_time = TimeBound::new(seconds(3_600)).unwrap();
    Shop::new(1, plan)
}

/// An application on replica `number` that takes requests, begins an answer with `begin`, and says
/// nothing more.
fn hang(shop: &Shop, number: usize, begin: &'static [u8]) {
    let (mut listener, world) = (shop.application(number), shop.hosts[number].world());
    drop(shop.hosts[number].spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let mut line = talk::Line::new(world.clone(), accepted.stream);
            drop(tokio::task::spawn_local(async move {
                let _gone = line.send(begin).await;
                line.ended().await;
            }));
        }
    }));
}

/// The reasons and statuses of what `proxy` has recorded.
fn recorded(proxy: &SimProxy) -> Vec<(Option<&'static str>, u16)> {
    proxy.records.borrow().iter().map(|record| (record.reason, record.status)).collect()
}

#[test]
fn an_endpoint_that_takes_requests_and_stays_silent_is_ejected() {
    let shop = shop(2);
    let executed = Executed::default();
    let statuses = shop.sim.run(async {
        hang(&shop, 0, b"");
        shop.serve(1, &executed);
        let mut statuses = Vec::new();
        for _ in 0..20 {
            let mut line = shop.call().await;
            line.send(GET).await.unwrap();
            statuses.push(line.answer().await.unwrap().0);
        }
        statuses
    });
    let statuses = statuses.unwrap();
    let failed = statuses.iter().filter(|status| **status == 504).count();
    assert_eq!(failed, 5, "as many as the policy allows in a row: {statuses:?}");
    assert!(statuses[10..].iter().all(|status| *status == 200), "{statuses:?}");
}

#[test]
fn an_answer_that_has_begun_and_stands_still_is_no_failure() {
    let shop = shop(2);
    let executed = Executed::default();
    let done = shop.sim.run(async {
        hang(&shop, 0, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
        shop.serve(1, &executed);
        for _ in 0..20 {
            let mut line = shop.call().await;
            line.send(GET).await.unwrap();
            line.ended().await;
        }
    });
    done.unwrap();
    // They took turns to the end.
    assert_eq!(executed.borrow().len(), 10);
}

#[test]
fn a_caller_that_waits_for_the_server_s_word_is_not_to_blame() {
    const ASK: &[u8] =
        b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    for (word, body, status) in [
        (&b""[..], &b""[..], 504),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"", 408),
        // It has not waited for it, but has sent a part.
        (b"", b"ab", 408),
    ] {
        let shop = shop(1);
        let done = shop.sim.run(async {
            hang(&shop, 0, word);
            let mut line = shop.call().await;
            line.send(ASK).await.unwrap();
            line.send(body).await.unwrap();
            line.expect(word).await.unwrap();
            let last = Last::Yes;
            shop.sim.sleep(MINUTE).await;
            line.expect_answer(status, "idle-timeout", last).await.unwrap();
        });
        done.unwrap();
        assert_eq!(recorded(&shop.caller), [(Some("idle-timeout"), status)]);
    }
}
