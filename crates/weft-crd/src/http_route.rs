//! `gateway.networking.k8s.io/v1` HTTPRoute: where HTTP requests go.
//!
//! The rules that the standard states in its schema and in CEL are kept here as far as they concern
//! what is supported. Source: Gateway API v1.7, standard channel, and GAMMA for Service parents.
//!
//! Deliberately absent: some filters, refused by name until they are built, and session
//! persistence, which a BackendPolicy says.

use crate::metadata::Header;
use crate::reader::{At, Fields};
use crate::retry;
use crate::route::filters::{self, Of, Read, check_together};
use crate::route::{self, Route, RouteMatch, RouteRule, Traffic, matches};
use crate::timeouts::{self, Timeouts};

const RULE_FIELDS: Fields = Fields {
    known: &["name", "matches", "filters", "backendRefs", "timeouts", "retry"],
    not_yet: &["sessionPersistence"],
    ignored: &[],
    no_nulls: false,
};

pub(crate) fn read(header: Header, at: &At<'_>) -> Option<Route> {
    let namespace = header.namespace.as_str();
    let object = at.object(route::FIELDS)?;
    let parents = route::read_parents(&object, namespace);
    let hostnames = route::read_hostnames(&object, parents.as_ref());
    let rules = object.or("rules", vec![RouteRule::default()], |at| {
        let rules = route::read_rules(at, |at| read_rule(at, namespace))?;
        if rules.is_empty() {
            return at.error("an empty list is not allowed: leave the field out");
        }
        route::warn_of_repeated(at, &rules);
        Some(rules)
    });
    Some(Route {
        metadata: header.metadata?,
        parents: parents?,
        hostnames: hostnames?,
        rules: rules?,
    })
}

fn read_rule(at: &At<'_>, namespace: &str) -> Option<RouteRule> {
    let object = at.object(RULE_FIELDS)?;
    let name = route::read_name(&object);
    let matches = route::read_matches(&object, RouteMatch::default(), matches::read);
    let filters =
        object.or("filters", Read::default(), |at| filters::read(at, Of::Rule, namespace));
    let backends = route::read_backends(&object, namespace, Traffic::Http);
    let timeouts = object.or("timeouts", Timeouts::default(), timeouts::read);
    let retry = object.maybe("retry", retry::read);
    let (matches, filters, (backends, of_backends)) = (matches?, filters?, backends?);
    check_together(&filters, &of_backends, &matches);
    if filters.has_redirect() {
        for at in ["timeouts", "retry"].into_iter().filter_map(|field| object.field(field)) {
            at.warning("no effect: what is redirected goes to no backend");
        }
    } else {
        route::warn_if_nowhere(at, &backends, Traffic::Http);
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
