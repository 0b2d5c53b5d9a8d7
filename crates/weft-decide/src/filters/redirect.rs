//! Sending a caller elsewhere.

use weft_http::RequestHead;
use weft_model::{PreciseHost, Redirect, Scheme};

use super::path::rewritten;
use super::{Facts, OwnAnswer};

/// The code of the reason.
const REASON: &str = "redirect";

/// The answer that says where the request is to be sent instead.
pub(super) fn answer(
    filter: usize,
    redirect: &Redirect,
    facts: &Facts<'_>,
    head: &RequestHead,
) -> OwnAnswer {
    let location = location(redirect, facts, head);
    OwnAnswer {
        filter,
        status: redirect.status.get(),
        reason: REASON,
        detail: format!("the request is to be sent to {location}"),
        fields: vec![("Location", location)],
    }
}

/// Where that is. The query stays as it is.
///
/// Source: Gateway API, HTTPRequestRedirectFilter; applications speak plain HTTP to their proxies.
fn location(redirect: &Redirect, facts: &Facts<'_>, head: &RequestHead) -> String {
    let Redirect { scheme, hostname, port, path, status: _ } = redirect;
    let port = match (port, scheme) {
        (Some(port), _) => port.get(),
        (None, Some(scheme)) => scheme.port(),
        (None, None) => facts.port.get(),
    };
    let scheme = scheme.unwrap_or(Scheme::Http);
    let host = hostname.as_ref().map_or_else(|| host_of(head.authority()), PreciseHost::as_str);
    let port = if port == scheme.port() { String::new() } else { format!(":{port}") };
    let query = &head.target()[head.path().len()..];
    let path = match path {
        Some(path) => rewritten(path, facts, head.path()),
        // That of `OPTIONS *` is none that a URL can have.
        None if !head.path().starts_with('/') => "/".to_owned(),
        None => head.path().to_owned(),
    };
    format!("{}://{host}{port}{path}{query}", scheme.as_str())
}

/// The host of `authority`, without its port. That of an IPv6 address keeps its brackets.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}
