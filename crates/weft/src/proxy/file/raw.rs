//! The file of a proxy as it is written.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use weft_control::api::RegisteredProtocol;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) identity: Option<RawIdentity>,
    #[serde(default)]
    pub(super) outbound: Vec<RawOutbound>,
    #[serde(default)]
    pub(super) inbound: Vec<RawInbound>,
    pub(super) workload: Option<RawWorkload>,
    pub(super) data: Option<PathBuf>,
}

/// What the control plane is to know of the workload. Its `listen` takes the tunnels to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWorkload {
    pub(super) name: String,
    #[serde(default)]
    pub(super) services: Vec<String>,
    pub(super) listen: SocketAddr,
    pub(super) address: Option<IpAddr>,
    pub(super) ports: Vec<RawWorkloadPort>,
    pub(super) locality: Option<RawLocality>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawWorkloadPort {
    pub(super) port: u16,
    pub(super) service_port: Option<u16>,
    pub(super) protocol: Option<RegisteredProtocol>,
    pub(super) application: Option<SocketAddr>,
}

/// Where a workload runs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::proxy) struct RawLocality {
    pub(in crate::proxy) region: String,
    pub(in crate::proxy) zone: Option<String>,
}

/// Either where the own certificate, its key and the trusted roots are, or how to get them from a
/// control plane. Paths are relative to the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawIdentity {
    pub(super) certificates: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) roots: Option<PathBuf>,
    pub(super) join_token: Option<PathBuf>,
    pub(super) service_account: Option<String>,
    #[serde(default)]
    pub(super) services: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutbound {
    pub(super) listen: SocketAddr,
    pub(super) protocol: Option<RawProtocol>,
    pub(super) service: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) endpoints: Option<Vec<RawEndpoint>>,
    pub(super) tls: Option<RawTls>,
}

/// How TLS is opened to the endpoints. The path is relative to the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawTls {
    pub(super) hostname: String,
    #[serde(default)]
    pub(super) subject_alt_names: Vec<RawSubjectAltName>,
    pub(super) roots: Option<PathBuf>,
    pub(super) client_certificate: Option<RawClientCertificate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSubjectAltName {
    #[serde(rename = "type")]
    pub(super) of: RawNameType,
    pub(super) hostname: Option<String>,
    pub(super) uri: Option<String>,
}

#[derive(Deserialize, Clone, Copy)]
pub(super) enum RawNameType {
    Hostname,
    #[serde(rename = "URI")]
    Uri,
}

#[derive(Deserialize, Clone, Copy)]
pub(super) enum RawClientCertificate {
    Workload,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawProtocol {
    Http,
    Tcp,
    Detect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEndpoint {
    pub(super) address: Option<SocketAddr>,
    pub(super) tunnel: Option<SocketAddr>,
    pub(super) identity: Option<String>,
    pub(super) workload: Option<String>,
    pub(super) generation: Option<u64>,
    pub(super) port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInbound {
    pub(super) listen: SocketAddr,
    pub(super) workload: String,
    #[serde(default)]
    pub(super) generation: u64,
    pub(super) ports: Vec<RawPort>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPort {
    pub(super) port: u16,
    pub(super) protocol: RawProtocol,
    pub(super) application: SocketAddr,
}
