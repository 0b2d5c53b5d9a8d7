//! Times in fields, and deadlines.

use proptest::prelude::*;

use super::*;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn head(fields: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::default();
    head.version = weft_http::Version::Http2;
    for (name, value) in fields {
        head.fields.append(name, value.as_bytes());
    }
    head
}

const CALL: (&str, &str) = ("content-type", "application/grpc");

#[test]
fn times_are_read_strictly() {
    for (text, expected) in [
        ("1n", Some(Duration::from_nanos(1))),
        ("20u", Some(Duration::from_micros(20))),
        ("1500m", Some(millis(1500))),
        ("00000003S", Some(millis(3000))),
        ("2M", Some(millis(120_000))),
        ("1H", Some(millis(3_600_000))),
        ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
        ("99999999n", Some(Duration::from_nanos(99_999_999))),
        ("0m", Some(Duration::ZERO)),
        ("", None),
        ("m", None),
        ("1", None),
        ("100000000m", None),
        ("1s", None),
        ("1h", None),
        ("1 m", None),
        ("+1m", None),
        ("-1m", None),
        ("1.5S", None),
        ("1m ", None),
        ("1m, 2m", None),
        ("1mm", None),
        ("0x1m", None),
        ("\u{661}m", None),
    ] {
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn the_shorter_of_both_fields_counts() {
    let asked = |fields: &[(&str, &str)]| asked(&head(fields)).unwrap();
    assert_eq!(asked(&[]), None);
    assert_eq!(asked(&[("Weft-Timeout", "7m")]), Some(millis(7)));
    assert_eq!(asked(&[CALL, ("Grpc-Timeout", "5m"), ("weft-timeout", "7m")]), Some(millis(5)));
    assert_eq!(asked(&[CALL, ("grpc-timeout", "9m"), ("weft-timeout", "7m")]), Some(millis(7)));
    // It is no gRPC call: the field has no meaning, whatever it says.
    assert_eq!(asked(&[("grpc-timeout", "5m")]), None);
    assert_eq!(asked(&[("grpc-timeout", "what?")]), None);
    // Nor is anything over HTTP/1.1.
    let mut http1 = head(&[CALL, ("grpc-timeout", "5m")]);
    http1.version = weft_http::Version::Http11;
    assert_eq!(super::asked(&http1).unwrap(), None);
}

#[test]
fn what_cannot_be_read_is_an_error_that_shows_it() {
    let error = |fields: &[(&str, &str)]| asked(&head(fields)).unwrap_err().to_string();
    assert_eq!(
        error(&[CALL, ("grpc-timeout", "1s")]),
        "grpc-timeout: `1s` is not 1 to 8 digits and one of H, M, S, m, u, n"
    );
    assert_eq!(
        error(&[("weft-timeout", "1m"), ("weft-timeout", "2m")]),
        "weft-timeout: `2m` is not allowed behind another of that name"
    );
    let long = error(&[("weft-timeout", &"\u{e9}".repeat(1000))]);
    assert!(long.is_ascii() && long.len() < 250, "{long}");
}

#[test]
fn the_nearer_limit_is_the_deadline() {
    let bound = |millis| TimeBound::from_millis(millis);
    let began = millis(10_000);
    let timeouts = Timeouts::new(bound(1000), bound(300)).unwrap();
    let deadline = Deadline::new(&timeouts, None, began);
    let of = |left, whole, limit| Some(Bound { left: millis(left), whole: millis(whole), limit });
    assert_eq!(deadline.left(millis(10_400)), of(600, 1000, Limit::Request));
    assert_eq!(deadline.attempt(millis(10_400)), of(300, 300, Limit::Attempt));
    assert_eq!(deadline.attempt(millis(10_900)), of(100, 1000, Limit::Request));
    assert_eq!(deadline.attempt(millis(20_000)), of(0, 1000, Limit::Request));

    let deadline = Deadline::new(&timeouts, Some(millis(500)), began);
    assert_eq!(deadline.left(began), of(500, 500, Limit::Caller));
    let deadline = Deadline::new(&timeouts, Some(millis(1000)), began);
    assert_eq!(deadline.left(began), of(1000, 1000, Limit::Request));

    let none = Timeouts::default();
    assert_eq!(Deadline::new(&none, None, began).attempt(began), None);
    let attempts = Timeouts::new(None, bound(300)).unwrap();
    let deadline = Deadline::new(&attempts, None, began);
    assert_eq!(deadline.left(began), None);
    assert_eq!(deadline.attempt(millis(99_999)), of(300, 300, Limit::Attempt));
    let endless = Timeouts::new(bound(u64::MAX), None).unwrap();
    assert!(Deadline::new(&endless, None, Duration::MAX).left(Duration::MAX).is_some());
}

#[test]
fn what_is_left_travels_in_the_field_that_is_understood() {
    let carried = |fields: &[(&str, &str)], left, to_mesh| {
        let mut head = head(fields);
        carry(&mut head, left, to_mesh);
        let value = |name| head.fields.get(name).map(|value| value.escape_ascii().to_string());
        (value(GRPC_TIMEOUT), value(WEFT_TIMEOUT))
    };
    let text = |text: &str| Some(text.to_owned());
    let left = Some(millis(250));
    assert_eq!(carried(&[CALL, ("grpc-timeout", "1S")], left, true), (text("250000u"), None));
    assert_eq!(carried(&[CALL], left, false), (text("250000u"), None));
    assert_eq!(carried(&[CALL, ("weft-timeout", "1S")], left, true), (text("250000u"), None));
    assert_eq!(carried(&[("weft-timeout", "1S")], left, true), (None, text("250000u")));
    assert_eq!(carried(&[("weft-timeout", "1S")], left, false), (None, None));
    assert_eq!(carried(&[], None, true), (None, None));
    // Not a call: the field is the application's own affair.
    assert_eq!(carried(&[("grpc-timeout", "x")], left, false), (text("x"), None));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1024, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_is_read_and_is_never_more(
        nanos in prop_oneof![0..2_000_000_000u64, any::<u64>()],
        seconds in prop_oneof![Just(0u64), 0..1_000_000u64, any::<u64>()],
    ) {
        let time = Duration::from_nanos(nanos).saturating_add(Duration::from_secs(seconds));
        let text = TimeoutText::new(time);
        let found = parse(text.as_str().as_bytes()).expect("what is written can be read");
        prop_assert!(found <= time, "{:?}", text);
        let longest = Duration::from_secs(99_999_999 * 3600);
        // At least seven digits count, but where the next unit is sixty times as long: five.
        prop_assert!(found >= time.min(longest).mul_f64(0.999_9), "{:?} for {:?}", text, time);
    }

    #[test]
    fn whatever_bytes_come_nothing_breaks(value in proptest::collection::vec(any::<u8>(), 0..12)) {
        if let Some(time) = parse(&value) {
            prop_assert!(value.len() <= DIGITS_MAX + 1);
            prop_assert!(time <= Duration::from_secs(99_999_999 * 3600));
        }
    }

    #[test]
    fn an_attempt_ends_no_later_than_its_request(
        request in proptest::option::of(1..5_000u64),
        attempt in proptest::option::of(1..5_000u64),
        asked in proptest::option::of(0..5_000u64),
        later in 0..10_000u64,
    ) {
        let bound = |millis: Option<u64>| millis.and_then(TimeBound::from_millis);
        let attempt = attempt.map(|attempt| attempt.min(request.unwrap_or(u64::MAX)));
        let timeouts = Timeouts::new(bound(request), bound(attempt)).unwrap();
        let began = millis(1_000_000);
        let deadline = Deadline::new(&timeouts, asked.map(millis), began);
        let whole = [request, asked].into_iter().flatten().min();
        let left = whole.map(|whole| whole.saturating_sub(later));
        let now = began + millis(later);
        prop_assert_eq!(deadline.left(now).map(|bound| bound.left), left.map(millis));
        let least = [left, attempt].into_iter().flatten().min();
        prop_assert_eq!(deadline.attempt(now).map(|bound| bound.left), least.map(millis));
    }
}
