//! How a response is taken: each of its resources on its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;
use weft_model::{ObjectName, Revocation, Trust};
use weft_world::Moment;

use super::{Acknowledgement, Client, Lookup, ProtocolError, Refused, Waiter};
use crate::discovery::message::{
    ANSWER_TYPE, AnswerMessage, Any, DeltaDiscoveryResponse, OBJECT_TYPE, Resource,
};
use crate::discovery::resource::{Answer, ResourceName};
use crate::discovery::subscription::Subscription;
use crate::envelope::{SourceVersion, WireObject};
use crate::key::ObjectKey;
use crate::objects::Object;

/// How many revocations a refusal names that are not known to the control plane any more.
const LOST_NAMED_MAX: usize = 8;

/// What became of a response, or of time that passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The objects that are new or changed.
    pub changed: BTreeSet<ObjectKey>,
    /// The objects that are gone.
    pub removed: BTreeSet<ObjectKey>,
    /// What was not taken, or not given up.
    pub refused: Vec<Refusal>,
    /// The subscriptions that were answered, for the first time or otherwise than before.
    pub answered: Vec<Answered>,
    /// The subscriptions that ended, since nobody used them.
    pub ended: Vec<Subscription>,
}

/// Something that was not taken, or not given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The name of the resource, as the server calls it.
    pub name: String,
    /// Why, and what to do about it. The name is not in it.
    pub reason: String,
}

/// A subscription that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The subscription.
    pub subscription: Subscription,
    /// What is known now.
    pub lookup: Lookup,
    /// Those who waited for it.
    pub waiters: Vec<Waiter>,
}

/// What is wrong with an object.
struct Wrong {
    reason: String,
    /// Only that a newer one is held.
    is_old: bool,
}

impl From<String> for Wrong {
    fn from(reason: String) -> Wrong {
        Wrong { reason, is_old: false }
    }
}

impl Client {
    /// Takes a response: what is good of it, and for the rest the old stays.
    ///
    /// `check` is asked of each object that is otherwise good whether it can be used, such as
    /// whether its regular expressions compile; its words are the reason of the refusal.
    ///
    /// # Errors
    /// [`ProtocolError`]; the stream is to be closed. Nothing was taken then.
    pub fn on_response(
        &mut self,
        response: DeltaDiscoveryResponse,
        check: &dyn Fn(&Object) -> Result<(), String>,
    ) -> Result<Outcome, ProtocolError> {
        let DeltaDiscoveryResponse {
            system_version_info,
            resources,
            type_url,
            nonce,
            removed_resources,
        } = response;
        if type_url != OBJECT_TYPE {
            return Err(ProtocolError::Type(crate::shown(&type_url)));
        }
        if nonce.is_empty() {
            return Err(ProtocolError::Without("a nonce"));
        }
        if self.stream.is_none() {
            return Err(ProtocolError::Without("a stream"));
        }
        let has_nothing_more = resources.is_empty() && removed_resources.is_empty();
        let mut outcome = Outcome::default();
        for Resource { version, resource, name } in resources {
            let resource = resource.unwrap_or_default();
            if let Err(reason) = self.take(&name, &version, &resource, check, &mut outcome) {
                outcome.refused.push(Refusal { name, reason });
            }
        }
        let awaited = self.awaited(&removed_resources);
        let source = system_version_info.parse().unwrap_or_default();
        for name in removed_resources {
            if let Err(reason) = self.give_up_object(&name, source, &awaited, &mut outcome) {
                outcome.refused.push(Refusal { name, reason });
            }
        }
        self.guards.update(&self.held, &outcome.changed, &outcome.removed);
        let acknowledgement = Acknowledgement { nonce, refusals: outcome.refused.clone() };
        let stream = self.stream.as_mut().expect("there is one, as checked above");
        stream.acknowledge.push_back(acknowledgement);
        stream.is_complete |= has_nothing_more;
        Ok(outcome)
    }

    fn take(
        &mut self,
        name: &str,
        version: &str,
        resource: &Any,
        check: &dyn Fn(&Object) -> Result<(), String>,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let parsed = match name.parse::<ResourceName>() {
            Ok(parsed) => parsed,
            // Of a kind that came later, it says itself what is needed for it.
            Err(error) => {
                if resource.type_url == OBJECT_TYPE {
                    self.decode(name, &resource.value)?;
                }
                return Err(error.to_string());
            }
        };
        match (parsed, resource.type_url.as_str()) {
            (ResourceName::Object(key), OBJECT_TYPE) => {
                match self.checked(&key, version, &resource.value, check) {
                    Ok(object) => {
                        self.refused.remove(&key);
                        self.reopen(&key);
                        let before = self.held.insert(key.clone(), Arc::clone(&object));
                        if before.is_none_or(|before| before.version() != object.version()) {
                            outcome.changed.insert(key);
                        }
                        Ok(())
                    }
                    Err(Wrong { reason, is_old }) => {
                        let refused = Refused { version: version.to_owned(), reason, is_old };
                        let reason = refused.reason.clone();
                        if !self.held.contains_key(&key) {
                            self.close_new(&key, &resource.value, &reason);
                        }
                        self.refused.insert(key, refused);
                        Err(reason)
                    }
                }
            }
            (ResourceName::Answer(subscription), ANSWER_TYPE) => {
                self.take_answer(subscription, &resource.value, outcome)
            }
            (_, other) => Err(format!("its type is {}", crate::shown(other))),
        }
    }

    /// The object that `bytes` are, if it may take the place of the one that is held.
    fn checked(
        &self,
        key: &ObjectKey,
        version: &str,
        bytes: &[u8],
        check: &dyn Fn(&Object) -> Result<(), String>,
    ) -> Result<Arc<WireObject>, Wrong> {
        let object = self.decode(&key.to_string(), bytes)?;
        if object.key() != key {
            return Err(format!("it calls itself {}", object.key()).into());
        }
        if object.version().to_string() != version {
            return Err("its version is not that of its content".to_owned().into());
        }
        if let Some(held) = self.held.get(key) {
            check_newer(held, &object).map_err(|reason| Wrong { reason, is_old: true })?;
        }
        for reference in object.object().references() {
            if let Some(reason) = self.lacks_for_good(object.object(), &reference) {
                let reason = format!("it refers to {reference}, which was refused: {reason}");
                return Err(reason.into());
            }
        }
        check(object.object())?;
        Ok(object)
    }

    fn decode(&self, name: &str, bytes: &[u8]) -> Result<Arc<WireObject>, String> {
        let object = WireObject::decode(name, bytes, &self.release);
        object.map_err(|error| error.problem.to_string())
    }

    /// Why `reference`, as `object` means it, is not to be had, although it was sent.
    fn lacks_for_good(&self, object: &Object, reference: &ObjectKey) -> Option<&str> {
        // What was only older than what is held says nothing of what can be used.
        let refused = self.refused.get(reference).filter(|refused| !refused.is_old)?;
        let is_meant = match (object, reference) {
            (Object::Guards(guards), ObjectKey::Policy(name)) => {
                let meant = guards.policies.get(name);
                meant.is_some_and(|meant| meant.to_string() == refused.version)
            }
            // An earlier version of it will do.
            _ => !self.held.contains_key(reference),
        };
        is_meant.then_some(refused.reason.as_str())
    }

    fn take_answer(
        &mut self,
        subscription: Subscription,
        bytes: &[u8],
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let message = AnswerMessage::decode(bytes).map_err(|_| "no protobuf message".to_owned())?;
        let answer = Answer::read(message).map_err(|error| error.to_string())?;
        // Not wanted any more: the server learns of that by itself.
        let Some(interest) = self.interests.get_mut(&subscription) else { return Ok(()) };
        let waiters = std::mem::take(&mut interest.waiters);
        let lookup = match &answer {
            Answer::Found(_) => Lookup::Found,
            Answer::Absent => Lookup::Absent,
            Answer::Refused(reason) => Lookup::Refused(reason.clone()),
        };
        match answer {
            // The server does not know of it, so it can be asked for again.
            Answer::Refused(_) => {
                self.interests.remove(&subscription);
            }
            answer => interest.answer = Some(answer),
        }
        outcome.answered.push(Answered { subscription, lookup, waiters });
        Ok(())
    }

    /// The Services among `removed` that are needed, though the server does not know it: they are
    /// subscribed to, and its answer is awaited.
    fn awaited(&mut self, removed: &[String]) -> BTreeSet<ObjectName> {
        let mut awaited = BTreeSet::new();
        for name in self.needed() {
            let key = ObjectKey::Service(name.clone()).to_string();
            let subscription = Subscription::Service(name.clone());
            let answer = |it: &Client| Some(it.interests.get(&subscription)?.answer.is_some());
            match (removed.contains(&key), answer(self)) {
                (false, _) | (_, Some(true)) => continue,
                (true, Some(false)) => {}
                // Unused from the moment on from which it is not needed.
                (true, None) => drop(self.subscribe(&subscription, Moment::default(), None)),
            }
            awaited.insert(name);
        }
        awaited
    }

    /// Gives up what the server takes away, but for `awaited` Services and what is part of them.
    fn give_up_object(
        &mut self,
        name: &str,
        source: SourceVersion,
        awaited: &BTreeSet<ObjectName>,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let parsed = name.parse::<ResourceName>().map_err(|error| error.to_string())?;
        let ResourceName::Object(key) = parsed else { return Ok(()) };
        self.refused.remove(&key);
        if self.reopen(&key) {
            outcome.removed.insert(key.clone());
        }
        let Some(held) = self.held.get(&key) else { return Ok(()) };
        if source.is_older_than(held.source()) {
            return Err(format!("held from newer sources, {} against {source}", held.source()));
        }
        let is_awaited = match held.object() {
            Object::Service(service) => awaited.contains(&service.name),
            Object::Workload(workload) => workload.services.keys().any(|it| awaited.contains(it)),
            _ => false,
        };
        if is_awaited {
            return Err("needed by an object of which a newer version was refused".to_owned());
        }
        self.held.remove(&key);
        outcome.changed.remove(&key);
        outcome.removed.insert(key);
        Ok(())
    }
}

/// Checks that `new` is not older than `held`.
fn check_newer(held: &WireObject, new: &WireObject) -> Result<(), String> {
    if new.version() == held.version() {
        return Ok(());
    }
    if new.source().is_older_than(held.source()) {
        let (held, new) = (held.source(), new.source());
        return Err(format!("held from newer sources, {held} against {new}"));
    }
    if let (Object::Trust(held), Object::Trust(new)) = (held.object(), new.object())
        && new.sequence <= held.sequence
    {
        return Err(set_back(held, new));
    }
    Ok(())
}

/// Why `new` does not take the place of `held`, which whoever sent it once knew.
fn set_back(held: &Trust, new: &Trust) -> String {
    let lost: Vec<_> = held.revoked.difference(&new.revoked).map(Revocation::to_string).collect();
    let (later, sequence) = (held.sequence, new.sequence);
    let mut reason = format!("held with the later sequence {later}, this is {sequence}");
    if !lost.is_empty() {
        reason.push_str(": the control plane was set back; revoke again ");
        reason.push_str(&lost[..lost.len().min(LOST_NAMED_MAX)].join(", "));
        if let Some(more) = lost.len().checked_sub(LOST_NAMED_MAX).filter(|more| *more > 0) {
            reason.push_str(&format!(" and {more} more"));
        }
    }
    reason
}
