//! Whether a request meets the conditions of one match.

use std::borrow::Cow;
use std::cmp::Reverse;

use regex::bytes::{Regex, RegexBuilder};
use weft_http::RequestHead;
use weft_model::{CallMatch, PathMatch, RouteMatch, ValueMatch};

use super::Condition;
use crate::grpc::is_call;
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
    Call { service: Option<Regex>, method: Option<Regex> },
}

impl Test {
    /// The test for `wanted`.
    ///
    /// # Errors
    /// The expression that is too large.
    pub(super) fn new(wanted: &RouteMatch) -> Result<Test, String> {
        let value = |value: &ValueMatch| match value {
            ValueMatch::Regex(text) => compiled(text.as_str()).map(Some),
            ValueMatch::Exact(_) => Ok(None),
        };
        let name = |name: &Option<ValueMatch>| name.as_ref().map_or(Ok(None), value);
        // What has no one spelling is no request's path either.
        let spelled = |path| spelled(path).unwrap_or_else(|| path.as_str().to_owned());
        let path = match &wanted.path {
            PathMatch::Regex(text) => Path::Regex(compiled(text.as_str())?),
            PathMatch::Exact(path) => Path::Exact(spelled(path)),
            PathMatch::Prefix(path) => Path::Prefix(spelled(path)),
            PathMatch::Call(CallMatch { service, method }) => {
                Path::Call { service: name(service)?, method: name(method)? }
            }
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

    /// What the condition on the path comes by among others; the least comes first: kind and
    /// length, of calls those of the service and then those of the method.
    pub(super) fn path_rank(&self) -> [(u8, Reverse<usize>); 2] {
        let rank = |kind: u8, text: &str| (kind, Reverse(text.len()));
        let name = |name: &Option<ValueMatch>| match name {
            Some(ValueMatch::Exact(name)) => rank(0, name.as_str()),
            Some(ValueMatch::Regex(text)) => rank(1, text.as_str()),
            None => rank(2, ""),
        };
        // By the spelling that is compared, not by the one that was written.
        let path = match (&self.path, &self.wanted.path) {
            (Path::Exact(path), _) => rank(0, path),
            (Path::Prefix(path), _) => rank(2, path.trim_end_matches('/')),
            (_, PathMatch::Call(CallMatch { service, method })) => {
                return [name(service), name(method)];
            }
            (_, PathMatch::Exact(path) | PathMatch::Prefix(path)) => rank(2, path.as_str()),
            (_, PathMatch::Regex(text)) => rank(1, text.as_str()),
        };
        [path, rank(0, "")]
    }

    /// The prefix of the path that is asked for, without slashes at its end; empty if none is.
    pub(super) fn prefix(&self) -> &str {
        match &self.path {
            Path::Prefix(prefix) => prefix.trim_end_matches('/'),
            Path::Exact(_) | Path::Regex(_) | Path::Call { .. } => "",
        }
    }

    /// The first condition that the request does not meet; none if it meets all.
    pub(super) fn unmet(&self, head: &RequestHead) -> Option<Condition> {
        let RouteMatch { path: _, headers, query, method } = &self.wanted;
        let unmet = match &self.path {
            Path::Exact(wanted) => (head.path() != wanted).then_some(Condition::Path),
            Path::Prefix(wanted) => (!is_below(head.path(), wanted)).then_some(Condition::Path),
            Path::Regex(regex) => {
                (!regex.is_match(head.path().as_bytes())).then_some(Condition::Path)
            }
            Path::Call { service, method } => self.unmet_of_call(head, [service, method]),
        };
        if unmet.is_some() {
            return unmet;
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

    /// The same of what the call is for; `regexes` are those of service and method.
    fn unmet_of_call(&self, head: &RequestHead, regexes: [&Option<Regex>; 2]) -> Option<Condition> {
        let PathMatch::Call(CallMatch { service, method }) = &self.wanted.path else { return None };
        let Some((called_service, called_method)) = call(head) else {
            return Some(Condition::Call);
        };
        let holds = |wanted: &Option<ValueMatch>, regex: &Option<Regex>, name: &str| {
            wanted.as_ref().is_none_or(|wanted| value_holds(wanted, regex.as_ref(), name))
        };
        if !holds(service, regexes[0], called_service) {
            return Some(Condition::CallService);
        }
        (!holds(method, regexes[1], called_method)).then_some(Condition::CallMethod)
    }
}

/// Service and method that a call of gRPC is for; none if the request is no call.
///
/// Source: gRPC over HTTP/2, "Requests".
pub(crate) fn call(head: &RequestHead) -> Option<(&str, &str)> {
    if !is_call(head) || head.method() != "POST" {
        return None;
    }
    head.path().strip_prefix('/')?.rsplit_once('/')
}

/// The expression, which must match from end to end. As in RE2, `\w` and others are of ASCII,
/// unless it has other characters itself; they take a fraction of the memory, too. `weft-crd`
/// checks expressions in the same way.
fn compiled(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{text})$"))
        .unicode(!text.is_ascii())
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|_| text.to_owned())
}

fn value_holds(wanted: &ValueMatch, regex: Option<&Regex>, value: &str) -> bool {
    match (wanted, regex) {
        (ValueMatch::Exact(wanted), _) => wanted.as_str() == value,
        (ValueMatch::Regex(_), Some(regex)) => regex.is_match(value.as_bytes()),
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
