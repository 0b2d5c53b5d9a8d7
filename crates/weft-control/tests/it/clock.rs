//! Time that passes when a test says so. TLS goes by the real one, so that certificates must be
//! made before much of it has passed.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use weft_world::{Clock, Moment, Timer, UnixTime};

/// A clock that stands still until it is moved. A clone is the same clock.
#[derive(Clone)]
pub struct TestClock(Arc<Mutex<Inner>>);

struct Inner {
    /// When the test began, in the time by which TLS judges certificates.
    began: UnixTime,
    passed: Duration,
    waiting: Vec<(Moment, Waker)>,
}

impl TestClock {
    pub fn new() -> TestClock {
        let began = weft_net::world().clock.wall();
        let inner = Inner { began, passed: Duration::ZERO, waiting: Vec::new() };
        TestClock(Arc::new(Mutex::new(inner)))
    }

    /// Lets `duration` pass at once.
    pub fn advance(&self, duration: Duration) {
        let mut inner = self.0.lock().unwrap();
        inner.passed += duration;
        let now = Moment::default() + inner.passed;
        let (due, later) = inner.waiting.drain(..).partition(|(at, _)| *at <= now);
        inner.waiting = later;
        drop(inner);
        let due: Vec<(Moment, Waker)> = due;
        due.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl Clock for TestClock {
    fn now(&self) -> Moment {
        Moment::default() + self.0.lock().unwrap().passed
    }

    fn wall(&self) -> UnixTime {
        let inner = self.0.lock().unwrap();
        UnixTime(inner.began.0 + inner.passed)
    }

    fn timer(&self, at: Moment) -> Box<dyn Timer> {
        Box::new(TestTimer { clock: self.clone(), at })
    }
}

struct TestTimer {
    clock: TestClock,
    at: Moment,
}

impl Future for TestTimer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.clock.0.lock().unwrap();
        if Moment::default() + inner.passed >= self.at {
            return Poll::Ready(());
        }
        inner.waiting.push((self.at, cx.waker().clone()));
        Poll::Pending
    }
}

impl Timer for TestTimer {
    fn reset(&mut self, at: Moment) {
        self.at = at;
    }
}
