//! Leases: registrations that must be renewed.
//!
//! The registration is kept like any entry. When it was renewed is kept in memory only, and starts
//! anew when the store is opened: leases stand still while the control plane is away.

use std::sync::Arc;
use std::time::Duration;

use weft_world::{Moment, UnixTime};

use crate::version::Version;

/// How long a lease lasts without being renewed. Ten minutes bridge a reboot of its machine.
pub const EXPIRED_AFTER: Duration = Duration::from_secs(600);

/// What was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The name.
    pub name: String,
    /// The version that wrote it.
    pub version: Version,
    /// When it was first registered.
    pub created: UnixTime,
    /// How long it is healthy without being renewed.
    pub ttl: Duration,
    /// What the caller said about it.
    pub text: Arc<[u8]>,
}

/// A registration, and when it was last renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What was registered.
    pub registration: Registration,
    /// When it was last renewed, registered, or found when the store was opened.
    pub renewed: Moment,
}

/// How a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Renewed within its time.
    Healthy,
    /// Its time is over; it may still come back.
    Unhealthy,
    /// It is to be removed.
    Expired,
}

impl Lease {
    /// How it stands at `now`. Past its own time it is unhealthy, past [`EXPIRED_AFTER`] (or its
    /// own time, if that is longer) expired.
    pub fn state(&self, now: Moment) -> LeaseState {
        let silent = now.since(self.renewed);
        if silent < self.registration.ttl {
            LeaseState::Healthy
        } else if silent < EXPIRED_AFTER {
            LeaseState::Unhealthy
        } else {
            LeaseState::Expired
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(ttl: Duration) -> Lease {
        let registration = Registration {
            name: "cart-1".into(),
            version: Version::FIRST,
            created: UnixTime(Duration::ZERO),
            ttl,
            text: Arc::from(&b""[..]),
        };
        Lease { registration, renewed: Moment::from_nanos(7) }
    }

    #[test]
    fn a_lease_is_healthy_then_unhealthy_then_expired() {
        let lease = lease(Duration::from_secs(30));
        let at = |millis| lease.state(lease.renewed + Duration::from_millis(millis));
        assert_eq!(at(0), LeaseState::Healthy);
        assert_eq!(at(29_999), LeaseState::Healthy);
        assert_eq!(at(30_000), LeaseState::Unhealthy);
        assert_eq!(at(599_999), LeaseState::Unhealthy);
        assert_eq!(at(600_000), LeaseState::Expired);
    }

    #[test]
    fn a_moment_before_the_renewal_is_healthy() {
        let lease = lease(Duration::from_secs(30));
        assert_eq!(lease.state(Moment::from_nanos(0)), LeaseState::Healthy);
    }

    #[test]
    fn a_long_lease_does_not_expire_before_its_time() {
        let lease = lease(Duration::from_secs(3600));
        let at = |seconds| lease.state(lease.renewed + Duration::from_secs(seconds));
        assert_eq!(at(3_599), LeaseState::Healthy);
        assert_eq!(at(3_600), LeaseState::Expired);
    }
}
