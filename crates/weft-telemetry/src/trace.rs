//! Trace context: who is being traced, read from the fields that W3C and B3 define.
//!
//! The fields themselves pass through a proxy untouched, `tracestate` and what could not be read
//! included: a proxy makes no spans yet, so that the caller's span is the parent of the server's.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use weft_http::Fields;

/// The fields that carry a trace context, in lower case.
pub const PROPAGATED: &[&str] = &[
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// Names a trace. Never zero.
///
/// B3 allows 64 bits: those are the lower half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// Names a span within a trace. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

/// The trace that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span.
    pub span_id: SpanId,
    /// Whether the trace is recorded; none if the caller leaves that to others.
    pub is_sampled: Option<bool>,
}

/// The fields of a context as found in one pass. What comes twice has two readings: it is unread.
#[derive(Default)]
struct Found<'a> {
    traceparent: Once<'a>,
    b3: Once<'a>,
    trace_id: Once<'a>,
    span_id: Once<'a>,
    sampled: Once<'a>,
    flags: Once<'a>,
}

#[derive(Clone, Copy, Default)]
enum Once<'a> {
    #[default]
    Absent,
    Value(&'a [u8]),
    Repeated,
}

impl<'a> Once<'a> {
    fn take(&mut self, value: &'a [u8]) {
        *self = if let Once::Absent = self { Once::Value(value) } else { Once::Repeated };
    }

    fn value(self) -> Option<&'a [u8]> {
        if let Once::Value(value) = self { Some(value) } else { None }
    }
}

impl TraceContext {
    /// The context that `fields` carry: that of `traceparent`, else of `b3`, else of `x-b3-…`.
    ///
    /// Strict: what is malformed or given twice, and identifiers that are zero, count as absent.
    /// Of `traceparent` version 00 is read.
    /// Source: W3C Trace Context, section 3.2; openzipkin/b3-propagation.
    pub fn from_fields(fields: &Fields) -> Option<TraceContext> {
        let mut found = Found::default();
        for (name, value) in fields.iter() {
            let is = |spelling: &[u8]| name.eq_ignore_ascii_case(spelling);
            let place = match name.len() {
                2 if is(b"b3") => &mut found.b3,
                10 if is(b"x-b3-flags") => &mut found.flags,
                11 if is(b"traceparent") => &mut found.traceparent,
                11 if is(b"x-b3-spanid") => &mut found.span_id,
                12 if is(b"x-b3-traceid") => &mut found.trace_id,
                12 if is(b"x-b3-sampled") => &mut found.sampled,
                _ => continue,
            };
            place.take(value);
        }
        let w3c = found.traceparent.value().and_then(w3c);
        w3c.or_else(|| found.b3.value().and_then(b3_single)).or_else(|| b3_multi(&found))
    }

    /// Gives `to` the trace fields of `from`, as they are, instead of its own.
    ///
    /// For requests that the proxy makes on behalf of another. One that is forwarded has them.
    pub fn pass_on(from: &Fields, to: &mut Fields) {
        for name in PROPAGATED {
            to.remove(name.as_bytes());
        }
        for name in PROPAGATED {
            for value in from.values(name) {
                to.append(name, value);
            }
        }
    }
}

/// `00-TRACE-SPAN-FLAGS`.
fn w3c(value: &[u8]) -> Option<TraceContext> {
    let mut parts = value.split(|&byte| byte == b'-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != b"00" || parts.next().is_some() || trace.len() != 32 || flags.len() != 2 {
        return None;
    }
    let is_sampled = Some(hex(flags)? & 1 == 1);
    Some(TraceContext {
        trace_id: TraceId::parse(trace)?,
        span_id: SpanId::parse(span)?,
        is_sampled,
    })
}

/// `TRACE-SPAN[-STATE[-PARENT]]`. A state alone names no trace.
fn b3_single(value: &[u8]) -> Option<TraceContext> {
    let mut parts = value.split(|&byte| byte == b'-');
    let (trace_id, span_id) = (TraceId::parse(parts.next()?)?, SpanId::parse(parts.next()?)?);
    let is_sampled = match parts.next() {
        None => None,
        Some(b"0") => Some(false),
        Some(b"1" | b"d") => Some(true),
        Some(_) => return None,
    };
    if let Some(parent) = parts.next() {
        SpanId::parse(parent)?;
    }
    parts.next().is_none().then_some(TraceContext { trace_id, span_id, is_sampled })
}

fn b3_multi(found: &Found<'_>) -> Option<TraceContext> {
    let trace_id = TraceId::parse(found.trace_id.value()?)?;
    let span_id = SpanId::parse(found.span_id.value()?)?;
    // Debug, which is the flag 1, implies that it is recorded.
    let is_sampled = match (found.flags.value(), found.sampled.value()) {
        (Some(b"1"), _) | (_, Some(b"1" | b"true")) => Some(true),
        (_, Some(b"0" | b"false")) => Some(false),
        _ => None,
    };
    Some(TraceContext { trace_id, span_id, is_sampled })
}

impl TraceId {
    /// 32 or 16 lower-case hexadecimal digits.
    fn parse(digits: &[u8]) -> Option<TraceId> {
        let value = if matches!(digits.len(), 16 | 32) { hex(digits)? } else { return None };
        NonZeroU128::new(value).map(TraceId)
    }
}

impl SpanId {
    /// 16 lower-case hexadecimal digits.
    fn parse(digits: &[u8]) -> Option<SpanId> {
        let value = if digits.len() == 16 { hex(digits)? } else { return None };
        NonZeroU64::new(u64::try_from(value).ok()?).map(SpanId)
    }
}

/// The value of up to 32 digits. Upper case is malformed in all of these fields.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value: u128, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

impl fmt::Display for TraceId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    /// 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in list {
            fields.append(name, value.as_bytes());
        }
        fields
    }

    fn read(list: &[(&str, &str)]) -> Option<(String, String, Option<bool>)> {
        let context = TraceContext::from_fields(&fields(list))?;
        Some((context.trace_id.to_string(), context.span_id.to_string(), context.is_sampled))
    }

    fn context(sampled: Option<bool>) -> Option<(String, String, Option<bool>)> {
        Some((TRACE.to_owned(), SPAN.to_owned(), sampled))
    }

    #[test]
    fn traceparent_is_read() {
        let parent = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
        assert_eq!(read(&[("Traceparent", &parent("01"))]), context(Some(true)));
        assert_eq!(read(&[("traceparent", &parent("00"))]), context(Some(false)));
        // Flags that are not known yet are ignored.
        assert_eq!(read(&[("traceparent", &parent("ff"))]), context(Some(true)));
    }

    #[test]
    fn a_malformed_traceparent_is_absent() {
        let zero_trace = format!("00-{}-{SPAN}-01", "0".repeat(32));
        let zero_span = format!("00-{TRACE}-{}-01", "0".repeat(16));
        let good = format!("00-{TRACE}-{SPAN}-01");
        for bad in [
            zero_trace.as_str(),
            &zero_span,
            &good.replace("00-4", "01-4"),
            &good.replace("00-4", "ff-4"),
            &good.to_uppercase(),
            &format!("{good}-00"),
            &format!("{good}0"),
            &format!(" {good}"),
            &good[..54],
            &good.replace("-00f", "-+0f"),
            &format!("00-{}-{SPAN}-01", &TRACE[16..]),
            "",
        ] {
            assert_eq!(read(&[("traceparent", bad)]), None, "{bad}");
        }
        assert_eq!(read(&[("traceparent", &good), ("traceparent", &good)]), None);
    }

    #[test]
    fn b3_is_read_in_both_forms() {
        let single = |rest: &str| read(&[("b3", &format!("{TRACE}-{SPAN}{rest}"))]);
        assert_eq!(single(""), context(None));
        assert_eq!(single("-1"), context(Some(true)));
        assert_eq!(single("-d-05e3ac9a4f6e3b90"), context(Some(true)));
        assert_eq!(single("-0"), context(Some(false)));
        for bad in ["-2", "-1-05", "-1-05e3ac9a4f6e3b90-1", "-"] {
            assert_eq!(single(bad), None, "{bad}");
        }
        assert_eq!(read(&[("b3", "0")]), None);
        let multi = |more: &[(&str, &str)]| {
            read(&[&[("X-B3-TraceId", TRACE), ("X-B3-SpanId", SPAN)], more].concat())
        };
        assert_eq!(multi(&[]), context(None));
        assert_eq!(multi(&[("x-b3-sampled", "1")]), context(Some(true)));
        assert_eq!(multi(&[("x-b3-sampled", "0")]), context(Some(false)));
        assert_eq!(multi(&[("x-b3-flags", "1")]), context(Some(true)));
        assert_eq!(multi(&[("x-b3-spanid", SPAN)]), None);
        assert_eq!(read(&[("x-b3-traceid", TRACE)]), None);
        let short = read(&[("b3", &format!("{}-{SPAN}", &TRACE[16..]))]).unwrap();
        assert_eq!(short.0, format!("{}{}", "0".repeat(16), &TRACE[16..]));
    }

    #[test]
    fn w3c_goes_before_b3_unless_it_is_malformed() {
        let b3 = format!("{}-{SPAN}", "1".repeat(32));
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(read(&[("b3", &b3), ("traceparent", &good)]), context(Some(true)));
        assert_eq!(read(&[("b3", &b3), ("traceparent", "00-")]).unwrap().0, "1".repeat(32));
    }

    #[test]
    fn fields_are_passed_on_as_they_are() {
        let from = fields(&[
            ("tracestate", "a=1,,b=2"),
            ("x-other", "1"),
            ("Traceparent", "not one"),
            ("tracestate", "c=3"),
        ]);
        let mut to = fields(&[("Host", "a"), ("b3", "0"), ("TraceState", "z=9")]);
        TraceContext::pass_on(&from, &mut to);
        let mut text = Vec::new();
        to.write(&mut text);
        let expected = "Host: a\r\ntraceparent: not one\r\ntracestate: a=1,,b=2\r\n\
            tracestate: c=3\r\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace in 1u128.., span in 1u64.., flags: u8) {
            let value = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
            let context = TraceContext::from_fields(&fields(&[("traceparent", &value)])).unwrap();
            prop_assert_eq!(context.trace_id.to_string(), format!("{trace:032x}"));
            prop_assert_eq!(context.span_id.to_string(), format!("{span:016x}"));
            prop_assert_eq!(context.is_sampled, Some(flags % 2 == 1));
        }

        #[test]
        fn no_bytes_break_it(value: Vec<u8>) {
            let value: Vec<u8> = value.into_iter().filter(|&b| b >= b' ' && b != 0x7f).collect();
            let mut all = Fields::default();
            for name in PROPAGATED {
                all.append(name, &value);
            }
            let _ = TraceContext::from_fields(&all);
        }
    }
}
