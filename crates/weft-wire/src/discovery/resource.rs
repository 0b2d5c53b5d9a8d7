//! What goes over a stream under one name: objects, and answers to subscriptions.

use std::fmt;
use std::str::FromStr;

use prost::Message;
use weft_model::ContentHash;

use super::message::{ANSWER_TYPE, AnswerMessage, Any, OBJECT_TYPE, Resource};
use super::subscription::Subscription;
use crate::envelope::{self, WireObject};
use crate::error::{At, FieldError};
use crate::key::ObjectKey;

/// The name of what goes over a stream. Answers come after all objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ResourceName {
    /// An object.
    Object(ObjectKey),
    /// The answer to a subscription.
    Answer(Subscription),
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourceName::Object(key) => key.fmt(f),
            ResourceName::Answer(subscription) => write!(f, "answer/{subscription}"),
        }
    }
}

impl FromStr for ResourceName {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<ResourceName, FieldError> {
        match text.strip_prefix("answer/") {
            Some(subscription) => Ok(ResourceName::Answer(subscription.parse()?)),
            None => Ok(ResourceName::Object(text.parse()?)),
        }
    }
}

/// What a subscription led to. It comes after the objects themselves, so that whoever waits for it
/// finds them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// These are what it names.
    Found(Vec<ObjectKey>),
    /// There is nothing of that name.
    Absent,
    /// It is not served, for this reason.
    Refused(String),
}

impl Answer {
    pub(crate) fn message(&self) -> AnswerMessage {
        let (outcome, reason, objects) = match self {
            Answer::Found(keys) => (1, "", keys.iter().map(ToString::to_string).collect()),
            Answer::Absent => (2, "", vec![]),
            Answer::Refused(reason) => (3, reason.as_str(), vec![]),
        };
        AnswerMessage { outcome, reason: reason.to_owned(), objects }
    }

    pub(crate) fn read(message: AnswerMessage) -> Result<Answer, FieldError> {
        let AnswerMessage { outcome, reason, objects } = message;
        match outcome {
            1 => {
                let keys = objects.iter().map(|text| text.parse());
                Ok(Answer::Found(keys.collect::<Result<_, _>>().at("objects")?))
            }
            2 => Ok(Answer::Absent),
            3 => Ok(Answer::Refused(crate::shown(&reason))),
            _ => Err(FieldError::new(format!("the choice {outcome} is not known here"))
                .within("outcome")),
        }
    }

    /// What stands for its content.
    pub(crate) fn version(&self) -> ContentHash {
        envelope::hash(&self.message().encode_to_vec())
    }
}

/// `object` as it goes over a stream.
pub(crate) fn of_object(object: &WireObject) -> Resource {
    Resource {
        version: object.version().to_string(),
        resource: Some(Any { type_url: OBJECT_TYPE.to_owned(), value: object.bytes().to_vec() }),
        name: object.key().to_string(),
    }
}

/// The answer to `subscription` as it goes over a stream.
pub(crate) fn of_answer(subscription: &Subscription, answer: &Answer) -> Resource {
    Resource {
        version: answer.version().to_string(),
        resource: Some(Any::new(ANSWER_TYPE, &answer.message())),
        name: ResourceName::Answer(subscription.clone()).to_string(),
    }
}
