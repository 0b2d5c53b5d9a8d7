//! Registrations that must be kept alive, and what becomes of those that are not.
//!
//! A registration lives while the stream of its workload's proxy does. What it was last seen alive
//! at is kept in memory only, and starts anew with the control plane: leases stand still while it
//! is away.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_compile::Change;
use weft_model::{Health, ObjectName};
use weft_store::{EXPIRED_AFTER, Item, Lease, LeaseState};
use weft_world::Moment;

use super::state::Live;

/// How long a workload counts as healthy without its proxy's stream.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// What is kept of a registration beside the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instance {
    /// Which of the instances that had this name it is.
    pub(crate) generation: u64,
    /// Whether it is about to end.
    pub(crate) draining: bool,
    /// Whether a check of its application fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unhealthy: bool,
}

impl Instance {
    /// The instance `generation`, which has just begun.
    pub(crate) fn new(generation: u64) -> Instance {
        Instance { generation, draining: false, unhealthy: false }
    }

    /// How it fares as long as it is there.
    fn health(self) -> Health {
        match self {
            Instance { draining: true, .. } => Health::Draining,
            Instance { unhealthy: true, .. } => Health::Unhealthy,
            Instance { .. } => Health::Healthy,
        }
    }

    /// The registration as the store takes it.
    pub(crate) fn item(self, workload: &ObjectName) -> Item {
        let bytes = serde_json::to_vec(&self).expect("plain fields");
        Item::register(workload.to_string(), LEASE, bytes)
    }

    /// What is kept of `lease`; nothing if another version wrote it.
    pub(crate) fn of(lease: &Lease) -> Option<Instance> {
        serde_json::from_slice(&lease.registration.text).ok()
    }
}

/// How the registered workloads fare, as the compiler was told last.
#[derive(Debug, Default)]
pub(crate) struct Fares {
    told: BTreeMap<ObjectName, Health>,
}

/// What a look at all leases leads to.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// Workloads that fare otherwise than before.
    pub(crate) changes: Vec<Change>,
    /// Registrations that are over.
    pub(crate) expired: Vec<ObjectName>,
    /// When to look again, at the latest.
    pub(crate) next: Option<Moment>,
}

impl Fares {
    /// Looks at all `leases` as they stand at `now`; `live` are the workloads whose proxies are
    /// connected.
    pub(crate) fn sweep(&mut self, leases: &[Lease], live: &Live, now: Moment) -> Sweep {
        let mut sweep = Sweep::default();
        let mut found = BTreeMap::new();
        for lease in leases {
            let Ok(name) = lease.registration.name.parse::<ObjectName>() else { continue };
            let instance = Instance::of(lease);
            let alive = instance.map_or(Health::Healthy, Instance::health);
            if live.has(&name, instance.map(|instance| instance.generation)) {
                found.insert(name, alive);
                continue;
            }
            let ttl = lease.registration.ttl;
            let next = match lease.state(now) {
                LeaseState::Healthy => {
                    found.insert(name, alive);
                    lease.renewed + ttl
                }
                LeaseState::Unhealthy => {
                    found.insert(name, Health::Unhealthy);
                    lease.renewed + EXPIRED_AFTER.max(ttl)
                }
                LeaseState::Expired => {
                    found.insert(name.clone(), Health::Unhealthy);
                    sweep.expired.push(name);
                    continue;
                }
            };
            sweep.next = Some(sweep.next.map_or(next, |before| before.min(next)));
        }
        for name in self.told.keys().filter(|name| !found.contains_key(*name)) {
            sweep.changes.push(Change::Health(name.clone(), None));
        }
        for (name, health) in &found {
            if self.told.get(name) != Some(health) {
                sweep.changes.push(Change::Health(name.clone(), Some(*health)));
            }
        }
        self.told = found;
        sweep
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weft_store::{Registration, Version};
    use weft_world::UnixTime;

    use super::*;

    const START: Moment = Moment::from_nanos(7);

    fn lease(name: &str, instance: Instance) -> Lease {
        let text = serde_json::to_vec(&instance).unwrap();
        let registration = Registration {
            name: name.to_owned(),
            version: Version::FIRST,
            created: UnixTime(Duration::ZERO),
            ttl: LEASE,
            text: Arc::from(text),
        };
        Lease { registration, renewed: START }
    }

    fn told(changes: &[Change]) -> Vec<(String, Option<Health>)> {
        let told = changes.iter().map(|change| match change {
            Change::Health(name, health) => (name.to_string(), *health),
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    #[test]
    fn a_workload_without_a_stream_turns_unhealthy_and_then_expires() {
        let (mut fares, leases) = (Fares::default(), [lease("shop/cart-1", Instance::new(1))]);
        let live = |generation| Live([("shop/cart-1".parse().unwrap(), generation)].into());
        let name = || "shop/cart-1".to_owned();
        let at = |seconds| START + Duration::from_secs(seconds);
        let first = fares.sweep(&leases, &live(Some(1)), at(1_000));
        assert_eq!(told(&first.changes), [(name(), Some(Health::Healthy))]);
        // While it lives, there is nothing to look at.
        assert_eq!(first.next, None);
        // Nor where it does not say which it is.
        assert_eq!(fares.sweep(&leases, &live(None), at(1_000)).next, None);
        // Another instance of the name does not keep it alive.
        let none = live(Some(2));
        let silent = fares.sweep(&leases, &none, at(29));
        assert!(silent.changes.is_empty() && silent.next == Some(at(30)));
        let unhealthy = fares.sweep(&leases, &none, at(30));
        assert_eq!(told(&unhealthy.changes), [(name(), Some(Health::Unhealthy))]);
        assert_eq!(unhealthy.next, Some(at(600)));
        let expired = fares.sweep(&leases, &none, at(600));
        assert_eq!(expired.expired, ["shop/cart-1".parse().unwrap()]);
        let gone = fares.sweep(&[], &none, at(601));
        assert_eq!(told(&gone.changes), [(name(), None)]);
    }

    #[test]
    fn one_whose_check_fails_is_unhealthy_while_it_lives() {
        let unhealthy = Instance { unhealthy: true, ..Instance::new(1) };
        let live = Live([("shop/cart-1".parse().unwrap(), Some(1))].into());
        let mut fares = Fares::default();
        let mut told = |instance| {
            let sweep = fares.sweep(&[lease("shop/cart-1", instance)], &live, START);
            told(&sweep.changes).pop().map(|(_, health)| health)
        };
        assert_eq!(told(unhealthy), Some(Some(Health::Unhealthy)));
        assert_eq!(told(Instance::new(1)), Some(Some(Health::Healthy)));
        // An older control plane reads what a newer one has written of those that are healthy.
        let written = String::from_utf8(serde_json::to_vec(&Instance::new(7)).unwrap()).unwrap();
        assert_eq!(written, r#"{"generation":7,"draining":false}"#);
    }

    #[test]
    fn a_draining_workload_is_told_as_such_until_it_is_silent() {
        let draining = Instance { draining: true, unhealthy: true, ..Instance::new(1) };
        let (mut fares, leases) = (Fares::default(), [lease("shop/cart-1", draining)]);
        let none = Live::default();
        let first = fares.sweep(&leases, &none, START);
        assert_eq!(told(&first.changes), [("shop/cart-1".to_owned(), Some(Health::Draining))]);
        let later = fares.sweep(&leases, &none, START + LEASE);
        assert_eq!(told(&later.changes), [("shop/cart-1".to_owned(), Some(Health::Unhealthy))]);
    }
}
