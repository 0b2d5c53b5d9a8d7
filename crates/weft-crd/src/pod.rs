//! `v1` Pod: a running instance in Kubernetes, as its API server says it.
//!
//! A pod is nobody's wish to the mesh: of its fields those that are used are read, and all others
//! are left to Kubernetes.
//!
//! Deliberately absent: writing pods, and pods outside Kubernetes, where Workloads stand for
//! instances.

use std::net::IpAddr;

use crate::finding::quoted;
use crate::metadata::{self, Metadata};
use crate::names;
use crate::reader::{At, Object};
use crate::units::Port;
use crate::workload::{Workload, WorkloadPort};

/// A running instance in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// It as an instance. Its addresses are empty until it has some, and once its programs have
    /// ended: then others may have them.
    pub workload: Workload,
    /// Whether it serves.
    pub state: PodState,
}

/// Whether a pod serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodState {
    /// By its probes.
    Ready,
    /// Not by its probes, or its programs have not all begun.
    NotReady,
    /// It is asked to end.
    Terminating,
}

pub(crate) fn read(root: &At<'_>) -> Option<Pod> {
    let object = root.unchecked_object(&["metadata", "spec", "status"])?;
    let metadata = object.need("metadata", |at| metadata::read(at, crate::kind::Kind::Pod));
    let is_terminating = object.need("metadata", |at| {
        Some(at.unchecked_object(&["deletionTimestamp"])?.field("deletionTimestamp").is_some())
    });
    let spec = object.need("spec", read_spec);
    let status = object.or("status", Status::default(), read_status);
    let (metadata, is_terminating, spec, status) = (metadata?, is_terminating?, spec?, status?);
    let (service_account, ports) = spec;
    let state = match (is_terminating, status.is_ready) {
        (true, _) => PodState::Terminating,
        (false, true) => PodState::Ready,
        (false, false) => PodState::NotReady,
    };
    // A StatefulSet's pods have the names of those before them.
    let made = metadata.creation_timestamp.map_or(0, |made| made.unix());
    let workload = Workload {
        generation: u64::try_from(made).unwrap_or(0),
        service_account,
        addresses: if status.has_ended { Vec::new() } else { status.addresses },
        ports,
        tunnel_port: None,
        locality: None,
        metadata,
    };
    Some(Pod { workload, state })
}

/// Its service account, and what its containers say that they listen on.
fn read_spec(at: &At<'_>) -> Option<(String, Vec<WorkloadPort>)> {
    let object = at.unchecked_object(&["serviceAccountName", "containers", "initContainers"])?;
    let account = object.or("serviceAccountName", "default".to_owned(), |at| {
        at.parsed(|text| names::dns_subdomain(text).map(|()| text.to_owned()))
    });
    let mut ports = Vec::new();
    for key in ["containers", "initContainers"] {
        let Some(containers) = object.field(key) else { continue };
        for container in containers.items(usize::MAX)? {
            let container = container.unchecked_object(&["ports"])?;
            let Some(listed) = container.field("ports") else { continue };
            for port in listed.items(usize::MAX)? {
                ports.extend(read_port(&port)?);
            }
        }
    }
    // Of two containers that claim one, Kubernetes takes the first.
    let mut seen = std::collections::BTreeSet::new();
    ports.retain(|port: &WorkloadPort| seen.insert(port.port));
    Some((account?, ports))
}

/// A port, if it is one of TCP.
fn read_port(at: &At<'_>) -> Option<Option<WorkloadPort>> {
    let object = at.unchecked_object(&["name", "containerPort", "protocol"])?;
    let name = object.maybe("name", |at| at.text().map(str::to_owned));
    let port: Option<Port> = object.need("containerPort", At::port);
    let protocol = object.or("protocol", "TCP", At::text);
    let (name, port, protocol) = (name?, port?, protocol?);
    Some((protocol == "TCP").then_some(WorkloadPort { name, port, app_protocol: None }))
}

#[derive(Default)]
struct Status {
    addresses: Vec<IpAddr>,
    is_ready: bool,
    has_ended: bool,
}

fn read_status(at: &At<'_>) -> Option<Status> {
    let object = at.unchecked_object(&["phase", "podIP", "podIPs", "conditions"])?;
    let phase = object.or("phase", "", At::text);
    let single = object.maybe("podIP", read_address);
    let several = object.or("podIPs", Vec::new(), |at| {
        at.list(usize::MAX, |at| at.unchecked_object(&["ip"])?.need("ip", read_address))
    });
    let is_ready = object.or("conditions", false, |at| {
        let conditions = at.items(usize::MAX)?;
        let are_ready = conditions.iter().map(|at| is_ready(at));
        Some(are_ready.collect::<Option<Vec<_>>>()?.contains(&true))
    });
    let (phase, single, mut addresses) = (phase?, single?, several?);
    if addresses.is_empty() {
        addresses.extend(single);
    }
    let has_ended = matches!(phase, "Succeeded" | "Failed");
    Some(Status { addresses, is_ready: is_ready?, has_ended })
}

fn is_ready(at: &At<'_>) -> Option<bool> {
    let object: Object<'_> = at.unchecked_object(&["type", "status"])?;
    Some(object.need("type", At::text)? == "Ready" && object.need("status", At::text)? == "True")
}

fn read_address(at: &At<'_>) -> Option<IpAddr> {
    let text = at.text()?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => at.error(format!("{} is not an address", quoted(text))),
    }
}

impl Pod {
    /// What every object has.
    pub fn metadata(&self) -> &Metadata {
        &self.workload.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Options, Platform};
    use crate::resource::Resource;

    const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  { name: web-0, namespace: shop, labels: { app: web }, creationTimestamp: "2026-01-02T03:04:05Z" }
spec:
  serviceAccountName: web
  nodeName: node-1
  containers:
  - name: web
    image: web
    ports: [{ name: http, containerPort: 8080 }, { containerPort: 53, protocol: UDP }]
  - name: side
    ports: [{ name: metrics, containerPort: 9090 }, { name: other, containerPort: 8080 }]
  tolerations: [{ operator: Exists }]
status:
  phase: Running
  podIP: 198.18.65.3
  podIPs: [{ ip: 198.18.65.3 }, { ip: "fd00:198:18:65::3" }]
  conditions: [{ type: Initialized, status: "True" }, { type: Ready, status: "True" }]
"#;

    fn parsed(text: &str, platform: Platform) -> Result<Pod, Vec<String>> {
        let options = Options { platform, ..Options::default() };
        let mut parsed = crate::parse("pod.yaml", text.as_bytes(), &options);
        match parsed.objects.pop().map(|object| object.resource.clone()) {
            Some(Resource::Pod(pod)) => Ok(pod),
            _ => Err(parsed.findings.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn what_is_used_of_a_pod_is_read_and_the_rest_is_kubernetes_own() {
        let Pod { workload, state } = parsed(POD, Platform::Kubernetes).unwrap();
        assert_eq!(state, PodState::Ready);
        assert_eq!(workload.service_account, "web");
        let addresses: Vec<_> = workload.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["198.18.65.3", "fd00:198:18:65::3"]);
        let ports: Vec<_> =
            workload.ports.iter().map(|port| (port.name.as_deref(), port.port.get())).collect();
        assert_eq!(ports, [(Some("http"), 8080), (Some("metrics"), 9090)]);
        assert_eq!(workload.generation, 1_767_323_045);
    }

    #[test]
    fn a_pod_serves_while_its_probes_say_so_and_nobody_ends_it() {
        let state = |from: &str, to: &str| {
            let pod = parsed(&POD.replace(from, to), Platform::Kubernetes).unwrap();
            (pod.state, pod.workload.addresses.len())
        };
        assert_eq!(state("type: Ready", "type: Other"), (PodState::NotReady, 2));
        let ended = ("labels:", r#"deletionTimestamp: "2026-01-02T03:05:00Z", labels:"#);
        assert_eq!(state(ended.0, ended.1), (PodState::Terminating, 2));
        // Its address may be another's by now.
        assert_eq!(state("phase: Running", "phase: Succeeded").1, 0);
        assert_eq!(state("podIPs: [", "other: ["), (PodState::Ready, 1));
    }

    #[test]
    fn outside_kubernetes_there_are_workloads() {
        let why = parsed(POD, Platform::Standalone).unwrap_err();
        let expected = "kind: a Pod is of Kubernetes: outside of it, write a Workload";
        assert!(why[0].starts_with(expected), "{why:?}");
    }
}
