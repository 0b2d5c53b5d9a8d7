//! A workload, on the wire.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use prost::{Message, Oneof};
use weft_model::{
    Health, Label, Locality, Network, ObjectName, Port, Tunnel, Workload, WorkloadPort,
};

use super::common::{
    PortPair, from_ip, from_mtls, from_port, from_protocol, list, needed, numbered, to_ip, to_mtls,
    to_port, to_protocol,
};
use super::health_check::HealthCheckMessage;
use crate::error::{At, FieldError};

numbered!(from_health, to_health, Health, { Healthy = 1, Unhealthy = 2, Draining = 3 });

#[derive(Clone, PartialEq, Message)]
pub(super) struct WorkloadBody {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(string, optional, tag = "2")]
    identity: Option<String>,
    #[prost(string, tag = "3")]
    network: String,
    #[prost(bytes = "vec", repeated, tag = "4")]
    addresses: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    locality: Option<LocalityMessage>,
    #[prost(int32, tag = "6")]
    health: i32,
    #[prost(message, repeated, tag = "7")]
    ports: Vec<WorkloadPortMessage>,
    #[prost(int32, tag = "8")]
    mtls: i32,
    #[prost(message, repeated, tag = "9")]
    services: Vec<WorkloadServiceMessage>,
    #[prost(oneof = "TunnelMessage", tags = "10, 11, 12")]
    tunnel: Option<TunnelMessage>,
    /// Only the workload's own proxy looks at them. Others need not know them to call it, so no
    /// feature is required.
    #[prost(message, repeated, tag = "13")]
    health_checks: Vec<HealthCheckMessage>,
    /// What the Services choose by; these require the feature.
    #[prost(btree_map = "string, string", tag = "14")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct LocalityMessage {
    #[prost(string, tag = "1")]
    region: String,
    #[prost(string, optional, tag = "2")]
    zone: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct WorkloadPortMessage {
    #[prost(uint32, tag = "1")]
    port: u32,
    #[prost(int32, tag = "2")]
    protocol: i32,
    #[prost(int32, tag = "3")]
    mtls: i32,
}

#[derive(Clone, PartialEq, Message)]
struct WorkloadServiceMessage {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(message, repeated, tag = "2")]
    ports: Vec<PortPair>,
}

#[derive(Clone, PartialEq, Oneof)]
enum TunnelMessage {
    #[prost(message, tag = "10")]
    None(Nothing),
    #[prost(message, tag = "11")]
    PerPort(PerPort),
    #[prost(message, tag = "12")]
    One(SocketMessage),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct PerPort {
    #[prost(message, repeated, tag = "1")]
    elsewhere: Vec<PortPair>,
}

#[derive(Clone, PartialEq, Message)]
struct SocketMessage {
    #[prost(bytes = "vec", tag = "1")]
    ip: Vec<u8>,
    #[prost(uint32, tag = "2")]
    port: u32,
}

impl From<&Workload> for WorkloadBody {
    fn from(workload: &Workload) -> WorkloadBody {
        let Workload {
            name: _,
            generation,
            identity,
            network,
            addresses,
            locality,
            health,
            ports,
            mtls,
            services,
            labels,
            tunnel,
            health_checks,
        } = workload;
        let written = |(name, value): (&Label, &Label)| (name.to_string(), value.to_string());
        WorkloadBody {
            generation: *generation,
            identity: identity.as_ref().map(ToString::to_string),
            network: network.to_string(),
            addresses: addresses.iter().copied().map(from_ip).collect(),
            locality: locality.as_ref().map(LocalityMessage::new),
            health: from_health(*health),
            ports: ports.iter().map(WorkloadPortMessage::new).collect(),
            mtls: from_mtls(*mtls),
            services: services.iter().map(WorkloadServiceMessage::new).collect(),
            tunnel: Some(TunnelMessage::new(tunnel)),
            health_checks: health_checks.iter().map(HealthCheckMessage::from).collect(),
            labels: labels.iter().map(written).collect(),
        }
    }
}

impl WorkloadBody {
    pub(super) fn check(self, name: ObjectName) -> Result<Workload, FieldError> {
        let WorkloadBody {
            generation,
            identity,
            network,
            addresses,
            locality,
            health,
            ports,
            mtls,
            services,
            tunnel,
            health_checks,
            labels,
        } = self;
        let label = |(name, value): (String, String)| {
            Ok((Label::new(&name).at("name")?, Label::new(&value).at("value")?))
        };
        Ok(Workload {
            name,
            generation,
            identity: identity.map(|text| text.parse()).transpose().at("identity")?,
            network: Network::new(&network).at("network")?,
            addresses: list("addresses", addresses, |bytes: Vec<u8>| to_ip(&bytes))?,
            locality: locality.map(LocalityMessage::check).transpose().at("locality")?,
            health: to_health(health).at("health")?,
            ports: list("ports", ports, WorkloadPortMessage::check)?,
            mtls: to_mtls(mtls).at("mtls")?,
            services: list("services", services, WorkloadServiceMessage::check)?,
            labels: list("labels", labels.into_iter().collect(), label)?,
            tunnel: needed("tunnel", tunnel)?.check().at("tunnel")?,
            health_checks: list("health_checks", health_checks, HealthCheckMessage::check)?,
        })
    }
}

impl LocalityMessage {
    fn new(locality: &Locality) -> LocalityMessage {
        LocalityMessage {
            region: locality.region().to_owned(),
            zone: locality.zone().map(str::to_owned),
        }
    }

    fn check(self) -> Result<Locality, FieldError> {
        let LocalityMessage { region, zone } = self;
        Ok(Locality::new(&region, zone.as_deref())?)
    }
}

impl WorkloadPortMessage {
    fn new((port, settings): (&Port, &WorkloadPort)) -> WorkloadPortMessage {
        let WorkloadPort { protocol, mtls } = settings;
        WorkloadPortMessage {
            port: from_port(*port),
            protocol: from_protocol(*protocol),
            mtls: from_mtls(*mtls),
        }
    }

    fn check(self) -> Result<(Port, WorkloadPort), FieldError> {
        let WorkloadPortMessage { port, protocol, mtls } = self;
        let settings = WorkloadPort {
            protocol: to_protocol(protocol).at("protocol")?,
            mtls: to_mtls(mtls).at("mtls")?,
        };
        Ok((to_port(port).at("port")?, settings))
    }
}

impl WorkloadServiceMessage {
    fn new((service, ports): (&ObjectName, &BTreeMap<Port, Port>)) -> WorkloadServiceMessage {
        let ports = ports.iter().map(PortPair::new).collect();
        WorkloadServiceMessage { service: service.to_string(), ports }
    }

    fn check(self) -> Result<(ObjectName, BTreeMap<Port, Port>), FieldError> {
        let WorkloadServiceMessage { service, ports } = self;
        Ok((service.parse().at("service")?, list("ports", ports, PortPair::check)?))
    }
}

impl TunnelMessage {
    fn new(tunnel: &Tunnel) -> TunnelMessage {
        match tunnel {
            Tunnel::None => TunnelMessage::None(Nothing {}),
            Tunnel::PerPort { elsewhere } => {
                let elsewhere = elsewhere.iter().map(PortPair::new).collect();
                TunnelMessage::PerPort(PerPort { elsewhere })
            }
            Tunnel::One(address) => TunnelMessage::One(SocketMessage {
                ip: from_ip(address.ip()),
                port: address.port().into(),
            }),
        }
    }

    fn check(self) -> Result<Tunnel, FieldError> {
        Ok(match self {
            TunnelMessage::None(Nothing {}) => Tunnel::None,
            TunnelMessage::PerPort(PerPort { elsewhere }) => {
                Tunnel::PerPort { elsewhere: list("elsewhere", elsewhere, PortPair::check)? }
            }
            TunnelMessage::One(SocketMessage { ip, port }) => {
                let ip: IpAddr = to_ip(&ip).at("ip")?;
                Tunnel::One(SocketAddr::new(ip, to_port(port).at("port")?.get()))
            }
        })
    }
}
