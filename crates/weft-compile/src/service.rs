//! Services: addresses, ports with what is spoken on them, and how clients treat them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_crd as crd;
use weft_model::{
    Address, MtlsMode, ObjectName, Port, Protocol, Service, ServicePort, TrafficPolicy,
};
use weft_wire::{Object, ObjectKey};

use crate::backend_policy;
use crate::compiler::Output;
use crate::fault_policy;
use crate::findings::Findings;
use crate::reader::Reader;
use crate::snapshot::Assignment;
use crate::status::Condition;

pub(crate) fn compile(reader: &Reader<'_>, name: &ObjectName) -> Output {
    let Some((object, service)) = reader.service(name) else { return Output::default() };
    let mut findings = Findings::new(object);
    let vips = vips(reader, name, service, &mut findings);
    let mut ports = BTreeMap::new();
    for (index, port) in service.ports.iter().enumerate() {
        if port.protocol != crd::Protocol::Tcp {
            let path = format!("spec.ports[{index}].protocol");
            findings.warning(&path, "is not carried by the mesh: it passes outside of it");
            continue;
        }
        let has_own = |port: &&str| {
            backend_policy::is_for_port(reader, name, port)
                || fault_policy::is_for_port(reader, name, port)
        };
        let own = port.name.as_deref().filter(has_own);
        let traffic = own.map(|port| Box::new(traffic(reader, name, Some(port))));
        let protocol = protocol(port);
        let (name, mtls) = (port.name.clone(), mtls(reader));
        ports.insert(to_port(port.port), ServicePort { name, protocol, mtls, traffic });
    }
    let traffic = traffic(reader, name, None);
    let compiled = Service { name: name.clone(), vips, ports, traffic };
    let conditions = vec![Condition::accepted(true, "Accepted")];
    let status = findings.status(conditions, vec![ObjectKey::Service(name.clone())]);
    Output { object: Some(Object::Service(Arc::new(compiled))), status: Some(status) }
}

/// Which of its instances are called: in Kubernetes also those that have no proxy.
fn mtls(reader: &Reader<'_>) -> MtlsMode {
    match reader.options.platform {
        crd::Platform::Kubernetes => MtlsMode::Permissive,
        crd::Platform::Standalone => MtlsMode::Strict,
    }
}

/// How clients treat the Service `name`, or its port of that name.
fn traffic(reader: &Reader<'_>, name: &ObjectName, port: Option<&str>) -> TrafficPolicy {
    let faults = fault_policy::of_service(reader, name, port);
    TrafficPolicy { faults, ..backend_policy::merged(reader, name, port) }
}

/// The Service of this namespace and name, if it has a port of TCP that is called `port`.
///
/// # Errors
/// In words, what is missing.
pub(crate) fn with_port(
    reader: &Reader<'_>,
    namespace: &str,
    name: &str,
    port: &str,
) -> Result<ObjectName, &'static str> {
    let missing = "this Service is not there";
    let name = ObjectName::new(namespace, name).map_err(|_| missing)?;
    let (_, service) = reader.service(&name).ok_or(missing)?;
    let is_it = |one: &crd::ServicePort| {
        one.protocol == crd::Protocol::Tcp && one.name.as_deref() == Some(port)
    };
    match service.ports.iter().any(is_it) {
        true => Ok(name),
        false => Err("this Service has no such port of TCP"),
    }
}

/// The Service that `target` of a policy in `namespace` means, or means a port of, if it declares
/// that no HTTP is spoken there. One that declares nothing may speak it.
pub(crate) fn without_http(
    reader: &Reader<'_>,
    namespace: &str,
    target: &crd::Target,
) -> Option<ObjectName> {
    let (service, part) = match target {
        crd::Target::Service(service) => (service, None),
        crd::Target::ServicePort(service, part) => (service, Some(part)),
        _ => return None,
    };
    let service = ObjectName::new(namespace, service).ok()?;
    let (_, found) = reader.service(&service)?;
    let is_meant = |port: &&crd::ServicePort| {
        port.protocol == crd::Protocol::Tcp
            && part.is_none_or(|part| port.name.as_ref() == Some(part))
    };
    let mut meant = found.ports.iter().filter(is_meant).peekable();
    meant.peek()?;
    let is_other = |port: &crd::ServicePort| {
        declared(port.app_protocol).is_some_and(|protocol| !protocol.is_http())
    };
    meant.all(is_other).then_some(service)
}

/// What `port` of `service` is called, if it has a name.
pub(crate) fn name_of(service: &crd::Service, port: Port) -> Option<&str> {
    let found = service.ports.iter().find(|one| to_port(one.port) == port);
    found.and_then(|port| port.name.as_deref())
}

fn vips(
    reader: &Reader<'_>,
    name: &ObjectName,
    service: &crd::Service,
    findings: &mut Findings<'_>,
) -> BTreeSet<Address> {
    if reader.options.platform == crd::Platform::Kubernetes {
        let crd::ClusterIp::Assigned(addresses) = &service.cluster_ip else {
            return BTreeSet::new();
        };
        let network = &reader.options.network;
        let address = |ip: &_| Address { network: network.clone(), ip: *ip };
        return addresses.iter().map(address).collect();
    }
    match reader.assignment(name) {
        Some(Assignment::Given(addresses)) => addresses.clone(),
        Some(Assignment::Exhausted) => {
            let message = "no address of the Mesh's addressRange is free: it is reached by nobody";
            findings.error("metadata.name", message);
            BTreeSet::new()
        }
        None => BTreeSet::new(),
    }
}

/// What is spoken on a port as far as it was declared. What a route is for, its readers know.
pub(crate) fn protocol(port: &crd::ServicePort) -> Protocol {
    declared(port.app_protocol).unwrap_or(Protocol::Detect)
}

/// What is spoken, if it was declared.
pub(crate) fn declared(protocol: Option<crd::AppProtocol>) -> Option<Protocol> {
    Some(match protocol? {
        crd::AppProtocol::Http => Protocol::Http,
        crd::AppProtocol::Http2 => Protocol::Http2,
        crd::AppProtocol::Grpc => Protocol::Grpc,
        crd::AppProtocol::WebSocket => Protocol::WebSocket,
        crd::AppProtocol::Tls => Protocol::Tls,
        crd::AppProtocol::Tcp => Protocol::Opaque,
    })
}

/// What `protocol` is called under `appProtocol`.
pub(crate) fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Detect => "nothing",
        Protocol::Http => "http",
        Protocol::Http2 => "http2",
        Protocol::Grpc => "grpc",
        Protocol::WebSocket => "kubernetes.io/ws",
        Protocol::Tls => "tls",
        Protocol::Opaque => "tcp",
    }
}

pub(crate) fn to_port(port: crd::Port) -> Port {
    Port::new(port.get()).expect("neither is ever 0")
}
