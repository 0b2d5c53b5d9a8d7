//! Who is worse than others, and by what.

use proptest::collection::vec;
use proptest::prelude::*;
use weft_model::{Percent, Ratio};

use super::*;

fn policy(failures: u8, latency: Option<u32>) -> AgainstPeers {
    AgainstPeers {
        failures: Percent::new(failures).unwrap(),
        latency: latency.map(|thousandths| Ratio::from_thousandths(thousandths).unwrap()),
        ..AgainstPeers::default()
    }
}

/// An endpoint of whose hundred requests so many failed.
fn failing(failures: u32) -> Measured {
    Measured {
        requests: 100,
        failures,
        answers: 100,
        latency: Duration::from_millis(1),
        distance: Reach::Zone,
    }
}

fn taking(millis: u64) -> Measured {
    Measured { latency: Duration::from_millis(millis), ..failing(0) }
}

fn by_failures(failures: &[u32]) -> Vec<usize> {
    let measured: Vec<_> = failures.iter().copied().map(failing).collect();
    let found = outliers(&policy(20, Some(3_000)), &measured);
    assert!(found.iter().all(|(_, cause)| *cause == Cause::FailureRate), "{found:?}");
    found.into_iter().map(|(index, _)| index).collect()
}

#[test]
fn who_fails_more_often_than_the_others_is_found() {
    for (failures, expected) in [
        (&[0, 0, 30][..], &[2][..]),
        (&[0, 30], &[1]),
        (&[0, 19, 0], &[]),
        (&[0, 20, 0], &[1]),
        // What is wrong with all, or with most of them, is no endpoint's own.
        (&[30, 30, 30], &[]),
        (&[100, 100, 0], &[0, 1]),
        (&[100, 100, 100, 0], &[]),
        (&[40, 60, 40], &[1]),
        // The worst first, since there may not be room for all.
        (&[0, 30, 0, 50, 0], &[3, 1]),
        (&[100], &[]),
        (&[], &[]),
    ] {
        assert_eq!(by_failures(failures), expected, "{failures:?}");
    }
}

#[test]
fn few_requests_say_nothing() {
    let few = |failures| Measured { requests: 49, failures, ..failing(0) };
    assert_eq!(outliers(&policy(20, None), &[failing(0), failing(0), few(49)]), []);
    // Nor is anybody compared with those.
    assert_eq!(outliers(&policy(20, None), &[failing(100), few(0), few(0)]), []);
    assert_eq!(outliers(&policy(0, None), &[failing(0), failing(100)]), [], "0 is no bound");
}

#[test]
fn who_takes_longer_than_the_others_is_found() {
    let by_latency = |millis: &[u64], times| {
        let measured: Vec<_> = millis.iter().copied().map(taking).collect();
        outliers(&policy(20, times), &measured)
    };
    let slow = |index| (index, Cause::Latency);
    assert_eq!(by_latency(&[20, 20, 61], Some(3_000)), [slow(2)]);
    assert_eq!(by_latency(&[20, 20, 60], Some(3_000)), []);
    assert_eq!(by_latency(&[20, 20, 600], None), []);
    assert_eq!(by_latency(&[1, 1, 9], Some(3_000)), [], "too little to be felt");
    assert_eq!(by_latency(&[20, 700, 20, 900, 20], Some(3_000)), [slow(3), slow(1)]);
    // The far ones are compared with each other.
    let far = |millis| Measured { distance: Reach::All, ..taking(millis) };
    let measured = [taking(1), taking(1), far(80), far(80)];
    assert_eq!(outliers(&policy(20, Some(2_000)), &measured), []);
    // Who fails too is named once.
    let both = Measured { failures: 50, ..taking(500) };
    let found = outliers(&policy(20, Some(2_000)), &[taking(1), taking(1), both]);
    assert_eq!(found, [(2, Cause::FailureRate)]);
}

#[test]
fn a_window_counts_what_says_something_and_is_empty_then() {
    let window = Window::default();
    for seen in [Seen::Success, Seen::Failure, Seen::DialFailed, Seen::Nothing] {
        window.observe(seen);
    }
    for millis in [10, 10, 10, 10_000] {
        window.answered(Duration::from_millis(millis));
    }
    let Measured { requests, failures, answers, latency, distance } = window.take(Reach::Region);
    assert_eq!((requests, failures, answers, distance), (3, 2, 4, Reach::Region));
    // One long poll among four: by the arithmetic mean it would be 2.5 s.
    let millis = latency.as_secs_f64() * 1e3;
    assert!((55.0..57.0).contains(&millis), "{latency:?}");
    let empty = window.take(Reach::Zone);
    assert_eq!((empty.requests, empty.failures, empty.answers), (0, 0, 0));
    assert_eq!(empty.latency, Duration::ZERO);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn at_least_half_of_the_others_are_better_than_who_is_found(
        failures in vec(0..=100u32, 0..12),
        above in 1..=100u8,
    ) {
        let measured: Vec<_> = failures.iter().copied().map(failing).collect();
        for (index, _) in outliers(&policy(above, None), &measured) {
            let better = |other: &&u32| **other + u32::from(above) <= failures[index];
            let better = failures.iter().filter(better).count();
            prop_assert!(better * 2 >= failures.len() - 1, "{failures:?} {index}");
        }
    }
}
