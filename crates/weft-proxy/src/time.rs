//! Limits on how long something may take.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use weft_world::Clock;

/// The longest wait for a TLS handshake and a tunnel's opening, on either side.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest wait for the turn to open a tunnel.
///
/// How long the others take is no fault of the endpoint's, as each of them has a limit of its own;
/// but behind too many of them a connection had better go elsewhere.
pub(crate) const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// How old a tunnel becomes that is used again and again, give or take a quarter.
///
/// The ends of a tunnel prove themselves once, when it is opened: without a limit, one in steady
/// use would outlive their certificates and the root above them. A certificate is renewed when half
/// of its 24 h are left, so that this is rarely more than what is left.
pub(crate) const TUNNEL_AGE: Duration = Duration::from_secs(3_600);

/// The longest time that a caller may take for the head of a request once it has begun.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a caller's connection may be idle between two requests.
pub(crate) const DOWNSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How long a connection to the own application is kept without use. Those to other workloads are
/// kept as the `timeouts.idle` of their backend says.
///
/// Shorter than what common servers allow (nginx 75 s, Node.js 5 s is the exception), so that it is
/// this side that closes.
pub(crate) const APPLICATION_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// How long a caller may take to read an answer that is Weft's own.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the rest of a request is waited for that Weft itself has answered.
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long after its last use a connection to an application is trusted with a request that must
/// not be sent twice.
pub(crate) const FRESH_FOR: Duration = Duration::from_millis(50);

/// How long what is known of a backend is kept without use. It outlasts a subscription's.
pub(crate) const BACKEND_IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The longest wait for discovery to say what an address or a Service is.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a caller may be silent before its server is dialled, to see whether that speaks first.
///
/// It is a delay, not a decision: what is spoken is decided by bytes alone.
pub(crate) const SILENCE: Duration = Duration::from_millis(2);

/// How often discovery is told which subscriptions are still used.
pub(crate) const USE_INTERVAL: Duration = Duration::from_secs(60);

/// How long after a change what lives is not judged again because of another one.
///
/// Far below the second within which what is forbidden must have ended.
pub(crate) const CHANGES_PAUSE: Duration = Duration::from_millis(20);

/// How often idle connections are looked over, and what is under way for whether it moves.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What `future` gives, or none if it takes longer than `limit`.
pub(crate) async fn within<F: Future>(
    clock: &dyn Clock,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    within_unless(clock, limit, &Cell::new(false), future).await
}

/// The same, as long as `is_lifted` does not say that there is no limit any more.
pub(crate) async fn within_unless<F: Future>(
    clock: &dyn Clock,
    limit: Duration,
    is_lifted: &Cell<bool>,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = clock.sleep(limit);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if is_lifted.get() {
            return Poll::Pending;
        }
        std::pin::Pin::new(&mut timer).poll(cx).map(|()| None)
    })
    .await
}
