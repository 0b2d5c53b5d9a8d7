//! Pods: instances that Kubernetes runs.
//!
//! A pod without a proxy has no identity and takes no tunnels: it is called in plaintext, where the
//! port of the Service allows that.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_crd::{self as crd, PodState};
use weft_model::{Health, MtlsMode, ObjectName, Protocol, Tunnel, Workload, WorkloadPort};
use weft_wire::Object;

use crate::reader::Reader;
use crate::service::{protocol, to_port};
use crate::subset;
use crate::workload::target_of;

/// The workload that `pod` is; none while it has no address, and so is called by nobody.
pub(crate) fn compile(reader: &Reader<'_>, name: &ObjectName, pod: &crd::Pod) -> Option<Object> {
    let crd::Pod { workload, state } = pod;
    if workload.addresses.is_empty() {
        return None;
    }
    let mtls = MtlsMode::Permissive;
    let mut ports = BTreeMap::new();
    for port in &workload.ports {
        ports.insert(to_port(port.port), WorkloadPort { protocol: Protocol::Detect, mtls });
    }
    let (mut services, mut labels) = (BTreeMap::new(), BTreeMap::new());
    for service in reader.services_selecting(name.namespace(), &workload.metadata.labels) {
        let crd::Metadata { namespace, name, .. } = &service.metadata;
        // The reader lets no other names through.
        let Ok(service_name) = ObjectName::new(namespace, name) else { continue };
        let mut leads_to = BTreeMap::new();
        for port in service.ports.iter().filter(|port| port.protocol == crd::Protocol::Tcp) {
            // A name that only other pods have is as Kubernetes takes it: not of this one.
            let Some(target) = target_of(port, workload) else { continue };
            let spoken = protocol(port);
            let known = ports.entry(target).or_insert(WorkloadPort { protocol: spoken, mtls });
            if known.protocol == Protocol::Detect {
                known.protocol = spoken;
            }
            leads_to.insert(to_port(port.port), target);
        }
        labels.extend(subset::labels(reader, &service_name, workload));
        services.insert(service_name, leads_to);
    }
    Some(Object::Workload(Arc::new(Workload {
        name: name.clone(),
        generation: workload.generation,
        identity: None,
        network: reader.options.network.clone(),
        addresses: workload.addresses.iter().copied().collect(),
        locality: None,
        health: match state {
            PodState::Ready => Health::Healthy,
            PodState::NotReady => Health::Unhealthy,
            PodState::Terminating => Health::Draining,
        },
        tunnel: Tunnel::None,
        ports,
        mtls,
        services,
        labels,
        health_checks: std::collections::BTreeSet::new(),
    })))
}
