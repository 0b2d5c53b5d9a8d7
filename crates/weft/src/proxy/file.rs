//! The file of `weft proxy`: as it is written, and as it may be relied on.

mod fields;
mod raw;
mod tls;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use weft_control::api::{self, RegisterRequest, RegisteredProtocol};
use weft_identity::{Credentials, JoinToken, Svid, TrustBundle};
use weft_model::{HostPattern, ObjectName, Port, Protocol, SpiffeId, TlsOrigination, TrustDomain};
use weft_proxy::StartError;
use weft_proxy::config::{Inbound, InboundOwn, Listen, Outbound, OutboundTo};
use weft_proxy::snapshot::{EndpointSpec, OwnWorkload, Reach, TunnelTarget};
use weft_world::{Files, World};

use self::raw::{
    RawEndpoint, RawFile, RawIdentity, RawInbound, RawLocality, RawOutbound, RawPort, RawProtocol,
    RawWorkload, RawWorkloadPort,
};
use crate::joined::{self, Workload};

/// The file as it may be relied on.
pub(super) struct Checked {
    pub(super) identity: Option<Identity>,
    pub(super) outbound: Vec<Outbound>,
    pub(super) inbound: Vec<FixedInbound>,
    pub(super) workload: Option<Registered>,
    /// Where the proxy keeps its certificate and what it knows of the mesh.
    pub(super) data: Option<PathBuf>,
}

/// A listener for tunnels to a workload that the file describes.
pub(super) struct FixedInbound {
    listen: Listen,
    workload: ObjectName,
    generation: u64,
    ports: BTreeMap<Port, (Protocol, SocketAddr)>,
}

impl FixedInbound {
    /// The same, open.
    pub(super) fn open(self, world: &World) -> Result<FixedInbound, StartError> {
        let listen = Listen::Open(weft_proxy::open(&*world.network, self.listen)?);
        Ok(FixedInbound { listen, ..self })
    }

    /// The listener of the proxy whose identity is of `trust_domain`.
    pub(super) fn of(self, trust_domain: &TrustDomain) -> Inbound {
        let FixedInbound { listen, workload, generation, ports } = self;
        let ports = ports.into_iter().map(|(port, (protocol, at))| (port, protocol, at));
        Inbound::fixed(listen, workload, generation, trust_domain, ports)
    }
}

/// A workload as it registers itself.
pub(super) struct Registered {
    pub(super) name: ObjectName,
    pub(super) services: Vec<ObjectName>,
    pub(super) listen: SocketAddr,
    /// Where others reach the proxy.
    pub(super) address: IpAddr,
    pub(super) ports: BTreeMap<Port, RegisteredPort>,
    pub(super) locality: Option<RawLocality>,
}

impl Registered {
    /// Opens the listener for its tunnels, and says what is to be registered.
    ///
    /// `data`: where the proxy keeps what it knows.
    pub(super) fn open(
        self,
        world: &World,
        data: Option<&Path>,
    ) -> anyhow::Result<(Workload, Inbound)> {
        let Registered { name, services, listen, address, ports, locality } = self;
        let listener =
            weft_proxy::open(&*world.network, listen.into()).context("workload.listen")?;
        let tunnel_port = listener.local_address().port();
        let generation = joined::generation(world, data);
        let entry = |(port, entry): (&Port, &RegisteredPort)| api::RegisteredPort {
            port: port.get(),
            service_port: entry.service_port.map(Port::get),
            protocol: entry.protocol,
        };
        let (region, zone) = locality.map(|place| (place.region, place.zone)).unzip();
        let registration = RegisterRequest {
            workload: name.to_string(),
            generation,
            services: services.iter().map(ToString::to_string).collect(),
            ports: ports.iter().map(entry).collect(),
            addresses: vec![address],
            tunnel_port,
            region,
            zone: zone.flatten(),
        };
        let applications =
            ports.iter().filter_map(|(port, entry)| Some((*port, entry.application?))).collect();
        let own = OwnWorkload { name, generation, applications };
        let inbound = Inbound { listen: Listen::Open(listener), own: InboundOwn::Discovered };
        Ok((Workload { registration, own }, inbound))
    }
}

/// A port of the application of a registered workload.
pub(super) struct RegisteredPort {
    pub(super) service_port: Option<Port>,
    pub(super) protocol: Option<RegisteredProtocol>,
    pub(super) application: Option<SocketAddr>,
}

/// Where an identity comes from.
pub(super) enum Identity {
    /// From files, as it is.
    Given(Box<Credentials>),
    /// From a control plane, which renews it.
    Joined(Box<Joining>),
}

/// What is needed to get an identity from a control plane.
pub(super) struct Joining {
    pub(super) token: JoinToken,
    pub(super) service_account: ObjectName,
    pub(super) services: Vec<ObjectName>,
}

/// Reads and checks the file at `path`, and the files that it names.
pub(super) fn load(files: &dyn Files, path: &Path) -> anyhow::Result<Checked> {
    let text = String::from_utf8(super::read(files, path)?)
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    let raw = serde_saphyr::from_str(&text).map_err(|error| fields::malformed(path, &text, &error));
    let directory = path.parent().unwrap_or(Path::new("."));
    check(files, directory, raw?).with_context(|| format!("{} cannot be used", path.display()))
}

/// Checks what was read, all of it.
fn check(files: &dyn Files, directory: &Path, raw: RawFile) -> anyhow::Result<Checked> {
    let RawFile { identity, outbound, inbound, workload, data } = raw;
    ensure!(
        !outbound.is_empty() || !inbound.is_empty() || workload.is_some(),
        "none of `outbound`, `inbound` and `workload` names a listener"
    );
    // What else is right depends on it.
    let identity = identity.map(|raw| check_identity(files, directory, raw)).transpose()?;
    let own = identity.as_ref();
    let mut wrong = Vec::new();
    let outbound =
        all("outbound", outbound, &mut wrong, |raw| check_outbound(files, directory, raw, own));
    let inbound = all("inbound", inbound, &mut wrong, |raw| check_inbound(raw, own));
    let workload = workload.map(|raw| check_workload(raw, own)).transpose();
    let workload = workload.context("workload").unwrap_or_else(|error| {
        wrong.push(error);
        None
    });
    if wrong.len() > 1 {
        let lines: Vec<_> = wrong.iter().map(|error| format!("{error:#}")).collect();
        bail!("{} things are wrong:\n  {}", lines.len(), lines.join("\n  "));
    }
    if let Some(error) = wrong.pop() {
        return Err(error);
    }
    let data = data.map(|path| directory.join(path));
    Ok(Checked { identity, outbound, inbound, workload, data })
}

/// Checks each item of a list; adds to `wrong` what is wrong, and says with which.
fn all<R, C>(
    name: &str,
    list: Vec<R>,
    wrong: &mut Vec<anyhow::Error>,
    check: impl Fn(R) -> anyhow::Result<C>,
) -> Vec<C> {
    let mut checked = Vec::new();
    for (index, raw) in list.into_iter().enumerate() {
        match check(raw).with_context(|| format!("{name}[{index}]")) {
            Ok(item) => checked.push(item),
            Err(error) => wrong.push(error),
        }
    }
    checked
}

/// Checks each item of a list, with errors that say which.
fn each<R, C>(
    name: &str,
    list: Vec<R>,
    check: impl Fn(R) -> anyhow::Result<C>,
) -> anyhow::Result<Vec<C>> {
    list.into_iter()
        .enumerate()
        .map(|(index, raw)| check(raw).with_context(|| format!("{name}[{index}]")))
        .collect()
}

fn check_identity(
    files: &dyn Files,
    directory: &Path,
    raw: RawIdentity,
) -> anyhow::Result<Identity> {
    let RawIdentity { certificates, key, roots, join_token, service_account, services } = raw;
    match (certificates, key, roots, join_token) {
        (Some(certificates), Some(key), Some(roots), None) => {
            ensure!(
                service_account.is_none() && services.is_empty(),
                "identity: serviceAccount and services go with `joinToken` only"
            );
            let credentials = credentials(files, directory, &certificates, &key, &roots)?;
            Ok(Identity::Given(Box::new(credentials)))
        }
        (None, None, None, Some(path)) => {
            let text = super::read(files, &directory.join(&path))?;
            let text = std::str::from_utf8(&text).unwrap_or_default().trim();
            let token = JoinToken::parse(text)
                .with_context(|| format!("identity.joinToken: {}", path.display()))?;
            let account = service_account.context("identity.serviceAccount: needed to join")?;
            let service_account = account.parse().context("identity.serviceAccount")?;
            let services = each("identity.services", services, |text| Ok(text.parse()?))?;
            Ok(Identity::Joined(Box::new(Joining { token, service_account, services })))
        }
        _ => bail!("identity: either certificates, key and roots are needed, or joinToken"),
    }
}

fn credentials(
    files: &dyn Files,
    directory: &Path,
    certificates: &Path,
    key: &Path,
    roots: &Path,
) -> anyhow::Result<Credentials> {
    let read = |path: &Path| super::read(files, &directory.join(path));
    let svid = Svid::from_pem(&read(certificates)?, &read(key)?)
        .with_context(|| format!("identity: {} and {}", certificates.display(), key.display()))?;
    let bundle = TrustBundle::from_pem(svid.identity().trust_domain().clone(), &read(roots)?)
        .with_context(|| format!("identity.roots: {}", roots.display()))?;
    Ok(Credentials { svid, bundle })
}

fn protocol(raw: RawProtocol) -> Protocol {
    match raw {
        RawProtocol::Http => Protocol::Http,
        RawProtocol::Tcp => Protocol::Opaque,
        RawProtocol::Detect => Protocol::Detect,
    }
}

fn check_outbound(
    files: &dyn Files,
    directory: &Path,
    raw: RawOutbound,
    identity: Option<&Identity>,
) -> anyhow::Result<Outbound> {
    let RawOutbound { listen, protocol: raw_protocol, service, host, port, endpoints, tls } = raw;
    let service = service.map(|text| text.parse::<ObjectName>()).transpose().context("service")?;
    let Some(endpoints) = endpoints else {
        let is_joined = matches!(identity, Some(Identity::Joined(_)));
        ensure!(
            is_joined,
            "endpoints: needed, since no control plane could say them (`joinToken`)"
        );
        ensure!(raw_protocol.is_none(), "protocol: the Service says what is spoken on its ports");
        ensure!(tls.is_none(), "tls: it goes with `endpoints` only");
        let port = port.context("port: needed where no `endpoints` are given")?;
        let port = Port::new(port).context("port")?;
        let to = match (service, host) {
            (Some(service), None) => OutboundTo::Service(service, port),
            (None, Some(host)) => OutboundTo::Host(check_host(&host).context("host")?, port),
            _ => bail!("either service or host is needed where no `endpoints` are given"),
        };
        return Ok(Outbound { listen: Listen::At(listen), to });
    };
    ensure!(host.is_none(), "host: it goes without `endpoints`");
    ensure!(port.is_none(), "port: it goes with a `service` without `endpoints`");
    ensure!(!endpoints.is_empty(), "endpoints: at least one is needed");
    let protocol = protocol(raw_protocol.context("protocol: needed with `endpoints`")?);
    let name = service.as_ref().map_or_else(|| listen.to_string(), ToString::to_string);
    let has_identity = identity.is_some();
    let tls = tls.map(|raw| tls::check(files, directory, raw, has_identity)).transpose();
    let tls = tls.context("tls")?.map(Arc::new);
    let endpoints = each("endpoints", endpoints, |raw| {
        endpoint(raw, service.as_ref(), has_identity, tls.as_ref())
    })?;
    Ok(Outbound::fixed(listen, &name, protocol, endpoints))
}

/// A host outside of the mesh, as an ExternalService names it.
fn check_host(text: &str) -> anyhow::Result<Arc<str>> {
    match HostPattern::new(text)? {
        HostPattern::Exact(host) => Ok(host),
        HostPattern::Below(_) => bail!("one host is needed"),
    }
}

fn endpoint(
    raw: RawEndpoint,
    service: Option<&ObjectName>,
    has_identity: bool,
    tls: Option<&Arc<TlsOrigination>>,
) -> anyhow::Result<EndpointSpec> {
    let RawEndpoint { address, tunnel, identity, workload, generation, port } = raw;
    match (address, tunnel) {
        (Some(address), None) => {
            let is_plain =
                identity.is_none() && workload.is_none() && generation.is_none() && port.is_none();
            ensure!(is_plain, "identity, workload, generation and port go with `tunnel` only");
            let reach = tls.map_or(Reach::Plain, |tls| Reach::Tls(tls.clone()));
            Ok(EndpointSpec::new(address, reach))
        }
        (None, Some(tunnel)) => {
            ensure!(tls.is_none(), "tunnel: it has mutual TLS of its own, `tls` is for `address`");
            ensure!(has_identity, "tunnel: this file gives no `identity` to open one with");
            let identity: SpiffeId = identity.context("identity: needed with `tunnel`")?.parse()?;
            let workload = workload.context("workload: needed with `tunnel`")?;
            let workload: ObjectName = workload.parse().context("workload")?;
            let port = port.context("port: needed with `tunnel`")?;
            let port = Port::new(port).context("port")?;
            let generation = generation.unwrap_or_default();
            let service = service.cloned();
            let target = TunnelTarget { identity, workload, generation, service, port };
            Ok(EndpointSpec::new(tunnel, Reach::Tunnel(target)))
        }
        _ => bail!(
            "either `address` (plaintext, or TLS by `tls`) or `tunnel` (mutual TLS) is needed"
        ),
    }
}

fn check_inbound(raw: RawInbound, identity: Option<&Identity>) -> anyhow::Result<FixedInbound> {
    let RawInbound { listen, workload, generation, ports } = raw;
    ensure!(identity.is_some(), "this file gives no `identity` to prove to callers");
    let workload: ObjectName = workload.parse().context("workload")?;
    ensure!(!ports.is_empty(), "ports: at least one is needed");
    let mut checked = BTreeMap::new();
    for RawPort { port, protocol: raw_protocol, application } in ports {
        let port = Port::new(port).context("ports")?;
        let entry = (protocol(raw_protocol), application);
        ensure!(checked.insert(port, entry).is_none(), "ports: {port} is given twice");
    }
    Ok(FixedInbound { listen: listen.into(), workload, generation, ports: checked })
}

/// Checks what is to be registered, with the listener for its tunnels.
fn check_workload(raw: RawWorkload, identity: Option<&Identity>) -> anyhow::Result<Registered> {
    let RawWorkload { name, services, listen, address, ports, locality } = raw;
    let Some(Identity::Joined(joining)) = identity else {
        bail!("only a proxy with `identity.joinToken` can be registered");
    };
    let name: ObjectName = name.parse().context("name")?;
    let account = &joining.service_account;
    ensure!(
        name.namespace() == account.namespace(),
        "name: {name} is not in the namespace of identity.serviceAccount, {account}"
    );
    let services: Vec<ObjectName> = each("services", services, |text| Ok(text.parse()?))?;
    for service in &services {
        ensure!(
            joining.services.contains(service),
            "services: {service} is not one of identity.services"
        );
    }
    ensure!(!ports.is_empty(), "ports: at least one is needed");
    let mut checked = BTreeMap::new();
    for RawWorkloadPort { port, service_port, protocol, application } in ports {
        let port = Port::new(port).context("ports")?;
        let service_port = service_port.map(Port::new).transpose().context("ports.servicePort")?;
        let entry = RegisteredPort { service_port, protocol, application };
        ensure!(checked.insert(port, entry).is_none(), "ports: {port} is given twice");
    }
    let address = address.unwrap_or(listen.ip());
    ensure!(
        !address.is_unspecified(),
        "address: needed where `listen` is {listen}: others must reach this proxy there"
    );
    Ok(Registered { name, services, listen, address, ports: checked, locality })
}
