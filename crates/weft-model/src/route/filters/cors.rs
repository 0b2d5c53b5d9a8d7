//! Which pages of other origins may read answers.

use super::Scheme;
use crate::error::ValueError;
use crate::http::{HeaderName, Method};
use crate::name::is_subdomain;
use crate::units::Port;

/// What pages of other origins may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origins that may read answers. None at all: no page of another origin.
    pub origins: Vec<AllowedOrigin>,
    /// Whether they may send what the browser keeps for the server, as cookies.
    pub credentials: bool,
    /// The methods that they may use. GET, HEAD and POST need no leave.
    pub methods: AllowedNames<Method>,
    /// The headers that they may send.
    pub headers: AllowedNames<HeaderName>,
    /// The headers of answers that they may see.
    pub expose: AllowedNames<HeaderName>,
    /// How long a browser may go by an answer to its question, in seconds.
    pub max_age_s: u32,
}

/// Names that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedNames<T> {
    /// All.
    Any,
    /// These.
    These(Vec<T>),
}

/// Origins: a scheme, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// All of them, opaque ones (`null`) included.
    Any,
    /// Those of this kind.
    Of {
        /// The scheme.
        scheme: Scheme,
        /// The host.
        host: OriginHost,
        /// The port; where none was written, that of the scheme.
        port: Port,
    },
}

/// The hosts of some origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginHost {
    /// Every host.
    Any,
    /// This one, in lower case.
    Exact(String),
    /// Every host below this one, however far.
    Below(String),
}

impl AllowedOrigin {
    /// The origins that `text` describes: `*`, or `SCHEME://HOST[:PORT]`, where the host is `*`, a
    /// name, or a name behind `*.`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn new(text: &str) -> Result<AllowedOrigin, ValueError> {
        if text == "*" {
            return Ok(AllowedOrigin::Any);
        }
        let error = || ValueError::new(text, "an origin", "`*`, or http(s)://HOST[:PORT]");
        let (scheme, rest) = text.split_once("://").ok_or_else(error)?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(error()),
        };
        let (host, port) = match rest.rsplit_once(':') {
            None => (rest, scheme.port()),
            Some((host, port)) => {
                let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|_| is_number);
                (host, port.ok_or_else(error)?)
            }
        };
        let port = Port::new(port).map_err(|_| error())?;
        let host = host.to_ascii_lowercase();
        let host = match host.strip_prefix("*.") {
            _ if host == "*" => OriginHost::Any,
            Some(below) if is_subdomain(below) => OriginHost::Below(below.to_owned()),
            None if is_subdomain(&host) => OriginHost::Exact(host),
            _ => return Err(error()),
        };
        Ok(AllowedOrigin::Of { scheme, host, port })
    }
}

/// As it was written, but for the case of the host and a port that says nothing.
impl std::fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let AllowedOrigin::Of { scheme, host, port } = self else { return f.write_str("*") };
        write!(f, "{}://", scheme.as_str())?;
        match host {
            OriginHost::Any => f.write_str("*")?,
            OriginHost::Exact(host) => f.write_str(host)?,
            OriginHost::Below(host) => write!(f, "*.{host}")?,
        }
        if port.get() != scheme.port() { write!(f, ":{port}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_and_written_alike() {
        for (text, shown) in [
            ("*", "*"),
            ("https://a.example", "https://a.example"),
            ("https://A.Example:443", "https://a.example"),
            ("http://*.a.example:8080", "http://*.a.example:8080"),
            ("http://*", "http://*"),
            ("http://localhost:443", "http://localhost:443"),
        ] {
            let origin = AllowedOrigin::new(text).unwrap();
            assert_eq!(origin.to_string(), shown);
            assert_eq!(AllowedOrigin::new(shown).unwrap(), origin);
        }
        for wrong in [
            "",
            "null",
            "a.example",
            "ftp://a",
            "http://",
            "http://a:0",
            "http://a:+1",
            "http://a:",
            "http://a/",
            "http://a*.b",
            "http://*.*.b",
            "https://[::1]",
            "http://a:99999",
        ] {
            assert!(AllowedOrigin::new(wrong).is_err(), "{wrong}");
        }
    }
}
