//! What is done to requests and answers under a rule, or on the way to one of its backends.

mod cors;
mod headers;
mod mirror;
mod url;

pub use cors::Cors;
pub use headers::{HeaderEdits, HeaderValue};
pub use mirror::{Mirror, Share};
pub use url::{PathRewrite, Redirect, Scheme, UrlRewrite};

use super::matches::{Method, PathMatch, RouteMatch};
use crate::finding::quoted;
use crate::path::Path;
use crate::reader::{At, Fields};

/// Something that is done to a request or to its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Headers of the request are changed.
    RequestHeaders(HeaderEdits),
    /// Headers of the answer are changed.
    ResponseHeaders(HeaderEdits),
    /// The request is answered with another place where it is to be sent.
    Redirect(Redirect),
    /// The request is for another host or path from here on.
    Rewrite(UrlRewrite),
    /// Pages of other origins may read answers.
    Cors(Cors),
    /// A copy of the request goes elsewhere, too.
    Mirror(Mirror),
}

impl Filter {
    /// Its path, if it changes that by the prefix that matched.
    fn replaces_prefix(&self) -> bool {
        let path = match self {
            Filter::Redirect(redirect) => &redirect.path,
            Filter::Rewrite(rewrite) => &rewrite.path,
            _ => return false,
        };
        matches!(path, Some(PathRewrite::Prefix(_)))
    }

    fn rewrites_path(&self) -> bool {
        matches!(self, Filter::Rewrite(UrlRewrite { path: Some(_), .. }))
    }
}

fn is_redirect(filter: &Filter) -> bool {
    matches!(filter, Filter::Redirect(_))
}

fn is_cors(filter: &Filter) -> bool {
    matches!(filter, Filter::Cors(_))
}

/// Whose filters they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Rule,
    Backend,
    /// A rule of a GRPCRoute.
    RuleOfCalls,
    /// A backend of one.
    BackendOfCalls,
}

/// The filters of one list, each with where it stands.
#[derive(Clone, Default)]
pub(crate) struct Read<'a> {
    pub(crate) filters: Vec<Filter>,
    places: Vec<At<'a>>,
}

impl<'a> Read<'a> {
    /// The first of those that `is_it` is true of, and where it stands.
    fn first(&self, is_it: fn(&Filter) -> bool) -> Option<&At<'a>> {
        let place = self.filters.iter().position(is_it)?;
        self.places.get(place)
    }

    pub(crate) fn has_redirect(&self) -> bool {
        self.first(is_redirect).is_some()
    }
}

/// Checks what the filters of a rule, those of its backends, and the rest of it demand of each
/// other.
///
/// Source: Gateway API's CEL on rules.
pub(crate) fn check_together<'a>(
    of_rule: &Read<'a>,
    of_backends: &[Read<'a>],
    matches: &[RouteMatch],
) {
    let is_one_prefix = matches!(matches, [RouteMatch { path: PathMatch::Prefix(_), .. }]);
    for read in of_backends.iter().chain([of_rule]) {
        if let Some(at) = read.first(Filter::replaces_prefix)
            && !is_one_prefix
        {
            at.error::<()>(
                "it replaces the prefix that matches, so the rule needs exactly one match, and one \
                 by PathPrefix",
            );
        }
    }
    if let Some(at) = of_rule.first(is_redirect)
        && !of_backends.is_empty()
    {
        at.error::<()>("a request that is redirected goes to no backend, and the rule names some");
    }
    if let Some(at) = of_rule.first(is_cors) {
        warn_of_cors(at, of_rule, matches);
    }
    if let Some(first) = of_rule.first(Filter::rewrites_path) {
        for at in of_backends.iter().filter_map(|read| read.first(Filter::replaces_prefix)) {
            at.error::<()>(format!(
                "it replaces the prefix that matches, and {} has changed the path before",
                first.path
            ));
        }
    }
}

/// Warns of the filter at `at` where the browser's questions, which are OPTIONS, do not come to it.
fn warn_of_cors(at: &At<'_>, of_rule: &Read<'_>, matches: &[RouteMatch]) {
    let place = |is_it: fn(&Filter) -> bool| of_rule.filters.iter().position(is_it);
    if let Some(redirect) = of_rule.first(is_redirect)
        && place(is_redirect) < place(is_cors)
    {
        at.warning(format!("answers no preflight: {} redirects all before", redirect.path));
    }
    let asks_for_another =
        |one: &RouteMatch| one.method.is_some_and(|method| method != Method::Options);
    if matches.iter().all(asks_for_another) {
        at.warning(
            "answers no preflight: that is an OPTIONS, and each match of the rule asks for another \
             method",
        );
    }
}

const FILTERS_MAX: usize = 16;

/// What a filter is called, and the field that says what it does.
const KINDS: [(&str, &str); 6] = [
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("RequestRedirect", "requestRedirect"),
    ("URLRewrite", "urlRewrite"),
    ("CORS", "cors"),
    ("RequestMirror", "requestMirror"),
];

const NOT_YET: &[&str] = &["ExternalAuth", "ExtensionRef"];
const NOT_YET_OF_CALLS: &[&str] = &["ExtensionRef"];

const FIELDS: Fields = Fields {
    known: &[
        "type",
        "requestHeaderModifier",
        "responseHeaderModifier",
        "requestRedirect",
        "urlRewrite",
        "cors",
        "requestMirror",
    ],
    not_yet: &["externalAuth", "extensionRef"],
    ignored: &[],
    no_nulls: false,
};

const FIELDS_OF_CALLS: Fields = Fields {
    known: &["type", "requestHeaderModifier", "responseHeaderModifier", "requestMirror"],
    not_yet: &["extensionRef"],
    ignored: &[],
    no_nulls: false,
};

pub(crate) fn read<'a>(at: &At<'a>, of: Of, own_namespace: &str) -> Option<Read<'a>> {
    let items = at.items(FILTERS_MAX)?;
    let filters = at.list(FILTERS_MAX, |at| read_one(at, of, own_namespace))?;
    let mut seen: Vec<(usize, &Path)> = Vec::new();
    for (item, filter) in items.iter().zip(&filters) {
        let kind = kind_of(filter);
        let is_once = !matches!(filter, Filter::Mirror(_));
        if let Some((_, first)) = seen.iter().find(|(other, _)| is_once && *other == kind) {
            let name = KINDS[kind].0;
            item.error::<()>(format!("there is a {name} already at {first}: one is allowed"));
        }
        // Source: Gateway API's CEL on filters.
        let is_with = |other: usize| seen.iter().find(|(kind, _)| *kind == other);
        let (redirect, rewrite) = (2, 3);
        let other = match kind {
            _ if kind == redirect => is_with(rewrite),
            _ if kind == rewrite => is_with(redirect),
            _ => None,
        };
        if let Some((_, first)) = other {
            item.error::<()>(format!(
                "a request is either redirected or rewritten, and {first} does the other"
            ));
        }
        seen.push((kind, &item.path));
    }
    Some(Read { filters, places: items })
}

/// The place in [`KINDS`].
fn kind_of(filter: &Filter) -> usize {
    match filter {
        Filter::RequestHeaders(_) => 0,
        Filter::ResponseHeaders(_) => 1,
        Filter::Redirect(_) => 2,
        Filter::Rewrite(_) => 3,
        Filter::Cors(_) => 4,
        Filter::Mirror(_) => 5,
    }
}

fn read_one(at: &At<'_>, of: Of, own_namespace: &str) -> Option<Filter> {
    let (fields, not_yet) = match of {
        Of::Rule | Of::Backend => (FIELDS, NOT_YET),
        Of::RuleOfCalls | Of::BackendOfCalls => (FIELDS_OF_CALLS, NOT_YET_OF_CALLS),
    };
    let object = at.object(fields)?;
    let is_known = |(_, (_, field)): &(usize, &(&str, &str))| fields.known.contains(field);
    let kinds: Vec<_> = KINDS.iter().enumerate().filter(is_known).collect();
    let types: Vec<_> = kinds.iter().map(|(kind, (name, _))| (*name, *kind)).collect();
    let kind = object.need("type", |at| {
        let kind = at.choice(&types, not_yet)?;
        let why = match (of, KINDS[kind].0) {
            (Of::Backend, "RequestRedirect") => "a request that is redirected goes to no backend",
            (Of::Backend, "CORS") => {
                "a browser's question and its request may go to different backends"
            }
            (Of::Backend | Of::BackendOfCalls, "RequestMirror") => {
                "a request is copied before a backend is picked"
            }
            _ => return Some(kind),
        };
        at.error_help(
            format!("{} is for rules only: {why}", quoted(KINDS[kind].0)),
            "put it into the rule's `filters`",
        )
    })?;
    for (other, (_, field)) in kinds {
        if other != kind
            && let Some(at) = object.field(field)
        {
            let name = KINDS[kind].0;
            at.error::<()>(format!("does not go with the type {}", quoted(name)));
        }
    }
    let (_, field) = KINDS[kind];
    match kind {
        0 => object.need(field, headers::read).map(Filter::RequestHeaders),
        1 => object.need(field, headers::read).map(Filter::ResponseHeaders),
        2 => object.need(field, url::read_redirect).map(Filter::Redirect),
        3 => object.need(field, url::read_rewrite).map(Filter::Rewrite),
        4 => object.need(field, cors::read).map(Filter::Cors),
        _ => object.need(field, |at| mirror::read(at, own_namespace)).map(Filter::Mirror),
    }
}

#[cfg(test)]
mod tests;
