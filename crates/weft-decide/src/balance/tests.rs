//! Turns, draws and averages.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The endpoints whose turns follow each other, where those of each turn are usable that are given.
fn turns<const COUNT: usize>(usable: &[[bool; COUNT]]) -> Vec<Option<usize>> {
    let mut last = [0; COUNT];
    let mut turns = Vec::new();
    for (turn, usable) in (1..).zip(usable) {
        let index = round_robin(COUNT, |index| usable[index].then_some(last[index]));
        if let Some(index) = index {
            last[index] = turn;
        }
        turns.push(index);
    }
    turns
}

#[test]
fn turns_go_round_and_the_usable_share_them() {
    assert_eq!(turns(&[[true; 3]; 4]), [Some(0), Some(1), Some(2), Some(0)]);
    assert_eq!(turns(&[[true, false, true]; 4]), [Some(0), Some(2), Some(0), Some(2)]);
    assert_eq!(turns(&[[false; 2]; 2]), [None; 2]);
    assert_eq!(turns(&[[]; 2]), [None; 2]);
    // One that was away does not make up for it.
    let away = [true, false, true];
    let back = [[true; 3]; 4];
    let found = turns(&[&[[true; 3], away, away, away][..], &back].concat());
    assert_eq!(found[4..], [Some(1), Some(0), Some(2), Some(1)]);
}

#[test]
fn those_that_are_usable_now_and_then_share_their_turns_evenly() {
    let (near, all) = ([true, true, false, false], [true; 4]);
    for pattern in [vec![near, all], vec![near, near, all], vec![near, near, near, all, all]] {
        let found = turns(&pattern.repeat(60));
        let count = |index| found.iter().filter(|turn| **turn == Some(index)).count();
        let counts = [0, 1, 2, 3].map(count);
        assert!(counts[0].abs_diff(counts[1]) <= 1, "{counts:?}");
        assert!(counts[2].abs_diff(counts[3]) <= 1 && counts[2] > 0, "{counts:?}");
    }
}

#[test]
fn the_lighter_of_two_is_picked() {
    let loads = [5.0, 1.0, 2.0];
    let picked = |a, b| pick(3, a, b, TOLERANCE, |index| Some(Load(loads[index]))).unwrap();
    // The second draw is among the two that the first left over.
    assert_eq!(picked(0.1, 0.1).index, 1);
    assert_eq!(picked(0.1, 0.9).index, 2);
    assert_eq!(picked(0.5, 0.9), Picked { index: 1, load: Load(1.0), over: Some((2, Load(2.0))) });
}

#[test]
fn a_little_lighter_is_as_heavy() {
    let loads = [1.4, 1.0];
    let picked = |a| pick(2, a, 0.5, TOLERANCE, |index| Some(Load(loads[index]))).unwrap().index;
    assert_eq!((picked(0.1), picked(0.9)), (0, 1));
}

#[test]
fn few_or_no_endpoints_are_no_trouble() {
    let all = |_| Some(Load(1.0));
    assert_eq!(pick(0, 0.0, 0.0, TOLERANCE, all), None);
    let only = Picked { index: 0, load: Load(1.0), over: None };
    assert_eq!(pick(1, 0.999, 0.999, TOLERANCE, all), Some(only));
    assert_eq!(pick(4, 0.5, 0.5, TOLERANCE, |_| None), None);
    let last = pick(4, 0.0, 0.0, TOLERANCE, |index| (index == 3).then_some(Load(1.0)));
    assert_eq!(last, Some(Picked { index: 3, ..only }));
}

#[test]
fn of_counts_the_smaller_one_is_picked_by_whatever_it_is_smaller() {
    let loads = [41.0, 40.0];
    let picked =
        |a, tolerance| pick(2, a, 0.5, tolerance, |index| Some(Load(loads[index]))).unwrap().index;
    assert_eq!((picked(0.1, EXACT), picked(0.9, EXACT)), (1, 1));
    assert_eq!((picked(0.1, TOLERANCE), picked(0.9, TOLERANCE)), (0, 1));
}

/// How often each endpoint is picked over a grid of draws, and how often it is the other one.
fn shares(loads: &[Option<f64>], steps: u32) -> Vec<(u32, u32)> {
    let mut shares = vec![(0, 0); loads.len()];
    let at = |step: u32| (f64::from(step) + 0.5) / f64::from(steps);
    for (a, b) in (0..steps).flat_map(|a| (0..steps).map(move |b| (a, b))) {
        let picked = pick(loads.len(), at(a), at(b), TOLERANCE, |index| loads[index].map(Load));
        let Picked { index, over, .. } = picked.expect("one is to be had");
        shares[index].0 += 1;
        if let Some((other, _)) = over {
            shares[other].1 += 1;
        }
    }
    shares
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: 32, ..ProptestConfig::default()
    })]

    #[test]
    fn equals_are_called_equally_often(
        usable in vec(any::<bool>(), 1..7).prop_filter("one at least", |all| all.contains(&true)),
    ) {
        let loads: Vec<_> = usable.iter().map(|usable| usable.then_some(1.0)).collect();
        let steps = 210;
        let shares = shares(&loads, steps);
        let count = usable.iter().filter(|usable| **usable).count();
        let expected = f64::from(steps * steps) / count as f64;
        for ((share, other), usable) in shares.into_iter().zip(usable) {
            let expected = if usable { expected } else { 0.0 };
            // The grid is not endlessly fine.
            let is_near = |share: u32| (f64::from(share) - expected).abs() <= expected * 0.03;
            prop_assert!(is_near(share), "{} instead of {}", share, expected);
            prop_assert!(count == 1 || is_near(other), "{} instead of {}", other, expected);
        }
    }

    #[test]
    fn one_of_the_usable_is_drawn_and_each_as_often(usable in vec(any::<bool>(), 0..9)) {
        let steps = 5_040;
        let mut shares = vec![0u32; usable.len()];
        let count = usable.iter().filter(|usable| **usable).count();
        for step in 0..steps {
            let draw = (f64::from(step) + 0.5) / f64::from(steps);
            let drawn = random(usable.len(), draw, |index| usable[index]);
            prop_assert_eq!(drawn.is_some(), count > 0);
            if let Some(drawn) = drawn {
                shares[drawn] += 1;
            }
        }
        for (share, usable) in shares.into_iter().zip(usable) {
            let expected = if usable { f64::from(steps) / count as f64 } else { 0.0 };
            prop_assert!((f64::from(share) - expected).abs() <= 16.0, "{} of {}", share, expected);
        }
    }

    #[test]
    fn what_is_picked_may_be_called_and_is_not_much_heavier(
        loads in vec(proptest::option::of(0.0..9.0f64), 0..9),
        a in 0.0..1.0f64,
        b in 0.0..1.0f64,
    ) {
        let picked = pick(loads.len(), a, b, TOLERANCE, |index| loads[index].map(Load));
        let usable = loads.iter().flatten().count();
        prop_assert_eq!(picked.is_some(), usable > 0);
        if let Some(Picked { index, load, over }) = picked {
            prop_assert_eq!(loads[index].map(Load), Some(load));
            prop_assert_eq!(over.is_some(), usable > 1);
            if let Some((other, heavier)) = over {
                prop_assert_ne!(other, index);
                prop_assert_eq!(loads[other].map(Load), Some(heavier));
                prop_assert!(heavier.0 * TOLERANCE >= load.0);
            }
        }
    }

    #[test]
    fn an_average_is_between_what_was_seen_and_nothing(
        samples in vec((0..5_000u64, 0..100_000u64), 1..30),
        in_flight in 0..1000u32,
    ) {
        let (mut ewma, mut now, mut most) = (Ewma::default(), Duration::ZERO, 0.0f64);
        let shared = AtomicEwma::default();
        for (latency, pause) in samples {
            now += millis(pause);
            most = most.max(millis(latency).max(COST_MIN).as_secs_f64());
            ewma.observe(millis(latency), now);
            shared.observe(millis(latency), now);
            let Load(load) = ewma.load(now, in_flight);
            let cost = load / (f64::from(in_flight) + 1.0);
            prop_assert!(cost >= millis(latency).as_secs_f64() * 0.999, "a peak counts at once");
            prop_assert!(cost <= most * 1.001 && cost > 0.0);
            prop_assert_eq!(shared.get(), ewma);
            prop_assert_eq!(shared.load(now, in_flight), ewma.load(now, in_flight));
        }
    }
}

#[test]
fn an_average_jumps_up_and_comes_down_by_halves() {
    let mut ewma = Ewma::default();
    let near = |ewma: Ewma, now: f64, expected: f64| {
        let Load(found) = ewma.load(seconds(now), 0);
        assert!((found - expected).abs() < expected * 0.01, "{found} instead of {expected}");
    };
    ewma.observe(millis(10), seconds(100.0));
    near(ewma, 100.0, 0.010);
    ewma.observe(millis(1000), seconds(100.0));
    near(ewma, 100.0, 1.0);
    // Without answers it is forgotten.
    near(ewma, 110.0, 0.5);
    near(ewma, 130.0, 0.125);
    // With fast ones it comes down to them.
    for step in 1..=200 {
        ewma.observe(millis(10), seconds(100.0 + f64::from(step) * 0.1));
    }
    near(ewma, 120.0, 0.010 + 0.99 * 0.25);
    let Load(busy) = ewma.load(seconds(120.0), 3);
    let Load(idle) = ewma.load(seconds(120.0), 0);
    assert!((busy - idle * 4.0).abs() < 1e-9);
}

#[test]
fn many_answers_within_a_millisecond_still_bring_it_down() {
    let mut ewma = Ewma::default();
    ewma.observe(millis(100), Duration::ZERO);
    for step in 0..100_000u64 {
        ewma.observe(millis(1), Duration::from_micros(step * 200));
    }
    let Load(load) = ewma.load(seconds(20.0), 0);
    assert!((load - (0.001 + 0.099 * 0.25)).abs() < 0.002, "{load}");
}

#[test]
fn an_unknown_endpoint_is_tried_and_not_flooded() {
    let (unknown, mut known) = (Ewma::default(), Ewma::default());
    let now = seconds(5.0);
    known.observe(millis(2), now);
    assert!(unknown.load(now, 0) < known.load(now, 0));
    assert!(unknown.load(now, 1) > known.load(now, 1));
    assert_eq!(unknown.load(now, 1), Load(COST_DEFAULT.as_secs_f64() * 2.0));
}

#[test]
fn of_idle_endpoints_the_busier_one_is_heavier() {
    let mut ewma = Ewma::default();
    ewma.observe(millis(5), Duration::ZERO);
    let now = seconds(86_400.0);
    assert!(ewma.load(now, 1) > ewma.load(now, 0));
}

#[test]
fn time_that_wraps_or_goes_back_does_no_harm() {
    let wrap = Duration::from_millis(1 << 32);
    let mut ewma = Ewma::default();
    ewma.observe(millis(8), wrap - seconds(5.0));
    let Load(load) = ewma.load(wrap + seconds(5.0), 0);
    assert!((load - 0.004).abs() < 1e-4, "{load}");
    // A thread that read the clock earlier.
    let before = ewma;
    ewma.observe(millis(1), wrap - seconds(6.0));
    assert_eq!(ewma, before);
    assert_eq!(ewma.load(wrap - seconds(6.0), 0), ewma.load(wrap - seconds(5.0), 0));
}

#[test]
fn after_a_month_without_answers_the_next_one_counts() {
    let mut ewma = Ewma::default();
    ewma.observe(millis(900), Duration::ZERO);
    let now = seconds(30.0 * 86_400.0);
    assert_eq!(ewma.load(now, 0), Load(COST_MIN.as_secs_f64()));
    ewma.observe(millis(3), now);
    let Load(load) = ewma.load(now, 0);
    assert!((load - 0.003).abs() < 1e-6, "{load}");
}

#[test]
fn threads_share_an_average() {
    let shared = Arc::new(AtomicEwma::default());
    let threads: Vec<_> = (1..=4u64)
        .map(|thread| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for step in 0..1000 {
                    shared.observe(millis(thread * 10), millis(step));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let Load(load) = shared.load(millis(999), 0);
    assert!((0.03..=0.04).contains(&load), "the peak is 40 ms, and one second old at most: {load}");
}
