//! Copies of requests.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::filters::{Shop, VERSIONS};
use crate::lab::{now, since, wait_until};

const RULES: &str = "
  - matches: [{ path: { value: /copied } }]
    filters:
    - { type: RequestMirror, requestMirror: { backendRef: { name: web-v2, port: 80 } } }
    - type: RequestHeaderModifier
      requestHeaderModifier: { set: [{ name: X-Set, value: rule }] }
    backendRefs:
    - name: web-v1
      port: 80
      filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: { set: [{ name: X-Way, value: v1 }] }
  - matches: [{ path: { value: /part } }]
    filters:
    - type: RequestMirror
      requestMirror: { backendRef: { name: web-v2, port: 80 }, percent: 20 }
    backendRefs: [{ name: web-v1, port: 80 }]
  - matches: [{ path: { value: /nobody } }]
    filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: web, port: 80 } } }]
    backendRefs: [{ name: web-v1, port: 80 }]
";

/// What the second version was asked for below `path`, as it tells.
fn told(shop: &Shop, path: &str) -> Vec<Value> {
    let said = shop.servers[1].0.said();
    let told = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    told.filter(|told| told["path"].as_str().unwrap().starts_with(path)).collect()
}

/// How many copies have ended so.
fn counted(shop: &Shop, outcome: &str) -> usize {
    let metrics = shop.caller.shown("/metrics");
    let label = format!("outcome=\"{outcome}\"");
    let mut lines = metrics.lines();
    let line = lines
        .find(|line| line.starts_with("weft_mirrored_requests_total{") && line.contains(&label));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn copies_go_where_the_route_says_and_callers_see_nothing_of_them() {
    let shop = Shop::start(RULES);
    let body = "0123456789abcdef".repeat(3 * 1024);
    let file = shop.lab.file("body", &body);
    for version in VERSIONS {
        let target = format!("/copied?tell&{version}");
        let sent = format!("@{}", file.display());
        let answer = shop.ask(version, &target, &["--data-binary", &sent]);
        assert_eq!(answer.field("x-app").as_deref(), Some("web-v1"), "{answer:?}");
        assert_eq!(answer.asked().fields("x-way"), ["v1"]);
        wait_until("the copy has come", || told(&shop, &target).len() == 1);
        let copy = &told(&shop, &target)[0];
        assert_eq!((&copy["method"], &copy["sent"]), (&"POST".into(), &body.clone().into()));
        let fields = copy["headers"].as_array().unwrap();
        let values = |name: &str| -> Vec<_> {
            fields.iter().filter(|field| field[0] == name).map(|field| &field[1]).collect()
        };
        assert_eq!((values("x-set"), values("x-way")), (vec![&"rule".into()], vec![]));
        assert_eq!(values("host"), ["web"]);
    }

    // A part of them. Of 500 requests a fifth are 100, and 45 are five times the deviation.
    let answer = shop.ask(VERSIONS[0], "/part?tell&[1-500]", &[]);
    assert_eq!(answer.status, 200);
    // All of them were sent before the answer to the last one.
    wait_until("the copies have been answered", || {
        let copies = told(&shop, "/part").len();
        copies > 0 && copies + VERSIONS.len() == counted(&shop, "answered")
    });
    let copies = told(&shop, "/part").len();
    assert!((55..=145).contains(&copies), "{copies} of 500 were copied");

    // Nobody is there to get one, or somebody who does not read.
    assert_eq!(shop.ask(VERSIONS[1], "/nobody", &[]).field("x-app").as_deref(), Some("web-v1"));
    wait_until("it is counted", || counted(&shop, "no-endpoint") == 1);
    shop.servers[1].0.signal(Signal::STOP);
    let began = now();
    for version in [VERSIONS; 5].concat() {
        let answer = shop.ask(version, "/copied", &[]);
        assert_eq!(answer.field("x-app").as_deref(), Some("web-v1"), "{answer:?}");
    }
    assert!(since(began) < Duration::from_secs(20), "the callers have waited");
    let before = counted(&shop, "answered");
    shop.servers[1].0.signal(Signal::CONT);
    wait_until("the copies have been answered", || counted(&shop, "answered") == before + 10);

    // They are no requests of the caller's, and none of them is in its log.
    let metrics = shop.caller.shown("/metrics");
    let of_copies = metrics.lines().filter(|line| {
        line.starts_with("weft_requests_total{") && line.contains("service=\"shop/web-v2\"")
    });
    assert_eq!(of_copies.count(), 0, "{metrics}");
    assert!(!shop.caller.log().contains("no-endpoint"));
}
