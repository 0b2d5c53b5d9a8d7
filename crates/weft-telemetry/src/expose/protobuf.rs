//! Prometheus' messages, which are the only form in which exponential histograms travel.
//!
//! Source: prometheus/client_model, `io/prometheus/client/metrics.proto`, for the field numbers;
//! Prometheus, "Native Histograms", for spans and deltas.

use prost::Message;

use crate::metrics::family::Kind;
use crate::metrics::histogram::{Exemplar, HistogramSum, Native, ZERO_THRESHOLD_EXPONENT};
use crate::metrics::labels::{Label, Labels};
use crate::metrics::{Scraped, Value};

/// The most empty buckets in a row that are written as such: a new span costs more than these.
const GAP_MAX: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(enumeration = "MetricType", tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    pub(super) metric: Vec<Metric>,
    #[prost(string, tag = "5")]
    unit: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    pub(super) counter: Option<Number>,
    #[prost(message, optional, boxed, tag = "7")]
    pub(super) histogram: Option<Box<Histogram>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelPair {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `Gauge` and `Counter`, which have the same field.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Number {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, tag = "1")]
    pub(super) sample_count: u64,
    #[prost(double, tag = "2")]
    pub(super) sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(super) bucket: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    pub(super) schema: i32,
    #[prost(double, tag = "6")]
    pub(super) zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    pub(super) zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    pub(super) positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(uint64, tag = "1")]
    pub(super) cumulative_count: u64,
    #[prost(double, tag = "2")]
    pub(super) upper_bound: f64,
    #[prost(message, optional, tag = "3")]
    pub(super) exemplar: Option<ExemplarMessage>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct BucketSpan {
    /// From the end of the span before; in the first one, the index.
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExemplarMessage {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `scraped` as messages, each behind its length.
pub(super) fn encode(scraped: &[Scraped]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 * 1024);
    for scraped in scraped {
        let encoded = message(scraped).encode_length_delimited(&mut out);
        encoded.expect("a Vec takes all that is written to it");
    }
    out
}

fn message(Scraped { family, series }: &Scraped) -> MetricFamily {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    let metric = |(labels, value): &(Labels, Value)| {
        let mut metric = Metric { label: pairs(family.labels, labels), ..Metric::default() };
        let number = match value {
            Value::Integer(number) => *number as f64,
            Value::Float(number) => *number,
            Value::Histogram(sum) => {
                metric.histogram = Some(Box::new(histogram(sum)));
                return metric;
            }
        };
        let place =
            if kind == MetricType::Counter { &mut metric.counter } else { &mut metric.gauge };
        *place = Some(Number { value: number });
        metric
    };
    MetricFamily {
        name: family.name.to_owned(),
        help: family.help.to_owned(),
        kind: kind.into(),
        metric: series.iter().map(metric).collect(),
        unit: family.unit.to_owned(),
    }
}

fn pairs(names: &[&str], values: &[Label]) -> Vec<LabelPair> {
    let pairs = names.iter().zip(values).filter(|(_, value)| !value.is_empty());
    pairs.map(|(name, value)| pair(name, value.to_string())).collect()
}

fn pair(name: &str, value: String) -> LabelPair {
    LabelPair { name: name.to_owned(), value }
}

fn histogram(sum: &HistogramSum) -> Histogram {
    let native = sum.native();
    let (positive_span, positive_delta) = spans(&native);
    let bucket = |(upper_bound, cumulative_count, exemplar_of): (f64, u64, Option<&Exemplar>)| {
        Bucket { cumulative_count, upper_bound, exemplar: exemplar_of.map(exemplar) }
    };
    Histogram {
        sample_count: sum.count(),
        sample_sum: sum.seconds(),
        bucket: sum.classic().map(bucket).collect(),
        schema: native.schema,
        // That it is above zero also tells an empty exponential histogram from none.
        zero_threshold: f64::from(ZERO_THRESHOLD_EXPONENT).exp2(),
        zero_count: native.zero,
        positive_span,
        positive_delta,
    }
}

/// Runs of buckets, and the count of each bucket as the difference to the one before.
fn spans(native: &Native) -> (Vec<BucketSpan>, Vec<i64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut deltas = Vec::with_capacity(native.buckets.len());
    // The index behind the last bucket, and its count.
    let (mut end, mut last) = (0, 0i64);
    for &(index, count) in &native.buckets {
        let gap = index - end;
        match spans.last_mut() {
            Some(span) if gap <= GAP_MAX => {
                for _ in 0..gap {
                    deltas.push(-last);
                    last = 0;
                    span.length += 1;
                }
                span.length += 1;
            }
            _ => spans.push(BucketSpan { offset: gap, length: 1 }),
        }
        let count = count.cast_signed();
        deltas.push(count.wrapping_sub(last));
        (end, last) = (index + 1, count);
    }
    (spans, deltas)
}

fn exemplar(Exemplar { trace, duration, at }: &Exemplar) -> ExemplarMessage {
    ExemplarMessage {
        label: vec![
            pair("trace_id", trace.trace_id.to_string()),
            pair("span_id", trace.span_id.to_string()),
        ],
        value: duration.as_secs_f64(),
        timestamp: Some(Timestamp {
            seconds: i64::try_from(at.0.as_secs()).unwrap_or(i64::MAX),
            nanos: at.0.subsec_nanos().cast_signed(),
        }),
    }
}
