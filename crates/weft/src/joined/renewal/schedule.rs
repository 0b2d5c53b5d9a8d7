//! When a certificate is renewed next, and the control plane told of the last one: planned once for
//! each attempt, so that nothing that happens in between moves it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use weft_identity::{Validity, renew_at};
use weft_world::{Clock, Entropy, Moment, UnixTime};

/// The pause before the control plane is told again of a new certificate.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// The longest pause between two looks at civil time, which may jump.
const LOOK_AT_TIME: Duration = Duration::from_secs(5);

/// What it is time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// To renew the certificate.
    Renew,
    /// To tell the control plane again that the certificate is in use.
    Tell,
}

/// When to renew next.
#[derive(Clone, Copy)]
enum Next {
    /// As its dates say, by civil time.
    ByDates,
    /// After a failure. In passing time: the clock may be set back meanwhile.
    At(Moment),
}

/// When to renew next, and whether the certificate holds by this machine's clock.
pub(super) struct Schedule {
    clock: Rc<dyn Clock>,
    entropy: Rc<dyn Entropy>,
    next: Next,
    /// Drawn once for each plan.
    fraction: f64,
    /// Whether the certificate holds, as was said last.
    holds: Cell<bool>,
}

impl Schedule {
    /// To renew as the dates of the certificate say.
    pub(super) fn new(clock: Rc<dyn Clock>, entropy: Rc<dyn Entropy>) -> Schedule {
        let fraction = entropy.fraction();
        Schedule { clock, entropy, next: Next::ByDates, fraction, holds: Cell::new(true) }
    }

    /// Plans the next attempt to renew a certificate with `validity`, after `failures` in a row.
    pub(super) fn plan(&mut self, validity: Validity, failures: u32) {
        self.fraction = self.entropy.fraction();
        self.next = match failures {
            0 => Next::ByDates,
            _ => {
                let wall = self.clock.wall();
                let at = renew_at(validity, failures, wall, self.fraction);
                Next::At(self.clock.now() + at.0.saturating_sub(wall.0))
            }
        };
    }

    /// Ready when there is something to do about the certificate with `validity`; `tells`: also
    /// when it is time to tell the control plane of it, as long as that may believe it.
    pub(super) async fn wake(&self, validity: Validity, tells: bool) -> Wake {
        let tells = tells && self.clock.wall() <= validity.not_after;
        tokio::select! {
            biased;
            () = self.due(validity) => Wake::Renew,
            () = self.clock.sleep(TELL_AGAIN), if tells => Wake::Tell,
        }
    }

    /// Ready when it is time to renew. Says when the certificate stops to hold by this machine's
    /// clock, and when it holds again.
    async fn due(&self, validity: Validity) {
        loop {
            let wall = self.clock.wall();
            if self.holds.replace(validity.contains(wall)) != validity.contains(wall) {
                say(validity, wall);
            }
            let left = match self.next {
                Next::ByDates => {
                    renew_at(validity, 0, wall, self.fraction).0.saturating_sub(wall.0)
                }
                Next::At(at) => at.since(self.clock.now()),
            };
            if left.is_zero() {
                return;
            }
            self.clock.sleep(left.min(LOOK_AT_TIME)).await;
        }
    }
}

/// Says that the certificate stopped to hold, or holds again.
fn say(validity: Validity, wall: UnixTime) {
    if validity.contains(wall) {
        eprintln!("weft: by this machine's clock, {wall}, the certificate holds again");
        return;
    }
    eprintln!(
        "weft: {}: a new one is asked for; if the clock is wrong, set it right, since until then \
         the certificates of others are refused here",
        dates(validity, wall)
    );
}

/// The dates of a certificate beside the clock that is at odds with them.
pub(super) fn dates(validity: Validity, wall: UnixTime) -> String {
    let Validity { not_before, not_after } = validity;
    format!(
        "the certificate holds from {not_before} to {not_after}, and by this machine's clock it is \
         {wall}"
    )
}

#[cfg(test)]
mod tests;
