//! Timers and clocks in simulated time.

use std::future::poll_fn;
use std::net::IpAddr;

use super::*;
use crate::{Host, Simulation, SimulationOptions};

fn world() -> (Simulation, Host) {
    let sim = Simulation::new(1, SimulationOptions::default());
    let host = sim.host("a", [IpAddr::from([10, 0, 0, 1])]);
    (sim, host)
}

#[test]
fn timers_end_at_their_nanosecond_and_in_order() {
    let (sim, host) = world();
    let clock = host.world().clock;
    let start = clock.now();
    let waits = [3_000_007, 5, 1_000_000, 999_999, 5, 2_000_000_000, 0];
    let ended = Rc::new(RefCell::new(Vec::new()));
    for (number, nanos) in waits.into_iter().enumerate() {
        let (clock, ended) = (Rc::clone(&clock), Rc::clone(&ended));
        host.spawn(async move {
            clock.sleep(Duration::from_nanos(nanos)).await;
            assert_eq!(clock.now().since(start), Duration::from_nanos(nanos));
            ended.borrow_mut().push(number);
        });
    }
    sim.run(sim.sleep(Duration::from_secs(3))).unwrap();
    assert_eq!(*ended.borrow(), [6, 1, 4, 3, 2, 0, 5]);
}

#[test]
fn a_timer_is_moved_before_and_after_its_end() {
    let (sim, host) = world();
    let clock = host.world().clock;
    let start = clock.now();
    let at = |millis| start + Duration::from_millis(millis);
    sim.run(async {
        let mut timer = clock.timer(at(10));
        // Once polled, it is moved without being polled again: it must still wake its task.
        poll_fn(|cx| {
            assert!(Pin::new(&mut timer).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        timer.reset(at(20));
        (&mut timer).await;
        assert_eq!(clock.now(), at(20));
        timer.reset(at(25));
        (&mut timer).await;
        assert_eq!(clock.now(), at(25));
        timer.reset(at(5));
        (&mut timer).await;
        assert_eq!(clock.now(), at(25), "a moment that is past is now");
    })
    .unwrap();
}

#[test]
fn moving_a_timer_wakes_the_task_that_waits() {
    let (sim, host) = world();
    let clock = host.world().clock;
    let start = clock.now();
    let timer = Rc::new(RefCell::new(clock.timer(start + Duration::from_secs(60))));
    let waiting = {
        let (timer, clock) = (Rc::clone(&timer), Rc::clone(&clock));
        host.spawn(async move {
            poll_fn(|cx| Pin::new(&mut *timer.borrow_mut()).poll(cx)).await;
            clock.now().since(start)
        })
    };
    let took = sim.run(async {
        clock.sleep(Duration::from_secs(1)).await;
        timer.borrow_mut().reset(start + Duration::from_secs(2));
        waiting.await.unwrap()
    });
    assert_eq!(took.unwrap(), Duration::from_secs(2));
}

#[test]
fn a_dropped_timer_leaves_nothing_behind() {
    let (sim, host) = world();
    let clock = host.world().clock;
    sim.run(async {
        let mut timer = clock.sleep(Duration::from_secs(60));
        poll_fn(|cx| {
            assert!(Pin::new(&mut timer).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    })
    .unwrap();
    let next = host.timeline().next_at();
    assert_eq!(next, Some(SimulationOptions::default().time_limit), "but for the time limit");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "this is about the timers of foreign code")]
fn timers_of_tokio_live_in_the_same_time() {
    let (sim, host) = world();
    let clock = host.world().clock;
    let start = clock.now();
    let ours = host.spawn(async move {
        clock.sleep(Duration::from_micros(30_500)).await;
    });
    let clock = host.world().clock;
    sim.run(async {
        for round in 1..=5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert_eq!(clock.now().since(start), Duration::from_millis(10 * round));
            assert_eq!(ours.is_finished(), round > 3);
        }
        // The driver now sleeps until the time limit, and must be woken for this one.
        clock.sleep(Duration::from_micros(1_500)).await;
        assert_eq!(clock.now().since(start), Duration::from_micros(51_500));
    })
    .unwrap();
}

#[test]
fn civil_time_is_skewed_per_host_and_jumps() {
    let (sim, a) = world();
    let b = sim.host("b", []);
    let second = Duration::from_secs(1);
    let start = SimulationOptions::default().wall_start;
    b.set_skew(Skew::Behind(second * 90));
    sim.run(async {
        sim.sleep(second).await;
        assert_eq!(a.world().clock.wall().0, start.0 + second);
        assert_eq!(b.world().clock.wall().0, start.0 - second * 89);
        b.set_skew(Skew::Ahead(second));
        assert_eq!(b.world().clock.wall().0, start.0 + second * 2);
        let monotonic = |host: &Host| host.world().clock.now();
        assert_ne!(monotonic(&a), monotonic(&b), "moments of two hosts do not compare");
    })
    .unwrap();
}

#[test]
fn foreign_code_waits_for_ever_by_the_system_s_clock() {
    let (_sim, host) = world();
    let told = host.world().clock.on_system_clock(Duration::from_secs(5));
    assert_eq!(told, Duration::MAX, "or the time that a run takes would matter");
}
