//! The one spelling of a request's path. What is normalised is what is matched and forwarded.

use std::borrow::Cow;
use std::fmt;

use weft_http::RequestHead;
use weft_model::HttpPath;

/// A path that no two servers need read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A `%` without two hexadecimal digits behind it, or an encoded NUL.
    Encoding,
    /// A backslash, which some servers take for a slash.
    Backslash,
    /// It leads above the root.
    AboveRoot,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Encoding => "a % is not followed by two hexadecimal digits, or encodes NUL",
            PathError::Backslash => "it contains a backslash",
            PathError::AboveRoot => "it leads above the root",
        })
    }
}

/// Gives the path of `head` its one spelling.
///
/// Dot segments are resolved and encoded unreserved characters decoded, as RFC 3986 calls equal
/// (sections 6.2.2.2 and 6.2.2.3). `%2F` and `%5C` stay as they are: they never equal a slash. The
/// query is left alone.
///
/// # Errors
/// [`PathError`] for what has no one meaning.
pub fn target(head: &mut RequestHead) -> Result<(), PathError> {
    let path = head.path();
    if is_plain(path) {
        return Ok(());
    }
    let normal = path_of(path)?;
    if normal != path {
        let target = [&*normal, &head.target()[path.len()..]].concat();
        head.set_target(&target);
    }
    Ok(())
}

/// The one spelling of the path of a rule, or nothing if it has none.
pub(crate) fn spelled(path: &HttpPath) -> Option<String> {
    path_of(path.as_str()).ok().map(Cow::into_owned)
}

/// Whether servers disagree about which path this is, which has its one spelling.
///
/// `%2F` and `%5C` are a slash to some; a slash after a slash is dropped by some. Some take off
/// what follows a semicolon, before they resolve dots or after, and for some `%3B` is one. Bytes
/// that are more than UTF-8 has for a character of ASCII are that character to some.
pub(crate) fn has_two_readings(path: &str) -> bool {
    let bytes = path.as_bytes();
    let is_encoded = |triple: &[u8]| match *triple {
        [b'%', high, low] => matches!(
            (high | 0x20, low | 0x20),
            (b'2', b'f') | (b'3', b'b') | (b'5', b'c') | (b'c', 0x30 | 0x31)
        ),
        _ => false,
    };
    // Two bytes, encoded; of the first, all that may precede an overlong form.
    let is_overlong = |pair: &[u8]| match *pair {
        [b'%', high, b'0', b'%', next, _] => {
            matches!((high | 0x20, next), (b'e', b'8' | b'9') | (b'f', b'8'))
        }
        _ => false,
    };
    bytes.iter().any(|byte| matches!(byte, b'\\' | b';'))
        || bytes.windows(2).any(|pair| pair == b"//")
        || bytes.windows(3).any(is_encoded)
        || bytes.windows(6).any(is_overlong)
}

/// Whether `path` has nothing in it that could be spelled otherwise.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut before = b'x';
    for &byte in bytes {
        if byte == b'%' || byte == b'\\' || (byte == b'.' && before == b'/') {
            return false;
        }
        before = byte;
    }
    true
}

fn path_of(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Ok(Cow::Borrowed(path)); // `*`, or the empty path of CONNECT.
    }
    if path.contains('\\') {
        return Err(PathError::Backslash);
    }
    let decoded = decode_unreserved(path)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = decoded[1..].split('/').peekable();
    while let Some(segment) = rest.next() {
        let is_last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." && segments.pop().is_none() {
                    return Err(PathError::AboveRoot);
                }
                if is_last {
                    segments.push("");
                }
            }
            _ => segments.push(segment),
        }
    }
    Ok(Cow::Owned(format!("/{}", segments.join("/"))))
}

/// Decodes what needs no encoding, and writes the digits of the rest in upper case.
fn decode_unreserved(path: &str) -> Result<String, PathError> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).ok_or(PathError::Encoding)?;
        let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal);
        match byte.ok_or(PathError::Encoding)? {
            0 => return Err(PathError::Encoding),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(char::from(byte));
            }
            _ => {
                decoded.push('%');
                decoded.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = &rest[at + 3..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(target_text: &str) -> Result<String, PathError> {
        let mut head = RequestHead::default();
        head.set_target(target_text);
        target(&mut head).map(|()| head.target().to_owned())
    }

    #[test]
    fn paths_have_one_spelling() {
        for (written, expected) in [
            ("/", "/"),
            ("/a/b?c=/../d", "/a/b?c=/../d"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a..b/...", "/a..b/..."),
            ("/%61%2e%2E/x", "/a../x"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%2fb%5c", "/a%2Fb%5C"),
            ("/a%20b", "/a%20b"),
            ("//a//b", "//a//b"),
            ("/a%2561", "/a%2561"),
            ("*", "*"),
        ] {
            assert_eq!(normal(written).as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn what_has_no_one_meaning_is_refused() {
        assert_eq!(normal("/a\\b"), Err(PathError::Backslash));
        for path in ["/..", "/a/../../b", "/%2e%2e/a"] {
            assert_eq!(normal(path), Err(PathError::AboveRoot), "{path}");
        }
        for path in ["/%", "/%4", "/%zz", "/%+1", "/%00"] {
            assert_eq!(normal(path), Err(PathError::Encoding), "{path}");
        }
    }

    #[test]
    fn a_normal_path_stays_as_it_is() {
        for path in ["/a/./%7e/../b%2f", "/x/%61/.", "/%41/%2E%2e/c"] {
            let once = normal(path).unwrap();
            assert_eq!(normal(&once).as_deref(), Ok(once.as_str()));
        }
    }
}
