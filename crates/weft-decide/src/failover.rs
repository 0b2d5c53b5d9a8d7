//! Whether another Service takes over.

use weft_model::{Failover, Health};

use crate::eject::Standing;

/// The endpoints of a Service, counted by whether they can serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    all: u64,
    ready: u64,
    probes: u64,
}

impl Tally {
    /// Counts an endpoint. One that is about to end does not count: its place is taken by another.
    pub fn add(&mut self, health: Health, standing: Standing) {
        if health == Health::Draining {
            return;
        }
        self.all += 1;
        if health == Health::Healthy {
            self.ready += u64::from(standing == Standing::Ready);
            self.probes += u64::from(standing == Standing::Probe);
        }
    }

    /// Whether a request may go there.
    pub fn can_serve(&self) -> bool {
        self.ready + self.probes > 0
    }

    /// Whether `failover` takes over for the next request: there are no endpoints, or less than its
    /// share can serve.
    ///
    /// One of which a request is to find out whether it is back gets that request: otherwise nobody
    /// would ever know.
    pub fn is_too_low(&self, failover: &Failover) -> bool {
        let wanted = self.all * u64::from(failover.healthy_min.get());
        self.all == 0 || self.probes == 0 && self.ready * 100 < wanted
    }
}

#[cfg(test)]
mod tests {
    use weft_model::Percent;

    use super::*;

    fn tally(endpoints: &[(Health, Standing)]) -> Tally {
        let mut tally = Tally::default();
        endpoints.iter().for_each(|(health, standing)| tally.add(*health, *standing));
        tally
    }

    #[test]
    fn another_takes_over_below_the_share() {
        use Health::{Draining, Healthy, Unhealthy};
        use Standing::{Avoided, Ejected, Probe, Ready};
        let is_too_low = |endpoints: &[(Health, Standing)], percent| {
            let healthy_min = Percent::new(percent).unwrap();
            let service = "shop/other".parse().unwrap();
            tally(endpoints).is_too_low(&Failover { service, port: None, healthy_min })
        };
        let (good, gone) = ((Healthy, Ready), (Unhealthy, Ready));
        assert!(!is_too_low(&[good, gone], 50), "a half is not less than a half");
        assert!(is_too_low(&[good, gone, gone], 50));
        assert!(!is_too_low(&[good, gone, gone], 1));
        assert!(is_too_low(&[gone, gone], 1));
        assert!(is_too_low(&[], 1), "there is nobody");
        assert!(is_too_low(&[(Draining, Ready)], 1));
        assert!(!is_too_low(&[good, (Draining, Ready), (Draining, Ready)], 50));
        // What this caller has found out itself counts as what it was told.
        assert!(is_too_low(&[good, (Healthy, Avoided), (Healthy, Ejected)], 50));
        // One of them is to be tried now.
        assert!(!is_too_low(&[(Healthy, Avoided), (Healthy, Probe)], 50));
        assert!(is_too_low(&[(Healthy, Avoided), (Unhealthy, Probe)], 50));
        assert!(!tally(&[gone, (Healthy, Ejected)]).can_serve());
        assert!(tally(&[gone, (Healthy, Probe)]).can_serve());
    }
}
