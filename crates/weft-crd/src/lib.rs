//! The resources that users write: Gateway API's kinds and Weft's own, read from YAML or JSON.
//!
//! [`parse()`] goes the first step of raw → checked → running: from text to a tree that knows where
//! everything stands ([`Node`]), and from that to checked values ([`Resource`]) that hold nothing
//! illegal. What is wrong is not an error that ends the reading but a [`Finding`]: all of them come
//! at once, each with its path and its place in the file; [`render()`] shows them as rustc does. An
//! object with an error in it is refused whole; one with warnings is taken.
//!
//! Closed by name: a field that is not known is refused, and so is one whose capability is not
//! built yet. So whatever is accepted has an effect, or a warning says that it has none.
//!
//! Deliberately absent: watching, Kubernetes clients, any I/O (callers bring the bytes); whatever
//! needs a second object to decide (does that backend exist?), which is `weft-compile`'s; the wire
//! and model types, which it converts to; serde for the resources themselves, since all findings at
//! once with their places need a reader of our own ([`Node`], `reader.rs`).

mod authorization_policy;
mod backend_policy;
mod backend_tls_policy;
mod balance;
mod certificates;
mod cidr;
mod config_map;
mod duration;
mod emit;
mod external_service;
mod failover;
mod fault_policy;
mod finding;
mod grpc_route;
mod health_check;
mod http_route;
mod identity;
mod kind;
mod mesh;
mod metadata;
mod names;
mod node;
mod object;
mod parse;
mod path;
mod pod;
mod reader;
mod render;
mod report;
mod resource;
mod retry;
mod route;
mod scalar;
mod service;
mod session_persistence;
mod stream_route;
mod subset;
mod suggest;
mod target;
#[cfg(test)]
mod testing;
mod timeouts;
mod timestamp;
mod tls_origination;
mod units;
mod workload;
mod yaml;

pub use authorization_policy::{
    AuthorizationPolicy, HeaderCondition, Operation, PathPattern, Peer, PolicyMode, Rule, Scope,
    Selector,
};
pub use backend_policy::{
    BackendPolicy, BackendTimeouts, Ejection, Limits, LocalityPreference, Prefer, RetryBudget,
};
pub use backend_tls_policy::{AuthorityRef, BackendTlsPolicy};
pub use balance::{Algorithm, HashOn, LoadBalancing};
pub use certificates::read_certificates;
pub use cidr::Cidr;
pub use config_map::ConfigMap;
pub use duration::{format as format_duration, parse as parse_duration};
pub use external_service::{ExternalEndpoint, ExternalPort, ExternalService, ROOTS_BYTES_MAX};
pub use failover::Failover;
pub use fault_policy::{Abort, AbortWith, Delay, FaultPolicy};
pub use finding::{Finding, ObjectName, Position, Severity, harmless};
pub use health_check::{HealthCheck, Probe};
pub use identity::{ServiceAccount, SpiffeId};
pub use kind::{Key, Kind};
pub use mesh::{AddressRange, Mesh, OutboundPolicy, UnguardedPolicy};
pub use metadata::{Metadata, REGISTERED_BY, REGISTERED_FOR};
pub use node::{Entry, Key as NodeKey, Node, Span, Value};
pub use object::{Object, Options, Platform};
pub use parse::{Parsed, parse, parse_all};
pub use pod::{Pod, PodState};
pub use render::{Source, render};
pub use resource::Resource;
pub use retry::Retry;
pub use route::{
    BackendKind, BackendRef, CallMatch, Cors, Filter, HeaderEdits, HeaderMatch, HeaderValue,
    Method, Mirror, ParentKind, ParentRef, PathMatch, PathRewrite, QueryMatch, Redirect, Route,
    RouteMatch, RouteRule, Scheme, Share, UrlRewrite, ValueMatch,
};
pub use service::{AppProtocol, ClusterIp, Protocol, Service, ServicePort, TargetPort};
pub use session_persistence::{SessionCarrier, SessionPersistence};
pub use subset::{Subset, SubsetFallback, SubsetLabel};
pub use target::Target;
pub use timeouts::{Timeout, Timeouts};
pub use timestamp::Timestamp;
pub use tls_origination::{ClientCertificate, SubjectAltName, TlsOrigination, TlsRoots};
pub use units::{Percent, Port, Ratio};
pub use workload::{Locality, Workload, WorkloadPort};
pub use yaml::{DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX, TEXT_BYTES_MAX};
