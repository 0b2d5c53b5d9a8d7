//! Numbers with units, as people write them.

use std::fmt;

/// A number: of seconds if it is a time, else of whatever is counted; bytes are counted one by one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantity {
    pub number: f64,
    pub is_time: bool,
}

/// The units that change a number, and by how much.
const UNITS: &[(&str, f64, bool)] = &[
    ("µs", 1e-6, true),
    ("ms", 1e-3, true),
    ("s", 1.0, true),
    ("min", 60.0, true),
    ("h", 3_600.0, true),
    ("days", 86_400.0, true),
    ("KiB", 1_024.0, false),
    ("MiB", 1_048_576.0, false),
];

impl Quantity {
    pub fn plain(number: f64) -> Quantity {
        Quantity { number, is_time: false }
    }

    pub fn seconds(number: f64) -> Quantity {
        Quantity { number, is_time: true }
    }

    /// Whether it is the same, but for what floating point leaves of it.
    pub fn is(&self, other: &Quantity) -> bool {
        let difference = (self.number - other.number).abs();
        self.is_time == other.is_time && difference <= 1e-9 * self.number.abs()
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quantity { number, is_time } = self;
        if *is_time { write!(f, "{number} s") } else { write!(f, "{number}") }
    }
}

/// All quantities in `text`, in its order; what stands in backticks is code and left out.
pub fn all_of(text: &str) -> Vec<Quantity> {
    let mut found = Vec::new();
    for prose in text.split('`').step_by(2) {
        let mut words = prose.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let Some(number) = number(word) else { continue };
            // A number that a comma ends has no unit.
            let is_open = word.ends_with(|last: char| last.is_ascii_digit());
            let unit =
                words.peek().filter(|_| is_open).map(|next| next.trim_end_matches([',', ';', ':']));
            let known = unit.and_then(|unit| UNITS.iter().find(|(name, ..)| *name == unit));
            let (factor, is_time) = known.map_or((1.0, false), |(_, factor, is)| (*factor, *is));
            found.push(Quantity { number: number * factor, is_time });
        }
    }
    found
}

/// The number that `word` is, thousands set apart by commas or not.
fn number(word: &str) -> Option<f64> {
    let word = word.trim_end_matches([',', ';', ':', ')']);
    if !word.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let (whole, _) = word.split_once('.').unwrap_or((word, ""));
    let mut groups = whole.split(',').skip(1);
    if !groups.all(|group| group.len() == 3) {
        return None;
    }
    word.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_units() {
        let plain = Quantity::plain;
        for (text, expected) in [
            ("64 KiB, 128 fields", vec![plain(65_536.0), plain(128.0)]),
            ("1,024, 64", vec![plain(1_024.0), plain(64.0)]),
            ("100 ms to 10 s", vec![Quantity::seconds(0.1), Quantity::seconds(10.0)]),
            ("1.3 times the load; HTTP/2, CVE-2023-44487", vec![plain(1.3)]),
            ("`240.119.0.0/16`, 5 min: `1 s`", vec![Quantity::seconds(300.0)]),
            ("75 % of the limit", vec![plain(75.0)]),
            ("none: only 2xx, in between", vec![]),
        ] {
            let found = all_of(text);
            let is_same = found.len() == expected.len()
                && found.iter().zip(&expected).all(|(found, expected)| found.is(expected));
            assert!(is_same, "{text}: {found:?}");
        }
    }

    #[test]
    fn a_time_is_no_count() {
        assert!(!Quantity::plain(5.0).is(&Quantity::seconds(5.0)));
        assert!(!Quantity::plain(5.0).is(&Quantity::plain(5.1)));
        assert_eq!(Quantity::seconds(0.05).to_string(), "0.05 s");
    }
}
