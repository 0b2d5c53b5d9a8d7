//! What Kubernetes' API server has, kept in the store like resources that were applied.
//!
//! Documents of a kind that is followed have this one writer. While the API server is away they
//! stay as they were; its next list says what is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use weft_crd::Kind;
use weft_kube::{Cluster, Event, Found, follow};
use weft_store::{Batch, DocumentKey, Filter, Item, Store, StoreError};
use weft_world::{Clock, World};

/// The kinds that are followed. Workloads are registered with the control plane itself.
pub const MIRRORED: [Kind; 13] = [
    Kind::Mesh,
    Kind::Service,
    Kind::Pod,
    Kind::ExternalService,
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::TlsRoute,
    Kind::TcpRoute,
    Kind::BackendPolicy,
    Kind::BackendTlsPolicy,
    Kind::AuthorizationPolicy,
    Kind::FaultPolicy,
    Kind::ConfigMap,
];

/// How many events are written together at most.
const EVENTS_MAX: usize = 512;

/// How long until what the disk did not take is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps what an API server has in a store.
pub struct Mirror {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock + Send + Sync>,
    /// The lists that have begun and not ended, each with what was in it so far.
    lists: BTreeMap<Kind, BTreeSet<DocumentKey>>,
    /// What was last said of a kind.
    said: BTreeMap<Kind, String>,
    /// The kinds of which it is not known yet what there is.
    unknown: BTreeSet<Kind>,
}

impl Mirror {
    /// Nothing is done before [`Mirror::run`]. Moments are those of `clock`, by which `store` is
    /// written to.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock + Send + Sync>) -> Mirror {
        let (lists, said) = Default::default();
        Mirror { store, clock, lists, said, unknown: MIRRORED.into() }
    }

    /// Follows `cluster` for ever. `is_known` is called once the store has all there is: before
    /// that, what is not in it may well be there, and nobody may be told otherwise.
    pub async fn run(mut self, world: &World, cluster: &Cluster, is_known: impl FnOnce()) {
        let mut is_known = Some(is_known);
        let of_kind = |kind: Kind| -> BoxStream<'static, (Kind, Event)> {
            follow(cluster, kind).map(move |event| (kind, event)).boxed()
        };
        let all = stream::select_all(MIRRORED.map(of_kind));
        let mut chunks = all.ready_chunks(EVENTS_MAX);
        while let Some(events) = chunks.next().await {
            while let Err(error) = self.take(&events) {
                crate::say!("weft control: what Kubernetes has cannot be kept: {error}");
                world.clock.sleep(RETRY).await;
            }
            if self.unknown.is_empty()
                && let Some(is_known) = is_known.take()
            {
                is_known();
            }
        }
    }

    /// Writes what `events` say. Where that fails they can be given again.
    ///
    /// # Errors
    /// If the store does not take it.
    fn take(&mut self, events: &[(Kind, Event)]) -> Result<(), StoreError> {
        // The last word on each counts.
        let mut items: BTreeMap<DocumentKey, Option<&str>> = BTreeMap::new();
        let mut lists = self.lists.clone();
        for (kind, event) in events {
            let key = |namespace: &str, name: &str| DocumentKey::new(kind.name(), namespace, name);
            match event {
                Event::Listing => drop(lists.insert(*kind, BTreeSet::new())),
                Event::Put(Found { namespace, name, text }) => {
                    let key = key(namespace, name);
                    if let Some(list) = lists.get_mut(kind) {
                        list.insert(key.clone());
                    }
                    items.insert(key, Some(text));
                }
                Event::Gone(namespace, name) => {
                    items.insert(key(namespace, name), None);
                }
                Event::Listed => {
                    let Some(listed) = lists.remove(kind) else { continue };
                    // The Mesh that was made here stays until there is another.
                    if *kind == Kind::Mesh && listed.is_empty() {
                        continue;
                    }
                    let filter = Filter { kind: Some(kind.name().to_owned()), namespace: None };
                    let kept = self.store.list(&filter)?.documents.into_iter();
                    let gone = kept.map(|it| it.key).filter(|key| !listed.contains(key));
                    for key in gone {
                        items.entry(key).or_insert(None);
                    }
                    self.say(*kind, "");
                }
                Event::NotServed => {
                    self.say(*kind, &format!("it does not know {kind} of {}", kind.api_version()))
                }
                Event::Failed(why) => self.say(*kind, &format!("{kind}: {why}")),
            }
        }
        let items = items.into_iter().map(|(key, text)| match text {
            Some(text) => Item::put(key, text.as_bytes()),
            None => Item::delete(key),
        });
        let items: Vec<_> = items.collect();
        if !items.is_empty() {
            let (now, wall) = (self.clock.now(), self.clock.wall());
            self.store.apply(Batch { now, wall, items })?;
        }
        self.lists = lists;
        let is_answer = |event: &Event| matches!(event, Event::Listed | Event::NotServed);
        for (kind, _) in events.iter().filter(|(_, event)| is_answer(event)) {
            self.unknown.remove(kind);
        }
        Ok(())
    }

    /// Says `what` of `kind`, unless that was said last.
    fn say(&mut self, kind: Kind, what: &str) {
        let before = self.said.insert(kind, what.to_owned()).unwrap_or_default();
        if !what.is_empty() && before != what {
            crate::say!("weft control: Kubernetes: {what}");
        }
    }
}

#[cfg(test)]
mod tests;
