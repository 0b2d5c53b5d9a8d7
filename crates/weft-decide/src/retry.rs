//! Whether a request is sent once more.

use std::time::Duration;

/// What a user allows to be sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request may be sent again after an answer or a failure that allows it;
    /// 0 is never.
    pub retries_max: u32,
    /// Status codes that are sent again.
    pub codes: Vec<u16>,
    /// The wait before the first retry, doubled for each further one.
    pub backoff_base: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
}

/// How often a request that provably was not processed is sent again without being asked to.
pub const FREE_RETRIES_MAX: u32 = 3;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered with this status.
    Answered(u16),
    /// It certainly did not reach the application: no connection, or the peer said so.
    Unprocessed,
    /// A connection that had been idle broke before a byte of the answer came.
    ///
    /// Most likely the server closed it while the request was on its way; it proves nothing.
    BrokeWhenReused,
    /// Nobody knows.
    Unknown,
}

/// What the decision depends on besides the policy.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// How often the request was sent again so far.
    pub retries: u32,
    /// How the last attempt ended.
    pub outcome: Outcome,
    /// Whether all that was sent of it can be sent again.
    pub is_replayable: bool,
    /// Whether sending it twice does no more than sending it once.
    pub is_idempotent: bool,
    /// The time left until the deadline, if there is one.
    pub left: Option<Duration>,
}

/// What is to be done after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The outcome stands.
    Stop,
    /// The request is sent again after this wait.
    RetryAfter(Duration),
}

/// Decides whether a request is sent once more after the attempt that `facts` describe.
///
/// `jitter` is drawn by the caller from `0.0..1.0`, so that this stays a pure function.
/// Source: GEP-1731 (`attempts` counts retries, 0 means none); full jitter, after the AWS
/// Architecture Blog, "Exponential Backoff And Jitter".
pub fn next(policy: &RetryPolicy, facts: &Facts, jitter: f64) -> Next {
    debug_assert!((0.0..1.0).contains(&jitter));
    let is_asked_for = match facts.outcome {
        Outcome::Answered(status) => policy.codes.contains(&status),
        Outcome::Unprocessed | Outcome::BrokeWhenReused | Outcome::Unknown => facts.is_idempotent,
    };
    let is_free = match facts.outcome {
        Outcome::Unprocessed => true,
        Outcome::BrokeWhenReused => facts.is_idempotent,
        Outcome::Answered(_) | Outcome::Unknown => false,
    };
    let may_retry = (is_asked_for && facts.retries < policy.retries_max)
        || (is_free && facts.retries < FREE_RETRIES_MAX);
    if !facts.is_replayable || !may_retry {
        return Next::Stop;
    }
    let doublings = facts.retries.min(16);
    let ceiling = policy.backoff_base.saturating_mul(1 << doublings).min(policy.backoff_max);
    let delay = ceiling.mul_f64(jitter);
    if facts.left.is_some_and(|left| delay >= left) {
        return Next::Stop;
    }
    Next::RetryAfter(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(outcome: Outcome) -> Facts {
        Facts { retries: 0, outcome, is_replayable: true, is_idempotent: true, left: None }
    }

    fn policy() -> RetryPolicy {
        RetryPolicy {
            retries_max: 2,
            codes: vec![503],
            backoff_base: Duration::from_millis(20),
            backoff_max: Duration::from_millis(50),
        }
    }

    fn goes_on(policy: &RetryPolicy, facts: Facts) -> bool {
        next(policy, &facts, 0.5) != Next::Stop
    }

    #[test]
    fn without_a_policy_only_what_is_safe_is_sent_again() {
        let none = RetryPolicy::default();
        let post = |outcome| Facts { is_idempotent: false, ..facts(outcome) };
        assert!(goes_on(&none, facts(Outcome::Unprocessed)));
        assert!(goes_on(&none, post(Outcome::Unprocessed)));
        assert!(goes_on(&none, facts(Outcome::BrokeWhenReused)));
        assert!(!goes_on(&none, post(Outcome::BrokeWhenReused)));
        assert!(!goes_on(&none, facts(Outcome::Unknown)));
        assert!(!goes_on(&none, facts(Outcome::Answered(503))));
        let thrice = Facts { retries: FREE_RETRIES_MAX, ..facts(Outcome::Unprocessed) };
        assert!(!goes_on(&none, thrice));
        assert!(!goes_on(&none, Facts { is_replayable: false, ..facts(Outcome::Unprocessed) }));
    }

    #[test]
    fn a_policy_is_kept_to() {
        assert!(goes_on(&policy(), facts(Outcome::Answered(503))));
        assert!(!goes_on(&policy(), facts(Outcome::Answered(500))));
        assert!(!goes_on(&policy(), Facts { retries: 2, ..facts(Outcome::Answered(503)) }));
        assert!(goes_on(&policy(), facts(Outcome::Unknown)));
        let post = Facts { is_idempotent: false, ..facts(Outcome::Unknown) };
        assert!(!goes_on(&policy(), post));
    }

    #[test]
    fn waits_double_up_to_a_limit_and_end_before_the_deadline() {
        let wait = |retries, left| {
            let policy = RetryPolicy { retries_max: 9, ..policy() };
            next(&policy, &Facts { retries, left, ..facts(Outcome::Answered(503)) }, 0.5)
        };
        assert_eq!(wait(0, None), Next::RetryAfter(Duration::from_millis(10)));
        assert_eq!(wait(1, None), Next::RetryAfter(Duration::from_millis(20)));
        assert_eq!(wait(8, None), Next::RetryAfter(Duration::from_millis(25)));
        assert_eq!(wait(0, Some(Duration::from_millis(10))), Next::Stop);
    }
}
