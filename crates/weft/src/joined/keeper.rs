//! The thread that keeps a proxy joined: it follows discovery and renews the certificate.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use weft_control::api::{RegisterRequest, RegisterResponse};
use weft_control::{Ask, ConnectionState, Joiner, Observer, Subscriber};
use weft_identity::{Credentials, JoinToken, MutualTls, SvidSlot, TrustBundle, Validity, renew_at};
use weft_model::ObjectName;
use weft_proxy::snapshot::{self, Builder, Configuration};
use weft_telemetry::metrics::Registry;
use weft_wire::Object;
use weft_wire::discovery::{Client, Outcome};
use weft_world::{Clock, World};

use super::kept::Kept;

/// What the thread works on.
pub(super) struct Work {
    pub(super) token: JoinToken,
    pub(super) service_account: ObjectName,
    pub(super) services: Vec<ObjectName>,
    pub(super) client: Client,
    pub(super) registration: Option<RegisterRequest>,
    pub(super) keeper: Keeper,
    pub(super) validity: Validity,
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
        let Work { token, service_account, services, client, registration, keeper, validity } =
            self;
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
        let svid: SvidSlot = tls.svid().clone();
        let control_plane = joiner.control_plane();
        let renewal = Renewal { world: world.clone(), joiner, tls, kept, validity, registry };
        let watcher = Watcher { keeper, world: world.clone() };
        let subscriber = Subscriber::new(world, control_plane, svid, registration, client);
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

/// Renews the certificate in time.
struct Renewal {
    world: World,
    joiner: Joiner,
    tls: Arc<MutualTls>,
    kept: Option<Arc<Kept>>,
    validity: Validity,
    registry: Arc<Registry>,
}

impl Renewal {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let clock = &*self.world.clock;
            let fraction = self.world.entropy.fraction();
            let due = renew_at(self.validity, failures, clock.wall(), fraction);
            sleep_until(clock, due).await;
            match self.renew().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    eprintln!("weft: the certificate is not renewed, attempt {failures}: {error}");
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<(), String> {
        let has_expired = self.world.clock.wall() >= self.validity.not_after;
        let credentials = if has_expired {
            // An expired certificate proves nothing: the token may still be good.
            self.joiner.join().await
        } else {
            self.joiner.renew(self.tls.svid()).await
        };
        let credentials: Credentials = credentials.map_err(|error| error.to_string())?;
        self.tls.replace_svid(&credentials.svid).map_err(|error| error.to_string())?;
        self.validity = credentials.svid.validity();
        self.registry.certificate_expires(self.validity.not_after);
        if credentials.bundle.sequence() > self.tls.trust().load().bundle().sequence() {
            let taken = self.tls.replace_trust(credentials.bundle.clone());
            taken.map_err(|error| error.to_string())?;
        }
        match &self.kept {
            Some(kept) => {
                let saved = kept.save_credentials(&*self.world.files, &credentials);
                saved.map_err(|error| error.to_string())
            }
            None => Ok(()),
        }
    }
}

/// Sleeps until civil time is `due`, also if that is set forward meanwhile.
async fn sleep_until(clock: &dyn Clock, due: weft_world::UnixTime) {
    const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_secs(30);
    loop {
        let left = due.0.saturating_sub(clock.wall().0);
        if left.is_zero() {
            return;
        }
        clock.sleep(left.min(LOOK_INTERVAL)).await;
    }
}
