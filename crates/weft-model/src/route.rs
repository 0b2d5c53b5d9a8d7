//! Where requests go.

mod filters;
mod matches;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

pub use filters::{
    AllowedNames, AllowedOrigin, Cors, Filter, HeaderEdits, HeaderValue, Mirror, OriginHost,
    PathRewrite, PreciseHost, Redirect, RedirectStatus, Scheme, UrlRewrite, is_editable,
};
pub use matches::{
    CallMatch, ExactValue, HeaderMatch, PathMatch, QueryMatch, RouteMatch, ValueMatch,
};

use crate::error::ValueError;
use crate::fault::Fault;
use crate::name::ObjectName;
use crate::retry::Retry;
use crate::timeouts::Timeouts;
use crate::units::{Port, Weight};

/// A kind of route. Of those that are for one port of a Service, only the first kind holds.
///
/// Source: GEP-1294, "Route types".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// A GRPCRoute.
    Grpc,
    /// An HTTPRoute.
    Http,
    /// A TLSRoute.
    Tls,
    /// A TCPRoute.
    Tcp,
}

impl RouteKind {
    /// All of them, in this order.
    pub const ALL: [RouteKind; 4] =
        [RouteKind::Grpc, RouteKind::Http, RouteKind::Tls, RouteKind::Tcp];

    /// As it is called in resources.
    pub fn kind(self) -> &'static str {
        match self {
            RouteKind::Grpc => "GRPCRoute",
            RouteKind::Http => "HTTPRoute",
            RouteKind::Tls => "TLSRoute",
            RouteKind::Tcp => "TCPRoute",
        }
    }

    /// As it is written in the names of routes.
    fn word(self) -> &'static str {
        match self {
            RouteKind::Grpc => "grpc",
            RouteKind::Http => "http",
            RouteKind::Tls => "tls",
            RouteKind::Tcp => "tcp",
        }
    }
}

/// The name of a route, written `KIND/NAMESPACE/NAME`: kinds do not share their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    /// Its kind.
    pub kind: RouteKind,
    /// Namespace and name.
    pub object: ObjectName,
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.word(), self.object)
    }
}

impl FromStr for RouteName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<RouteName, ValueError> {
        let error = || ValueError::new(text, "the name of a route", "http/NAMESPACE/NAME");
        let (word, object) = text.split_once('/').ok_or_else(error)?;
        let kind = RouteKind::ALL.into_iter().find(|kind| kind.word() == word);
        let kind = kind.ok_or_else(error)?;
        Ok(RouteName { kind, object: object.parse().map_err(|_| error())? })
    }
}

/// Where the requests for some Services, or for some destinations outside, go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Kind, namespace and name.
    pub name: RouteName,
    /// When it was made, in seconds since the Unix epoch: of two routes whose matches are equal,
    /// the older wins, then the one whose namespace and name come first.
    pub created: i64,
    /// What it is for the requests to.
    pub parents: BTreeSet<RouteParent>,
    /// The hosts it is for; empty means all.
    pub hostnames: BTreeSet<String>,
    /// Its rules, the first of equals winning. One that is for connections has no matches.
    pub rules: Vec<RouteRule>,
}

impl Route {
    /// Whether it is for the callers of its own namespace alone where `parent` is called, which is
    /// in another one: a consumer route.
    ///
    /// Source: GEP-1294, "Consumer routes".
    pub fn is_of_consumers(&self, parent: &Parent) -> bool {
        self.name.object.namespace() != parent.object().namespace()
    }

    /// The Services that requests may go to, or copies of them.
    pub fn backends(&self) -> impl Iterator<Item = &ObjectName> {
        let backends = self.rules.iter().flat_map(RouteRule::all_backends);
        backends.filter_map(|backend| match backend {
            Backend::Service { name, .. } => Some(name),
            Backend::External { .. } | Backend::Missing { .. } => None,
        })
    }

    /// The ExternalServices that requests may go to, or copies of them.
    pub fn external_backends(&self) -> impl Iterator<Item = &ObjectName> {
        let backends = self.rules.iter().flat_map(RouteRule::all_backends);
        backends.filter_map(|backend| match backend {
            Backend::External { name, .. } => Some(name),
            Backend::Service { .. } | Backend::Missing { .. } => None,
        })
    }
}

/// Something whose requests a route is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteParent {
    /// What it is.
    pub parent: Parent,
    /// One port of it. Absent: all.
    pub port: Option<Port>,
}

/// Something that has rules for calls to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parent {
    /// A Service.
    Service(ObjectName),
    /// An ExternalService.
    External(ObjectName),
}

impl Parent {
    /// Its kind, as it is called in resources.
    pub fn kind(&self) -> &'static str {
        match self {
            Parent::Service(_) => "Service",
            Parent::External(_) => "ExternalService",
        }
    }

    /// Its namespace and name.
    pub fn object(&self) -> &ObjectName {
        match self {
            Parent::Service(name) | Parent::External(name) => name,
        }
    }

    /// The Service that it is, if it is one.
    pub fn service(&self) -> Option<&ObjectName> {
        match self {
            Parent::Service(name) => Some(name),
            Parent::External(_) => None,
        }
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.object())
    }
}

/// What to do with the requests that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// Its name.
    pub name: Option<String>,
    /// A request matches if any of these does.
    pub matches: Vec<RouteMatch>,
    /// What is done to requests and answers, in this order.
    pub filters: Vec<Filter>,
    /// Where requests go, each with its share. None at all: they are answered with 500, unless a
    /// filter answers them.
    pub backends: Vec<WeightedBackend>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// What may be sent again. Absent: only what provably was not processed.
    pub retry: Option<Retry>,
    /// The faults that are put into its requests, of which the first that is for a request decides.
    pub faults: Vec<Fault>,
}

impl RouteRule {
    /// Where copies of requests go.
    pub fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        self.filters.iter().filter_map(|filter| match filter {
            Filter::Mirror(mirror) => Some(mirror),
            _ => None,
        })
    }

    /// All that requests may go to, or copies of them.
    fn all_backends(&self) -> impl Iterator<Item = &Backend> {
        let mirrors = self.mirrors().map(|mirror| &mirror.backend);
        self.backends.iter().map(|backend| &backend.backend).chain(mirrors)
    }
}

/// A backend with its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedBackend {
    /// What it is.
    pub backend: Backend,
    /// Its share, of the sum of all shares of the rule.
    pub weight: Weight,
    /// What is done to the requests that go there and to their answers, after what the rule does.
    pub filters: Vec<Filter>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// To a port of a Service.
    Service {
        /// The Service.
        name: ObjectName,
        /// The port, as the Service numbers it.
        port: Port,
    },
    /// To a port of a destination outside of the mesh.
    External {
        /// The ExternalService.
        name: ObjectName,
        /// The port.
        port: Port,
    },
    /// Nowhere: what was named is not there. Its share is answered with 500.
    Missing {
        /// What was named, and why it is not to be had.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_different_kinds_have_different_names() {
        let name: RouteName = "http/shop/web".parse().unwrap();
        assert_eq!(name.kind, RouteKind::Http);
        for kind in RouteKind::ALL {
            let name = RouteName { kind, object: name.object.clone() };
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert_eq!(name.to_string(), "http/shop/web");
        for wrong in ["shop/web", "udp/shop/web", "http/shop", "http/shop/"] {
            assert!(wrong.parse::<RouteName>().is_err(), "{wrong}");
        }
    }
}
