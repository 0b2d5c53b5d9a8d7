//! The kinds of resources, and what identifies one of them.

use std::fmt;

/// A kind that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `v1` Pod; in Kubernetes only.
    Pod,
    /// `v1` ConfigMap.
    ConfigMap,
    /// `gateway.networking.k8s.io/v1` HTTPRoute.
    HttpRoute,
    /// `gateway.networking.k8s.io/v1` GRPCRoute.
    GrpcRoute,
    /// `gateway.networking.k8s.io/v1` TLSRoute.
    TlsRoute,
    /// `gateway.networking.k8s.io/v1` TCPRoute.
    TcpRoute,
    /// `gateway.networking.k8s.io/v1` BackendTLSPolicy.
    BackendTlsPolicy,
    /// `weft.dev/v1alpha1` Mesh.
    Mesh,
    /// `weft.dev/v1alpha1` Workload.
    Workload,
    /// `weft.dev/v1alpha1` ExternalService.
    ExternalService,
    /// `weft.dev/v1alpha1` BackendPolicy.
    BackendPolicy,
    /// `weft.dev/v1alpha1` AuthorizationPolicy.
    AuthorizationPolicy,
    /// `weft.dev/v1alpha1` FaultPolicy.
    FaultPolicy,
}

/// The group of the Gateway API.
pub(crate) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// Weft's own group.
pub(crate) const WEFT_GROUP: &str = "weft.dev";

impl Kind {
    /// All of them, in the order in which they are best listed.
    pub const ALL: [Kind; 14] = [
        Kind::Mesh,
        Kind::Service,
        Kind::Pod,
        Kind::Workload,
        Kind::ExternalService,
        Kind::HttpRoute,
        Kind::GrpcRoute,
        Kind::TlsRoute,
        Kind::TcpRoute,
        Kind::BackendPolicy,
        Kind::BackendTlsPolicy,
        Kind::AuthorizationPolicy,
        Kind::FaultPolicy,
        Kind::ConfigMap,
    ];

    /// As it is written under `apiVersion`.
    pub fn api_version(self) -> &'static str {
        match self {
            Kind::Service | Kind::Pod | Kind::ConfigMap => "v1",
            Kind::HttpRoute
            | Kind::GrpcRoute
            | Kind::TlsRoute
            | Kind::TcpRoute
            | Kind::BackendTlsPolicy => "gateway.networking.k8s.io/v1",
            Kind::Mesh
            | Kind::Workload
            | Kind::ExternalService
            | Kind::BackendPolicy
            | Kind::AuthorizationPolicy
            | Kind::FaultPolicy => "weft.dev/v1alpha1",
        }
    }

    /// As it is written under `kind`.
    pub fn name(self) -> &'static str {
        self.words()[0]
    }

    /// As it stands in the paths of an API server.
    pub fn plural(self) -> &'static str {
        self.words()[1]
    }

    /// Whether its objects are in namespaces.
    pub fn is_namespaced(self) -> bool {
        self != Kind::Mesh
    }

    /// The kind that `word` means on a command line: its name, plural or abbreviation, in any case.
    pub fn from_word(word: &str) -> Option<Kind> {
        let means = |kind: &Kind| kind.words().iter().any(|known| known.eq_ignore_ascii_case(word));
        Kind::ALL.into_iter().find(means)
    }

    /// The words for it, the first being its name, the second its plural.
    fn words(self) -> &'static [&'static str] {
        match self {
            Kind::Service => &["Service", "services", "svc"],
            Kind::Pod => &["Pod", "pods", "po"],
            Kind::HttpRoute => &["HTTPRoute", "httproutes"],
            Kind::GrpcRoute => &["GRPCRoute", "grpcroutes"],
            Kind::TlsRoute => &["TLSRoute", "tlsroutes"],
            Kind::TcpRoute => &["TCPRoute", "tcproutes"],
            Kind::BackendTlsPolicy => &["BackendTLSPolicy", "backendtlspolicies", "btlspolicy"],
            Kind::ConfigMap => &["ConfigMap", "configmaps", "cm"],
            Kind::Mesh => &["Mesh", "meshes"],
            Kind::Workload => &["Workload", "workloads", "wl"],
            Kind::ExternalService => &["ExternalService", "externalservices", "es"],
            Kind::BackendPolicy => &["BackendPolicy", "backendpolicies", "bp"],
            Kind::AuthorizationPolicy => {
                &["AuthorizationPolicy", "authorizationpolicies", "authz", "ap"]
            }
            Kind::FaultPolicy => &["FaultPolicy", "faultpolicies", "fp"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kinds of the API that are known and not built yet, with their `apiVersion`.
pub(crate) const NOT_YET: &[(&str, &[&str])] = &[
    ("v1", &["Namespace", "ServiceAccount", "Node", "Secret"]),
    ("discovery.k8s.io/v1", &["EndpointSlice"]),
    (
        "gateway.networking.k8s.io/v1",
        &["GatewayClass", "Gateway", "ListenerSet", "UDPRoute", "ReferenceGrant"],
    ),
    ("gateway.networking.k8s.io/v1beta1", &["ReferenceGrant"]),
    (
        "weft.dev/v1alpha1",
        &[
            "AuthenticationPolicy",
            "RateLimitPolicy",
            "ExtensionPolicy",
            "TelemetryPolicy",
            "ClusterLink",
        ],
    ),
];

/// What identifies an object: no two have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty if its kind is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line() {
        assert_eq!(Kind::from_word("svc"), Some(Kind::Service));
        assert_eq!(Kind::from_word("HTTPROUTES"), Some(Kind::HttpRoute));
        assert_eq!(Kind::from_word("mesh"), Some(Kind::Mesh));
        assert_eq!(Kind::from_word("po"), Some(Kind::Pod));
        assert_eq!(Kind::from_word("node"), None);
    }
}
