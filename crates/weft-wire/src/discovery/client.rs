//! The proxy's side of discovery. It outlives its streams, and with its saved state the proxy.

mod closed;
mod take;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use weft_model::{GuardScope, ObjectName, Port, Workload};
use weft_world::Moment;

pub(super) use self::closed::Closed;
pub use self::take::{Answered, Outcome, Refusal};
use super::guards::{GuardSets, Guarding};
use super::message::{
    Any, DeltaDiscoveryRequest, GENERATION, INVALID_ARGUMENT, Metadata, Node, OBJECT_TYPE,
    REFUSAL_TYPE, RefusalMessage, Status,
};
use super::resource::{Answer, ResourceName};
pub use super::server::SUBSCRIPTIONS_MAX;
use super::subscription::Subscription;
use crate::envelope::WireObject;
use crate::feature::Release;
use crate::key::ObjectKey;

/// How many may wait for the answer to one subscription. More are refused at once: they would all
/// be connections that are held open.
const WAITERS_MAX: usize = 1024;

/// Someone who waits for an answer, in the words of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waiter(pub u64);

/// What is known of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is there, and so is all that belongs to it.
    Found,
    /// There is no such thing.
    Absent,
    /// Not known yet: the waiter is told when it is.
    Waiting,
    /// It cannot be asked for, for this reason.
    Refused(String),
}

/// What ends a stream: the server does not speak this protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// A response came without a stream, or without a nonce.
    #[error("a response without {0}")]
    Without(&'static str),
    /// It answers with resources of another type.
    #[error("resources of type `{0}` were not asked for")]
    Type(String),
}

/// The proxy's side of discovery.
#[derive(Debug)]
pub struct Client {
    node: Node,
    /// What of objects it can read.
    pub(super) release: Release,
    pub(super) held: BTreeMap<ObjectKey, Arc<WireObject>>,
    /// What was refused as it was sent last.
    refused: BTreeMap<ObjectKey, Refused>,
    pub(super) interests: BTreeMap<Subscription, Interest>,
    pub(super) guards: GuardSets,
    pub(super) closed: Closed,
    stream: Option<Stream>,
}

/// A version that was refused.
#[derive(Debug)]
struct Refused {
    /// Which, as the server calls it.
    version: String,
    reason: String,
    /// Only since a newer one is held: it may well be meant, and be good.
    is_old: bool,
}

/// A subscription, and what is known of it.
#[derive(Debug)]
pub(super) struct Interest {
    pub(super) answer: Option<Answer>,
    pub(super) used: Moment,
    pub(super) waiters: Vec<Waiter>,
}

/// What is to be said on a stream.
#[derive(Debug, Default)]
struct Stream {
    has_begun: bool,
    /// Whether the server has said that there was nothing more to say.
    is_complete: bool,
    subscribe: BTreeSet<Subscription>,
    unsubscribe: BTreeSet<Subscription>,
    acknowledge: VecDeque<Acknowledgement>,
}

/// What became of a response.
#[derive(Debug)]
struct Acknowledgement {
    nonce: String,
    refusals: Vec<Refusal>,
}

impl Client {
    /// A client that holds nothing, of a proxy of this `release`. `name` is for people.
    pub fn new(name: &str, release: Release) -> Client {
        let node = Node {
            id: name.to_owned(),
            metadata: None,
            user_agent_name: "weft".to_owned(),
            user_agent_version: Some(release.version.clone()),
        };
        Client {
            node,
            release,
            held: BTreeMap::new(),
            refused: BTreeMap::new(),
            interests: BTreeMap::new(),
            guards: GuardSets::default(),
            closed: Closed::default(),
            stream: None,
        }
    }

    /// The same for the instance `generation` of the workload: so the server tells it from others
    /// that have the same name.
    pub fn of_generation(mut self, generation: u64) -> Client {
        self.node.metadata = Some(Metadata::new(GENERATION, &generation.to_string()));
        self
    }

    /// The object called `key`, if it is held.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<WireObject>> {
        self.held.get(key)
    }

    /// All objects that are held, each after what it refers to.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<WireObject>> {
        self.held.values()
    }

    /// What was refused as it was sent last, with the reasons.
    pub fn refused(&self) -> impl Iterator<Item = (&ObjectKey, &str)> {
        self.refused.iter().map(|(key, refused)| (key, refused.reason.as_str()))
    }

    /// The policies that guard `port` of the application of `workload`.
    pub fn guarding(&self, workload: &Workload, port: Port) -> Guarding {
        let leads_here = |scope: &GuardScope, of_service: Port| match scope {
            GuardScope::Service(service) => {
                let ports = workload.services.get(service);
                ports.and_then(|ports| ports.get(&of_service)) == Some(&port)
            }
            _ => true,
        };
        self.guards.guarding(workload.guard_scopes_of(port), leads_here)
    }

    /// The policies that guard any port of `workload`: it is ready only when these are complete.
    pub fn guarding_all(&self, workload: &Workload) -> Guarding {
        self.guards.guarding(workload.guard_scopes(), |_, _| true)
    }

    /// Whether the server has said all that it had to say, removals included, since the stream was
    /// made. What it says from then on is news.
    pub fn is_complete(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_complete)
    }

    /// Whether what is held was all that there was when the server said something last.
    pub fn is_current(&self) -> bool {
        self.is_complete() && self.refused.is_empty()
    }

    /// The subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.interests.keys()
    }

    /// The Services that were asked for and found: of these the rules are held too. Of others that
    /// are held, such as backends of theirs, they may be missing.
    pub fn followed(&self) -> impl Iterator<Item = &ObjectName> {
        let found = self.interests.values().flat_map(|interest| match &interest.answer {
            Some(Answer::Found(keys)) => keys.as_slice(),
            _ => &[],
        });
        found.filter_map(|key| match key {
            ObjectKey::Service(name) => Some(name),
            _ => None,
        })
    }

    /// Asks for `subscription`, or notes that it is still used.
    ///
    /// `waiter` is told by an [`Outcome`] when the answer is there, unless it is there already.
    /// However long that takes is the caller's to bound.
    pub fn subscribe(
        &mut self,
        subscription: &Subscription,
        now: Moment,
        waiter: Option<Waiter>,
    ) -> Lookup {
        if !self.interests.contains_key(subscription) {
            if self.interests.len() >= SUBSCRIPTIONS_MAX {
                let reason = format!("{SUBSCRIPTIONS_MAX} subscriptions are the most");
                return Lookup::Refused(reason);
            }
            let interest = Interest { answer: None, used: now, waiters: vec![] };
            self.interests.insert(subscription.clone(), interest);
            if let Some(stream) = &mut self.stream {
                stream.subscribe.insert(subscription.clone());
            }
        }
        let interest = self.interests.get_mut(subscription).expect("it was just inserted");
        interest.used = now;
        match &interest.answer {
            Some(Answer::Found(_)) => Lookup::Found,
            Some(Answer::Absent) => Lookup::Absent,
            Some(Answer::Refused(reason)) => Lookup::Refused(reason.clone()),
            None => {
                if interest.waiters.len() >= WAITERS_MAX {
                    return Lookup::Refused(format!("{WAITERS_MAX} wait for it already"));
                }
                interest.waiters.extend(waiter);
                Lookup::Waiting
            }
        }
    }

    /// Forgets `waiter`, who waits no longer.
    pub fn give_up(&mut self, subscription: &Subscription, waiter: Waiter) {
        if let Some(interest) = self.interests.get_mut(subscription) {
            interest.waiters.retain(|other| *other != waiter);
        }
    }

    /// Ends a subscription. What it brought is held until the server takes it away.
    pub fn unsubscribe(&mut self, subscription: &Subscription) {
        if self.interests.remove(subscription).is_none() {
            return;
        }
        if let Some(stream) = &mut self.stream {
            let was_said = !stream.subscribe.remove(subscription);
            if was_said && stream.has_begun {
                stream.unsubscribe.insert(subscription.clone());
            }
        }
    }

    /// Ends the subscriptions that were not used for `idle`. `self` stays, and so do all while
    /// there is no stream: what is let go of then could not be asked for again.
    pub fn expire(&mut self, now: Moment, idle: Duration) -> Outcome {
        if self.stream.is_none() {
            return Outcome::default();
        }
        let needed: BTreeSet<_> = self.needed().into_iter().map(Subscription::Service).collect();
        let is_unused = |(subscription, interest): &(&Subscription, &Interest)| {
            **subscription != Subscription::SelfWorkload
                && !needed.contains(subscription)
                && interest.waiters.is_empty()
                && now.since(interest.used) >= idle
        };
        let unused = self.interests.iter().filter(is_unused);
        let ended: Vec<_> = unused.map(|(subscription, _)| subscription.clone()).collect();
        ended.iter().for_each(|subscription| self.unsubscribe(subscription));
        Outcome { ended, ..Outcome::default() }
    }

    /// The Services that are referred to by objects which stay as they were, since their newer
    /// versions were refused: the server goes by those.
    fn needed(&self) -> BTreeSet<ObjectName> {
        let old = self.refused.keys().filter_map(|key| self.held.get(key));
        let service = |key| match key {
            ObjectKey::Service(name) => Some(name),
            _ => None,
        };
        old.flat_map(|object| object.object().references()).filter_map(service).collect()
    }

    /// Notes that a new stream is there.
    pub fn connected(&mut self) {
        self.stream = Some(Stream::default());
    }

    /// Notes that the stream has ended. Nothing that is held is lost.
    pub fn disconnected(&mut self) {
        self.stream = None;
    }

    /// What is to be said next, if there is anything.
    pub fn next_request(&mut self) -> Option<DeltaDiscoveryRequest> {
        let stream = self.stream.as_mut()?;
        let mut request =
            DeltaDiscoveryRequest { type_url: OBJECT_TYPE.to_owned(), ..Default::default() };
        if !std::mem::replace(&mut stream.has_begun, true) {
            stream.subscribe.clear();
            request.node = Some(self.node.clone());
            request.resource_names_subscribe = texts(self.interests.keys());
            request.initial_resource_versions = self.versions();
            return Some(request);
        }
        let acknowledgement = stream.acknowledge.pop_front();
        let has_news = !stream.subscribe.is_empty() || !stream.unsubscribe.is_empty();
        if acknowledgement.is_none() && !has_news {
            return None;
        }
        // Both may name the same, which then is wanted: the server takes the new ones last.
        request.resource_names_subscribe = texts(&std::mem::take(&mut stream.subscribe));
        request.resource_names_unsubscribe = texts(&std::mem::take(&mut stream.unsubscribe));
        if let Some(Acknowledgement { nonce, refusals }) = acknowledgement {
            request.response_nonce = nonce;
            request.error_detail = status(&refusals);
        }
        Some(request)
    }

    /// The version of everything that is held.
    fn versions(&self) -> BTreeMap<String, String> {
        let objects = self.held.iter().map(|(key, object)| (key.to_string(), object.version()));
        let answers = self.interests.iter().filter_map(|(subscription, interest)| {
            let name = ResourceName::Answer(subscription.clone()).to_string();
            Some((name, interest.answer.as_ref()?.version()))
        });
        objects.chain(answers).map(|(name, version)| (name, version.to_string())).collect()
    }
}

fn texts<'a>(subscriptions: impl IntoIterator<Item = &'a Subscription>) -> Vec<String> {
    subscriptions.into_iter().map(ToString::to_string).collect()
}

/// What is wrong with a response, if anything.
fn status(refusals: &[Refusal]) -> Option<Status> {
    let first = refusals.first()?;
    let detail = |refusal: &Refusal| {
        let Refusal { name, reason } = refusal;
        let message = RefusalMessage { name: name.clone(), reason: reason.clone() };
        Any::new(REFUSAL_TYPE, &message)
    };
    Some(Status {
        code: INVALID_ARGUMENT,
        message: format!("{} refused, the first: {}", refusals.len(), first.reason),
        details: refusals.iter().map(detail).collect(),
    })
}
