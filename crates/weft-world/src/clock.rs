//! Time as a value, and timers that a simulation can advance.

use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on a monotonic clock, in nanoseconds since an arbitrary start.
///
/// Moments of two clocks must not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The moment `nanos` nanoseconds after the clock's start.
    pub const fn from_nanos(nanos: u64) -> Moment {
        Moment(nanos)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates after some 584 years.
    fn add(self, duration: Duration) -> Moment {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    /// Stops at the clock's start.
    fn sub(self, duration: Duration) -> Moment {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_sub(nanos))
    }
}

/// A point in civil time, as the time since the Unix epoch. It may jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub Duration);

impl UnixTime {
    /// The year, month, day, hour, minute and second in UTC (proleptic Gregorian calendar).
    fn civil(self) -> (u64, u64, u64, u64, u64, u64) {
        let seconds = self.0.as_secs();
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        // Days are counted from 1 March of year 0, so that a leap day ends its year.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        (year, month, day, of_day / 3_600, of_day / 60 % 60, of_day % 60)
    }
}

impl fmt::Display for UnixTime {
    /// RFC 3339 in UTC with milliseconds, as in `2026-11-23T06:03:43.120Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = self.civil();
        let millis = self.0.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Time and timers.
pub trait Clock {
    /// The present moment. Costs tens of nanoseconds; never goes back.
    fn now(&self) -> Moment;

    /// The civil time, for certificates and logs only: it may jump in either direction.
    fn wall(&self) -> UnixTime;

    /// A timer that ends at `at`.
    fn timer(&self, at: Moment) -> Box<dyn Timer>;

    /// What to tell foreign code that reads the system's own clock where `duration` of this one is
    /// meant. Without end in simulated time: how long a run really takes must not matter.
    fn on_system_clock(&self, duration: Duration) -> Duration {
        duration
    }
}

impl dyn Clock + '_ {
    /// Waits for `duration`.
    pub fn sleep(&self, duration: Duration) -> Box<dyn Timer> {
        self.timer(self.now() + duration)
    }
}

/// A future that is ready from a certain moment on, which can be moved.
pub trait Timer: Future<Output = ()> + Unpin {
    /// Lets the timer end at `at` instead, also when it has ended already.
    fn reset(&mut self, at: Moment);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_time_is_printed_as_rfc_3339() {
        let at =
            |seconds, millis: u32| UnixTime(Duration::new(seconds, millis * 1_000_000)).to_string();
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399, 999), "2000-02-28T23:59:59.999Z");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_795_413_823, 120), "2026-11-23T06:03:43.120Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn moments_saturate() {
        let start = Moment::from_nanos(5);
        assert_eq!(start.since(Moment::from_nanos(9)), Duration::ZERO);
        assert_eq!(start - Duration::from_secs(1), Moment::from_nanos(0));
        assert_eq!((start + Duration::MAX).as_nanos(), u64::MAX);
    }
}
