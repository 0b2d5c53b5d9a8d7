//! What happened in a run, in order, with a hash over all of it.
//!
//! Two runs of one seed must leave equal traces; where they part is where something outside the
//! seed came in. The network, the disks and the hosts write here by themselves.
//!
//! Deliberately absent: levels, filters and any file. A trace is short-lived and compared whole.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::clock::Timeline;

/// How many events before the point where two traces part are shown.
const CONTEXT_EVENTS: usize = 8;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub enum Happening {
    /// A connection was asked for; `attempt` counts those of the run.
    Connecting { attempt: u64, from: SocketAddr, to: SocketAddr },
    /// It stands, as seen by who asked.
    Connected { attempt: u64, connection: u64 },
    /// Nobody listens there.
    Refused { attempt: u64 },
    /// Nobody answered.
    ConnectTimedOut { attempt: u64 },
    /// A listener gave it out.
    Accepted { connection: u64, destination: SocketAddr },
    /// Bytes arrived here.
    Segment { connection: u64, bytes: usize, hash: u64 },
    /// The end of the peer's direction arrived here.
    Fin { connection: u64 },
    /// A reset arrived here.
    Reset { connection: u64 },
    /// What was sent from here has stayed unacknowledged for too long.
    GaveUp { connection: u64 },
    /// A listener was opened.
    Listening { at: SocketAddr },
    /// A file was replaced.
    Replaced { path: PathBuf, bytes: usize, hash: u64 },
    /// The host went away.
    Crashed { silently: bool },
    /// The host came back.
    Restarted,
    /// The network between this host and `peer` was cut.
    Partitioned { peer: Rc<str> },
    /// The network between this host and `peer` was mended.
    Healed { peer: Rc<str> },
    /// Whatever a scenario or a program has to say.
    Note(String),
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::Connecting { attempt, from, to } => {
                write!(f, "connect attempt {attempt}: {from} to {to}")
            }
            Happening::Connected { attempt, connection } => {
                write!(f, "connect attempt {attempt}: is connection {connection}")
            }
            Happening::Refused { attempt } => write!(f, "connect attempt {attempt}: refused"),
            Happening::ConnectTimedOut { attempt } => {
                write!(f, "connect attempt {attempt}: timed out")
            }
            Happening::Accepted { connection, destination } => {
                write!(f, "connection {connection}: accepted, wanted {destination}")
            }
            Happening::Segment { connection, bytes, hash } => {
                write!(f, "connection {connection}: {bytes} bytes, hash {hash:016x}")
            }
            Happening::Fin { connection } => write!(f, "connection {connection}: fin"),
            Happening::Reset { connection } => write!(f, "connection {connection}: reset"),
            Happening::GaveUp { connection } => {
                write!(f, "connection {connection}: gave up retransmitting")
            }
            Happening::Listening { at } => write!(f, "listens at {at}"),
            Happening::Replaced { path, bytes, hash } => {
                write!(f, "wrote {}: {bytes} bytes, hash {hash:016x}", path.display())
            }
            Happening::Crashed { silently: true } => f.write_str("crashed, silently"),
            Happening::Crashed { silently: false } => f.write_str("crashed, with resets"),
            Happening::Restarted => f.write_str("restarted"),
            Happening::Partitioned { peer } => write!(f, "cut off from {peer}"),
            Happening::Healed { peer } => write!(f, "joined with {peer} again"),
            Happening::Note(text) => f.write_str(text),
        }
    }
}

/// Something that happened, with time and place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceEvent {
    /// Simulated time since the start of the simulation.
    pub at: Duration,
    /// The host's name.
    pub host: Rc<str>,
    /// What happened.
    pub what: Happening,
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>14.6}  {:<12}  {}", self.at.as_secs_f64(), self.host, self.what)
    }
}

#[derive(Default)]
struct Written {
    events: Vec<TraceEvent>,
    hash: Fnv,
}

/// The events of a run, in order. Cheap to clone: all clones are one trace.
#[derive(Clone)]
pub struct Trace {
    timeline: Rc<Timeline>,
    written: Rc<RefCell<Written>>,
}

impl Trace {
    pub(crate) fn new(timeline: Rc<Timeline>) -> Trace {
        Trace { timeline, written: Rc::default() }
    }

    /// Adds what a scenario or a program has to say.
    pub fn note(&self, host: &str, text: impl Into<String>) {
        self.add(&Rc::from(host), Happening::Note(text.into()));
    }

    pub(crate) fn add(&self, host: &Rc<str>, what: Happening) {
        let event = TraceEvent { at: self.timeline.now(), host: Rc::clone(host), what };
        let mut written = self.written.borrow_mut();
        event.hash(&mut written.hash);
        written.events.push(event);
    }

    /// A hash over all events so far, in their order.
    pub fn hash(&self) -> u64 {
        self.written.borrow().hash.finish()
    }

    /// All events so far.
    pub fn events(&self) -> Vec<TraceEvent> {
        self.written.borrow().events.clone()
    }

    /// When the last event happened; zero if nothing has.
    pub(crate) fn last_at(&self) -> Duration {
        self.written.borrow().events.last().map_or(Duration::ZERO, |event| event.at)
    }
}

/// Where two traces part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// How many events the two have in common at the start.
    pub common: usize,
    /// The last of those.
    pub before: Vec<TraceEvent>,
    /// What the first trace has next, if anything.
    pub first: Option<TraceEvent>,
    /// What the second trace has next, if anything.
    pub second: Option<TraceEvent>,
}

impl Divergence {
    /// Where `first` and `second` part, or none if they are equal.
    pub fn between(first: &[TraceEvent], second: &[TraceEvent]) -> Option<Divergence> {
        let common = first.iter().zip(second).take_while(|(one, other)| one == other).count();
        if common == first.len() && common == second.len() {
            return None;
        }
        Some(Divergence {
            common,
            before: first[common.saturating_sub(CONTEXT_EVENTS)..common].to_vec(),
            first: first.get(common).cloned(),
            second: second.get(common).cloned(),
        })
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "they part after {} events", self.common)?;
        for event in &self.before {
            write!(f, "\n  both    {event}")?;
        }
        for (run, event) in [("first", &self.first), ("second", &self.second)] {
            match event {
                Some(event) => write!(f, "\n  {run:<6}  {event}")?,
                None => write!(f, "\n  {run:<6}  (ended)")?,
            }
        }
        Ok(())
    }
}

/// The hash FNV-1a of 64 bits: small and the same everywhere, not safe against an adversary.
///
/// Source: IETF draft-eastlake-fnv.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv(u64);

impl Fnv {
    /// The hash of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> u64 {
        let mut hash = Fnv::default();
        hash.write(bytes);
        hash.finish()
    }
}

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: u64, text: &str) -> TraceEvent {
        let at = Duration::from_millis(at);
        TraceEvent { at, host: Rc::from("a"), what: Happening::Note(text.to_owned()) }
    }

    #[test]
    fn fnv_gives_the_published_values() {
        assert_eq!(Fnv::of(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Fnv::of(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Fnv::of(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn equal_traces_do_not_part() {
        assert_eq!(Divergence::between(&[], &[]), None);
        assert_eq!(Divergence::between(&[event(1, "x")], &[event(1, "x")]), None);
    }

    #[test]
    fn the_first_difference_is_shown_with_what_came_before() {
        let common = [event(1, "x"), event(2, "y")];
        let first = [&common[..], &[event(3, "left"), event(4, "z")]].concat();
        let second = [&common[..], &[event(3, "right"), event(4, "z")]].concat();
        let found = Divergence::between(&first, &second).unwrap();
        assert_eq!((found.common, found.before.len()), (2, 2));
        let shown = found.to_string();
        assert!(shown.contains("first         0.003000  a             left"), "{shown}");
        assert!(shown.contains("second        0.003000  a             right"), "{shown}");
    }

    #[test]
    fn a_trace_that_ends_early_differs() {
        let found = Divergence::between(&[event(1, "x")], &[]).unwrap();
        assert_eq!((found.first, found.second), (Some(event(1, "x")), None));
    }
}
