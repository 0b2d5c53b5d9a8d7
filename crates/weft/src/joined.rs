//! A proxy that is joined to a mesh: its identity, what it knows of the mesh, and its registration,
//! kept up to date by a thread of their own.

mod keeper;
mod kept;
mod lock;
mod renewal;
mod saver;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use weft_control::api::RegisterRequest;
use weft_control::{Ask, ClientError, ConnectionState, JoinError, Joiner};
use weft_identity::{Credentials, JoinToken, MutualTls, SvidSlot};
use weft_model::ObjectName;
use weft_proxy::snapshot::{Builder, Configuration, OwnWorkload};
use weft_telemetry::metrics::Registry;
use weft_wire::Release;
use weft_wire::discovery::{Client, Lookup, Subscription};
use weft_world::{BoxFuture, Moment, World};

use self::keeper::{Keeper, Standing, Work, take_trust};
pub(crate) use self::kept::IDENTITY;
use self::kept::{Kept, generation_by_clock};
pub(crate) use self::lock::DirectoryLock;
use self::renewal::renewed_or_joined;
use self::saver::Saver;

/// How many questions may wait for the thread.
const ASKS_MAX: usize = 1024;

/// How long a start waits for what the control plane has to say.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait for the control plane to take a registration away.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest wait for the control plane to say whether a certificate of before still counts.
const PROVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a proxy joins with.
pub struct Joining {
    /// The join token.
    pub token: JoinToken,
    /// The service account whose identity it gets.
    pub service_account: ObjectName,
    /// The Services that it may be registered for.
    pub services: Vec<ObjectName>,
    /// Where it keeps its certificate and what it knows of the mesh.
    pub data: Option<PathBuf>,
    /// The workload that it stands for.
    pub workload: Option<Workload>,
    /// Told of certificate, configuration and connection.
    pub registry: Arc<Registry>,
    /// What the proxy says that it is, and what of objects it reads.
    pub release: Release,
}

/// The workload that a proxy stands for: for the control plane, and for the proxy itself.
pub struct Workload {
    /// What the control plane is to know of it.
    pub registration: RegisterRequest,
    /// What the proxy is to know of it.
    pub own: OwnWorkload,
}

/// Which instance of its workload a proxy is that starts now, and keeps what it knows in `data`: of
/// two instances, the one with the greater generation counts.
pub fn generation(world: &World, data: Option<&Path>) -> u64 {
    // What is wrong with the directory is said when it is joined.
    let kept = data.and_then(|data| Kept::open(data.to_owned()).ok());
    kept.map_or_else(|| generation_by_clock(world), |kept| kept.next_generation(world))
}

/// A proxy that is joined to a mesh.
pub struct Joined {
    /// Its identity.
    pub tls: Arc<MutualTls>,
    /// What it knows of the mesh.
    pub configuration: Arc<Configuration>,
    link: Link,
    standing: watch::Receiver<Standing>,
    /// When it began to ask the control plane.
    begun: Moment,
    thread: JoinHandle<()>,
}

/// The way to the thread that keeps a proxy joined.
#[derive(Clone)]
struct Link {
    asks: mpsc::Sender<Ask>,
}

/// The same for the proxy's worker.
struct OfWorker {
    link: Link,
    /// What was wrong with the own application when the control plane was told last.
    wrong: RefCell<Option<String>>,
}

impl weft_proxy::Discovery for OfWorker {
    fn look(&self, subscription: Subscription) -> BoxFuture<'static, Lookup> {
        let (reply, answer) = oneshot::channel();
        let sent = self.link.asks.try_send(Ask::Look { subscription, reply });
        Box::pin(async move {
            let refused = || Lookup::Refused("too much is asked for at once".to_owned());
            if sent.is_err() {
                return refused();
            }
            answer.await.unwrap_or_else(|_| refused())
        })
    }

    fn fares(&self, well: Result<(), String>) {
        let is_healthy = well.is_ok();
        if self.link.asks.try_send(Ask::Fares { is_healthy }).is_err() {
            return; // It is said again.
        }
        match (self.wrong.replace(well.clone().err()), well) {
            (None, Err(wrong)) => {
                weft_control::say!("weft: the application is not called, its check fails: {wrong}");
            }
            (Some(_), Ok(())) => {
                weft_control::say!("weft: the application is called again, its check passes");
            }
            (None, Ok(())) | (Some(_), Err(_)) => {}
        }
    }
}

impl Joined {
    /// The way to ask for more of the mesh.
    pub fn discovery(&self) -> Rc<dyn weft_proxy::Discovery> {
        Rc::new(OfWorker { link: self.link.clone(), wrong: RefCell::default() })
    }

    /// Waits until the control plane has said all that concerns this proxy, and says, as `command`,
    /// what is missing if it does not.
    ///
    /// `needs_own`: only once all that guards the own workload is there.
    pub async fn ready(&self, world: &World, command: &str, needs_own: bool) {
        // What was kept is enough to serve by, if it has to be: the questions before count too.
        let since = if self.is_enough(needs_own) { self.begun } else { world.clock.now() };
        let waiting = async {
            let (mut changes, mut standing) = (self.configuration.changes(), self.standing.clone());
            while !self.is_decided(needs_own) {
                tokio::select! {
                    biased;
                    Ok(()) = changes.changed() => {}
                    Ok(()) = standing.changed() => {}
                    // The thread has ended.
                    else => return,
                }
            }
        };
        tokio::select! {
            biased;
            () = waiting => {}
            () = world.clock.timer(since + READY_TIMEOUT) => {}
        }
        let why = || self.trouble().unwrap_or_else(|| "it has not said all of it yet".to_owned());
        if !self.is_enough(needs_own) {
            weft_control::say!(
                "{command}: starting without all that the control plane has to say; until then, \
                 what is not known is refused: {}",
                why()
            );
        } else if !self.standing.borrow().is_complete {
            weft_control::say!(
                "{command}: starting by what is known of the mesh, which may be out of date: {}",
                why()
            );
        }
    }

    /// Whether what is known is enough to serve.
    fn is_enough(&self, needs_own: bool) -> bool {
        let snapshot = self.configuration.load();
        match &snapshot.own {
            Some(own) if needs_own => own.is_ready(),
            None if needs_own => false,
            _ => snapshot.mesh.is_some(),
        }
    }

    /// Whether waiting is over: the control plane has said everything, or is away and what is known
    /// is enough.
    fn is_decided(&self, needs_own: bool) -> bool {
        let standing = self.standing.borrow();
        let is_away = matches!(standing.connection, Some(ConnectionState::Disconnected { .. }));
        self.is_enough(needs_own) && (standing.is_complete || is_away)
    }

    /// Why the proxy is not fully connected to the control plane, if it is not.
    fn trouble(&self) -> Option<String> {
        match &self.standing.borrow().connection {
            None => Some("it has not connected yet".to_owned()),
            Some(ConnectionState::Connected) => None,
            Some(ConnectionState::Unregistered { reason }) => {
                Some(format!("not registered: {reason}"))
            }
            Some(ConnectionState::Disconnected { reason }) => Some(reason.clone()),
        }
    }

    /// Has it known that the workload is about to end, so that nothing new is sent there.
    pub async fn drain(&self, world: &World) {
        let (done, drained) = oneshot::channel();
        if self.link.asks.send(Ask::Drain { done }).await.is_ok() {
            tokio::select! {
                biased;
                _ = drained => {}
                () = world.clock.sleep(LEAVE_TIMEOUT) => {}
            }
        }
    }

    /// Takes the registration away, gives the certificate back, and ends the thread.
    pub async fn leave(self, world: &World) {
        let Joined { link, thread, .. } = self;
        let (done, left) = oneshot::channel();
        if link.asks.send(Ask::Leave { done }).await.is_ok() {
            tokio::select! {
                biased;
                _ = left => {}
                () = world.clock.sleep(LEAVE_TIMEOUT) => {}
            }
        }
        // The thread ends when nobody can ask it any more, and the process does not wait for it.
        drop((link, thread));
    }
}

/// Joins the mesh, by the certificate of before where that still holds.
pub async fn join(world: &World, joining: Joining) -> anyhow::Result<Joined> {
    let Joining { token, service_account, services, data, workload, registry, release } = joining;
    let begun = world.clock.now();
    registry.control_connected(false);
    let kept = data.map(Kept::open).transpose()?;
    let before = kept.as_ref().and_then(|kept| kept.credentials(world, &service_account));
    let saver = Saver::new(kept);
    let mut joiner =
        Joiner::new(world.clone(), token.clone(), service_account.clone(), services.clone());
    let (credentials, is_anew) = credentials(world, &mut joiner, before, &saver).await?;
    registry.certificate_expires(credentials.svid.validity().not_after);
    let tls = Arc::new(MutualTls::new(&credentials).context("cannot set up TLS")?);
    let identity = credentials.svid.identity();
    let trust_domain = identity.trust_domain().clone();
    let namespace = identity.service_account().own_namespace();
    let name = workload.as_ref().map(|workload| workload.own.name.to_string());
    let (registration, own) =
        workload.map(|Workload { registration, own }| (registration, own)).unzip();
    let mut client = Client::new(&name.unwrap_or_default(), release);
    if let Some(registration) = &registration {
        client = client.of_generation(registration.generation);
    }
    let mut builder = Builder::new(trust_domain, own).of_namespace(namespace);
    let configuration = Arc::new(Configuration::default());
    // What is known of the mesh may be of another one, by the same name: then nothing of it counts.
    if !is_anew && let Some(kept) = saver.restore(world, &mut client) {
        take_trust(&tls, &client);
        configuration.replace(builder.rebuild(&client));
        registry.config_confirmed(kept);
    }
    let (asks, receiver) = mpsc::channel(ASKS_MAX);
    let (told, standing) = watch::channel(Standing::default());
    let keeper =
        Keeper { builder, configuration: configuration.clone(), tls: tls.clone(), told, registry };
    let svid = credentials.svid;
    let work = Work { token, service_account, services, client, registration, keeper, svid, saver };
    let thread = std::thread::Builder::new()
        .name("discovery".to_owned())
        .spawn(move || work.run(receiver))
        .context("cannot start the discovery thread")?;
    let link = Link { asks };
    Ok(Joined { tls, configuration, link, standing, begun, thread })
}

/// The credentials to begin with: those of `before`, or new ones if those have expired by the clock
/// here, which may be wrong, or prove nothing to the control plane. Says whether they are new
/// although the clock here has nothing against those of before.
async fn credentials(
    world: &World,
    joiner: &mut Joiner,
    before: Option<Credentials>,
    saver: &Saver,
) -> anyhow::Result<(Credentials, bool)> {
    let mut is_anew = false;
    let credentials = match before {
        Some(before) if world.clock.wall() < before.svid.validity().not_after => {
            match instead(world, joiner, &before).await {
                Some(credentials) => {
                    is_anew = true;
                    credentials
                }
                None => return Ok((before, false)),
            }
        }
        Some(before) => {
            let renewed = renewed_or_joined(joiner, &SvidSlot::with(&before.svid), false).await;
            renewed.map_err(anyhow::Error::msg).context("cannot join the mesh")?
        }
        None => joiner.join().await.context("cannot join the mesh")?,
    };
    // The token may be good for one use only: what it gave is of use also where it cannot be kept.
    saver.credentials(world, &credentials);
    Ok((credentials, is_anew))
}

/// New credentials where the control plane has something against `before`: it was revoked, say, or
/// is of a mesh that is no more. None if `before` is the best that there is.
async fn instead(world: &World, joiner: &mut Joiner, before: &Credentials) -> Option<Credentials> {
    let slot = SvidSlot::with(&before.svid);
    let against = tokio::select! {
        biased;
        asked = joiner.installed(&slot) => asked.err(),
        () = world.clock.sleep(PROVE_TIMEOUT) => None,
    };
    let against = match against? {
        // It is away, and a proxy starts without it.
        JoinError::Client(ClientError::Connect { .. }) => return None,
        against => against,
    };
    match joiner.join().await {
        Ok(new) if new.svid.validity().contains(world.clock.wall()) => {
            weft_control::say!(
                "weft: joined anew, since the certificate of before proves nothing any more: \
                 {against}"
            );
            Some(new)
        }
        // The clock here is wrong, or that of the control plane.
        Ok(_) => None,
        Err(error) => {
            weft_control::say!(
                "weft: the certificate of before is used, though it proves nothing to the control \
                 plane ({against}), since the token gets no other: {error}"
            );
            None
        }
    }
}
