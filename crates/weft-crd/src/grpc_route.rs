//! `gateway.networking.k8s.io/v1` GRPCRoute: where calls of gRPC go.
//!
//! Source: Gateway API v1.7, standard channel, and GAMMA for Service parents.
//!
//! Deliberately absent: session persistence and some filters, refused by name until they are built.

use crate::finding::quoted;
use crate::metadata::Header;
use crate::reader::{At, Fields, Object, fields};
use crate::route::filters::{self, Of, Read};
use crate::route::matches::{self, CallMatch, ValueMatch, check_regex};
use crate::route::{self, PathMatch, Route, RouteMatch, RouteRule, Traffic};
use crate::timeouts::Timeouts;

const RULE_FIELDS: Fields = Fields {
    known: &["name", "matches", "filters", "backendRefs"],
    not_yet: &["sessionPersistence"],
    ignored: &[],
    no_nulls: false,
};

const NAME_CHARS_MAX: usize = 1024;

pub(crate) fn read(header: Header, at: &At<'_>) -> Option<Route> {
    let namespace = header.namespace.as_str();
    let object = at.object(route::FIELDS)?;
    let parents = route::read_parents(&object, namespace);
    let hostnames = route::read_hostnames(&object, parents.as_ref());
    let rules = object.or("rules", Vec::new(), |at| {
        let rules = route::read_rules(at, |at| read_rule(at, namespace))?;
        route::warn_of_repeated(at, &rules);
        Some(rules)
    });
    if matches!(&rules, Some(rules) if rules.is_empty()) {
        object.at.warning("no rules: no call matches, and all are answered with UNIMPLEMENTED");
    }
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
    let matches = route::read_matches(&object, every_call(), read_match);
    let filters =
        object.or("filters", Read::default(), |at| filters::read(at, Of::RuleOfCalls, namespace));
    let backends = route::read_backends(&object, namespace, Traffic::Calls);
    let (backends, _) = backends?;
    route::warn_if_nowhere(at, &backends, Traffic::Calls);
    Some(RouteRule {
        name: name?,
        matches: matches?,
        filters: filters?.filters,
        backends,
        timeouts: Timeouts::default(),
        retry: None,
    })
}

fn every_call() -> RouteMatch {
    RouteMatch { path: PathMatch::Call(CallMatch::default()), ..RouteMatch::default() }
}

fn read_match(at: &At<'_>) -> Option<RouteMatch> {
    let object = at.object(fields(&["method", "headers"]))?;
    let call = object.or("method", CallMatch::default(), read_call);
    let headers = object.or("headers", Vec::new(), matches::read_headers);
    Some(RouteMatch { path: PathMatch::Call(call?), headers: headers?, ..RouteMatch::default() })
}

fn read_call(at: &At<'_>) -> Option<CallMatch> {
    let object = at.object(fields(&["type", "service", "method"]))?;
    let types = [("Exact", false), ("RegularExpression", true)];
    let is_regex = object.or("type", false, |at| at.choice(&types, &[]));
    let service = read_name(&object, "service", is_regex, check_service);
    let method = read_name(&object, "method", is_regex, check_method);
    let (service, method) = (service?, method?);
    if service.is_none() && method.is_none() {
        return at.error("a service or a method is needed, or both");
    }
    Some(CallMatch { service, method })
}

fn read_name(
    object: &Object<'_>,
    field: &'static str,
    is_regex: Option<bool>,
    check: fn(&str) -> Result<(), String>,
) -> Option<Option<ValueMatch>> {
    object.maybe(field, |at| {
        let text = at.text_within(NAME_CHARS_MAX)?.to_owned();
        let checked = if is_regex? { check_regex(&text) } else { check(&text) };
        match checked {
            Err(message) => at.error(message),
            Ok(()) if is_regex? => Some(ValueMatch::Regex(text)),
            Ok(()) => Some(ValueMatch::Exact(text)),
        }
    })
}

/// Source: Gateway API's CEL on `method`, which also takes a dot in front. No call has one.
fn check_service(text: &str) -> Result<(), String> {
    if text.split('.').all(is_identifier) {
        return Ok(());
    }
    Err(format!("{} is not the name of a service, such as shop.v1.Cart", quoted(text)))
}

fn check_method(text: &str) -> Result<(), String> {
    if is_identifier(text) {
        return Ok(());
    }
    Err(format!("{} is not the name of a method, such as AddItem", quoted(text)))
}

/// What is a name in the language of protocol buffers.
fn is_identifier(text: &str) -> bool {
    let is_fine = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    !text.is_empty() && text.bytes().all(is_fine) && !text.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
