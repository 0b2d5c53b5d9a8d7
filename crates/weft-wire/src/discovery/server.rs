//! The server's side of one stream: what its proxy is to be told next.
//!
//! One response is under way at a time, so that a slow proxy is sent the latest state when it is
//! ready for it, and not each step on the way there.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use thiserror::Error;
use weft_model::{ContentHash, Namespace, ObjectName};

use super::held::{Holdings, Sent};
use super::message::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, OBJECT_TYPE, REFUSAL_TYPE, RefusalMessage,
    Resource, Status,
};
use super::resource::{Answer, ResourceName, of_answer, of_object};
use super::subscription::Subscription;
use super::world::{Touched, View, World};
use crate::envelope::SourceVersion;
use crate::key::ObjectKey;

/// How many subscriptions a proxy may have: a workload that talks to more is a gateway.
pub const SUBSCRIPTIONS_MAX: usize = 4096;

/// How many resources a proxy may say that it holds.
const HELD_MAX: usize = 1 << 17;

/// The most characters of the reason of a refusal: those of a few names, and of what to do.
const REASON_CHARS_MAX: usize = 1024;

/// A response of at least this size is not added to. With the largest object it is then still
/// within the 4 MiB that gRPC takes by default.
const RESPONSE_BYTES: usize = 1 << 20;

/// What ends a stream: the client does not speak this protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    /// It asks for resources of another type.
    #[error("resources of type `{0}` are not served here")]
    Type(String),
    /// It says that it holds more than it could.
    #[error("{0} resources cannot be held by one proxy")]
    Held(usize),
}

/// What a proxy did with a version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The object.
    pub key: ObjectKey,
    /// The version.
    pub version: ContentHash,
    /// Why it was refused; absent if it was taken.
    pub refused: Option<String>,
}

/// The server's side of one stream.
#[derive(Debug, Default)]
pub struct ServerStream {
    own: Option<ObjectName>,
    namespace: Option<Namespace>,
    subscriptions: BTreeSet<Subscription>,
    /// Subscriptions that are not served, to be answered so, with the reason.
    rejected: BTreeMap<Subscription, String>,
    holdings: Holdings,
    view: View,
    /// Whether the view is not what the subscriptions lead to now.
    is_outdated: bool,
    /// Whether there was nothing to say when it was last looked for, and nothing changed since.
    is_idle: bool,
    /// Whether it is to be told, as soon as that is so, that there is nothing more to say.
    is_to_confirm: bool,
    has_begun: bool,
    nonces: u64,
    under_way: Option<UnderWay>,
}

/// A response that is not answered yet.
#[derive(Debug)]
struct UnderWay {
    nonce: String,
    source: SourceVersion,
    sent: BTreeMap<ResourceName, Sent>,
    removed: Vec<ObjectKey>,
}

impl ServerStream {
    /// A stream of the proxy of the workload `own`, as its certificate has it; absent if it has
    /// none.
    pub fn new(own: Option<ObjectName>) -> ServerStream {
        ServerStream { own, is_outdated: true, ..ServerStream::default() }
    }

    /// The same for a proxy whose certificate is of `namespace`.
    pub fn of_namespace(self, namespace: Namespace) -> ServerStream {
        ServerStream { namespace: Some(namespace), ..self }
    }

    /// Takes what the proxy says, and returns what became of the last response.
    ///
    /// # Errors
    /// [`StreamError`]; the stream is to be closed.
    pub fn on_request(
        &mut self,
        request: DeltaDiscoveryRequest,
    ) -> Result<Vec<Receipt>, StreamError> {
        let DeltaDiscoveryRequest {
            node: _,
            type_url,
            resource_names_subscribe,
            resource_names_unsubscribe,
            initial_resource_versions,
            response_nonce,
            error_detail,
        } = request;
        if type_url != OBJECT_TYPE {
            return Err(StreamError::Type(crate::shown(&type_url)));
        }
        self.is_idle = false;
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        if is_first {
            self.begin(initial_resource_versions)?;
        }
        let receipts = self.settle(&response_nonce, error_detail);
        for text in resource_names_unsubscribe {
            if let Ok(subscription) = text.parse() {
                self.unsubscribe(subscription);
            }
        }
        for text in resource_names_subscribe {
            if let Ok(subscription) = text.parse() {
                self.subscribe(subscription, is_first);
            }
        }
        Ok(receipts)
    }

    /// Takes what the proxy holds from before this stream. What has no name here is not ours.
    fn begin(&mut self, versions: BTreeMap<String, String>) -> Result<(), StreamError> {
        if versions.len() > HELD_MAX {
            return Err(StreamError::Held(versions.len()));
        }
        for (name, version) in versions {
            if let Ok(name) = name.parse() {
                self.holdings.took(name, version.parse().ok());
            }
        }
        Ok(())
    }

    fn subscribe(&mut self, subscription: Subscription, is_first: bool) {
        if !is_first {
            // Whoever subscribes anew wants an answer, whatever was said before.
            self.forget_answer(&subscription);
        }
        let is_full = self.subscriptions.len() >= SUBSCRIPTIONS_MAX;
        if is_full && !self.subscriptions.contains(&subscription) {
            let reason = format!("{SUBSCRIPTIONS_MAX} subscriptions are the most");
            // What is not answered is asked again; the bound holds for these too.
            if self.rejected.len() < SUBSCRIPTIONS_MAX {
                self.rejected.insert(subscription, reason);
            }
            return;
        }
        self.subscriptions.insert(subscription);
        self.is_outdated = true;
    }

    fn unsubscribe(&mut self, subscription: Subscription) {
        self.forget_answer(&subscription);
        self.rejected.remove(&subscription);
        self.is_outdated |= self.subscriptions.remove(&subscription);
    }

    fn forget_answer(&mut self, subscription: &Subscription) {
        let name = ResourceName::Answer(subscription.clone());
        self.holdings.dropped(&name);
        if let Some(under_way) = &mut self.under_way {
            under_way.sent.remove(&name);
        }
    }

    /// Notes what became of the response `nonce`. An answer to an older one says nothing new.
    fn settle(&mut self, nonce: &str, error: Option<Status>) -> Vec<Receipt> {
        let Some(under_way) = self.under_way.take_if(|under_way| under_way.nonce == nonce) else {
            return vec![];
        };
        let UnderWay { nonce: _, source, sent, removed } = under_way;
        let refused = Refused::new(error);
        let mut receipts = Vec::new();
        for (name, sent) in sent {
            let version = sent.version;
            let reason = refused.reason(&name.to_string());
            if let ResourceName::Object(key) = &name {
                receipts.push(Receipt { key: key.clone(), version, refused: reason.clone() });
            }
            match reason {
                Some(reason) => self.holdings.refused(name, sent, reason),
                None => self.holdings.took(name, Some(version)),
            }
        }
        for key in removed {
            let is_kept = refused.reason(&key.to_string()).is_some();
            let name = ResourceName::Object(key);
            match is_kept {
                true => self.holdings.kept(name, source),
                false => self.holdings.dropped(&name),
            }
        }
        receipts
    }

    /// Notes that the world changed. To be called for each change.
    pub fn on_change(&mut self, touched: &Touched) {
        let is_touched = self.view.is_touched(touched);
        self.is_outdated |= is_touched;
        // Newer sources are reason enough to ask again for what the proxy would not give up.
        self.is_idle &= !is_touched && !self.holdings.is_any_kept();
    }

    /// Has the proxy told, by a response without content, that it has all there is for it: at once
    /// if that is so, or else after the rest.
    pub fn confirm(&mut self) {
        self.is_to_confirm = true;
    }

    /// Whether the proxy holds all there is for it, as far as it has said.
    pub fn is_current(&self) -> bool {
        self.is_idle && self.under_way.is_none() && !self.holdings.is_any_refused()
    }

    /// What is to be said next, if there is anything and the last response is answered.
    pub fn next_response(&mut self, world: &World) -> Option<DeltaDiscoveryResponse> {
        if !self.has_begun || self.under_way.is_some() {
            return None;
        }
        if self.is_idle {
            return self.confirmation(world);
        }
        if self.is_outdated {
            let (own, namespace) = (self.own.as_ref(), self.namespace.as_ref());
            self.view = world.view(own, namespace, &self.subscriptions);
            self.is_outdated = false;
        }
        let mut draft = Draft::default();
        self.add_objects(&mut draft);
        if !draft.is_full {
            self.add_answers(&mut draft);
            self.add_removals(world, &mut draft);
        }
        if draft.is_empty() {
            self.is_idle = true;
            return self.confirmation(world);
        }
        Some(self.respond(world, draft))
    }

    /// That there is nothing to say, if it is to be said and is certain.
    fn confirmation(&mut self, world: &World) -> Option<DeltaDiscoveryResponse> {
        if !self.is_to_confirm || !world.is_fully_listed() {
            return None;
        }
        self.is_to_confirm = false;
        Some(self.respond(world, Draft::default()))
    }

    fn respond(&mut self, world: &World, draft: Draft) -> DeltaDiscoveryResponse {
        let Draft { resources, sent, removed, .. } = draft;
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let removed_resources = removed.iter().map(ToString::to_string).collect();
        let source = world.source();
        self.under_way = Some(UnderWay { nonce: nonce.clone(), source, sent, removed });
        DeltaDiscoveryResponse {
            system_version_info: source.to_string(),
            resources,
            type_url: OBJECT_TYPE.to_owned(),
            nonce,
            removed_resources,
        }
    }

    /// Adds the objects that the proxy lacks, each after what it refers to.
    fn add_objects(&mut self, draft: &mut Draft) {
        for (key, object) in &self.view.objects {
            let name = ResourceName::Object(key.clone());
            let references = object.object().references();
            // What was refused may have been so for the sake of something that is better now.
            if references.iter().any(|key| draft.has(key)) {
                self.holdings.forgive(&name);
            }
            let current = Sent { version: object.version(), source: object.source() };
            if !self.holdings.lacks(&name, current) {
                continue;
            }
            if draft.bytes >= RESPONSE_BYTES {
                draft.is_full = true;
                break;
            }
            draft.add(name, current, of_object(object));
        }
        if draft.is_full {
            // Those that were not looked at, since the response was full before.
            for (key, object) in &self.view.objects {
                if object.object().references().iter().any(|key| draft.has(key)) && !draft.has(key)
                {
                    self.holdings.forgive(&ResourceName::Object(key.clone()));
                }
            }
        }
    }

    fn add_answers(&mut self, draft: &mut Draft) {
        for (subscription, answer) in &self.view.answers {
            let name = ResourceName::Answer(subscription.clone());
            let current = Sent { version: answer.version(), source: SourceVersion::default() };
            if self.holdings.lacks(&name, current) {
                draft.add(name, current, of_answer(subscription, answer));
            }
        }
        for (subscription, reason) in std::mem::take(&mut self.rejected) {
            // Not noted as sent: the subscription does not exist, so there is nothing to hold.
            draft.resources.push(of_answer(&subscription, &Answer::Refused(reason)));
        }
    }

    /// Adds what the proxy holds and no longer needs, if it is certain that it does not need it.
    fn add_removals(&self, world: &World, draft: &mut Draft) {
        if !world.is_fully_listed() {
            return;
        }
        for (name, held) in self.holdings.iter() {
            let ResourceName::Object(key) = name else { continue };
            // It would be refused again as long as the sources are no newer.
            let source = world.source();
            let is_vain = held
                .kept_against
                .is_some_and(|before| before == source || source.is_older_than(before));
            if !self.view.objects.contains_key(key) && !is_vain {
                draft.removed.push(key.clone());
            }
        }
    }

    /// The version of the object `key` that the proxy is known to hold, if it is.
    pub fn held(&self, key: &ObjectKey) -> Option<ContentHash> {
        self.holdings.version(&ResourceName::Object(key.clone()))
    }

    /// Why the proxy refuses the object `key` as it was sent last, if it does.
    pub fn refusal(&self, key: &ObjectKey) -> Option<&str> {
        self.holdings.refusal(&ResourceName::Object(key.clone()))
    }

    /// What the proxy is known to hold or to have refused, object by object.
    pub fn receipts(&self) -> impl Iterator<Item = Receipt> {
        self.holdings.iter().flat_map(|(name, held)| {
            let ResourceName::Object(key) = name else { return vec![] };
            let receipt = |version, refused| Receipt { key: key.clone(), version, refused };
            let taken = held.version.map(|version| receipt(version, None));
            let refused = held.refused.clone();
            let refused = refused.map(|(sent, reason)| receipt(sent.version, Some(reason)));
            taken.into_iter().chain(refused).collect()
        })
    }
}

/// A response that is being put together.
#[derive(Default)]
struct Draft {
    resources: Vec<Resource>,
    sent: BTreeMap<ResourceName, Sent>,
    removed: Vec<ObjectKey>,
    bytes: usize,
    is_full: bool,
}

impl Draft {
    fn add(&mut self, name: ResourceName, sent: Sent, resource: Resource) {
        self.bytes += resource.encoded_len();
        self.resources.push(resource);
        self.sent.insert(name, sent);
    }

    fn has(&self, key: &ObjectKey) -> bool {
        self.sent.contains_key(&ResourceName::Object(key.clone()))
    }

    fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }
}

/// What a client refused of a response.
struct Refused {
    each: BTreeMap<String, String>,
    all: Option<String>,
}

impl Refused {
    fn new(error: Option<Status>) -> Refused {
        let Some(Status { code: _, message, details }) = error else {
            return Refused { each: BTreeMap::new(), all: None };
        };
        let shown = |text: &str| crate::shown_within(REASON_CHARS_MAX, text);
        let read = |any: &super::message::Any| {
            let message = RefusalMessage::decode(any.value.as_slice()).ok();
            message.filter(|_| any.type_url == REFUSAL_TYPE)
        };
        let refusals = details.iter().filter_map(read);
        let each: BTreeMap<_, _> =
            refusals.map(|RefusalMessage { name, reason }| (name, shown(&reason))).collect();
        // A client that does not say what it refused has refused all of it.
        let all = each.is_empty().then(|| shown(&message));
        Refused { each, all }
    }

    fn reason(&self, name: &str) -> Option<String> {
        self.each.get(name).or(self.all.as_ref()).cloned()
    }
}
