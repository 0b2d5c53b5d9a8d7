//! What is done to the heads of requests and of their answers.

mod cors;
mod headers;
mod mirror;
mod url;

pub use cors::{AllowedNames, AllowedOrigin, Cors, OriginHost};
pub use headers::{HeaderEdits, HeaderValue, is_editable};
pub use mirror::Mirror;
pub use url::{PathRewrite, PreciseHost, Redirect, RedirectStatus, Scheme, UrlRewrite};

/// Something that is done to the heads of a request and of its answer, in the order of their list:
/// those of a rule, then those of the backend that the request goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Fields of the request are changed.
    RequestHeaders(HeaderEdits),
    /// Fields of the answer are changed.
    ResponseHeaders(HeaderEdits),
    /// The request is answered with another place where it is to be sent. Of rules only.
    Redirect(Redirect),
    /// The request is for another host, or for another path, from here on.
    Rewrite(UrlRewrite),
    /// Pages of other origins may read the answer. Of rules only.
    Cors(Cors),
    /// A copy of the request goes elsewhere, too. Of rules only.
    Mirror(Mirror),
}

impl Filter {
    /// Whether a backend can have it: where a request is answered before one is picked, it cannot.
    pub fn is_for_backends(&self) -> bool {
        match self {
            Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) | Filter::Rewrite(_) => true,
            Filter::Redirect(_) | Filter::Cors(_) | Filter::Mirror(_) => false,
        }
    }
}
