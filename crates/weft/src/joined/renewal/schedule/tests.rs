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
    Schedule::new(Rc::new(clock.clone()), Rc::new(Alternating(Cell::new(0))), day())
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

/// What the control plane signs now, whose clock is `ahead` of the one here.
fn signed(clock: &TestClock, ahead: Duration) -> Validity {
    let now = clock.wall().0 + ahead;
    let not_before = UnixTime(now - Duration::from_secs(300));
    Validity { not_before, not_after: UnixTime(now + hours(24)) }
}

/// How many certificates are signed within ten days for a proxy whose clock is `behind` that of the
/// control plane. By that, none in use ends, beginning with `present`.
fn signatures(behind: Duration, mut present: Validity) -> u32 {
    let clock = TestClock::new();
    let mut schedule =
        Schedule::new(Rc::new(clock.clone()), Rc::new(Alternating(Cell::new(0))), present);
    let (mut signatures, mut times, mut aside) = (0, 0, None);
    while clock.passed.get() < hours(240) {
        assert_eq!(clock.run(schedule.wake(present, false)).0, Wake::Renew);
        let there = UnixTime(clock.wall().0 + behind);
        assert!(present.contains(there), "{behind:?}: it has ended at {there}");
        let held = aside.take().filter(|aside: &Validity| aside.contains(clock.wall()));
        let new = held.unwrap_or_else(|| {
            signatures += 1;
            signed(&clock, behind)
        });
        times += 1;
        if !is_taken(present, new, clock.wall()) {
            aside = Some(new);
            schedule.plan_kept(present, new, times);
            continue;
        }
        present = new;
        if present.contains(clock.wall()) {
            times = 0;
            schedule.plan(present, 0);
        } else {
            schedule.plan_unheld(times);
        }
    }
    signatures
}

#[test]
fn a_clock_that_is_behind_costs_few_certificates_and_none_in_use_ends() {
    // Twice a day, give or take a tenth, where clocks are right.
    let right = signatures(Duration::ZERO, day());
    assert!((16..=26).contains(&right), "{right}");
    for minutes in [4, 6, 10, 30, 60, 240] {
        let behind = Duration::from_secs(60 * minutes);
        // Set back when the certificate of before held by both clocks.
        let validity = signed(&TestClock::new(), Duration::ZERO);
        let count = signatures(behind, validity);
        assert!(count <= 30, "{count} for {minutes} minutes");
    }
    for minutes in [6, 10, 60, 540, 600, 2880, 14_400] {
        let behind = Duration::from_secs(60 * minutes);
        let count = signatures(behind, signed(&TestClock::new(), behind));
        // Soon at first, then not twice an hour.
        assert!(count <= 12 + 480, "{count} for {minutes} minutes");
    }
}

#[test]
fn what_does_not_hold_here_is_taken_before_the_present_one_ends_for_others() {
    let clock = TestClock::new();
    clock.pass(hours(12));
    let (present, wall) = (day(), clock.wall());
    assert!(is_taken(present, signed(&clock, Duration::ZERO), wall));
    assert!(!is_taken(present, signed(&clock, hours(1)), wall));
    assert!(is_taken(present, signed(&clock, hours(11)), wall), "it is about to end there");
    let [not_before, not_after] = [72, 48].map(|ago| UnixTime(wall.0 - hours(ago)));
    let ended = Validity { not_before, not_after };
    assert!(!is_taken(present, ended, wall), "it has ended, and the present one has not");
    assert!(is_taken(ended, signed(&clock, hours(1)), wall), "there is nothing to lose");
}

#[test]
fn what_is_put_aside_is_looked_at_as_soon_as_it_holds_or_the_present_one_does_not() {
    let clock = TestClock::new();
    let mut schedule = schedule(&clock);
    clock.pass(hours(12));
    let next = signed(&clock, Duration::from_secs(900));
    schedule.plan_kept(day(), next, 1);
    let (wake, waited) = clock.run(schedule.wake(day(), false));
    assert_eq!((wake, waited), (Wake::Renew, Duration::from_secs(600)));
    clock.wall.set(clock.wall.get() - hours(20));
    schedule.plan_kept(day(), signed(&clock, hours(4)), 1);
    assert!(clock.run(schedule.wake(day(), false)).1.is_zero());
}
