//! A destination outside of the mesh that is known by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::address::Cidr;
use crate::error::ValueError;
use crate::name::{ObjectName, is_subdomain};
use crate::protocol::Protocol;
use crate::route::RouteName;
use crate::tls_origination::ExternalTls;
use crate::traffic::TrafficPolicy;
use crate::units::Port;

/// A destination outside of the mesh: names and addresses, and what is spoken there. What it names
/// is called by the rules that it has; it never opens anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalService {
    /// Namespace and name.
    pub name: ObjectName,
    /// Whether it is there for the workloads of all namespaces, and not of its own alone.
    pub is_for_mesh: bool,
    /// Its hosts. No other of its namespace has one of them.
    pub hosts: BTreeSet<HostPattern>,
    /// Its blocks of addresses, for which the same holds.
    pub cidrs: BTreeSet<Cidr>,
    /// Its ports.
    pub ports: BTreeMap<Port, ExternalPort>,
    /// Where its hosts are. Empty: where DNS says.
    pub endpoints: BTreeSet<ExternalEndpoint>,
    /// How clients treat it.
    pub traffic: TrafficPolicy,
    /// The routes whose rules calls to it follow. Who does not have one of them does not know where
    /// a call is to go.
    pub routes: BTreeSet<RouteName>,
}

impl ExternalService {
    /// Whether `host`, which is in lower case, is one of its hosts.
    pub fn has_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// Whether `port` is the same whichever host it is called by.
    pub fn is_same_for_all_hosts(&self, port: &ExternalPort) -> bool {
        let has_one_name = |tls: &ExternalTls| tls.hostname.is_some();
        !self.endpoints.is_empty() && port.tls.as_ref().is_none_or(has_one_name)
    }

    /// How clients treat it on `port`.
    pub fn traffic(&self, port: Port) -> &TrafficPolicy {
        let own = self.ports.get(&port).and_then(|port| port.traffic.as_deref());
        own.unwrap_or(&self.traffic)
    }

    /// The one host that it is, if it is one alone.
    pub fn only_host(&self) -> Option<&Arc<str>> {
        let mut hosts = self.hosts.iter();
        match (hosts.next(), hosts.next()) {
            (Some(HostPattern::Exact(host)), None) => Some(host),
            _ => None,
        }
    }
}

/// A port of a destination outside of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalPort {
    /// Its name.
    pub name: Option<String>,
    /// What programs speak on it.
    pub protocol: Protocol,
    /// How TLS is opened to its servers. None: what programs say goes out as it is.
    pub tls: Option<ExternalTls>,
    /// How clients treat it, if not as they treat the rest.
    pub traffic: Option<Box<TrafficPolicy>>,
}

/// Where a host is, in the place of what DNS says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalEndpoint {
    /// The address.
    pub ip: IpAddr,
    /// The port there. None: the one that is called.
    pub port: Option<Port>,
}

/// A host, or all below one. Ordered so that what says more comes first: a host before all of
/// those, and of two of those the longer one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(Arc<str>),
    /// All hosts that have at least one label more than this: `*.` and this.
    Below(Arc<str>),
}

impl HostPattern {
    /// The pattern that `text` writes: a host in lower case, whose first label may be `*`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn new(text: &str) -> Result<HostPattern, ValueError> {
        let (plain, is_exact) = match text.strip_prefix("*.") {
            Some(parent) => (parent, false),
            None => (text, true),
        };
        if !is_subdomain(plain) || text.len() > 253 || text.parse::<IpAddr>().is_ok() {
            let allowed = "a host in lower case, whose first label may be `*`";
            return Err(ValueError::new(text, "a host", allowed));
        }
        let pattern = if is_exact { HostPattern::Exact } else { HostPattern::Below };
        Ok(pattern(plain.into()))
    }

    /// Whether `host`, which is in lower case, is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(own) => **own == *host,
            HostPattern::Below(parent) => {
                let above = host.strip_suffix(&**parent).and_then(|rest| rest.strip_suffix('.'));
                above.is_some_and(|labels| !labels.is_empty())
            }
        }
    }

    /// What says more is less.
    fn order(&self) -> (bool, std::cmp::Reverse<usize>, &str) {
        match self {
            HostPattern::Exact(host) => (false, std::cmp::Reverse(0), host),
            HostPattern::Below(parent) => (true, std::cmp::Reverse(parent.len()), parent),
        }
    }
}

impl Ord for HostPattern {
    fn cmp(&self, other: &HostPattern) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for HostPattern {
    fn partial_cmp(&self, other: &HostPattern) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::new(text).unwrap()
    }

    #[test]
    fn a_wildcard_has_all_that_is_below_it_and_not_what_it_is_below() {
        let below = pattern("*.example.com");
        assert!(below.matches("a.example.com") && below.matches("a.b.example.com"));
        for other in ["example.com", ".example.com", "aexample.com", "a.example.org", ""] {
            assert!(!below.matches(other), "{other}");
        }
        assert!(pattern("example.com").matches("example.com"));
        assert!(!pattern("example.com").matches("a.example.com"));
    }

    #[test]
    fn patterns_have_one_spelling_and_the_narrower_come_first() {
        let texts = ["a.b.example.com", "example.com", "*.b.example.com", "*.example.com"];
        let sorted: BTreeSet<_> = texts.iter().rev().map(|text| pattern(text)).collect();
        assert_eq!(sorted.iter().map(ToString::to_string).collect::<Vec<_>>(), texts);
        for wrong in ["", "*", "*.", "a.*.b", "*a.b", "A.b", "a..b", "10.0.0.1", "a b"] {
            assert!(HostPattern::new(wrong).is_err(), "{wrong}");
        }
    }
}
