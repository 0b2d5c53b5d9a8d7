//! What became of the resources: which proxies hold them as they are now, and which do not.
//!
//! It is put together when somebody asks, from what each stream knows of its proxy.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_compile::{Condition, Status};
use weft_crd::{Finding, Severity};
use weft_identity::{PeerFacts, Serial};
use weft_model::{ContentHash, Health, ObjectName};
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
        for (index, told) in all_told(state, &shown_by, &due, &book) {
            let Some(enforced) = &mut resources[index].enforced else { continue };
            let behind = told.since.map(|since| millis(now.since(since)));
            enforced.behind_ms = enforced.behind_ms.max(behind);
            enforced.of += 1;
            let proxy = title(proxy);
            match told.standing {
                Standing::Held => enforced.by += 1,
                Standing::Pending => enforced.pending.push(proxy),
                Standing::Refused(reason) => enforced.refused.push(RefusingProxy { proxy, reason }),
            }
        }
        let left = certificates.left(proxy);
        let unregistered = instances.and_then(|instances| unregistered(proxy, instances));
        proxies.push(ProxyStatus { unregistered, ..described(proxy, &due, &book, now, left) });
    }
    for own in instances.map(|it| away(state, it)).unwrap_or_default() {
        let due = state.due_itself(&own);
        let indices = due.keys().filter_map(|key| shown_by.get(key)).flatten();
        for index in indices.collect::<BTreeSet<_>>() {
            if let Some(enforced) = &mut resources[*index].enforced {
                enforced.away.push(own.to_string());
            }
        }
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

/// How a proxy stands with what it is told of a resource.
struct Told {
    standing: Standing,
    /// Since when it is behind, if it is known.
    since: Option<Moment>,
}

/// Whether what is told is held, from better to worse.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Held,
    Pending,
    /// With what is refused, and why.
    Refused(String),
}

/// How a proxy that is to hold what is `due` stands with each resource that has a part in it or had
/// one. `shown_by` says which resources show the enforcement of an object.
fn all_told(
    state: &State,
    shown_by: &BTreeMap<&WireKey, Vec<usize>>,
    due: &BTreeMap<WireKey, ContentHash>,
    book: &Book,
) -> BTreeMap<usize, Told> {
    let shown = |key: &WireKey| shown_by.get(key).into_iter().flatten().copied();
    // What it still holds although it is not for it any more.
    let left = book.held.keys().filter(|key| !due.contains_key(key)).flat_map(shown);
    let told = |index| (index, Told { standing: Standing::Pending, since: None });
    let mut all: BTreeMap<usize, Told> = left.map(told).collect();
    for (key, version) in due {
        // A policy is in force where that has arrived too by which it guards something.
        let of_guards = match state.world.get(key).map(|object| object.object()) {
            Some(object @ Object::Guards(_)) => object.references(),
            _ => vec![],
        };
        for index in shown(key).chain(of_guards.iter().flat_map(shown)) {
            let standing = book.standing(key, *version);
            let since = state.made.get(key).copied().filter(|_| standing != Standing::Held);
            match all.entry(index) {
                Entry::Vacant(entry) => drop(entry.insert(Told { standing, since })),
                Entry::Occupied(mut entry) => {
                    let told = entry.get_mut();
                    told.since = [told.since, since].into_iter().flatten().min();
                    // The first reason is that of the others.
                    if !matches!(told.standing, Standing::Refused(_)) && standing > told.standing {
                        told.standing = standing;
                    }
                }
            }
        }
    }
    all
}

/// The workloads that are registered, and whose proxies are not connected.
fn away(state: &State, instances: &Instances) -> Vec<ObjectName> {
    let live = state.live();
    let named = instances.iter().filter_map(|(name, it)| Some((name.parse().ok()?, it)));
    let is_away = |(name, it): &(ObjectName, &Option<Instance>)| {
        !live.has(name, it.map(|instance| instance.generation))
    };
    named.filter(is_away).map(|(name, _)| name).collect()
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

    fn standing(&self, key: &WireKey, version: ContentHash) -> Standing {
        match self.refuses(key, version) {
            Some(reason) => Standing::Refused(format!("{key}: {reason}")),
            None if self.holds(key, version) => Standing::Held,
            None => Standing::Pending,
        }
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
    let Ok(name) = ObjectName::new(&key.namespace, &key.name) else { return vec![] };
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weft_model::{GuardScope, Guards, PolicyKind, PolicyName};

    use super::*;

    #[test]
    fn a_policy_holds_where_its_guards_do_and_what_is_to_go_is_not_there_yet() {
        let key = |text: &str| -> WireKey { text.parse().unwrap() };
        let policy = key("policy/authorization/shop/p");
        let guarding = key("guards/service/shop/cart");
        let route = key("route/http/shop/r");
        let version = ContentHash([7; 32]);
        let name =
            PolicyName { kind: PolicyKind::Authorization, object: "shop/p".parse().unwrap() };
        let guards = Guards {
            scope: GuardScope::Service("shop/cart".parse().unwrap()),
            policies: BTreeMap::from([(name, version)]),
            ports: BTreeMap::new(),
        };
        let mut state = State::new(1, weft_crd::Platform::Standalone);
        state.put(Object::Guards(Arc::new(guards)), Moment::from_nanos(1)).unwrap();
        let of_guards = state.world.get(&guarding).unwrap().version();
        let due = BTreeMap::from([(policy.clone(), version), (guarding.clone(), of_guards)]);
        let shown_by = BTreeMap::from([(&policy, vec![0]), (&route, vec![1])]);
        let mut book = Book::default();
        book.held.insert(policy.clone(), version);
        let standing = |book: &Book| {
            let all = all_told(&state, &shown_by, &due, book).into_iter();
            all.map(|(index, told)| (index, told.standing)).collect::<Vec<_>>()
        };
        assert!(standing(&book) == [(0, Standing::Pending)]);
        book.refused.insert(guarding.clone(), (of_guards, "no".to_owned()));
        let why = "guards/service/shop/cart: no".to_owned();
        assert!(standing(&book) == [(0, Standing::Refused(why))]);
        book.refused.clear();
        book.held.insert(guarding, of_guards);
        assert!(standing(&book) == [(0, Standing::Held)]);
        // It was for another Service before.
        book.held.insert(route.clone(), version);
        assert!(standing(&book) == [(0, Standing::Held), (1, Standing::Pending)]);
    }
}
