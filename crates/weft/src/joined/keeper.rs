//! The thread that keeps a proxy joined: it follows discovery and renews the certificate.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use weft_control::api::{RegisterRequest, RegisterResponse};
use weft_control::{Ask, ConnectionState, Joiner, Observer, Subscriber};
use weft_identity::{Credentials, JoinToken, MutualTls, Svid, SvidSlot, TrustBundle, renew_at};
use weft_model::ObjectName;
use weft_proxy::snapshot::{self, Builder, Configuration};
use weft_telemetry::metrics::Registry;
use weft_wire::Object;
use weft_wire::discovery::{Client, Outcome};
use weft_world::{Clock, World};

use super::kept::Kept;

/// The longest wait before a certificate is renewed whose root is to go.
const EARLY_RENEWAL: Duration = Duration::from_secs(5);

/// The pause before the control plane is told again of a new certificate.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// What the thread works on.
pub(super) struct Work {
    pub(super) token: JoinToken,
    pub(super) service_account: ObjectName,
    pub(super) services: Vec<ObjectName>,
    pub(super) client: Client,
    pub(super) registration: Option<RegisterRequest>,
    pub(super) keeper: Keeper,
    pub(super) svid: Svid,
}

/// Puts in force what discovery brings, and keeps it on disk.
pub(super) struct Keeper {
    pub(super) builder: Builder,
    pub(super) configuration: Arc<Configuration>,
    pub(super) tls: Arc<MutualTls>,
    pub(super) told: watch::Sender<ConnectionState>,
    pub(super) kept: Option<Arc<Kept>>,
    pub(super) registry: Arc<Registry>,
}

impl Work {
    /// Keeps the proxy joined until nobody asks any more.
    pub(super) fn run(self, asks: mpsc::Receiver<Ask>) {
        let Work { token, service_account, services, client, registration, keeper, svid } = self;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return eprintln!("weft: discovery cannot start: {error}"),
        };
        let world = weft_net::world();
        let joiner = Joiner::new(world.clone(), token, service_account, services);
        let (tls, kept) = (keeper.tls.clone(), keeper.kept.clone());
        let registry = keeper.registry.clone();
        let slot: SvidSlot = tls.svid().clone();
        let control_plane = joiner.control_plane();
        let trusted = Rc::new(Notify::new());
        let renewal = Renewal {
            world: world.clone(),
            joiner,
            tls,
            kept,
            svid,
            registry,
            trusted: trusted.clone(),
            tried_under: None,
            is_known: true,
        };
        let watcher = Watcher { keeper, world: world.clone(), trusted };
        let subscriber = Subscriber::new(world, control_plane, slot, registration, client);
        runtime.block_on(async move {
            tokio::task::spawn_local(renewal.run());
            let mut watcher = watcher;
            subscriber.run(asks, &mut watcher).await;
        });
    }
}

/// A [`Keeper`] on its thread.
struct Watcher {
    keeper: Keeper,
    world: World,
    /// Told when it may be otherwise whom to trust.
    trusted: Rc<Notify>,
}

impl Observer for Watcher {
    fn check(&self, object: &Object) -> Result<(), String> {
        if let Object::Trust(trust) = object {
            TrustBundle::from_model(trust).map_err(|error| error.to_string())?;
        }
        snapshot::check(object)
    }

    fn changed(&mut self, client: &Client, outcome: &Outcome) {
        let Keeper { builder, configuration, tls, kept, registry, .. } = &mut self.keeper;
        registry.config_confirmed(self.world.clock.wall());
        if outcome.changed.is_empty() && outcome.removed.is_empty() {
            return;
        }
        // Whom to trust comes first: what follows from it is judged when the snapshot changes.
        take_trust(tls, client);
        self.trusted.notify_one();
        configuration.replace(builder.update(client, outcome));
        registry.config_changed(self.world.clock.wall());
        for refusal in &outcome.refused {
            eprintln!("weft: {} is not put to work: {}", refusal.name, refusal.reason);
        }
        if let Some(kept) = kept
            && let Err(error) = kept.save(&*self.world.files, client)
        {
            eprintln!("weft: what is known of the mesh is not kept on disk: {error}");
        }
    }

    fn connection(&mut self, state: ConnectionState) {
        let is_connected = !matches!(state, ConnectionState::Disconnected { .. });
        self.keeper.registry.control_connected(is_connected);
        let told = &self.keeper.told;
        let before = told.borrow().clone();
        if before == state {
            return;
        }
        match &state {
            ConnectionState::Connected => eprintln!("weft: connected to the control plane"),
            ConnectionState::Unregistered { reason } => {
                eprintln!("weft: connected to the control plane, but not registered: {reason}");
            }
            ConnectionState::Disconnected { reason }
                if !matches!(before, ConnectionState::Disconnected { .. }) =>
            {
                eprintln!("weft: the control plane is away, serving by what is known: {reason}");
            }
            ConnectionState::Disconnected { .. } => {}
        }
        told.send_replace(state);
    }

    fn registered(&mut self, _response: &RegisterResponse) {}
}

/// Has handshakes go by the trust that `client` holds for the own trust domain.
pub(super) fn take_trust(tls: &MutualTls, client: &Client) {
    let bundles = client.objects().filter_map(|object| match object.object() {
        Object::Trust(trust) => TrustBundle::from_model(trust).ok(),
        _ => None,
    });
    let domain = tls.trust().load().bundle().trust_domain().clone();
    for bundle in bundles.filter(|bundle| *bundle.trust_domain() == domain) {
        let sequence = bundle.sequence();
        // An older one than that which came with the certificate is passed over.
        if sequence > tls.trust().load().bundle().sequence()
            && let Err(error) = tls.replace_trust(bundle)
        {
            eprintln!("weft: the trusted roots, set {sequence}, are not taken: {error}");
        }
    }
}

/// Renews the certificate in time, or at once when its root is to go.
struct Renewal {
    world: World,
    joiner: Joiner,
    tls: Arc<MutualTls>,
    kept: Option<Arc<Kept>>,
    svid: Svid,
    registry: Arc<Registry>,
    trusted: Rc<Notify>,
    /// The number of the bundle for whose sake it was tried to renew early.
    tried_under: Option<u64>,
    /// Whether the control plane knows that the certificate is in use.
    is_known: bool,
}

impl Renewal {
    async fn run(mut self) {
        let world = self.world.clone();
        let clock = &*world.clock;
        let mut failures = 0;
        loop {
            let fraction = world.entropy.fraction();
            let due = renew_at(self.svid.validity(), failures, clock.wall(), fraction);
            tokio::select! {
                biased;
                is_trusted = self.superseded() => {
                    if is_trusted {
                        // Not all proxies of a mesh at the same moment.
                        clock.sleep(EARLY_RENEWAL.mul_f64(world.entropy.fraction())).await;
                    }
                    self.tried_under = Some(self.tls.trust().load().bundle().sequence());
                    eprintln!("weft: the root of the certificate is being replaced, renewing it");
                }
                () = sleep_until(clock, due) => {}
                () = clock.sleep(TELL_AGAIN), if !self.is_known => {
                    self.tell().await;
                    continue;
                }
            }
            match self.renew().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    eprintln!("weft: the certificate is not renewed, attempt {failures}: {error}");
                }
            }
        }
    }

    /// Ready when the root above the certificate is to go, or is not trusted any more; once for
    /// each bundle that says so. Says whether it is trusted.
    async fn superseded(&self) -> bool {
        loop {
            let (sequence, is_trusted, is_superseded) = {
                let trust = self.tls.trust().load();
                let now = self.world.clock.wall();
                let has_expired = now >= self.svid.validity().not_after;
                let root = trust.facts(self.svid.chain(), now);
                let root = root.ok().map(|facts| facts.issuer.root);
                let wanted = trust.bundle().renew_below();
                let is_superseded = match root {
                    Some(root) => wanted.is_some_and(|wanted| wanted != root),
                    None => !has_expired,
                };
                (trust.bundle().sequence(), root.is_some(), is_superseded)
            };
            if is_superseded && self.tried_under != Some(sequence) {
                return is_trusted;
            }
            self.trusted.notified().await;
        }
    }

    async fn renew(&mut self) -> Result<(), String> {
        let has_expired = self.world.clock.wall() >= self.svid.validity().not_after;
        let credentials = if has_expired {
            // An expired certificate proves nothing: the token may still be good.
            self.joiner.join().await
        } else {
            self.joiner.renew(self.tls.svid()).await
        };
        let credentials: Credentials = credentials.map_err(|error| error.to_string())?;
        // Whoever is below a new root is to be believed by whom this side calls, and the other way.
        if credentials.bundle.sequence() > self.tls.trust().load().bundle().sequence() {
            let taken = self.tls.replace_trust(credentials.bundle.clone());
            taken.map_err(|error| error.to_string())?;
        }
        self.tls.replace_svid(&credentials.svid).map_err(|error| error.to_string())?;
        self.svid = credentials.svid.clone();
        self.registry.certificate_expires(self.svid.validity().not_after);
        let saved = match &self.kept {
            Some(kept) => kept.save_credentials(&*self.world.files, &credentials),
            None => Ok(()),
        };
        self.is_known = false;
        self.tell().await;
        saved.map_err(|error| error.to_string())
    }

    /// Tells the control plane that the new certificate is in use: it waits for that before it
    /// withdraws the root of the one before.
    async fn tell(&mut self) {
        match self.joiner.installed(self.tls.svid()).await {
            Ok(()) => self.is_known = true,
            Err(error) => {
                eprintln!("weft: the control plane is not told of the new certificate: {error}");
            }
        }
    }
}

/// Sleeps until civil time is `due`, also if that is set forward meanwhile.
async fn sleep_until(clock: &dyn Clock, due: weft_world::UnixTime) {
    const LOOK_INTERVAL: Duration = Duration::from_secs(30);
    loop {
        let left = due.0.saturating_sub(clock.wall().0);
        if left.is_zero() {
            return;
        }
        clock.sleep(left.min(LOOK_INTERVAL)).await;
    }
}
