//! The one task that follows the store: documents, addresses and leases, compiled as they change.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::poll_fn;
use std::time::Duration;

use weft_compile::Change;
use weft_crd::{AddressRange, Platform, Resource};
use weft_model::ObjectName;
use weft_store::{
    Batch, Document, DocumentKey, Event, Expectation, Filter, Item, LeaseState, StoreError, Version,
};
use weft_world::{Moment, World};

use super::addresses::Owner;
use super::leases::Fares;
use super::{Discovery, documents};
use crate::registration;

/// How long until what the disk did not take is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The longest pause between two looks at civil time, which may jump.
const LOOK: Duration = Duration::from_secs(3600);

/// How many batches are compiled together at most.
const COMMITS_MAX: usize = 1024;

/// What only the following task needs.
#[derive(Default)]
struct Follower {
    /// The documents that were seen, so that a new listing tells what is gone.
    known: BTreeSet<DocumentKey>,
    /// The Meshes: since when each is there, and its blocks.
    meshes: BTreeMap<String, (i64, AddressRange)>,
    /// Documents that cannot be read, and why.
    unreadable: BTreeMap<DocumentKey, String>,
    fares: Fares,
    /// Whether the last failure was said already.
    has_complained: bool,
}

impl Discovery {
    /// Follows the store for ever: compiles what changes, tells the proxies, gives out addresses
    /// and ends leases. To be run once, beside [`crate::serve()`], which does.
    pub async fn run(&self, world: &World) {
        let mut follower = Follower::default();
        loop {
            // A watch that fell behind is told so, and begins again with a listing.
            let Err(error) = self.follow(world, &mut follower).await;
            if !matches!(error, StoreError::Compacted { .. }) {
                crate::say!("weft control: the store cannot be followed, trying again: {error}");
                world.clock.sleep(RETRY).await;
            }
        }
    }

    async fn follow(
        &self,
        world: &World,
        follower: &mut Follower,
    ) -> Result<Infallible, StoreError> {
        let listing = self.store().list(&Filter::default())?;
        let mut watch = self.store().watch(listing.version)?;
        let present: BTreeSet<_> = listing.documents.iter().map(|it| it.key.clone()).collect();
        let gone: Vec<_> = follower.known.difference(&present).cloned().collect();
        let mut changes = Vec::new();
        for key in &gone {
            changes.extend(self.gone(follower, key));
        }
        for document in &listing.documents {
            changes.extend(self.put(follower, document));
        }
        self.release_absent(follower);
        let mut reached = listing.version;
        let mut wait = self.settle(follower, changes, reached).await?;
        self.state().set_fully_listed();
        loop {
            self.0.progress.send_replace(reached.number());
            let mut changes = Vec::new();
            let mut first = tokio::select! {
                biased;
                commit = poll_fn(|cx| watch.poll_next(cx)) => Some(commit?),
                () = self.0.stirred.notified() => None,
                () = world.clock.sleep(wait) => None,
            };
            // Values raise the version too, and no watch sees them. So this comes before the rest
            // of the commits: those up to it are then all seen.
            let version = self.store().version()?;
            let mut is_all = false;
            for _ in 0..COMMITS_MAX {
                let next = match first.take() {
                    Some(commit) => Some(commit),
                    None => watch.try_next()?,
                };
                let Some(commit) = next else {
                    is_all = true;
                    break;
                };
                for event in &commit.events {
                    changes.extend(match event {
                        Event::Put(document) => self.put(follower, document),
                        Event::Deleted(key) => self.gone(follower, key),
                        // All leases are looked at below.
                        Event::Registered(_) | Event::Deregistered(_) => None,
                    });
                }
            }
            let seen = watch.seen().max(reached);
            reached = if is_all { seen.max(version) } else { seen };
            wait = self.settle(follower, changes, reached).await?;
        }
    }

    /// Takes a document that is new or changed.
    fn put(&self, follower: &mut Follower, document: &Document) -> Option<Change> {
        let key = &document.key;
        follower.known.insert(key.clone());
        let object = match documents::read(document, self.platform()) {
            Ok(object) => object,
            Err(reason) => {
                // What it said before stays in force: to take it away might open something.
                crate::say!("weft control: {key} cannot be read, and is not in force: {reason}");
                follower.unreadable.insert(key.clone(), reason);
                return None;
            }
        };
        follower.unreadable.remove(key);
        match &object.resource {
            Resource::Mesh(mesh) => {
                let created = object.metadata().creation_timestamp;
                let created = created.map_or(i64::MAX, |created| created.unix());
                follower.meshes.insert(key.name.clone(), (created, mesh.address_range));
            }
            // Kubernetes gives Services their addresses.
            Resource::Service(_) if self.platform() == Platform::Standalone => {
                if let Some(name) = object_name(key) {
                    self.addresses().give(Owner::Service(name));
                }
            }
            Resource::Workload(workload) => {
                if let Some(name) = object_name(key) {
                    let account = workload.service_account.clone();
                    self.state().accounts.insert(name.clone(), account);
                    self.addresses().give(Owner::Workload(name));
                }
            }
            _ => {}
        }
        Some(Change::Put(object))
    }

    /// Takes a document that is gone.
    fn gone(&self, follower: &mut Follower, key: &DocumentKey) -> Option<Change> {
        follower.known.remove(key);
        follower.unreadable.remove(key);
        let crd_key = documents::crd_key(key)?;
        let wall = self.clock().wall();
        match crd_key.kind {
            weft_crd::Kind::Mesh => drop(follower.meshes.remove(&key.name)),
            weft_crd::Kind::Service => {
                if let Some(name) = object_name(key) {
                    self.addresses().release(&Owner::Service(name), wall);
                }
            }
            weft_crd::Kind::Workload => {
                if let Some(name) = object_name(key) {
                    self.state().accounts.remove(&name);
                    self.addresses().release(&Owner::Workload(name), wall);
                }
            }
            _ => {}
        }
        Some(Change::Delete(crd_key))
    }

    /// Releases what somebody had who went while nobody watched.
    fn release_absent(&self, follower: &Follower) {
        let wall = self.clock().wall();
        let mut addresses = self.addresses();
        let is_absent = |owner: &&Owner| {
            let (kind, name) = match owner {
                Owner::Service(name) => (weft_crd::Kind::Service, name),
                Owner::Workload(name) => (weft_crd::Kind::Workload, name),
            };
            let key = DocumentKey::new(kind.name(), name.namespace(), name.name());
            !follower.known.contains(&key)
        };
        let absent: Vec<_> = addresses.present().filter(is_absent).cloned().collect();
        absent.iter().for_each(|owner| addresses.release(owner, wall));
    }

    /// Gives out addresses, looks at the leases, and compiles all of it together with `changes`.
    /// Returns how long to wait for something to happen.
    async fn settle(
        &self,
        follower: &mut Follower,
        mut changes: Vec<Change>,
        revision: Version,
    ) -> Result<Duration, StoreError> {
        let mut wait = LOOK;
        // The same choice as the compiler's: the oldest, and of equally old ones the first.
        let mesh = follower.meshes.iter().min_by_key(|(name, (created, _))| (*created, *name));
        let (unsaved, owners) = {
            let mut addresses = self.addresses();
            addresses.set_range(mesh.map(|(_, (_, range))| *range));
            addresses.expire(self.clock().wall());
            addresses.unsaved()
        };
        if !unsaved.is_empty() {
            match self.write(unsaved).await {
                Ok(()) => {
                    self.addresses().saved(&owners);
                    follower.has_complained = false;
                }
                Err(error) => {
                    wait = wait.min(RETRY);
                    complain(follower, "addresses cannot be given out", &error);
                }
            }
        }
        {
            let mut addresses = self.addresses();
            changes.extend(addresses.changes());
            if let Some(expiry) = addresses.next_expiry() {
                wait = wait.min(expiry.0.saturating_sub(self.clock().wall().0).max(RETRY));
            }
        }
        let leases = self.store().leases()?;
        let now = self.clock().now();
        let live = self.state().live();
        let sweep = follower.fares.sweep(&leases, &live, now);
        changes.extend(sweep.changes);
        if let Some(next) = sweep.next {
            wait = wait.min(until(next, now));
        }
        {
            // At one stroke, so that nobody sees a resource that is neither here nor there.
            let mut state = self.state();
            state.unreadable.clone_from(&follower.unreadable);
            if !changes.is_empty() {
                state.update(changes, revision.number(), now);
            }
        }
        for name in sweep.expired {
            if let Err(error) = self.expire(&name).await {
                wait = wait.min(RETRY);
                complain(follower, "a registration cannot be ended", &error);
            }
        }
        Ok(wait)
    }

    /// Ends the registration of `name`, and takes its Workload away unless somebody has made it
    /// theirs.
    async fn expire(&self, name: &ObjectName) -> Result<(), StoreError> {
        let (now, text) = (self.clock().now(), name.to_string());
        let leases = self.store().leases()?;
        let lease = leases.into_iter().find(|lease| lease.registration.name == text);
        // It may have come back since it was looked at.
        if lease.is_none_or(|lease| lease.state(now) != LeaseState::Expired) {
            return Ok(());
        }
        let key = registration::workload_key(name);
        let mut items = vec![Item::deregister(text)];
        if let Some(document) = self.store().get(&key)?
            && registration::registered_by(&document).is_some()
        {
            items.push(Item::delete(key).expecting(Expectation::Version(document.version)));
        }
        self.write(items).await
    }

    /// Writes where waiting for the disk holds up nobody.
    async fn write(&self, items: Vec<Item>) -> Result<(), StoreError> {
        let batch = Batch { now: self.clock().now(), wall: self.clock().wall(), items };
        let store = self.store().clone();
        crate::routes::blocking(move || store.apply(batch).map(drop)).await
    }
}

fn complain(follower: &mut Follower, what: &str, error: &StoreError) {
    if !std::mem::replace(&mut follower.has_complained, true) {
        crate::say!("weft control: {what}, trying again: {error}");
    }
}

/// The time from `now` to `next`, with a little more, so that it is certainly over then.
fn until(next: Moment, now: Moment) -> Duration {
    next.since(now).max(Duration::from_millis(1))
}

fn object_name(key: &DocumentKey) -> Option<ObjectName> {
    ObjectName::new(&key.namespace, &key.name).ok()
}
