//! How parts grow.

use proptest::prelude::*;

use super::*;
use crate::balance::hash::derived;
use crate::balance::{EXACT, Load, pick, round_robin};

#[test]
fn a_share_grows_evenly_from_a_tenth_to_the_whole() {
    let seconds = Duration::from_secs;
    let of = |age| share(seconds(100), seconds(age));
    assert_eq!([of(0), of(10), of(50), of(100), of(1_000)], [0.1, 0.1, 0.5, 1.0, 1.0]);
    assert_eq!(share(Duration::ZERO, Duration::ZERO), SHARE_MIN);
    assert_eq!(share(Duration::ZERO, seconds(1)), 1.0);
}

/// Numbers that look drawn from `0.0..1.0`.
fn drawn(number: u64) -> f64 {
    (derived(7, number) >> 11) as f64 / (1u64 << 53) as f64
}

/// How many of so many rounds go to each endpoint that has one of `shares`, by turns.
fn turns(shares: &[f64], rounds: u64) -> Vec<u64> {
    let most = shares.iter().copied().fold(0.0, f64::max);
    let (mut last, mut counts) = (vec![0; shares.len()], vec![0; shares.len()]);
    for round in 1..=rounds {
        let index = round_robin(shares.len(), |index| Some(last[index])).unwrap();
        last[index] = turn(round * STEP, shares.len(), shares[index] / most, drawn(round));
        counts[index] += 1;
    }
    counts
}

/// The same by the lower of two loads, which are equal.
fn draws(shares: &[f64], rounds: u64) -> Vec<u64> {
    let most = shares.iter().copied().fold(0.0, f64::max);
    let mut counts = vec![0; shares.len()];
    for step in 0..rounds {
        let from = admitted_from(most, drawn(3 * step));
        let load = |index: usize| (shares[index] >= from).then_some(Load(1.0));
        let (one, other) = (drawn(3 * step + 1), drawn(3 * step + 2));
        counts[pick(shares.len(), one, other, EXACT, load).unwrap().index] += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: 48, ..ProptestConfig::default()
    })]

    #[test]
    fn one_that_warms_up_gets_its_share_of_its_part(count in 2..12usize, share in 0.1..1.0f64) {
        let mut shares = vec![1.0; count];
        shares[0] = share;
        let rounds = 20_000;
        // By turns it has its share of what one of the others has.
        let by_turns = turns(&shares, rounds);
        let others = by_turns[1..].iter().sum::<u64>() as f64 / (count - 1) as f64;
        let found = by_turns[0] as f64 / others;
        prop_assert!((found / share - 1.0).abs() < 0.1, "{}: {}, {:?}", share, found, by_turns);
        // By draws, of what it will have in the end, within six standard deviations.
        let by_draws = draws(&shares, rounds);
        let expected = rounds as f64 * share / count as f64;
        let off = (by_draws[0] as f64 - expected).abs();
        prop_assert!(off < 6.0 * expected.sqrt(), "{}: {}, {:?}", share, expected, by_draws);
        prop_assert!(by_turns.iter().chain(&by_draws).all(|count| *count > 0));
    }

    #[test]
    fn all_that_warm_up_alike_have_equal_parts(count in 1..9usize, share in 0.1..1.0f64) {
        let shares = vec![share; count];
        for counts in [turns(&shares, 9_000), draws(&shares, 9_000)] {
            let even = 9_000.0 / count as f64;
            let is_even = |count: &u64| (*count as f64 - even).abs() < 6.0 * even.sqrt();
            prop_assert!(counts.iter().all(is_even), "{:?}", counts);
        }
    }
}
