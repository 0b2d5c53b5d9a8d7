//! A Service, on the wire.

use prost::Message;
use weft_model::{ObjectName, Port, Service, ServicePort};

use super::common::{
    AddressMessage, from_mtls, from_port, from_protocol, list, needed, to_mtls, to_port,
    to_protocol,
};
use super::traffic::TrafficMessage;
use crate::error::{At, FieldError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct ServiceBody {
    #[prost(message, repeated, tag = "1")]
    vips: Vec<AddressMessage>,
    #[prost(message, repeated, tag = "2")]
    ports: Vec<ServicePortMessage>,
    #[prost(message, optional, tag = "3")]
    traffic: Option<TrafficMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ServicePortMessage {
    #[prost(uint32, tag = "1")]
    port: u32,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(int32, tag = "3")]
    protocol: i32,
    #[prost(int32, tag = "4")]
    mtls: i32,
    #[prost(message, optional, boxed, tag = "5")]
    traffic: Option<Box<TrafficMessage>>,
}

impl From<&Service> for ServiceBody {
    fn from(service: &Service) -> ServiceBody {
        let Service { name: _, vips, ports, traffic } = service;
        ServiceBody {
            vips: vips.iter().map(Into::into).collect(),
            ports: ports.iter().map(ServicePortMessage::new).collect(),
            traffic: Some(traffic.into()),
        }
    }
}

impl ServiceBody {
    pub(super) fn check(self, name: ObjectName) -> Result<Service, FieldError> {
        let ServiceBody { vips, ports, traffic } = self;
        Ok(Service {
            name,
            vips: list("vips", vips, AddressMessage::check)?,
            ports: list("ports", ports, ServicePortMessage::check)?,
            traffic: needed("traffic", traffic)?.check().at("traffic")?,
        })
    }
}

impl ServicePortMessage {
    fn new((port, settings): (&Port, &ServicePort)) -> ServicePortMessage {
        let ServicePort { name, protocol, mtls, traffic } = settings;
        ServicePortMessage {
            port: from_port(*port),
            name: name.clone(),
            protocol: from_protocol(*protocol),
            mtls: from_mtls(*mtls),
            traffic: traffic.as_deref().map(|traffic| Box::new(traffic.into())),
        }
    }

    fn check(self) -> Result<(Port, ServicePort), FieldError> {
        let ServicePortMessage { port, name, protocol, mtls, traffic } = self;
        let traffic = traffic.map(|traffic| traffic.check().map(Box::new));
        let settings = ServicePort {
            name,
            protocol: to_protocol(protocol).at("protocol")?,
            mtls: to_mtls(mtls).at("mtls")?,
            traffic: traffic.transpose().at("traffic")?,
        };
        Ok((to_port(port).at("port")?, settings))
    }
}
