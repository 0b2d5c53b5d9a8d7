//! Other places for a request: told to the caller, or taken on its way.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::error::ValueError;
use crate::http::HttpPath;
use crate::name::is_subdomain;
use crate::units::Port;

/// The place that a caller is to send its request to instead. What is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// The scheme.
    pub scheme: Option<Scheme>,
    /// The host.
    pub hostname: Option<PreciseHost>,
    /// The port. Absent: that of the scheme if one is given, else the port that was called.
    pub port: Option<Port>,
    /// The path.
    pub path: Option<PathRewrite>,
    /// The status that says so.
    pub status: RedirectStatus,
}

/// What a request is for from here on. What is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlRewrite {
    /// The host.
    pub hostname: Option<PreciseHost>,
    /// The path.
    pub path: Option<PathRewrite>,
}

/// Another path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// This one, whatever it was.
    Full(HttpPath),
    /// This instead of the prefix by which the rule matched; `/` takes the prefix away. Where
    /// something else than a prefix matched, it stands before the whole path.
    Prefix(HttpPath),
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP in plaintext.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port of URLs that name none.
    pub fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// The name of a host: no address, no wildcard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PreciseHost(Arc<str>);

impl PreciseHost {
    /// The host `text`.
    ///
    /// # Errors
    /// If it is no DNS name in lower case.
    pub fn new(text: &str) -> Result<PreciseHost, ValueError> {
        if !is_subdomain(text) || text.parse::<IpAddr>().is_ok() {
            return Err(ValueError::new(text, "a host", "a DNS name in lower case"));
        }
        Ok(PreciseHost(text.into()))
    }

    /// The host.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PreciseHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A status that sends a caller elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectStatus(u16);

impl RedirectStatus {
    /// The status `code`.
    ///
    /// # Errors
    /// If it is none of 301, 302, 303, 307 and 308.
    pub fn new(code: u16) -> Result<RedirectStatus, ValueError> {
        if !matches!(code, 301 | 302 | 303 | 307 | 308) {
            let allowed = "301, 302, 303, 307 or 308";
            return Err(ValueError::new(code, "a status that redirects", allowed));
        }
        Ok(RedirectStatus(code))
    }

    /// The status.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// 302, found elsewhere for now, as Gateway API has it.
impl Default for RedirectStatus {
    fn default() -> RedirectStatus {
        RedirectStatus(302)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_statuses_are_checked() {
        assert!(PreciseHost::new("a.example").is_ok());
        for wrong in ["", "A.example", "*.example", "10.0.0.1", "a.example:80", "a/b"] {
            assert!(PreciseHost::new(wrong).is_err(), "{wrong}");
        }
        assert_eq!(RedirectStatus::default(), RedirectStatus::new(302).unwrap());
        assert!(RedirectStatus::new(200).is_err() && RedirectStatus::new(304).is_err());
    }
}
