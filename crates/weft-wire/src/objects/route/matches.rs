//! Which requests a rule is for, on the wire.

use prost::{Message, Oneof};
use weft_model::{
    CallMatch, ExactValue, HeaderMatch, HeaderName, HttpPath, Method, PathMatch, QueryMatch,
    RegexText, RouteMatch, ValueMatch,
};

use super::super::common::{list, needed};
use crate::error::{At, FieldError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct MatchMessage {
    #[prost(oneof = "PathMessage", tags = "1, 2, 3, 7")]
    path: Option<PathMessage>,
    #[prost(message, repeated, tag = "4")]
    headers: Vec<ConditionMessage>,
    #[prost(message, repeated, tag = "5")]
    query: Vec<ConditionMessage>,
    #[prost(string, optional, tag = "6")]
    method: Option<String>,
}

#[derive(Clone, PartialEq, Oneof)]
enum PathMessage {
    #[prost(string, tag = "1")]
    Exact(String),
    #[prost(string, tag = "2")]
    Prefix(String),
    #[prost(string, tag = "3")]
    Regex(String),
    #[prost(message, tag = "7")]
    Call(CallMessage),
}

#[derive(Clone, PartialEq, Message)]
struct CallMessage {
    #[prost(message, optional, tag = "1")]
    service: Option<NameMessage>,
    #[prost(message, optional, tag = "2")]
    method: Option<NameMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct NameMessage {
    #[prost(oneof = "ValueMessage", tags = "2, 3")]
    value: Option<ValueMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ConditionMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(oneof = "ValueMessage", tags = "2, 3")]
    value: Option<ValueMessage>,
}

#[derive(Clone, PartialEq, Oneof)]
enum ValueMessage {
    #[prost(string, tag = "2")]
    Exact(String),
    #[prost(string, tag = "3")]
    Regex(String),
}

impl MatchMessage {
    pub(super) fn new(one: &RouteMatch) -> MatchMessage {
        let RouteMatch { path, headers, query, method } = one;
        let path = match path {
            PathMatch::Exact(path) => PathMessage::Exact(path.as_str().to_owned()),
            PathMatch::Prefix(path) => PathMessage::Prefix(path.as_str().to_owned()),
            PathMatch::Regex(regex) => PathMessage::Regex(regex.as_str().to_owned()),
            PathMatch::Call(call) => PathMessage::Call(call.into()),
        };
        let header = |header: &HeaderMatch| {
            let HeaderMatch { name, value } = header;
            ConditionMessage { name: name.as_str().to_owned(), value: Some(value.into()) }
        };
        let parameter = |query: &QueryMatch| ConditionMessage {
            name: query.name().to_owned(),
            value: Some(query.value().into()),
        };
        MatchMessage {
            path: Some(path),
            headers: headers.iter().map(header).collect(),
            query: query.iter().map(parameter).collect(),
            method: method.as_ref().map(|method| method.as_str().to_owned()),
        }
    }

    pub(super) fn check(self) -> Result<RouteMatch, FieldError> {
        let MatchMessage { path, headers, query, method } = self;
        let path = match needed("path", path)? {
            PathMessage::Exact(path) => HttpPath::new(&path).map(PathMatch::Exact).at("path"),
            PathMessage::Prefix(path) => HttpPath::new(&path).map(PathMatch::Prefix).at("path"),
            PathMessage::Regex(regex) => RegexText::new(&regex).map(PathMatch::Regex).at("path"),
            PathMessage::Call(call) => call.check().map(PathMatch::Call).at("path.call"),
        };
        let header = |ConditionMessage { name, value }| {
            Ok(HeaderMatch {
                name: HeaderName::new(&name).at("name")?,
                value: needed("value", value)?.check().at("value")?,
            })
        };
        let parameter = |ConditionMessage { name, value }| {
            let value = needed("value", value)?.check().at("value")?;
            QueryMatch::new(&name, value).at("name")
        };
        Ok(RouteMatch {
            path: path?,
            headers: list("headers", headers, header)?,
            query: list("query", query, parameter)?,
            method: method.map(|method| Method::new(&method)).transpose().at("method")?,
        })
    }
}

impl From<&CallMatch> for CallMessage {
    fn from(call: &CallMatch) -> CallMessage {
        let CallMatch { service, method } = call;
        let name = |name: &ValueMatch| NameMessage { value: Some(name.into()) };
        CallMessage { service: service.as_ref().map(name), method: method.as_ref().map(name) }
    }
}

impl CallMessage {
    fn check(self) -> Result<CallMatch, FieldError> {
        let CallMessage { service, method } = self;
        let name = |NameMessage { value }| needed("value", value)?.check().at("value");
        Ok(CallMatch {
            service: service.map(name).transpose().at("service")?,
            method: method.map(name).transpose().at("method")?,
        })
    }
}

impl From<&ValueMatch> for ValueMessage {
    fn from(value: &ValueMatch) -> ValueMessage {
        match value {
            ValueMatch::Exact(value) => ValueMessage::Exact(value.as_str().to_owned()),
            ValueMatch::Regex(regex) => ValueMessage::Regex(regex.as_str().to_owned()),
        }
    }
}

impl ValueMessage {
    fn check(self) -> Result<ValueMatch, FieldError> {
        Ok(match self {
            ValueMessage::Exact(value) => ValueMatch::Exact(ExactValue::new(&value)?),
            ValueMessage::Regex(regex) => ValueMatch::Regex(RegexText::new(&regex)?),
        })
    }
}
