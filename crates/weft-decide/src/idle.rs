//! When something that goes on without moving is over.
//!
//! An exchange or a stream in which no byte has moved in either direction for the limit of its
//! backend is ended, by the caller's proxy. What that limit is, it tells the server's proxy where
//! it is not the default; that one waits a little longer, so that it is the caller's proxy which
//! knows the reason that ends it.

use std::time::Duration;

use weft_http::{Known, RequestHead};
use weft_model::BackendTimeouts;

use crate::deadline::{TimeoutError, TimeoutText, read};

/// The field by which the caller's proxy tells its limit to the server's.
pub const WEFT_IDLE: &str = "weft-idle";

/// By how much the server's proxy waits longer than the caller's: more than both take to look, and
/// than a byte takes from one to the other.
pub const SERVER_MARGIN: Duration = Duration::from_secs(10);

/// Watches whether something moves, by a count that changes with all that does.
///
/// Times are counted since a common start, and may be as coarse as `grain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stillness {
    limit: Duration,
    grain: Duration,
    count: u64,
    since: Duration,
}

impl Stillness {
    /// Nothing has moved yet at `now`. It is over after `limit`; never before, and where `now` is
    /// up to `grain` behind, up to that much later.
    pub fn new(limit: Duration, grain: Duration, now: Duration) -> Stillness {
        Stillness { limit, grain, count: 0, since: now }
    }

    /// Notes what the count is at `now`.
    pub fn note(&mut self, count: u64, now: Duration) {
        if count != self.count {
            (self.count, self.since) = (count, now);
        }
    }

    /// When it is over if nothing moves any more.
    pub fn over_at(&self) -> Duration {
        self.since.saturating_add(self.limit).saturating_add(self.grain)
    }

    /// Whether it is over at `now`.
    pub fn is_over(&self, now: Duration) -> bool {
        now >= self.over_at()
    }

    /// How long it may stand still.
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

/// How long the server's proxy waits for something to move, where the caller's told that it waits
/// for `told`, or nothing.
pub fn at_server(told: Option<Duration>) -> Duration {
    told.unwrap_or(default()).saturating_add(SERVER_MARGIN)
}

/// What the caller's proxy tells in `head`; absent if it does not say.
///
/// # Errors
/// [`TimeoutError`] if the field is malformed or there twice.
pub fn told(head: &RequestHead) -> Result<Option<Duration>, TimeoutError> {
    if has_none(head) { Ok(None) } else { read(head, WEFT_IDLE) }
}

/// Has `head` tell `limit` to a proxy of Weft, which `to_mesh` says, where it is not the default.
pub fn carry(head: &mut RequestHead, limit: Duration, to_mesh: bool) {
    if to_mesh && limit != default() {
        head.fields.set(WEFT_IDLE, TimeoutText::new(limit).as_str().as_bytes());
    } else if !has_none(head) {
        head.fields.remove(WEFT_IDLE.as_bytes());
    }
}

/// Whether `head` has no field of Weft at all, as most have none: that costs no look at names.
fn has_none(head: &RequestHead) -> bool {
    head.fields.known(Known::Weft).next().is_none()
}

fn default() -> Duration {
    BackendTimeouts::default().stream_idle.duration()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn what_stands_still_for_the_limit_is_over() {
        let mut still = Stillness::new(seconds(60), Duration::ZERO, seconds(5));
        assert!(!still.is_over(seconds(64)) && still.is_over(seconds(65)));
        still.note(0, seconds(50));
        assert_eq!(still.over_at(), seconds(65), "that nothing moved is no movement");
        still.note(7, seconds(50));
        assert!(!still.is_over(seconds(109)) && still.is_over(seconds(110)));
        still.note(7, seconds(100));
        assert!(still.is_over(seconds(110)));
    }

    #[test]
    fn a_count_that_falls_is_a_movement_too() {
        let mut still = Stillness::new(seconds(60), Duration::ZERO, seconds(0));
        still.note(9, seconds(10));
        still.note(3, seconds(20));
        assert_eq!(still.over_at(), seconds(80));
    }

    #[test]
    fn a_coarse_clock_ends_nothing_too_early() {
        // The clock says 10 until it says 11: what moved at 10.9 may have moved at 10.
        let mut still = Stillness::new(seconds(60), seconds(1), seconds(0));
        still.note(1, seconds(10));
        assert!(!still.is_over(seconds(70)) && still.is_over(seconds(71)));
    }

    #[test]
    fn limits_without_end_do_not_overflow() {
        let still = Stillness::new(Duration::MAX, seconds(1), seconds(5));
        assert!(!still.is_over(seconds(u64::MAX / 2)));
        assert_eq!(at_server(Some(Duration::MAX)), Duration::MAX);
    }

    #[test]
    fn the_servers_proxy_waits_longer_than_the_callers() {
        assert_eq!(at_server(None), seconds(3_610));
        assert_eq!(at_server(Some(seconds(5))), seconds(15));
    }

    #[test]
    fn only_what_is_no_default_is_told_and_only_to_proxies() {
        let mut head = RequestHead::default();
        carry(&mut head, seconds(3_600), true);
        assert_eq!(told(&head), Ok(None));
        assert_eq!(head.fields.len(), 0);
        carry(&mut head, seconds(28_800), true);
        assert_eq!(told(&head), Ok(Some(seconds(28_800))));
        carry(&mut head, seconds(28_800), false);
        assert_eq!(head.fields.len(), 0, "applications do not know it");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let mut head = RequestHead::default();
        head.fields.append(WEFT_IDLE, b"soon");
        let error = told(&head).unwrap_err().to_string();
        assert_eq!(error, "weft-idle: `soon` is not 1 to 8 digits and one of H, M, S, m, u, n");
    }
}
