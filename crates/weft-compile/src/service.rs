//! Services: addresses, ports with what is spoken on them, and how clients treat them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_crd as crd;
use weft_model::{Address, MtlsMode, ObjectName, Port, Protocol, Service, ServicePort};
use weft_wire::{Object, ObjectKey};

use crate::backend_policy;
use crate::compiler::Output;
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
        let protocol = protocol(reader, name, port);
        let (name, mtls) = (port.name.clone(), MtlsMode::Strict);
        ports.insert(to_port(port.port), ServicePort { name, protocol, mtls });
    }
    let traffic = backend_policy::merged(reader, name);
    let compiled = Service { name: name.clone(), vips, ports, traffic };
    let conditions = vec![Condition::accepted(true, "Accepted")];
    let status = findings.status(conditions, vec![ObjectKey::Service(name.clone())]);
    Output { object: Some(Object::Service(Arc::new(compiled))), status: Some(status) }
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

/// What is spoken on a port: as declared, or HTTP where a route attaches.
pub(crate) fn protocol(
    reader: &Reader<'_>,
    name: &ObjectName,
    port: &crd::ServicePort,
) -> Protocol {
    if let Some(declared) = declared(port.app_protocol) {
        return declared;
    }
    let routes = reader.routes_of(name.namespace(), name.name());
    let mut parents = routes.iter().flat_map(|route| &route.parents);
    if parents.any(|parent| means(parent, name, port)) {
        return Protocol::Http;
    }
    Protocol::Detect
}

/// Whether `parent` of a route means `port` of the Service `name`.
pub(crate) fn means(parent: &crd::ParentRef, name: &ObjectName, port: &crd::ServicePort) -> bool {
    parent.kind == crd::ParentKind::Service
        && (parent.namespace.as_str(), parent.name.as_str()) == (name.namespace(), name.name())
        && parent.port.is_none_or(|wanted| wanted == port.port)
        && parent.section_name.as_ref().is_none_or(|wanted| port.name.as_ref() == Some(wanted))
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

pub(crate) fn to_port(port: crd::Port) -> Port {
    Port::new(port.get()).expect("neither is ever 0")
}
