//! Words of HTTP that rules are written with.

use std::fmt;
use std::sync::Arc;

use crate::error::ValueError;

/// Whether `text` is a token: what methods and the names of headers are.
///
/// Source: RFC 9110, section 5.6.2.
pub fn is_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

/// Whether `text` can be the value of a header: no controls but inner tabs, no spaces around it.
///
/// Source: RFC 9110, section 5.5.
pub fn is_field_value(text: &str) -> bool {
    let is_allowed = |byte: u8| byte >= b' ' && byte != 0x7f || byte == b'\t';
    text.bytes().all(is_allowed) && text.trim_matches([' ', '\t']) == text
}

/// A method, as it stands in a request; told apart by case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(Arc<str>);

impl Method {
    /// The method `text`.
    ///
    /// # Errors
    /// If it is not a token of at most 32 bytes.
    pub fn new(text: &str) -> Result<Method, ValueError> {
        if !is_token(text) || text.len() > 32 {
            return Err(ValueError::new(text, "a method", "at most 32 characters of a token"));
        }
        Ok(Method(text.into()))
    }

    /// As it stands in a request.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a header, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(Arc<str>);

impl HeaderName {
    /// The name `text`.
    ///
    /// # Errors
    /// If it is not a token of at most 256 bytes in lower case.
    pub fn new(text: &str) -> Result<HeaderName, ValueError> {
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        if !is_token(text) || !is_lower || text.len() > 256 {
            let allowed = "at most 256 characters of a token, in lower case";
            return Err(ValueError::new(text, "the name of a header", allowed));
        }
        Ok(HeaderName(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An absolute path without query: it begins with `/`, and no two servers read it differently.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpPath(Arc<str>);

impl HttpPath {
    /// The path `text`.
    ///
    /// # Errors
    /// If it does not begin with `/`, is longer than 1024 bytes, has empty or dot segments, an
    /// encoded slash or backslash, or a character that must be encoded.
    pub fn new(text: &str) -> Result<HttpPath, ValueError> {
        let lower = text.to_ascii_lowercase();
        let has = |part: &&str| lower.contains(*part);
        let is_refused = ["//", "/./", "/../", "%2f", "%5c", "%00"].iter().any(has)
            || text.ends_with("/.")
            || text.ends_with("/..");
        let bytes = text.as_bytes();
        let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        let is_fine = |(at, byte): (usize, &u8)| match byte {
            b'%' => is_hex(at + 1) && is_hex(at + 2),
            byte => byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(byte),
        };
        let is_path = text.starts_with('/') && text.len() <= 1024 && !is_refused;
        if !is_path || !bytes.iter().enumerate().all(is_fine) {
            let allowed = "at most 1024 bytes from `/`, with one reading only";
            return Err(ValueError::new(text, "a path", allowed));
        }
        Ok(HttpPath(text.into()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HttpPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A regular expression in RE2's grammar, matched from end to end. Only its length is checked here;
/// whoever compiles it refuses what is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegexText(Arc<str>);

impl RegexText {
    /// The expression `text`.
    ///
    /// # Errors
    /// If it is longer than 4096 bytes.
    pub fn new(text: &str) -> Result<RegexText, ValueError> {
        if text.len() > 4096 {
            return Err(ValueError::new(text, "a regular expression", "at most 4096 bytes"));
        }
        Ok(RegexText(text.into()))
    }

    /// The expression.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_http_are_checked() {
        assert!(Method::new("GET").is_ok() && Method::new("G T").is_err());
        assert!(HeaderName::new("x-canary").is_ok() && HeaderName::new("X-Canary").is_err());
        assert!(is_field_value("a\tb") && !is_field_value(" a") && !is_field_value("a\r\nb"));
        for fine in ["/", "/a/b", "/a/", "/.well-known/x", "/a%20b", "/a..b"] {
            assert!(HttpPath::new(fine).is_ok(), "{fine}");
        }
        let wrong = [
            "", "a", "//", "/a//b", "/a/../b", "/a/.", "/..", "/a%2Fb", "/a%5cb", "/a%0", "/a?b",
            "/a b", "/a\\b", "/a#b", "/é", "/%00",
        ];
        for wrong in wrong {
            assert!(HttpPath::new(wrong).is_err(), "{wrong}");
        }
    }
}
