//! Which of a Service's endpoints a request is for, on the wire.

use prost::Message;
use weft_model::{HeaderName, Label, Subset, SubsetFallback, SubsetLabel};

use super::common::{list, numbered};
use crate::error::{At, FieldError};

numbered!(from_fallback, to_fallback, SubsetFallback, { None = 1, Default = 2, Any = 3 });

#[derive(Clone, PartialEq, Message)]
pub(super) struct SubsetMessage {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelMessage>,
    #[prost(int32, tag = "2")]
    fallback: i32,
}

#[derive(Clone, PartialEq, Message)]
struct LabelMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    header: String,
    #[prost(string, optional, tag = "3")]
    default: Option<String>,
}

impl From<&Subset> for SubsetMessage {
    fn from(subset: &Subset) -> SubsetMessage {
        let Subset { labels, fallback } = subset;
        let label = |label: &SubsetLabel| LabelMessage {
            name: label.name.to_string(),
            header: label.header.to_string(),
            default: label.default.as_ref().map(ToString::to_string),
        };
        let labels = labels.iter().map(label).collect();
        SubsetMessage { labels, fallback: from_fallback(*fallback) }
    }
}

impl SubsetMessage {
    pub(super) fn check(self) -> Result<Subset, FieldError> {
        let SubsetMessage { labels, fallback } = self;
        Ok(Subset {
            labels: list("labels", labels, LabelMessage::check)?,
            fallback: to_fallback(fallback).at("fallback")?,
        })
    }
}

impl LabelMessage {
    fn check(self) -> Result<SubsetLabel, FieldError> {
        let LabelMessage { name, header, default } = self;
        Ok(SubsetLabel {
            name: Label::new(&name).at("name")?,
            header: HeaderName::new(&header).at("header")?,
            default: default.map(|value| Label::new(&value)).transpose().at("default")?,
        })
    }
}
