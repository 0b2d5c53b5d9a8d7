//! The system's clocks, and tokio's timers.

#![expect(clippy::disallowed_methods, reason = "this is where time comes from")]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use weft_world::{Clock, Moment, Timer, UnixTime};

/// The system's clocks.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts a day before now, so that moments of the near past can be told.
    #[expect(clippy::new_without_default, reason = "a default would hide that it reads the time")]
    pub fn new() -> SystemClock {
        let now = Instant::now();
        SystemClock { start: now.checked_sub(Duration::from_secs(86_400)).unwrap_or(now) }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment::default() + self.start.elapsed()
    }

    fn wall(&self) -> UnixTime {
        // A clock before 1970 is shown as 1970.
        UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }

    fn timer(&self, at: Moment) -> Box<dyn Timer> {
        let deadline = self.start + at.since(Moment::default());
        let sleep = tokio::time::sleep_until(deadline.into());
        Box::new(SystemTimer { start: self.start, sleep: Box::pin(sleep) })
    }
}

struct SystemTimer {
    start: Instant,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl Future for SystemTimer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }
}

impl Timer for SystemTimer {
    fn reset(&mut self, at: Moment) {
        let deadline = self.start + at.since(Moment::default());
        self.sleep.as_mut().reset(deadline.into());
    }
}
