//! Which pages of other origins may read answers.

use crate::finding::quoted;
use crate::names;
use crate::path::Path;
use crate::reader::{At, check_unique, fields};
use crate::route::matches::Method;

/// What pages of other origins may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origins that may read answers, as they were written: `*`, or `SCHEME://HOST[:PORT]`.
    pub origins: Vec<String>,
    /// Whether they may send what the browser keeps for the server, as cookies. Default: no.
    pub credentials: bool,
    /// The methods that they may use; `*` alone means all.
    pub methods: Vec<String>,
    /// The headers that they may send, in lower case; `*` alone means all.
    pub headers: Vec<String>,
    /// The headers of answers that they may see, in lower case; `*` among them means all.
    pub expose: Vec<String>,
    /// How long a browser may go by an answer to its question, in seconds. Default: 5.
    pub max_age: u32,
}

const ORIGINS_MAX: usize = 64;
const METHODS_MAX: usize = 9;
const HEADERS_MAX: usize = 64;
const ORIGIN_BYTES_MAX: usize = 253;

/// How long unless something else is said, in seconds: as Gateway API and browsers have it.
const MAX_AGE: u32 = 5;

/// The most seconds, as in Gateway API: a signed number of 32 bits.
const MAX_AGE_MAX: u32 = i32::MAX as u32;

const ALL: &str = "*";

/// Source: Gateway API, HTTPCORSFilter, with its CEL.
pub(super) fn read(at: &At<'_>) -> Option<Cors> {
    let object = at.object(fields(&[
        "allowOrigins",
        "allowCredentials",
        "allowMethods",
        "allowHeaders",
        "exposeHeaders",
        "maxAge",
    ]))?;
    let origins = object.or("allowOrigins", Vec::new(), |at| {
        let origin = |at: &At<'_>| {
            at.text_within(ORIGIN_BYTES_MAX)?;
            at.parsed(|text| origin(text).map(|()| text.to_owned()))
        };
        alone(at, set(at, ORIGINS_MAX, origin)?)
    });
    let credentials = object.or("allowCredentials", false, At::boolean);
    let methods =
        object.or("allowMethods", Vec::new(), |at| alone(at, set(at, METHODS_MAX, read_method)?));
    let headers =
        object.or("allowHeaders", Vec::new(), |at| alone(at, set(at, HEADERS_MAX, read_header)?));
    let expose = object.or("exposeHeaders", Vec::new(), |at| set(at, HEADERS_MAX, read_header));
    let max_age = object.or("maxAge", MAX_AGE, |at| at.number(1, MAX_AGE_MAX));
    let cors = Cors {
        origins: origins?,
        credentials: credentials?,
        methods: methods?,
        headers: headers?,
        expose: expose?,
        max_age: max_age?,
    };
    if cors.origins.is_empty() {
        at.warning("no allowOrigins: no page of another origin may read answers");
    }
    if cors.credentials
        && cors.expose.iter().any(|name| name == ALL)
        && let Some(at) = object.field("exposeHeaders")
    {
        at.warning("`*` exposes nothing together with allowCredentials: name the headers");
    }
    Some(cors)
}

/// A list without two of the same.
fn set(at: &At<'_>, most: usize, read: impl Fn(&At<'_>) -> Option<String>) -> Option<Vec<String>> {
    let items = at.list(most, read)?;
    let named = at.items(most)?.into_iter().zip(&items);
    let taken = |name: &&String, first: &Path| format!("{} is in {first}", quoted(name));
    check_unique(named, taken).then_some(items)
}

/// The list, in which `*` stands alone if it does.
fn alone(at: &At<'_>, items: Vec<String>) -> Option<Vec<String>> {
    if items.len() > 1 && items.iter().any(|item| item == ALL) {
        return at.error("`*` means all, and stands alone");
    }
    Some(items)
}

fn read_method(at: &At<'_>) -> Option<String> {
    let methods = Method::ALL.map(|(name, _)| (name, name));
    let words: Vec<_> = methods.into_iter().chain([(ALL, ALL)]).collect();
    at.choice(&words, &[]).map(str::to_owned)
}

fn read_header(at: &At<'_>) -> Option<String> {
    at.parsed(|text| names::http_token(text).map(|()| text.to_ascii_lowercase()))
}

/// Whether `text` describes origins: `*`, or a scheme, a host that may be `*` or begin with `*.`,
/// and perhaps a port.
fn origin(text: &str) -> Result<(), String> {
    let wrong = || format!("{} is no origin: it is `*` or http(s)://HOST[:PORT]", quoted(text));
    if text == ALL {
        return Ok(());
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or_else(wrong)?;
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let is_number = |port: &str| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        digits && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if !port.is_none_or(is_number) {
        return Err(wrong());
    }
    let host = host.to_ascii_lowercase();
    if host == ALL {
        return Ok(());
    }
    names::dns_subdomain(host.strip_prefix("*.").unwrap_or(&host)).map_err(|_| wrong())
}
