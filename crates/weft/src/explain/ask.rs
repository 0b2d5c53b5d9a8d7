//! What is asked about, as it is written on the command line and as it stands on the wire.

use std::net::IpAddr;

use anyhow::{Context as _, bail, ensure};
use weft_decide::grpc;
use weft_dns::{Query, Subject, Zones};
use weft_model::Port;
use weft_proxy::explain::Sent;

/// The port of an http URL that names none.
const DEFAULT_PORT: u16 = 80;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is called.
    pub host: Host,
    /// The port of it.
    pub port: Port,
    /// Path and query as they were written; empty for a connection.
    pub target: String,
    /// What is sent there.
    pub sent: Sent,
}

/// The host of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// What stands for a method where none is written: what is meant by it, and its scheme.
const CALL: (&str, &str) = ("GRPC", "grpc://");
const CONNECTION: (&str, &str) = ("TCP", "tcp://");
const TLS: (&str, &str) = ("TLS", "tls://");
const REQUEST: &str = "http://";

/// Takes `method`, `url` and `headers` apart; `is_http2` says that the request is one of HTTP/2,
/// and `server_name` which server a connection of TLS is for, if it is not the host of the URL.
///
/// # Errors
/// What is wrong with them. Only what would make it something else is refused: the rest is the
/// proxy's to judge.
pub fn question(
    method: &str,
    url: &str,
    headers: &[String],
    is_http2: bool,
    server_name: Option<&str>,
) -> anyhow::Result<Question> {
    ensure!(server_name.is_none() || method == TLS.0, "only TLS says the name of a server");
    let wrong = || format!("`{}` is no URL to explain", tame(url));
    match method {
        _ if [CONNECTION.0, TLS.0].contains(&method) => {
            ensure!(headers.is_empty(), "a {method} connection has no headers");
            ensure!(!is_http2, "a {method} connection is none of HTTP/2: name the method");
            let scheme = if method == TLS.0 { TLS.1 } else { CONNECTION.1 };
            let url = Url::parse(url, scheme, None).with_context(wrong)?;
            let sent = match (&url.host, server_name) {
                _ if method == CONNECTION.0 => Sent::Opaque,
                (_, Some(name)) => Sent::Tls(Some(name.to_ascii_lowercase())),
                (Host::Name(name), None) => Sent::Tls(Some(name.to_ascii_lowercase())),
                // Source: RFC 6066, section 3.
                (Host::Address(_), None) => Sent::Tls(None),
            };
            url.connection(sent).with_context(wrong)
        }
        _ if method == CALL.0 => {
            let url = Url::parse(url, CALL.1, None).with_context(wrong)?;
            url.call(headers, wrong)
        }
        _ => {
            for (name, scheme) in [CONNECTION, TLS, CALL] {
                let is_other = url.starts_with(scheme);
                ensure!(!is_other, "a URL with {scheme} goes with {name} instead of a method");
            }
            let url = Url::parse(url, REQUEST, Some(DEFAULT_PORT)).with_context(wrong)?;
            let headers = fields(headers)?;
            // There is no gRPC over HTTP/1.
            if is_http2 || headers.iter().any(is_of_grpc) {
                url.http2(method, &headers)
            } else {
                url.http1(method, &headers)
            }
        }
    }
}

/// A URL, taken apart.
struct Url<'u> {
    /// The host with its port, as it is written.
    authority: &'u str,
    host: Host,
    port: Port,
    /// Path and query, if there are any.
    target: &'u str,
}

impl<'u> Url<'u> {
    /// Takes `text` apart, which must have this scheme, and a port if there is no default for it.
    fn parse(text: &'u str, scheme: &str, default: Option<u16>) -> anyhow::Result<Url<'u>> {
        let rest = text.strip_prefix(scheme).with_context(|| match scheme {
            REQUEST => {
                format!(
                    "it must begin with {REQUEST}, which is how applications speak to their \
                         proxies"
                )
            }
            _ => format!("it must begin with {scheme}"),
        })?;
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
        let port = port.map(|port| port.parse().context("its port")).transpose()?;
        let port = Port::new(port.or(default).context("it names no port")?)?;
        Ok(Url { authority, host, port, target })
    }

    fn connection(self, sent: Sent) -> anyhow::Result<Question> {
        ensure!(self.target.is_empty(), "a connection has no path");
        let Url { host, port, .. } = self;
        Ok(Question { host, port, target: String::new(), sent })
    }

    fn call(self, headers: &[String], wrong: impl Fn() -> String) -> anyhow::Result<Question> {
        let parts: Vec<_> = self.target.split('/').collect();
        let is_method = matches!(parts[..], ["", service, method]
            if !service.is_empty() && !method.is_empty() && !method.contains('?'));
        let form = "a call of gRPC is for grpc://HOST:PORT/SERVICE/METHOD";
        ensure!(is_method, "{}: {form}", wrong());
        let mut fields = fields(headers)?;
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            fields.push(("content-type", "application/grpc"));
        }
        ensure!(fields.iter().any(is_of_grpc), "a call of gRPC has the type application/grpc");
        fields.push(("te", "trailers"));
        self.http2("POST", &fields)
    }

    /// A request of HTTP/1.1.
    fn http1(self, method: &str, headers: &[(&str, &str)]) -> anyhow::Result<Question> {
        check_method(method)?;
        let has_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let target = self.target();
        let Url { authority, host, port, .. } = self;
        // Source: RFC 9112, section 3.2.3.
        let sent = if method == "CONNECT" { authority } else { &target };
        let of_host = if has_host { String::new() } else { format!("Host: {authority}\r\n") };
        let head = format!("{method} {sent} HTTP/1.1\r\n{of_host}{lines}\r\n");
        Ok(Question { host, port, target, sent: Sent::Http1(head.into_bytes()) })
    }

    /// A request of HTTP/2.
    fn http2(self, method: &str, headers: &[(&str, &str)]) -> anyhow::Result<Question> {
        check_method(method)?;
        let target = self.target();
        // The codec has no place for them, and a browser or curl does not send them so.
        ensure!(
            !target.contains(['<', '>', '`', '"']),
            "in HTTP/2 `<`, `>`, `\"` and the backtick are written as %3C, %3E, %22 and %60"
        );
        let Url { authority, host, port, .. } = self;
        let is_host = |(name, _): &&(&str, &str)| name.eq_ignore_ascii_case("host");
        let of_host = headers.iter().find(is_host).map(|(_, value)| *value);
        let others = headers.iter().filter(|header| !is_host(header));
        let field = |(name, value): &(&str, &str)| (name.to_lowercase(), (*value).to_owned());
        let sent = Sent::Http2 {
            method: method.to_owned(),
            authority: of_host.unwrap_or(authority).to_owned(),
            // Source: RFC 9113, section 8.5.
            path: if method == "CONNECT" { String::new() } else { target.clone() },
            fields: others.map(field).collect(),
        };
        Ok(Question { host, port, target, sent })
    }

    /// Path and query of a request.
    fn target(&self) -> String {
        let slash = if self.target.starts_with('/') { "" } else { "/" };
        format!("{slash}{}", self.target)
    }
}

fn check_method(method: &str) -> anyhow::Result<()> {
    no_controls(method).context("the method")?;
    ensure!(!method.is_empty() && !method.contains(' '), "`{method}` is no method");
    Ok(())
}

/// Names and values of `headers`.
fn fields(headers: &[String]) -> anyhow::Result<Vec<(&str, &str)>> {
    let wrong = |header: &str| format!("-H '{}'", tame(header));
    headers.iter().map(|header| field(header).with_context(|| wrong(header))).collect()
}

fn field(header: &str) -> anyhow::Result<(&str, &str)> {
    let (name, value) = header.split_once(':').context("it is not `NAME: VALUE`")?;
    no_controls(header)?;
    Ok((name, value.trim()))
}

/// Whether a header says that it is a call of gRPC.
fn is_of_grpc((name, value): &(&str, &str)) -> bool {
    name.eq_ignore_ascii_case("content-type") && grpc::is_type(value.as_bytes())
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

    fn ask(method: &str, url: &str, headers: &[&str]) -> anyhow::Result<Question> {
        let headers: Vec<_> = headers.iter().map(|header| (*header).to_owned()).collect();
        question(method, url, &headers, false, None)
    }

    fn name(name: &str) -> Host {
        Host::Name(name.to_owned())
    }

    #[test]
    fn a_url_is_taken_apart() {
        let of = |text: &str| {
            let Question { host, port, target, .. } = ask("GET", text, &[]).unwrap();
            (host, port.get(), target)
        };
        assert_eq!(of("http://cart/items?a=1"), (name("cart"), 80, "/items?a=1".to_owned()));
        assert_eq!(of("http://cart:81").2, "/");
        assert_eq!(of("http://cart:81?a").2, "/?a");
        let (host, port, _) = of("http://[::1]:81/");
        assert_eq!((host, port), (Host::Address("::1".parse().unwrap()), 81));
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
            assert!(ask("GET", wrong, &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_head_is_one_request() {
        let head =
            |method: &str, headers: &[&str]| match ask(method, "http://cart/a b", headers)?.sent {
                Sent::Http1(head) => Ok(String::from_utf8(head).unwrap()),
                other => anyhow::bail!("{other:?}"),
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

    fn http2(method: &str, authority: &str, path: &str, fields: &[(&str, &str)]) -> Sent {
        let [method, authority, path] = [method, authority, path].map(str::to_owned);
        let field = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Sent::Http2 { method, authority, path, fields: fields.iter().map(field).collect() }
    }

    #[test]
    fn a_request_of_http2_has_no_host() {
        let headers = ["Host: pay".to_owned(), "X-A: b".to_owned()];
        let of = |method, url| question(method, url, &headers, true, None).unwrap();
        let expected = http2("GET", "pay", "/?a", &[("x-a", "b")]);
        assert_eq!(of("GET", "http://cart:81?a").sent, expected);
        assert_eq!(of("CONNECT", "http://cart").sent, http2("CONNECT", "pay", "", &[("x-a", "b")]));
        assert!(question("GET", "http://cart/<a>", &[], true, None).is_err());
    }

    #[test]
    fn a_call_is_a_request_of_http2() {
        let asked = ask("GRPC", "grpc://calls:82/lab.Calls/Get", &["X-A: b"]).unwrap();
        assert_eq!((asked.host, asked.port.get()), (name("calls"), 82));
        let of_type = [("x-a", "b"), ("content-type", "application/grpc"), ("te", "trailers")];
        let expected = http2("POST", "calls:82", "/lab.Calls/Get", &of_type);
        assert_eq!(asked.sent, expected);
        // The same by its type alone.
        let url = "http://calls:82/lab.Calls/Get";
        let headers = ["X-A: b", "Content-Type: application/grpc", "TE: trailers"];
        assert_eq!(ask("POST", url, &headers).unwrap().sent, expected);
        for (url, header, why) in [
            ("http://calls:82/a/b", "A: b", "must begin with grpc://"),
            ("grpc://calls/a/b", "A: b", "names no port"),
            ("grpc://calls:82", "A: b", "/SERVICE/METHOD"),
            ("grpc://calls:82/a", "A: b", "/SERVICE/METHOD"),
            ("grpc://calls:82/a/", "A: b", "/SERVICE/METHOD"),
            ("grpc://calls:82/a/b/c", "A: b", "/SERVICE/METHOD"),
            ("grpc://calls:82/a/b?c", "A: b", "/SERVICE/METHOD"),
            ("grpc://calls:82/a/b", "Content-Type: text/plain", "the type application/grpc"),
        ] {
            let error = ask("GRPC", url, &[header]).unwrap_err();
            assert!(format!("{error:#}").contains(why), "{url}: {error:#}");
        }
    }

    #[test]
    fn a_connection_has_a_port_and_nothing_else() {
        let asked = ask("TCP", "tcp://redis.shop:6379", &[]).unwrap();
        assert_eq!((asked.host, asked.port.get()), (name("redis.shop"), 6379));
        assert_eq!((asked.sent, asked.target.as_str()), (Sent::Opaque, ""));
        let expected = Host::Address("::1".parse().unwrap());
        assert_eq!(ask("TCP", "tcp://[::1]:6379", &[]).unwrap().host, expected);
        for (method, url, header, why) in [
            ("TCP", "http://redis:6379", None, "must begin with tcp://"),
            ("TCP", "redis:6379", None, "must begin with tcp://"),
            ("TCP", "tcp://redis", None, "names no port"),
            ("TCP", "tcp://redis:6379/0", None, "has no path"),
            ("TCP", "tcp://redis:6379", Some("A: b"), "has no headers"),
            ("GET", "tcp://redis:6379", None, "goes with TCP"),
            ("POST", "grpc://calls:82/a/b", None, "goes with GRPC"),
        ] {
            let error = ask(method, url, header.as_slice()).unwrap_err();
            assert!(format!("{error:#}").contains(why), "{method} {url}: {error:#}");
        }
        assert!(question("TCP", "tcp://redis:6379", &[], true, None).is_err());
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
