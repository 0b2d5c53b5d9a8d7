//! What the command line, proxies and the control plane say to each other, as JSON.

mod ca;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_crd::Finding;

pub use ca::{
    CaStatus, Holder, IntermediateStatus, Phase, RevokeRequest, RevokeResponse, RevokedSerial,
    RootStatus, RotateRequest, RotationStatus,
};

/// A copy of the store that is to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// Where, on the machine of the control plane: a new file.
    pub path: String,
}

/// Resources to be made so.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The files, as they were read.
    pub files: Vec<SourceFile>,
    /// The namespace of objects that name none.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// A file with resources.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Its name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What became of an [`ApplyRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyResponse {
    /// What became of each object, in the order of the files.
    pub objects: Vec<AppliedObject>,
    /// What was found in the files, which are warnings, since with an error there is no such
    /// response; and what in view of all other resources keeps something from its effect.
    pub findings: Vec<Finding>,
    /// The findings as text with the source lines, for people.
    pub rendered: String,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedObject {
    /// Which object.
    #[serde(flatten)]
    pub key: ObjectKey,
    /// What happened to it.
    pub action: Action,
    /// The version that wrote it; 0 in a dry run of something new.
    pub resource_version: u64,
    /// Why it is not in force, in a word of Gateway API where that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_accepted: Option<String>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Created,
    /// It was changed.
    Configured,
    /// It was so already.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// What identifies an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Its kind, as in `HTTPRoute`.
    pub kind: String,
    /// Its namespace; empty if its kind is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An object as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Which object.
    #[serde(flatten)]
    pub key: ObjectKey,
    /// The version that wrote it.
    pub resource_version: u64,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The object as YAML, with what the store says of it.
    pub yaml: String,
    /// What became of it, where somebody asked for the object itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<ResourceStatus>>,
}

/// Objects as they were at one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListResponse {
    /// The version of the store: a watch from here gives all that changed since.
    pub resource_version: u64,
    /// The objects, by kind, namespace and name.
    pub objects: Vec<StoredObject>,
}

/// One line of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum WatchEvent {
    /// An object was written.
    Put {
        /// The object as it is now.
        object: StoredObject,
    },
    /// An object was deleted.
    Deleted {
        /// Which object.
        #[serde(flatten)]
        key: ObjectKey,
        /// The store's version after it.
        resource_version: u64,
    },
    /// The watch has ended and why; list again and watch from there.
    Ended {
        /// Why.
        reason: String,
    },
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The stable code of the reason, as in `conflict`.
    pub reason: String,
    /// What is wrong, where, and what to do.
    pub message: String,
    /// What is wrong with the objects, where that is the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// A join token to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The service account whose identity its holder gets, as `NAMESPACE/NAME`.
    pub service_account: String,
    /// The Services that its holder may be registered for, as `NAMESPACE/NAME`.
    pub services: Vec<String>,
    /// How often it may be used.
    pub uses: u32,
    /// How long it may be used, in seconds.
    pub lifetime_seconds: u64,
}

/// A join token.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenResponse {
    /// Its public name.
    pub id: String,
    /// The token, which is not kept anywhere else.
    pub token: String,
}

/// A certificate to be signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueRequest {
    /// The service account whose identity is asked for, as `NAMESPACE/NAME`.
    pub service_account: String,
    /// The Services to be registered for, as `NAMESPACE/NAME`.
    #[serde(default)]
    pub services: Vec<String>,
    /// The request, PKCS#10 in DER, base64. Only its key counts.
    pub csr: String,
}

/// A certificate, and whom to trust.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueResponse {
    /// The identity that the certificate names.
    pub identity: String,
    /// The certificate and what is between it and the root, leaf first, PEM.
    pub chain_pem: String,
    /// The roots to trust, PEM.
    pub roots_pem: String,
    /// The number of this set of roots: a greater one is newer.
    pub trust_sequence: u64,
    /// The identities that are not to be trusted all the same.
    #[serde(default)]
    pub revoked_identities: Vec<String>,
    /// The certificates that are not to be trusted all the same, by serial number.
    #[serde(default)]
    pub revoked_serials: Vec<String>,
    /// The hash of the key of the root below which certificates are to be renewed at once, while
    /// another root is on its way out.
    #[serde(default)]
    pub renew_below: Option<String>,
}

/// A workload that registers itself, proved by its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// Its name, as `NAMESPACE/NAME`.
    pub workload: String,
    /// Which of the instances that had this name it is; grows.
    pub generation: u64,
    /// The Services that it belongs to, as `NAMESPACE/NAME`.
    #[serde(default)]
    pub services: Vec<String>,
    /// The ports that its application listens on.
    #[serde(default)]
    pub ports: Vec<RegisteredPort>,
    /// The addresses of its machine.
    pub addresses: Vec<IpAddr>,
    /// The port that its proxy takes tunnels on.
    pub tunnel_port: u16,
    /// The region that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The zone in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// A port of an application that registers itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisteredPort {
    /// The port that the application listens on.
    pub port: u16,
    /// The port of the Services that leads there. Default: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_port: Option<u16>,
    /// What is spoken there. Default: the first bytes decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<RegisteredProtocol>,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegisteredProtocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 in plaintext.
    Http2,
    /// gRPC.
    Grpc,
    /// Bytes that nobody looks into.
    Tcp,
    /// The application's own TLS, passed through.
    Tls,
}

/// What became of a [`RegisterRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterResponse {
    /// The addresses that stand for the workload within the mesh.
    pub mesh_addresses: Vec<IpAddr>,
    /// The Services that it belongs to now, as `NAMESPACE/NAME`.
    pub services: Vec<String>,
}

/// How the application of a workload that has registered itself fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthRequest {
    /// Which workload.
    pub instance: InstanceRequest,
    /// Whether it serves.
    pub healthy: bool,
}

/// A workload that is about to end, or has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceRequest {
    /// Its name, as `NAMESPACE/NAME`.
    pub workload: String,
    /// Which of the instances that had this name it is.
    pub generation: u64,
}

/// What became of the resources, and the proxies that are connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusResponse {
    /// The proxies that are connected, by workload and identity.
    pub proxies: Vec<ProxyStatus>,
    /// The resources, by kind, namespace and name.
    pub resources: Vec<ResourceStatus>,
}

/// A proxy that is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyStatus {
    /// Its workload, as `NAMESPACE/NAME`; empty if it has none.
    pub workload: String,
    /// Whose certificate it has.
    pub identity: String,
    /// The version of its program, in its own words.
    pub version: String,
    /// How long the certificate that it uses is still valid, in milliseconds; 0 if it has expired.
    pub certificate_left_ms: u64,
    /// For how long it has been connected, in milliseconds.
    pub connected_ms: u64,
    /// How long ago its configuration was last known to be up to date, in milliseconds: that it
    /// holds all there is for it, and refuses nothing. Absent if that was not known since it
    /// connected.
    pub configuration_age_ms: Option<u64>,
    /// How many objects it holds.
    pub objects: usize,
    /// How many it does not hold as they are now: they are on their way, or refused.
    pub pending: usize,
    /// What it refuses of that.
    pub refused: Vec<RefusedObject>,
    /// Why its workload is not registered by it, if it has one that is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unregistered: Option<String>,
}

/// An object that a proxy refuses as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedObject {
    /// The object, with its kind, as in `service/shop/cart`.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// What became of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// Which resource.
    #[serde(flatten)]
    pub key: ObjectKey,
    /// What holds of it, and what does not.
    pub conditions: Vec<ConditionStatus>,
    /// What is wrong with it in view of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The addresses that the mesh gave to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Of a Workload: `healthy`, `unhealthy` if a check of it fails or nobody has heard of it
    /// for a while, or `draining`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Which of the connected proxies that are told of it have it in force. Absent if it is never
    /// told by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced: Option<Enforced>,
}

/// One thing that holds of a resource, or does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionStatus {
    /// What, as in `Accepted`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub holds: bool,
    /// Why, in a word.
    pub reason: String,
    /// Of a route with regard to one of its parents: which, as `spec.parentRefs` counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<usize>,
}

/// Which proxies have a resource in force. Who still holds it and is to give it up, since it is not
/// for that proxy any more, is one of those that are to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// How many hold it as it is now.
    pub by: usize,
    /// How many are to.
    pub of: usize,
    /// How long the slowest has been behind, in milliseconds; absent if none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_ms: Option<u64>,
    /// Those that refuse it as it is now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusingProxy>,
    /// Those that are to and have neither acknowledged nor refused it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// The registered workloads that are to, and whose proxies are not connected. They are not
    /// counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<String>,
}

/// A proxy that refuses a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusingProxy {
    /// Its workload, or its identity if it has none.
    pub proxy: String,
    /// Why.
    pub reason: String,
}
