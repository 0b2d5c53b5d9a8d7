//! Numbers that mean something.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::time::Duration;

use crate::error::ValueError;

/// A port, from 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port `number`.
    ///
    /// # Errors
    /// If it is 0.
    pub fn new(number: u16) -> Result<Port, ValueError> {
        let error = || ValueError::new(number, "a port", "1 to 65535");
        NonZeroU16::new(number).map(Port).ok_or_else(error)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A share of a hundred, from 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

impl Percent {
    /// The share `number`, or none if it is more than 100.
    pub const fn new(number: u8) -> Option<Percent> {
        if number <= 100 { Some(Percent(number)) } else { None }
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// A part of a whole, from none to all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fraction {
    numerator: u32,
    denominator: NonZeroU32,
}

impl Fraction {
    /// The whole.
    pub const ALL: Fraction = Fraction { numerator: 1, denominator: NonZeroU32::MIN };

    /// `numerator` of `denominator` parts.
    ///
    /// # Errors
    /// If there are no parts, or more than all are meant.
    pub fn new(numerator: u32, denominator: u32) -> Result<Fraction, ValueError> {
        match NonZeroU32::new(denominator) {
            Some(denominator) if numerator <= denominator.get() => {
                Ok(Fraction { numerator, denominator })
            }
            _ => {
                let found = format!("{numerator}/{denominator}");
                Err(ValueError::new(found, "a part of a whole", "from 0/1 to 1/1"))
            }
        }
    }

    /// How many parts.
    pub fn numerator(self) -> u32 {
        self.numerator
    }

    /// Of how many.
    pub fn denominator(self) -> u32 {
        self.denominator.get()
    }

    /// Whether it is one of those meant by whom `draw` is drawn, evenly from `0.0..1.0`.
    pub fn takes(self, draw: f64) -> bool {
        draw * f64::from(self.denominator.get()) < f64::from(self.numerator)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fraction { numerator, denominator } = self;
        match denominator.get() {
            all if all == *numerator => f.write_str("all"),
            100 => write!(f, "{numerator} %"),
            all => write!(f, "{numerator} of {all}"),
        }
    }
}

/// A ratio of at least one, kept in thousandths so that it can be compared and hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio {
    thousandths: u32,
}

impl Ratio {
    /// The ratio of `thousandths` to a thousand, or none if that is less than one.
    pub const fn from_thousandths(thousandths: u32) -> Option<Ratio> {
        if thousandths >= 1000 { Some(Ratio { thousandths }) } else { None }
    }

    /// In thousandths.
    pub fn thousandths(self) -> u32 {
        self.thousandths
    }

    /// As a number.
    pub fn as_f64(self) -> f64 {
        f64::from(self.thousandths) / 1000.0
    }
}

/// The share of a backend, of the sum of all shares of its rule; from 0 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u32);

impl Weight {
    /// The largest share, as in Gateway API; sixteen of them do not overflow 32 bits.
    pub const MAX: Weight = Weight(1_000_000);

    /// The share `number`.
    ///
    /// # Errors
    /// If it is more than [`Weight::MAX`].
    pub fn new(number: u32) -> Result<Weight, ValueError> {
        if number > Weight::MAX.0 {
            return Err(ValueError::new(number, "a weight", "0 to 1000000"));
        }
        Ok(Weight(number))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// A length of time in whole milliseconds, at least one: what bounds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeBound(NonZeroU64);

impl TimeBound {
    /// `millis` milliseconds, or nothing if that is 0.
    pub const fn from_millis(millis: u64) -> Option<TimeBound> {
        match NonZeroU64::new(millis) {
            Some(millis) => Some(TimeBound(millis)),
            None => None,
        }
    }

    /// `duration`, of which parts of a millisecond are dropped.
    ///
    /// # Errors
    /// If less than a millisecond is left, or it is longer than can be counted.
    pub fn new(duration: Duration) -> Result<TimeBound, ValueError> {
        let millis = u64::try_from(duration.as_millis()).ok().and_then(TimeBound::from_millis);
        let allowed = "at least 1 ms, at most 2^64 ms";
        millis.ok_or_else(|| ValueError::new(format!("{duration:?}"), "a bound", allowed))
    }

    /// In milliseconds.
    pub fn millis(self) -> u64 {
        self.0.get()
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_meaning_is_no_value() {
        assert_eq!(Port::new(80).unwrap().get(), 80);
        assert_eq!(Port::new(0).unwrap_err().to_string(), "`0` is not a port: 1 to 65535");
        assert!(Percent::new(100).is_some() && Percent::new(101).is_none());
        assert!(Ratio::from_thousandths(1000).is_some() && Ratio::from_thousandths(999).is_none());
        assert!(Weight::new(1_000_000).is_ok() && Weight::new(1_000_001).is_err());
        assert!(TimeBound::new(Duration::from_micros(999)).is_err());
        assert_eq!(TimeBound::new(Duration::from_micros(1999)).unwrap().millis(), 1);
        assert!(TimeBound::new(Duration::MAX).is_err());
    }
}
