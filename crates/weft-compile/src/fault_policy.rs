//! Fault policies: what is put into requests on purpose. They have no wire object of their own, but
//! become part of the Services and rules that they are for.
//!
//! What is for a rule goes before what is for its route, and what is for a port before what is for
//! its Service. Of two for the same the older goes first: the first that is for a request decides
//! about it.

use std::num::NonZeroU32;

use weft_crd as crd;
use weft_model::{
    Abort, AbortCode, AbortStatus, AbortWith, Delay, Fault, ObjectName, Percent, RouteKind,
    RouteName, TimeBound,
};
use weft_wire::ObjectKey;

use crate::authorization_policy::header;
use crate::compiler::Output;
use crate::findings::{Findings, listed};
use crate::mesh;
use crate::reader::{Reader, policy};
use crate::service::{self, with_port};
use crate::status::Condition;

policy!(FaultPolicy);

/// The faults of requests for the Service `name`, or its port of that name.
pub(crate) fn of_service(reader: &Reader<'_>, name: &ObjectName, port: Option<&str>) -> Vec<Fault> {
    let of_port = port.map(|port| of(reader, name.namespace(), port_target(name, port)));
    let whole = of(reader, name.namespace(), crd::Target::Service(name.name().to_owned()));
    of_port.into_iter().flatten().chain(whole).collect()
}

/// Whether a policy is for the port of this name alone.
pub(crate) fn is_for_port(reader: &Reader<'_>, name: &ObjectName, port: &str) -> bool {
    !in_turn(reader, name.namespace(), port_target(name, port)).is_empty()
}

fn port_target(service: &ObjectName, port: &str) -> crd::Target {
    crd::Target::ServicePort(service.name().to_owned(), port.to_owned())
}

/// The faults of requests under a rule of the route of this `kind`, namespace and name. What
/// carries bytes has none.
pub(crate) fn of_rule(
    reader: &Reader<'_>,
    kind: RouteKind,
    (namespace, name): (&str, &str),
    rule: Option<&str>,
) -> Vec<Fault> {
    let kind = match kind {
        RouteKind::Http => crd::Kind::HttpRoute,
        RouteKind::Grpc => crd::Kind::GrpcRoute,
        RouteKind::Tls | RouteKind::Tcp => return vec![],
    };
    let for_section = |section: Option<&str>| {
        let section = section.map(ToOwned::to_owned);
        of(reader, namespace, crd::Target::Route(kind, name.to_owned(), section))
    };
    let of_rule = rule.map(|rule| for_section(Some(rule))).unwrap_or_default();
    of_rule.into_iter().chain(for_section(None)).collect()
}

fn of(reader: &Reader<'_>, namespace: &str, target: crd::Target) -> Vec<Fault> {
    let policies = in_turn(reader, namespace, target);
    // What cannot be said has a status to say so.
    policies.into_iter().filter_map(|policy| convert(policy).ok()).collect()
}

/// The policies for `target`, each before those that it beats.
fn in_turn<'s>(
    reader: &Reader<'s>,
    namespace: &str,
    target: crd::Target,
) -> Vec<&'s crd::FaultPolicy> {
    let mut policies: Vec<&crd::FaultPolicy> = reader.policies_for(namespace, target);
    policies.sort_by_key(|policy| age(policy));
    policies
}

fn age(policy: &crd::FaultPolicy) -> (i64, &str) {
    (mesh::created(&policy.metadata), &policy.metadata.name)
}

/// What `policy` says.
///
/// # Errors
/// In words, if it cannot be said on the wire.
fn convert(policy: &crd::FaultPolicy) -> Result<Fault, String> {
    let crd::FaultPolicy { metadata, targets: _, headers, delay, abort, active_max } = policy;
    let text = |error: &dyn ToString| error.to_string();
    let percent = |percent: crd::Percent| Percent::new(percent.get()).expect("at most 100");
    let delay = delay.map(|crd::Delay { percent: share, duration }| {
        let time = TimeBound::new(duration).map_err(|error| text(&error))?;
        Ok::<_, String>(Delay { percent: percent(share), time })
    });
    let abort = abort.map(|crd::Abort { percent: share, with }| {
        let with = match with {
            crd::AbortWith::Http(status) => AbortStatus::new(status).map(AbortWith::Http),
            crd::AbortWith::Grpc(code) => AbortCode::new(code).map(AbortWith::Grpc),
        };
        let with = with.map_err(|error| text(&error))?;
        Ok::<_, String>(Abort { percent: percent(share), with })
    });
    let policy = ObjectName::new(&metadata.namespace, &metadata.name);
    Ok(Fault {
        policy: policy.map_err(|error| text(&error))?,
        headers: headers.iter().map(header).collect::<Result<_, _>>()?,
        delay: delay.transpose()?,
        abort: abort.transpose()?,
        active_max: active_max.and_then(NonZeroU32::new).unwrap_or(Fault::ACTIVE_MAX),
    })
}

/// Whether the policy `name` is in force: what it is for is there, and no older one takes all of
/// its requests.
pub(crate) fn status(reader: &Reader<'_>, name: &ObjectName) -> Output {
    let Some((object, policy)) = reader.policy::<crd::FaultPolicy>(name) else {
        return Output::default();
    };
    let mut findings = Findings::new(object);
    let (mut is_attached, mut has_effect) = (true, false);
    let mut objects = Vec::new();
    for (index, target) in policy.targets.iter().enumerate() {
        let path = format!("spec.targetRefs[{index}]");
        match place(reader, name.namespace(), target) {
            Ok(object) => objects.push(object),
            Err(missing) => {
                findings.error(&path, missing);
                is_attached = false;
            }
        }
        if let Some(service) = service::without_http(reader, name.namespace(), target) {
            let message = format!(
                "no effect: it is for HTTP, and Service {service} declares that none is spoken \
                 there"
            );
            findings.warning(&path, message);
        } else if let Some(place) = always_redirects(reader, name.namespace(), target) {
            let message = format!(
                "no effect: {place} redirects all that it matches, before any fault is put in"
            );
            findings.warning(&path, message);
        }
        let all = in_turn(reader, name.namespace(), target.clone());
        match decider(&all, policy) {
            None => {
                has_effect = true;
                let younger = all.iter().filter(|other| {
                    decider(&all, other).is_some_and(|decider| age(decider) == age(policy))
                });
                let younger: Vec<_> = younger.map(|other| &other.metadata).collect();
                if !younger.is_empty() {
                    let first = mesh::goes_first(&policy.metadata, younger.iter().copied());
                    let message = format!(
                        "no effect of FaultPolicy {}: this one is {first}, and decides about all \
                         requests that it is for",
                        listed(&younger.into_iter().map(|other| other.name.clone()).collect())
                    );
                    findings.warning(&path, message);
                }
            }
            Some(older) => {
                let first = mesh::goes_first(&older.metadata, [&policy.metadata]);
                let older = &older.metadata.name;
                let message = format!(
                    "no effect: FaultPolicy {older} is {first}, and decides about all requests that \
                     this one is for"
                );
                findings.error(&path, message);
            }
        }
    }
    let accepted = match (convert(policy), has_effect) {
        (Err(message), _) => {
            findings.error("spec", message);
            Condition::accepted(false, "Invalid")
        }
        (Ok(_), true) => Condition::accepted(true, "Accepted"),
        (Ok(_), false) => Condition::accepted(false, "Conflicted"),
    };
    let attached = match is_attached {
        true => Condition::attached(true, "Attached"),
        false => Condition::attached(false, "TargetNotFound"),
    };
    objects.sort();
    objects.dedup();
    Output { object: None, status: Some(findings.status(vec![accepted, attached], objects)) }
}

/// What `target` means in words, if it is a route or rule that only redirects.
fn always_redirects(
    reader: &Reader<'_>,
    namespace: &str,
    target: &crd::Target,
) -> Option<&'static str> {
    let crd::Target::Route(crd::Kind::HttpRoute, name, section) = target else { return None };
    let object = ObjectName::new(namespace, name).ok()?;
    let (_, route) = reader.route(&RouteName { kind: RouteKind::Http, object })?;
    let is_meant = |rule: &&crd::RouteRule| section.is_none() || rule.name == *section;
    let mut meant = route.rules.iter().filter(is_meant).peekable();
    meant.peek()?;
    let redirects = |rule: &crd::RouteRule| {
        rule.filters.iter().any(|filter| matches!(filter, crd::Filter::Redirect(_)))
    };
    let place = if section.is_some() { "this rule" } else { "each rule of this route" };
    meant.all(redirects).then_some(place)
}

/// The first of `all`, which are for the same, that is older than `policy` and decides about all of
/// its requests.
fn decider<'s>(
    all: &[&'s crd::FaultPolicy],
    policy: &crd::FaultPolicy,
) -> Option<&'s crd::FaultPolicy> {
    let mut older = all.iter().take_while(|other| age(other) < age(policy));
    older.find(|other| takes_all_of(other, policy)).copied()
}

/// Whether each request that `policy` is for is one that `other` is for.
fn takes_all_of(other: &crd::FaultPolicy, policy: &crd::FaultPolicy) -> bool {
    let asks_too = |wanted: &crd::HeaderCondition| {
        policy.headers.iter().any(|own| {
            own.name == wanted.name && (wanted.value.is_none() || own.value == wanted.value)
        })
    };
    other.headers.iter().all(asks_too)
}

/// The wire object that tells of the faults for `target` in `namespace`.
///
/// # Errors
/// In words, if there is no such target.
fn place(
    reader: &Reader<'_>,
    namespace: &str,
    target: &crd::Target,
) -> Result<ObjectKey, &'static str> {
    let named = |name: &str| ObjectName::new(namespace, name).ok();
    match target {
        crd::Target::Service(name) => {
            let name = named(name).filter(|name| reader.service(name).is_some());
            name.map(ObjectKey::Service).ok_or("this Service is not there")
        }
        crd::Target::ServicePort(name, port) => {
            with_port(reader, namespace, name, port).map(ObjectKey::Service)
        }
        crd::Target::Route(kind, name, section) => {
            let missing = "this route is not there";
            let kind = match kind {
                crd::Kind::GrpcRoute => RouteKind::Grpc,
                _ => RouteKind::Http,
            };
            let name = RouteName { kind, object: named(name).ok_or(missing)? };
            let (_, route) = reader.route(&name).ok_or(missing)?;
            let is_there =
                |wanted: &String| route.rules.iter().any(|rule| rule.name.as_ref() == Some(wanted));
            if !section.as_ref().is_none_or(is_there) {
                return Err("this route has no rule of this name");
            }
            Ok(ObjectKey::Route(name))
        }
        crd::Target::Mesh(_)
        | crd::Target::Namespace
        | crd::Target::ExternalService(_)
        | crd::Target::ExternalPort(..) => Err("no such target is possible"),
    }
}
