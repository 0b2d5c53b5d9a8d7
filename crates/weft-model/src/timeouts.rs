//! How long things may take.

use crate::error::ValueError;
use crate::units::TimeBound;

/// How long a request that a rule matches may take.
///
/// Default: no bound on either, since only the user knows how long an answer may stream; connecting
/// and idling are bounded in any case, by [`BackendTimeouts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeouts {
    request: Option<TimeBound>,
    attempt: Option<TimeBound>,
}

impl Timeouts {
    /// At most `request` for all attempts together, and `attempt` for each.
    ///
    /// # Errors
    /// If an attempt may take longer than all of them.
    pub fn new(
        request: Option<TimeBound>,
        attempt: Option<TimeBound>,
    ) -> Result<Timeouts, ValueError> {
        if let (Some(request), Some(attempt)) = (request, attempt)
            && attempt > request
        {
            let found = format!("{} ms", attempt.millis());
            let allowed = "at most what the whole request may take";
            return Err(ValueError::new(found, "a timeout of one attempt", allowed));
        }
        Ok(Timeouts { request, attempt })
    }

    /// From the caller's request to the end of the answer, all attempts together.
    pub fn request(&self) -> Option<TimeBound> {
        self.request
    }

    /// The same of each attempt.
    pub fn attempt(&self) -> Option<TimeBound> {
        self.attempt
    }
}

/// How long connecting to a Service and idling may take. None of them bounds how long an exchange
/// takes in which something moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendTimeouts {
    /// How long the TCP connection to an endpoint may take. The TLS handshake and the opening of a
    /// tunnel have a limit of their own. Default: 5 s, which lets a lost SYN be sent again twice.
    pub connect: TimeBound,
    /// How long a connection that is kept for later requests may be unused before it is closed.
    /// What is under way is not concerned. Default: 90 s, above the minute in which most periodic
    /// callers return.
    pub idle: TimeBound,
    /// How long a request and its answer, a connection that was upgraded, or a stream of bytes may
    /// go without a byte in either direction before it is ended. Looked at once a second. Default:
    /// 1 h. A host that is gone is noticed within a minute by other means, so this ends only what
    /// both programs have forgotten; what they think about for long must not be cut.
    pub stream_idle: TimeBound,
}

impl Default for BackendTimeouts {
    fn default() -> BackendTimeouts {
        const CONNECT: TimeBound = TimeBound::from_millis(5_000).expect("not zero");
        const IDLE: TimeBound = TimeBound::from_millis(90_000).expect("not zero");
        const STREAM_IDLE: TimeBound = TimeBound::from_millis(3_600_000).expect("not zero");
        BackendTimeouts { connect: CONNECT, idle: IDLE, stream_idle: STREAM_IDLE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_takes_no_longer_than_the_request() {
        let bound = |millis| TimeBound::from_millis(millis);
        assert!(Timeouts::new(bound(10), bound(11)).is_err());
        assert!(Timeouts::new(bound(10), bound(10)).is_ok());
        assert!(Timeouts::new(None, bound(11)).is_ok());
    }
}
