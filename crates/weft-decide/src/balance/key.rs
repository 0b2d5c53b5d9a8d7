//! What a request is told apart by, where its endpoint is chosen by a hash.

use std::net::IpAddr;

use weft_http::RequestHead;
use weft_model::{CookieName, HashOn, ObjectName};

use super::hash::{Hasher, hash};

/// What a request is told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key<'b> {
    /// What its endpoint is chosen by.
    pub hash: u64,
    /// What of it was hashed.
    pub by: &'b HashOn,
    /// What the client is to be given with the answer, as the value of `Set-Cookie`.
    pub set_cookie: Option<String>,
}

/// What is known of who sends a request.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The address that it comes from.
    pub address: IpAddr,
    /// The workload whose proxy took it, where that stands for one.
    pub workload: Option<&'a ObjectName>,
}

/// The key of a request, or of a connection whose bytes are not looked into, which has no `head`:
/// that of the first of `hash_on` that is there. `None` if none is.
///
/// What is empty counts as absent. Cookies that are to be given to clients are there in any case;
/// `draw` gives the value of a new one.
pub fn key<'b>(
    hash_on: &'b [HashOn],
    head: Option<&RequestHead>,
    source: Source<'_>,
    draw: impl Fn() -> u64,
) -> Option<Key<'b>> {
    hash_on.iter().find_map(|by| {
        let key = |hash: u64| Key { hash, by, set_cookie: None };
        match by {
            HashOn::Header(name) => header(head?, name.as_str()).map(key),
            HashOn::Cookie { name, ttl_seconds } => {
                let head = head?;
                let found = cookie(head, name).map(|value| key(hash(value)));
                found.or_else(|| Some(given(by, name, (*ttl_seconds)?, draw())))
            }
            HashOn::SourceAddress => Some(key(address(source))),
        }
    })
}

/// The hash of a header; several of one name are one with commas, as RFC 9110 (5.2) reads them.
/// That of `host` is the authority, for which HTTP/2 has no field.
fn header(head: &RequestHead, name: &str) -> Option<u64> {
    if name == "host" {
        let authority = head.authority();
        return (!authority.is_empty()).then(|| hash(authority.as_bytes()));
    }
    let mut values = head.fields.values(name).filter(|value| !value.is_empty());
    let mut hasher = Hasher::new();
    hasher.write(values.next()?);
    for value in values {
        hasher.write(b", ");
        hasher.write(value);
    }
    Some(hasher.finish())
}

/// The value of the first cookie called `name`.
///
/// Source: RFC 6265, section 5.4; HTTP/2 may have a field for each cookie (RFC 9113, 8.2.3).
pub(crate) fn cookie<'h>(head: &'h RequestHead, name: &CookieName) -> Option<&'h [u8]> {
    let pairs = head.fields.values("cookie").flat_map(|field| field.split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (found, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        (found == name.as_str().as_bytes() && !value.is_empty()).then_some(value)
    });
    values.next()
}

/// The key of a client that is given a cookie, which it has from the next request on.
fn given<'b>(by: &'b HashOn, name: &CookieName, ttl_seconds: u64, drawn: u64) -> Key<'b> {
    let value = format!("{drawn:016x}");
    let life = match ttl_seconds {
        0 => String::new(),
        seconds => format!("; Max-Age={seconds}"),
    };
    let set_cookie = format!("{name}={value}; Path=/{life}; HttpOnly; SameSite=Lax");
    Key { hash: hash(value.as_bytes()), by, set_cookie: Some(set_cookie) }
}

/// The hash of where a request comes from. The address of the loopback is every machine's: there
/// the workload tells them apart.
fn address(source: Source<'_>) -> u64 {
    let Source { address, workload } = source;
    let mut hasher = Hasher::new();
    match address.to_canonical() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    if let Some(workload) = workload.filter(|_| address.to_canonical().is_loopback()) {
        hasher.write(workload.namespace().as_bytes());
        hasher.write(b"/");
        hasher.write(workload.name().as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
