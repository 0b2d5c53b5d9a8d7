//! Which share of a rule's requests comes next, so that all backends have theirs.
//!
//! Shares that are drawn at random are right on average only: over ten thousand requests, that of a
//! twentieth is mostly missed by more than a percent of it. So each request of a rule takes the
//! next number of a sequence that is even over any stretch of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use weft_model::Route;
use weft_world::Entropy;

/// The golden ratio's fraction of 2^64: multiples of it spread over the whole as evenly as can be,
/// and so do every second, every third and so on.
///
/// Source: Knuth, The Art of Computer Programming, volume 3, section 6.4, theorem S.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// How many rules are kept in mind. What is forgotten begins anew, at random.
const RULES_MAX: usize = 4096;

/// Where each rule is in its sequence.
///
/// A route is known by where it lies in memory. One that comes to lie where another was goes on
/// with that one's sequence, which is as good.
#[derive(Debug, Default)]
pub(crate) struct Turns(RefCell<BTreeMap<(usize, usize), u64>>);

impl Turns {
    /// The next number of the rule `rule_index` of `route`, in `0.0..1.0`. The first one is drawn
    /// from `entropy`, or proxies that have just started would all call the same backend.
    pub(crate) fn next(&self, route: &Arc<Route>, rule_index: usize, entropy: &dyn Entropy) -> f64 {
        if route.rules.get(rule_index).is_none_or(|rule| rule.backends.len() < 2) {
            return 0.0;
        }
        let key = (Arc::as_ptr(route) as usize, rule_index);
        let mut turns = self.0.borrow_mut();
        if turns.len() >= RULES_MAX && !turns.contains_key(&key) {
            turns.clear();
        }
        let turn = turns.entry(key).or_insert_with(|| entropy.next());
        *turn = turn.wrapping_add(STEP);
        // As many bits as the number has.
        (*turn >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_decide::route::{Destination, destination};
    use weft_model::{Backend, ObjectName, RouteRule, Weight, WeightedBackend};

    use super::*;

    struct Drawn(u64);

    impl Entropy for Drawn {
        fn next(&self) -> u64 {
            self.0
        }
    }

    fn route(weights: &[u32]) -> Arc<Route> {
        let service: ObjectName = "shop/cart".parse().unwrap();
        let backends = weights.iter().zip(1..).map(|(weight, number)| WeightedBackend {
            backend: Backend::Service {
                name: service.clone(),
                port: weft_model::Port::new(number).unwrap(),
            },
            weight: Weight::new(*weight).unwrap(),
            filters: vec![],
        });
        let rule = RouteRule {
            name: None,
            matches: vec![],
            filters: vec![],
            backends: backends.collect(),
            timeouts: weft_model::Timeouts::default(),
            retry: None,
            faults: vec![],
        };
        Arc::new(Route {
            name: "http/shop/cart".parse().unwrap(),
            created: 0,
            parents: Default::default(),
            hostnames: Default::default(),
            rules: vec![rule],
        })
    }

    proptest! {
        /// Over the first 10,000 requests, and over any that follow.
        #[test]
        fn each_backend_gets_its_share_within_one_percent(
            weights in prop::collection::vec(0..=1000u32, 2..6),
            first: u64,
            before in 0..10_000usize,
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let (route, turns, drawn) = (route(&weights), Turns::default(), Drawn(first));
            let mut counts = vec![0u32; weights.len()];
            for request in 0..before + 10_000 {
                let draw = turns.next(&route, 0, &drawn);
                let Destination::Backend(picked) = destination(&route.rules[0], draw) else {
                    panic!("a backend has a weight");
                };
                let index = route.rules[0].backends.iter().position(|it| it == picked).unwrap();
                counts[index] += u32::from(request >= before);
            }
            for (count, weight) in counts.iter().zip(&weights) {
                let due = f64::from(*weight) / f64::from(total) * 10_000.0;
                // Of a small share one percent is less than a request.
                let missed = (f64::from(*count) - due).abs();
                prop_assert!(missed <= (due / 100.0).max(8.0), "{counts:?} for {weights:?}");
            }
        }
    }

    #[test]
    fn every_other_request_is_spread_as_evenly() {
        let (route, turns) = (route(&[1, 1]), Turns::default());
        for every in 2..8 {
            let taken = (0..1000 * every).filter_map(|number| {
                let draw = turns.next(&route, 0, &Drawn(7));
                (number % every == 0).then_some(draw < 0.5)
            });
            let first = taken.filter(|is_first| *is_first).count();
            assert!((490..=510).contains(&first), "every {every}: {first}");
        }
    }
}
