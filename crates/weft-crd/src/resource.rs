//! A checked resource of any kind.

use crate::authorization_policy::{self, AuthorizationPolicy};
use crate::backend_policy::{self, BackendPolicy};
use crate::backend_tls_policy::{self, BackendTlsPolicy};
use crate::config_map::{self, ConfigMap};
use crate::external_service::{self, ExternalService};
use crate::fault_policy::{self, FaultPolicy};
use crate::finding::quoted;
use crate::kind::{Key, Kind, NOT_YET};
use crate::mesh::{self, Mesh};
use crate::metadata::{self, Header, Metadata};
use crate::pod::{self, Pod};
use crate::reader::{At, Fields};
use crate::route::Route;
use crate::service::{self, Service};
use crate::suggest;
use crate::target::Target;
use crate::workload::{self, Workload};
use crate::{grpc_route, http_route, stream_route};

/// A checked resource: what the program may rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A name and addresses for a set of workloads.
    Service(Service),
    /// A running instance in Kubernetes.
    Pod(Pod),
    /// Where HTTP requests for a Service go.
    HttpRoute(Route),
    /// Where calls of gRPC for a Service go.
    GrpcRoute(Route),
    /// Where connections of TLS for a Service go.
    TlsRoute(Route),
    /// Where connections for a Service go.
    TcpRoute(Route),
    /// What holds for the whole mesh.
    Mesh(Mesh),
    /// A running instance outside Kubernetes.
    Workload(Workload),
    /// A destination outside of the mesh.
    ExternalService(ExternalService),
    /// How a client treats a Service.
    BackendPolicy(Box<BackendPolicy>),
    /// How clients open TLS to what is outside of the mesh.
    BackendTlsPolicy(Box<BackendTlsPolicy>),
    /// Certificates of authorities.
    ConfigMap(ConfigMap),
    /// Who may do what.
    AuthorizationPolicy(AuthorizationPolicy),
    /// Faults that are put in on purpose.
    FaultPolicy(FaultPolicy),
}

impl Resource {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Resource::Service(_) => Kind::Service,
            Resource::Pod(_) => Kind::Pod,
            Resource::HttpRoute(_) => Kind::HttpRoute,
            Resource::GrpcRoute(_) => Kind::GrpcRoute,
            Resource::TlsRoute(_) => Kind::TlsRoute,
            Resource::TcpRoute(_) => Kind::TcpRoute,
            Resource::Mesh(_) => Kind::Mesh,
            Resource::Workload(_) => Kind::Workload,
            Resource::ExternalService(_) => Kind::ExternalService,
            Resource::BackendPolicy(_) => Kind::BackendPolicy,
            Resource::BackendTlsPolicy(_) => Kind::BackendTlsPolicy,
            Resource::ConfigMap(_) => Kind::ConfigMap,
            Resource::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Resource::FaultPolicy(_) => Kind::FaultPolicy,
        }
    }

    /// What every kind has.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Resource::Service(service) => &service.metadata,
            Resource::Pod(pod) => &pod.workload.metadata,
            Resource::HttpRoute(route)
            | Resource::GrpcRoute(route)
            | Resource::TlsRoute(route)
            | Resource::TcpRoute(route) => &route.metadata,
            Resource::Mesh(mesh) => &mesh.metadata,
            Resource::Workload(workload) => &workload.metadata,
            Resource::ExternalService(external) => &external.metadata,
            Resource::BackendPolicy(policy) => &policy.metadata,
            Resource::BackendTlsPolicy(policy) => &policy.metadata,
            Resource::ConfigMap(map) => &map.metadata,
            Resource::AuthorizationPolicy(policy) => &policy.metadata,
            Resource::FaultPolicy(policy) => &policy.metadata,
        }
    }

    pub(crate) fn metadata_mut(&mut self) -> &mut Metadata {
        match self {
            Resource::Service(service) => &mut service.metadata,
            Resource::Pod(pod) => &mut pod.workload.metadata,
            Resource::HttpRoute(route)
            | Resource::GrpcRoute(route)
            | Resource::TlsRoute(route)
            | Resource::TcpRoute(route) => &mut route.metadata,
            Resource::Mesh(mesh) => &mut mesh.metadata,
            Resource::Workload(workload) => &mut workload.metadata,
            Resource::ExternalService(external) => &mut external.metadata,
            Resource::BackendPolicy(policy) => &mut policy.metadata,
            Resource::BackendTlsPolicy(policy) => &mut policy.metadata,
            Resource::ConfigMap(map) => &mut map.metadata,
            Resource::AuthorizationPolicy(policy) => &mut policy.metadata,
            Resource::FaultPolicy(policy) => &mut policy.metadata,
        }
    }

    /// What it is for, if it is a policy that names that.
    pub fn targets(&self) -> &[Target] {
        match self {
            Resource::BackendPolicy(policy) => &policy.targets,
            Resource::BackendTlsPolicy(policy) => &policy.targets,
            Resource::AuthorizationPolicy(policy) => policy.scope.targets(),
            Resource::FaultPolicy(policy) => &policy.targets,
            Resource::Service(_)
            | Resource::Pod(_)
            | Resource::HttpRoute(_)
            | Resource::GrpcRoute(_)
            | Resource::TlsRoute(_)
            | Resource::TcpRoute(_)
            | Resource::Mesh(_)
            | Resource::Workload(_)
            | Resource::ExternalService(_)
            | Resource::ConfigMap(_) => &[],
        }
    }

    /// It as a route, if it is one of any kind.
    pub fn as_route(&self) -> Option<&Route> {
        match self {
            Resource::HttpRoute(route)
            | Resource::GrpcRoute(route)
            | Resource::TlsRoute(route)
            | Resource::TcpRoute(route) => Some(route),
            _ => None,
        }
    }

    /// What identifies it.
    pub fn key(&self) -> Key {
        let Metadata { namespace, name, .. } = self.metadata();
        Key { kind: self.kind(), namespace: namespace.clone(), name: name.clone() }
    }
}

const FIELDS: Fields = Fields {
    known: &["apiVersion", "kind", "metadata", "spec"],
    not_yet: &[],
    ignored: &["status"],
    no_nulls: false,
};

/// Reads a whole object.
pub(crate) fn read(root: &At<'_>) -> Option<Resource> {
    // Of an unknown kind nothing else can be said, so that comes first.
    let kind = read_kind(root)?;
    if kind == Kind::ConfigMap {
        return config_map::read(root).map(Resource::ConfigMap);
    }
    if kind == Kind::Pod {
        return pod::read(root).map(Resource::Pod);
    }
    let object = root.object(FIELDS)?;
    let metadata = object.need("metadata", |at| metadata::read(at, kind));
    let namespace = match &metadata {
        Some(metadata) => metadata.namespace.clone(),
        None => root.report.object.as_ref().map(|name| name.namespace.clone()).unwrap_or_default(),
    };
    let header = Header { metadata, namespace };
    object.need("spec", |spec| {
        Some(match kind {
            Kind::Service => Resource::Service(service::read(header, spec)?),
            Kind::HttpRoute => Resource::HttpRoute(http_route::read(header, spec)?),
            Kind::GrpcRoute => Resource::GrpcRoute(grpc_route::read(header, spec)?),
            Kind::TlsRoute => Resource::TlsRoute(stream_route::read_tls(header, spec)?),
            Kind::TcpRoute => Resource::TcpRoute(stream_route::read_tcp(header, spec)?),
            Kind::Mesh => Resource::Mesh(mesh::read(header, spec)?),
            Kind::Workload => Resource::Workload(workload::read(header, spec)?),
            Kind::ExternalService => {
                Resource::ExternalService(external_service::read(header, spec)?)
            }
            Kind::BackendPolicy => {
                Resource::BackendPolicy(Box::new(backend_policy::read(header, spec)?))
            }
            Kind::BackendTlsPolicy => {
                Resource::BackendTlsPolicy(Box::new(backend_tls_policy::read(header, spec)?))
            }
            Kind::ConfigMap | Kind::Pod => return None, // They were read whole.
            Kind::AuthorizationPolicy => {
                Resource::AuthorizationPolicy(authorization_policy::read(header, spec)?)
            }
            Kind::FaultPolicy => Resource::FaultPolicy(fault_policy::read(header, spec)?),
        })
    })
}

fn read_kind(root: &At<'_>) -> Option<Kind> {
    // Opened without a check of the other fields: which there may be depends on the kind.
    const BOTH: &[&str] = &["apiVersion", "kind"];
    let object = root.unchecked_object(BOTH)?;
    let version = object.need("apiVersion", At::text);
    let kind = object.need("kind", At::text);
    if version.is_none() || kind.is_none() {
        root.report_misspelt(BOTH);
    }
    let (version, kind) = (version?, kind?);
    if let Some(known) = Kind::ALL.into_iter().find(|known| known.name() == kind) {
        if known.api_version() == version {
            if known == Kind::Pod && root.is_standalone() {
                let message = "a Pod is of Kubernetes: outside of it, write a Workload";
                return object.field("kind")?.error(message);
            }
            return Some(known);
        }
        let at = object.field("apiVersion")?;
        let message = format!("{} is not known for {known}", quoted(version));
        return at.error_help(message, format!("write {}", known.api_version()));
    }
    let at = object.field("kind")?;
    if NOT_YET.iter().any(|(known, kinds)| *known == version && kinds.contains(&kind)) {
        return at.not_yet(format!("{} of {}", quoted(kind), quoted(version)));
    }
    let is_here = |kind: &Kind| *kind != Kind::Pod || !root.is_standalone();
    let names: Vec<_> = Kind::ALL.into_iter().filter(is_here).map(Kind::name).collect();
    let help = match suggest::nearest(kind, names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", names.join(", ")),
    };
    at.error_help(format!("{} of {} is not known here", quoted(kind), quoted(version)), help)
}
