//! How long a packet takes from one host to another, and whether it arrives.
//!
//! Deliberately absent: bandwidth, reordering (the streams above would hide it) and duplication.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use crate::entropy::Random;

/// A host, by the order in which hosts were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostId(pub(crate) usize);

/// What a link does to packets, in either direction.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkOptions {
    /// The least one-way latency.
    pub latency_min: Duration,
    /// The most one-way latency that is usual; drawn evenly in between.
    pub latency_max: Duration,
    /// How often a packet takes longer than usual.
    pub slow_chance: f64,
    /// The most one-way latency of such a packet; drawn evenly from `latency_max` on.
    pub slow_latency_max: Duration,
    /// How often a packet is lost, to be sent again late.
    pub loss: f64,
}

impl LinkOptions {
    /// A data centre's network: 50 µs to 500 µs, now and then up to 20 ms, no loss.
    pub const fn lan() -> LinkOptions {
        LinkOptions {
            latency_min: Duration::from_micros(50),
            latency_max: Duration::from_micros(500),
            slow_chance: 0.01,
            slow_latency_max: Duration::from_millis(20),
            loss: 0.0,
        }
    }

    /// The way between continents: 40 ms to 60 ms, now and then up to 300 ms, 1 % lost.
    pub const fn wan() -> LinkOptions {
        LinkOptions {
            latency_min: Duration::from_millis(40),
            latency_max: Duration::from_millis(60),
            slow_chance: 0.02,
            slow_latency_max: Duration::from_millis(300),
            loss: 0.01,
        }
    }

    /// The loopback interface: 5 µs to 30 µs, never lost.
    pub const fn loopback() -> LinkOptions {
        LinkOptions {
            latency_min: Duration::from_micros(5),
            latency_max: Duration::from_micros(30),
            slow_chance: 0.0,
            slow_latency_max: Duration::from_micros(30),
            loss: 0.0,
        }
    }

    /// The same, losing `loss` of the packets.
    #[must_use]
    pub const fn with_loss(self, loss: f64) -> LinkOptions {
        LinkOptions { loss, ..self }
    }

    fn latency(&self, random: &mut Random) -> Duration {
        if random.chance(self.slow_chance) {
            random.duration(self.latency_max, self.slow_latency_max)
        } else {
            random.duration(self.latency_min, self.latency_max)
        }
    }
}

struct Direction {
    options: LinkOptions,
    random: Random,
}

/// All ways between hosts, each direction with randomness of its own.
pub(crate) struct Links {
    seed: u64,
    default: LinkOptions,
    loopback: LinkOptions,
    names: Vec<Rc<str>>,
    directions: BTreeMap<(HostId, HostId), Direction>,
    cut: BTreeSet<(HostId, HostId)>,
}

impl Links {
    pub(crate) fn new(seed: u64, default: LinkOptions, loopback: LinkOptions) -> Links {
        let (names, directions, cut) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        Links { seed, default, loopback, names, directions, cut }
    }

    /// Adds the next host. Randomness goes by its name, not by how many there were before.
    pub(crate) fn add_host(&mut self, name: &Rc<str>) {
        self.names.push(Rc::clone(name));
    }

    fn direction(&mut self, from: HostId, to: HostId) -> &mut Direction {
        self.directions.entry((from, to)).or_insert_with(|| {
            let options = if from == to { &self.loopback } else { &self.default };
            let label = format!("link from {} to {}", self.names[from.0], self.names[to.0]);
            let random = Random::derive(self.seed, &label);
            Direction { options: options.clone(), random }
        })
    }

    /// Sets both directions between `a` and `b`.
    pub(crate) fn set(&mut self, a: HostId, b: HostId, options: &LinkOptions) {
        self.direction(a, b).options.clone_from(options);
        self.direction(b, a).options.clone_from(options);
    }

    /// Cuts or mends both directions between `a` and `b`.
    pub(crate) fn set_cut(&mut self, a: HostId, b: HostId, cut: bool) {
        for pair in [(a, b), (b, a)] {
            if cut {
                self.cut.insert(pair);
            } else {
                self.cut.remove(&pair);
            }
        }
    }

    pub(crate) fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.cut.contains(&(from, to))
    }

    /// How long one packet takes, or none if it is lost.
    pub(crate) fn packet(&mut self, from: HostId, to: HostId) -> Option<Duration> {
        let Direction { options, random } = self.direction(from, to);
        let latency = options.latency(random);
        if random.chance(options.loss) { None } else { Some(latency) }
    }

    /// How long it takes until a packet has arrived that is sent again after `retransmit_first` and
    /// then after twice as long each time.
    pub(crate) fn reliable_packet(
        &mut self,
        from: HostId,
        to: HostId,
        retransmit_first: Duration,
    ) -> Duration {
        let mut waited = Duration::ZERO;
        let mut wait = retransmit_first;
        for _ in 0..RETRANSMITS_MAX {
            if let Some(latency) = self.packet(from, to) {
                return waited + latency;
            }
            waited += wait;
            wait *= 2;
        }
        waited
    }
}

/// After so many losses in a row the packet passes, so that a link that loses all is no endless
/// loop.
const RETRANSMITS_MAX: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const RETRANSMIT: Duration = Duration::from_millis(200);

    fn links(seed: u64, options: LinkOptions) -> Links {
        let mut links = Links::new(seed, options, LinkOptions::loopback());
        ["a", "b", "c"].into_iter().for_each(|name| links.add_host(&Rc::from(name)));
        links
    }

    #[test]
    fn latency_stays_in_its_range() {
        let options = LinkOptions::lan();
        let mut random = Random::new(3);
        let drawn: Vec<Duration> = (0..2_000).map(|_| options.latency(&mut random)).collect();
        assert!(drawn.iter().all(|latency| *latency >= options.latency_min));
        assert!(drawn.iter().all(|latency| *latency <= options.slow_latency_max));
        let slow = drawn.iter().filter(|latency| **latency > options.latency_max).count();
        assert!((5..60).contains(&slow), "{slow} of 2000");
    }

    #[test]
    fn a_lost_packet_arrives_late() {
        let (a, b) = (HostId(0), HostId(1));
        let mut links = links(1, LinkOptions::lan().with_loss(0.5));
        let times: Vec<_> = (0..200).map(|_| links.reliable_packet(a, b, RETRANSMIT)).collect();
        let late = times.iter().filter(|time| **time >= RETRANSMIT).count();
        assert!((70..130).contains(&late), "{late} of 200");
        assert!(times.iter().any(|time| *time >= RETRANSMIT * 3), "two losses double the wait");
    }

    #[test]
    fn a_cut_is_felt_in_both_directions_and_only_there() {
        let mut links = links(1, LinkOptions::lan());
        links.set_cut(HostId(0), HostId(1), true);
        assert!(links.is_cut(HostId(0), HostId(1)) && links.is_cut(HostId(1), HostId(0)));
        assert!(!links.is_cut(HostId(0), HostId(2)));
        links.set_cut(HostId(1), HostId(0), false);
        assert!(!links.is_cut(HostId(0), HostId(1)) && !links.is_cut(HostId(1), HostId(0)));
    }

    #[test]
    fn one_direction_does_not_disturb_another() {
        let (mut alone, mut busy) = (links(9, LinkOptions::lan()), links(9, LinkOptions::lan()));
        busy.packet(HostId(1), HostId(0));
        busy.packet(HostId(0), HostId(2));
        assert_eq!(alone.packet(HostId(0), HostId(1)), busy.packet(HostId(0), HostId(1)));
    }
}
