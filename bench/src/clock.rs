//! Real time, which is what a benchmark measures: the simulated clock of the mesh has no say here.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds on the monotonic clock, from an arbitrary start.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("the monotonic clock starts at zero");
    let nanoseconds = u64::try_from(now.tv_nsec).expect("nanoseconds are not negative");
    seconds * 1_000_000_000 + nanoseconds
}

/// `duration` in nanoseconds, saturating after five centuries.
pub fn to_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `nanoseconds` as the kernel wants a timeout.
pub fn timespec(nanoseconds: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanoseconds % 1_000_000_000).expect("less than a second"),
    }
}

/// Seconds since 1970, for the date on a report.
pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Waits, without using the core.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Calls `attempt` every `interval` until it gives a value or `patience` is over.
pub fn retry<T>(
    patience: Duration,
    interval: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = now_ns() + to_ns(patience);
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if now_ns() >= deadline => return Err(error),
            Err(_) => pause(interval),
        }
    }
}
