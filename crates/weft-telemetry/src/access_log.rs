//! The access log: one line a record, written by a thread that the data path never waits for.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lines::{Kind, Lines};
use crate::record::{Record, Recorder};
use crate::trace::TraceContext;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `key=value` pairs behind the time.
    Text,
    /// One JSON object.
    Json,
}

/// Which records become lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// None.
    Off,
    /// Those that failed: status 400 and above, or a reason; and those that something in audit
    /// would have refused, or into which a fault was put.
    Failures,
    /// All.
    All,
}

/// Writes records as lines. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    format: Format,
    select: Select,
    lines: Lines,
    given: Arc<AtomicU64>,
}

impl AccessLog {
    /// A log whose lines are among `lines`.
    pub fn new(format: Format, select: Select, lines: Lines) -> AccessLog {
        AccessLog { format, select, lines, given: Arc::default() }
    }

    /// What counts the lines that were given to be written, and those that were dropped. It does
    /// not keep the thread that writes them alive.
    pub(crate) fn counters(&self) -> [Arc<AtomicU64>; 2] {
        [Arc::clone(&self.given), self.lines.dropped_counter()]
    }
}

impl Recorder for AccessLog {
    fn finish(&self, record: &Record) {
        let is_selected = match self.select {
            Select::Off => false,
            Select::Failures => {
                record.is_failure() || record.audited.is_some() || record.fault.is_some()
            }
            Select::All => true,
        };
        if is_selected {
            let is_given = self.lines.add(line(record, self.format), Kind::Record);
            if is_given {
                self.given.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The value of one field.
enum Value<'a> {
    Text(&'a str),
    Shown(&'a dyn fmt::Display),
    Number(u64),
    Milliseconds(std::time::Duration),
}

/// The record as a line with its end.
fn line(record: &Record, format: Format) -> String {
    let mut line = String::with_capacity(256);
    if format == Format::Json {
        line.push('{');
    }
    fields(record, &mut |name, value| {
        let result = match format {
            Format::Text => text_field(&mut line, name, &value),
            Format::Json => json_field(&mut line, name, &value),
        };
        debug_assert!(result.is_ok(), "writing to a string cannot fail");
    });
    line.push_str(if format == Format::Json { "}\n" } else { "\n" });
    line
}

/// Every field of a record that has a value, in the order in which people read them.
fn fields(record: &Record, put: &mut dyn FnMut(&str, Value<'_>)) {
    let Record {
        direction,
        protocol,
        started,
        duration,
        first_byte,
        downstream,
        peer,
        destination,
        method,
        authority,
        target,
        backend,
        backend_port,
        route,
        rule,
        source_workload,
        workload,
        upstream,
        attempts,
        retry_denied,
        status,
        grpc_status,
        reason,
        is_meant: _,
        detail,
        audited,
        fault,
        bytes_received,
        bytes_sent,
        trace,
    } = record;
    put("time", Value::Shown(started));
    put("direction", Value::Text(direction.name()));
    put("protocol", Value::Text(protocol.name()));
    if !method.is_empty() {
        put("method", Value::Text(method));
        put("authority", Value::Text(authority));
        put("path", Value::Text(target));
    }
    if *status > 0 {
        put("status", Value::Number(u64::from(*status)));
    }
    if let Some(reason) = reason {
        put("reason", Value::Text(reason));
    }
    if !detail.is_empty() {
        put("detail", Value::Text(detail));
    }
    if let Some(audited) = audited {
        put("audited", Value::Text(audited));
    }
    put("duration_ms", Value::Milliseconds(*duration));
    if let Some(first_byte) = first_byte {
        put("first_byte_ms", Value::Milliseconds(*first_byte));
    }
    put("bytes_received", Value::Number(*bytes_received));
    put("bytes_sent", Value::Number(*bytes_sent));
    put("downstream", Value::Shown(downstream));
    if let Some(peer) = peer {
        put("peer", Value::Shown(&**peer));
    }
    put("destination", Value::Shown(destination));
    if let Some(backend) = backend {
        put("backend", Value::Text(backend));
    }
    if let Some(upstream) = upstream {
        put("upstream", Value::Shown(upstream));
    }
    put("attempts", Value::Number(u64::from(*attempts)));
    // What came later stands behind, so that readers by position go on working.
    let mut text = |name, value: Option<&str>| {
        if let Some(value) = value {
            put(name, Value::Text(value));
        }
    };
    text("route", route.as_deref());
    text("rule", rule.as_deref());
    text("source_workload", source_workload.as_deref());
    text("workload", workload.as_deref());
    text("retry_denied", *retry_denied);
    let mut number = |name, value: Option<u16>| {
        if let Some(value) = value {
            put(name, Value::Number(u64::from(value)));
        }
    };
    number("backend_port", *backend_port);
    number("grpc_status", *grpc_status);
    if let Some(TraceContext { trace_id, span_id, is_sampled: _ }) = trace {
        put("trace_id", Value::Shown(trace_id));
        put("span_id", Value::Shown(span_id));
    }
    if let Some(fault) = fault {
        put("fault", Value::Text(fault));
    }
}

fn text_field(line: &mut String, name: &str, value: &Value<'_>) -> fmt::Result {
    if !line.is_empty() {
        line.push(' ');
    }
    match value {
        Value::Text(text)
            if text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\=".contains(&b)) =>
        {
            write!(line, "{name}={text}")
        }
        Value::Text(text) => {
            write!(line, "{name}=")?;
            quoted(line, text)
        }
        Value::Shown(shown) => write!(line, "{name}={shown}"),
        Value::Number(number) => write!(line, "{name}={number}"),
        Value::Milliseconds(duration) => {
            write!(line, "{name}={:.3}", duration.as_secs_f64() * 1000.0)
        }
    }
}

fn json_field(line: &mut String, name: &str, value: &Value<'_>) -> fmt::Result {
    if line.len() > 1 {
        line.push(',');
    }
    write!(line, "\"{name}\":")?;
    match value {
        Value::Text(text) => quoted(line, text),
        Value::Shown(shown) => quoted(line, &shown.to_string()),
        Value::Number(number) => write!(line, "{number}"),
        Value::Milliseconds(duration) => write!(line, "{:.3}", duration.as_secs_f64() * 1000.0),
    }
}

/// A JSON string. Control characters are escaped, so that nobody writes lines of his own.
fn quoted(line: &mut String, text: &str) -> fmt::Result {
    line.push('"');
    for character in text.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            other if other.is_control() => write!(line, "\\u{:04x}", u32::from(other))?,
            other => line.push(other),
        }
    }
    line.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;
    use std::time::Duration;

    use weft_http::Fields;
    use weft_model::SpiffeId;
    use weft_world::UnixTime;

    use super::*;
    use crate::record::{Direction, Protocol};

    fn record() -> Record {
        let mut record = Record::new(
            Direction::Outbound,
            Protocol::Http1,
            UnixTime(Duration::from_millis(1_795_413_823_120)),
            "10.0.0.1:4711".parse().unwrap(),
            "10.0.0.9:80".parse().unwrap(),
        );
        record.method = "GET".to_owned();
        record.authority = "cart".to_owned();
        record.target = "/a\"b".to_owned();
        record.status = 503;
        record.reason = Some("no-endpoint");
        record.detail = "none of\n2".to_owned();
        record.duration = Duration::from_micros(1_500);
        record
    }

    #[test]
    fn a_line_cannot_be_forged_by_a_caller() {
        let expected = "time=2026-11-23T06:03:43.120Z direction=outbound protocol=http/1.1 \
            method=GET authority=cart path=\"/a\\\"b\" status=503 reason=no-endpoint \
            detail=\"none of\\n2\" duration_ms=1.500 bytes_received=0 bytes_sent=0 \
            downstream=10.0.0.1:4711 destination=10.0.0.9:80 attempts=0\n";
        assert_eq!(line(&record(), Format::Text), expected);
        let json = line(&record(), Format::Json);
        assert!(json.starts_with(r#"{"time":"2026-11-23T06:03:43.120Z","direction":"outbound","#));
        assert!(json.contains(r#""path":"/a\"b","status":503,"#));
        assert!(json.contains(r#""detail":"none of\n2","duration_ms":1.500,"#));
    }

    fn full_record() -> Record {
        let mut fields = Fields::default();
        let parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        fields.append("traceparent", parent);
        let mut record = record();
        record.protocol = Protocol::Grpc;
        record.first_byte = Some(Duration::from_micros(900));
        record.peer =
            Some("spiffe://example.org/ns/shop/sa/web".parse::<SpiffeId>().unwrap().into());
        record.backend = Some("shop/cart".into());
        record.backend_port = Some(80);
        record.route = Some("http/shop/cart".into());
        record.rule = Some("0".into());
        record.source_workload = Some("shop/web-1".into());
        record.workload = Some("shop/cart-1".into());
        record.upstream = Some("10.0.0.7:15008".parse().unwrap());
        record.attempts = 3;
        record.retry_denied = Some("budget");
        record.audited = Some("authorization/shop/a spec.audit[0]".to_owned());
        record.fault = Some("fault/shop/b spec.delay".to_owned());
        record.grpc_status = Some(14);
        record.trace = TraceContext::from_fields(&fields);
        record
    }

    #[test]
    fn every_field_is_written() {
        let text = line(&full_record(), Format::Text);
        let behind = text.split_once(" peer=").unwrap().1;
        assert_eq!(
            behind,
            "spiffe://example.org/ns/shop/sa/web destination=10.0.0.9:80 backend=shop/cart \
            upstream=10.0.0.7:15008 attempts=3 route=http/shop/cart rule=0 \
            source_workload=shop/web-1 workload=shop/cart-1 retry_denied=budget backend_port=80 \
            grpc_status=14 trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7 \
            fault=\"fault/shop/b spec.delay\"\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&line(&full_record(), Format::Json)).unwrap();
        assert_eq!(json["grpc_status"], 14);
        assert_eq!(json["backend_port"], 80);
        assert_eq!(json["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(json["rule"], "0");
    }

    #[test]
    fn every_key_is_documented_with_its_type() {
        let page = include_str!("../../../docs/access-log.md");
        let json: serde_json::Value =
            serde_json::from_str(&line(&full_record(), Format::Json)).unwrap();
        let object = json.as_object().unwrap();
        for (key, value) in object {
            let kind = if value.is_number() { "number" } else { "string" };
            let row = format!("| `{key}` | {kind} |");
            assert!(page.contains(&row), "docs/access-log.md has no row `{row}`: write it");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, object.len(), "docs/access-log.md has a row for a key that is not there");
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_what_is_selected_is_written() {
        let lines = |select| {
            let output = Shared::default();
            let (lines, thread) = Lines::start(output.clone()).unwrap();
            let log = AccessLog::new(Format::Text, select, lines);
            log.finish(&record());
            log.finish(&Record { status: 200, reason: None, ..record() });
            drop(log);
            thread.join().unwrap();
            let written = output.0.lock().unwrap();
            written.iter().filter(|&&byte| byte == b'\n').count()
        };
        assert_eq!((lines(Select::Off), lines(Select::Failures), lines(Select::All)), (0, 1, 2));
    }
}
