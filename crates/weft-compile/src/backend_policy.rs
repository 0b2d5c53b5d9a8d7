//! Backend policies: how clients treat a Service, merged field by field.
//!
//! What is for a port of the Service beats what is for all of it, that what is for its namespace,
//! and that what is for the mesh. Of two for the same, the older one wins, field by field, and the
//! other is told.

mod effect;
mod futile;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use weft_crd as crd;
use weft_model::{
    AgainstPeers, BackendTimeouts, Ejection, Limits, LocalityPreference, ObjectName,
    PanicThreshold, Percent, Prefer, Ratio, RetryBudget, TimeBound, TrafficPolicy,
};
use weft_wire::ObjectKey;

use self::effect::{Beating, Effect, Found};
use self::futile::Futile;
use crate::balance::to_balance;
use crate::compiler::Output;
use crate::failover;
use crate::findings::{Findings, listed};
use crate::health_check;
use crate::mesh;
use crate::reader::{Reader, policy};
use crate::service;
use crate::session;
use crate::status::Condition;
use crate::subset::{self, to_subset};

policy!(BackendPolicy);

/// How clients treat the Service `name`, or its port of that name.
pub(crate) fn merged(reader: &Reader<'_>, name: &ObjectName, port: Option<&str>) -> TrafficPolicy {
    let mut traffic = TrafficPolicy::default();
    let layers = layers(reader, name, port);
    layers.iter().for_each(|policy| overlay(&mut traffic, policy));
    let failover = layers.iter().rev().find_map(|policy| policy.failover.as_ref());
    traffic.failover =
        failover.and_then(|written| failover::of_service(reader, name, written).ok());
    traffic.subset = subset(reader, name, port).and_then(to_subset);
    let session = layers.iter().rev().find_map(|policy| policy.session_persistence.as_ref());
    traffic.session = session.and_then(|written| session::of_service(name, written));
    traffic
}

/// Whether a policy is for the port of this name alone.
pub(crate) fn is_for_port(reader: &Reader<'_>, name: &ObjectName, port: &str) -> bool {
    !for_port(reader, name, port).is_empty()
}

fn for_port<'s>(reader: &Reader<'s>, name: &ObjectName, port: &str) -> Vec<&'s crd::BackendPolicy> {
    let target = crd::Target::ServicePort(name.name().to_owned(), port.to_owned());
    reader.policies_for(name.namespace(), target)
}

/// Whether a policy is for the port of this name of the ExternalService `name` alone.
pub(crate) fn is_for_external_port(reader: &Reader<'_>, name: &ObjectName, port: &str) -> bool {
    !for_external_port(reader, name, port).is_empty()
}

fn for_external_port<'s>(
    reader: &Reader<'s>,
    name: &ObjectName,
    port: &str,
) -> Vec<&'s crd::BackendPolicy> {
    let target = crd::Target::ExternalPort(name.name().to_owned(), port.to_owned());
    reader.policies_for(name.namespace(), target)
}

/// The policies for the ExternalService `name`, or its port of that name, and no wider ones, each
/// before those that beat it.
fn layers_of_external<'s>(
    reader: &Reader<'s>,
    name: &ObjectName,
    port: Option<&str>,
) -> Vec<&'s crd::BackendPolicy> {
    let target = crd::Target::ExternalService(name.name().to_owned());
    let mut levels = vec![reader.policies_for(name.namespace(), target)];
    levels.extend(port.map(|port| for_external_port(reader, name, port)));
    in_order(levels)
}

/// How clients treat the ExternalService `name`, or its port of that name.
pub(crate) fn of_external(
    reader: &Reader<'_>,
    name: &ObjectName,
    port: Option<&str>,
) -> TrafficPolicy {
    let mut traffic = TrafficPolicy::default();
    let layers = layers_of_external(reader, name, port);
    layers.iter().for_each(|policy| overlay(&mut traffic, policy));
    let session = layers.iter().rev().find_map(|policy| policy.session_persistence.as_ref());
    traffic.session = session.and_then(|written| session::of_service(name, written));
    // Where its endpoints run is not known.
    traffic.locality = LocalityPreference::default();
    traffic
}

/// How it is found out whether the applications of the Service `name` serve, if it is.
pub(crate) fn health_check<'s>(
    reader: &Reader<'s>,
    name: &ObjectName,
) -> Option<&'s crd::HealthCheck> {
    let layers = layers(reader, name, None).into_iter().rev();
    layers.filter_map(|policy| policy.health_check.as_ref()).next()?.as_ref()
}

/// By which labels of their workloads requests choose among the endpoints of the Service `name`, or
/// of its port of that name.
pub(crate) fn subset<'s>(
    reader: &Reader<'s>,
    name: &ObjectName,
    port: Option<&str>,
) -> Option<&'s crd::Subset> {
    layers(reader, name, port).into_iter().rev().find_map(|policy| policy.subset.as_ref())
}

/// Which policy says each of the fields that one says for the Service `name`, or its port of that
/// name.
pub(crate) fn sources(
    reader: &Reader<'_>,
    name: &ObjectName,
    port: Option<&str>,
) -> BTreeMap<&'static str, crd::Key> {
    sources_in(layers(reader, name, port))
}

/// The same for the ExternalService `name`, of those that have an effect there.
pub(crate) fn sources_of_external(
    reader: &Reader<'_>,
    name: &ObjectName,
    port: Option<&str>,
) -> BTreeMap<&'static str, crd::Key> {
    let mut sources = sources_in(layers_of_external(reader, name, port));
    sources.retain(|field, _| !IN_THE_MESH.contains(field));
    sources
}

fn sources_in(layers: Vec<&crd::BackendPolicy>) -> BTreeMap<&'static str, crd::Key> {
    let mut sources = BTreeMap::new();
    for policy in layers {
        let crd::Metadata { namespace, name, .. } = &policy.metadata;
        let (namespace, name) = (namespace.clone(), name.clone());
        let key = crd::Key { kind: crd::Kind::BackendPolicy, namespace, name };
        sources.extend(fields(policy).into_iter().map(|field| (field, key.clone())));
    }
    sources
}

/// The policies for the Service `name`, or its port of that name, each before those that beat it.
fn layers<'s>(
    reader: &Reader<'s>,
    name: &ObjectName,
    port: Option<&str>,
) -> Vec<&'s crd::BackendPolicy> {
    let mut levels: Vec<Vec<&crd::BackendPolicy>> = Vec::new();
    if let Some(mesh) = mesh::in_force(reader) {
        let target = crd::Target::Mesh(mesh.metadata.name.clone());
        levels.push(reader.policies_for(&reader.options.mesh_namespace, target));
    }
    levels.push(reader.policies_for(name.namespace(), crd::Target::Namespace));
    let own = crd::Target::Service(name.name().to_owned());
    levels.push(reader.policies_for(name.namespace(), own));
    levels.extend(port.map(|port| for_port(reader, name, port)));
    in_order(levels)
}

/// The policies of `levels`, of which the later beat the earlier, each before those that beat it.
fn in_order(mut levels: Vec<Vec<&crd::BackendPolicy>>) -> Vec<&crd::BackendPolicy> {
    for level in &mut levels {
        // The oldest is laid on last, over the others.
        level.sort_by_key(|policy| std::cmp::Reverse(age(policy)));
    }
    levels.concat()
}

fn age(policy: &crd::BackendPolicy) -> (i64, &str) {
    (mesh::created(&policy.metadata), &policy.metadata.name)
}

/// Lays what `policy` says over `traffic`.
fn overlay(traffic: &mut TrafficPolicy, policy: &crd::BackendPolicy) {
    fn set<T, U>(field: &mut T, value: Option<U>, convert: impl FnOnce(U) -> Option<T>) {
        if let Some(value) = value.and_then(convert) {
            *field = value;
        }
    }
    let crd::BackendPolicy {
        metadata: _,
        targets: _,
        load_balancing,
        panic_threshold,
        // It is looked for once.
        subset: _,
        slow_start,
        locality: crd::LocalityPreference { prefer, spill_at_load_ratio },
        limits,
        ejection:
            crd::Ejection {
                consecutive_failures,
                base_time,
                ejected_max,
                failures_above_peers,
                latency_times_peers,
                interval,
                requests_min,
            },
        // It is not the callers that check.
        health_check: _,
        // What it leads to is looked for once.
        failover: _,
        // It is named after the Service.
        session_persistence: _,
        retry_budget: crd::RetryBudget { percent, per_second_min },
        timeouts: crd::BackendTimeouts { connect, idle, stream_idle },
    } = policy;
    let crd::Limits { requests, pending, connections, requests_per_endpoint, adaptive_tolerance } =
        limits;
    let TrafficPolicy {
        balance,
        panic_threshold: PanicThreshold(own_threshold),
        slow_start: own_slow_start,
        locality,
        limits,
        ejection,
        failover: _,
        subset: _,
        session: _,
        retry_budget,
        timeouts,
        faults: _,
    } = traffic;
    let to_percent = |percent: crd::Percent| Percent::new(percent.get());
    let to_bound = |duration| TimeBound::new(duration).ok();
    set(balance, load_balancing.as_ref(), to_balance);
    set(own_threshold, *panic_threshold, to_percent);
    set(own_slow_start, *slow_start, |window| Some(to_bound(window)));
    let LocalityPreference { prefer: own_prefer, spill_at_load_ratio: own_ratio } = locality;
    set(own_prefer, *prefer, |prefer| {
        Some(match prefer {
            crd::Prefer::Zone => Prefer::Zone,
            crd::Prefer::Region => Prefer::Region,
            crd::Prefer::None => Prefer::None,
        })
    });
    let to_ratio = |ratio: crd::Ratio| Ratio::from_thousandths(ratio.thousandths());
    set(own_ratio, *spill_at_load_ratio, to_ratio);
    let Limits {
        requests: own_requests,
        pending: own_pending,
        connections: own_connections,
        requests_per_endpoint: own_per_endpoint,
        adaptive_tolerance: own_tolerance,
    } = limits;
    set(own_requests, *requests, NonZeroU32::new);
    set(own_pending, *pending, NonZeroU32::new);
    set(own_connections, *connections, NonZeroU32::new);
    set(own_per_endpoint, *requests_per_endpoint, |most| Some(NonZeroU32::new(most)));
    set(own_tolerance, *adaptive_tolerance, |times| Some(times.and_then(to_ratio)));
    let Ejection {
        consecutive_failures: own_failures,
        base_time: own_base,
        ejected_max: own_max,
        peers: AgainstPeers { interval: own_interval, requests_min: own_least, failures, latency },
    } = ejection;
    set(own_failures, *consecutive_failures, NonZeroU32::new);
    set(own_base, *base_time, to_bound);
    set(own_max, *ejected_max, to_percent);
    set(own_interval, *interval, to_bound);
    set(own_least, *requests_min, NonZeroU32::new);
    set(failures, *failures_above_peers, to_percent);
    set(latency, *latency_times_peers, |times| Some(times.and_then(to_ratio)));
    let RetryBudget { percent: own_percent, per_second_min: own_min } = retry_budget;
    set(own_percent, *percent, to_percent);
    set(own_min, *per_second_min, Some);
    let BackendTimeouts { connect: own_connect, idle: own_idle, stream_idle: own_stream } =
        timeouts;
    set(own_connect, *connect, to_bound);
    set(own_idle, *idle, to_bound);
    set(own_stream, *stream_idle, to_bound);
}

/// The paths of the fields that `policy` sets.
fn fields(policy: &crd::BackendPolicy) -> BTreeSet<&'static str> {
    let crd::BackendPolicy {
        metadata: _,
        targets: _,
        load_balancing,
        panic_threshold,
        subset,
        slow_start,
        locality: crd::LocalityPreference { prefer, spill_at_load_ratio },
        limits,
        ejection:
            crd::Ejection {
                consecutive_failures,
                base_time,
                ejected_max,
                failures_above_peers,
                latency_times_peers,
                interval,
                requests_min,
            },
        health_check,
        failover,
        session_persistence,
        retry_budget: crd::RetryBudget { percent, per_second_min },
        timeouts: crd::BackendTimeouts { connect, idle, stream_idle },
    } = policy;
    let crd::Limits { requests, pending, connections, requests_per_endpoint, adaptive_tolerance } =
        limits;
    let all = [
        ("spec.loadBalancing.algorithm", load_balancing.is_some()),
        ("spec.loadBalancing.panicThresholdPercent", panic_threshold.is_some()),
        ("spec.loadBalancing.subset", subset.is_some()),
        ("spec.slowStart.window", slow_start.is_some()),
        ("spec.locality.prefer", prefer.is_some()),
        ("spec.locality.spillAtLoadRatio", spill_at_load_ratio.is_some()),
        ("spec.limits.requests", requests.is_some()),
        ("spec.limits.pending", pending.is_some()),
        ("spec.limits.connections", connections.is_some()),
        ("spec.limits.requestsPerEndpoint", requests_per_endpoint.is_some()),
        ("spec.limits.adaptiveTolerance", adaptive_tolerance.is_some()),
        ("spec.ejection.consecutiveFailures", consecutive_failures.is_some()),
        ("spec.ejection.baseTime", base_time.is_some()),
        ("spec.ejection.maxEjectedPercent", ejected_max.is_some()),
        ("spec.ejection.failuresAbovePeersPercent", failures_above_peers.is_some()),
        ("spec.ejection.latencyTimesPeers", latency_times_peers.is_some()),
        ("spec.ejection.interval", interval.is_some()),
        ("spec.ejection.minRequests", requests_min.is_some()),
        ("spec.healthCheck", health_check.is_some()),
        ("spec.failover", failover.is_some()),
        ("spec.sessionPersistence", session_persistence.is_some()),
        ("spec.retryBudget.percent", percent.is_some()),
        ("spec.retryBudget.minPerSecond", per_second_min.is_some()),
        ("spec.timeouts.connect", connect.is_some()),
        ("spec.timeouts.idle", idle.is_some()),
        ("spec.timeouts.streamIdle", stream_idle.is_some()),
    ];
    all.into_iter().filter(|(_, is_set)| *is_set).map(|(path, _)| path).collect()
}

/// The fields that mean nothing where endpoints are no workloads of the mesh.
const IN_THE_MESH: [&str; 5] = [
    "spec.loadBalancing.subset",
    "spec.locality.prefer",
    "spec.locality.spillAtLoadRatio",
    "spec.healthCheck",
    "spec.failover",
];

/// Whether the policy `name` is in force: what it is for is there, and not all that it says is said
/// otherwise by those that beat it.
pub(crate) fn status(reader: &Reader<'_>, name: &ObjectName) -> Output {
    let Some((object, policy)) = reader.policy::<crd::BackendPolicy>(name) else {
        return Output::default();
    };
    let mut findings = Findings::new(object);
    let said = fields(policy);
    if said.is_empty() {
        findings.warning("spec", "it says nothing, and so it has no effect");
    }
    let (mut is_attached, mut effect) = (true, None);
    let (mut objects, namespace) = (BTreeSet::new(), name.namespace());
    for (index, target) in policy.targets.iter().enumerate() {
        let path = format!("spec.targetRefs[{index}]");
        let found = services(reader, name.namespace(), target);
        let is_there = found.is_ok();
        let services = match found {
            Ok(services) => services,
            Err(missing) => {
                match target {
                    // Services come to it.
                    crd::Target::Namespace => findings.warning(&path, missing),
                    _ => findings.error(&path, missing),
                }
                is_attached = false;
                None
            }
        };
        let meant = services.as_deref().unwrap_or_default();
        if let (Some(failover), [service]) = (&policy.failover, meant)
            && let Err(wrong) = failover::of_service(reader, service, failover)
        {
            findings.warning("spec.failover.backendRef", format!("no effect on {path}: {wrong}"));
        }
        for (path, message) in
            policy.subset.iter().flat_map(|it| subset::without_workloads(reader, meant, it))
        {
            findings.warning(&path, message);
        }
        if let Some(Some(check)) = &policy.health_check {
            let has_none = |service: &&ObjectName| {
                let found = reader.service(service);
                found.is_some_and(|(_, it)| health_check::checked_port(check, it).is_none())
            };
            let without: BTreeSet<_> =
                meant.iter().filter(has_none).map(ToString::to_string).collect();
            if !without.is_empty() {
                let message = format!("no effect on Service {}: no such port", listed(&without));
                findings.warning("spec.healthCheck.port", message);
            }
        }
        if let crd::Target::ExternalService(name) | crd::Target::ExternalPort(name, _) = target
            && let Ok(name) = ObjectName::new(namespace, name)
        {
            for field in said.iter().filter(|field| IN_THE_MESH.contains(field)) {
                let message = format!("no effect on {path}: it is for workloads of the mesh");
                findings.warning(field, message);
            }
            if is_there {
                objects.insert(ObjectKey::External(name));
            }
        }
        objects.extend(services.iter().flatten().cloned().map(ObjectKey::Service));
        let futile = Futile::new(reader, policy, target, services.as_deref().unwrap_or_default());
        let beating = Beating { reader, policy, target, services };
        for field in &said {
            let found = beating.of(field);
            if let Found::Nobody { .. } = &found
                && let Some((field, why)) = futile.why(field)
            {
                findings.warning(field, format!("no effect on {path}: {why}"));
            }
            if let Found::Nobody { younger, first } = &found
                && !younger.is_empty()
            {
                let younger = listed(younger);
                let message =
                    format!("no effect of BackendPolicy {younger} on {path}: this one is {first}");
                findings.warning(field, message);
            }
            match (found.effect(), found.message(&path)) {
                (Effect::Conflicted, Some(message)) => findings.error(field, message),
                (_, Some(message)) => findings.warning(field, message),
                (_, None) => {}
            }
            effect = effect.max(Some(found.effect()));
        }
    }
    let accepted = match effect {
        None | Some(Effect::Some) => Condition::accepted(true, "Accepted"),
        Some(Effect::Overridden) => Condition::accepted(true, "Overridden"),
        Some(Effect::Conflicted) => Condition::accepted(false, "Conflicted"),
    };
    let attached = match is_attached {
        true => Condition::attached(true, "Attached"),
        false => Condition::attached(false, "TargetNotFound"),
    };
    let objects = objects.into_iter().collect();
    Output { object: None, status: Some(findings.status(vec![accepted, attached], objects)) }
}

/// The Services that `target` of a policy in `namespace` means; none of them is named where it
/// means those of the whole mesh.
///
/// # Errors
/// In words, if there is no such target.
fn services(
    reader: &Reader<'_>,
    namespace: &str,
    target: &crd::Target,
) -> Result<Option<Vec<ObjectName>>, &'static str> {
    match target {
        crd::Target::Service(service) => {
            let service = ObjectName::new(namespace, service).ok();
            let service = service.filter(|service| reader.service(service).is_some());
            service.map(|service| Some(vec![service])).ok_or("this Service is not there")
        }
        crd::Target::ServicePort(service, port) => {
            let found = service::with_port(reader, namespace, service, port)?;
            Ok(Some(vec![found]))
        }
        crd::Target::ExternalService(external) => external_at(reader, namespace, external)
            .map(|_| Some(vec![]))
            .ok_or("this ExternalService is not there"),
        crd::Target::ExternalPort(external, port) => {
            let missing = "this ExternalService is not there";
            let found = external_at(reader, namespace, external).ok_or(missing)?;
            match found.ports.iter().any(|one| one.name.as_ref() == Some(port)) {
                true => Ok(Some(vec![])),
                false => Err("this ExternalService has no such port"),
            }
        }
        crd::Target::Namespace => {
            let services = reader.services_of(namespace);
            let missing = "no Service is in this namespace: it has no effect yet";
            if services.is_empty() { Err(missing) } else { Ok(Some(services)) }
        }
        crd::Target::Route(..) => Err("no such target is possible"),
        crd::Target::Mesh(wanted) => {
            let mesh = mesh::in_force(reader).map(|mesh| &mesh.metadata.name);
            let missing = "no such Mesh is in force: it has no effect";
            if mesh == Some(wanted) { Ok(None) } else { Err(missing) }
        }
    }
}

/// The ExternalService of this namespace and name.
fn external_at<'s>(
    reader: &Reader<'s>,
    namespace: &str,
    name: &str,
) -> Option<&'s crd::ExternalService> {
    let name = ObjectName::new(namespace, name).ok()?;
    reader.external(&name).map(|(_, external)| external)
}
