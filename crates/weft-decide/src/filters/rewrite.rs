//! Another host or path for a request, from here on.

use weft_http::RequestHead;
use weft_model::UrlRewrite;

use super::Facts;
use super::path::rewritten;

/// Makes the request one for what `rewrite` says. The query stays as it is.
pub(super) fn apply(rewrite: &UrlRewrite, facts: &Facts<'_>, head: &mut RequestHead) {
    let UrlRewrite { hostname, path } = rewrite;
    if let Some(hostname) = hostname {
        head.set_authority(hostname.as_str());
    }
    if let Some(path) = path {
        let query = &head.target()[head.path().len()..];
        let target = rewritten(path, facts, head.path()) + query;
        head.set_target(&target);
    }
}
