//! Which rule a request falls under, and which of its backends it goes to.

mod stream;
pub(crate) mod test;

use std::cmp::Reverse;
use std::sync::Arc;

use thiserror::Error;
use weft_http::RequestHead;
use weft_model::{
    Namespace, Parent, Port, Protocol, Route, RouteKind, RouteMatch, RouteName, RouteRule,
    WeightedBackend,
};

use self::stream::StreamEntry;
use self::test::Test;
use crate::filters::Facts;

/// A route that cannot be put to work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{route}: the regular expression `{text}` is too large once compiled, 1 MiB is allowed")]
pub struct RouteError {
    /// The route.
    pub route: String,
    /// The expression.
    pub text: String,
}

/// The rules for the requests to one port of a Service, or of a destination outside, in the order
/// in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    entries: Vec<Entry>,
    /// Those for connections.
    streams: Vec<StreamEntry>,
    routes: Vec<RouteName>,
    passed_over: PassedOver,
}

/// The routes for a port that do not hold there.
#[derive(Clone, Debug, Default)]
pub struct PassedOver {
    /// Since the caller's namespace has routes of its own.
    pub replaced: Vec<RouteName>,
    /// Since there are routes of a kind that says more.
    pub of_other_kinds: Vec<RouteName>,
}

/// One match of one rule.
#[derive(Clone, Debug)]
struct Entry {
    route: Arc<Route>,
    rule: usize,
    /// Its place among the matches of the rule.
    place: usize,
    test: Test,
    /// The port that was called.
    port: Port,
}

/// The rule that a request falls under.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'t> {
    /// The route.
    pub route: &'t Arc<Route>,
    /// Which of its rules, counted from 0.
    pub rule_index: usize,
    /// That rule.
    pub rule: &'t RouteRule,
}

/// The rule that a request falls under, and why.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'t> {
    /// The rule.
    pub selected: Selected<'t>,
    /// Which of the rule's matches the request meets, counted from 0: of several, the one that
    /// says most.
    pub match_index: usize,
    /// What the rule's filters go by.
    pub facts: Facts<'t>,
}

/// A condition of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// That on the path.
    Path,
    /// That it is a call of gRPC.
    Call,
    /// That on the service of a call.
    CallService,
    /// That on the method of a call.
    CallMethod,
    /// That on the method.
    Method,
    /// That on headers of this place, counted from 0.
    Header(usize),
    /// That on parameters of the query of this place, counted from 0.
    Query(usize),
}

/// A match, and whether a request meets it.
#[derive(Clone, Copy, Debug)]
pub struct Considered<'t> {
    /// Its rule.
    pub selected: Selected<'t>,
    /// Which of the rule's matches it is, counted from 0.
    pub match_index: usize,
    /// The first condition that the request does not meet; none if it meets all.
    pub unmet: Option<Condition>,
}

/// What a request's rule says about where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'t> {
    /// To this backend.
    Backend(&'t WeightedBackend),
    /// Nowhere, since the rule names no backend: 500.
    NoBackend,
    /// Nowhere, since all weights are zero: 503.
    NoWeight,
}

impl RouteTable {
    /// The rules of those of `routes` that hold for a caller of the namespace `caller` at `port` of
    /// `parent`: those of its own namespace if there are any, in place of the parent's own; and of
    /// several kinds, those of the first.
    ///
    /// # Errors
    /// [`RouteError`] for the first expression that is too large.
    pub fn new<'r>(
        routes: impl IntoIterator<Item = &'r Arc<Route>>,
        parent: &Parent,
        port: Port,
        caller: Option<&Namespace>,
    ) -> Result<RouteTable, RouteError> {
        let is_meant = |route: &&Arc<Route>| {
            route
                .parents
                .iter()
                .any(|one| one.parent == *parent && one.port.is_none_or(|wanted| wanted == port))
        };
        let is_of =
            |route: &&Arc<Route>, namespace: &str| route.name.object.namespace() == namespace;
        let (producers, others): (Vec<_>, Vec<_>) = routes
            .into_iter()
            .filter(is_meant)
            .partition(|route| is_of(route, parent.object().namespace()));
        let consumers = others
            .into_iter()
            .filter(|route| caller.is_some_and(|caller| is_of(route, caller.as_str())));
        let consumers: Vec<_> = consumers.collect();
        let (holding, replaced) = match consumers.is_empty() {
            true => (producers, consumers),
            false => (consumers, producers),
        };
        let kind = holding.iter().map(|route| route.name.kind).min();
        let mut entries = Vec::new();
        let mut names = Vec::new();
        let (holding, of_other_kinds): (Vec<_>, Vec<_>) =
            holding.into_iter().partition(|route| Some(route.name.kind) == kind);
        let name = |route: &Arc<Route>| route.name.clone();
        let passed_over = PassedOver {
            replaced: replaced.into_iter().map(name).collect(),
            of_other_kinds: of_other_kinds.into_iter().map(name).collect(),
        };
        let streams = stream::entries(&holding);
        for route in holding {
            names.push(route.name.clone());
            for (rule, found) in route.rules.iter().enumerate() {
                for (place, wanted) in found.matches.iter().enumerate() {
                    let test = Test::new(wanted)
                        .map_err(|text| RouteError { route: route.name.to_string(), text })?;
                    let route = route.clone();
                    entries.push(Entry { route, rule, place, test, port });
                }
            }
        }
        // Stable: of equals, the rule and the match that were written first stay first.
        entries.sort_by_cached_key(Entry::precedence);
        Ok(RouteTable { entries, streams, routes: names, passed_over })
    }

    /// Whether no route is for this port: then requests go to what was called itself.
    ///
    /// A route without a rule that matches is not the same: its requests are refused.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// What is spoken to a port that the rules are for, of which `declared` is declared.
    pub fn spoken(&self, declared: Protocol) -> Protocol {
        match (declared, self.routes.first().map(|route| route.kind)) {
            (Protocol::Detect, Some(RouteKind::Grpc)) => Protocol::Grpc,
            (Protocol::Detect, Some(RouteKind::Http)) => Protocol::Http,
            (Protocol::Detect, Some(RouteKind::Tls)) => Protocol::Tls,
            (Protocol::Detect, Some(RouteKind::Tcp)) => Protocol::Opaque,
            _ => declared,
        }
    }

    /// The routes that hold.
    pub fn names(&self) -> &[RouteName] {
        &self.routes
    }

    /// The routes that are for this port, and do not hold.
    pub fn passed_over(&self) -> &PassedOver {
        &self.passed_over
    }

    /// Whether `route` is one of those that the rules are of.
    pub fn has(&self, route: &RouteName) -> bool {
        self.routes.contains(route)
    }

    /// The rule that the request falls under, if there is one.
    pub fn select(&self, head: &RequestHead) -> Option<Selected<'_>> {
        self.select_match(head).map(|matched| matched.selected)
    }

    /// As [`RouteTable::select`], with the match that decided.
    pub fn select_match(&self, head: &RequestHead) -> Option<Matched<'_>> {
        let entry = self.entries.iter().find(|entry| entry.test.unmet(head).is_none())?;
        let facts = Facts { port: entry.port, prefix: entry.test.prefix() };
        Some(Matched { selected: entry.selected(), match_index: entry.place, facts })
    }

    /// All matches in the order in which they are asked, and whether the request meets them: the
    /// first that it meets is the one that [`RouteTable::select_match`] returns.
    pub fn consider<'t>(
        &'t self,
        head: &'t RequestHead,
    ) -> impl Iterator<Item = Considered<'t>> + 't {
        self.entries.iter().map(|entry| Considered {
            selected: entry.selected(),
            match_index: entry.place,
            unmet: entry.test.unmet(head),
        })
    }
}

impl Entry {
    fn selected(&self) -> Selected<'_> {
        let rule = &self.route.rules[self.rule];
        Selected { route: &self.route, rule_index: self.rule, rule }
    }

    /// The least comes first: exact paths, then regular expressions, then prefixes, the longer
    /// before the shorter; of calls the same by service, and then by method; then those with a
    /// method of HTTP, with more headers, with more parameters; then the older route, then its
    /// name, then the order of its rules.
    ///
    /// Source: Gateway API, HTTPRouteRule and GRPCRouteRule, which leave the place of regular
    /// expressions open.
    fn precedence(&self) -> impl Ord + use<> {
        let Entry { route, rule, place: _, test, port: _ } = self;
        let RouteMatch { headers, query, method, .. } = test.wanted();
        let counts = (Reverse(method.is_some()), Reverse(headers.len()), Reverse(query.len()));
        (test.path_rank(), counts, route.created, route.name.clone(), *rule)
    }
}

/// The backend that a request under `rule` goes to.
///
/// `draw` is drawn by the caller from `0.0..1.0`, so that each backend gets its share.
pub fn destination(rule: &RouteRule, draw: f64) -> Destination<'_> {
    debug_assert!((0.0..1.0).contains(&draw));
    if rule.backends.is_empty() {
        return Destination::NoBackend;
    }
    let weight = |index: usize| u64::from(rule.backends[index].weight.get());
    let total: u64 = (0..rule.backends.len()).map(weight).sum();
    let mut left = draw * total as f64;
    let mut last = None;
    for (index, backend) in rule.backends.iter().enumerate().filter(|(index, _)| weight(*index) > 0)
    {
        last = Some(backend);
        left -= weight(index) as f64;
        if left < 0.0 {
            break;
        }
    }
    // The last one also takes what rounding may have left over.
    last.map_or(Destination::NoWeight, Destination::Backend)
}

/// All that [`destination`] may say of `rule`, each with its share: of a rule without backends, or
/// without weights, the one thing that it says, with the share 1.
pub fn destinations(rule: &RouteRule) -> Vec<(Destination<'_>, u64)> {
    let taking = rule.backends.iter().filter(|one| one.weight.get() > 0);
    let share = |one: &WeightedBackend| u64::from(one.weight.get());
    let all: Vec<_> = taking.map(|one| (Destination::Backend(one), share(one))).collect();
    if all.is_empty() { vec![(destination(rule, 0.0), 1)] } else { all }
}

#[cfg(test)]
mod tests;
