//! Probes on idle connections, by which an end that only reads learns that its peer is gone.
//!
//! As `weft-net` asks the system for them. A peer that answers changes nothing and leaves no trace.

use std::io;
use std::time::Duration;

use crate::clock::Event;
use crate::connection::{EndState, Side};
use crate::network::Net;
use crate::trace::Happening;

/// A probe that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    connection: u64,
    from: Side,
    /// Since when probes have been unanswered.
    silent_since: Option<Duration>,
}

impl Net {
    /// Starts to probe from both ends of a new connection.
    pub(crate) fn start_probes(&mut self, connection: u64) {
        for from in [Side::Client, Side::Server] {
            self.schedule_probe(Probe { connection, from, silent_since: None });
        }
    }

    fn schedule_probe(&mut self, probe: Probe) {
        let due = self.timeline.now() + self.options.keepalive_interval;
        self.timeline.schedule(due, Event::Probe(probe));
    }

    /// Sees whether the peer answers, and gives the connection up if it has not for too long.
    pub(crate) fn probe(&mut self, Probe { connection: id, from, silent_since }: Probe) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.end(from).state != EndState::Open {
            return;
        }
        let (here, there) = (connection.end(from).host, connection.end(from.other()).host);
        let has_left = connection.end(from.other()).state == EndState::Left;
        let has_said_so = connection.pipe(from.other()).ended;
        let now = self.timeline.now();
        let since = silent_since.unwrap_or(now);
        if !self.can_pass(here, there) {
            if now.saturating_sub(since) >= self.options.keepalive_give_up_after {
                self.fail(id, from, io::ErrorKind::TimedOut);
                self.record(here, Happening::GaveUp { connection: id });
            } else {
                self.schedule_probe(Probe { connection: id, from, silent_since: Some(since) });
            }
        } else if has_left && !has_said_so {
            // The peer's system knows nothing of this connection, and says so.
            self.fail(id, from, io::ErrorKind::ConnectionReset);
            self.record(here, Happening::Reset { connection: id });
        } else {
            self.schedule_probe(Probe { connection: id, from, silent_since: None });
        }
    }
}
