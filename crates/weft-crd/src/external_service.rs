//! `weft.dev/v1alpha1` ExternalService: a destination outside of the mesh.
//!
//! Deliberately absent: which of two has a host, which takes more than one object to see.

use std::net::IpAddr;

use crate::cidr::Cidr;
use crate::finding::quoted;
use crate::metadata::{Header, Metadata};
use crate::names;
use crate::reader::{At, Fields, check_unique, fields};
use crate::service::{AppProtocol, read_app_protocol};
use crate::tls_origination::{self, TlsOrigination};
use crate::units::Port;

/// A destination outside of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalService {
    /// What every object has.
    pub metadata: Metadata,
    /// Its hosts; the first label may be `*`. One of this and `cidrs` is not empty.
    pub hosts: Vec<String>,
    /// Its blocks of addresses.
    pub cidrs: Vec<Cidr>,
    /// Its ports.
    pub ports: Vec<ExternalPort>,
    /// Where its hosts are. Empty: where DNS says.
    pub endpoints: Vec<ExternalEndpoint>,
}

/// A port of a destination outside of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalPort {
    /// Its name.
    pub name: Option<String>,
    /// The port.
    pub port: Port,
    /// The protocol above TCP. Absent: the first bytes decide.
    pub app_protocol: Option<AppProtocol>,
    /// How the caller's proxy opens TLS. Absent: what the program says goes out as it is.
    pub tls: Option<TlsOrigination>,
}

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalEndpoint {
    /// The address.
    pub address: IpAddr,
    /// The port there. Absent: the one that is called.
    pub port: Option<Port>,
}

/// Bounds, not recommendations.
const HOSTS_MAX: usize = 64;
const CIDRS_MAX: usize = 64;
const PORTS_MAX: usize = 64;
const ENDPOINTS_MAX: usize = 64;

/// How many bytes of certificates its ports have together: it must fit into one message to proxies,
/// as otherwise they would not know that there is TLS.
pub const ROOTS_BYTES_MAX: usize = 512 << 10;

const FIELDS: Fields = Fields {
    known: &["hosts", "cidrs", "ports", "endpoints"],
    not_yet: &[],
    ignored: &[],
    no_nulls: true,
};

const PORT_FIELDS: Fields = Fields {
    known: &["name", "port", "appProtocol", "tls"],
    not_yet: &[],
    ignored: &[],
    no_nulls: true,
};

pub(crate) fn read(header: Header, at: &At<'_>) -> Option<ExternalService> {
    let object = at.object(FIELDS)?;
    let hosts = object.or("hosts", Vec::new(), read_hosts);
    let cidrs = object.or("cidrs", Vec::new(), read_cidrs);
    let ports = object.need("ports", read_ports);
    let endpoints = object.or("endpoints", Vec::new(), read_endpoints);
    let (hosts, cidrs, ports, endpoints) = (hosts?, cidrs?, ports?, endpoints?);
    if hosts.is_empty() && cidrs.is_empty() {
        return at.error("at least one of hosts, cidrs is required");
    }
    if hosts.is_empty() && !endpoints.is_empty() {
        let message = "is where hosts are, and there are none: an address is called itself";
        return object.field("endpoints")?.error(message);
    }
    if ports.len() > 1 && endpoints.iter().any(|endpoint| endpoint.port.is_some()) {
        let message = "a port of an endpoint is in the place of one port, and there are several";
        return object.field("endpoints")?.error(message);
    }
    let roots: usize = ports.iter().filter_map(|port| Some(port.tls.as_ref()?.roots.size())).sum();
    if roots > ROOTS_BYTES_MAX {
        let message = format!(
            "{roots} bytes of certificates are not allowed, the most is {ROOTS_BYTES_MAX} for all \
             ports together"
        );
        return object.field("ports")?.error(message);
    }
    if !cidrs.is_empty() {
        name_for_addresses(&object.field("ports")?, &ports)?;
    }
    Some(ExternalService { metadata: header.metadata?, hosts, cidrs, ports, endpoints })
}

fn read_hosts(at: &At<'_>) -> Option<Vec<String>> {
    let hosts = at.filled_list(HOSTS_MAX, "leave it out where there are only cidrs", read_host)?;
    let places = at.items(HOSTS_MAX)?;
    let unique = check_unique(places.into_iter().zip(&hosts), |host, first| {
        format!("{} is already listed as {first}", quoted(host))
    });
    unique.then_some(hosts)
}

/// A host that cannot be a name of the mesh's own.
fn read_host(at: &At<'_>) -> Option<String> {
    let host = at.parsed(|text| names::hostname(text).map(|()| text.to_owned()))?;
    let plain = host.strip_prefix("*.").unwrap_or(&host);
    let ends_with = |end: &str| plain == end || plain.ends_with(&format!(".{end}"));
    if ends_with("svc") {
        return at.error(format!("{} is a name of Services, which the mesh has", quoted(&host)));
    }
    if ends_with("localhost") {
        return at.error(format!("{} is the workload itself", quoted(&host)));
    }
    if !host.contains('.') {
        return at.error(format!(
            "{} is what a Service of the own namespace is called: an outside host has a dot",
            quoted(&host)
        ));
    }
    Some(host)
}

fn read_cidrs(at: &At<'_>) -> Option<Vec<Cidr>> {
    let cidrs = at.filled_list(CIDRS_MAX, "leave it out where there are only hosts", |at| {
        let block = at.parsed(Cidr::parse)?;
        no_own_machine(at, |own| own.contains(block.first()) || block.contains(own.first()))?;
        Some(block)
    })?;
    let places = at.items(CIDRS_MAX)?;
    let unique = check_unique(places.into_iter().zip(&cidrs), |block, first| {
        format!("{block} is already listed as {first}")
    });
    unique.then_some(cidrs)
}

/// Refuses what `overlaps` a block that is not outside of the machine, or not of one machine: it
/// would lead into the network of the proxy, which may be another one than that of its workload.
fn no_own_machine(at: &At<'_>, overlaps: impl Fn(Cidr) -> bool) -> Option<()> {
    let inside = ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "::/127", "ff00::/8"];
    let mut blocks = inside.iter().filter_map(|text| Cidr::parse(text).ok());
    match blocks.find(|own| overlaps(*own)) {
        None => Some(()),
        Some(own) => at.error(format!(
            "{} overlaps {own}, which is not outside of the machine",
            quoted(at.text()?)
        )),
    }
}

fn read_ports(at: &At<'_>) -> Option<Vec<ExternalPort>> {
    let why = "a destination without a port cannot be called";
    let ports = at.filled_list(PORTS_MAX, why, read_port)?;
    let items = at.items(PORTS_MAX)?;
    let with_place = || items.iter().cloned().zip(&ports);
    let names_unique = check_unique(
        with_place().filter_map(|(at, port)| Some((at.below("name"), port.name.as_ref()?))),
        |name, first| format!("the name {} is taken by {first}", quoted(name)),
    );
    let ports_unique = check_unique(
        with_place().map(|(at, port)| (at.below("port"), port.port)),
        |port, first| format!("port {port} is already listed as {first}"),
    );
    (names_unique && ports_unique).then_some(ports)
}

/// An address proves nothing: where there are any, `ports` with TLS say what is to be proved.
fn name_for_addresses(at: &At<'_>, ports: &[ExternalPort]) -> Option<()> {
    let is_nameless = |tls: &TlsOrigination| tls.hostname.is_none();
    let places = at.items(PORTS_MAX)?.into_iter().zip(ports);
    let wrong = places.filter(|(_, port)| port.tls.as_ref().is_some_and(is_nameless));
    let wrong: Vec<_> = wrong.map(|(at, _)| at.below("tls")).collect();
    for at in &wrong {
        at.error::<()>("hostname is required where there are cidrs: an address has no name");
    }
    wrong.is_empty().then_some(())
}

fn read_port(at: &At<'_>) -> Option<ExternalPort> {
    let object = at.object(PORT_FIELDS)?;
    let name = object
        .maybe("name", |at| at.parsed(|text| names::port_name(text).map(|()| text.to_owned())));
    let port = object.need("port", At::port);
    let app_protocol = object.maybe("appProtocol", read_app_protocol);
    let tls = object.maybe("tls", tls_origination::read);
    let (app_protocol, tls) = (app_protocol?.flatten(), tls?);
    if let (Some(AppProtocol::Tls), Some(_)) = (app_protocol, &tls) {
        return object.field("tls")?.error_help(
            "the program speaks TLS itself, as appProtocol says: TLS is not put into TLS",
            "declare what the program says to its proxy, such as appProtocol: http",
        );
    }
    Some(ExternalPort { name: name?, port: port?, app_protocol, tls })
}

fn read_endpoints(at: &At<'_>) -> Option<Vec<ExternalEndpoint>> {
    let why = "leave it out, and DNS says where the hosts are";
    let endpoints = at.filled_list(ENDPOINTS_MAX, why, |at| {
        let object = at.object(fields(&["address", "port"]).without_nulls())?;
        let address = object.need("address", read_address);
        let port = object.maybe("port", At::port);
        Some(ExternalEndpoint { address: address?, port: port? })
    })?;
    let places = at.items(ENDPOINTS_MAX)?;
    let unique = check_unique(places.into_iter().zip(&endpoints), |_, first| {
        format!("names the same as {first}")
    });
    unique.then_some(endpoints)
}

fn read_address(at: &At<'_>) -> Option<IpAddr> {
    let text = at.text()?;
    let Ok(address) = text.parse() else {
        return at.error(format!("{} is not an address", quoted(text)));
    };
    no_own_machine(at, |own| own.contains(address))?;
    Some(address)
}

#[cfg(test)]
mod tests;
