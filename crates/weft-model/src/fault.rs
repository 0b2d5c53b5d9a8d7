//! Faults that are put in on purpose, to see what becomes of callers.

use std::num::NonZeroU32;

use crate::authorization_policy::HeaderCondition;
use crate::error::ValueError;
use crate::name::ObjectName;
use crate::units::{Percent, TimeBound};

/// What a FaultPolicy does to a share of the requests that it is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fault {
    /// The policy.
    pub policy: ObjectName,
    /// It is for requests with all of these headers.
    pub headers: Vec<HeaderCondition>,
    /// For how long some are held.
    pub delay: Option<Delay>,
    /// How some are answered, without being sent on.
    pub abort: Option<Abort>,
    /// How many requests of one client proxy are held at a time; the others go on without a fault.
    pub active_max: NonZeroU32,
}

impl Fault {
    /// How many are held where nothing is written: 100. A drill shows its effect with few, and what
    /// is held takes memory and a place within the limits of the backend.
    pub const ACTIVE_MAX: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
}

/// For how long a share of requests is held before it is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delay {
    /// How many of them.
    pub percent: Percent,
    /// How long.
    pub time: TimeBound,
}

/// How a share of requests is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Abort {
    /// How many of them.
    pub percent: Percent,
    /// The answer.
    pub with: AbortWith,
}

/// The answer in place of an application's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AbortWith {
    /// This status, to calls of gRPC the one that clients make of it.
    Http(AbortStatus),
    /// This status of gRPC, to calls alone.
    Grpc(AbortCode),
}

/// A status of HTTP that says that something failed: 400 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbortStatus(u16);

impl AbortStatus {
    /// The status `code`.
    ///
    /// # Errors
    /// If it is below 400 or above 599.
    pub fn new(code: u16) -> Result<AbortStatus, ValueError> {
        match code {
            400..=599 => Ok(AbortStatus(code)),
            _ => Err(ValueError::new(code, "a status of a failure", "400 to 599")),
        }
    }

    /// The code.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// A status of gRPC that says that something failed: 1 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbortCode(u8);

impl AbortCode {
    /// The status `code`.
    ///
    /// # Errors
    /// If it is 0, which is success, or above 16.
    pub fn new(code: u8) -> Result<AbortCode, ValueError> {
        match code {
            1..=16 => Ok(AbortCode(code)),
            _ => Err(ValueError::new(code, "a status of a failed call", "1 to 16")),
        }
    }

    /// The code.
    pub fn get(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_are_put_in() {
        assert!(AbortStatus::new(399).is_err() && AbortStatus::new(600).is_err());
        assert_eq!(AbortStatus::new(503).unwrap().get(), 503);
        assert!(AbortCode::new(0).is_err() && AbortCode::new(17).is_err());
        assert_eq!(AbortCode::new(14).unwrap().get(), 14);
    }
}
