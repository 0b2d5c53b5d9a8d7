//! What routes of all kinds are: parents that they attach to, and rules with matches, filters and
//! backends.

mod backend_ref;
pub(crate) mod filters;
pub(crate) mod matches;
mod parent_ref;

pub use backend_ref::{BackendKind, BackendRef};
pub use filters::{
    Cors, Filter, HeaderEdits, HeaderValue, Mirror, PathRewrite, Redirect, Scheme, Share,
    UrlRewrite,
};
pub use matches::{CallMatch, HeaderMatch, Method, PathMatch, QueryMatch, RouteMatch, ValueMatch};
pub use parent_ref::{ParentKind, ParentRef};

pub(crate) use backend_ref::warn_if_nowhere;
pub(crate) use parent_ref::read_group;

use std::collections::BTreeMap;

use self::filters::Read;
use crate::finding::quoted;
use crate::metadata::Metadata;
use crate::names;
use crate::reader::{At, Fields, Object, check_unique};
use crate::retry::Retry;
use crate::timeouts::Timeouts;

/// Where requests or connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What every object has.
    pub metadata: Metadata,
    /// What it attaches to.
    pub parents: Vec<ParentRef>,
    /// The hosts it is for; empty means all. But for those of a TLSRoute, they hold for Gateways
    /// only.
    pub hostnames: Vec<String>,
    /// Its rules, the first of equals winning.
    pub rules: Vec<RouteRule>,
}

/// What to do with the requests that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// Its name, by which a `sectionName` means it.
    pub name: Option<String>,
    /// A request matches if any of these does. Never empty, but where connections are routed: they
    /// match by the route's hosts alone.
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

/// What a kind of route is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    Http,
    Calls,
    Streams,
}

impl Traffic {
    /// What becomes of that for which there is no backend.
    fn without_backend(self) -> &'static str {
        match self {
            Traffic::Http => "answered with 500",
            Traffic::Calls => "answered with UNAVAILABLE",
            Traffic::Streams => "closed",
        }
    }

    /// What becomes of that for which no backend has a weight.
    fn without_weight(self) -> &'static str {
        match self {
            Traffic::Http => "answered with 503",
            Traffic::Calls => "answered with UNAVAILABLE",
            Traffic::Streams => "closed",
        }
    }
}

const PARENTS_MAX: usize = 32;
const HOSTNAMES_MAX: usize = 16;
const RULES_MAX: usize = 16;
const MATCHES_MAX: usize = 64;
const MATCHES_OF_ROUTE_MAX: usize = 128;
const BACKENDS_MAX: usize = 16;

/// The fields of a route whose hosts are for Gateways only.
pub(crate) const FIELDS: Fields = Fields {
    known: &["parentRefs", "hostnames", "rules"],
    not_yet: &["useDefaultGateways"],
    ignored: &[],
    no_nulls: false,
};

pub(crate) fn read_parents(object: &Object<'_>, namespace: &str) -> Option<Vec<ParentRef>> {
    let parents = object.or("parentRefs", Vec::new(), |at| {
        let parents = at.list(PARENTS_MAX, |at| parent_ref::read(at, namespace))?;
        parent_ref::check_distinct(&at.items(PARENTS_MAX)?, &parents);
        Some(parents)
    });
    if matches!(&parents, Some(parents) if parents.is_empty()) {
        object.at.warning("no parentRefs: the route is attached to nothing and has no effect");
    }
    parents
}

/// Hosts that hold for Gateways only.
pub(crate) fn read_hostnames(
    object: &Object<'_>,
    parents: Option<&Vec<ParentRef>>,
) -> Option<Vec<String>> {
    object.or("hostnames", Vec::new(), |at| {
        let read = |at: &At<'_>| at.parsed(|text| names::hostname(text).map(|()| text.to_owned()));
        let hostnames = at.list(HOSTNAMES_MAX, read)?;
        let parents = parents.map_or(&[][..], Vec::as_slice);
        let are =
            |kind: ParentKind| !parents.is_empty() && parents.iter().all(|it| it.kind == kind);
        let is_any =
            |parent: &ParentRef| matches!(parent.kind, ParentKind::Service | ParentKind::External);
        if !hostnames.is_empty() && !parents.is_empty() && parents.iter().all(is_any) {
            let on = if are(ParentKind::External) { "an ExternalService" } else { "a Service" };
            at.warning(format!("has no effect on {on}: match the header `host` instead"));
        }
        Some(hostnames)
    })
}

pub(crate) fn read_rules(
    at: &At<'_>,
    read_rule: impl Fn(&At<'_>) -> Option<RouteRule>,
) -> Option<Vec<RouteRule>> {
    let rules = at.list(RULES_MAX, read_rule)?;
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

/// Warns of matches that another of the same route goes before: of equal ones the first holds.
pub(crate) fn warn_of_repeated(at: &At<'_>, rules: &[RouteRule]) {
    let mut first: BTreeMap<&RouteMatch, String> = BTreeMap::new();
    for (at, rule) in at.items(RULES_MAX).into_iter().flatten().zip(rules) {
        let is_written = at.node.get("matches").is_some_and(|it| it.item(0).is_some());
        let written = is_written.then(|| at.below("matches").items(MATCHES_MAX)).flatten();
        let written = written.unwrap_or_default();
        for (index, one) in rule.matches.iter().enumerate() {
            let at = written.get(index).unwrap_or(&at);
            match first.get(one) {
                Some(first) => {
                    at.warning(format!("no effect: {first} matches the same, and goes first"));
                }
                None => drop(first.insert(one, at.path.to_string())),
            }
        }
    }
}

pub(crate) fn read_name(object: &Object<'_>) -> Option<Option<String>> {
    object
        .maybe("name", |at| at.parsed(|text| names::dns_subdomain(text).map(|()| text.to_owned())))
}

/// The matches of a rule: `default` if there are none.
pub(crate) fn read_matches(
    object: &Object<'_>,
    default: RouteMatch,
    read: impl Fn(&At<'_>) -> Option<RouteMatch>,
) -> Option<Vec<RouteMatch>> {
    let mut matches = object.or("matches", Vec::new(), |at| at.list(MATCHES_MAX, read))?;
    if matches.is_empty() {
        matches.push(default);
    }
    Some(matches)
}

/// The backends of a rule, and the filters of each where they stand.
pub(crate) fn read_backends<'a>(
    object: &Object<'a>,
    namespace: &str,
    traffic: Traffic,
) -> Option<(Vec<BackendRef>, Vec<Read<'a>>)> {
    let read = |at: &At<'a>| backend_ref::read(at, namespace, traffic);
    let backends = object.or("backendRefs", Vec::new(), |at| at.list(BACKENDS_MAX, read))?;
    Some(backends.into_iter().unzip())
}
