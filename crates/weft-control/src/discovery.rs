//! The control plane's side of discovery: what the store holds, compiled, for every proxy that
//! asks.
//!
//! One task follows the store ([`Discovery::run`]); each stream is served by itself and looks at
//! the common [`state`]. A stream has no queue: a proxy that is slow is sent the latest state when
//! it is ready for it.

pub(crate) mod addresses;
pub(crate) mod documents;
mod follow;
pub(crate) mod leases;
pub(crate) mod state;
pub(crate) mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::{Notify, watch};
use weft_compile::{Change, Status};
use weft_crd::Platform;
use weft_identity::{Serial, TrustSlot};
use weft_store::{Batch, DocumentKey, Expectation, Filter, Item, Store, StoreError};
use weft_wire::{Object, ObjectKey};
use weft_world::{Clock, World};

use self::addresses::Addresses;
use self::state::State;
use crate::ca::Ca;

/// How many reasons for which proxies refuse what is trusted are told.
const REFUSALS_MAX: usize = 4;

/// The name of the Mesh that is made where there is none.
const MESH: &str = "mesh";

/// Why discovery cannot begin.
#[derive(Debug, Error)]
pub enum DiscoveryError {
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds what this version cannot read.
    #[error("the store's value {0} is malformed: restore the store from a backup")]
    Value(String),
    /// No Mesh can be made.
    #[error("no Mesh can be made for the trust domain: {0}")]
    Mesh(String),
    /// The trust bundle cannot be sent to proxies.
    #[error("the trust bundle cannot be sent to proxies: {0}")]
    Trust(String),
}

/// What the store holds, compiled, and the proxies that it is told to. Cheap to clone.
#[derive(Clone)]
pub struct Discovery(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    ca: Ca,
    clock: Arc<dyn Clock + Send + Sync>,
    /// Where the resources live.
    platform: Platform,
    state: Mutex<State>,
    addresses: Mutex<Addresses>,
    /// Told when the leases are to be looked at.
    stirred: Notify,
    /// The version of the store up to which everything was compiled.
    progress: watch::Sender<u64>,
}

impl Discovery {
    /// Discovery over `store`, whose resources come from `platform`, and which gets a Mesh of the
    /// trust domain of `ca` if it has none.
    ///
    /// Moments are those of `clock`; it must be the one by which the store is written to.
    ///
    /// # Errors
    /// [`DiscoveryError`].
    pub fn open(
        world: &World,
        clock: Arc<dyn Clock + Send + Sync>,
        store: Arc<dyn Store>,
        ca: Ca,
        platform: Platform,
    ) -> Result<Discovery, DiscoveryError> {
        make_mesh(&*store, ca.trust(), &*clock)?;
        let (addresses, unreadable) = Addresses::load(&store.list_values(addresses::PREFIX)?);
        if let Some(name) = unreadable.into_iter().next() {
            // Its addresses would be given to somebody else.
            return Err(DiscoveryError::Value(name));
        }
        // A store does not know whether it is an older copy of itself. So no proxy compares what it
        // was told before this start with what it is told from now on.
        let mut state = State::new(world.entropy.next(), platform);
        state.source.revision = store.version()?.number();
        let (progress, _) = watch::channel(0);
        let discovery = Discovery(Arc::new(Inner {
            store,
            ca,
            clock,
            platform,
            state: Mutex::new(state),
            addresses: Mutex::new(addresses),
            stirred: Notify::new(),
            progress,
        }));
        discovery.renew_trust()?;
        Ok(discovery)
    }

    /// Tells all proxies what is trusted now. To be called whenever the trust has changed; streams
    /// of those who are not trusted any more end.
    ///
    /// # Errors
    /// [`DiscoveryError::Trust`]; proxies keep the trust that they have.
    pub fn renew_trust(&self) -> Result<(), DiscoveryError> {
        let trust = {
            let trust = self.0.ca.trust().load();
            trust.bundle().to_model().map_err(|error| DiscoveryError::Trust(error.to_string()))?
        };
        let mut state = self.state();
        let put = state.put(Object::Trust(Arc::new(trust)), self.0.clock.now());
        state.wake_all();
        put.map_err(DiscoveryError::Trust)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock stops half-way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who refuses what is trusted, and why, if somebody does: one for each reason, the latest
    /// first, since a proxy that was shut out may not hold what did so.
    pub(crate) fn trust_refusal(&self) -> Option<String> {
        let domain = self.0.ca.trust().load().bundle().trust_domain().clone();
        let key = ObjectKey::Trust(domain);
        let state = self.state();
        let refusals = state.proxies.values().filter_map(|it| Some((it.stream.refusal(&key)?, it)));
        let by_reason: BTreeMap<_, _> = refusals.collect();
        let texts = by_reason.into_iter().rev().take(REFUSALS_MAX).map(|(reason, proxy)| {
            let own = proxy.own.as_ref().map_or_else(String::new, |own| format!(" of {own}"));
            let identity = &proxy.facts.identity;
            format!("the proxy{own}, {identity}, does not take the trust bundle: {reason}")
        });
        texts.reduce(|one, next| one + "; " + &next)
    }

    /// How many streams there have been, and the certificates of those that there are.
    pub(crate) fn seats(&self) -> (u64, Vec<Serial>) {
        let state = self.state();
        (state.seats, state.proxies.values().map(|proxy| proxy.facts.serial).collect())
    }

    pub(crate) fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    pub(crate) fn ca(&self) -> &Ca {
        &self.0.ca
    }

    pub(crate) fn platform(&self) -> Platform {
        self.0.platform
    }

    pub(crate) fn clock(&self) -> &(dyn Clock + Send + Sync) {
        &*self.0.clock
    }

    /// Has the leases looked at.
    pub(crate) fn stir(&self) {
        self.0.stirred.notify_one();
    }

    /// Ready once everything up to `version` of the store was compiled and told.
    pub(crate) async fn caught_up(&self, version: u64) {
        let mut progress = self.0.progress.subscribe();
        if *progress.borrow_and_update() < version {
            // What raised the version may be something that nobody watches.
            self.stir();
        }
        // It ends early only together with the whole control plane.
        drop(progress.wait_for(|reached| *reached >= version).await);
    }

    /// What becomes of each of `objects` once all of them are there, beside all that is there now.
    pub(crate) fn foresee(
        &self,
        objects: impl Iterator<Item = Arc<weft_crd::Object>>,
    ) -> Vec<Option<Status>> {
        let (mut compiler, source) = {
            let state = self.state();
            (state.compiler.clone(), state.source)
        };
        let objects: Vec<_> = objects.collect();
        compiler.update(objects.iter().cloned().map(Change::Put), source);
        let found: BTreeMap<_, _> =
            compiler.statuses().map(|status| (&status.key, status)).collect();
        objects.iter().map(|object| found.get(&object.key()).copied().cloned()).collect()
    }
}

/// Makes the Mesh, if there is none, so that nobody has to.
fn make_mesh(
    store: &dyn Store,
    trust: &TrustSlot,
    clock: &dyn Clock,
) -> Result<(), DiscoveryError> {
    let filter = Filter { kind: Some(weft_crd::Kind::Mesh.name().to_owned()), namespace: None };
    if !store.list(&filter)?.documents.is_empty() {
        return Ok(());
    }
    let domain = trust.load().bundle().trust_domain().to_string();
    let object = serde_json::json!({
        "apiVersion": weft_crd::Kind::Mesh.api_version(),
        "kind": weft_crd::Kind::Mesh.name(),
        "metadata": { "name": MESH },
        "spec": { "trustDomain": domain },
    });
    let text = documents::written(&object).map_err(DiscoveryError::Mesh)?;
    let key = DocumentKey::new(weft_crd::Kind::Mesh.name(), "", MESH);
    let item = Item::put(key, text.into_bytes()).expecting(Expectation::Absent);
    store.apply(Batch { now: clock.now(), wall: clock.wall(), items: vec![item] })?;
    Ok(())
}
