//! Whether a request meets the conditions of one match.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};
use weft_http::RequestHead;
use weft_model::{PathMatch, RouteMatch, ValueMatch};

use super::Condition;
use crate::normalize::spelled;

/// The most memory of a compiled expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A match, with its regular expressions compiled.
#[derive(Clone, Debug)]
pub(super) struct Test {
    wanted: RouteMatch,
    path: Path,
    headers: Vec<Option<Regex>>,
    query: Vec<Option<Regex>>,
}

/// The condition on the path, in the one spelling that requests have too.
#[derive(Clone, Debug)]
enum Path {
    Exact(String),
    Prefix(String),
    Regex(Regex),
}

impl Test {
    /// The test for `wanted`.
    ///
    /// # Errors
    /// The expression that is too large.
    pub(super) fn new(wanted: &RouteMatch) -> Result<Test, String> {
        // What has no one spelling is no request's path either.
        let spelled = |path| spelled(path).unwrap_or_else(|| path.as_str().to_owned());
        let path = match &wanted.path {
            PathMatch::Regex(text) => Path::Regex(compiled(text.as_str())?),
            PathMatch::Exact(path) => Path::Exact(spelled(path)),
            PathMatch::Prefix(path) => Path::Prefix(spelled(path)),
        };
        let value = |value: &ValueMatch| match value {
            ValueMatch::Regex(text) => compiled(text.as_str()).map(Some),
            ValueMatch::Exact(_) => Ok(None),
        };
        let headers =
            wanted.headers.iter().map(|header| value(&header.value)).collect::<Result<_, _>>()?;
        let query =
            wanted.query.iter().map(|query| value(query.value())).collect::<Result<_, _>>()?;
        Ok(Test { wanted: wanted.clone(), path, headers, query })
    }

    pub(super) fn wanted(&self) -> &RouteMatch {
        &self.wanted
    }

    /// Kind and length of the condition on the path; the lower kind comes first.
    pub(super) fn path_rank(&self) -> (u8, usize) {
        match &self.wanted.path {
            PathMatch::Exact(path) => (0, path.as_str().len()),
            PathMatch::Regex(text) => (1, text.as_str().len()),
            PathMatch::Prefix(path) => (2, path.as_str().trim_end_matches('/').len()),
        }
    }

    /// The prefix of the path that is asked for, without slashes at its end; empty if none is.
    pub(super) fn prefix(&self) -> &str {
        match &self.path {
            Path::Prefix(prefix) => prefix.trim_end_matches('/'),
            Path::Exact(_) | Path::Regex(_) => "",
        }
    }

    /// The first condition that the request does not meet; none if it meets all.
    pub(super) fn unmet(&self, head: &RequestHead) -> Option<Condition> {
        let RouteMatch { path: _, headers, query, method } = &self.wanted;
        let path_holds = match &self.path {
            Path::Exact(wanted) => head.path() == wanted,
            Path::Prefix(wanted) => is_below(head.path(), wanted),
            Path::Regex(regex) => regex.is_match(head.path()),
        };
        if !path_holds {
            return Some(Condition::Path);
        }
        if method.as_ref().is_some_and(|method| method.as_str() != head.method()) {
            return Some(Condition::Method);
        }
        let header = headers.iter().zip(&self.headers).position(|(header, regex)| {
            let name = header.name.as_str();
            let value = field(head, name);
            !value.is_some_and(|value| match &header.value {
                // Source: RFC 3986, section 3.2.2.
                ValueMatch::Exact(wanted) if is_host(name) => {
                    wanted.as_str().eq_ignore_ascii_case(&value)
                }
                wanted => value_holds(wanted, regex.as_ref(), &value),
            })
        });
        if let Some(index) = header {
            return Some(Condition::Header(index));
        }
        let parameter = query.iter().zip(&self.query).position(|(wanted, regex)| {
            let value = parameter(head.target(), wanted.name());
            !value.is_some_and(|value| value_holds(wanted.value(), regex.as_ref(), value))
        });
        parameter.map(Condition::Query)
    }
}

/// The expression, which must match from end to end.
fn compiled(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|_| text.to_owned())
}

fn value_holds(wanted: &ValueMatch, regex: Option<&Regex>, value: &str) -> bool {
    match (wanted, regex) {
        (ValueMatch::Exact(wanted), _) => wanted.as_str() == value,
        (ValueMatch::Regex(_), Some(regex)) => regex.is_match(value),
        (ValueMatch::Regex(_), None) => false,
    }
}

/// Whether `path` is `prefix` or below it, by whole segments.
fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("host")
}

/// The value of a header; several of one name are joined by commas, as RFC 9110 (5.2) reads them.
/// That of `host` is the authority, for which HTTP/2 has no field.
pub(crate) fn field<'h>(head: &'h RequestHead, name: &'h str) -> Option<Cow<'h, str>> {
    if is_host(name) {
        let authority = head.authority();
        return (!authority.is_empty()).then_some(Cow::Borrowed(authority));
    }
    // A value that is no text meets no condition.
    let mut values =
        head.fields.values(name).map(|value| std::str::from_utf8(value).unwrap_or("\0"));
    let first = values.next()?;
    let joined = values.fold(Cow::Borrowed(first), |joined, value| joined + ", " + value);
    Some(joined)
}

/// The first parameter called `name` in the query of `target`, as it is written there.
pub(crate) fn parameter<'t>(target: &'t str, name: &str) -> Option<&'t str> {
    let (_, query) = target.split_once('?')?;
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
}
