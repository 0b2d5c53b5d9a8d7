//! What Prometheus itself makes of the metrics: Debian's, scraping over loopback.
//!
//! Needs the programs `prometheus` and `promtool`, which `cargo xtask test` installs. What is
//! started here is ended here.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod prometheus;
mod target;

use std::io::Write;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weft_http::Fields;
use weft_telemetry::expose::{Format, encode};
use weft_telemetry::metrics::{
    BackendUse, Limited, Locality, Memory, Metrics, Options, Process, Registry, Scrape,
};
use weft_telemetry::trace::TraceContext;
use weft_telemetry::{Direction, Event, Protocol, Record, Recorder};
use weft_world::{Moment, UnixTime};

use crate::prometheus::Prometheus;
use crate::target::Target;

/// The requests of a batch: one for each millisecond up to a second.
const BATCH: u64 = 1_000;

/// A bucket of schema 3 is so much wider than the one before.
const GROWTH: f64 = 1.090_507_732_665_257_7;

/// How many batches are counted, one before each scrape.
const BATCHES: u64 = 4;

/// The trace of all requests.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn record(duration: Duration) -> Record {
    let mut record = Record::new(
        Direction::Inbound,
        Protocol::Http1,
        UnixTime(Duration::from_secs(1_795_413_823)),
        "10.0.0.1:4711".parse().unwrap(),
        "10.0.0.9:80".parse().unwrap(),
    );
    record.backend = Some("shop/cart".into());
    record.route = Some("a \"quoted\" \\ route\nof two lines".into());
    record.peer = Some(Rc::new("spiffe://example.org/ns/shop/sa/web".parse().unwrap()));
    record.status = 200;
    record.duration = duration;
    record.trace = TraceContext::from_fields(&traced());
    record
}

fn traced() -> Fields {
    let mut fields = Fields::default();
    fields.append("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01").as_bytes());
    fields
}

fn count_batch(metrics: &Metrics) {
    for millis in 1..=BATCH {
        metrics.finish(&record(Duration::from_millis(millis)));
    }
}

/// A registry with the metrics that `count_batch` does not make.
fn registry() -> Arc<Registry> {
    let registry = Registry::new(Options::default());
    let at = UnixTime(Duration::from_secs(1_795_413_823));
    registry.certificate_expires(at);
    registry.config_changed(at);
    registry.config_confirmed(at);
    registry.control_connected(true);
    let metrics = Metrics::new(&registry);
    metrics.note(Event::Opened(Direction::Inbound));
    metrics.note(Event::Ejected { service: "shop/cart", cause: "consecutive" });
    let mut tcp = record(Duration::from_secs(3));
    (tcp.protocol, tcp.reason, tcp.attempts) = (Protocol::Tcp, Some("client-gone"), 2);
    metrics.finish(&tcp);
    registry
}

fn near(found: f64, wanted: f64, factor: f64) -> bool {
    found >= wanted / factor && found <= wanted * factor
}

#[test]
fn prometheus_computes_quantiles_of_native_histograms() {
    let registry = registry();
    let target = Target::start(&registry, BATCHES, count_batch);
    let prometheus =
        Prometheus::start("native", &["native-histograms", "exemplar-storage"], target.address());

    // Nothing else has this name: the counts and sums are those of the one series.
    let counted = (BATCHES * BATCH) as f64;
    let count = "histogram_count(weft_request_duration_seconds)";
    prometheus.wait_for(&target, count, |count| count == counted);
    assert_eq!(target.last_format(), Some(Format::Protobuf));

    let sum = prometheus.number("histogram_sum(weft_request_duration_seconds)").unwrap();
    assert!(near(sum, BATCHES as f64 * 500.5, 1.0 + 1e-9), "{sum}");
    for (quantile, wanted) in [(0.99, 0.990), (0.5, 0.500), (0.1, 0.100)] {
        for of in ["rate(weft_request_duration_seconds[1m])", "weft_request_duration_seconds"] {
            let query = format!("histogram_quantile({quantile}, {of})");
            let found = prometheus.number(&query).unwrap();
            assert!(near(found, wanted, GROWTH), "{query} is {found}, not about {wanted}");
        }
    }
    let fraction = "histogram_fraction(0, 0.25, weft_request_duration_seconds)";
    let found = prometheus.number(fraction).unwrap();
    // A quarter, but for what is in the bucket around 0.25 s, which ends there.
    assert!(near(found, 0.25, 1.0 + 1e-9), "{fraction} is {found}");
    exemplars(&prometheus, "weft_request_duration_seconds");

    common(&prometheus);
}

#[test]
fn prometheus_computes_quantiles_of_classic_histograms() {
    let registry = registry();
    let target = Target::start(&registry, BATCHES, count_batch);
    let prometheus = Prometheus::start("classic", &["exemplar-storage"], target.address());

    let counted = (BATCHES * BATCH) as f64;
    let count = "weft_request_duration_seconds_count";
    prometheus.wait_for(&target, count, |count| count == counted);
    assert_eq!(target.last_format(), Some(Format::OpenMetrics));
    let bucket = "weft_request_duration_seconds_bucket{le=\"0.25\"}";
    assert_eq!(prometheus.number(bucket), Some((BATCHES * 250) as f64));
    let query = "histogram_quantile(0.99, rate(weft_request_duration_seconds_bucket[1m]))";
    let found = prometheus.number(query).unwrap();
    assert!((0.98..=1.0).contains(&found), "{query} is {found}");
    exemplars(&prometheus, "weft_request_duration_seconds_bucket");

    common(&prometheus);
}

/// That the exemplars of `series` lead to the trace.
fn exemplars(prometheus: &Prometheus, series: &str) {
    let path = "/api/v1/query_exemplars?start=1795413000&end=1795414000&query=";
    let found = prometheus.get(&format!("{path}{series}"));
    let exemplar = &found["data"][0]["exemplars"][0]["labels"];
    assert_eq!(exemplar["trace_id"], TRACE, "{found}");
}

/// What holds whatever the format.
fn common(prometheus: &Prometheus) {
    for (query, wanted) in [
        ("up", 1.0),
        (
            "weft_requests_total{route=\"a \\\"quoted\\\" \\\\ route\\nof two lines\"}",
            (BATCHES * BATCH) as f64,
        ),
        ("weft_connections_open{direction=\"inbound\"}", 1.0),
        ("weft_endpoints_ejected{service=\"shop/cart\"}", 1.0),
        ("weft_retries_total{outcome=\"failed\"}", 1.0),
        ("weft_tcp_connections_total{peer=~\"spiffe://.*/web\",reason=\"client-gone\"}", 1.0),
        ("weft_certificate_expiry_timestamp_seconds", 1_795_413_823.0),
        ("weft_control_connected", 1.0),
        ("count(weft_build_info)", 1.0),
        ("count(process_open_fds > 2)", 1.0),
        ("count(process_cpu_seconds_total)", 1.0),
    ] {
        assert_eq!(prometheus.number(query), Some(wanted), "{query}");
    }
    let metadata = prometheus.get("/api/v1/metadata?metric=weft_connections_open");
    assert_eq!(metadata["data"]["weft_connections_open"][0]["type"], "gauge", "{metadata}");
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let registry = registry();
    let (metrics, used) = (Metrics::new(&registry), Arc::new(BackendUse::default()));
    count_batch(&metrics);
    metrics.note(Event::Named("mesh"));
    metrics.note(Event::Backend { service: "shop/cart", port: Some(80), used: &used });
    used.set_limit(Limited::Requests, 1024);
    used.attempted(Locality::Zone);
    registry.memory(Memory { used: 1, limit: 2, pressure: 0 });
    let scrape = Scrape {
        now: Moment::default(),
        wall: UnixTime(Duration::from_secs(1_795_413_900)),
        process: Some(Process::read().unwrap()),
    };
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts: install the Debian package `prometheus`");
    let text = encode(&registry, Format::Text, &scrape);
    promtool.stdin.take().unwrap().write_all(&text).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
