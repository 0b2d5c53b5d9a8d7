//! A moment as Kubernetes writes it: `2026-03-01T09:30:00Z`.

use std::fmt;

use crate::finding::quoted;

/// A moment, in seconds since 1970. It orders objects by age; nothing reads a clock here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that `text` says in RFC 3339; a fraction of a second is dropped.
    ///
    /// # Errors
    ///
    /// In words, ready for a finding.
    pub fn parse(text: &str) -> Result<Timestamp, String> {
        parse(text)
            .ok_or_else(|| format!("{} is not a time such as 2026-03-01T09:30:00Z", quoted(text)))
    }

    /// The moment `seconds` after 1970 began.
    pub fn from_unix(seconds: i64) -> Timestamp {
        Timestamp(seconds)
    }

    /// Seconds since 1970.
    pub fn unix(self) -> i64 {
        self.0
    }
}

/// In UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0.div_euclid(86_400), self.0.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once(['T', 't'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone_at);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let offset = match zone.as_bytes().first()? {
        b'Z' | b'z' => (zone.len() == 1).then_some(0)?,
        sign => {
            let [hours, minutes] = numbers(zone.get(1..)?, ':', [2, 2])?;
            let offset = (hours <= 23 && minutes <= 59).then_some(hours * 3600 + minutes * 60)?;
            if *sign == b'-' { -offset } else { offset }
        }
    };
    let fraction_fine = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let clock_fine = hour <= 23 && minute <= 59 && second <= 60;
    let days = days_since_1970(year, month, day);
    let date_fine = (1..=12).contains(&month) && civil(days) == (year, month, day);
    (fraction_fine && clock_fine && date_fine)
        .then_some(Timestamp(days * 86_400 + hour * 3600 + minute * 60 + second - offset))
}

/// The numbers in `text`, each of its width, with `between` between them.
fn numbers<const N: usize>(text: &str, between: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(between);
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        let fine = part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = if fine { part.parse().ok()? } else { return None };
    }
    parts.next().is_none().then_some(numbers)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
///
/// Counts years from March, so that the leap day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // From March on, months of 31 and 30 days alternate in groups of five, 153 days each.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date of the Gregorian calendar `days` after 1970-01-01: year, month, day.
fn civil(days: i64) -> (i64, i64, i64) {
    // A guess that is at most a year too high, then the month by the same table as above.
    let mut year = (days + 719_468).div_euclid(365).min((days + 719_468) * 400 / 146_097 + 1);
    while days_since_1970(year, 3, 1) > days {
        year -= 1;
    }
    let day_of_year = days - days_since_1970(year, 3, 1);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-03-01T09:30:00Z", 1_772_357_400),
            ("2026-03-01T10:30:00+01:00", 1_772_357_400),
            ("2026-03-01T09:30:00.123456Z", 1_772_357_400),
            ("1969-12-31T23:59:59Z", -1),
        ];
        for (text, seconds) in cases {
            assert_eq!(Timestamp::parse(text), Ok(Timestamp(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026-03-01",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T00:00:00",
            "2026-03-01T00:00:00ZZ",
            "2026-3-1T00:00:00Z",
            "2026-03-01T00:00:00.Z",
            "2026-03-01T00:00:00+1:00",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_the_same(seconds in -62_135_596_800i64..253_402_300_799) {
            let moment = Timestamp(seconds);
            proptest::prop_assert_eq!(Timestamp::parse(&moment.to_string()), Ok(moment));
        }
    }
}
