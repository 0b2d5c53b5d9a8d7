//! That what is counted is what was recorded: by one worker, by several, and without end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use weft_world::Moment;

use super::*;
use crate::Both;
use crate::expose::{Format, encode};

fn record() -> Record {
    let mut record = Record::new(
        Direction::Inbound,
        Protocol::Http1,
        UnixTime(Duration::from_secs(1_795_413_823)),
        "10.0.0.1:4711".parse().unwrap(),
        "10.0.0.9:80".parse().unwrap(),
    );
    record.method = "GET".to_owned();
    record.backend = Some("shop/cart".into());
    record.route = Some("http/shop/cart".into());
    record.peer = Some("spiffe://example.org/ns/shop/sa/web".parse::<SpiffeId>().unwrap().into());
    record.status = 200;
    record.attempts = 1;
    record.duration = Duration::from_millis(3);
    record.bytes_received = 10;
    record.bytes_sent = 1_000;
    record
}

fn registry() -> Arc<Registry> {
    Registry::new(Options::default())
}

fn scrape_at(seconds: u64) -> Scrape {
    let now = Moment::default() + Duration::from_secs(seconds);
    Scrape { now, wall: UnixTime(Duration::from_secs(1_795_413_900)), process: None }
}

fn text(registry: &Registry, seconds: u64) -> String {
    String::from_utf8(encode(registry, Format::Text, &scrape_at(seconds))).unwrap()
}

/// The value of the one series that begins with `start` and contains all of `labels`.
fn value(text: &str, start: &str, labels: &[&str]) -> Option<f64> {
    let is_it =
        |line: &&str| line.starts_with(start) && labels.iter().all(|label| line.contains(label));
    let mut found = text.lines().filter(is_it);
    let line = found.next()?;
    assert_eq!(found.next(), None, "{start} {labels:?} is not one series:\n{text}");
    Some(line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

const REQUESTS: &str = "weft_requests_total{";

#[test]
fn a_request_is_counted_everywhere_once() {
    let registry = registry();
    let metrics = Metrics::new(&registry);
    metrics.finish(&record());
    metrics.finish(&Record {
        status: 503,
        reason: Some("no-endpoint"),
        attempts: 3,
        retry_denied: Some("budget"),
        grpc_status: Some(14),
        ..record()
    });
    let text = text(&registry, 0);
    let common = "direction=\"inbound\",protocol=\"http/1.1\",service=\"shop/cart\",\
        route=\"http/shop/cart\",peer=\"spiffe://example.org/ns/shop/sa/web\"";
    let of_route = "service=\"shop/cart\",route=\"http/shop/cart\"";
    for line in [
        format!("weft_requests_total{{{common},status_class=\"2xx\",status=\"200\"}} 1"),
        format!(
            "weft_requests_total{{{common},status_class=\"5xx\",status=\"503\",grpc_status=\"14\",\
            reason=\"no-endpoint\"}} 1"
        ),
        format!("weft_request_bytes_total{{{common},flow=\"received\"}} 20"),
        format!("weft_request_bytes_total{{{common},flow=\"sent\"}} 2000"),
        format!("weft_retries_total{{{of_route},outcome=\"failed\"}} 2"),
        format!("weft_retries_total{{{of_route},outcome=\"budget\"}} 1"),
        "weft_refusals_total{direction=\"inbound\",route=\"http/shop/cart\",\
            peer=\"spiffe://example.org/ns/shop/sa/web\",reason=\"no-endpoint\"} 1"
            .to_owned(),
        format!("weft_request_duration_seconds_count{{{common},status_class=\"5xx\"}} 1"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let durations = "weft_request_duration_seconds_bucket";
    let two = ["status_class=\"2xx\"", "le=\"0.0025\""];
    assert_eq!(value(&text, durations, &two), Some(0.0));
    assert_eq!(value(&text, durations, &[two[0], "le=\"0.005\""]), Some(1.0));
    assert!(!text.contains("\nweft_tcp_"), "{text}");
}

#[test]
fn an_answer_that_a_route_is_there_to_give_is_no_refusal() {
    let registry = registry();
    let metrics = Metrics::new(&registry);
    let redirect = Record { status: 302, reason: Some("redirect"), is_meant: true, ..record() };
    assert!(!redirect.is_failure());
    metrics.finish(&redirect);
    let text = text(&registry, 0);
    let labels = ["status_class=\"3xx\"", "status=\"302\"", "reason=\"redirect\""];
    assert_eq!(value(&text, REQUESTS, &labels), Some(1.0));
    assert!(!text.contains("\nweft_refusals_total{"), "{text}");
}

#[test]
fn a_connection_is_no_request() {
    let registry = registry();
    let metrics = Metrics::new(&registry);
    metrics.finish(&Record { protocol: Protocol::Tcp, status: 0, ..record() });
    metrics.finish(&Record {
        protocol: Protocol::Unknown,
        status: 0,
        reason: Some("bad-preface"),
        backend: None,
        route: None,
        peer: None,
        ..record()
    });
    let text = text(&registry, 0);
    assert_eq!(value(&text, "weft_tcp_connections_total{", &["protocol=\"tcp\""]), Some(1.0));
    assert_eq!(
        value(&text, "weft_tcp_bytes_total{", &["protocol=\"tcp\"", "flow=\"sent\""]),
        Some(1000.0)
    );
    let line = "weft_tcp_connections_total{direction=\"inbound\",protocol=\"unknown\",\
        reason=\"bad-preface\"} 1\n";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("\nweft_request"), "{text}");
}

#[test]
fn what_comes_and_goes_is_counted_over_all_workers() {
    let registry = registry();
    let (one, two) = (Metrics::new(&registry), Metrics::new(&registry));
    for _ in 0..3 {
        one.note(Event::Opened(Direction::Outbound));
    }
    one.note(Event::Closed(Direction::Outbound));
    one.note(Event::Ejected { service: "shop/cart", cause: "latency" });
    two.note(Event::Ejected { service: "shop/cart", cause: "latency" });
    // That it was another worker that said so does not matter, nor that the first has ended.
    drop(one);
    for _ in 0..2 {
        two.note(Event::Readmitted("shop/cart"));
    }
    let text = text(&registry, 0);
    assert_eq!(value(&text, "weft_connections_total{direction=\"outbound\"}", &[]), Some(3.0));
    assert_eq!(value(&text, "weft_connections_open{direction=\"outbound\"}", &[]), Some(2.0));
    assert_eq!(
        value(&text, "weft_ejections_total{service=\"shop/cart\",cause=\"latency\"}", &[]),
        Some(2.0)
    );
    assert_eq!(value(&text, "weft_endpoints_ejected{service=\"shop/cart\"}", &[]), Some(0.0));
}

#[test]
fn two_recorders_are_told_the_same() {
    let registries = [registry(), registry()];
    let both = Both(Metrics::new(&registries[0]), Metrics::new(&registries[1]));
    both.finish(&record());
    both.note(Event::Opened(Direction::Inbound));
    for registry in &registries {
        let text = text(registry, 0);
        assert_eq!(value(&text, REQUESTS, &[]), Some(1.0));
        assert_eq!(value(&text, "weft_connections_open{", &[]), Some(1.0));
    }
}

#[test]
fn callers_cannot_make_series_without_end() {
    let registry = Registry::new(Options { series_max: 10, ..Options::default() });
    let metrics = Metrics::new(&registry);
    for number in 0..1_000 {
        let service = format!("shop/cart-{number}");
        metrics.finish(&Record { backend: Some(service.as_str().into()), ..record() });
        metrics.note(Event::Ejected { service: &service, cause: "latency" });
    }
    for status in 0..=u16::MAX {
        metrics.finish(&Record { status, grpc_status: Some(status), ..record() });
    }
    let text = text(&registry, 0);
    let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(count(REQUESTS), 11);
    assert_eq!(count("weft_request_bytes_total{"), 11);
    assert_eq!(count("weft_request_duration_seconds_count{"), 11);
    assert_eq!(count("weft_ejections_total{"), 11);
    assert_eq!(count("weft_endpoints_ejected{"), 11);
    let other = ["peer=\"other\"", "status=\"other\"", "service=\"other\""];
    assert!(value(&text, REQUESTS, &other).is_some(), "{text}");
    let total: f64 = text
        .lines()
        .filter(|line| line.starts_with(REQUESTS))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum();
    assert_eq!(total, 1_000.0 + 65_536.0);
    let capped = "weft_metrics_series_capped_total{metric=\"weft_ejections_total\"}";
    assert_eq!(value(&text, capped, &[]), Some(990.0));
}

#[test]
fn a_worker_keeps_a_limited_number_of_lines() {
    let registry = registry();
    let metrics = Metrics::new(&registry);
    for number in 0..LINES_MAX + 100 {
        let route = format!("http/shop/cart-{number}");
        metrics.finish(&Record { route: Some(route.as_str().into()), ..record() });
    }
    assert!(metrics.worker.borrow().kept.lines.len() <= LINES_MAX);
    assert!(metrics.worker.borrow().kept.counters.len() <= LINES_MAX);
    let text = text(&registry, 0);
    let other = value(&text, REQUESTS, &["route=\"other\""]).unwrap();
    assert_eq!(other, (LINES_MAX + 100 - 2_000) as f64);
}

#[test]
fn a_series_that_comes_back_is_counted_by_the_same_worker() {
    let registry = registry();
    let metrics = Metrics::new(&registry);
    let other = Record { route: Some("http/shop/other".into()), ..record() };
    metrics.finish(&record());
    metrics.finish(&other);
    let shown = |seconds| value(&text(&registry, seconds), REQUESTS, &["http/shop/cart"]);
    assert_eq!(shown(0), Some(1.0));
    metrics.finish(&other);
    assert_eq!(shown(3_600), None);
    // Not forgotten yet: it goes on.
    metrics.finish(&record());
    assert_eq!(shown(3_601), Some(2.0));
    metrics.finish(&other);
    assert_eq!(shown(7_300), None);
    assert_eq!(shown(7_400), None);
    // Forgotten: it begins again, although the worker still had its cell.
    metrics.finish(&record());
    assert_eq!(shown(7_401), Some(1.0));
}

#[test]
fn a_gauge_survives_an_hour_without_change() {
    let registry = registry();
    let metrics = Metrics::new(&registry);
    metrics.note(Event::Opened(Direction::Inbound));
    let open = |seconds| value(&text(&registry, seconds), "weft_connections_open{", &[]);
    assert_eq!(open(0), Some(1.0));
    assert_eq!(open(4_000), Some(1.0));
    assert_eq!(open(5_000), Some(1.0));
    metrics.note(Event::Closed(Direction::Inbound));
    assert_eq!(open(5_001), Some(0.0));
}

#[test]
fn lines_with_the_same_hash_are_told_apart() {
    let registry = registry();
    let metrics = Metrics::new(&registry);
    let there = Record { route: Some("http/shop/there".into()), ..record() };
    metrics.finish(&there);
    {
        // As if both had the same.
        let kept = &mut metrics.worker.borrow_mut().kept;
        let line = kept.lines.remove(&hash(&there)).unwrap();
        kept.lines.insert(hash(&record()), line);
    }
    metrics.finish(&record());
    metrics.finish(&record());
    let text = text(&registry, 0);
    assert_eq!(value(&text, REQUESTS, &["http/shop/there"]), Some(1.0));
    assert_eq!(value(&text, REQUESTS, &["http/shop/cart"]), Some(2.0));
}

/// The sum of all histograms of a scrape, each of which must hold what its count says.
fn whole(registry: &Registry) -> u64 {
    let mut total = 0;
    for (_, value) in registry.scrape(&scrape_at(0)).iter().flat_map(|scraped| &scraped.series) {
        let Value::Histogram(sum) = value else { continue };
        let counts: Vec<u64> = sum.classic().map(|(_, count, _)| count).collect();
        assert!(counts.is_sorted(), "{counts:?}");
        let native = sum.native();
        let in_buckets: u64 = native.buckets.iter().map(|(_, count)| count).sum();
        assert_eq!(counts.last(), Some(&(native.zero + in_buckets)));
        total += sum.count();
    }
    total
}

#[test]
fn scrapes_see_whole_histograms_while_workers_count() {
    const EACH: u64 = 20_000;
    // Series that have not changed since the last scrape leave at once, and come back.
    let registry = Registry::new(Options { idle: Duration::ZERO, ..Options::default() });
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2u64)
            .map(|worker| {
                let registry = &registry;
                scope.spawn(move || {
                    let metrics = Metrics::new(registry);
                    let mut record = record();
                    for number in 0..EACH {
                        record.duration = Duration::from_micros(number * 7 + worker);
                        metrics.finish(&record);
                    }
                })
            })
            .collect();
        let scraper = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                whole(&registry);
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        scraper.join().unwrap();
    });
    // One record more brings the series back, with all that was counted before.
    Metrics::new(&registry).finish(&record());
    assert_eq!(whole(&registry), 2 * EACH + 1);
}

proptest! {
    #[test]
    fn several_workers_count_what_one_would(
        records in prop::collection::vec((0usize..3, 0u16..700, 0u64..100_000, 0u8..3), 0..60),
    ) {
        let (several, single) = (registry(), registry());
        let workers = [0, 1, 2].map(|_| Metrics::new(&several));
        let one = Metrics::new(&single);
        for (worker, status, micros, route) in records {
            let record = Record {
                status,
                duration: Duration::from_micros(micros),
                route: Some(format!("http/shop/{route}").into()),
                ..record()
            };
            workers[worker].finish(&record);
            one.finish(&record);
        }
        prop_assert_eq!(text(&several, 0), text(&single, 0));
        let protobuf = |registry: &Registry| encode(registry, Format::Protobuf, &scrape_at(1));
        prop_assert_eq!(protobuf(&several), protobuf(&single));
    }
}
