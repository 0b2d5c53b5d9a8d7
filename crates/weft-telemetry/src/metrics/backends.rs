//! What is under way towards each backend, and what may be: numbers that its worker keeps anyhow,
//! read by scrapes where they are.
//!
//! Nothing is asked for to count: a worker tells of a backend once, when it first uses it, and its
//! series are shown for as long as the backend is known.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::metrics::family::{self, Family};
use crate::metrics::labels::{Label, Labels, OTHER};
use crate::metrics::registry::{Scraped, Value};

/// What a client proxy has under way towards a backend is limited by this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Requests being answered.
    Requests,
    /// Requests that wait for a connection.
    Pending,
    /// Connections.
    Connections,
}

/// Where an endpoint is, as seen from who calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    /// In the same zone.
    Zone,
    /// In the same region, and not known to be in the same zone.
    Region,
    /// In another region.
    Elsewhere,
    /// Nobody knows: either place is not known.
    Unknown,
}

impl Limited {
    const ALL: [Limited; 3] = [Limited::Requests, Limited::Pending, Limited::Connections];

    /// As the field of the limit is called.
    const fn name(self) -> &'static str {
        match self {
            Limited::Requests => "requests",
            Limited::Pending => "pending",
            Limited::Connections => "connections",
        }
    }
}

impl Locality {
    const ALL: [Locality; 4] =
        [Locality::Zone, Locality::Region, Locality::Elsewhere, Locality::Unknown];

    const fn name(self) -> &'static str {
        match self {
            Locality::Zone => "zone",
            Locality::Region => "region",
            Locality::Elsewhere => "elsewhere",
            Locality::Unknown => "unknown",
        }
    }
}

/// What one worker has under way towards one backend. That worker alone changes it.
#[derive(Debug, Default)]
pub struct BackendUse {
    in_use: [AtomicU32; Limited::ALL.len()],
    /// How much there may be; 0 where nothing is limited, which is not shown.
    limits: [AtomicU32; Limited::ALL.len()],
    attempts: [AtomicU64; Locality::ALL.len()],
    opened: AtomicU64,
}

impl BackendUse {
    /// How many there are.
    pub fn in_use(&self, of: Limited) -> u32 {
        self.in_use[of as usize].load(Ordering::Relaxed)
    }

    /// There is one more.
    pub fn take(&self, of: Limited) {
        // A load and a store, here and below: there is one writer.
        self.in_use[of as usize].store(self.in_use(of) + 1, Ordering::Relaxed);
    }

    /// There is one less of what was taken.
    pub fn give(&self, of: Limited) {
        self.in_use[of as usize].store(self.in_use(of).saturating_sub(1), Ordering::Relaxed);
    }

    /// From now on there may be this many.
    pub fn set_limit(&self, of: Limited, most: u32) {
        self.limits[of as usize].store(most, Ordering::Relaxed);
    }

    /// An attempt is made at an endpoint that is there.
    pub fn attempted(&self, at: Locality) {
        add_one(&self.attempts[at as usize]);
    }

    /// A connection to an endpoint was opened.
    pub fn opened(&self) {
        add_one(&self.opened);
    }
}

fn add_one(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// The backends of which workers have told, as long as those know them.
#[derive(Default)]
pub(crate) struct Backends {
    known: Vec<Told>,
    /// At this many it is time to look which are gone: scrapes do it, if there are any.
    full: usize,
    capped: [u64; SHOWN.len()],
}

struct Told {
    name: Name,
    used: Weak<BackendUse>,
    /// In which metrics it was counted under `other`.
    is_capped: [bool; SHOWN.len()],
}

/// A backend's name and port, as they are in records.
type Name = (Box<str>, Option<u16>);

/// The metrics that are shown of backends.
const SHOWN: [&Family; 4] = [
    &family::BACKEND_IN_USE,
    &family::BACKEND_LIMIT,
    &family::BACKEND_ATTEMPTS,
    &family::BACKEND_CONNECTIONS,
];

/// Series, and what they add up to.
type Sums = BTreeMap<Labels, u64>;

impl Backends {
    /// A worker has begun to use a backend.
    pub(crate) fn told(&mut self, service: &str, port: Option<u16>, used: &Arc<BackendUse>) {
        if self.known.len() >= self.full {
            self.forget();
            self.full = 2 * self.known.len().max(32);
        }
        let (name, used) = ((service.into(), port), Arc::downgrade(used));
        self.known.push(Told { name, used, is_capped: Default::default() });
    }

    fn forget(&mut self) {
        self.known.retain(|told| told.used.strong_count() > 0);
    }

    /// Adds what there is to show to `scraped`, with at most `series_max` series of each metric
    /// beside `other`.
    pub(crate) fn show(&mut self, series_max: usize, scraped: &mut Vec<Scraped>) {
        self.forget();
        let mut sums: [Sums; SHOWN.len()] = Default::default();
        for told in &mut self.known {
            // It may have gone this moment.
            let Some(used) = told.used.upgrade() else { continue };
            let Told { name, is_capped, .. } = told;
            values(&used, |shown, last, value| {
                let labels = labels(name, last);
                let sums = &mut sums[shown];
                let is_other = sums.len() >= series_max && !sums.contains_key(&labels);
                if is_other && !std::mem::replace(&mut is_capped[shown], true) {
                    self.capped[shown] += 1;
                }
                let other = || labels.iter().map(|_| Label::Borrowed(OTHER)).collect();
                *sums.entry(if is_other { other() } else { labels }).or_default() += value;
            });
        }
        for (family, sums) in SHOWN.into_iter().zip(sums) {
            let series = sums.into_iter().map(|(labels, sum)| (labels, Value::Integer(sum)));
            scraped.push(Scraped { family, series: series.collect() });
        }
    }

    /// How many backends were counted under `other`, by metric.
    pub(crate) fn capped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SHOWN.iter().map(|family| family.name).zip(self.capped)
    }
}

/// Gives `put` the place in [`SHOWN`], the last label and the value of all that `used` says.
fn values(used: &BackendUse, mut put: impl FnMut(usize, Option<&'static str>, u64)) {
    for limited in Limited::ALL {
        let most = used.limits[limited as usize].load(Ordering::Relaxed);
        if most > 0 {
            put(0, Some(limited.name()), used.in_use(limited).into());
            put(1, Some(limited.name()), most.into());
        }
    }
    let attempts = used.attempts.each_ref().map(|attempts| attempts.load(Ordering::Relaxed));
    // All from the first attempt on: a rate needs to have seen the zero.
    if attempts != [0; Locality::ALL.len()] {
        for (at, attempts) in Locality::ALL.into_iter().zip(attempts) {
            put(2, Some(at.name()), attempts);
        }
    }
    put(3, None, used.opened.load(Ordering::Relaxed));
}

fn labels((service, port): &Name, last: Option<&'static str>) -> Labels {
    let port = port.map_or_else(Label::default, |port| port.to_string().into());
    let first = [Label::Owned(service.to_string()), port];
    first.into_iter().chain(last.map(Label::Borrowed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is shown, as text.
    fn shown(backends: &mut Backends, series_max: usize) -> Vec<String> {
        let mut scraped = Vec::new();
        backends.show(series_max, &mut scraped);
        let series = scraped.iter().flat_map(|Scraped { family, series }| {
            series.iter().map(|(labels, value)| {
                assert_eq!(labels.len(), family.labels.len());
                let Value::Integer(value) = value else { panic!("{} is no count", family.name) };
                format!("{} {} {value}", &family.name["weft_backend_".len()..], labels.join(" "))
            })
        });
        series.collect()
    }

    #[test]
    fn what_is_under_way_is_shown_beside_its_limit_while_it_is_known() {
        let (mut backends, used) = (Backends::default(), Arc::new(BackendUse::default()));
        backends.told("shop/cart", Some(80), &used);
        // Connections to the own application are limited, requests to it are not.
        assert_eq!(shown(&mut backends, 10), ["connections_total shop/cart 80 0"]);
        used.set_limit(Limited::Requests, 1024);
        used.take(Limited::Requests);
        used.take(Limited::Requests);
        used.give(Limited::Requests);
        for at in [Locality::Zone, Locality::Zone, Locality::Elsewhere] {
            used.attempted(at);
        }
        used.opened();
        let expected = [
            "in_use shop/cart 80 requests 1",
            "limit shop/cart 80 requests 1024",
            "attempts_total shop/cart 80 elsewhere 1",
            "attempts_total shop/cart 80 region 0",
            "attempts_total shop/cart 80 unknown 0",
            "attempts_total shop/cart 80 zone 2",
            "connections_total shop/cart 80 1",
        ];
        assert_eq!(shown(&mut backends, 10), expected);
        drop(used);
        assert_eq!(shown(&mut backends, 10), [""; 0]);
    }

    #[test]
    fn what_several_workers_have_under_way_is_added_up() {
        let mut backends = Backends::default();
        let workers: [Arc<BackendUse>; 2] = Default::default();
        for used in &workers {
            backends.told("cart", None, used);
            used.set_limit(Limited::Pending, 5);
            used.take(Limited::Pending);
        }
        assert_eq!(
            shown(&mut backends, 10),
            ["in_use cart  pending 2", "limit cart  pending 10", "connections_total cart  0"]
        );
    }

    #[test]
    fn there_is_a_limit_and_what_is_gone_leaves_its_place() {
        let mut backends = Backends::default();
        let all: Vec<_> = (0..5).map(|_| Arc::new(BackendUse::default())).collect();
        for (number, used) in all.iter().enumerate() {
            backends.told(&format!("cart-{number}"), None, used);
            used.opened();
        }
        for _ in 0..2 {
            let expected = ["cart-0  1", "cart-1  1", "other other 3"];
            assert_eq!(
                shown(&mut backends, 2),
                expected.map(|series| format!("connections_total {series}"))
            );
            // A backend is told of once, however often it is scraped.
            let capped = ("weft_backend_connections_total", 3);
            assert_eq!(backends.capped().last(), Some(capped));
        }
        drop(all);
        for _ in 0..1_000 {
            backends.told("cart", None, &Arc::default());
        }
        assert!(backends.known.len() <= 64, "{}", backends.known.len());
    }
}
