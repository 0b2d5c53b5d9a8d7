//! What a scraper gets: which format it asked for, and a registry in that format.

mod protobuf;
mod text;

use crate::metrics::{Registry, Scrape};

/// The most media ranges of an `Accept` field that are read: scrapers send about five.
const RANGES_MAX: usize = 32;

/// A format for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text, version 0.0.4: classic histograms.
    Text,
    /// OpenMetrics text, version 1.0.0: classic histograms with exemplars.
    OpenMetrics,
    /// Prometheus' protobuf messages, each behind its length: histograms of both kinds, with
    /// exemplars.
    Protobuf,
}

impl Format {
    /// What to say as `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
        }
    }

    /// The format that a media range without its `q` names. Text can always be read by people.
    fn named(media_type: &str, parameter: &dyn Fn(&str) -> Option<String>) -> Option<Format> {
        let is = |name: &str, wanted: &str| parameter(name).is_none_or(|value| value == wanted);
        match media_type {
            "application/vnd.google.protobuf" => {
                // Without these it is another message or another framing.
                let is_ours = parameter("proto").as_deref()
                    == Some("io.prometheus.client.metricfamily")
                    && parameter("encoding").as_deref() == Some("delimited");
                is_ours.then_some(Format::Protobuf)
            }
            "application/openmetrics-text" => is("version", "1.0.0").then_some(Format::OpenMetrics),
            "text/plain" => is("version", "0.0.4").then_some(Format::Text),
            "text/*" | "*/*" => Some(Format::Text),
            _ => None,
        }
    }
}

/// The format that `accept`, the value of an `Accept` field, prefers; text if it names none.
///
/// Of several with the same weight the first is taken. Several fields are one, joined by commas.
/// Source: RFC 9110, section 12.5.1.
pub fn negotiate(accept: &str) -> Format {
    let mut best = (0, Format::Text);
    for range in accept.split(',').take(RANGES_MAX) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters: Vec<(String, String)> = parts.filter_map(pair).collect();
        let parameter = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        };
        let weight = parameter("q").map_or(Some(1000), |q| weight(&q)).unwrap_or(0);
        if let Some(format) = Format::named(&media_type, &parameter)
            && weight > best.0
        {
            best = (weight, format);
        }
    }
    best.1
}

/// A parameter in lower case, its value without quotes.
fn pair(parameter: &str) -> Option<(String, String)> {
    let (name, value) = parameter.split_once('=')?;
    let value = value.trim().trim_matches('"');
    Some((name.trim().to_ascii_lowercase(), value.to_ascii_lowercase()))
}

/// A weight of 0 to 1 with at most three digits, in thousandths.
fn weight(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits {
        return None;
    }
    let thousandths = format!("{part:0<3}").parse::<u32>().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// All of `registry` at `scrape`, in `format`.
///
/// Takes some milliseconds for some thousand series: to be called beside the data path. Series
/// that have not changed for [`crate::metrics::Options::idle`] go out of use by this call.
pub fn encode(registry: &Registry, format: Format, scrape: &Scrape) -> Vec<u8> {
    let scraped = registry.scrape(scrape);
    match format {
        Format::Text => text::encode(&scraped, text::Dialect::Prometheus),
        Format::OpenMetrics => text::encode(&scraped, text::Dialect::OpenMetrics),
        Format::Protobuf => protobuf::encode(&scraped),
    }
}

#[cfg(test)]
mod tests;
