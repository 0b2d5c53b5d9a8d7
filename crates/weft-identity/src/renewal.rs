//! When to renew a certificate, as a pure function.

use std::time::Duration;

use weft_world::UnixTime;

use crate::authority::CLOCK_SKEW;
use crate::certificate::Validity;

/// The wait after a first failure.
const BACKOFF_BASE: Duration = Duration::from_secs(2);

/// The longest wait between two attempts, unless the lifetime asks for a shorter one.
const BACKOFF_MAX: Duration = Duration::from_secs(5 * 60);

/// When to try (again) to renew a certificate with `validity`: at half of its lifetime, give or
/// take a tenth of it, and after `failures` in a row with growing waits.
///
/// - A first attempt is due between 40 % and 60 %, so that what was issued together is not renewed
///   together. If that has passed, as after a sleep or a jump of the clock, it is due now; and so
///   it is where the certificate does not hold yet, since one of two clocks is wrong then.
/// - After failures, waits double up to five minutes or a hundredth of the lifetime, whichever is
///   less. None leads past 80 % if it begins before.
///
/// `jitter` is drawn by the caller from `0.0..1.0`, for the first attempt once per certificate.
/// `now` is the time of the question, after a failure that of the failure.
pub fn renew_at(validity: Validity, failures: u32, now: UnixTime, jitter: f64) -> UnixTime {
    debug_assert!((0.0..1.0).contains(&jitter));
    let lifetime = validity.lifetime();
    let at = |fraction: f64| UnixTime(validity.not_before.0 + lifetime.mul_f64(fraction));
    if failures == 0 && now < validity.not_before {
        return now;
    }
    if failures == 0 {
        return at(0.4 + 0.2 * jitter).max(now);
    }
    let doublings = (failures - 1).min(16);
    let longest = BACKOFF_MAX.min(lifetime / 100).max(BACKOFF_BASE);
    let ceiling = (BACKOFF_BASE * 2u32.pow(doublings)).min(longest);
    // Half of it is certain, so that no two attempts follow each other at once.
    let wait = ceiling.mul_f64(0.5 + 0.5 * jitter);
    let next = UnixTime(now.0 + wait);
    let latest = at(0.8);
    if now < latest { next.min(latest) } else { next }
}

/// When an authority, by its own clock, has signed a certificate with `validity`.
pub fn issued_at(validity: Validity) -> UnixTime {
    UnixTime(validity.not_before.0 + CLOCK_SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> UnixTime {
        UnixTime(Duration::from_secs(seconds))
    }

    fn day() -> Validity {
        Validity { not_before: at(1_000_000), not_after: at(1_000_000 + 100 * HOUR) }
    }

    #[test]
    fn a_first_attempt_is_at_half_of_the_lifetime_give_or_take_a_tenth() {
        let begin = at(1_000_000);
        for (jitter, hours) in [(0.0, 40), (0.5, 50)] {
            assert_eq!(renew_at(day(), 0, begin, jitter), at(1_000_000 + hours * HOUR));
        }
        let last = renew_at(day(), 0, begin, 0.999_999);
        assert!(last < at(1_000_000 + 60 * HOUR) && last > at(1_000_000 + 59 * HOUR));
    }

    #[test]
    fn what_is_overdue_is_renewed_now() {
        for hours in [60, 80, 100, 1000] {
            let now = at(1_000_000 + hours * HOUR);
            assert_eq!(renew_at(day(), 0, now, 0.0), now);
        }
    }

    #[test]
    fn what_does_not_hold_yet_is_renewed_now_and_then_with_growing_waits() {
        for early in [1, HOUR, 10 * HOUR] {
            let now = at(1_000_000 - early);
            assert_eq!(renew_at(day(), 0, now, 0.5), now);
            assert_eq!(renew_at(day(), 3, now, 0.0), UnixTime(now.0 + Duration::from_secs(4)));
        }
    }

    #[test]
    fn waits_after_failures_double_up_to_five_minutes() {
        let now = at(1_000_000 + 50 * HOUR);
        let waits: Vec<_> = (1..12)
            .map(|failures| (renew_at(day(), failures, now, 0.999_999).0 - now.0).as_secs_f64())
            .collect();
        for (wait, expected) in waits.iter().zip([2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]) {
            assert!((wait - f64::from(expected)).abs() < 0.01, "{waits:?}");
        }
        assert_eq!(renew_at(day(), 3, now, 0.0), UnixTime(now.0 + Duration::from_secs(4)));
        assert!(renew_at(day(), u32::MAX, now, 0.5) > now);
    }

    #[test]
    fn no_wait_leads_past_four_fifths() {
        let mark = at(1_000_000 + 80 * HOUR);
        assert_eq!(renew_at(day(), 20, at(1_000_000 + 80 * HOUR - 1), 0.5), mark);
        let behind = renew_at(day(), 20, mark, 0.5);
        assert!(behind > mark && behind <= at(1_000_000 + 80 * HOUR + 300));
    }

    #[test]
    fn short_lives_are_tried_more_often() {
        let short = Validity { not_before: at(0), not_after: at(600) };
        assert!(renew_at(short, 20, at(400), 0.999) <= at(406));
        let none = Validity { not_before: at(600), not_after: at(0) };
        assert_eq!(renew_at(none, 0, at(700), 0.3), at(700));
        assert_eq!(renew_at(none, 0, at(500), 0.3), at(500));
    }
}
