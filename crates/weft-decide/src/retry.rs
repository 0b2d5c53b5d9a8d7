//! Whether a request is sent once more.

use std::time::Duration;

use weft_model::{Retry, RetryStatus};

use crate::grpc;

/// How often a request that provably was not processed is sent again without being asked to.
pub const FREE_RETRIES_MAX: u32 = 3;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered with this status.
    Answered(u16),
    /// The server's own proxy answered with this status, since the server failed before it did.
    FailedBehind(u16),
    /// It certainly did not reach the application: no connection, or the peer said so.
    Unprocessed,
    /// It did not reach the application, whose proxy does not take it from this caller: it would
    /// not the next time either.
    Refused,
    /// A connection that had been idle broke before a byte of the answer came.
    ///
    /// Most likely the server closed it while the request was on its way; it proves nothing.
    BrokeWhenReused,
    /// Nobody knows.
    Unknown,
}

impl Outcome {
    /// The outcome of an attempt whose answer has begun. `grpc_status` is that of its head, which
    /// is there if no message comes.
    ///
    /// UNAVAILABLE without a message counts as 503, as gRPC has no other way to say it. It does not
    /// mean that the request was not processed: a server may say so after it did the work.
    pub fn of_answer(status: u16, grpc_status: Option<u32>) -> Outcome {
        match grpc_status {
            Some(grpc::UNAVAILABLE) if status == 200 => Outcome::Answered(503),
            _ => Outcome::Answered(status),
        }
    }

    /// The status of the answer, if there is one.
    pub fn status(self) -> Option<u16> {
        match self {
            Outcome::Answered(status) | Outcome::FailedBehind(status) => Some(status),
            Outcome::Unprocessed
            | Outcome::Refused
            | Outcome::BrokeWhenReused
            | Outcome::Unknown => None,
        }
    }
}

/// What the decision depends on besides the policy.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// How often the request was sent again so far.
    pub retries: u32,
    /// How the last attempt ended.
    pub outcome: Outcome,
    /// Whether all that was sent of it can be sent again.
    pub is_replayable: bool,
    /// Whether sending it twice does no more than sending it once.
    pub is_idempotent: bool,
    /// Whether the answer says that a proxy further on has sent the request again already.
    pub is_marked: bool,
    /// Whether the backend's budget has room for a retry: [`crate::budget::Budget::has_room`].
    pub has_budget: bool,
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

/// Decides whether a request is sent once more after the attempt that `tried` describes.
///
/// It is sent again without being asked to, [`FREE_RETRIES_MAX`] times at most, if no server can
/// have processed it, or if it is idempotent and met the end of an idle connection. Where there is
/// a `policy`, all of this counts as the rest does that it asks for, `retries_max` times at most:
/// after the statuses that are listed, whatever the method, and if it is idempotent after
/// failures, those included of which the server's proxy tells. It is never sent again if an
/// earlier part of it is gone, if a proxy further on did so, if the budget has no room, or if the
/// wait would not end before the deadline.
///
/// `jitter` is drawn by the caller from `0.0..1.0`, so that this stays a pure function.
/// Source: GEP-1731 (`attempts` is the most, and an explicit 0 must disable retries); full jitter,
/// after the AWS Architecture Blog, "Exponential Backoff And Jitter".
pub fn after(policy: Option<&Retry>, tried: &Tried, jitter: f64) -> Next {
    let Some(Retry { retries_max, statuses, backoff_base, backoff_max }) = policy else {
        let asked = Asked { retries_max: FREE_RETRIES_MAX, ..Asked::default() };
        return decide(&asked, tried, jitter);
    };
    let lists = |status| RetryStatus::new(status).is_ok_and(|status| statuses.contains(&status));
    let asked = Asked {
        retries_max: *retries_max,
        is_written: true,
        is_listed: tried.outcome.status().is_some_and(lists),
        backoff_base: backoff_base.duration(),
        backoff_max: backoff_max.duration(),
    };
    decide(&asked, tried, jitter)
}

/// What the user asks for after one attempt. The default asks for nothing.
#[derive(Default)]
struct Asked {
    retries_max: u32,
    /// Whether anything is asked for at all.
    is_written: bool,
    /// Whether the status of the answer is one to retry.
    is_listed: bool,
    backoff_base: Duration,
    backoff_max: Duration,
}

fn decide(asked: &Asked, tried: &Tried, jitter: f64) -> Next {
    debug_assert!((0.0..1.0).contains(&jitter));
    let is_asked_for = match tried.outcome {
        Outcome::Answered(_) => asked.is_listed,
        Outcome::FailedBehind(_) => asked.is_listed || tried.is_idempotent,
        Outcome::Unprocessed | Outcome::BrokeWhenReused | Outcome::Unknown => tried.is_idempotent,
        Outcome::Refused => false,
    };
    let is_free = match tried.outcome {
        Outcome::Unprocessed => true,
        Outcome::BrokeWhenReused => tried.is_idempotent,
        Outcome::Answered(_) | Outcome::FailedBehind(_) | Outcome::Refused | Outcome::Unknown => {
            false
        }
    };
    let may_retry =
        tried.retries < asked.retries_max && (is_free || asked.is_written && is_asked_for);
    if !may_retry || !tried.is_replayable || tried.is_marked || !tried.has_budget {
        return Next::Stop;
    }
    let doublings = tried.retries.min(16);
    let ceiling = asked.backoff_base.saturating_mul(1 << doublings).min(asked.backoff_max);
    let delay = ceiling.mul_f64(jitter);
    if tried.left.is_some_and(|left| delay >= left) {
        return Next::Stop;
    }
    Next::RetryAfter(delay)
}

#[cfg(test)]
mod tests;
