//! Addresses that stand for hosts outside, so that it is known by name what a connection is for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;

use weft_decide::egress;
use weft_world::Moment;

/// How many hosts have addresses at once. Beyond them the one that was asked for or called longest
/// ago loses its own, unless it is being called.
const HOSTS_MAX: usize = 4_096;

/// The hosts that have addresses.
#[derive(Default)]
pub(super) struct StandIns {
    places: BTreeMap<Arc<str>, u32>,
    hosts: BTreeMap<u32, StandIn>,
}

struct StandIn {
    host: Arc<str>,
    used: Moment,
    /// Held by each connection.
    open: Rc<()>,
}

impl StandIns {
    /// The addresses of `host`, which is given some if it has none. They are `is_free` unless they
    /// belong to somebody.
    pub(super) fn of(
        &mut self,
        host: &str,
        now: Moment,
        is_free: impl Fn(IpAddr) -> bool,
    ) -> Option<(Ipv4Addr, Ipv6Addr)> {
        let place = match self.places.get(host) {
            Some(place) => *place,
            None => self.give(host, now, is_free)?,
        };
        if let Some(stand_in) = self.hosts.get_mut(&place) {
            stand_in.used = now;
        }
        Some(egress::addresses(place))
    }

    /// The host that `address` stands for, which has it at least for as long as the other value
    /// lives.
    pub(super) fn host_of(&mut self, address: IpAddr, now: Moment) -> Option<(Arc<str>, Rc<()>)> {
        let stand_in = self.hosts.get_mut(&egress::place_of(address)?)?;
        stand_in.used = now;
        Some((stand_in.host.clone(), stand_in.open.clone()))
    }

    fn give(&mut self, host: &str, now: Moment, is_free: impl Fn(IpAddr) -> bool) -> Option<u32> {
        if self.hosts.len() >= HOSTS_MAX {
            let idle = self.hosts.iter().filter(|(_, it)| Rc::strong_count(&it.open) == 1);
            let (&place, _) = idle.min_by_key(|(_, it)| it.used)?;
            let gone = self.hosts.remove(&place)?;
            self.places.remove(&gone.host);
        }
        let is_usable = |place: &u32| {
            let (v4, v6) = egress::addresses(*place);
            !self.hosts.contains_key(place) && is_free(v4.into()) && is_free(v6.into())
        };
        // As many as are taken are passed over at most, unless the mesh has the block.
        let place = egress::places(host).take(2 * HOSTS_MAX).find(is_usable)?;
        let host: Arc<str> = host.into();
        self.places.insert(host.clone(), place);
        self.hosts.insert(place, StandIn { host, used: now, open: Rc::default() });
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_host_keeps_its_addresses_and_another_process_gives_the_same() {
        let (mut one, mut other) = (StandIns::default(), StandIns::default());
        let (v4, v6) = one.of("api.example.com", at(0), |_| true).unwrap();
        assert_eq!(one.of("api.example.com", at(1), |_| true), Some((v4, v6)));
        assert_eq!(other.of("api.example.com", at(1), |_| true), Some((v4, v6)));
        for ip in [IpAddr::V4(v4), IpAddr::V6(v6)] {
            assert_eq!(&*one.host_of(ip, at(2)).unwrap().0, "api.example.com");
        }
        // What somebody has is not given.
        let taken = |ip: IpAddr| ip != IpAddr::V4(v4);
        let (next, _) = StandIns::default().of("api.example.com", at(0), taken).unwrap();
        assert_ne!(next, v4);
        assert!(one.host_of(next.into(), at(0)).is_none());
    }

    #[test]
    fn of_too_many_the_one_goes_that_is_not_called_and_was_not_for_longest() {
        let mut all = StandIns::default();
        let host = |number: usize| format!("h{number}.example.com");
        for number in 0..HOSTS_MAX {
            all.of(&host(number), at(u64::try_from(number).unwrap()), |_| true).unwrap();
        }
        let (first, _) = all.of(&host(0), at(1), |_| true).unwrap();
        let (_, open) = all.host_of(first.into(), at(1)).unwrap();
        let (second, _) = all.of(&host(1), at(1), |_| true).unwrap();
        let (third, _) = all.of(&host(2), at(2), |_| true).unwrap();
        all.of("new.example.com", at(9_000), |_| true).unwrap();
        assert_eq!(&*all.host_of(first.into(), at(1)).unwrap().0, host(0), "it is open");
        assert!(all.host_of(second.into(), at(2)).is_none());
        assert!(all.host_of(third.into(), at(2)).is_some());
        drop(open);
        all.of("newer.example.com", at(9_000), |_| true).unwrap();
        assert!(all.host_of(first.into(), at(2)).is_none());
        assert_eq!((all.hosts.len(), all.places.len()), (HOSTS_MAX, HOSTS_MAX));
    }
}
