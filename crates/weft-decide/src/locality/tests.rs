//! Near and far, idle and busy.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use weft_model::Ratio;

use super::*;

fn preferring(prefer: Prefer) -> LocalityPreference {
    LocalityPreference { prefer, ..LocalityPreference::default() }
}

fn tally(endpoints: &[(Reach, u32)]) -> Tally {
    let mut tally = Tally::default();
    for (distance, in_flight) in endpoints {
        tally.add(*distance, *in_flight);
    }
    tally
}

#[test]
fn places_are_near_or_far() {
    let place = |region, zone| Locality::new(region, zone).unwrap();
    let own = place("eu", Some("a"));
    for (other, expected) in [
        (place("eu", Some("a")), Reach::Zone),
        (place("eu", Some("b")), Reach::Region),
        (place("eu", None), Reach::Region),
        (place("us", Some("a")), Reach::All),
    ] {
        assert_eq!(distance(Some(&own), Some(&other)), expected, "{other:?}");
        assert_eq!(distance(Some(&other), Some(&own)), expected, "{other:?}");
        assert_eq!(distance(None, Some(&other)), Reach::All);
        assert_eq!(distance(Some(&other), None), Reach::All);
    }
    let region = place("eu", None);
    assert_eq!(distance(Some(&region), Some(&region)), Reach::Region);
}

#[test]
fn the_narrowest_reach_with_an_endpoint_is_used() {
    use Reach::{All, Region, Zone};
    for (endpoints, by_zone, by_region) in [
        (&[(Zone, 0), (Region, 0), (All, 0)][..], Zone, Region),
        (&[(Region, 0), (All, 0)], Region, Region),
        (&[(All, 0)], All, All),
        (&[], All, All),
        (&[(Zone, 0), (All, 0)], Zone, Region),
    ] {
        let tally = tally(endpoints);
        assert_eq!(reach(&preferring(Prefer::Zone), &tally), by_zone, "{endpoints:?}");
        assert_eq!(reach(&preferring(Prefer::Region), &tally), by_region, "{endpoints:?}");
        assert_eq!(reach(&preferring(Prefer::None), &tally), All, "{endpoints:?}");
    }
}

#[test]
fn near_endpoints_spill_when_they_are_busier_than_the_ratio() {
    use Reach::{All, Region, Zone};
    let reach = |endpoints: &[(Reach, u32)]| reach(&preferring(Prefer::Zone), &tally(endpoints));
    // The mean of all is taken to be one at least: 1.3 is the limit.
    assert_eq!(reach(&[(Zone, 1), (All, 0), (All, 0), (All, 0)]), Zone);
    assert_eq!(reach(&[(Zone, 2), (All, 0), (All, 0), (All, 0)]), All);
    // The mean of all is 10: 13 is the limit.
    assert_eq!(reach(&[(Zone, 13), (All, 7)]), Zone);
    assert_eq!(reach(&[(Zone, 14), (All, 6)]), All);
    // The zone is too busy, the region is not.
    assert_eq!(reach(&[(Zone, 20), (Region, 0), (All, 10)]), Region);
    // Two zones out of three are gone: the rest of the region serves.
    assert_eq!(reach(&[(Zone, 50), (Zone, 50)]), Zone);
}

/// Sends `count` requests that never end, each to the lightest endpoint within reach.
fn filled(distances: &[Reach], preference: &LocalityPreference, count: u32) -> Vec<u32> {
    let mut in_flight = vec![0; distances.len()];
    for _ in 0..count {
        let endpoints: Vec<_> = distances.iter().copied().zip(in_flight.iter().copied()).collect();
        let reach = reach(preference, &tally(&endpoints));
        let usable = (0..distances.len()).filter(|index| distances[*index] <= reach);
        let lightest = usable.min_by_key(|index| in_flight[*index]).expect("there is one");
        in_flight[lightest] += 1;
    }
    in_flight
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reach_holds_an_endpoint_and_no_near_one_is_swamped(
        distances in vec(select(vec![Reach::Zone, Reach::Region, Reach::All]), 1..12),
        prefer in select(vec![Prefer::Zone, Prefer::Region, Prefer::None]),
        thousandths in 1000..3000u32,
        count in 0..300u32,
    ) {
        let ratio = Ratio::from_thousandths(thousandths).unwrap();
        let preference = LocalityPreference { prefer, spill_at_load_ratio: ratio };
        let in_flight = filled(&distances, &preference, count);
        let mean = f64::from(count) / distances.len() as f64;
        for found in in_flight {
            // Spilling begins behind the limit, and requests come one by one.
            prop_assert!(f64::from(found) <= ratio.as_f64() * mean.max(1.0) + 2.0, "{}", found);
        }
    }
}
