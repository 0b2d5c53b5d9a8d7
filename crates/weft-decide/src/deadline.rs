//! By when a request must be answered, and what of it travels on.
//!
//! A caller says how long it waits in `grpc-timeout`, or between Weft's proxies in `weft-timeout`,
//! of the same form; the route may allow less. What is left travels on with each attempt, so that
//! nobody works on what nobody waits for.

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use weft_http::RequestHead;
use weft_model::{TimeBound, Timeouts};

use crate::grpc;

/// The field that gRPC has for it.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The field that Weft's proxies have for it among each other, for what is not gRPC.
pub const WEFT_TIMEOUT: &str = "weft-timeout";

/// A time that a caller gives and that cannot be read. The request is to be answered with 400.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name}: `{found}` is not {allowed}")]
pub struct TimeoutError {
    name: &'static str,
    /// Its beginning, with what cannot be printed escaped.
    found: String,
    allowed: &'static str,
}

/// Which limit a deadline comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// `timeouts.request` of the route's rule.
    Request,
    /// `timeouts.backendRequest` of the route's rule.
    Attempt,
    /// What the caller asks for.
    Caller,
}

/// How long something may still take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// From now on; zero if it is over.
    pub left: Duration,
    /// The whole of it.
    pub whole: Duration,
    /// Where it comes from.
    pub limit: Limit,
}

/// By when a request must be answered, and how long each attempt may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadline {
    /// All attempts together: when it is over, how long it was, and whose limit it is.
    whole: Option<(Duration, Duration, Limit)>,
    attempt: Option<TimeBound>,
}

impl Deadline {
    /// The deadline of a request that began at `began`, since a common start: the nearer of what
    /// `timeouts` allow and what the caller asks for, as [`asked`] reads it.
    pub fn new(timeouts: &Timeouts, asked: Option<Duration>, began: Duration) -> Deadline {
        let request = timeouts.request().map(|request| (request.duration(), Limit::Request));
        let asked = asked.map(|asked| (asked, Limit::Caller));
        let nearer = [request, asked].into_iter().flatten().min();
        let whole = nearer.map(|(whole, limit)| (began.saturating_add(whole), whole, limit));
        Deadline { whole, attempt: timeouts.attempt() }
    }

    /// How long the request may still take, all attempts together; absent without a limit.
    pub fn left(&self, now: Duration) -> Option<Bound> {
        self.whole.map(|(end, whole, limit)| Bound { left: end.saturating_sub(now), whole, limit })
    }

    /// How long an attempt that begins at `now` may take; absent without a limit.
    pub fn attempt(&self, now: Duration) -> Option<Bound> {
        let attempt = self.attempt.map(TimeBound::duration);
        let attempt = attempt.map(|left| Bound { left, whole: left, limit: Limit::Attempt });
        match (self.left(now), attempt) {
            (Some(whole), Some(attempt)) if attempt.left < whole.left => Some(attempt),
            (None, attempt) => attempt,
            (whole, _) => whole,
        }
    }
}

/// How long the caller waits at most; absent if it does not say. Of both fields, the shorter.
///
/// `grpc-timeout` counts in gRPC calls only. Fields named `weft-` must have been removed from what
/// others than Weft's proxies sent.
///
/// # Errors
/// [`TimeoutError`] if a field is malformed or there twice.
pub fn asked(head: &RequestHead) -> Result<Option<Duration>, TimeoutError> {
    let grpc = if grpc::is_call(head) { read(head, GRPC_TIMEOUT)? } else { None };
    let weft = read(head, WEFT_TIMEOUT)?;
    Ok([grpc, weft].into_iter().flatten().min())
}

/// Has `head` say that `left` is the time left for the attempt that it is sent with.
///
/// gRPC calls say it to whomever they go; other requests only to Weft's proxies, which `to_mesh`
/// says. Without a limit nothing is added.
pub fn carry(head: &mut RequestHead, left: Option<Duration>, to_mesh: bool) {
    let is_grpc = grpc::is_call(head);
    match left.map(TimeoutText::new) {
        Some(text) if is_grpc => head.fields.set(GRPC_TIMEOUT, text.as_str().as_bytes()),
        Some(text) if to_mesh => head.fields.set(WEFT_TIMEOUT, text.as_str().as_bytes()),
        _ => {}
    }
    if is_grpc || !to_mesh {
        head.fields.remove(WEFT_TIMEOUT.as_bytes());
    }
}

/// The time that the field `name` says, if it is there.
pub(crate) fn read(
    head: &RequestHead,
    name: &'static str,
) -> Result<Option<Duration>, TimeoutError> {
    let mut values = head.fields.values(name);
    let Some(value) = values.next() else { return Ok(None) };
    let error = |found: &[u8], allowed| {
        const SHOWN_MAX: usize = 32;
        let found = found[..found.len().min(SHOWN_MAX)].escape_ascii().to_string();
        Err(TimeoutError { name, found, allowed })
    };
    if let Some(second) = values.next() {
        return error(second, "allowed behind another of that name");
    }
    match parse(value) {
        Some(time) => Ok(Some(time)),
        None => error(value, "1 to 8 digits and one of H, M, S, m, u, n"),
    }
}

/// The most digits of a time. Source: gRPC over HTTP/2, `TimeoutValue`.
const DIGITS_MAX: usize = 8;

/// A unit with its length in nanoseconds, the shorter before the longer.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// The time that `value` says. Zero is one: clients send it when their time is up.
///
/// Source: gRPC over HTTP/2, `Timeout`.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let (_, nanos) = UNITS.iter().find(|(letter, _)| letter == unit)?;
    let is_number =
        (1..=DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number = || digits.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    // 99,999,999 hours are 3.6 * 10^20 ns, more than 64 bits hold; as whole seconds they fit.
    let of = |number: u64| match nanos / 1_000_000_000 {
        0 => Duration::from_nanos(number * nanos),
        seconds => Duration::from_secs(number * seconds),
    };
    is_number.then(|| of(number()))
}

/// A time in the form that fields have: at most eight digits and a unit. Kept without allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TimeoutText {
    bytes: [u8; DIGITS_MAX + 1],
    len: usize,
}

impl TimeoutText {
    /// `time` in the shortest unit that it fits into, rounded down: nobody is told more than there
    /// is. More than 99,999,999 hours are as many.
    pub fn new(time: Duration) -> TimeoutText {
        const MOST: u128 = 99_999_999;
        let nanos = time.as_nanos();
        let fits = |&(_, unit): &(u8, u64)| nanos / u128::from(unit) <= MOST;
        let (letter, unit) = UNITS.into_iter().find(fits).unwrap_or(UNITS[UNITS.len() - 1]);
        let mut number = (nanos / u128::from(unit)).min(MOST);
        let mut bytes = [0; DIGITS_MAX + 1];
        // From the last digit to the first, and then to the front.
        let mut at = DIGITS_MAX;
        bytes[at] = letter;
        loop {
            at -= 1;
            bytes[at] = b'0' + u8::try_from(number % 10).expect("it is a digit");
            number /= 10;
            if number == 0 {
                break;
            }
        }
        bytes.copy_within(at.., 0);
        TimeoutText { bytes, len: DIGITS_MAX + 1 - at }
    }

    /// The text, as in `1500m`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("it is digits and a letter")
    }
}

impl fmt::Debug for TimeoutText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
