//! Another path for a request.

use weft_model::{HttpPath, PathRewrite};

use super::Facts;
use crate::normalize::spelled;

/// The path that `rewrite` makes of `path`, in the one spelling that requests have.
///
/// Source: Gateway API, HTTPPathModifier, whose table is among the tests.
pub(super) fn rewritten(rewrite: &PathRewrite, facts: &Facts<'_>, path: &str) -> String {
    // What is written in a route leads nowhere above the root.
    let of_route = |path: &HttpPath| spelled(path).unwrap_or_else(|| path.as_str().to_owned());
    let replacement = match rewrite {
        PathRewrite::Full(path) => return of_route(path),
        PathRewrite::Prefix(replacement) => of_route(replacement),
    };
    if !path.starts_with('/') {
        return path.to_owned(); // `*`, which has no prefix.
    }
    let is_whole = |rest: &&str| rest.is_empty() || rest.starts_with('/');
    let rest = path.strip_prefix(facts.prefix).filter(is_whole).unwrap_or(path);
    let mut rewritten = replacement;
    rewritten.truncate(rewritten.trim_end_matches('/').len());
    if rest.is_empty() && rewritten.is_empty() {
        rewritten.push('/');
    }
    rewritten + rest
}
