//! Whether a client proxy may have one more thing under way towards a backend.

use thiserror::Error;
use weft_model::Limits;

use crate::adaptive::AdaptiveLimit;

/// A limit of a backend that is reached. Source of the numbers: [`weft_model::Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("spec.limits.{name} is reached: {most} are under way from this client")]
pub struct LimitReached {
    /// Which one.
    pub name: LimitName,
    /// What it allows.
    pub most: u32,
}

/// A limit of a backend, shown as its field is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitName {
    /// Requests being answered.
    Requests,
    /// Requests that wait for a connection.
    Pending,
    /// Connections whose bytes are not looked into. Requests wait for a connection instead.
    Connections,
    /// Requests and streams of bytes at one endpoint: each that may be called has as many.
    RequestsPerEndpoint,
    /// The same, as its latency says.
    Adaptive,
}

impl LimitName {
    /// The name of its field.
    pub fn as_str(self) -> &'static str {
        match self {
            LimitName::Requests => "requests",
            LimitName::Pending => "pending",
            LimitName::Connections => "connections",
            LimitName::RequestsPerEndpoint => "requestsPerEndpoint",
            LimitName::Adaptive => "adaptiveTolerance",
        }
    }
}

impl std::fmt::Display for LimitName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a client proxy has under way towards a backend, without what is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Requests, those that wait for a connection included.
    pub requests: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Connections, those being opened included.
    pub connections: u32,
}

/// Whether one more request may start.
///
/// # Errors
/// [`LimitReached`].
pub fn request(limits: &Limits, now: &UnderWay) -> Result<(), LimitReached> {
    below(LimitName::Requests, now.requests, limits.requests.get())
}

/// Whether one more request may wait for a connection.
///
/// # Errors
/// [`LimitReached`].
pub fn pending(limits: &Limits, now: &UnderWay) -> Result<(), LimitReached> {
    below(LimitName::Pending, now.pending, limits.pending.get())
}

/// Whether one more connection may be opened. Where it may not, requests wait for those there are,
/// and streams of bytes are refused.
///
/// # Errors
/// [`LimitReached`].
pub fn connection(limits: &Limits, now: &UnderWay) -> Result<(), LimitReached> {
    below(LimitName::Connections, now.connections, limits.connections.get())
}

/// Whether one more request, or stream of bytes, may go to an endpoint that has so many. Its
/// latency says that `allowed` may be there.
///
/// # Errors
/// [`LimitReached`].
pub fn endpoint(
    limits: &Limits,
    under_way: u32,
    allowed: &AdaptiveLimit,
) -> Result<(), LimitReached> {
    if let Some(most) = limits.requests_per_endpoint {
        below(LimitName::RequestsPerEndpoint, under_way, most.get())?;
    }
    if limits.adaptive_tolerance.is_some() {
        below(LimitName::Adaptive, under_way, allowed.allowed())?;
    }
    Ok(())
}

fn below(name: LimitName, found: u32, most: u32) -> Result<(), LimitReached> {
    if found < most { Ok(()) } else { Err(LimitReached { name, most }) }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn limits(requests: u32, pending: u32, connections: u32) -> Limits {
        let [requests, pending, connections] =
            [requests, pending, connections].map(|number| NonZeroU32::new(number).unwrap());
        Limits {
            requests,
            pending,
            connections,
            requests_per_endpoint: None,
            adaptive_tolerance: None,
        }
    }

    #[test]
    fn a_limit_that_is_reached_is_named() {
        let limits = limits(3, 2, 1);
        let now = UnderWay { requests: 2, pending: 2, connections: 1 };
        assert_eq!(request(&limits, &now), Ok(()));
        let reached = pending(&limits, &now).unwrap_err();
        assert_eq!(reached, LimitReached { name: LimitName::Pending, most: 2 });
        let expected = "spec.limits.connections is reached: 1 are under way from this client";
        assert_eq!(connection(&limits, &now).unwrap_err().to_string(), expected);
    }

    #[test]
    fn an_endpoint_has_a_limit_of_its_own_where_that_is_asked_for() {
        let latency = AdaptiveLimit::default();
        assert_eq!(endpoint(&limits(1, 1, 1), 1_000_000, &latency), Ok(()));
        let two = Limits { requests_per_endpoint: NonZeroU32::new(2), ..limits(9, 9, 9) };
        assert_eq!(endpoint(&two, 1, &latency), Ok(()));
        let expected =
            "spec.limits.requestsPerEndpoint is reached: 2 are under way from this client";
        assert_eq!(endpoint(&two, 2, &latency).unwrap_err().to_string(), expected);
        let tolerance = weft_model::Ratio::from_thousandths(1_500);
        let adaptive = Limits { adaptive_tolerance: tolerance, ..limits(9, 9, 9) };
        assert_eq!(endpoint(&adaptive, latency.allowed() - 1, &latency), Ok(()));
        let reached = endpoint(&adaptive, latency.allowed(), &latency).unwrap_err();
        assert_eq!(reached.name, LimitName::Adaptive);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn each_is_filled_to_its_limit_and_no_further(
            most in [1..50u32, 1..50u32, 1..50u32],
            wanted in 0..100u32,
        ) {
            let limits = limits(most[0], most[1], most[2]);
            let mut now = UnderWay::default();
            for _ in 0..wanted {
                now.requests += u32::from(request(&limits, &now).is_ok());
                now.pending += u32::from(pending(&limits, &now).is_ok());
                now.connections += u32::from(connection(&limits, &now).is_ok());
            }
            let found = [now.requests, now.pending, now.connections];
            prop_assert_eq!(found, most.map(|most| most.min(wanted)));
        }
    }
}
