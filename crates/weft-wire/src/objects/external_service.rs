//! A destination outside of the mesh, on the wire.

use prost::Message;
use weft_model::{ExternalEndpoint, ExternalPort, ExternalService, HostPattern, ObjectName, Port};

use super::common::{
    CidrMessage, from_ip, from_port, from_protocol, list, needed, to_ip, to_port, to_protocol,
};
use super::tls_origination::TlsMessage;
use super::traffic::TrafficMessage;
use crate::error::{At, FieldError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExternalBody {
    #[prost(bool, tag = "1")]
    is_for_mesh: bool,
    #[prost(string, repeated, tag = "2")]
    hosts: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    cidrs: Vec<CidrMessage>,
    #[prost(message, repeated, tag = "4")]
    ports: Vec<PortMessage>,
    #[prost(message, repeated, tag = "5")]
    endpoints: Vec<EndpointMessage>,
    #[prost(message, optional, tag = "6")]
    traffic: Option<TrafficMessage>,
    #[prost(string, repeated, tag = "7")]
    routes: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct PortMessage {
    #[prost(uint32, tag = "1")]
    port: u32,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(int32, tag = "3")]
    protocol: i32,
    #[prost(message, optional, tag = "4")]
    tls: Option<TlsMessage>,
    #[prost(message, optional, boxed, tag = "5")]
    traffic: Option<Box<TrafficMessage>>,
}

#[derive(Clone, PartialEq, Message)]
struct EndpointMessage {
    #[prost(bytes = "vec", tag = "1")]
    ip: Vec<u8>,
    #[prost(uint32, optional, tag = "2")]
    port: Option<u32>,
}

impl From<&ExternalService> for ExternalBody {
    fn from(external: &ExternalService) -> ExternalBody {
        let ExternalService {
            name: _,
            is_for_mesh,
            hosts,
            cidrs,
            ports,
            endpoints,
            traffic,
            routes,
        } = external;
        ExternalBody {
            is_for_mesh: *is_for_mesh,
            hosts: hosts.iter().map(ToString::to_string).collect(),
            cidrs: cidrs.iter().map(Into::into).collect(),
            ports: ports.iter().map(PortMessage::new).collect(),
            endpoints: endpoints.iter().map(EndpointMessage::new).collect(),
            traffic: Some(traffic.into()),
            routes: routes.iter().map(ToString::to_string).collect(),
        }
    }
}

impl ExternalBody {
    pub(super) fn check(self, name: ObjectName) -> Result<ExternalService, FieldError> {
        let ExternalBody { is_for_mesh, hosts, cidrs, ports, endpoints, traffic, routes } = self;
        Ok(ExternalService {
            name,
            is_for_mesh,
            hosts: list("hosts", hosts, |text| Ok(HostPattern::new(&text)?))?,
            cidrs: list("cidrs", cidrs, CidrMessage::check)?,
            ports: list("ports", ports, PortMessage::check)?,
            endpoints: list("endpoints", endpoints, EndpointMessage::check)?,
            traffic: needed("traffic", traffic)?.check().at("traffic")?,
            routes: list("routes", routes, |text| Ok(text.parse()?))?,
        })
    }
}

impl PortMessage {
    fn new((port, settings): (&Port, &ExternalPort)) -> PortMessage {
        let ExternalPort { name, protocol, tls, traffic } = settings;
        PortMessage {
            port: from_port(*port),
            name: name.clone(),
            protocol: from_protocol(*protocol),
            tls: tls.as_ref().map(Into::into),
            traffic: traffic.as_deref().map(|traffic| Box::new(traffic.into())),
        }
    }

    fn check(self) -> Result<(Port, ExternalPort), FieldError> {
        let PortMessage { port, name, protocol, tls, traffic } = self;
        let protocol = to_protocol(protocol).at("protocol")?;
        let tls = tls.map(|tls| tls.check().at("tls")).transpose()?;
        let traffic = traffic.map(|traffic| traffic.check().map(Box::new));
        let traffic = traffic.transpose().at("traffic")?;
        Ok((to_port(port).at("port")?, ExternalPort { name, protocol, tls, traffic }))
    }
}

impl EndpointMessage {
    fn new(endpoint: &ExternalEndpoint) -> EndpointMessage {
        let ExternalEndpoint { ip, port } = endpoint;
        EndpointMessage { ip: from_ip(*ip), port: port.map(from_port) }
    }

    fn check(self) -> Result<ExternalEndpoint, FieldError> {
        let EndpointMessage { ip, port } = self;
        let port = port.map(|port| to_port(port).at("port")).transpose()?;
        Ok(ExternalEndpoint { ip: to_ip(&ip).at("ip")?, port })
    }
}
