//! Whether an attempt meets a rule.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weft_http::RequestHead;
use weft_model::{
    ExactValue, HeaderCondition, Method, Operation, PathPattern, Peer, Port, Rule, SpiffeId,
    TrustDomain,
};

use super::{Attempt, RuleRef};
use crate::normalize::spelled;

/// Whether a condition holds, in an order in which the least of several says whether all hold and
/// the greatest whether any does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holds {
    No,
    /// It depends on what is not seen.
    Unknown,
    Yes,
}

impl Holds {
    fn from_bool(holds: bool) -> Holds {
        if holds { Holds::Yes } else { Holds::No }
    }
}

/// A rule with its paths in the one spelling that requests have too.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) source: RuleRef,
    from: Option<Vec<Peer>>,
    to: Option<Vec<Target>>,
}

/// An [`Operation`].
#[derive(Clone, Debug)]
struct Target {
    ports: BTreeSet<Port>,
    needs_http: bool,
    methods: BTreeSet<Method>,
    paths: Vec<Path>,
    headers: Vec<HeaderCondition>,
}

#[derive(Clone, Debug)]
enum Path {
    Exact(String),
    Below(String),
    /// A pattern that has no one spelling: nobody can say which paths it means.
    Unreadable,
}

impl Guard {
    pub(super) fn new(source: RuleRef, rule: &Rule) -> Guard {
        let Rule { from, to } = rule;
        let targets = |to: &Vec<Operation>| to.iter().map(Target::new).collect();
        Guard { source, from: from.clone(), to: to.as_ref().map(targets) }
    }

    pub(super) fn holds(&self, attempt: &Attempt<'_>, own: &TrustDomain) -> Holds {
        let is_peer = |peers: &Vec<Peer>| peers.iter().any(|peer| is_meant(peer, attempt, own));
        if !self.from.as_ref().is_none_or(is_peer) {
            return Holds::No;
        }
        let Some(targets) = &self.to else { return Holds::Yes };
        targets.iter().map(|target| target.holds(attempt)).max().unwrap_or(Holds::No)
    }

    /// Whether for some request to `port` it depends on the path.
    pub(super) fn asks_for_path(&self, port: Port) -> bool {
        self.asks(|target| target.is_at(port) && !target.paths.is_empty())
    }

    /// Whether for some request to `port` it depends on what only HTTP says.
    pub(super) fn asks_for_http(&self, port: Port) -> bool {
        self.asks(|target| target.is_at(port) && target.needs_http)
    }

    fn asks(&self, condition: impl Fn(&Target) -> bool) -> bool {
        self.to.as_ref().is_some_and(|targets| targets.iter().any(condition))
    }
}

impl Target {
    fn new(operation: &Operation) -> Target {
        let Operation { ports, methods, paths, headers } = operation;
        let path = |pattern: &PathPattern| match pattern {
            PathPattern::Exact(path) => spelled(path).map_or(Path::Unreadable, Path::Exact),
            PathPattern::Below(path) => spelled(path).map_or(Path::Unreadable, Path::Below),
        };
        Target {
            ports: ports.clone(),
            needs_http: operation.needs_http(),
            methods: methods.clone(),
            paths: paths.iter().map(path).collect(),
            headers: headers.clone(),
        }
    }

    fn is_at(&self, port: Port) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }

    fn holds(&self, attempt: &Attempt<'_>) -> Holds {
        if !self.is_at(attempt.port) {
            return Holds::No;
        }
        let Some(head) = attempt.http else {
            return if self.needs_http { Holds::Unknown } else { Holds::Yes };
        };
        let header = || {
            let holds = self.headers.iter().map(|wanted| header_holds(wanted, head));
            holds.min().unwrap_or(Holds::Yes)
        };
        // The least decides, as all must hold.
        self.path_holds(head.path()).min(self.method_holds(head.method())).min(header())
    }

    /// Methods are told apart by case, but not by all applications.
    fn method_holds(&self, found: &str) -> Holds {
        if self.methods.is_empty() {
            return Holds::Yes;
        }
        let holds = |wanted: &Method| match wanted.as_str() {
            wanted if wanted == found => Holds::Yes,
            wanted if wanted.eq_ignore_ascii_case(found) => Holds::Unknown,
            _ => Holds::No,
        };
        self.methods.iter().map(holds).max().unwrap_or(Holds::No)
    }

    fn path_holds(&self, found: &str) -> Holds {
        if self.paths.is_empty() {
            return Holds::Yes;
        }
        let holds = |path: &Path| match path {
            Path::Exact(wanted) => Holds::from_bool(found == wanted),
            Path::Below(wanted) => Holds::from_bool(found.starts_with(wanted.as_str())),
            Path::Unreadable => Holds::Unknown,
        };
        self.paths.iter().map(holds).max().unwrap_or(Holds::No)
    }
}

/// Whether `peer` means the caller. Who has no identity meets no condition that asks for one, and
/// all that exclude one.
fn is_meant(peer: &Peer, attempt: &Attempt<'_>, own: &TrustDomain) -> bool {
    let Peer {
        identity,
        service_account,
        namespace,
        cidr,
        not_identities,
        not_service_accounts,
        not_namespaces,
        not_cidrs,
    } = peer;
    let found = attempt.peer;
    // Service accounts and namespaces of other trust domains are somebody else's names.
    let account = found.filter(|id| id.trust_domain() == own).map(SpiffeId::service_account);
    // A socket that takes both versions shows an IPv4 caller in an IPv6 address.
    let address: IpAddr = attempt.address.to_canonical();
    identity.as_ref().is_none_or(|wanted| found == Some(wanted))
        && service_account.as_ref().is_none_or(|wanted| account == Some(wanted))
        && namespace.as_ref().is_none_or(|wanted| {
            account.is_some_and(|account| account.namespace() == wanted.as_str())
        })
        && cidr.is_none_or(|block| block.contains(address))
        && found.is_none_or(|id| !not_identities.contains(id))
        && account.is_none_or(|account| {
            let is_excluded = not_namespaces.iter().any(|ns| ns.as_str() == account.namespace());
            !is_excluded && !not_service_accounts.contains(account)
        })
        && !not_cidrs.iter().any(|block| block.contains(address))
}

/// Whether the request has the header, with the value if one is asked for.
///
/// A value is compared with the whole line. Where a name is on several lines, nobody can say which
/// value the request has: some applications read the first, some the last, some all of them, joined
/// by a comma with or without a space, or as cookies are. Nor can those that are told of headers in
/// variables tell `_` from `-` in a name.
fn header_holds(wanted: &HeaderCondition, head: &RequestHead) -> Holds {
    let HeaderCondition { name, value } = wanted;
    let name = name.as_str();
    if name.eq_ignore_ascii_case("host") {
        return host_holds(value.as_ref(), head.authority());
    }
    let has_alias = || head.fields.iter().any(|(found, _)| is_alias(found, name.as_bytes()));
    let mut values = head.fields.values(name);
    match (values.next(), value, values.next()) {
        (Some(_), None, _) => Holds::Yes,
        (Some(_), Some(_), Some(_)) => Holds::Unknown,
        _ if has_alias() => Holds::Unknown,
        (None, ..) => Holds::No,
        (Some(found), Some(value), None) => Holds::from_bool(found == value.as_str().as_bytes()),
    }
}

/// Whether two names differ, and only in `_` where the other one has `-`.
fn is_alias(found: &[u8], wanted: &[u8]) -> bool {
    let is_same = |(a, b): (&u8, &u8)| {
        a.eq_ignore_ascii_case(b) || matches!((a, b), (b'_', b'-') | (b'-', b'_'))
    };
    found.len() == wanted.len()
        && found.iter().zip(wanted).all(is_same)
        && !found.eq_ignore_ascii_case(wanted)
}

/// Whether `found`, the request's authority, is the host that is asked for. HTTP/2 has no field
/// for it, and an absolute target in HTTP/1.1 overrules the field.
///
/// Case does not matter. Most applications look at the name alone, so that with another port, or
/// with the dot that may end it, it may be the same host; and what is encoded may be any.
fn host_holds(wanted: Option<&ExactValue>, found: &str) -> Holds {
    let Some(wanted) = wanted.map(ExactValue::as_str) else {
        return Holds::from_bool(!found.is_empty());
    };
    if found.eq_ignore_ascii_case(wanted) {
        Holds::Yes
    } else if found.contains('%') || name_of(found).eq_ignore_ascii_case(name_of(wanted)) {
        Holds::Unknown
    } else {
        Holds::No
    }
}

/// The name or address in an authority, without a port.
fn name_of(authority: &str) -> &str {
    let end = match authority.find(']') {
        Some(end) => end + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    authority[..end].trim_end_matches('.')
}
