//! The thread that keeps a proxy joined: it follows discovery, and has the certificate renewed.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use weft_control::api::{RegisterRequest, RegisterResponse};
use weft_control::{Ask, ConnectionState, Joiner, Observer, Subscriber};
use weft_identity::{JoinToken, MutualTls, Svid, SvidSlot, TrustBundle};
use weft_model::ObjectName;
use weft_proxy::snapshot::{self, Builder, Configuration};
use weft_telemetry::metrics::Registry;
use weft_wire::Object;
use weft_wire::discovery::{Client, Lookup, Outcome, Refusal};
use weft_world::World;

use super::renewal::Renewal;
use super::saver::Saver;

/// What the thread works on.
pub(super) struct Work {
    pub(super) token: JoinToken,
    pub(super) service_account: ObjectName,
    pub(super) services: Vec<ObjectName>,
    pub(super) client: Client,
    pub(super) registration: Option<RegisterRequest>,
    pub(super) keeper: Keeper,
    pub(super) svid: Svid,
    pub(super) saver: Saver,
}

/// Puts in force what discovery brings, and keeps it on disk.
pub(super) struct Keeper {
    pub(super) builder: Builder,
    pub(super) configuration: Arc<Configuration>,
    pub(super) tls: Arc<MutualTls>,
    pub(super) told: watch::Sender<Standing>,
    pub(super) registry: Arc<Registry>,
}

/// How it stands with the control plane.
#[derive(Default)]
pub(super) struct Standing {
    /// How it stands with the connection. None before the end of the first attempt to connect.
    pub(super) connection: Option<ConnectionState>,
    /// Whether, since the start, it has said all that there was to say.
    pub(super) is_complete: bool,
}

impl Work {
    /// Keeps the proxy joined until nobody asks any more.
    pub(super) fn run(self, asks: mpsc::Receiver<Ask>) {
        let Work { token, service_account, services, client, registration, keeper, svid, saver } =
            self;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return weft_control::say!("weft: discovery cannot start: {error}"),
        };
        let world = weft_net::world();
        let joiner = Joiner::new(world.clone(), token, service_account, services);
        let (tls, registry) = (keeper.tls.clone(), keeper.registry.clone());
        let saver = Rc::new(saver);
        let slot: SvidSlot = tls.svid().clone();
        let control_plane = joiner.control_plane();
        let trusted = Rc::new(Notify::new());
        let renewal = Renewal {
            world: world.clone(),
            joiner,
            tls,
            saver: saver.clone(),
            svid,
            registry,
            trusted: trusted.clone(),
            tried_under: None,
            is_known: true,
            aside: None,
        };
        let watcher = Watcher { keeper, world: world.clone(), saver: saver.clone(), trusted };
        let saving = world.clone();
        let subscriber = Subscriber::new(world, control_plane, slot, registration, client);
        runtime.block_on(async move {
            tokio::task::spawn_local(renewal.run());
            tokio::task::spawn_local(async move { saver.run(&saving).await });
            let mut watcher = watcher;
            subscriber.run(asks, &mut watcher).await;
        });
    }
}

/// A [`Keeper`] on its thread.
struct Watcher {
    keeper: Keeper,
    world: World,
    saver: Rc<Saver>,
    /// Told when it may be otherwise whom to trust.
    trusted: Rc<Notify>,
}

impl Watcher {
    fn put_in_force(&mut self, client: &Client, outcome: &Outcome) {
        let Keeper { builder, configuration, tls, registry, .. } = &mut self.keeper;
        for Refusal { name, reason } in &outcome.refused {
            let is_held = name.parse().is_ok_and(|key| client.get(&key).is_some());
            let rest = if is_held { ", and what was before stays" } else { "" };
            weft_control::say!("weft: {name} is not put to work{rest}: {reason}");
        }
        let Outcome { changed, removed, refused, answered, ended } = outcome;
        let is_any_found = answered.iter().any(|answer| answer.lookup == Lookup::Found);
        let is_other = is_any_found || !ended.is_empty();
        if changed.is_empty() && removed.is_empty() && refused.is_empty() && !is_other {
            return;
        }
        // Whom to trust comes first: what follows from it is judged when the snapshot changes.
        take_trust(tls, client);
        self.trusted.notify_one();
        configuration.replace(builder.update(client, outcome));
        registry.config_changed(self.world.clock.wall());
        self.saver.mesh(&self.world, client);
    }
}

impl Observer for Watcher {
    fn check(&self, object: &Object) -> Result<(), String> {
        if let Object::Trust(trust) = object {
            TrustBundle::from_model(trust).map_err(|error| error.to_string())?;
        }
        snapshot::check(object)
    }

    fn changed(&mut self, client: &Client, outcome: &Outcome) {
        self.put_in_force(client, outcome);
        if client.is_current() {
            self.keeper.registry.config_confirmed(self.world.clock.wall());
        }
        if client.is_complete() {
            self.keeper
                .told
                .send_if_modified(|standing| !std::mem::replace(&mut standing.is_complete, true));
        }
    }

    fn connection(&mut self, state: ConnectionState) {
        let is_connected = !matches!(state, ConnectionState::Disconnected { .. });
        self.keeper.registry.control_connected(is_connected);
        let told = &self.keeper.told;
        let before = told.borrow().connection.clone();
        if before.as_ref() == Some(&state) {
            return;
        }
        match (&before, &state) {
            (Some(ConnectionState::Unregistered { .. }), ConnectionState::Connected) => {
                weft_control::say!("weft: registered with the control plane again");
            }
            (_, ConnectionState::Connected) => {
                weft_control::say!("weft: connected to the control plane");
            }
            (Some(ConnectionState::Connected), ConnectionState::Unregistered { reason }) => {
                weft_control::say!("weft: not registered any more: {reason}");
            }
            (_, ConnectionState::Unregistered { reason }) => {
                weft_control::say!(
                    "weft: connected to the control plane, but not registered: {reason}"
                );
            }
            (
                Some(ConnectionState::Connected | ConnectionState::Unregistered { .. }),
                ConnectionState::Disconnected { reason },
            ) => {
                weft_control::say!(
                    "weft: the control plane is away, serving by what is known: {reason}"
                );
            }
            // What a start goes by is said then.
            (_, ConnectionState::Disconnected { .. }) => {}
        }
        told.send_modify(|standing| standing.connection = Some(state));
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
            weft_control::say!("weft: the trusted roots, set {sequence}, are not taken: {error}");
        }
    }
}
