//! `gateway.networking.k8s.io/v1` HTTPRoute: where HTTP requests go.
//!
//! The rules that the standard states in its schema and in CEL are kept here as far as they concern
//! what is supported. Source: Gateway API v1.7, standard channel, and GAMMA for Service parents.
//!
//! Deliberately absent: session persistence and some filters, refused by name until they are built.

mod backend_ref;
mod filters;
mod matches;
mod parent_ref;

pub use backend_ref::{BackendKind, BackendRef};
pub use filters::{
    Cors, Filter, HeaderEdits, HeaderValue, Mirror, PathRewrite, Redirect, Scheme, Share,
    UrlRewrite,
};
pub use matches::{HeaderMatch, Method, PathMatch, QueryMatch, RouteMatch, ValueMatch};
pub use parent_ref::{ParentKind, ParentRef};

use self::filters::{Of, Read, check_together};
use crate::finding::quoted;
use crate::metadata::{Header, Metadata};
use crate::names;
use crate::reader::{At, Fields, check_unique};
use crate::retry::{self, Retry};
use crate::timeouts::{self, Timeouts};

/// Where HTTP requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRoute {
    /// What every object has.
    pub metadata: Metadata,
    /// What it attaches to.
    pub parents: Vec<ParentRef>,
    /// The hosts it is for; empty means all. They hold for Gateways only.
    pub hostnames: Vec<String>,
    /// Its rules, the first of equals winning.
    pub rules: Vec<RouteRule>,
}

/// What to do with the requests that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// Its name, by which a `sectionName` means it.
    pub name: Option<String>,
    /// A request matches if any of these does. Never empty: by default, every path.
    pub matches: Vec<RouteMatch>,
    /// What is done to requests and answers, in this order.
    pub filters: Vec<Filter>,
    /// Where requests go, each with its share. Empty: they are answered with 500, unless a filter
    /// answers them.
    pub backends: Vec<BackendRef>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// Whether it is tried again.
    pub retry: Option<Retry>,
}

const PARENTS_MAX: usize = 32;
const HOSTNAMES_MAX: usize = 16;
const RULES_MAX: usize = 16;
const MATCHES_MAX: usize = 64;
const MATCHES_OF_ROUTE_MAX: usize = 128;
const BACKENDS_MAX: usize = 16;

const FIELDS: Fields = Fields {
    known: &["parentRefs", "hostnames", "rules"],
    not_yet: &["useDefaultGateways"],
    ignored: &[],
    no_nulls: false,
};

const RULE_FIELDS: Fields = Fields {
    known: &["name", "matches", "filters", "backendRefs", "timeouts", "retry"],
    not_yet: &["sessionPersistence"],
    ignored: &[],
    no_nulls: false,
};

pub(crate) fn read(header: Header, at: &At<'_>) -> Option<HttpRoute> {
    let namespace = header.namespace.as_str();
    let object = at.object(FIELDS)?;
    let parents = object.or("parentRefs", Vec::new(), |at| read_parents(at, namespace));
    if matches!(&parents, Some(parents) if parents.is_empty()) {
        at.warning("no parentRefs: the route is attached to nothing and has no effect");
    }
    let hostnames = object.or("hostnames", Vec::new(), |at| {
        let read = |at: &At<'_>| at.parsed(|text| names::hostname(text).map(|()| text.to_owned()));
        let hostnames = at.list(HOSTNAMES_MAX, read)?;
        let no_gateway = |parents: &Vec<ParentRef>| {
            !parents.is_empty() && parents.iter().all(|parent| parent.kind == ParentKind::Service)
        };
        if !hostnames.is_empty() && parents.as_ref().is_some_and(no_gateway) {
            at.warning("has no effect on a Service: match the header `host` instead");
        }
        Some(hostnames)
    });
    let rules = object.or("rules", vec![RouteRule::default()], |at| read_rules(at, namespace));
    Some(HttpRoute {
        metadata: header.metadata?,
        parents: parents?,
        hostnames: hostnames?,
        rules: rules?,
    })
}

/// A rule that matches everything and sends it nowhere: what the standard has if none is written.
impl Default for RouteRule {
    fn default() -> RouteRule {
        RouteRule {
            name: None,
            matches: vec![RouteMatch::default()],
            filters: Vec::new(),
            backends: Vec::new(),
            timeouts: Timeouts::default(),
            retry: None,
        }
    }
}

fn read_parents(at: &At<'_>, namespace: &str) -> Option<Vec<ParentRef>> {
    let parents = at.list(PARENTS_MAX, |at| parent_ref::read(at, namespace))?;
    parent_ref::check_distinct(&at.items(PARENTS_MAX)?, &parents);
    Some(parents)
}

fn read_rules(at: &At<'_>, namespace: &str) -> Option<Vec<RouteRule>> {
    let rules = at.filled_list(RULES_MAX, "leave the field out", |at| read_rule(at, namespace))?;
    let matches: usize = rules.iter().map(|rule| rule.matches.len()).sum();
    if matches > MATCHES_OF_ROUTE_MAX {
        at.error::<()>(format!(
            "{matches} matches in all rules together are not allowed, the most is \
             {MATCHES_OF_ROUTE_MAX}"
        ));
    }
    let named = at.items(RULES_MAX)?.into_iter().zip(&rules);
    check_unique(named.filter_map(|(at, rule)| Some((at, rule.name.as_ref()?))), |name, first| {
        format!("the name {} is taken by {first}", quoted(name))
    });
    Some(rules)
}

fn read_rule(at: &At<'_>, namespace: &str) -> Option<RouteRule> {
    let object = at.object(RULE_FIELDS)?;
    let name = object
        .maybe("name", |at| at.parsed(|text| names::dns_subdomain(text).map(|()| text.to_owned())));
    let matches = object.or("matches", Vec::new(), |at| at.list(MATCHES_MAX, matches::read));
    let filters =
        object.or("filters", Read::default(), |at| filters::read(at, Of::Rule, namespace));
    let backends = object.or("backendRefs", Vec::new(), |at| {
        at.list(BACKENDS_MAX, |at| backend_ref::read(at, namespace))
    });
    let timeouts = object.or("timeouts", Timeouts::default(), timeouts::read);
    let retry = object.maybe("retry", retry::read);
    let mut matches = matches?;
    if matches.is_empty() {
        matches.push(RouteMatch::default());
    }
    let (filters, backends) = (filters?, backends?);
    let (backends, of_backends): (Vec<_>, Vec<_>) = backends.into_iter().unzip();
    check_together(&filters, &of_backends, &matches);
    if !filters.has_redirect() {
        backend_ref::warn_if_nowhere(at, &backends);
    }
    Some(RouteRule {
        name: name?,
        matches,
        filters: filters.filters,
        backends,
        timeouts: timeouts?,
        retry: retry?,
    })
}

#[cfg(test)]
mod tests;
