//! What the control plane knows at one moment: what was compiled, and who holds what of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Notify;
use weft_compile::{Change, Compiler, Options, Update};
use weft_crd::Platform;
use weft_identity::PeerFacts;
use weft_model::{ContentHash, Namespace, ObjectName};
use weft_store::DocumentKey;
use weft_wire::discovery::message::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use weft_wire::discovery::{
    SUBSCRIPTIONS_MAX, ServerStream, StreamError, Subscription, Touched, World,
};
use weft_wire::{Object, ObjectKey, SourceVersion, WireObject};
use weft_world::Moment;

/// How many streams there may be, as many as a large mesh has proxies; and how many of them of one
/// service account, so that one of these cannot keep the others out.
const STREAMS_MAX: usize = 20_000;
const STREAMS_OF_ONE_MAX: usize = 4_000;

/// What the control plane knows at one moment.
pub(crate) struct State {
    pub(crate) compiler: Compiler,
    pub(crate) world: World,
    pub(crate) source: SourceVersion,
    /// Since when each object has its present version.
    pub(crate) made: BTreeMap<ObjectKey, Moment>,
    /// The service account of each workload that somebody wrote down or registered.
    pub(crate) accounts: BTreeMap<ObjectName, String>,
    /// Documents that cannot be read, and why.
    pub(crate) unreadable: BTreeMap<DocumentKey, String>,
    pub(crate) proxies: BTreeMap<u64, Proxy>,
    /// How many streams there have been.
    pub(crate) seats: u64,
}

/// A proxy with a stream.
pub(crate) struct Proxy {
    /// Its workload.
    pub(crate) own: Option<ObjectName>,
    /// Which instance of that it is of, if it says so.
    pub(crate) generation: Option<u64>,
    /// The certificate that opened its stream.
    pub(crate) facts: PeerFacts,
    /// The version of its program, in its own words.
    pub(crate) version: String,
    /// Since when.
    pub(crate) connected: Moment,
    /// When it said something last.
    pub(crate) heard: Moment,
    /// When it was last known to hold all there was for it.
    pub(crate) confirmed: Option<Moment>,
    pub(crate) stream: ServerStream,
    /// What it is subscribed to, as its stream counts them.
    pub(crate) subscriptions: BTreeSet<Subscription>,
    /// Told when there may be something to say to it.
    pub(crate) wake: Arc<Notify>,
}

/// The workloads whose proxies are connected, and of which instance each is, if it said so.
#[derive(Debug, Default)]
pub(crate) struct Live(pub(crate) BTreeSet<(ObjectName, Option<u64>)>);

impl Live {
    /// Whether the proxy of the instance `generation` of `workload` is there. Without a number it
    /// is not known which one is meant, and any will do.
    pub(crate) fn has(&self, workload: &ObjectName, generation: Option<u64>) -> bool {
        let is_it = |found: &Option<u64>| generation.is_none_or(|it| found.is_none_or(|f| f == it));
        let of_it = (workload.clone(), None)..=(workload.clone(), Some(u64::MAX));
        self.0.range(of_it).any(|(_, found)| is_it(found))
    }
}

impl State {
    /// Nothing but the number by which this start is known.
    pub(crate) fn new(epoch: u64, platform: Platform) -> State {
        State {
            compiler: Compiler::new(Options { platform, ..Options::default() }),
            world: World::new(),
            source: SourceVersion { epoch, revision: 0 },
            made: BTreeMap::new(),
            accounts: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            proxies: BTreeMap::new(),
            seats: 0,
        }
    }

    /// Takes changes of the resources, after which the store is at `revision`.
    pub(crate) fn update(&mut self, changes: Vec<Change>, revision: u64, now: Moment) {
        self.source.revision = self.source.revision.max(revision);
        let Update { changed, removed, statuses: _ } = self.compiler.update(changes, self.source);
        self.apply(changed, removed, now);
    }

    /// Puts an object in force that no resource leads to, if it is not the one there is.
    pub(crate) fn put(&mut self, object: Object, now: Moment) -> Result<(), String> {
        let object = WireObject::new(object, self.source).map_err(|error| error.to_string())?;
        let before = self.world.get(object.key()).map(|before| before.version());
        if before != Some(object.version()) {
            self.apply(vec![object], vec![], now);
        }
        Ok(())
    }

    fn apply(&mut self, changed: Vec<Arc<WireObject>>, removed: Vec<ObjectKey>, now: Moment) {
        for object in &changed {
            self.made.insert(object.key().clone(), now);
        }
        for key in &removed {
            self.made.remove(key);
        }
        let touched = self.world.apply(changed, removed, self.source);
        self.tell(&touched);
    }

    /// Says that all sources were read to their end.
    pub(crate) fn set_fully_listed(&mut self) {
        let touched = self.world.set_fully_listed();
        self.tell(&touched);
    }

    fn tell(&mut self, touched: &Touched) {
        for proxy in self.proxies.values_mut() {
            proxy.stream.on_change(touched);
            // Those that it does not concern find that out at once.
            proxy.wake.notify_one();
        }
    }

    /// Lets all proxies look whether they may stay.
    pub(crate) fn wake_all(&self) {
        self.proxies.values().for_each(|proxy| proxy.wake.notify_one());
    }

    /// A seat for a proxy, to be given back; why there is none, if there is none.
    pub(crate) fn seat(
        &mut self,
        own: Option<ObjectName>,
        generation: Option<u64>,
        facts: PeerFacts,
        version: String,
        now: Moment,
    ) -> Result<(u64, Arc<Notify>), String> {
        let of_one =
            self.proxies.values().filter(|proxy| proxy.facts.identity == facts.identity).count();
        if self.proxies.len() >= STREAMS_MAX {
            return Err(format!("{STREAMS_MAX} streams are open, which is the most"));
        }
        if of_one >= STREAMS_OF_ONE_MAX {
            return Err(format!("{STREAMS_OF_ONE_MAX} streams of {} are the most", facts.identity));
        }
        self.seats += 1;
        let wake = Arc::new(Notify::new());
        let namespace = facts.identity.service_account().own_namespace();
        let proxy = Proxy {
            own: own.clone(),
            generation,
            facts,
            version,
            connected: now,
            heard: now,
            confirmed: None,
            stream: ServerStream::new(own).of_namespace(namespace),
            subscriptions: BTreeSet::new(),
            wake: Arc::clone(&wake),
        };
        self.proxies.insert(self.seats, proxy);
        Ok((self.seats, wake))
    }

    /// Takes what a proxy says.
    pub(crate) fn on_request(
        &mut self,
        seat: u64,
        request: DeltaDiscoveryRequest,
        now: Moment,
    ) -> Result<(), StreamError> {
        let Some(proxy) = self.proxies.get_mut(&seat) else { return Ok(()) };
        proxy.heard = now;
        for text in &request.resource_names_unsubscribe {
            if let Ok(subscription) = text.parse() {
                proxy.subscriptions.remove(&subscription);
            }
        }
        for text in &request.resource_names_subscribe {
            if proxy.subscriptions.len() < SUBSCRIPTIONS_MAX
                && let Ok(subscription) = text.parse()
            {
                proxy.subscriptions.insert(subscription);
            }
        }
        // Who holds what is read from the stream's own books when somebody asks.
        proxy.stream.on_request(request).map(drop)
    }

    /// What is to be said to a proxy next.
    pub(crate) fn next_response(&mut self, seat: u64) -> Option<DeltaDiscoveryResponse> {
        let proxy = self.proxies.get_mut(&seat)?;
        let response = proxy.stream.next_response(&self.world);
        if proxy.confirmed != Some(proxy.heard) && proxy.stream.is_current() {
            proxy.confirmed = Some(proxy.heard);
        }
        response
    }

    /// Has a proxy asked for a sign that it holds all there is for it.
    pub(crate) fn confirm(&mut self, seat: u64) {
        if let Some(proxy) = self.proxies.get_mut(&seat) {
            proxy.stream.confirm();
        }
    }

    /// Why the workload `own` is not one of the service account `account`, if it is known not to
    /// be.
    pub(crate) fn against(&self, own: &ObjectName, account: &ObjectName) -> Option<String> {
        if own.namespace() != account.namespace() {
            return Some(format!(
                "the certificate is of the service account {account}, and the workload {own} is of \
                 another namespace: name a workload of {}",
                account.namespace()
            ));
        }
        let found = self.accounts.get(own).filter(|found| *found != account.name())?;
        Some(format!(
            "the certificate is of the service account {account}, and the workload {own} runs as \
             {}/{found}: use a certificate of that service account, or another name",
            own.namespace()
        ))
    }

    /// The workloads whose proxies are connected.
    pub(crate) fn live(&self) -> Live {
        let own = |proxy: &Proxy| Some((proxy.own.clone()?, proxy.generation));
        Live(self.proxies.values().filter_map(own).collect())
    }

    /// The versions of what `proxy` is to hold.
    pub(crate) fn due(&self, proxy: &Proxy) -> BTreeMap<ObjectKey, ContentHash> {
        let namespace = proxy.facts.identity.service_account().own_namespace();
        self.leads(proxy.own.as_ref(), Some(&namespace), &proxy.subscriptions)
    }

    /// The versions of what the proxy of `own` is to hold, whatever that calls.
    pub(crate) fn due_itself(&self, own: &ObjectName) -> BTreeMap<ObjectKey, ContentHash> {
        self.leads(Some(own), None, &BTreeSet::from([Subscription::SelfWorkload]))
    }

    fn leads(
        &self,
        own: Option<&ObjectName>,
        namespace: Option<&Namespace>,
        subscriptions: &BTreeSet<Subscription>,
    ) -> BTreeMap<ObjectKey, ContentHash> {
        let view = self.world.view(own, namespace, subscriptions);
        view.objects().map(|object| (object.key().clone(), object.version())).collect()
    }
}
