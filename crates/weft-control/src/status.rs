//! What became of the resources: which proxies hold them as they are now, and which do not.
//!
//! It is put together when somebody asks, from what each stream knows of its proxy.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_compile::{Condition, Status};
use weft_crd::{Finding, Severity};
use weft_identity::{PeerFacts, Serial};
use weft_model::{ContentHash, Health};
use weft_store::Lease;
use weft_wire::discovery::Receipt;
use weft_wire::{Object, ObjectKey as WireKey};
use weft_world::{Moment, UnixTime};

use crate::api::{
    ConditionStatus, Enforced, ObjectKey, ProxyStatus, RefusedObject, RefusingProxy,
    ResourceStatus, StatusResponse,
};
use crate::discovery::Discovery;
use crate::discovery::addresses::{Addresses, Owner};
use crate::discovery::leases::Instance;
use crate::discovery::state::{Proxy, State};

impl Discovery {
    /// What became of the resources, and the proxies that are connected.
    pub fn status(&self) -> StatusResponse {
        let now = self.clock().now();
        let facts: Vec<_> = self.state().proxies.values().map(|it| it.facts.clone()).collect();
        let expires = |facts: &PeerFacts| (facts.serial, self.ca().in_use_until(facts));
        let certificates = Certificates {
            expiries: facts.iter().map(expires).collect(),
            wall: self.clock().wall(),
        };
        let named = |it: Lease| (it.registration.name.clone(), Instance::of(&it));
        // Of those that cannot be read nothing is said.
        let instances = self.store().leases().ok();
        let instances = instances.map(|leases| leases.into_iter().map(named).collect());
        let mut response = of(&self.state(), now, &certificates, instances.as_ref());
        let addresses = self.addresses();
        for resource in &mut response.resources {
            resource.addresses = addresses_of(&addresses, &resource.key);
        }
        response
    }
}

/// When the certificates end that the proxies use by now, by those that opened their streams.
struct Certificates {
    expiries: BTreeMap<Serial, UnixTime>,
    wall: UnixTime,
}

impl Certificates {
    /// How long the one of `proxy` is still valid.
    fn left(&self, proxy: &Proxy) -> Duration {
        let until = self.expiries.get(&proxy.facts.serial).unwrap_or(&proxy.facts.not_after);
        until.0.saturating_sub(self.wall.0)
    }
}

/// What is registered by which name.
type Instances = BTreeMap<String, Option<Instance>>;

fn of(
    state: &State,
    now: Moment,
    certificates: &Certificates,
    instances: Option<&Instances>,
) -> StatusResponse {
    let mut resources: Vec<ResourceStatus> = Vec::new();
    // Which resources show the enforcement of an object.
    let mut shown_by: BTreeMap<&WireKey, Vec<usize>> = BTreeMap::new();
    for status in state.compiler.statuses() {
        for object in &status.objects {
            shown_by.entry(object).or_default().push(resources.len());
        }
        let mut resource = resource(status);
        resource.health = health(state, status);
        resources.push(resource);
    }
    let mut proxies = Vec::new();
    for proxy in state.proxies.values() {
        let due = state.due(proxy);
        let book = Book::new(proxy.stream.receipts());
        // For each resource that the proxy is told of, whether it has all of it.
        let mut told: BTreeMap<usize, bool> = BTreeMap::new();
        for (key, version) in &due {
            let is_held = book.holds(key, *version);
            for index in shown_by.get(key).into_iter().flatten() {
                *told.entry(*index).or_insert(true) &= is_held;
                let Some(enforced) = &mut resources[*index].enforced else { continue };
                if !is_held && let Some(made) = state.made.get(key) {
                    let behind = millis(now.since(*made));
                    enforced.behind_ms = enforced.behind_ms.max(Some(behind));
                }
                if let Some(reason) = book.refuses(key, *version) {
                    let (proxy, reason) = (title(proxy), format!("{key}: {reason}"));
                    enforced.refused.push(RefusingProxy { proxy, reason });
                }
            }
        }
        for (index, is_held) in told {
            if let Some(enforced) = &mut resources[index].enforced {
                enforced.of += 1;
                enforced.by += usize::from(is_held);
            }
        }
        let left = certificates.left(proxy);
        let unregistered = instances.and_then(|instances| unregistered(proxy, instances));
        proxies.push(ProxyStatus { unregistered, ..described(proxy, &due, &book, now, left) });
    }
    for (key, reason) in &state.unreadable {
        let key = crate::resources::object_key(key);
        let condition = condition("Accepted", false, "Unreadable", None);
        match resources.iter_mut().find(|resource| resource.key == key) {
            // What it said before is in force, and this is not.
            Some(resource) => {
                resource.conditions = vec![condition];
                resource.findings.push(finding(reason));
            }
            None => resources.push(ResourceStatus {
                key,
                conditions: vec![condition],
                findings: vec![finding(reason)],
                addresses: Vec::new(),
                health: None,
                enforced: None,
            }),
        }
    }
    resources.sort_by(|a, b| a.key.cmp(&b.key));
    proxies.sort_by(|a, b| (&a.workload, &a.identity).cmp(&(&b.workload, &b.identity)));
    StatusResponse { proxies, resources }
}

/// What one proxy holds and refuses.
#[derive(Default)]
struct Book {
    held: BTreeMap<WireKey, ContentHash>,
    refused: BTreeMap<WireKey, (ContentHash, String)>,
}

impl Book {
    fn new(receipts: impl Iterator<Item = Receipt>) -> Book {
        let mut book = Book::default();
        for Receipt { key, version, refused } in receipts {
            match refused {
                None => drop(book.held.insert(key, version)),
                Some(reason) => drop(book.refused.insert(key, (version, reason))),
            }
        }
        book
    }

    fn holds(&self, key: &WireKey, version: ContentHash) -> bool {
        self.held.get(key) == Some(&version)
    }

    fn refuses(&self, key: &WireKey, version: ContentHash) -> Option<&str> {
        let (refused, reason) = self.refused.get(key)?;
        (*refused == version).then_some(reason.as_str())
    }
}

/// Why the workload of `proxy` is not registered by it, if it says that it is of an instance.
fn unregistered(proxy: &Proxy, instances: &Instances) -> Option<String> {
    let (own, generation) = (proxy.own.as_ref()?, proxy.generation?);
    let found = instances.get(&own.to_string());
    match found {
        None => Some("its workload is not registered".to_owned()),
        Some(Some(found)) if found.generation != generation => Some(format!(
            "another instance has its name: generation {} is registered, and this is {generation}",
            found.generation
        )),
        Some(_) => None,
    }
}

fn described(
    proxy: &Proxy,
    due: &BTreeMap<WireKey, ContentHash>,
    book: &Book,
    now: Moment,
    left: Duration,
) -> ProxyStatus {
    let in_force = due.iter().filter(|(key, version)| book.holds(key, **version));
    let refused = due.iter().filter_map(|(key, version)| {
        let reason = book.refuses(key, *version)?.to_owned();
        Some(RefusedObject { object: key.to_string(), reason })
    });
    ProxyStatus {
        workload: proxy.own.as_ref().map(ToString::to_string).unwrap_or_default(),
        identity: proxy.facts.identity.to_string(),
        version: proxy.version.clone(),
        certificate_left_ms: millis(left),
        connected_ms: millis(now.since(proxy.connected)),
        configuration_age_ms: proxy.confirmed.map(|confirmed| millis(now.since(confirmed))),
        objects: book.held.len(),
        pending: due.len() - in_force.count(),
        refused: refused.collect(),
        unregistered: None,
    }
}

fn title(proxy: &Proxy) -> String {
    match &proxy.own {
        Some(own) => own.to_string(),
        None => proxy.facts.identity.to_string(),
    }
}

fn resource(status: &Status) -> ResourceStatus {
    let Status { key, conditions, findings, objects } = status;
    let weft_crd::Key { kind, namespace, name } = key.clone();
    let described = |it: &Condition| condition(it.kind.as_str(), it.holds, it.reason, it.parent);
    ResourceStatus {
        key: ObjectKey { kind: kind.name().to_owned(), namespace, name },
        conditions: conditions.iter().map(described).collect(),
        findings: findings.clone(),
        addresses: Vec::new(),
        health: None,
        enforced: (!objects.is_empty()).then(Enforced::default),
    }
}

/// How the workload fares that `status` is of, if it is one's.
fn health(state: &State, status: &Status) -> Option<String> {
    let workload = status.objects.iter().find(|key| matches!(key, WireKey::Workload(_)))?;
    let Object::Workload(workload) = state.world.get(workload)?.object() else { return None };
    let health = match workload.health {
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
        Health::Draining => "draining",
    };
    Some(health.to_owned())
}

fn condition(kind: &str, holds: bool, reason: &str, parent: Option<usize>) -> ConditionStatus {
    ConditionStatus { kind: kind.to_owned(), holds, reason: reason.to_owned(), parent }
}

fn finding(message: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        path: String::new(),
        message: message.to_owned(),
        help: None,
        position: None,
        object: None,
    }
}

fn addresses_of(addresses: &Addresses, key: &ObjectKey) -> Vec<std::net::IpAddr> {
    let Ok(name) = weft_model::ObjectName::new(&key.namespace, &key.name) else { return vec![] };
    let owner = match weft_crd::Kind::from_word(&key.kind) {
        Some(weft_crd::Kind::Service) => Owner::Service(name),
        Some(weft_crd::Kind::Workload) => Owner::Workload(name),
        _ => return vec![],
    };
    addresses.of(&owner).map(Vec::from).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
