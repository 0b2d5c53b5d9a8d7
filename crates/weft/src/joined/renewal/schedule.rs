//! When a certificate is renewed next, and the control plane told of the last one: planned once for
//! each attempt, so that nothing that happens in between moves it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use weft_identity::{Validity, issued_at, renew_at};
use weft_world::{Clock, Entropy, Moment, UnixTime};

/// The pause before the control plane is told again of a new certificate.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// The longest pause between two looks at civil time, which may jump.
const LOOK_AT_TIME: Duration = Duration::from_secs(5);

/// The longest pause before a certificate is asked for again, where one of two clocks is wrong so
/// that a new one does not hold here. Each that is asked for is signed and put on record.
const RARELY: Duration = Duration::from_secs(3600);

/// The part of a certificate's life after which it is at most kept for one that does not hold here.
const NEAR_ITS_END: f64 = 0.9;

/// The part of a certificate's life that passes at most before it is renewed, whatever the clock
/// says.
const RENEWED_WITHIN: f64 = 0.6;

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
    /// As its dates say, by civil time, and at the latest at a moment.
    ByDates(Moment),
    /// At a moment, as after a failure: the clock may be set back meanwhile.
    At(Moment),
    /// At a moment, unless the certificate holds before by this machine's clock.
    UntilItHolds(Moment),
    /// When the next certificate holds by this machine's clock, or the one in use does not, and at
    /// the latest at a moment.
    Aside(UnixTime, Moment),
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
    /// To renew a certificate with `validity` as its dates say.
    pub(super) fn new(
        clock: Rc<dyn Clock>,
        entropy: Rc<dyn Entropy>,
        validity: Validity,
    ) -> Schedule {
        let fraction = entropy.fraction();
        let next = by_dates(&*clock, validity);
        Schedule { clock, entropy, next, fraction, holds: Cell::new(true) }
    }

    /// Plans the next attempt to renew a certificate with `validity`, after `failures` in a row.
    pub(super) fn plan(&mut self, validity: Validity, failures: u32) {
        self.fraction = self.entropy.fraction();
        self.next = match failures {
            0 => by_dates(&*self.clock, validity),
            _ => {
                let wall = self.clock.wall();
                let at = renew_at(validity, failures, wall, self.fraction);
                Next::At(self.clock.now() + at.0.saturating_sub(wall.0))
            }
        };
    }

    /// Plans the next attempt after one that brought a certificate, now in use, that does not hold
    /// by this machine's clock; so many `times` in a row.
    pub(super) fn plan_unheld(&mut self, times: u32) {
        self.fraction = self.entropy.fraction();
        self.next = Next::UntilItHolds(self.clock.now() + rarely(times, self.fraction));
    }

    /// Plans the next attempt after one that brought a certificate with the dates `new` that does
    /// not hold by this machine's clock, so that the one with `present` is kept; so many `times` in
    /// a row.
    pub(super) fn plan_kept(&mut self, present: Validity, new: Validity, times: u32) {
        self.fraction = self.entropy.fraction();
        self.next = if self.clock.wall() < new.not_before {
            let left = near_its_end(present).0.saturating_sub(issued_at(new).0);
            Next::Aside(new.not_before, self.clock.now() + left)
        } else {
            Next::At(self.clock.now() + rarely(times, self.fraction))
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
            let now = self.clock.now();
            let left = match self.next {
                Next::ByDates(latest) => self.by_dates(validity, wall).min(latest.since(now)),
                Next::At(at) => at.since(now),
                Next::UntilItHolds(_) if validity.contains(wall) => self.by_dates(validity, wall),
                Next::UntilItHolds(at) => at.since(now),
                Next::Aside(..) if !validity.contains(wall) => Duration::ZERO,
                Next::Aside(from, latest) => from.0.saturating_sub(wall.0).min(latest.since(now)),
            };
            if left.is_zero() {
                return;
            }
            self.clock.sleep(left.min(LOOK_AT_TIME)).await;
        }
    }

    /// How long it is, at `wall`, until the first attempt for a certificate with `validity`.
    fn by_dates(&self, validity: Validity, wall: UnixTime) -> Duration {
        renew_at(validity, 0, wall, self.fraction).0.saturating_sub(wall.0)
    }
}

/// Whether a certificate with the dates `new` is put to use at `wall` in the place of one with
/// `present`.
///
/// One that does not hold here is of use to others, whose clocks are right if the one here is
/// wrong. It may as well be that of the control plane which is: so the one that holds here is kept,
/// but not so long that it ends by the clock of the control plane, which shows in `new`.
pub(super) fn is_taken(present: Validity, new: Validity, wall: UnixTime) -> bool {
    let holds_yet = present.contains(wall);
    let is_early = wall < new.not_before;
    new.contains(wall) || !holds_yet || (is_early && issued_at(new) >= near_its_end(present))
}

fn near_its_end(validity: Validity) -> UnixTime {
    UnixTime(validity.not_before.0 + validity.lifetime().mul_f64(NEAR_ITS_END))
}

fn by_dates(clock: &dyn Clock, validity: Validity) -> Next {
    Next::ByDates(clock.now() + validity.lifetime().mul_f64(RENEWED_WITHIN))
}

/// The wait after so many `times` in a row: soon at first, since a clock that is wrong may be set
/// right at once.
fn rarely(times: u32, fraction: f64) -> Duration {
    let longest = Duration::from_secs(2) * 2u32.pow(times.saturating_sub(1).min(16));
    longest.min(RARELY).mul_f64(0.5 + 0.5 * fraction)
}

/// Says that the certificate stopped to hold, or holds again.
fn say(validity: Validity, wall: UnixTime) {
    if validity.contains(wall) {
        weft_control::say!("weft: by this machine's clock, {wall}, the certificate holds again");
        return;
    }
    weft_control::say!(
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
