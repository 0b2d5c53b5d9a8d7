//! `weft.dev/v1alpha1` Workload: a running instance outside Kubernetes.
//!
//! Services select it by its labels, as they do pods.
//!
//! Deliberately absent: a health check of its own, refused by name, since BackendPolicies ask for
//! checks; whether it is alive, which is its lease's to say.

use std::net::IpAddr;

use crate::finding::quoted;
use crate::metadata::{Header, Metadata};
use crate::names;
use crate::reader::{At, Fields, check_unique, fields};
use crate::service::{AppProtocol, read_app_protocol};
use crate::units::Port;

/// A running instance outside Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What every object has. Services select by its labels.
    pub metadata: Metadata,
    /// The service account it runs as, in its own namespace. Default: `default`.
    pub service_account: String,
    /// The addresses it is reached at.
    pub addresses: Vec<IpAddr>,
    /// The ports that its application listens on.
    pub ports: Vec<WorkloadPort>,
    /// The port that its proxy takes tunnels on. Absent: each port of the application itself.
    pub tunnel_port: Option<Port>,
    /// Where it runs.
    pub locality: Option<Locality>,
    /// Which of the instances that had this name it is; grows. Default: 0.
    pub generation: u64,
}

/// A port of a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadPort {
    /// Its name, by which a Service's `targetPort` may mean it.
    pub name: Option<String>,
    /// The port.
    pub port: Port,
    /// The protocol above TCP. Absent: the first bytes decide.
    pub app_protocol: Option<AppProtocol>,
}

/// A place, from wide to narrow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// The region.
    pub region: String,
    /// The zone in it.
    pub zone: Option<String>,
}

/// As many as one machine has at most; a bound, not a recommendation.
const ADDRESSES_MAX: usize = 16;
const PORTS_MAX: usize = 256;

const FIELDS: Fields = Fields {
    known: &["serviceAccount", "addresses", "ports", "tunnelPort", "locality", "generation"],
    not_yet: &["healthCheck", "network", "weight"],
    ignored: &[],
    no_nulls: false,
};

pub(crate) fn read(header: Header, at: &At<'_>) -> Option<Workload> {
    let object = at.object(FIELDS)?;
    let service_account = object.or("serviceAccount", "default".to_owned(), |at| {
        at.parsed(|text| names::dns_subdomain(text).map(|()| text.to_owned()))
    });
    let addresses = object.need("addresses", read_addresses);
    let ports = object.or("ports", Vec::new(), read_ports);
    let tunnel_port = object.maybe("tunnelPort", At::port);
    let locality = object.maybe("locality", read_locality);
    let generation = object.or("generation", 0, |at| {
        at.integer(0, i64::MAX).and_then(|number| u64::try_from(number).ok())
    });
    Some(Workload {
        metadata: header.metadata?,
        service_account: service_account?,
        addresses: addresses?,
        ports: ports?,
        tunnel_port: tunnel_port?,
        locality: locality?,
        generation: generation?,
    })
}

fn read_addresses(at: &At<'_>) -> Option<Vec<IpAddr>> {
    let why = "a workload is reached at some address";
    let addresses = at.filled_list(ADDRESSES_MAX, why, read_address)?;
    let places = at.items(ADDRESSES_MAX)?;
    let unique = check_unique(places.into_iter().zip(addresses.iter()), |address, first| {
        format!("{address} is already listed as {first}")
    });
    unique.then_some(addresses)
}

fn read_address(at: &At<'_>) -> Option<IpAddr> {
    let text = at.text()?;
    let address: IpAddr = match text.parse() {
        Ok(address) => address,
        Err(_) => return at.error(format!("{} is not an address", quoted(text))),
    };
    // Loopback is fine: on one machine, a proxy may listen there.
    if address.is_unspecified() || address.is_multicast() {
        return at.error(format!("{address} is not the address of one machine"));
    }
    Some(address)
}

fn read_ports(at: &At<'_>) -> Option<Vec<WorkloadPort>> {
    let ports = at.list(PORTS_MAX, read_port)?;
    let items = at.items(PORTS_MAX)?;
    let with_place = || items.iter().cloned().zip(&ports);
    let names_unique = check_unique(
        with_place().filter_map(|(at, port)| Some((at, port.name.as_ref()?))),
        |name, first| format!("the name {} is taken by {first}", quoted(name)),
    );
    let ports_unique =
        check_unique(with_place().map(|(at, port)| (at, port.port)), |port, first| {
            format!("port {port} is already listed as {first}")
        });
    (names_unique && ports_unique).then_some(ports)
}

fn read_port(at: &At<'_>) -> Option<WorkloadPort> {
    let object = at.object(fields(&["name", "port", "protocol", "appProtocol"]))?;
    let name = object
        .maybe("name", |at| at.parsed(|text| names::port_name(text).map(|()| text.to_owned())));
    let port = object.need("port", At::port);
    let protocol = object.or("protocol", (), |at| at.choice(&[("TCP", ())], &["UDP", "SCTP"]));
    let app_protocol = object.maybe("appProtocol", read_app_protocol);
    let () = protocol?;
    Some(WorkloadPort { name: name?, port: port?, app_protocol: app_protocol?.flatten() })
}

fn read_locality(at: &At<'_>) -> Option<Locality> {
    let object = at.object(fields(&["region", "zone"]))?;
    let place = |at: &At<'_>| {
        at.parsed(|text| match text {
            "" => Err("must not be empty".to_owned()),
            text => names::label_value(text).map(|()| text.to_owned()),
        })
    };
    let region = object.need("region", place);
    let zone = object.maybe("zone", place);
    Some(Locality { region: region?, zone: zone? })
}

#[cfg(test)]
mod tests;
