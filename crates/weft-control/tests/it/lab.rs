//! A control plane, and proxies that subscribe to it, all on one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use weft_control::api::{
    ApplyRequest, RegisterRequest, RegisterResponse, RegisteredPort, SourceFile, TokenRequest,
};
use weft_control::{
    Api, Ask, Ca, ConnectionState, Discovery, Issuer, Joiner, Keys, Observer, Resources,
    STATE_FILE, Subscriber, serve,
};
use weft_identity::{
    Authority, AuthorityError, AuthorityFiles, ControlAddress, ControlKey, Credentials, JoinToken,
    SvidSlot,
};
use weft_model::{ObjectName, Workload};
use weft_store::{LocalStore, Options, Store};
use weft_wire::discovery::{Client, Lookup, Outcome, Subscription};
use weft_wire::{Feature, Object, ObjectKey, Release};
use weft_world::{Clock, ListenerOptions, UnixTime, World};

use crate::clock::TestClock;

/// The most that a test waits for anything, in real time: no test takes so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `test` on a thread of the kind that control planes and proxies have.
pub fn run(test: impl Future<Output = ()>) {
    run_for(PATIENCE, test);
}

/// The same for a test that may take longer.
pub fn run_for(patience: Duration, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let out_of_patience = weft_net::world().clock.sleep(patience);
        tokio::select! {
            biased;
            () = test => {}
            () = out_of_patience => panic!("it did not happen in {patience:?}"),
        }
    });
}

/// Waits until `holds` says so. What it waits for happens on this thread or the blocking ones.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = weft_net::world().clock;
    let mut looks = 0;
    while !holds() {
        looks += 1;
        assert!(looks < 20_000, "waited in vain: {what}");
        clock.sleep(Duration::from_millis(1)).await;
    }
}

/// Where the files of a lab are; they go away with it.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The keys of authorities, in a directory.
struct KeyFiles(PathBuf);

impl Keys for KeyFiles {
    fn make(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError> {
        self.open(generation, now)
    }

    fn open(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError> {
        let (files, domain) = (weft_net::world().files, "weft.local".parse().unwrap());
        AuthorityFiles::new(&self.0, generation).open(&*files, &domain, now)
    }

    fn renew(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError> {
        let (files, domain) = (weft_net::world().files, "weft.local".parse().unwrap());
        AuthorityFiles::new(&self.0, generation).renew(&*files, &domain, now)
    }

    fn destroy(&self, generation: u32) -> Result<(), AuthorityError> {
        for path in AuthorityFiles::new(&self.0, generation).secrets() {
            std::fs::remove_file(path).unwrap();
        }
        Ok(())
    }

    fn recall(&self) -> Result<Option<Vec<u8>>, AuthorityError> {
        Ok(std::fs::read(self.0.join(STATE_FILE)).ok())
    }

    fn remember(&self, state: &[u8]) -> Result<(), AuthorityError> {
        std::fs::write(self.0.join(STATE_FILE), state).unwrap();
        Ok(())
    }
}

/// A control plane that can be stopped and started again.
pub struct Lab {
    pub clock: TestClock,
    pub world: World,
    pub address: SocketAddr,
    pub key: Rc<ControlKey>,
    directory: Directory,
    running: Option<Running>,
}

struct Running {
    store: Arc<LocalStore>,
    resources: Resources,
    issuer: Issuer,
    discovery: Discovery,
    task: JoinHandle<()>,
}

impl Lab {
    pub async fn start() -> Lab {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weft-discovery-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let clock = TestClock::new();
        let world = World { clock: Rc::new(clock.clone()), ..weft_net::world() };
        let mut lab = Lab {
            clock,
            world,
            address: "127.0.0.1:0".parse().unwrap(),
            key: Rc::new(ControlKey::generate().unwrap()),
            directory: Directory(path),
            running: None,
        };
        lab.restart().await;
        lab
    }

    /// Stops the control plane if it runs, and starts it on what it left.
    pub async fn restart(&mut self) {
        self.stop().await;
        let options = Options::at(self.clock.now());
        let path = self.directory.0.join("store.redb");
        let store = Arc::new(LocalStore::open(path, &options).unwrap());
        let listener = self.world.network.listen(self.address, ListenerOptions::default()).unwrap();
        self.address = listener.local_address();
        let clock: Arc<dyn Clock + Send + Sync> = Arc::new(self.clock.clone());
        let keys = Arc::new(KeyFiles(self.directory.0.clone()));
        let domain = "weft.local".parse().unwrap();
        let ca = Ca::open(store.clone(), keys, clock.clone(), domain).unwrap();
        let discovery = Discovery::open(
            &self.world,
            clock.clone(),
            store.clone(),
            ca.clone(),
            weft_crd::Platform::Standalone,
        )
        .unwrap();
        let issuer = Issuer {
            store: store.clone(),
            ca,
            address: self.address.to_string().parse().unwrap(),
            control_key: self.key.hash(),
        };
        let resources = Resources::new(
            store.clone(),
            weft_crd::Options::default(),
            "weft.local".parse().unwrap(),
        );
        let api = Api {
            resources: resources.clone(),
            issuer: issuer.clone(),
            discovery: discovery.clone(),
            admins: Arc::new([]),
            clock,
        };
        let (world, key) = (self.world.clone(), self.key.clone());
        let task = tokio::task::spawn_local(async move {
            serve(world, &key, api, listener).await.unwrap();
        });
        self.running = Some(Running { store, resources, issuer, discovery, task });
    }

    /// Stops the control plane as if its process had ended.
    pub async fn stop(&mut self) {
        let Some(Running { store, resources, issuer, discovery, task }) = self.running.take()
        else {
            return;
        };
        drop((resources, issuer, discovery));
        task.abort();
        drop(task.await);
        // Streams end when they find that their connections are gone.
        until("the streams end", || Arc::strong_count(&store) == 1).await;
    }

    /// Lets time pass in small `steps` until `future` is ready, as fast as things happen.
    pub async fn passing<T>(&self, steps: Duration, future: impl Future<Output = T>) -> T {
        let passing = async {
            loop {
                self.clock.advance(steps);
                weft_net::world().clock.sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            biased;
            output = future => output,
            () = passing => unreachable!("it has no end"),
        }
    }

    /// Where files may be put.
    pub fn directory(&self) -> &Path {
        &self.directory.0
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn ca(&self) -> &Ca {
        &self.running().issuer.ca
    }

    pub fn discovery(&self) -> &Discovery {
        &self.running().discovery
    }

    pub fn store(&self) -> &Arc<LocalStore> {
        &self.running().store
    }

    /// Applies resources, and returns the store's version after that.
    pub fn apply(&self, text: &str) {
        let file = SourceFile { name: "test.yaml".to_owned(), text: text.to_owned() };
        let request = ApplyRequest { files: vec![file], namespace: None, dry_run: false };
        self.running().resources.apply(&request, self.clock.now(), self.clock.wall()).unwrap();
    }

    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let key = weft_control::api::ObjectKey {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let resources = &self.running().resources;
        resources.delete(&key, None, self.clock.now(), self.clock.wall()).unwrap();
    }

    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<String> {
        let key = weft_store::DocumentKey::new(kind, namespace, name);
        let document = self.store().get(&key).unwrap()?;
        Some(String::from_utf8(document.text.to_vec()).unwrap())
    }

    /// Joins as `account`, to serve `services`.
    pub async fn join(&self, account: &str, services: &[&str]) -> (Joiner, Credentials) {
        let services: Vec<ObjectName> =
            services.iter().map(|service| service.parse().unwrap()).collect();
        let request = TokenRequest {
            service_account: account.to_owned(),
            services: services.iter().map(ToString::to_string).collect(),
            uses: 1,
            lifetime_seconds: 60,
        };
        let issuer = &self.running().issuer;
        let made = issuer.token(&request, self.clock.now(), self.clock.wall()).unwrap();
        let token = JoinToken::parse(&made.token).unwrap();
        let joiner = Joiner::new(self.world.clone(), token, account.parse().unwrap(), services);
        let credentials = joiner.join().await.unwrap();
        (joiner, credentials)
    }

    /// A proxy of `account`, whose workload is called `name`.
    pub async fn proxy(&self, account: &str, name: &str) -> ProxyBuilder {
        let (joiner, credentials) = self.join(account, &[]).await;
        self.with_credentials(&joiner, &credentials, name)
    }

    pub fn with_credentials(
        &self,
        joiner: &Joiner,
        credentials: &Credentials,
        name: &str,
    ) -> ProxyBuilder {
        ProxyBuilder {
            // Proxies live in real time: whatever a test does to that of the control plane, they
            // come back by themselves.
            world: weft_net::world(),
            control_plane: joiner.control_plane(),
            svid: SvidSlot::with(&credentials.svid),
            register: None,
            client: Client::new(name, release("test", Feature::ALL)),
        }
    }
}

/// A release called `version` that has these features.
pub fn release(version: &str, features: impl IntoIterator<Item = Feature>) -> Release {
    let features = features.into_iter().collect();
    Release { version: version.to_owned(), features, ..Release::this() }
}

/// A proxy that is not started yet.
pub struct ProxyBuilder {
    world: World,
    control_plane: weft_control::ControlPlane,
    svid: SvidSlot,
    register: Option<RegisterRequest>,
    client: Client,
}

impl ProxyBuilder {
    /// Of this release, and with nothing that it holds.
    pub fn of(mut self, name: &str, release: Release) -> ProxyBuilder {
        self.client = Client::new(name, release);
        self
    }

    pub fn registering(mut self, request: RegisterRequest) -> ProxyBuilder {
        self.client = self.client.of_generation(request.generation);
        self.register = Some(request);
        self
    }

    /// Tries `addresses` before the one that is right, in the time of `lab`.
    pub fn trying(mut self, lab: &Lab, mut addresses: Vec<ControlAddress>) -> ProxyBuilder {
        self.world = lab.world.clone();
        addresses.append(&mut self.control_plane.addresses);
        self.control_plane.addresses = addresses;
        self
    }

    /// Knows the control plane at `address` only, and lives in the time of `lab`.
    pub fn only(mut self, lab: &Lab, address: ControlAddress) -> ProxyBuilder {
        self.world = lab.world.clone();
        self.control_plane.addresses = vec![address];
        self
    }

    pub fn holding(mut self, saved: &[u8]) -> ProxyBuilder {
        assert_eq!(self.client.restore(saved, self.world.clock.now()).unwrap(), []);
        self
    }

    pub fn start(self) -> Proxy {
        let ProxyBuilder { world, control_plane, svid, register, client } = self;
        let subscriber = Subscriber::new(world, control_plane, svid, register, client);
        let seen = Rc::new(Seen::default());
        let (asks, receiver) = mpsc::channel(16);
        let mut observer = Watcher(seen.clone());
        let task = tokio::task::spawn_local(async move {
            subscriber.run(receiver, &mut observer).await;
        });
        Proxy { seen, asks, task }
    }
}

/// What a proxy learnt.
#[derive(Default)]
pub struct Seen {
    pub objects: RefCell<BTreeMap<ObjectKey, Object>>,
    pub responses: Cell<u32>,
    /// Whether the control plane has said everything on this stream.
    pub is_complete: Cell<bool>,
    pub removed: RefCell<Vec<ObjectKey>>,
    pub states: RefCell<Vec<ConnectionState>>,
    pub registered: RefCell<Vec<RegisterResponse>>,
    pub saved: RefCell<Vec<u8>>,
    /// Objects that the proxy cannot use.
    pub unusable: RefCell<Vec<ObjectKey>>,
    changed: Notify,
}

struct Watcher(Rc<Seen>);

impl Observer for Watcher {
    fn check(&self, object: &Object) -> Result<(), String> {
        match self.0.unusable.borrow().contains(&object.key()) {
            true => Err("this proxy does not like it".to_owned()),
            false => Ok(()),
        }
    }

    fn changed(&mut self, client: &Client, outcome: &Outcome) {
        let Watcher(seen) = self;
        let objects = client.objects().map(|it| (it.key().clone(), it.object().clone()));
        *seen.objects.borrow_mut() = objects.collect();
        seen.responses.set(seen.responses.get() + 1);
        seen.is_complete.set(client.is_complete());
        seen.removed.borrow_mut().extend(outcome.removed.iter().cloned());
        *seen.saved.borrow_mut() = client.save();
        seen.changed.notify_one();
    }

    fn connection(&mut self, state: ConnectionState) {
        self.0.states.borrow_mut().push(state);
        self.0.changed.notify_one();
    }

    fn registered(&mut self, response: &RegisterResponse) {
        self.0.registered.borrow_mut().push(response.clone());
        self.0.changed.notify_one();
    }
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    pub seen: Rc<Seen>,
    pub asks: mpsc::Sender<Ask>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Waits until what it learnt is as `holds` says.
    pub async fn until(&self, holds: impl Fn(&Seen) -> bool) {
        while !holds(&self.seen) {
            self.seen.changed.notified().await;
        }
    }

    pub async fn look(&self, subscription: &str) -> Lookup {
        self.asked(subscription).await.await.unwrap()
    }

    /// Asks for `subscription`, without waiting for the answer.
    pub async fn asked(&self, subscription: &str) -> oneshot::Receiver<Lookup> {
        let subscription: Subscription = subscription.parse().unwrap();
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Look { subscription, reply }).await.unwrap();
        answer
    }

    pub async fn leave(&self) -> Result<(), String> {
        let (done, told) = oneshot::channel();
        self.asks.send(Ask::Leave { done }).await.unwrap();
        told.await.unwrap()
    }

    pub async fn drain(&self) -> Result<(), String> {
        let (done, told) = oneshot::channel();
        self.asks.send(Ask::Drain { done }).await.unwrap();
        told.await.unwrap()
    }

    /// Ends as a process that is killed does.
    pub async fn kill(self) {
        let Proxy { task, .. } = self;
        task.abort();
        drop(task.await);
    }
}

impl Seen {
    pub fn has(&self, key: &str) -> bool {
        self.objects.borrow().contains_key(&key.parse::<ObjectKey>().unwrap())
    }

    pub fn workload(&self, name: &str) -> Option<Arc<Workload>> {
        match self.objects.borrow().get(&ObjectKey::Workload(name.parse().unwrap())) {
            Some(Object::Workload(workload)) => Some(workload.clone()),
            _ => None,
        }
    }

    pub fn service(&self, name: &str) -> Option<Arc<weft_model::Service>> {
        match self.objects.borrow().get(&ObjectKey::Service(name.parse().unwrap())) {
            Some(Object::Service(service)) => Some(service.clone()),
            _ => None,
        }
    }

    pub fn state(&self) -> Option<ConnectionState> {
        self.states.borrow().last().cloned()
    }
}

/// A registration of `workload`, of generation `generation`, for `services`.
pub fn registration(workload: &str, generation: u64, services: &[&str]) -> RegisterRequest {
    RegisterRequest {
        workload: workload.to_owned(),
        generation,
        services: services.iter().map(ToString::to_string).collect(),
        ports: vec![RegisteredPort { port: 8080, service_port: Some(80), protocol: None }],
        addresses: vec!["192.0.2.7".parse().unwrap()],
        tunnel_port: 15008,
        region: None,
        zone: None,
    }
}
