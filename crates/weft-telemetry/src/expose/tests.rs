//! What each format looks like, and who gets which.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use prost::Message;
use weft_http::Fields;
use weft_model::SpiffeId;
use weft_world::{Moment, UnixTime};

use super::protobuf::{BucketSpan, Histogram, MetricFamily};
use super::*;
use crate::metrics::{BackendUse, Limited, Locality, Memory, Metrics, Options, Process, Value};
use crate::trace::TraceContext;
use crate::{AccessLog, Direction, Event, Lines, Protocol, Record, Recorder, Select};

fn record(duration: Duration) -> Record {
    let mut record = Record::new(
        Direction::Outbound,
        Protocol::Http2,
        UnixTime(Duration::from_secs(1_795_413_823)),
        "10.0.0.1:4711".parse().unwrap(),
        "10.0.0.9:80".parse().unwrap(),
    );
    record.backend = Some("shop/\"ca\\rt\"\n".into());
    record.status = 200;
    record.duration = duration;
    record.bytes_sent = 17;
    record
}

/// A registry with a little of everything, a backend as long as `used` is kept.
fn registry(used: &Arc<BackendUse>) -> Arc<Registry> {
    let registry =
        Registry::new(Options { version: "1.2.3", revision: "abc", ..Options::default() });
    let metrics = Metrics::new(&registry);
    metrics.finish(&record(Duration::from_micros(1)));
    let mut traced = record(Duration::from_millis(40));
    let mut fields = Fields::default();
    fields.append("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    traced.trace = TraceContext::from_fields(&fields);
    metrics.finish(&traced);
    let mut tcp = record(Duration::from_secs(9));
    tcp.protocol = Protocol::Tcp;
    tcp.direction = Direction::Inbound;
    tcp.peer = Some("spiffe://example.org/ns/shop/sa/web".parse::<SpiffeId>().unwrap().into());
    tcp.backend = None;
    tcp.reason = Some("client-gone");
    metrics.finish(&tcp);
    metrics.note(Event::Opened(Direction::Inbound));
    metrics.note(Event::Named("mesh"));
    metrics.note(Event::Backend { service: "shop/cart", port: Some(80), used });
    used.set_limit(Limited::Requests, 1024);
    used.take(Limited::Requests);
    used.attempted(Locality::Zone);
    registry.memory(Memory { used: 50 << 20, limit: 64 << 20, pressure: 1 });
    let at = |seconds| UnixTime(Duration::from_secs(seconds));
    registry.certificate_expires(at(1_795_500_000));
    registry.config_changed(at(1_795_413_000));
    registry.config_confirmed(at(1_795_413_890));
    registry.control_connected(true);
    let (lines, thread) = Lines::start(std::io::sink()).unwrap();
    let log = AccessLog::new(crate::Format::Text, Select::Off, lines);
    registry.watch_access_log(&log);
    drop(log);
    thread.join().unwrap();
    registry
}

fn scrape() -> Scrape {
    Scrape {
        now: Moment::default(),
        wall: UnixTime(Duration::from_millis(1_795_413_900_500)),
        process: Some(Process {
            started: UnixTime(Duration::from_secs(1_795_413_800)),
            resident_bytes: 6_144_000,
            open_fds: 12,
            cpu: Duration::from_millis(1_750),
        }),
    }
}

fn text(format: Format) -> String {
    String::from_utf8(encode(&registry(&Arc::default()), format, &scrape())).unwrap()
}

/// Compares with a file beside this one; `UPDATE_EXPECT=1` rewrites it.
fn assert_golden(name: &str, found: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    assert!(wanted == found, "tests/golden/{name} says otherwise (UPDATE_EXPECT=1):\n{found}");
}

#[test]
fn the_text_is_as_written_down() {
    assert_golden("metrics.txt", &text(Format::Text));
}

#[test]
fn open_metrics_are_as_written_down() {
    assert_golden("open_metrics.txt", &text(Format::OpenMetrics));
}

fn families(mut bytes: &[u8]) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    while !bytes.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut bytes).unwrap());
    }
    families
}

/// Index and count of each bucket that is not empty.
fn buckets(histogram: &Histogram) -> Vec<(i32, i64)> {
    let (mut index, mut count) = (0, 0);
    let mut deltas = histogram.positive_delta.iter();
    let mut buckets = Vec::new();
    for BucketSpan { offset, length } in &histogram.positive_span {
        index += offset;
        for _ in 0..*length {
            count += deltas.next().unwrap();
            buckets.push((index, count));
            index += 1;
        }
    }
    assert_eq!(deltas.next(), None, "more deltas than the spans have buckets");
    buckets.retain(|(_, count)| *count != 0);
    buckets
}

#[test]
fn protobuf_says_the_same_and_has_native_histograms() {
    let families = families(&encode(&registry(&Arc::default()), Format::Protobuf, &scrape()));
    let names: Vec<_> = families.iter().map(|family| family.name.as_str()).collect();
    let text = text(Format::Text);
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let in_text: Vec<_> = typed.map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(names, in_text);
    let requests = &families[0].metric[0];
    assert_eq!(requests.counter.unwrap().value, 2.0);
    let labels: Vec<_> = requests.label.iter().map(|pair| (&*pair.name, &*pair.value)).collect();
    assert_eq!(
        labels,
        [
            ("direction", "outbound"),
            ("protocol", "http/2"),
            ("service", "shop/\"ca\\rt\"\n"),
            ("status_class", "2xx"),
            ("status", "200")
        ]
    );
    let durations =
        families.iter().find(|family| family.name == "weft_request_duration_seconds").unwrap();
    let histogram = durations.metric[0].histogram.as_ref().unwrap();
    assert_eq!((histogram.sample_count, histogram.zero_count, histogram.schema), (2, 1, 3));
    assert_eq!(histogram.zero_threshold, 1.0 / 131_072.0);
    // 2^(-38/8) s are 37.2 ms, and 2^(-37/8) s are 40.5 ms.
    assert_eq!(buckets(histogram), [(-37, 1)]);
    let exemplars: Vec<_> = histogram.bucket.iter().filter_map(|b| b.exemplar.as_ref()).collect();
    assert_eq!(exemplars.len(), 1);
    assert_eq!(exemplars[0].label[0].value, "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[test]
fn the_format_is_the_one_that_is_preferred() {
    let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
        encoding=delimited";
    let open = "application/openmetrics-text;version=1.0.0";
    for (accept, format) in [
        // Prometheus 2.42, with native histograms and without.
        (
            format!(
                "{protobuf},{open};q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
            ),
            Format::Protobuf,
        ),
        (
            format!(
                "{open},application/openmetrics-text;version=0.0.1;q=0.75,\
                text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
            ),
            Format::OpenMetrics,
        ),
        // Prometheus 3.
        (
            format!(
                "{open};escaping=allow-utf-8;q=0.5,{protobuf};q=0.6,\
                text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3"
            ),
            Format::Protobuf,
        ),
        (String::new(), Format::Text),
        ("*/*".to_owned(), Format::Text),
        ("text/html, text/*;q=0.5".to_owned(), Format::Text),
        ("application/json".to_owned(), Format::Text),
        ("Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.9".to_owned(), Format::OpenMetrics),
        (format!("{open};q=0, text/plain;q=0.001"), Format::Text),
        (format!("text/plain;q=0.5, {open};q=0.6"), Format::OpenMetrics),
        (format!("text/plain, {open}"), Format::Text),
        ("application/openmetrics-text;version=0.0.1".to_owned(), Format::Text),
        ("application/vnd.google.protobuf;proto=other;encoding=delimited".to_owned(), Format::Text),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily".to_owned(),
            Format::Text,
        ),
        (format!("{open};q=1.1"), Format::Text),
        (format!("{open};q=0.1234"), Format::Text),
        (format!("{open};q=x"), Format::Text),
    ] {
        assert_eq!(negotiate(&accept), format, "{accept}");
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        assert!(character != '"' && character != '\n', "{text}");
        out.push(match character {
            '\\' => match characters.next().unwrap() {
                'n' => '\n',
                other => other,
            },
            other => other,
        });
    }
    out
}

proptest! {
    #[test]
    fn a_label_is_read_as_it_was(value in "[a\\\\\"\nä{},=]*") {
        let mut out = String::new();
        text::escape(&mut out, &value);
        prop_assert_eq!(unescape(&out), value);
    }

    #[test]
    fn no_accept_field_breaks_it(accept in "[a-z*/;=,.q0-9\" ]{0,200}", any: String) {
        negotiate(&accept);
        negotiate(&any);
    }

    #[test]
    fn spans_and_deltas_say_the_buckets(micros in prop::collection::vec(8u64..1 << 40, 0..200)) {
        let registry = Registry::new(Options::default());
        let metrics = Metrics::new(&registry);
        for micros in &micros {
            metrics.finish(&record(Duration::from_micros(*micros)));
        }
        let scraped = registry.scrape(&scrape());
        let mut values = scraped.iter().flat_map(|scraped| &scraped.series);
        let found = values.find_map(|(_, value)| match value {
            Value::Histogram(sum) => Some(sum.native()),
            _ => None,
        });
        let families = families(&encode(&registry, Format::Protobuf, &scrape()));
        let mut all = families.iter().flat_map(|family| &family.metric);
        let encoded = all.find_map(|metric| metric.histogram.as_ref());
        let wanted = found.map(|native| {
            native.buckets.iter().map(|(index, count)| (*index, count.cast_signed())).collect()
        });
        prop_assert_eq!(encoded.map(|histogram| buckets(histogram)), wanted);
    }
}
