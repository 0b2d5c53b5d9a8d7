//! What a client holds, as bytes: with these a proxy starts and serves while no control plane is
//! there.

use prost::Message;
use thiserror::Error;
use weft_world::Moment;

use super::client::{Client, Interest};
use super::message::AnswerMessage;
use super::resource::Answer;
use crate::envelope::{WireObject, hash};
use crate::error::ObjectError;

/// What the bytes begin with: a name, and which form the rest has.
const MAGIC: &[u8; 8] = b"weftlkg1";

const CHECKSUM_BYTES: usize = 32;

/// Saved state that cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SavedError {
    /// It is something else, or of another version.
    #[error("this is no saved state of this version")]
    Form,
    /// It is not as it was written.
    #[error("the saved state is damaged: its checksum does not fit")]
    Checksum,
}

#[derive(Clone, PartialEq, Message)]
struct SavedMessage {
    #[prost(bytes = "vec", repeated, tag = "1")]
    objects: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "2")]
    subscriptions: Vec<SavedSubscription>,
    #[prost(message, repeated, tag = "3")]
    guards: Vec<SavedGuards>,
    #[prost(message, repeated, tag = "4")]
    closed: Vec<SavedClosed>,
}

/// A Service that is closed for the sake of a rule that was refused.
#[derive(Clone, PartialEq, Message)]
struct SavedClosed {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    rule: String,
    #[prost(string, tag = "3")]
    reason: String,
}

#[derive(Clone, PartialEq, Message)]
struct SavedSubscription {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    answer: Option<AnswerMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct SavedGuards {
    #[prost(string, tag = "1")]
    scope: String,
    /// The policies, and what names them.
    #[prost(bytes = "vec", repeated, tag = "2")]
    objects: Vec<Vec<u8>>,
}

/// `content` behind its name and its checksum, as it is saved.
pub fn sealed(content: &[u8]) -> Vec<u8> {
    [MAGIC.as_slice(), &hash(content).0, content].concat()
}

/// What is said of saved bytes.
fn saved_name(bytes: &[u8]) -> String {
    WireObject::name_of(bytes).unwrap_or_else(|| "saved object".to_owned())
}

impl Client {
    /// All that it holds, what is in force, and its subscriptions.
    pub fn save(&self) -> Vec<u8> {
        let subscription = |(subscription, interest): (&super::Subscription, &Interest)| {
            let answer = interest.answer.as_ref().map(Answer::message);
            SavedSubscription { name: subscription.to_string(), answer }
        };
        let guards = self.guards.iter().map(|(scope, objects)| SavedGuards {
            scope: scope.to_string(),
            objects: objects.map(|object| object.bytes().to_vec()).collect(),
        });
        let closed = self.closed.iter().map(|(service, rule, reason)| SavedClosed {
            service: service.to_string(),
            rule: rule.to_string(),
            reason: reason.to_owned(),
        });
        let message = SavedMessage {
            closed: closed.collect(),
            objects: self.held.values().map(|object| object.bytes().to_vec()).collect(),
            subscriptions: self.interests.iter().map(subscription).collect(),
            guards: guards.collect(),
        };
        sealed(&message.encode_to_vec())
    }

    /// Takes up what was saved, and returns what of it cannot be used by this version. The
    /// subscriptions count as used `now`.
    ///
    /// # Errors
    /// [`SavedError`]; nothing was taken then.
    pub fn restore(&mut self, saved: &[u8], now: Moment) -> Result<Vec<ObjectError>, SavedError> {
        let rest = saved.strip_prefix(MAGIC).ok_or(SavedError::Form)?;
        let (checksum, content) =
            rest.split_at_checked(CHECKSUM_BYTES).ok_or(SavedError::Checksum)?;
        if hash(content).0 != *checksum {
            return Err(SavedError::Checksum);
        }
        let message = SavedMessage::decode(content).map_err(|_| SavedError::Form)?;
        let SavedMessage { objects, subscriptions, guards, closed } = message;
        let mut lost = Vec::new();
        for bytes in objects {
            match WireObject::decode(&saved_name(&bytes), &bytes, &self.release) {
                Ok(object) => {
                    self.held.insert(object.key().clone(), object);
                }
                Err(error) => {
                    self.close_lost(&bytes, &error);
                    lost.push(error);
                }
            }
        }
        for SavedClosed { service, rule, reason } in closed {
            if let (Ok(service), Ok(rule)) = (service.parse(), rule.parse()) {
                self.closed.close(service, rule, &reason);
            }
        }
        for SavedSubscription { name, answer } in subscriptions {
            let answer = answer.and_then(|answer| Answer::read(answer).ok());
            if let Ok(subscription) = name.parse() {
                let interest = Interest { answer, used: now, waiters: vec![] };
                self.interests.insert(subscription, interest);
            }
        }
        for SavedGuards { scope, objects } in guards {
            let objects: Result<Vec<_>, _> = objects
                .iter()
                .map(|bytes| WireObject::decode(&saved_name(bytes), bytes, &self.release))
                .collect();
            match (scope.parse(), objects) {
                (Ok(scope), Ok(objects)) => self.guards.restore(scope, objects),
                // Closed, as any scope of which not all is known.
                (_, Err(error)) => lost.push(error),
                (Err(_), Ok(_)) => {}
            }
        }
        self.guards.complete(&self.held);
        Ok(lost)
    }

    /// Closes what went by the rule that `bytes` are, which cannot be read any more.
    fn close_lost(&mut self, bytes: &[u8], error: &ObjectError) {
        let Ok(key) = saved_name(bytes).parse() else { return };
        for service in WireObject::ruled_by(&key, bytes) {
            self.closed.close(service, key.clone(), &error.problem.to_string());
        }
    }
}
