//! What is done to requests and answers, on the wire.

use prost::{Message, Oneof};
use weft_model::{
    AllowedNames, AllowedOrigin, Cors, ExactValue, Filter, Fraction, HeaderEdits, HeaderName,
    HeaderValue, HttpPath, Method, Mirror, PathRewrite, PreciseHost, Redirect, RedirectStatus,
    Scheme, UrlRewrite, ValueError,
};

use super::super::common::{from_port, list, needed, numbered, to_port};
use super::BackendKind;
use crate::error::{At, FieldError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct FilterMessage {
    #[prost(oneof = "FilterKind", tags = "1, 2, 3, 4, 5, 6")]
    filter: Option<FilterKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum FilterKind {
    #[prost(message, tag = "1")]
    RequestHeaders(EditsMessage),
    #[prost(message, tag = "2")]
    ResponseHeaders(EditsMessage),
    #[prost(message, tag = "3")]
    Redirect(RedirectMessage),
    #[prost(message, tag = "4")]
    Rewrite(RewriteMessage),
    #[prost(message, tag = "5")]
    Cors(CorsMessage),
    #[prost(message, tag = "6")]
    Mirror(MirrorMessage),
}

#[derive(Clone, PartialEq, Message)]
struct EditsMessage {
    #[prost(message, repeated, tag = "1")]
    set: Vec<HeaderMessage>,
    #[prost(message, repeated, tag = "2")]
    add: Vec<HeaderMessage>,
    #[prost(string, repeated, tag = "3")]
    remove: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct RedirectMessage {
    #[prost(int32, optional, tag = "1")]
    scheme: Option<i32>,
    #[prost(string, optional, tag = "2")]
    hostname: Option<String>,
    #[prost(uint32, optional, tag = "3")]
    port: Option<u32>,
    #[prost(message, optional, tag = "4")]
    path: Option<PathMessage>,
    #[prost(uint32, tag = "5")]
    status: u32,
}

#[derive(Clone, PartialEq, Message)]
struct RewriteMessage {
    #[prost(string, optional, tag = "1")]
    hostname: Option<String>,
    #[prost(message, optional, tag = "2")]
    path: Option<PathMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct PathMessage {
    #[prost(oneof = "PathKind", tags = "1, 2")]
    path: Option<PathKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum PathKind {
    #[prost(string, tag = "1")]
    Full(String),
    #[prost(string, tag = "2")]
    Prefix(String),
}

#[derive(Clone, PartialEq, Message)]
struct CorsMessage {
    #[prost(string, repeated, tag = "1")]
    origins: Vec<String>,
    #[prost(bool, tag = "2")]
    credentials: bool,
    #[prost(message, optional, tag = "3")]
    methods: Option<NamesMessage>,
    #[prost(message, optional, tag = "4")]
    headers: Option<NamesMessage>,
    #[prost(message, optional, tag = "5")]
    expose: Option<NamesMessage>,
    #[prost(uint32, tag = "6")]
    max_age_s: u32,
}

#[derive(Clone, PartialEq, Message)]
struct MirrorMessage {
    #[prost(oneof = "BackendKind", tags = "1, 2, 5")]
    backend: Option<BackendKind>,
    #[prost(uint32, tag = "3")]
    numerator: u32,
    #[prost(uint32, tag = "4")]
    denominator: u32,
}

/// Names that are allowed: all, or these.
#[derive(Clone, PartialEq, Message)]
struct NamesMessage {
    #[prost(bool, tag = "1")]
    all: bool,
    #[prost(string, repeated, tag = "2")]
    names: Vec<String>,
}

numbered!(from_scheme, to_scheme, Scheme, { Http = 1, Https = 2 });

impl FilterMessage {
    pub(super) fn new(filter: &Filter) -> FilterMessage {
        let filter = match filter {
            Filter::RequestHeaders(edits) => FilterKind::RequestHeaders(EditsMessage::new(edits)),
            Filter::ResponseHeaders(edits) => FilterKind::ResponseHeaders(EditsMessage::new(edits)),
            Filter::Redirect(redirect) => FilterKind::Redirect(RedirectMessage::new(redirect)),
            Filter::Rewrite(rewrite) => FilterKind::Rewrite(RewriteMessage::new(rewrite)),
            Filter::Cors(cors) => FilterKind::Cors(CorsMessage::new(cors)),
            Filter::Mirror(mirror) => FilterKind::Mirror(MirrorMessage::new(mirror)),
        };
        FilterMessage { filter: Some(filter) }
    }

    pub(super) fn check(self) -> Result<Filter, FieldError> {
        Ok(match needed("filter", self.filter)? {
            FilterKind::RequestHeaders(edits) => Filter::RequestHeaders(edits.check()?),
            FilterKind::ResponseHeaders(edits) => Filter::ResponseHeaders(edits.check()?),
            FilterKind::Redirect(redirect) => Filter::Redirect(redirect.check()?),
            FilterKind::Rewrite(rewrite) => Filter::Rewrite(rewrite.check()?),
            FilterKind::Cors(cors) => Filter::Cors(cors.check()?),
            FilterKind::Mirror(mirror) => Filter::Mirror(mirror.check()?),
        })
    }

    /// One of a backend, which cannot have each.
    pub(super) fn check_of_backend(self) -> Result<Filter, FieldError> {
        let filter = self.check()?;
        if !filter.is_for_backends() {
            return Err(FieldError::new("is for rules only"));
        }
        Ok(filter)
    }
}

impl EditsMessage {
    fn new(edits: &HeaderEdits) -> EditsMessage {
        let header = |(name, value): &HeaderValue| HeaderMessage {
            name: name.as_str().to_owned(),
            value: value.as_str().to_owned(),
        };
        EditsMessage {
            set: edits.set().iter().map(header).collect(),
            add: edits.add().iter().map(header).collect(),
            remove: edits.remove().iter().map(|name| name.as_str().to_owned()).collect(),
        }
    }

    fn check(self) -> Result<HeaderEdits, FieldError> {
        let EditsMessage { set, add, remove } = self;
        let header = |HeaderMessage { name, value }| {
            Ok((HeaderName::new(&name).at("name")?, ExactValue::new(&value).at("value")?))
        };
        let set = list("set", set, header)?;
        let add = list("add", add, header)?;
        let remove = list("remove", remove, |name| Ok(HeaderName::new(&name)?))?;
        Ok(HeaderEdits::new(set, add, remove)?)
    }
}

impl RedirectMessage {
    fn new(redirect: &Redirect) -> RedirectMessage {
        let Redirect { scheme, hostname, port, path, status } = redirect;
        RedirectMessage {
            scheme: scheme.map(from_scheme),
            hostname: hostname.as_ref().map(ToString::to_string),
            port: port.map(from_port),
            path: path.as_ref().map(PathMessage::new),
            status: status.get().into(),
        }
    }

    fn check(self) -> Result<Redirect, FieldError> {
        let RedirectMessage { scheme, hostname, port, path, status } = self;
        let narrow = u16::try_from(status).unwrap_or(0);
        Ok(Redirect {
            scheme: scheme.map(to_scheme).transpose().at("scheme")?,
            hostname: to_host(hostname)?,
            port: port.map(to_port).transpose().at("port")?,
            path: path.map(PathMessage::check).transpose().at("path")?,
            status: RedirectStatus::new(narrow).at("status")?,
        })
    }
}

impl RewriteMessage {
    fn new(rewrite: &UrlRewrite) -> RewriteMessage {
        let UrlRewrite { hostname, path } = rewrite;
        RewriteMessage {
            hostname: hostname.as_ref().map(ToString::to_string),
            path: path.as_ref().map(PathMessage::new),
        }
    }

    fn check(self) -> Result<UrlRewrite, FieldError> {
        let RewriteMessage { hostname, path } = self;
        let path = path.map(PathMessage::check).transpose().at("path")?;
        Ok(UrlRewrite { hostname: to_host(hostname)?, path })
    }
}

fn to_host(hostname: Option<String>) -> Result<Option<PreciseHost>, FieldError> {
    hostname.map(|host| PreciseHost::new(&host)).transpose().at("hostname")
}

impl PathMessage {
    fn new(path: &PathRewrite) -> PathMessage {
        let path = match path {
            PathRewrite::Full(path) => PathKind::Full(path.as_str().to_owned()),
            PathRewrite::Prefix(path) => PathKind::Prefix(path.as_str().to_owned()),
        };
        PathMessage { path: Some(path) }
    }

    fn check(self) -> Result<PathRewrite, FieldError> {
        Ok(match needed("path", self.path)? {
            PathKind::Full(path) => PathRewrite::Full(HttpPath::new(&path)?),
            PathKind::Prefix(path) => PathRewrite::Prefix(HttpPath::new(&path)?),
        })
    }
}

impl CorsMessage {
    fn new(cors: &Cors) -> CorsMessage {
        let Cors { origins, credentials, methods, headers, expose, max_age_s } = cors;
        CorsMessage {
            origins: origins.iter().map(ToString::to_string).collect(),
            credentials: *credentials,
            methods: Some(NamesMessage::new(methods, Method::as_str)),
            headers: Some(NamesMessage::new(headers, HeaderName::as_str)),
            expose: Some(NamesMessage::new(expose, HeaderName::as_str)),
            max_age_s: *max_age_s,
        }
    }

    fn check(self) -> Result<Cors, FieldError> {
        let CorsMessage { origins, credentials, methods, headers, expose, max_age_s } = self;
        Ok(Cors {
            origins: list("origins", origins, |origin| Ok(AllowedOrigin::new(&origin)?))?,
            credentials,
            methods: needed("methods", methods)?.check(Method::new).at("methods")?,
            headers: needed("headers", headers)?.check(HeaderName::new).at("headers")?,
            expose: needed("expose", expose)?.check(HeaderName::new).at("expose")?,
            max_age_s,
        })
    }
}

impl MirrorMessage {
    fn new(mirror: &Mirror) -> MirrorMessage {
        let Mirror { backend, share } = mirror;
        MirrorMessage {
            backend: Some(BackendKind::new(backend)),
            numerator: share.numerator(),
            denominator: share.denominator(),
        }
    }

    fn check(self) -> Result<Mirror, FieldError> {
        let MirrorMessage { backend, numerator, denominator } = self;
        let backend = needed("backend", backend)?.check()?;
        Ok(Mirror { backend, share: Fraction::new(numerator, denominator).at("denominator")? })
    }
}

impl NamesMessage {
    fn new<T>(names: &AllowedNames<T>, text: fn(&T) -> &str) -> NamesMessage {
        match names {
            AllowedNames::Any => NamesMessage { all: true, names: Vec::new() },
            AllowedNames::These(names) => {
                let names = names.iter().map(|name| text(name).to_owned()).collect();
                NamesMessage { all: false, names }
            }
        }
    }

    fn check<T>(
        self,
        read: fn(&str) -> Result<T, ValueError>,
    ) -> Result<AllowedNames<T>, FieldError> {
        let NamesMessage { all, names } = self;
        if all {
            return Ok(AllowedNames::Any);
        }
        Ok(AllowedNames::These(list("names", names, |name| Ok(read(&name)?))?))
    }
}
