//! That each duration is in the bucket of the published formula, and that sums are sums.

use proptest::prelude::*;
use weft_http::Fields;

use super::*;

/// Durations as they come: most are short, some are very long.
fn nanos() -> impl Strategy<Value = u64> {
    (0u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift)
}

fn histogram(nanos: &[u64]) -> Histogram {
    let histogram = Histogram::default();
    for &nanos in nanos {
        histogram.observe(Duration::from_nanos(nanos));
    }
    histogram
}

fn sum<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> HistogramSum {
    let mut sum = HistogramSum::default();
    for histogram in histograms {
        histogram.add_to(&mut sum);
    }
    sum
}

/// The upper bound of a bucket, by the formula.
fn bound(index: i32, schema: i32) -> f64 {
    f64::from(index).exp2().powf(f64::from(-schema).exp2())
}

#[test]
fn powers_of_two_end_their_buckets() {
    for exponent in ZERO_THRESHOLD_EXPONENT + 1..=LAST_EXPONENT {
        assert_eq!(native_index(f64::from(exponent).exp2()), exponent * PER_DOUBLING);
        let above = f64::from(exponent).exp2() * (1.0 + f64::EPSILON);
        assert_eq!(native_index(above), exponent * PER_DOUBLING + 1);
    }
}

#[test]
fn the_ends_of_the_range_hold_what_is_beyond() {
    // 2^-17 s are 7629.4 ns.
    assert_eq!(native_bucket(0), None);
    assert_eq!(native_bucket(7_629), None);
    assert_eq!(native_bucket(7_630), Some(0));
    assert_eq!(native_bucket(32_768_000_000_000), Some(NATIVE_LEN - 1));
    assert_eq!(native_bucket(u64::MAX), Some(NATIVE_LEN - 1));
}

#[test]
fn classic_bounds_belong_to_their_buckets() {
    let sum = sum([&histogram(&[500_000, 500_001, 60_000_000_000, 60_000_000_001])]);
    let counts: Vec<_> = sum.classic().map(|(bound, count, _)| (bound, count)).collect();
    assert_eq!(counts[0], (0.0005, 1));
    assert_eq!(counts[1], (0.001, 2));
    assert_eq!(counts[15], (60.0, 3));
    assert_eq!(counts[16], (f64::INFINITY, 4));
}

#[test]
fn a_wide_histogram_is_exposed_at_half_the_resolution() {
    // One duration for each of the 256 buckets.
    let middle = |place: usize| {
        let index = FIRST + i32::try_from(place).unwrap();
        let seconds = ((f64::from(index) - 0.5) / f64::from(PER_DOUBLING)).exp2();
        Duration::from_secs_f64(seconds)
    };
    let histogram = Histogram::default();
    for place in 0..NATIVE_LEN {
        histogram.observe(middle(place));
    }
    let native = sum([&histogram]).native();
    assert_eq!((native.schema, native.buckets.len()), (SCHEMA - 1, NATIVE_LEN / 2));
    assert!(native.buckets.iter().all(|&(_, count)| count == 2), "{native:?}");
    assert_eq!(native.buckets.last().unwrap().0, LAST_EXPONENT * PER_DOUBLING / 2);
}

#[test]
fn the_newest_exemplar_of_each_bucket_is_kept() {
    let mut fields = Fields::default();
    fields.append("b3", b"4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1");
    let trace = TraceContext::from_fields(&fields).unwrap();
    let exemplar = |millis, at| Exemplar {
        trace,
        duration: Duration::from_millis(millis),
        at: UnixTime(Duration::from_secs(at)),
    };
    let (one, other) = (Histogram::default(), Histogram::default());
    for (histogram, exemplar) in
        [(&one, exemplar(3, 5)), (&one, exemplar(4, 6)), (&other, exemplar(5, 4))]
    {
        histogram.keep(histogram.observe(exemplar.duration), exemplar);
    }
    let sum = sum([&one, &other]);
    let kept: Vec<_> = sum.classic().filter_map(|(_, _, exemplar)| exemplar).collect();
    assert_eq!(kept, [&exemplar(4, 6)]);
}

proptest! {
    #[test]
    fn each_duration_is_in_the_bucket_of_the_formula(nanos in 7_630u64..32_768_000_000_000) {
        let seconds = nanos as f64 / 1e9;
        let index = native_index(seconds);
        // The formula is evaluated with an error in the last digits.
        let near = 1.0 + 1e-12;
        prop_assert!(seconds <= bound(index, SCHEMA) * near, "{} above", index);
        prop_assert!(seconds * near > bound(index - 1, SCHEMA), "{} below", index);
    }

    #[test]
    fn cells_add_up(parts in prop::collection::vec(prop::collection::vec(nanos(), 0..40), 0..5)) {
        let cells: Vec<_> = parts.iter().map(|part| histogram(part)).collect();
        let all = parts.concat();
        let together = sum(&cells);
        prop_assert_eq!(&together, &sum([&histogram(&all)]));
        prop_assert_eq!(together.count(), all.len() as u64);
        let nanos = all.iter().fold(0u64, |sum, nanos| sum.wrapping_add(*nanos));
        prop_assert_eq!(together.seconds(), Duration::from_nanos(nanos).as_secs_f64());
    }

    #[test]
    fn what_is_exposed_is_what_was_counted(all in prop::collection::vec(nanos(), 0..2_000)) {
        let sum = sum([&histogram(&all)]);
        let native = sum.native();
        prop_assert!(native.buckets.len() <= EXPOSED_MAX);
        prop_assert!(native.buckets.is_sorted_by(|a, b| a.0 < b.0));
        let in_buckets: u64 = native.buckets.iter().map(|(_, count)| count).sum();
        prop_assert_eq!(native.zero + in_buckets, all.len() as u64);
        let classic: Vec<_> = sum.classic().collect();
        prop_assert!(classic.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        for (seconds, count, _) in classic {
            let below = all.iter().filter(|&&nanos| nanos as f64 / 1e9 <= seconds).count();
            prop_assert_eq!(count, below as u64);
        }
    }

    #[test]
    fn a_merged_bucket_is_that_of_the_lower_resolution(
        all in prop::collection::vec(7_630u64..32_768_000_000_000, 1..50),
    ) {
        let mut native = sum([&histogram(&all)]).native();
        native.halve();
        for (index, count) in native.buckets {
            // Away from the bounds, where the formula is exact to the last digit only.
            let inside = |low: f64, high: f64| {
                let seconds = all.iter().map(|nanos| *nanos as f64 / 1e9);
                seconds.filter(|&s| s > low && s <= high).count() as u64
            };
            let (low, high) = (bound(index - 1, SCHEMA - 1), bound(index, SCHEMA - 1));
            prop_assert!(inside(low * (1.0 + 1e-12), high * (1.0 - 1e-12)) <= count);
            prop_assert!(inside(low * (1.0 - 1e-12), high * (1.0 + 1e-12)) >= count);
        }
    }
}

#[test]
fn a_cell_takes_what_the_page_of_metrics_says() {
    assert!(size_of::<Histogram>() + NATIVE_LEN * size_of::<AtomicU64>() <= 2_350);
    assert!(size_of::<Mutex<Exemplars>>() <= 1_330, "{}", size_of::<Mutex<Exemplars>>());
}
