//! Numbers that mean something.

use std::fmt;
use std::num::NonZeroU16;

/// A port, from 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port `number`, unless it is 0.
    pub fn new(number: u16) -> Option<Port> {
        NonZeroU16::new(number).map(Port)
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
    /// The share `number`, unless it is more than 100.
    pub const fn new(number: u8) -> Option<Percent> {
        if number <= 100 { Some(Percent(number)) } else { None }
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A ratio of two amounts, kept in thousandths so that it can be compared and hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio {
    thousandths: u32,
}

impl Ratio {
    /// The ratio of `thousandths` to a thousand.
    pub const fn from_thousandths(thousandths: u32) -> Ratio {
        Ratio { thousandths }
    }

    /// In thousandths.
    pub const fn thousandths(self) -> u32 {
        self.thousandths
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f64::from(self.thousandths) / 1000.0).fmt(f)
    }
}
