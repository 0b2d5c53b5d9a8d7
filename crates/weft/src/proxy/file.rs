//! The file of `weft proxy`: as it is written, and as it may be relied on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use weft_identity::{Credentials, JoinToken, Svid, TrustBundle};
use weft_model::{ObjectName, SpiffeId};
use weft_proxy::backend::{Backend, Endpoint, Reach, TunnelTarget};
use weft_proxy::config::{Inbound, InboundPort, Outbound, PortProtocol};
use weft_world::Files;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    identity: Option<RawIdentity>,
    #[serde(default)]
    outbound: Vec<RawOutbound>,
    #[serde(default)]
    inbound: Vec<RawInbound>,
}

/// Either where the own certificate, its key and the trusted roots are, or how to get them from a
/// control plane. Paths are relative to the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawIdentity {
    certificates: Option<PathBuf>,
    key: Option<PathBuf>,
    roots: Option<PathBuf>,
    join_token: Option<PathBuf>,
    service_account: Option<String>,
    #[serde(default)]
    services: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOutbound {
    listen: SocketAddr,
    protocol: RawProtocol,
    service: Option<String>,
    endpoints: Vec<RawEndpoint>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawProtocol {
    Http,
    Tcp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEndpoint {
    address: Option<SocketAddr>,
    tunnel: Option<SocketAddr>,
    identity: Option<String>,
    workload: Option<String>,
    generation: Option<u64>,
    port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInbound {
    listen: SocketAddr,
    workload: String,
    #[serde(default)]
    generation: u64,
    ports: Vec<RawPort>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPort {
    port: u16,
    protocol: RawProtocol,
    application: SocketAddr,
}

/// The file as it may be relied on.
pub(super) struct Checked {
    pub(super) identity: Option<Identity>,
    pub(super) outbound: Vec<Outbound>,
    pub(super) inbound: Vec<Inbound>,
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
    let RawFile { identity, outbound, inbound } = serde_saphyr::from_str(&text)
        .map_err(|error| anyhow::anyhow!("{} is malformed: {error}", path.display()))?;
    let check = || -> anyhow::Result<Checked> {
        ensure!(
            !outbound.is_empty() || !inbound.is_empty(),
            "neither `outbound` nor `inbound` names a listener"
        );
        let directory = path.parent().unwrap_or(Path::new("."));
        let identity = identity.map(|raw| check_identity(files, directory, raw)).transpose()?;
        let has_identity = identity.is_some();
        let outbound = each("outbound", outbound, |raw| check_outbound(raw, has_identity))?;
        let inbound = each("inbound", inbound, |raw| check_inbound(raw, has_identity))?;
        Ok(Checked { identity, outbound, inbound })
    };
    check().with_context(|| format!("{} cannot be used", path.display()))
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

fn protocol(raw: RawProtocol) -> PortProtocol {
    match raw {
        RawProtocol::Http => PortProtocol::Http,
        RawProtocol::Tcp => PortProtocol::Tcp,
    }
}

fn check_outbound(raw: RawOutbound, has_identity: bool) -> anyhow::Result<Outbound> {
    let RawOutbound { listen, protocol: raw_protocol, service, endpoints } = raw;
    let service = service.map(|text| text.parse::<ObjectName>()).transpose().context("service")?;
    ensure!(!endpoints.is_empty(), "endpoints: at least one is needed");
    let name = service.as_ref().map_or_else(|| listen.to_string(), ToString::to_string);
    let endpoints =
        each("endpoints", endpoints, |raw| endpoint(raw, service.as_ref(), has_identity))?;
    let backend = Rc::new(Backend::new(&name, endpoints));
    Ok(Outbound { listen, protocol: protocol(raw_protocol), backend })
}

fn endpoint(
    raw: RawEndpoint,
    service: Option<&ObjectName>,
    has_identity: bool,
) -> anyhow::Result<Endpoint> {
    let RawEndpoint { address, tunnel, identity, workload, generation, port } = raw;
    match (address, tunnel) {
        (Some(address), None) => {
            let is_plain =
                identity.is_none() && workload.is_none() && generation.is_none() && port.is_none();
            ensure!(is_plain, "identity, workload, generation and port go with `tunnel` only");
            Ok(Endpoint::new(address, Reach::Plain))
        }
        (None, Some(tunnel)) => {
            ensure!(has_identity, "tunnel: this file gives no `identity` to open one with");
            let identity: SpiffeId = identity.context("identity: needed with `tunnel`")?.parse()?;
            let workload = workload.context("workload: needed with `tunnel`")?;
            let workload: ObjectName = workload.parse().context("workload")?;
            let port = port.filter(|&port| port > 0).context("port: needed with `tunnel`")?;
            let target = TunnelTarget {
                identity,
                workload: workload.to_string(),
                generation: generation.unwrap_or_default(),
                service: service.cloned(),
                port,
            };
            Ok(Endpoint::new(tunnel, Reach::Tunnel(target)))
        }
        _ => bail!("either `address` (plaintext) or `tunnel` (mutual TLS) is needed"),
    }
}

fn check_inbound(raw: RawInbound, has_identity: bool) -> anyhow::Result<Inbound> {
    let RawInbound { listen, workload, generation, ports } = raw;
    ensure!(has_identity, "this file gives no `identity` to prove to callers");
    let workload: ObjectName = workload.parse().context("workload")?;
    ensure!(!ports.is_empty(), "ports: at least one is needed");
    let mut checked = BTreeMap::new();
    for RawPort { port, protocol: raw_protocol, application } in ports {
        ensure!(port > 0, "ports: 0 is no port");
        let name = format!("{workload}:{port}");
        let endpoint = Endpoint::new(application, Reach::Plain);
        let application = Rc::new(Backend::new(&name, vec![endpoint]));
        let entry = InboundPort { protocol: protocol(raw_protocol), application };
        ensure!(checked.insert(port, entry).is_none(), "ports: {port} is given twice");
    }
    Ok(Inbound { listen, workload: workload.to_string(), generation, ports: checked })
}
