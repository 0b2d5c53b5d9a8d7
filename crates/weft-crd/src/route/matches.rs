//! Which requests a rule is for.

use crate::finding::quoted;
use crate::names;
use crate::reader::{At, check_unique, fields};

/// A request matches if all that is set does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteMatch {
    /// The path. Default: every path.
    pub path: PathMatch,
    /// Headers, all of them.
    pub headers: Vec<HeaderMatch>,
    /// Parameters of the query, all of them.
    pub query: Vec<QueryMatch>,
    /// The method. Absent: any.
    pub method: Option<Method>,
}

/// Every request.
impl Default for RouteMatch {
    fn default() -> RouteMatch {
        RouteMatch {
            path: PathMatch::Prefix("/".to_owned()),
            headers: Vec::new(),
            query: Vec::new(),
            method: None,
        }
    }
}

/// A condition on the path, which never includes the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathMatch {
    /// This path and no other.
    Exact(String),
    /// This path and what is below it, by whole segments.
    Prefix(String),
    /// Paths that this regular expression matches from end to end.
    Regex(String),
    /// Calls of gRPC, whose path is service and method.
    Call(CallMatch),
}

/// A condition on what a call of gRPC is for; every call meets the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallMatch {
    /// The service, with its package. Absent: any.
    pub service: Option<ValueMatch>,
    /// The method. Absent: any.
    pub method: Option<ValueMatch>,
}

/// A condition on a header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderMatch {
    /// Its name, in lower case.
    pub name: String,
    /// Its value.
    pub value: ValueMatch,
}

/// A condition on a parameter of the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryMatch {
    /// Its name, as written.
    pub name: String,
    /// Its value.
    pub value: ValueMatch,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueMatch {
    /// This value and no other.
    Exact(String),
    /// Values that this regular expression matches from end to end.
    Regex(String),
}

/// A method that a route can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
    /// CONNECT.
    Connect,
    /// OPTIONS.
    Options,
    /// TRACE.
    Trace,
    /// PATCH.
    Patch,
}

impl Method {
    pub(crate) const ALL: [(&'static str, Method); 9] = [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("CONNECT", Method::Connect),
        ("OPTIONS", Method::Options),
        ("TRACE", Method::Trace),
        ("PATCH", Method::Patch),
    ];

    /// As it stands in a request.
    pub fn as_str(self) -> &'static str {
        Method::ALL.iter().find(|(_, method)| *method == self).map_or("", |(word, _)| word)
    }
}

const CONDITIONS_MAX: usize = 16;
const PATH_CHARS_MAX: usize = 1024;
const HEADER_CHARS_MAX: usize = 4096;
const QUERY_CHARS_MAX: usize = 1024;

pub(crate) fn read(at: &At<'_>) -> Option<RouteMatch> {
    let object = at.object(fields(&["path", "headers", "queryParams", "method"]))?;
    let path = object.or("path", PathMatch::Prefix("/".to_owned()), read_path);
    let headers = object.or("headers", Vec::new(), read_headers);
    let query = object.or("queryParams", Vec::new(), read_query);
    let method = object.maybe("method", |at| at.choice(&Method::ALL, &[]));
    Some(RouteMatch { path: path?, headers: headers?, query: query?, method: method? })
}

fn read_path(at: &At<'_>) -> Option<PathMatch> {
    #[derive(Clone, Copy, PartialEq)]
    enum Type {
        Exact,
        Prefix,
        Regex,
    }
    let object = at.object(fields(&["type", "value"]))?;
    let types =
        [("Exact", Type::Exact), ("PathPrefix", Type::Prefix), ("RegularExpression", Type::Regex)];
    let kind = object.or("type", Type::Prefix, |at| at.choice(&types, &[]));
    let value = object.or("value", "/".to_owned(), |at| {
        let text = at.text_within(PATH_CHARS_MAX)?;
        let wrong = match kind {
            Some(Type::Regex) => check_regex(text).err(),
            _ => names::http_path(text).err(),
        };
        match wrong {
            Some(message) => at.error(message),
            None => Some(text.to_owned()),
        }
    });
    let value = value?;
    Some(match kind? {
        Type::Exact => PathMatch::Exact(value),
        Type::Prefix => PathMatch::Prefix(value),
        Type::Regex => PathMatch::Regex(value),
    })
}

pub(crate) fn read_headers(at: &At<'_>) -> Option<Vec<HeaderMatch>> {
    let read = |at: &At<'_>| {
        let (name, value) =
            read_condition(at, names::matched_header, HEADER_CHARS_MAX, check_value)?;
        Some(HeaderMatch { name: name.to_ascii_lowercase(), value })
    };
    let headers = at.list(CONDITIONS_MAX, read)?;
    let named =
        at.items(CONDITIONS_MAX)?.into_iter().zip(headers.iter().map(|header| &header.name));
    check_unique(named, |name, first| format!("the header {} is matched by {first}", quoted(name)));
    Some(headers)
}

fn read_query(at: &At<'_>) -> Option<Vec<QueryMatch>> {
    let read = |at: &At<'_>| {
        let (name, value) =
            read_condition(at, names::http_token, QUERY_CHARS_MAX, check_parameter)?;
        Some(QueryMatch { name, value })
    };
    let query = at.list(CONDITIONS_MAX, read)?;
    let named = at.items(CONDITIONS_MAX)?.into_iter().zip(query.iter().map(|query| &query.name));
    check_unique(named, |name, first| {
        format!("the parameter {} is matched by {first}", quoted(name))
    });
    Some(query)
}

/// What conditions on headers and on parameters have in common: name, type and value.
fn read_condition(
    at: &At<'_>,
    check_name: fn(&str) -> Result<(), String>,
    value_chars_max: usize,
    check_exact: fn(&At<'_>, &str) -> Option<()>,
) -> Option<(String, ValueMatch)> {
    let object = at.object(fields(&["type", "name", "value"]))?;
    let types = [("Exact", false), ("RegularExpression", true)];
    let is_regex = object.or("type", false, |at| at.choice(&types, &[]));
    let name =
        object.need("name", |at| at.parsed(|text| check_name(text).map(|()| text.to_owned())));
    let value = object.need("value", |at| {
        let text = at.text_within(value_chars_max)?;
        match is_regex? {
            true => match check_regex(text) {
                Err(message) => at.error(message),
                Ok(()) => Some(text.to_owned()),
            },
            false => check_exact(at, text).map(|()| text.to_owned()),
        }
    });
    let value = value?;
    Some((name?, if is_regex? { ValueMatch::Regex(value) } else { ValueMatch::Exact(value) }))
}

/// Checks that a header can have the value `text`.
fn check_value(at: &At<'_>, text: &str) -> Option<()> {
    match names::field_value(text) {
        Err(message) => at.error(message),
        Ok(()) => Some(()),
    }
}

/// Checks that a parameter of a query can be written as `text`.
fn check_parameter(at: &At<'_>, text: &str) -> Option<()> {
    if text.contains(' ') {
        return at.error_help(
            format!(
                "{} holds a blank, which no query does: parameters are compared as they are \
                 written, undecoded",
                quoted(text)
            ),
            format!(
                "write {} or {}, whichever clients do",
                quoted(&text.replace(' ', "%20")),
                quoted(&text.replace(' ', "+"))
            ),
        );
    }
    check_value(at, text)
}

/// The most memory of a compiled expression, in bytes, as proxies have it.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Checks a regular expression, in RE2's grammar, as proxies compile it: without look-around or
/// back-references, its classes those of ASCII unless it has other characters itself.
pub(crate) fn check_regex(text: &str) -> Result<(), String> {
    let mut parser = regex_syntax::ParserBuilder::new();
    let why = match parser.nest_limit(50).utf8(false).unicode(!text.is_ascii()).build().parse(text)
    {
        Ok(_) => return check_compiled(text),
        Err(regex_syntax::Error::Parse(error)) => error.kind().to_string(),
        Err(regex_syntax::Error::Translate(error)) => error.kind().to_string(),
        Err(_) => "not understood".to_owned(),
    };
    Err(format!("{} is not a regular expression: {why}", quoted(text)))
}

/// Checks that proxies can compile `text`, which follows the grammar.
fn check_compiled(text: &str) -> Result<(), String> {
    let whole = format!("^(?:{text})$");
    let mut builder = regex::bytes::RegexBuilder::new(&whole);
    let why = match builder.unicode(!text.is_ascii()).size_limit(REGEX_BYTES_MAX).build() {
        Ok(_) => return Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => {
            "is too large once compiled, 1 MiB is allowed: repeat less, or match a prefix instead"
        }
        Err(_) => "is none any more between `^(?:` and `)$`: leave its last comment out",
    };
    Err(format!("{} {why}", quoted(text)))
}
