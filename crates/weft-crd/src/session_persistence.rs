//! `sessionPersistence` of a BackendPolicy: clients that stay with their endpoint.
//!
//! Source: Gateway API, GEP-1619, as its XBackend has it.

use std::time::Duration;

use crate::duration;
use crate::names;
use crate::reader::{At, fields};

/// How clients stay with their endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionPersistence {
    /// What carries the token that a client is given.
    pub carrier: SessionCarrier,
    /// After which time a session ends in any case.
    pub absolute: Option<Duration>,
    /// After which time without a request it ends.
    pub idle: Option<Duration>,
}

/// What carries the token of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionCarrier {
    /// A cookie.
    Cookie {
        /// Its name. Default: one of the Service's own.
        name: Option<String>,
        /// Below which path it is sent. Default: all.
        path: String,
        /// Whether the client keeps it for as long as the session may live.
        is_permanent: bool,
    },
    /// The header of this name, in lower case.
    Header(String),
}

pub(crate) fn read(at: &At<'_>) -> Option<SessionPersistence> {
    let known = &["type", "cookie", "header", "absoluteTimeout", "idleTimeout"];
    let object = at.object(fields(known))?;
    let types = [("Cookie", false), ("Header", true)];
    let is_header = object.or("type", false, |at| at.choice(&types, &[]));
    let absolute = object.maybe("absoluteTimeout", At::positive_duration);
    let idle = object.maybe("idleTimeout", At::positive_duration);
    let carrier = match is_header? {
        true => {
            if let Some(at) = object.field("cookie") {
                at.error::<()>("does not go with the type \"Header\"");
            }
            object.need("header", read_header).map(SessionCarrier::Header)
        }
        false => {
            if let Some(at) = object.field("header") {
                at.error::<()>("does not go with the type \"Cookie\"");
            }
            let default =
                || SessionCarrier::Cookie { name: None, path: "/".to_owned(), is_permanent: false };
            object.or("cookie", default(), read_cookie)
        }
    };
    let (carrier, absolute, idle) = (carrier?, absolute?, idle?);
    if let (SessionCarrier::Cookie { is_permanent: true, .. }, None) = (&carrier, absolute) {
        return at.error("a permanent cookie needs an absoluteTimeout, for which it is kept");
    }
    if let (Some(absolute), Some(idle)) = (absolute, idle)
        && idle >= absolute
        && let Some(at) = object.field("idleTimeout")
    {
        at.warning(format!(
            "no effect: by absoluteTimeout a session ends after {} in any case",
            duration::format(absolute)
        ));
    }
    Some(SessionPersistence { carrier, absolute, idle })
}

fn read_header(at: &At<'_>) -> Option<String> {
    let object = at.object(fields(&["name"]))?;
    object.need("name", |at| {
        at.parsed(|text| names::matched_header(text).map(|()| text.to_ascii_lowercase()))
    })
}

fn read_cookie(at: &At<'_>) -> Option<SessionCarrier> {
    let object = at.object(fields(&["name", "path", "lifetimeType"]))?;
    let name =
        object.maybe("name", |at| at.parsed(|text| names::cookie(text).map(|()| text.to_owned())));
    let path = object.or("path", "/".to_owned(), |at| {
        at.parsed(|text| match text.contains([';', ',', ' ']) {
            true => Err("a cookie's path has no semicolon, comma or blank".to_owned()),
            false => names::http_path(text).map(|()| text.to_owned()),
        })
    });
    let lifetimes = [("Session", false), ("Permanent", true)];
    let is_permanent = object.or("lifetimeType", false, |at| at.choice(&lifetimes, &[]));
    Some(SessionCarrier::Cookie { name: name?, path: path?, is_permanent: is_permanent? })
}
