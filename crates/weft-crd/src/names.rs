//! The grammars of names: each function says in words why a text is not one.

use crate::finding::quoted;

/// A DNS-1123 label: lower-case letters, digits and `-`, at most 63.
pub(crate) fn dns_label(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err(format!("{} characters are not allowed, the most is 63", text.len()));
    }
    if is_label(text) {
        Ok(())
    } else {
        Err(not(text, "a name", "lower-case letters, digits and `-`"))
    }
}

/// A DNS-1035 label: a DNS-1123 label that begins with a letter.
pub(crate) fn dns_1035_label(text: &str) -> Result<(), String> {
    dns_label(text)?;
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("{} begins with a digit, and must with a letter", quoted(text)));
    }
    Ok(())
}

/// A DNS-1123 subdomain: labels with dots between them, at most 253 characters.
pub(crate) fn dns_subdomain(text: &str) -> Result<(), String> {
    if text.len() > 253 {
        return Err(format!("{} characters are not allowed, the most is 253", text.len()));
    }
    if text.split('.').all(is_label) {
        Ok(())
    } else {
        Err(not(text, "a name", "lower-case letters, digits, `-` and `.`"))
    }
}

fn is_label(text: &str) -> bool {
    let inside = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !text.is_empty() && text.bytes().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}

fn not(text: &str, what: &str, of: &str) -> String {
    format!(
        "{} is not {what}: it is made of {of}, and begins and ends with a letter or digit",
        quoted(text)
    )
}

/// The key of a label or annotation: an optional DNS prefix and a slash, then a name.
pub(crate) fn label_key(text: &str) -> Result<(), String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if let Some(prefix) = prefix {
        dns_subdomain(prefix).map_err(|why| format!("before the `/`: {why}"))?;
    }
    if name.is_empty() {
        return Err(format!("{} has no name", quoted(text)));
    }
    qualified(name, "a label's name")
}

/// The value of a label: empty, or as a label's name.
pub(crate) fn label_value(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { qualified(text, "a label's value") }
}

/// What label names and values have in common.
fn qualified(text: &str, what: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err(format!("{} characters are not allowed in {what}, the most is 63", text.len()));
    }
    let edge = |c: char| c.is_ascii_alphanumeric();
    let inside = |c: char| edge(c) || matches!(c, '-' | '_' | '.');
    if text.chars().all(inside) && text.starts_with(edge) && text.ends_with(edge) {
        Ok(())
    } else {
        Err(not(text, what, "letters, digits, `-`, `_` and `.`"))
    }
}

/// Any text: what annotations hold.
pub(crate) fn anything(_: &str) -> Result<(), String> {
    Ok(())
}

/// A kind of the Kubernetes API: letters, digits and `-`, beginning with a letter, at most 63.
pub(crate) fn kind(text: &str) -> Result<(), String> {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let inside = |c: char| edge(c) || c == '-';
    let is_kind = text.len() <= 63
        && text.chars().all(inside)
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(edge);
    if is_kind {
        Ok(())
    } else {
        Err(format!(
            "{} is not a kind: it is made of at most 63 letters, digits and `-`, begins with a \
             letter and ends with a letter or digit",
            quoted(text)
        ))
    }
}

/// A token of HTTP: the name of a header, or a method.
///
/// Source: RFC 9110, section 5.6.2; at most 256 characters, as in Gateway API.
pub(crate) fn http_token(text: &str) -> Result<(), String> {
    token(text, "a header name")
}

/// The name of a cookie, which is a token too.
///
/// Source: RFC 6265, section 4.1.1.
pub(crate) fn cookie(text: &str) -> Result<(), String> {
    token(text, "the name of a cookie")
}

fn token(text: &str, what: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > 256 {
        return Err(format!("{} characters are not allowed, it is from 1 to 256", text.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => {
            Err(format!("{} holds {}, which {what} cannot", quoted(text), quoted(&c.to_string())))
        }
        None => Ok(()),
    }
}

/// Fields that speak of one connection: no proxy passes them on, so that no rule ever sees them.
///
/// Source: RFC 9110, section 7.6.1.
const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
];

/// The name of a header that a rule can ask for.
pub(crate) fn matched_header(text: &str) -> Result<(), String> {
    if let Some(pseudo) = text.strip_prefix(':') {
        let instead = match pseudo {
            "authority" => "the header `host`, which is the same",
            "method" => "the method",
            "path" => "the path",
            _ => return Err(format!("{} is not a header, and cannot be asked for", quoted(text))),
        };
        return Err(format!("{} is not a header: ask for {instead}", quoted(text)));
    }
    http_token(text)?;
    let lower = text.to_ascii_lowercase();
    if HOP_BY_HOP.contains(&&*lower) {
        return Err(format!(
            "{} would match nothing: it speaks of one connection and is taken out of every request",
            quoted(text)
        ));
    }
    if lower.starts_with("weft-") {
        return Err(format!(
            "{} is the mesh's own, and taken out of what applications send",
            quoted(text)
        ));
    }
    Ok(())
}

/// The name of a header that a route can change: neither what frames a message or speaks of one
/// connection, nor what the mesh or gRPC says by it.
pub(crate) fn changed_header(text: &str) -> Result<(), String> {
    const REWRITE: &str = "is changed by the filter URLRewrite, by its `hostname`";
    if text == ":authority" {
        return Err(format!("{} is no header: the host {REWRITE}", quoted(text)));
    }
    http_token(text)?;
    let lower = text.to_ascii_lowercase();
    let why = match &*lower {
        "host" => REWRITE,
        "content-length" | "trailer" => "frames the message: changed, it would be read differently",
        "expect" => "says how the body is sent, which the proxies see to",
        "te" | "upgrade" => "speaks of one connection, and the proxies see to it",
        _ if HOP_BY_HOP.contains(&&*lower) => "speaks of one connection, and is never passed on",
        _ if lower.starts_with("weft-") => "is the mesh's own",
        _ if lower.starts_with("grpc-") => "is gRPC's own, by which calls wait and end",
        _ => return Ok(()),
    };
    Err(format!("{} cannot be changed: it {why}", quoted(text)))
}

/// A value of a header: no control characters but tabs, no blanks at its ends.
///
/// Source: RFC 9110, section 5.5.
pub(crate) fn header_value(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > 4096 {
        return Err(format!("{} bytes are not allowed, it is from 1 to 4096", text.len()));
    }
    field_value(text)
}

/// The same of what a request is compared with, whose length is checked elsewhere.
pub(crate) fn field_value(text: &str) -> Result<(), String> {
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!("{} holds a control character", quoted(text)));
    }
    if text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']) {
        return Err(format!(
            "{} begins or ends with a blank, which no header value does",
            quoted(text)
        ));
    }
    Ok(())
}

/// The name of a host, whose first label may be `*`.
pub(crate) fn hostname(text: &str) -> Result<(), String> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err(format!("{} is an address, a host name is needed", quoted(text)));
    }
    if text != text.to_ascii_lowercase() {
        return Err(format!(
            "{} has upper-case letters, host names are written in lower case",
            quoted(text)
        ));
    }
    let plain = text.strip_prefix("*.").unwrap_or(text);
    if plain.contains('*') {
        return Err(format!("{} has `*` elsewhere than as its whole first label", quoted(text)));
    }
    if text.len() > 253 {
        return Err(format!("{} characters are not allowed, the most is 253", text.len()));
    }
    dns_subdomain(plain)
}

/// The name of a port of a Service or Workload.
pub(crate) fn port_name(text: &str) -> Result<(), String> {
    dns_label(text)
}

/// The name by which a Service means a port of its workloads.
///
/// Source: RFC 6335, section 5.1, in lower case, as Kubernetes has it.
pub(crate) fn target_port_name(text: &str) -> Result<(), String> {
    if text.len() > 15 {
        return Err(format!("{} characters are not allowed, the most is 15", text.len()));
    }
    if !text.contains(|c: char| c.is_ascii_lowercase()) || text.contains("--") {
        return Err(format!(
            "{} is not the name of a target: it has a letter, and no two dashes in a row",
            quoted(text)
        ));
    }
    dns_label(text)
}

/// A trust domain.
///
/// Source: SPIFFE-ID, section 2.1.
pub(crate) fn trust_domain(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > 255 {
        return Err(format!("{} characters are not allowed, it is from 1 to 255", text.len()));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
    if text.chars().all(allowed) {
        Ok(())
    } else {
        Err(format!(
            "{} is not a trust domain: it is made of lower-case letters, digits, `.`, `-` and `_`",
            quoted(text)
        ))
    }
}

/// An absolute path without anything that another reader might understand differently.
///
/// Source: Gateway API's rules for `Exact` and `PathPrefix`; RFC 3986, section 3.3.
pub(crate) fn http_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!("{} does not start with `/`", quoted(text)));
    }
    let lower = text.to_ascii_lowercase();
    for part in ["//", "/./", "/../", "%2f", "%5c", "#", "?"] {
        if lower.contains(part) {
            return Err(format!("{} holds `{part}`, which a path here cannot", quoted(text)));
        }
    }
    for end in ["/.", "/.."] {
        if text.ends_with(end) {
            return Err(format!("{} ends with `{end}`, which a path here cannot", quoted(text)));
        }
    }
    let is_dots = |segment: &&str| matches!(*segment, "." | "..");
    if lower.contains("%2e") && lower.replace("%2e", ".").split('/').any(|it| is_dots(&it)) {
        return Err(format!("{} holds a segment of dots, which a path here cannot", quoted(text)));
    }
    if lower.contains("%00") {
        return Err(format!("{} holds `%00`, which a path here cannot", quoted(text)));
    }
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        let fine = match byte {
            b'%' => is_hex(index + 1) && is_hex(index + 2),
            byte => byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(byte),
        };
        if !fine {
            let shown = text.get(index..).and_then(|rest| rest.chars().next()).unwrap_or('%');
            return Err(format!(
                "{} holds {}, which must be percent-encoded",
                quoted(text),
                quoted(&shown.to_string())
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
