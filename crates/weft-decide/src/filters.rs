//! What the filters of routes do to the heads of requests and of their answers.
//!
//! Filters are asked in the order in which they are written: those of the rule, then those of the
//! backend that was picked. What a request is before any of them decides what its answer gets.

pub mod cors;
pub mod headers;
mod path;
mod redirect;
mod rewrite;

use std::sync::Arc;

use weft_http::{Fields, RequestHead, ResponseHead};
use weft_model::{Cors, Filter, Port, Route, RouteRule, WeightedBackend};

use self::cors::Origin;

/// What filters go by besides the request's head.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    /// The port of the Service that was called.
    pub port: Port,
    /// The prefix by which the rule matched, without slashes at its end; empty where something else
    /// did.
    pub prefix: &'f str,
}

/// An answer that a filter gives itself, which is no failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAnswer {
    /// The place of that filter among those of the rule.
    pub filter: usize,
    /// The status.
    pub status: u16,
    /// The stable code for it.
    pub reason: &'static str,
    /// The same for people.
    pub detail: String,
    /// The fields, without those that all answers under the rule get.
    pub fields: Vec<(&'static str, String)>,
}

impl OwnAnswer {
    /// Its head, to which `on_answer` does what it does to all answers under the rule.
    pub fn head(&self, on_answer: Option<&OnAnswer>) -> ResponseHead {
        let mut head = ResponseHead::with_status(self.status);
        if let Some(on_answer) = on_answer {
            on_answer.apply(&mut head.fields);
        }
        for (name, value) in &self.fields {
            head.fields.set(name, value.as_bytes());
        }
        head
    }
}

/// The answer that one of the rule's `filters` gives to the request, if one does. No backend is
/// picked then.
pub fn answer(filters: &[Filter], facts: &Facts<'_>, head: &RequestHead) -> Option<OwnAnswer> {
    filters.iter().enumerate().find_map(|(index, filter)| match filter {
        Filter::Redirect(redirect) => Some(redirect::answer(index, redirect, facts, head)),
        Filter::Cors(cors) => cors::preflight(index, cors, head),
        Filter::RequestHeaders(_)
        | Filter::ResponseHeaders(_)
        | Filter::Rewrite(_)
        | Filter::Mirror(_) => None,
    })
}

/// Does to the request's head what `filters` say. To be done once, however often it is sent.
pub fn on_request(filters: &[Filter], facts: &Facts<'_>, head: &mut RequestHead) {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(edits) => headers::edit(edits, &mut head.fields),
            Filter::Rewrite(rewrite) => rewrite::apply(rewrite, facts, head),
            Filter::ResponseHeaders(_)
            | Filter::Redirect(_)
            | Filter::Cors(_)
            | Filter::Mirror(_) => {}
        }
    }
}

/// What is to be done to the answer of a request, whoever gives it.
#[derive(Clone, Debug)]
pub struct OnAnswer {
    route: Arc<Route>,
    rule: usize,
    backend: Option<usize>,
    /// What the rule says of the request's origin, if it says something of origins.
    origin: Option<Origin>,
}

impl OnAnswer {
    /// What the rule `rule` of `route` says about answers to the request `head`, which no filter
    /// has changed yet; none if neither it nor any of its backends says anything.
    pub fn new(route: &Arc<Route>, rule: usize, head: &RequestHead) -> Option<OnAnswer> {
        let RouteRule { filters, backends, .. } = &route.rules[rule];
        let all = backends.iter().flat_map(|backend| &backend.filters).chain(filters);
        if !all.into_iter().any(is_on_answers) {
            return None;
        }
        let origin = cors_of(filters).map(|cors| cors::origin(cors, head));
        Some(OnAnswer { route: route.clone(), rule, backend: None, origin })
    }

    /// Says that the request goes to `backend`, which is one of the rule's.
    pub fn goes_to(&mut self, backend: &WeightedBackend) {
        let backends = &self.route.rules[self.rule].backends;
        self.backend = backends.iter().position(|one| std::ptr::eq(one, backend));
    }

    /// Does it.
    pub fn apply(&self, fields: &mut Fields) {
        let OnAnswer { route, rule, backend, origin } = self;
        let RouteRule { filters, backends, .. } = &route.rules[*rule];
        let of_backend = backend.map_or(&[][..], |backend| &backends[backend].filters);
        for filter in filters.iter().chain(of_backend) {
            match (filter, origin) {
                (Filter::ResponseHeaders(edits), _) => headers::edit(edits, fields),
                (Filter::Cors(cors), Some(origin)) => cors::on_answer(cors, origin, fields),
                _ => {}
            }
        }
    }
}

fn is_on_answers(filter: &Filter) -> bool {
    matches!(filter, Filter::ResponseHeaders(_) | Filter::Cors(_))
}

fn cors_of(filters: &[Filter]) -> Option<&Cors> {
    filters.iter().find_map(|filter| match filter {
        Filter::Cors(cors) => Some(cors),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
