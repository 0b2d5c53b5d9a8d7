//! Durations in Gateway API's notation: `1h30m`, `500ms`.
//!
//! Source: GEP-2257. A strict subset of Go's: whole numbers only, no sign, nothing below a
//! millisecond.

use std::time::Duration;

/// How many number-and-unit pairs there may be.
const PARTS_MAX: usize = 4;
/// How many digits a number may have.
const DIGITS_MAX: usize = 5;

/// The duration that `text` says.
///
/// # Errors
///
/// In words, ready for a finding.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| {
        Err(format!(
            "{} is not a duration: {why}; write for example 1h30m, 10s or 500ms",
            crate::finding::quoted(text)
        ))
    };
    if text.is_empty() {
        return wrong("it is empty");
    }
    let mut total = Duration::ZERO;
    let mut parts = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters =
            after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        rest = after;
        parts += 1;
        if number.is_empty() {
            return wrong("a whole number is needed before each unit");
        }
        if digits > DIGITS_MAX {
            return wrong("a number has at most 5 digits");
        }
        let number: u64 = number.parse().map_err(|_| "not a number".to_owned())?;
        total += match unit {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return wrong("a number is followed by h, m, s or ms"),
        };
    }
    if parts > PARTS_MAX {
        return wrong("there are at most 4 parts");
    }
    Ok(total)
}

/// `duration` in the same notation, to the millisecond.
///
/// What is longer than the notation can hold, 99999 hours and some, is written all the same.
pub fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
    ];
    let text: String = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_ones() {
        let cases = [
            ("0s", 0),
            ("0h", 0),
            ("1ms", 1),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1h2m3s4ms", 3_723_004),
            ("30m1h", 5_400_000),
            ("1s1s", 2_000),
            ("00001s", 1_000),
            ("99999h", 99_999 * 3_600_000),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn invalid_ones() {
        let cases = [
            "",
            "1",
            "s",
            "1.5s",
            "-1s",
            "+1s",
            "1d",
            "1us",
            "100000s",
            "1h1m1s1ms1s",
            "1 s",
            "1S",
            "é",
        ];
        for text in cases {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_the_same(millis in 0u64..=99_999 * 3_600_000) {
            let duration = Duration::from_millis(millis);
            proptest::prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
