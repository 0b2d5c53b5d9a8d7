//! Which requests a rule is for.

use crate::error::ValueError;
use crate::http::{HeaderName, HttpPath, Method, RegexText, is_field_value, is_token};

/// A request matches if all that is set does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// Headers, all of them.
    pub headers: Vec<HeaderMatch>,
    /// Parameters of the query, all of them.
    pub query: Vec<QueryMatch>,
    /// The method. Absent: any.
    pub method: Option<Method>,
}

/// A condition on the path, which never includes the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathMatch {
    /// This path and no other.
    Exact(HttpPath),
    /// This path and what is below it, by whole segments.
    Prefix(HttpPath),
    /// Paths that this regular expression matches from end to end.
    Regex(RegexText),
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
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: ValueMatch,
}

/// A condition on a parameter of the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryMatch {
    name: String,
    value: ValueMatch,
}

impl QueryMatch {
    /// The condition `value` on the parameter `name`.
    ///
    /// # Errors
    /// If the name is not a token of at most 256 bytes.
    pub fn new(name: &str, value: ValueMatch) -> Result<QueryMatch, ValueError> {
        if !is_token(name) || name.len() > 256 {
            let allowed = "at most 256 characters of a token";
            return Err(ValueError::new(name, "the name of a parameter", allowed));
        }
        Ok(QueryMatch { name: name.to_owned(), value })
    }

    /// Its name, as written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value.
    pub fn value(&self) -> &ValueMatch {
        &self.value
    }
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueMatch {
    /// This value and no other.
    Exact(ExactValue),
    /// Values that this regular expression matches from end to end.
    Regex(RegexText),
}

impl ValueMatch {
    /// The value or the expression.
    pub fn as_str(&self) -> &str {
        match self {
            ValueMatch::Exact(value) => value.as_str(),
            ValueMatch::Regex(regex) => regex.as_str(),
        }
    }
}

/// A value that a header or parameter can have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExactValue(String);

impl ExactValue {
    /// The value `text`.
    ///
    /// # Errors
    /// If it is longer than 4096 bytes or cannot stand in a header.
    pub fn new(text: &str) -> Result<ExactValue, ValueError> {
        if text.len() > 4096 || !is_field_value(text) {
            let allowed = "at most 4096 bytes, no controls, no spaces around it";
            return Err(ValueError::new(text, "a value", allowed));
        }
        Ok(ExactValue(text.to_owned()))
    }

    /// The value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
