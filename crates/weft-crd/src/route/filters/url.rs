//! Other places for a request.

use crate::finding::quoted;
use crate::names;
use crate::reader::{At, Object, fields};
use crate::units::Port;

/// The place that a caller is to send its request to instead. What is absent stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The scheme.
    pub scheme: Option<Scheme>,
    /// The host.
    pub hostname: Option<String>,
    /// The port. Absent: that of the scheme if one is given, else the port that was called.
    pub port: Option<Port>,
    /// The path.
    pub path: Option<PathRewrite>,
    /// The status that says so. Default: 302.
    pub status: u16,
}

/// What a request is for from here on. What is absent stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlRewrite {
    /// The host.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathRewrite>,
}

/// Another path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// This one, whatever it was.
    Full(String),
    /// This instead of the prefix that matched; empty or `/` takes the prefix away.
    Prefix(String),
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

const STATUS: u16 = 302;
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
const PATH_BYTES_MAX: usize = 1024;

pub(super) fn read_redirect(at: &At<'_>) -> Option<Redirect> {
    let object = at.object(fields(&["scheme", "hostname", "port", "path", "statusCode"]))?;
    let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
    let scheme = object.maybe("scheme", |at| at.choice(&schemes, &[]));
    let (hostname, path) = read_place(&object);
    let port = object.maybe("port", At::port);
    let status = object.or("statusCode", STATUS, |at| {
        let code = at.number(0, 999)?;
        if STATUSES.contains(&code) {
            return Some(code);
        }
        let all = STATUSES.map(|code| code.to_string()).join(", ");
        at.error_help(format!("{code} does not redirect"), format!("one of: {all}"))
    });
    let redirect = Redirect {
        scheme: scheme?,
        hostname: hostname?,
        port: port?,
        path: path?,
        status: status?,
    };
    let Redirect { scheme: None, hostname: None, port: None, path: None, status: _ } = redirect
    else {
        return Some(redirect);
    };
    at.warning("names no other place: callers are sent to where they are, again and again");
    Some(redirect)
}

pub(super) fn read_rewrite(at: &At<'_>) -> Option<UrlRewrite> {
    let object = at.object(fields(&["hostname", "path"]))?;
    let (hostname, path) = read_place(&object);
    let rewrite = UrlRewrite { hostname: hostname?, path: path? };
    if rewrite == (UrlRewrite { hostname: None, path: None }) {
        at.warning("changes nothing");
    }
    Some(rewrite)
}

/// What both have: a host and a path.
fn read_place(object: &Object<'_>) -> (Option<Option<String>>, Option<Option<PathRewrite>>) {
    let hostname = object.maybe("hostname", |at| at.parsed(precise_hostname));
    (hostname, object.maybe("path", read_path))
}

fn precise_hostname(text: &str) -> Result<String, String> {
    if text.starts_with("*.") {
        return Err(format!("{} is many hosts, and one is needed", quoted(text)));
    }
    names::hostname(text).map(|()| text.to_owned())
}

/// Source: Gateway API, HTTPPathModifier, with its CEL.
fn read_path(at: &At<'_>) -> Option<PathRewrite> {
    let object = at.object(fields(&["type", "replaceFullPath", "replacePrefixMatch"]))?;
    let types = [("ReplaceFullPath", true), ("ReplacePrefixMatch", false)];
    let is_full = object.need("type", |at| at.choice(&types, &[]))?;
    let (own, other, name) = match is_full {
        true => ("replaceFullPath", "replacePrefixMatch", "ReplaceFullPath"),
        false => ("replacePrefixMatch", "replaceFullPath", "ReplacePrefixMatch"),
    };
    if let Some(at) = object.field(other) {
        at.error::<()>(format!("does not go with the type {}", quoted(name)));
    }
    object.need(own, |at| {
        let text = at.text()?;
        if text.is_empty() && !is_full {
            return Some(PathRewrite::Prefix(String::new()));
        }
        let text = at.text_within(PATH_BYTES_MAX)?;
        match names::http_path(text) {
            Ok(()) if is_full => Some(PathRewrite::Full(text.to_owned())),
            Ok(()) => Some(PathRewrite::Prefix(text.to_owned())),
            Err(why) => at.error(why),
        }
    })
}
