//! Schedules, on a clock that goes on to whatever is waited for next.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use weft_world::Timer;

use super::*;

const HOUR: u64 = 3600;

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * HOUR)
}

/// When the certificates here begin to hold.
fn begin() -> UnixTime {
    UnixTime(Duration::from_secs(1_795_413_823))
}

fn day() -> Validity {
    Validity { not_before: begin(), not_after: UnixTime(begin().0 + hours(24)) }
}

/// A clock that shows [`begin`] at first, with the timers that somebody waits for.
#[derive(Clone)]
struct TestClock {
    passed: Rc<Cell<Duration>>,
    wall: Rc<Cell<Duration>>,
    waiting: Rc<RefCell<Vec<Moment>>>,
}

impl TestClock {
    fn new() -> TestClock {
        let wall = Rc::new(Cell::new(begin().0));
        TestClock { passed: Rc::default(), wall, waiting: Rc::default() }
    }

    fn pass(&self, duration: Duration) {
        self.passed.set(self.passed.get() + duration);
        self.wall.set(self.wall.get() + duration);
    }

    /// Has `future` end, by letting pass what it waits for; and how long it took.
    fn run<T>(&self, future: impl Future<Output = T>) -> (T, Duration) {
        let began = self.passed.get();
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                self.waiting.borrow_mut().clear();
                return (value, self.passed.get() - began);
            }
            let next = self.waiting.borrow_mut().drain(..).min().expect("it waits for time alone");
            self.pass(next.since(self.now()));
        }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Moment {
        Moment::default() + self.passed.get()
    }

    fn wall(&self) -> UnixTime {
        UnixTime(self.wall.get())
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

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.at {
            return Poll::Ready(());
        }
        self.clock.waiting.borrow_mut().push(self.at);
        Poll::Pending
    }
}

impl Timer for TestTimer {
    fn reset(&mut self, at: Moment) {
        self.at = at;
    }
}

/// Numbers that differ: as small ones as there are, and then as great ones.
struct Alternating(Cell<u64>);

impl Entropy for Alternating {
    fn next(&self) -> u64 {
        self.0.replace(!self.0.get())
    }
}

fn schedule(clock: &TestClock) -> Schedule {
    Schedule::new(Rc::new(clock.clone()), Rc::new(Alternating(Cell::new(0))))
}

#[test]
fn telling_again_and_again_does_not_put_off_the_next_attempt() {
    let clock = TestClock::new();
    let mut schedule = schedule(&clock);
    clock.pass(hours(12));
    for failures in 1..20 {
        schedule.plan(day(), failures);
        let (mut tells, mut passed) = (0, Duration::ZERO);
        loop {
            let (wake, waited) = clock.run(schedule.wake(day(), true));
            passed += waited;
            // The longest wait after a failure is one of five minutes.
            assert!(passed <= Duration::from_secs(300), "attempt {failures} is put off");
            match wake {
                Wake::Renew => break,
                Wake::Tell => tells += 1,
            }
        }
        assert_eq!(tells, (passed.as_millis() - 1) / 5000, "{passed:?}");
    }
}

#[test]
fn nobody_is_told_of_a_certificate_that_has_ended() {
    let clock = TestClock::new();
    let mut schedule = schedule(&clock);
    clock.pass(hours(25));
    for failures in 1..20 {
        schedule.plan(day(), failures);
        assert_eq!(clock.run(schedule.wake(day(), true)).0, Wake::Renew);
    }
}

#[test]
fn a_first_attempt_goes_by_the_dates() {
    let clock = TestClock::new();
    let mut schedule = schedule(&clock);
    schedule.plan(day(), 0);
    let (wake, waited) = clock.run(schedule.wake(day(), false));
    assert_eq!(wake, Wake::Renew);
    assert!(waited >= hours(9) && waited <= hours(15), "{waited:?}");
}
