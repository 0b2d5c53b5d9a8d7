//! The nouns of the mesh, as plain checked types: what the control plane compiles resources to, and
//! what the proxy and the decision crate work on.
//!
//! A type enters here when two crates need it; otherwise it stays with its one user. What exists of
//! it is valid: the smallest types are made by constructors that check, and whatever is put
//! together from them with public fields has a meaning in every combination. Each default stands
//! beside its field, with unit and reason.
//!
//! Deliberately absent: async, I/O, clocks, serde, and the formats in which others write these
//! things.

mod address;
mod authorization_policy;
mod balance;
mod ejection;
mod error;
mod external_service;
mod failover;
mod fault;
mod guards;
mod hash;
mod hash_on;
mod health_check;
mod http;
mod identity;
mod limits;
mod locality;
mod mesh;
mod mtls;
mod name;
mod policy;
mod protocol;
mod retry;
mod route;
mod service;
mod session;
mod subset;
mod timeouts;
mod tls_origination;
mod traffic;
mod trust;
mod units;
mod workload;

pub use address::{Address, Cidr, Network};
pub use authorization_policy::{
    AuthorizationPolicy, HeaderCondition, Operation, PathPattern, Peer, Rule,
};
pub use balance::{Balance, PanicThreshold};
pub use ejection::{AgainstPeers, Ejection};
pub use error::ValueError;
pub use external_service::{ExternalEndpoint, ExternalPort, ExternalService, HostPattern};
pub use failover::Failover;
pub use fault::{Abort, AbortCode, AbortStatus, AbortWith, Delay, Fault};
pub use guards::{GuardScope, Guards};
pub use hash::ContentHash;
pub use hash_on::{CookieName, HashOn};
pub use health_check::{HealthCheck, Probe};
pub use http::{HeaderName, HttpPath, Method, RegexText, is_field_value, is_token};
pub use identity::{IdentityError, SpiffeId, TrustDomain};
pub use limits::Limits;
pub use locality::{Locality, LocalityPreference, Prefer};
pub use mesh::{DnsZone, MeshSettings, OutboundPolicy, UnguardedPolicy};
pub use mtls::MtlsMode;
pub use name::{NameError, Namespace, ObjectName, is_label, is_subdomain};
pub use policy::{Policy, PolicyKind, PolicyMode, PolicyName};
pub use protocol::Protocol;
pub use retry::{Retry, RetryBudget, RetryStatus};
pub use route::{
    AllowedNames, AllowedOrigin, Backend, CallMatch, Cors, ExactValue, Filter, HeaderEdits,
    HeaderMatch, HeaderValue, Mirror, OriginHost, Parent, PathMatch, PathRewrite, PreciseHost,
    QueryMatch, Redirect, RedirectStatus, Route, RouteKind, RouteMatch, RouteName, RouteParent,
    RouteRule, Scheme, UrlRewrite, ValueMatch, WeightedBackend, is_editable,
};
pub use service::{Service, ServicePort};
pub use session::{SessionCarrier, SessionPersistence};
pub use subset::{Label, Subset, SubsetFallback, SubsetLabel};
pub use timeouts::{BackendTimeouts, Timeouts};
pub use tls_origination::{
    CertificateUri, ClientCertificate, ExternalTls, SubjectAltName, TlsOrigination, TlsRoots,
};
pub use traffic::TrafficPolicy;
pub use trust::{Revocation, RootCertificate, SerialNumber, Trust};
pub use units::{Fraction, Percent, Port, Ratio, TimeBound, Weight};
pub use workload::{Health, Tunnel, Workload, WorkloadPort};
