//! `v1` Service: a name and addresses for a set of workloads.
//!
//! Outside Kubernetes the mesh gives each Service its addresses, so `clusterIP` and `clusterIPs`
//! are kept as written, read into [`ClusterIp`], and answered with a warning that they have no
//! effect.
//!
//! Deliberately absent: whatever Kubernetes alone acts on (node ports, load balancers). In a
//! cluster it is passed over; outside, where it would do nothing, a warning says so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::finding::quoted;
use crate::metadata::{Header, Metadata};
use crate::names;
use crate::reader::{At, Fields, Object, check_unique, fields};
use crate::units::Port;

/// A name and addresses for a set of workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What every object has.
    pub metadata: Metadata,
    /// The labels that its workloads have, all of them. Empty selects nothing.
    pub selector: BTreeMap<String, String>,
    /// Its ports; of several, each has a name.
    pub ports: Vec<ServicePort>,
    /// Its addresses as Kubernetes assigned them.
    pub cluster_ip: ClusterIp,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    /// Its name, by which a `sectionName` means it.
    pub name: Option<String>,
    /// The port that callers use.
    pub port: Port,
    /// The port of the workload. Default: the same number.
    pub target_port: TargetPort,
    /// The transport. Default: TCP.
    pub protocol: Protocol,
    /// The protocol above the transport. Absent: the first bytes decide.
    pub app_protocol: Option<AppProtocol>,
}

/// A port of a workload, as a Service says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetPort {
    /// By number.
    Number(Port),
    /// By the name that the workload gives it.
    Name(String),
}

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A declared protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AppProtocol {
    /// `http`: HTTP/1.1.
    Http,
    /// `http2` or `kubernetes.io/h2c`: HTTP/2 in plaintext.
    Http2,
    /// `grpc`.
    Grpc,
    /// `kubernetes.io/ws`: WebSocket over HTTP/1.1.
    WebSocket,
    /// `tls`, `https` or `kubernetes.io/wss`: the application's own TLS, passed through.
    Tls,
    /// `tcp`: bytes that nobody looks into.
    Tcp,
}

/// The addresses that Kubernetes assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterIp {
    /// None yet, or outside Kubernetes.
    Unassigned,
    /// None ever: callers use the workloads' own addresses.
    Headless,
    /// These, IPv4 and IPv6.
    Assigned(Vec<IpAddr>),
}

/// As many as Kubernetes' own objects have at most; a bound, not a recommendation.
const PORTS_MAX: usize = 256;

const FIELDS: Fields = Fields {
    known: &[
        "selector",
        "ports",
        "type",
        "clusterIP",
        "clusterIPs",
        "sessionAffinity",
        "internalTrafficPolicy",
        "publishNotReadyAddresses",
        "externalIPs",
        "externalTrafficPolicy",
        "healthCheckNodePort",
        "allocateLoadBalancerNodePorts",
        "loadBalancerClass",
        "loadBalancerIP",
        "loadBalancerSourceRanges",
    ],
    not_yet: &["externalName", "sessionAffinityConfig", "trafficDistribution"],
    ignored: &["ipFamilies", "ipFamilyPolicy"],
    no_nulls: false,
};

/// What only Kubernetes acts on.
const KUBERNETES_ONLY: [&str; 7] = [
    "externalIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "allocateLoadBalancerNodePorts",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
];

pub(crate) fn read(header: Header, at: &At<'_>) -> Option<Service> {
    let object = at.object(FIELDS)?;
    let selector = object
        .or("selector", BTreeMap::new(), |at| at.text_map(names::label_key, names::label_value));
    let cluster_ip = read_cluster_ip(&object);
    let ports = match object.field("ports") {
        Some(at) => read_ports(&at),
        None if matches!(cluster_ip, Some(ClusterIp::Headless)) => Some(Vec::new()),
        None => object.need("ports", read_ports),
    };
    let kind = object.or("type", (), read_type);
    let affinity = object.or("sessionAffinity", (), |at| at.choice(&[("None", ())], &["ClientIP"]));
    let internal =
        object.or("internalTrafficPolicy", (), |at| at.choice(&[("Cluster", ())], &["Local"]));
    let not_ready = object.or("publishNotReadyAddresses", (), |at| match at.boolean()? {
        false => Some(()),
        true => at.not_yet("true"),
    });
    if at.is_standalone() {
        for field in KUBERNETES_ONLY.into_iter().filter_map(|key| object.field(key)) {
            field.warning("has no effect outside Kubernetes");
        }
        if matches!(&selector, Some(selector) if selector.is_empty()) {
            at.warning("no selector: no workload will ever belong to this service");
        }
    }
    let ((), (), (), ()) = (kind?, affinity?, internal?, not_ready?);
    Some(Service {
        metadata: header.metadata?,
        selector: selector?,
        ports: ports?,
        cluster_ip: cluster_ip?,
    })
}

/// The type matters to Kubernetes only, but for those that are no set of workloads.
fn read_type(at: &At<'_>) -> Option<()> {
    let types = [("ClusterIP", false), ("NodePort", true), ("LoadBalancer", true)];
    let opens_to_outside = at.choice(&types, &["ExternalName"])?;
    if opens_to_outside && at.is_standalone() {
        at.warning("has no effect outside Kubernetes: the service is reached from the mesh only");
    }
    Some(())
}

fn read_cluster_ip(object: &Object<'_>) -> Option<ClusterIp> {
    let read = |at: &At<'_>| match at.text()? {
        "" => Some(ClusterIp::Unassigned),
        "None" if at.is_standalone() => at.not_yet("a headless service (\"None\")"),
        "None" => Some(ClusterIp::Headless),
        text => match text.parse() {
            Ok(address) => Some(ClusterIp::Assigned(vec![address])),
            Err(_) => at.error(format!("{} is not an address", quoted(text))),
        },
    };
    let single = object.or("clusterIP", ClusterIp::Unassigned, read);
    let several = object.maybe("clusterIPs", |at| at.list(2, read));
    let (single, several) = (single?, several?.unwrap_or_default());
    let mut addresses = Vec::new();
    for cluster_ip in std::iter::once(single).chain(several) {
        match cluster_ip {
            ClusterIp::Unassigned => {}
            ClusterIp::Headless => return Some(ClusterIp::Headless),
            ClusterIp::Assigned(assigned) => addresses.extend(assigned),
        }
    }
    // The one is the first of the several.
    let mut seen = std::collections::BTreeSet::new();
    addresses.retain(|address| seen.insert(*address));
    if object.at.is_standalone() && !addresses.is_empty() {
        let field = object.field("clusterIP").or_else(|| object.field("clusterIPs"));
        if let Some(at) = field {
            at.warning("has no effect outside Kubernetes: the mesh gives a service its addresses");
        }
    }
    Some(if addresses.is_empty() { ClusterIp::Unassigned } else { ClusterIp::Assigned(addresses) })
}

fn read_ports(at: &At<'_>) -> Option<Vec<ServicePort>> {
    let why = "a service without a port cannot be called";
    let ports = at.filled_list(PORTS_MAX, why, read_port)?;
    let items = at.items(PORTS_MAX)?;
    let several = ports.len() > 1;
    for (at, _) in items.iter().zip(&ports).filter(|(_, port)| several && port.name.is_none()) {
        at.below("name").error::<()>("of several ports each needs a name");
    }
    let with_place = || items.iter().cloned().zip(&ports);
    check_unique(
        with_place().filter_map(|(at, port)| Some((at.below("name"), port.name.as_ref()?))),
        |name, first| format!("the name {} is taken by {first}", quoted(name)),
    );
    check_unique(
        with_place().map(|(at, port)| (at, (port.port, port.protocol))),
        |(port, _), first| format!("port {port} is already listed as {first}"),
    );
    Some(ports)
}

fn read_port(at: &At<'_>) -> Option<ServicePort> {
    let known = &["name", "port", "targetPort", "protocol", "appProtocol", "nodePort"];
    let object = at.object(fields(known))?;
    let name = object
        .maybe("name", |at| at.parsed(|text| names::port_name(text).map(|()| text.to_owned())));
    let port = object.need("port", At::port);
    let target_port = object.maybe("targetPort", read_target_port);
    let protocol = object.or("protocol", Protocol::Tcp, read_protocol);
    let app_protocol = object.maybe("appProtocol", read_app_protocol);
    if let Some(at) = object.field("nodePort").filter(At::is_standalone) {
        at.warning("has no effect outside Kubernetes");
    }
    Some(ServicePort {
        name: name?,
        port: port?,
        target_port: target_port?.unwrap_or(TargetPort::Number(port?)),
        protocol: protocol?,
        app_protocol: app_protocol?.flatten(),
    })
}

fn read_target_port(at: &At<'_>) -> Option<TargetPort> {
    if matches!(at.node.value, crate::node::Value::Int(_)) {
        return at.port().map(TargetPort::Number);
    }
    let text = at.text()?;
    if text.parse::<i64>().is_ok() {
        return at.error_help(
            format!("{} is a string, so it would be the name of a port", quoted(text)),
            format!("for the number leave out the quotes: {text}"),
        );
    }
    match names::target_port_name(text) {
        Ok(()) => Some(TargetPort::Name(text.to_owned())),
        Err(why) => at.error(why),
    }
}

pub(crate) fn read_protocol(at: &At<'_>) -> Option<Protocol> {
    let all = [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];
    match at.choice(&all, &[])? {
        Protocol::Udp | Protocol::Sctp if at.is_standalone() => at.not_yet(quoted(at.text()?)),
        protocol => Some(protocol),
    }
}

/// The declared protocol; `Some(None)` with a warning if it is none that is known.
pub(crate) fn read_app_protocol(at: &At<'_>) -> Option<Option<AppProtocol>> {
    let text = at.text()?;
    if let Err(why) = names::label_key(text) {
        return at.error(why);
    }
    Some(Some(match text {
        "http" => AppProtocol::Http,
        "http2" | "kubernetes.io/h2c" => AppProtocol::Http2,
        "grpc" => AppProtocol::Grpc,
        "kubernetes.io/ws" => AppProtocol::WebSocket,
        "tls" | "https" | "kubernetes.io/wss" => AppProtocol::Tls,
        "tcp" => AppProtocol::Tcp,
        other => {
            let message = format!("{} is not known here: the first bytes decide", quoted(other));
            at.warning(message);
            return Some(None);
        }
    }))
}

#[cfg(test)]
mod tests;
