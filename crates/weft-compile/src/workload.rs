//! Workloads: who they are, where they are, and which Services lead to which of their ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_crd::{self as crd, REGISTERED_BY, REGISTERED_FOR};
use weft_model::{
    Locality, MtlsMode, ObjectName, Port, Protocol, SpiffeId, Tunnel, Workload, WorkloadPort,
};
use weft_wire::{Object, ObjectKey};

use crate::compiler::Output;
use crate::findings::Findings;
use crate::health_check;
use crate::mesh;
use crate::pod;
use crate::reader::Reader;
use crate::service::{declared, protocol, to_port, word};
use crate::snapshot::Assignment;
use crate::status::Condition;
use crate::subset;

/// The only Services that may select `workload`; none if somebody wrote it, and so vouches for its
/// labels.
fn registered_for(workload: &crd::Workload) -> Option<BTreeSet<&str>> {
    let annotations = &workload.metadata.annotations;
    annotations.get(REGISTERED_BY)?;
    let names = annotations.get(REGISTERED_FOR).map(String::as_str).unwrap_or_default();
    Some(names.split(',').collect())
}

pub(crate) fn compile(reader: &Reader<'_>, name: &ObjectName) -> Output {
    // What runs goes before what is written down, and has no status of ours.
    if let Some(pod) = reader.pod(name) {
        let object = pod::compile(reader, name, pod);
        let taken = |(object, _)| {
            let mut findings = Findings::new(object);
            findings.error("metadata.name", format!("Pod {name} has this name in the mesh"));
            findings.status(vec![Condition::accepted(false, "Conflicted")], vec![])
        };
        return Output { object, status: reader.workload(name).map(taken) };
    }
    let Some((object, workload)) = reader.workload(name) else { return Output::default() };
    let mut findings = Findings::new(object);
    let mesh = mesh::in_force(reader);
    let identity = mesh.and_then(|mesh| {
        let account = ObjectName::new(name.namespace(), &workload.service_account).ok()?;
        Some(SpiffeId::new(mesh.trust_domain.parse().ok()?, account))
    });
    if identity.is_none() {
        findings.warning("spec.serviceAccount", "there is no Mesh: it has no identity");
    }
    let mut ports = Ports::new(workload);
    let (mut services, mut health_checks) = (BTreeMap::new(), BTreeSet::new());
    let mut labels = BTreeMap::new();
    for service in reader.services_selecting(name.namespace(), &workload.metadata.labels) {
        let crd::Metadata { namespace, name, .. } = &service.metadata;
        // The reader lets no other names through.
        let Ok(service_name) = ObjectName::new(namespace, name) else { continue };
        if registered_for(workload).is_some_and(|names| !names.contains(name.as_str())) {
            let message = format!(
                "Service {service_name} selects it, which it has not registered itself for: it is \
                 none of its endpoints"
            );
            findings.warning("metadata.labels", message);
            continue;
        }
        let mut leads_to = BTreeMap::new();
        for port in service.ports.iter().filter(|port| port.protocol == crd::Protocol::Tcp) {
            let Some(target) = target_of(port, workload) else {
                let (service, port) = (&service_name, port.port);
                let message =
                    format!("Service {service} port {port} names a port that is not here");
                findings.warning("spec.ports", message);
                continue;
            };
            ports.spoken(target, protocol(port), &service_name, &mut findings);
            leads_to.insert(to_port(port.port), target);
        }
        health_checks.extend(health_check::of_workload(reader, &service_name, &leads_to));
        labels.extend(subset::labels(reader, &service_name, workload));
        services.insert(service_name, leads_to);
    }
    let ports = ports.settled();
    let tunnel = tunnel(workload);
    let addresses = addresses(reader, name, workload, &tunnel, &mut findings);
    let compiled = Workload {
        name: name.clone(),
        generation: workload.generation,
        identity,
        network: reader.options.network.clone(),
        addresses,
        locality: workload.locality.as_ref().and_then(to_locality),
        health: reader.health(name),
        tunnel,
        ports,
        mtls: MtlsMode::Strict,
        services,
        labels,
        health_checks,
    };
    let conditions = vec![Condition::accepted(true, "Accepted")];
    let status = findings.status(conditions, vec![ObjectKey::Workload(name.clone())]);
    Output { object: Some(Object::Workload(Arc::new(compiled))), status: Some(status) }
}

/// The addresses that the workload states, and those that it was assigned.
fn addresses(
    reader: &Reader<'_>,
    name: &ObjectName,
    workload: &crd::Workload,
    tunnel: &Tunnel,
    findings: &mut Findings<'_>,
) -> BTreeSet<IpAddr> {
    let stated = stated(reader, workload, findings);
    let assigned = match reader.workload_assignment(name) {
        Some(Assignment::Given(addresses)) => addresses,
        Some(Assignment::Exhausted) => {
            let message = "no address of the Mesh's addressRange is free: the mesh reaches it only \
                           by its Services";
            findings.warning("metadata.name", message);
            return stated;
        }
        None => return stated,
    };
    // A tunnel to each port begins at the first of all addresses, which no assigned one may be.
    let first = stated.first().copied();
    let may_be_added = |ip: &IpAddr| match tunnel {
        Tunnel::One(_) | Tunnel::None => true,
        Tunnel::PerPort { .. } => first.is_some_and(|first| *ip > first),
    };
    let assigned = assigned.iter().map(|address| address.ip).filter(may_be_added);
    stated.iter().copied().chain(assigned).collect()
}

/// The addresses that the workload states. None of the mesh's own, which the mesh gives out.
fn stated(
    reader: &Reader<'_>,
    workload: &crd::Workload,
    findings: &mut Findings<'_>,
) -> BTreeSet<IpAddr> {
    let range = mesh::in_force(reader).map(|mesh| mesh.address_range);
    let mut stated = BTreeSet::new();
    for (index, ip) in workload.addresses.iter().enumerate() {
        if range.is_some_and(|range| range.contains(*ip)) {
            let message =
                format!("{ip} belongs to the Mesh's addressRange, and is not taken for its own");
            findings.warning(&format!("spec.addresses[{index}]"), message);
        } else {
            stated.insert(*ip);
        }
    }
    stated
}

/// The port of `workload` that `port` of a Service leads to.
pub(crate) fn target_of(port: &crd::ServicePort, workload: &crd::Workload) -> Option<Port> {
    match &port.target_port {
        crd::TargetPort::Number(number) => Some(to_port(*number)),
        crd::TargetPort::Name(name) => {
            let named = workload.ports.iter().find(|port| port.name.as_ref() == Some(name));
            named.map(|port| to_port(port.port))
        }
    }
}

fn to_locality(locality: &crd::Locality) -> Option<Locality> {
    let crd::Locality { region, zone } = locality;
    Locality::new(region, zone.as_deref()).ok()
}

fn tunnel(workload: &crd::Workload) -> Tunnel {
    if let (Some(port), Some(address)) = (workload.tunnel_port, workload.addresses.first()) {
        return Tunnel::One(SocketAddr::new(*address, port.get()));
    }
    // No port takes plaintext, so each can take tunnels itself.
    Tunnel::PerPort { elsewhere: BTreeMap::new() }
}

/// What is spoken on the ports of a workload, as it and its Services declare it.
struct Ports {
    spoken: BTreeMap<Port, Protocol>,
    /// Which Service said so first.
    by: BTreeMap<Port, ObjectName>,
    /// What the workload says itself beats its Services.
    own: BTreeMap<Port, Protocol>,
}

impl Ports {
    fn new(workload: &crd::Workload) -> Ports {
        let mut ports =
            Ports { spoken: BTreeMap::new(), by: BTreeMap::new(), own: BTreeMap::new() };
        for port in &workload.ports {
            let number = to_port(port.port);
            let declared = declared(port.app_protocol);
            ports.spoken.insert(number, declared.unwrap_or_default());
            if let Some(declared) = declared {
                ports.own.insert(number, declared);
            }
        }
        ports
    }

    /// `service` says what is spoken on `port`.
    fn spoken(
        &mut self,
        port: Port,
        protocol: Protocol,
        service: &ObjectName,
        findings: &mut Findings<'_>,
    ) {
        let before = self.spoken.entry(port).or_default();
        if protocol == Protocol::Detect || *before == protocol || self.own.contains_key(&port) {
            return;
        }
        if *before == Protocol::Detect {
            *before = protocol;
            self.by.insert(port, service.clone());
            return;
        }
        let (one, other) = (word(*before), word(protocol));
        let first = self.by.get(&port).map_or_else(String::new, ToString::to_string);
        let message = format!(
            "the first bytes decide what is spoken on port {port}, as Services disagree: {first} \
             declares {one}, and {service} {other}"
        );
        findings.warning("spec.ports", message);
        *before = Protocol::Detect;
        self.own.insert(port, Protocol::Detect);
    }

    fn settled(self) -> BTreeMap<Port, WorkloadPort> {
        let mtls = MtlsMode::Strict;
        let settled = |(port, protocol)| (port, WorkloadPort { protocol, mtls });
        self.spoken.into_iter().map(settled).collect()
    }
}
