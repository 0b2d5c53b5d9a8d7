//! Which time the authority goes by, whose civil time may be set wrong and right again.

use weft_world::UnixTime;

use super::Ca;

impl Ca {
    /// Civil time as far as time has passed since the start: a clock that jumps ahead does not take
    /// it along. For what cannot be taken back, as to forget who is revoked.
    pub(super) fn passed(&self) -> UnixTime {
        self.since_opened().min(self.0.clock.wall())
    }

    /// Civil time, and no less than if no clock had been set back since the start. For how long
    /// something is to be remembered: certificates were signed by the time that was right.
    pub(super) fn at_latest(&self) -> UnixTime {
        self.since_opened().max(self.0.clock.wall())
    }

    /// Civil time, had no clock been set since the start.
    fn since_opened(&self) -> UnixTime {
        let (then, wall) = self.0.opened;
        UnixTime(wall.0 + self.0.clock.now().since(then))
    }
}
