//! Matches, and names of servers, that several routes have for one port: the oldest route has what
//! they match.

use std::collections::{BTreeMap, BTreeSet};

use weft_crd as crd;
use weft_model::{Parent, Port, RouteKind, RouteParent};

use super::parent::{PortOf, means, ports_of};
use crate::findings::{Findings, listed};
use crate::mesh;
use crate::reader::Reader;
use crate::service::to_port;

/// How a match fares beside those of other routes that are alike.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It has no effect, since this route goes first, and why.
    Beaten(String, &'static str),
    /// These are younger, and have none, and why.
    Beating(BTreeSet<String>, &'static str),
}

/// Says of each match of `route`, which `parents` take, and of a TLSRoute of each name of a server,
/// whether an older route has it too, and which younger ones do.
pub(super) fn warn(
    reader: &Reader<'_>,
    kind: RouteKind,
    route: &crd::Route,
    parents: &BTreeSet<RouteParent>,
    findings: &mut Findings<'_>,
) {
    let mut ports: BTreeMap<&Parent, Vec<PortOf<'_>>> = BTreeMap::new();
    for RouteParent { parent, port } in parents {
        let is_taken = |one: &PortOf<'_>| port.is_none_or(|it| it == to_port(one.number));
        let taken = ports_of(reader, parent).into_iter().filter(is_taken);
        ports.entry(parent).or_default().extend(taken);
    }
    let namespace = &route.metadata.namespace;
    let mut say = |path: &str, parent: &Parent, alike: &[&crd::Route], ports: &[PortOf<'_>]| {
        for (fate, ports) in fates(route, alike, parent, ports) {
            let numbers: Vec<_> = ports.iter().map(ToString::to_string).collect();
            let place = format!("port {} of {parent}", numbers.join(", "));
            let kind = kind.kind();
            let message = match fate {
                Fate::Beaten(older, first) => format!(
                    "no effect on {place}: {kind} {namespace}/{older} is {first}, and matches the \
                     same"
                ),
                Fate::Beating(younger, first) => format!(
                    "no effect of {kind} {} on {place}: this one is {first}, and matches the same",
                    listed(&younger)
                ),
            };
            findings.warning(path, message);
        }
    };
    for (parent, ports) in &ports {
        if kind == RouteKind::Tls {
            for (index, host) in route.hostnames.iter().enumerate() {
                let mut alike = reader.routes_of(kind, namespace, parent);
                alike.retain(|other| other.hostnames.contains(host));
                say(&format!("spec.hostnames[{index}]"), parent, &alike, ports);
            }
        }
        // What carries bytes has no matches.
        if matches!(kind, RouteKind::Http | RouteKind::Grpc) {
            for (index, rule) in route.rules.iter().enumerate() {
                for (at, one) in rule.matches.iter().enumerate() {
                    let alike = reader.routes_matching(kind, namespace, parent, one);
                    say(&format!("spec.rules[{index}].matches[{at}]"), parent, &alike, ports);
                }
            }
        }
    }
}

/// How a match of `route` fares on `ports` of `parent` beside `alike`, the routes that have it,
/// itself among them.
fn fates(
    route: &crd::Route,
    alike: &[&crd::Route],
    parent: &Parent,
    ports: &[PortOf<'_>],
) -> BTreeMap<Fate, Vec<Port>> {
    let age = |route: &crd::Route| (mesh::created(&route.metadata), route.metadata.name.clone());
    let own = &route.metadata.name;
    let mut fates: BTreeMap<Fate, Vec<Port>> = BTreeMap::new();
    if alike.len() < 2 {
        return fates;
    }
    for port in ports {
        let is_for_it =
            |other: &&&crd::Route| other.parents.iter().any(|it| means(it, parent, port));
        let here: Vec<_> = alike.iter().filter(is_for_it).collect();
        let Some(oldest) = here.iter().min_by_key(|other| age(other)) else { continue };
        let fate = if oldest.metadata.name == *own {
            let others = here.iter().map(|other| &other.metadata).filter(|it| it.name != *own);
            let others: Vec<_> = others.collect();
            if others.is_empty() {
                continue;
            }
            let first = mesh::goes_first(&route.metadata, others.iter().copied());
            let others = others.iter().map(|it| format!("{}/{}", it.namespace, it.name));
            Fate::Beating(others.collect(), first)
        } else {
            let first = mesh::goes_first(&oldest.metadata, [&route.metadata]);
            Fate::Beaten(oldest.metadata.name.clone(), first)
        };
        fates.entry(fate).or_default().push(to_port(port.number));
    }
    fates
}
