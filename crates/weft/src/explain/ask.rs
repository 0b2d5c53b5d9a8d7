//! A request as it is written on the command line, and as it stands on the wire.

use std::net::IpAddr;

use anyhow::{Context as _, bail, ensure};
use weft_dns::{Query, Subject, Zones};
use weft_model::Port;

/// The port of a URL that names none.
const DEFAULT_PORT: u16 = 80;

/// A URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The host with its port, as it is written.
    pub authority: String,
    /// What the host is.
    pub host: Host,
    /// The port.
    pub port: Port,
    /// Path and query.
    pub target: String,
}

/// The host of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Takes `text` apart.
///
/// # Errors
/// What is wrong with it. Only what would make it another request is refused: the rest is the
/// proxy's to judge.
pub fn url(text: &str) -> anyhow::Result<Url> {
    let wrong = || format!("`{}` is no URL to explain", tame(text));
    let parse = || -> anyhow::Result<Url> {
        let rest = text.strip_prefix("http://").context(
            "it must begin with http://, which is how applications speak to their proxies",
        )?;
        ensure!(!rest.contains('#'), "what follows # is never sent");
        no_controls(rest)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        ensure!(!authority.contains('@'), "a user name is never sent");
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').context("the `[` is not closed")?;
                let address: IpAddr = address.parse().context("what is in brackets")?;
                let port = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':').context("after the `]`")?),
                };
                (Host::Address(address), port)
            }
            None => {
                let (host, port) = match authority.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (authority, None),
                };
                ensure!(!host.is_empty(), "it names no host");
                let address = host.parse().map(Host::Address);
                (address.unwrap_or_else(|_| Host::Name(host.to_owned())), port)
            }
        };
        let port = port.map_or(Ok(DEFAULT_PORT), |port| port.parse().context("its port"))?;
        let port = Port::new(port)?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Url { authority: authority.to_owned(), host, port, target })
    };
    parse().with_context(wrong)
}

/// The head of the request on the wire of HTTP/1.1.
///
/// # Errors
/// If something in it would begin another line.
pub fn head(method: &str, url: &Url, headers: &[String]) -> anyhow::Result<Vec<u8>> {
    no_controls(method).context("the method")?;
    ensure!(!method.is_empty() && !method.contains(' '), "`{method}` is no method");
    let mut lines = String::new();
    let mut has_host = false;
    for header in headers {
        let wrong = || format!("-H '{}'", tame(header));
        let (name, value) =
            header.split_once(':').context("it is not `NAME: VALUE`").with_context(wrong)?;
        no_controls(header).with_context(wrong)?;
        has_host |= name.eq_ignore_ascii_case("host");
        lines.push_str(&format!("{name}: {}\r\n", value.trim()));
    }
    let Url { authority, target, .. } = url;
    // Source: RFC 9112, section 3.2.3.
    let target = if method == "CONNECT" { authority } else { target };
    let host = if has_host { String::new() } else { format!("Host: {authority}\r\n") };
    Ok(format!("{method} {target} HTTP/1.1\r\n{host}{lines}\r\n").into_bytes())
}

/// What `name` means to the programs of a namespace, which `zones` says.
pub fn subject(zones: &Zones, name: &str) -> Subject {
    // Source of the format: RFC 1035, section 4.1.
    let mut message = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        let Ok(length @ 1..64) = u8::try_from(label.len()) else { return Subject::Outside };
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    Query::parse(&message).map_or(Subject::Outside, |query| zones.subject(&query))
}

fn no_controls(text: &str) -> anyhow::Result<()> {
    if text.chars().any(char::is_control) {
        bail!("it holds a control character");
    }
    Ok(())
}

/// `text` without what could drive a terminal: it may be somebody else's.
pub fn tame(text: &str) -> String {
    let is_tame = |c: char| {
        let is_mark = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}');
        !c.is_control() && !is_mark
    };
    text.chars().map(|c| if is_tame(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use weft_model::{DnsZone, Namespace};

    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let of = |text: &str| {
            let Url { authority, host, port, target } = url(text).unwrap();
            (authority, host, port.get(), target)
        };
        let name = |name: &str| Host::Name(name.to_owned());
        let expected = ("cart".to_owned(), name("cart"), 80, "/items?a=1".to_owned());
        assert_eq!(of("http://cart/items?a=1"), expected);
        assert_eq!(of("http://cart:81").3, "/");
        assert_eq!(of("http://cart:81?a").3, "/?a");
        let (authority, host, port, _) = of("http://[::1]:81/");
        let expected = ("[::1]:81", Host::Address("::1".parse().unwrap()), 81);
        assert_eq!((authority.as_str(), host, port), expected);
        for wrong in [
            "cart/items",
            "https://cart/",
            "http://",
            "http:///a",
            "http://cart:0/",
            "http://cart:99999/",
            "http://a@cart/",
            "http://cart/#a",
            "http://cart/\r\nX: y",
            "http://[::1/",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_head_is_one_request() {
        let url = url("http://cart/a b").unwrap();
        let head = |method: &str, headers: &[&str]| {
            let headers: Vec<_> = headers.iter().map(|header| (*header).to_owned()).collect();
            head(method, &url, &headers).map(|head| String::from_utf8(head).unwrap())
        };
        let expected = "GET /a b HTTP/1.1\r\nHost: cart\r\nX: 1\r\n\r\n";
        assert_eq!(head("GET", &["X:1"]).unwrap(), expected);
        let expected = "GET /a b HTTP/1.1\r\nhost: pay\r\n\r\n";
        assert_eq!(head("GET", &["host: pay"]).unwrap(), expected);
        for (method, header) in
            [("G\r", "X: 1"), ("", "X: 1"), ("GET", "X"), ("GET", "X: 1\r\nY: 2")]
        {
            assert!(head(method, &[header]).is_err(), "{method:?} {header:?}");
        }
    }

    #[test]
    fn names_mean_what_they_mean_to_dns() {
        let zone = DnsZone::new("cluster.local").unwrap();
        let zones = Zones::new(zone, Namespace::new("shop").unwrap());
        let of = |name: &str| match subject(&zones, name) {
            Subject::Service { name, maybe_outside } => Some((name.to_string(), maybe_outside)),
            _ => None,
        };
        let service = |name: &str, outside| Some((name.to_owned(), outside));
        assert_eq!(of("cart"), service("shop/cart", false));
        assert_eq!(of("CART.other.svc.cluster.local."), service("other/cart", false));
        assert_eq!(of("cart.other"), service("other/cart", true));
        assert_eq!(of("www.example.com"), None);
        assert_eq!(of("a..b"), None);
    }
}
