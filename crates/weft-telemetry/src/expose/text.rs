//! The two text formats, which differ in little.
//!
//! Source: Prometheus, "Exposition formats", version 0.0.4; OpenMetrics 1.0.

use crate::metrics::family::{Family, Kind};
use crate::metrics::histogram::{Exemplar, HistogramSum};
use crate::metrics::labels::Label;
use crate::metrics::{Scraped, Value};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// `scraped` as text.
pub(super) fn encode(scraped: &[Scraped], dialect: Dialect) -> Vec<u8> {
    let mut writer = Writer { out: String::with_capacity(16 * 1024), dialect };
    for Scraped { family, series } in scraped {
        writer.head(family);
        for (labels, value) in series {
            match value {
                Value::Integer(number) => writer.sample(family, "", labels, &number.to_string()),
                Value::Float(number) => writer.sample(family, "", labels, &number.to_string()),
                Value::Histogram(sum) => writer.histogram(family, labels, sum),
            }
        }
    }
    if dialect == Dialect::OpenMetrics {
        writer.out.push_str("# EOF\n");
    }
    writer.out.into_bytes()
}

struct Writer {
    out: String,
    dialect: Dialect,
}

impl Writer {
    /// What a metric is. OpenMetrics names counters without their ending, and says the unit.
    fn head(&mut self, family: &Family) {
        let is_open = self.dialect == Dialect::OpenMetrics;
        let name = if is_open { family.name.trim_end_matches("_total") } else { family.name };
        self.push(&["# HELP ", name, " ", family.help, "\n"]);
        self.push(&["# TYPE ", name, " ", family.kind.name(), "\n"]);
        if is_open && !family.unit.is_empty() {
            self.push(&["# UNIT ", name, " ", family.unit, "\n"]);
        }
    }

    fn sample(&mut self, family: &Family, suffix: &str, labels: &[Label], value: &str) {
        self.name(family, suffix, labels, None);
        self.push(&[" ", value, "\n"]);
    }

    fn histogram(&mut self, family: &Family, labels: &[Label], sum: &HistogramSum) {
        debug_assert!(family.kind == Kind::Histogram);
        for (bound, count, exemplar) in sum.classic() {
            let bound = self.bound(bound);
            self.name(family, "_bucket", labels, Some(&bound));
            self.push(&[" ", &count.to_string()]);
            if let (Dialect::OpenMetrics, Some(exemplar)) = (self.dialect, exemplar) {
                self.exemplar(exemplar);
            }
            self.out.push('\n');
        }
        self.sample(family, "_sum", labels, &sum.seconds().to_string());
        self.sample(family, "_count", labels, &sum.count().to_string());
    }

    fn exemplar(&mut self, Exemplar { trace, duration, at }: &Exemplar) {
        let (trace_id, span_id) = (trace.trace_id.to_string(), trace.span_id.to_string());
        self.push(&[" # {trace_id=\"", &trace_id, "\",span_id=\"", &span_id, "\"} "]);
        let value = duration.as_secs_f64().to_string();
        // Seconds with milliseconds, which an f64 would not show as such.
        let time = format!("{}.{:03}", at.0.as_secs(), at.0.subsec_millis());
        self.push(&[&value, " ", &time]);
    }

    fn name(&mut self, family: &Family, suffix: &str, labels: &[Label], le: Option<&str>) {
        self.push(&[family.name, suffix]);
        let named = family.labels.iter().zip(labels).filter(|(_, value)| !value.is_empty());
        let all = named.map(|(name, value)| (*name, &**value)).chain(le.map(|le| ("le", le)));
        let mut opening = "{";
        for (name, value) in all {
            self.push(&[opening, name, "=\""]);
            escape(&mut self.out, value);
            self.out.push('"');
            opening = ",";
        }
        if opening == "," {
            self.out.push('}');
        }
    }

    /// The bound of a bucket. OpenMetrics has it always with a point.
    fn bound(&self, bound: f64) -> String {
        if bound.is_infinite() {
            "+Inf".to_owned()
        } else if self.dialect == Dialect::OpenMetrics {
            format!("{bound:?}")
        } else {
            bound.to_string()
        }
    }

    fn push(&mut self, pieces: &[&str]) {
        pieces.iter().for_each(|piece| self.out.push_str(piece));
    }
}

/// Writes the value of a label.
pub(super) fn escape(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}
