//! `weft control`: the control plane of a mesh outside Kubernetes.

mod admins;
mod kubernetes;

use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use weft_control::api::BackupRequest;
use weft_control::{Api, Ca, Discovery, Issuer, Resources, STATE_FILE, serve};
use weft_crd::Platform;
use weft_identity::{ControlAddress, ControlKey};
use weft_model::TrustDomain;
use weft_net::SystemClock;
use weft_store::{Batch, Item, LocalStore, Store as _, StoreError};
use weft_telemetry::Lines;
use weft_world::{Clock, Files, ListenerOptions, Moment, Timer, UnixTime, World};

use crate::access::Access;
use crate::ca::KeyFiles;
use crate::output::print_line;
use crate::resources::block_on;

/// The trust domain where none is given.
const TRUST_DOMAIN: &str = "weft.local";

/// The file with the control plane's key.
const CONTROL_KEY: &str = "control-key.pem";

/// The name of the hash of that among the values of the store.
const CONTROL_KEY_HASH: &str = "control/key";

/// What to do where there is no store that can be used.
const HOW_TO_RESTORE: &str = "put a copy from a backup in its place, as \"Backup and restore\" in \
                              docs/control.md says; without one, move away what is there and \
                              start once with --new-store: then resources are to be applied, and \
                              join tokens to be made, again";

/// The arguments of `weft control`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where everything is kept: resources, the authority's keys, the first admin credential.
    #[arg(long, value_name = "DIRECTORY", default_value = "weft-data")]
    data: PathBuf,

    /// Where to listen.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15010")]
    listen: SocketAddr,

    /// How others reach it, as it is written into credentials. Default: where it listens.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<ControlAddress>,

    /// The trust domain of the identities that it issues; it stays what it was on the first start.
    /// Default: weft.local.
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,

    /// Take Services, pods, routes and policies from Kubernetes, in place of `weft apply`: as the
    /// service account of the pod that this runs in, or by a kubeconfig.
    #[arg(long)]
    kubernetes: bool,

    /// The kubeconfig. Default: outside of a cluster, what KUBECONFIG says, or ~/.kube/config.
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig. Default: its current one.
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    context: Option<String>,

    /// Begin with an empty store where the one before is lost. Keys, roots and revocations stay.
    #[arg(long)]
    new_store: bool,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write a copy of the store of the control plane that runs into a new file, to be put in the
    /// store's place one day.
    Backup(Backup),
}

#[derive(clap::Args)]
struct Backup {
    #[command(flatten)]
    access: Access,
    /// The file, on the machine of the control plane, which writes it.
    #[arg(value_name = "FILE")]
    path: PathBuf,
}

impl Arguments {
    /// Where the resources come from.
    fn platform(&self) -> Platform {
        if self.kubernetes { Platform::Kubernetes } else { Platform::Standalone }
    }
}

/// What a control plane keeps in its directory.
struct Kept {
    trust_domain: TrustDomain,
    key: ControlKey,
    ca: Ca,
    store: Arc<LocalStore>,
}

/// `weft control`.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Some(Command::Backup(arguments)) => backup(arguments),
        None => control(arguments),
    }
}

fn backup(arguments: &Backup) -> anyhow::Result<()> {
    let Backup { access, path } = arguments;
    let client = access.client()?;
    let path = std::path::absolute(path)
        .with_context(|| format!("cannot tell where {} is", path.display()))?;
    let text = path.to_str().with_context(|| format!("{} is no text", path.display()))?;
    let request = BackupRequest { path: text.to_owned() };
    block_on(async { Ok(client.backup(&request).await?) })?;
    print_line(format_args!("{} has the store as it is now", path.display()))
}

/// Runs until SIGTERM or SIGINT.
fn control(arguments: &Arguments) -> anyhow::Result<()> {
    // Nobody who does not read what it says may stop it.
    Lines::standard_error().context("cannot start the thread of the log")?;
    let clock = Arc::new(SystemClock::new());
    let world = World { clock: Rc::new(Shared(clock.clone())), ..weft_net::world() };
    let data = &arguments.data;
    check_reachable(arguments)?;
    let kept = open(&world, &clock, arguments)
        .with_context(|| format!("the control plane of {} cannot start", data.display()))?;
    let platform = arguments.platform();
    if platform == Platform::Kubernetes {
        kubernetes::follow(arguments, kept.store.clone(), clock.clone())?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let listener =
            world.network.listen(arguments.listen, ListenerOptions::default()).with_context(
                || format!("cannot listen at {}: give another with --listen", arguments.listen),
            )?;
        let address = listener.local_address();
        let advertised = match &arguments.advertise {
            Some(advertised) => advertised.clone(),
            None => address.to_string().parse().context("the address of the listener")?,
        };
        let (admins, credential) =
            admins::open(&world, &kept, &data.join("admin"), advertised.clone())?;
        let issuer = Issuer {
            store: kept.store.clone(),
            ca: kept.ca.clone(),
            address: advertised,
            control_key: kept.key.hash(),
        };
        let (store, ca) = (kept.store.clone(), kept.ca.clone());
        let discovery = Discovery::open(&world, clock.clone(), store, ca, platform)?;
        let api = Api {
            discovery,
            resources: Resources::new(
                kept.store.clone(),
                weft_crd::Options { platform, ..weft_crd::Options::default() },
                kept.trust_domain.clone(),
            ),
            issuer,
            admins: admins.into(),
            clock,
        };
        weft_control::say!("weft control: ready at {address}, trust domain {}", kept.trust_domain);
        credential.say();
        tokio::select! {
            biased;
            signal = weft_net::terminated() => {
                let signal = signal.context("cannot wait for signals")?;
                weft_control::say!("weft control: ended by {signal:?}");
                Ok(())
            }
            served = serve(world.clone(), &kept.key, api, listener) => {
                served.context("the port cannot be served")
            }
        }
    })
}

/// The one clock of the process, by which leases are both written and read, as a [`World`] has it.
struct Shared(Arc<SystemClock>);

impl Clock for Shared {
    fn now(&self) -> Moment {
        self.0.now()
    }

    fn wall(&self) -> UnixTime {
        self.0.wall()
    }

    fn timer(&self, at: Moment) -> Box<dyn Timer> {
        self.0.timer(at)
    }
}

/// Opens what is in the directory; on the first start, makes it.
fn open(world: &World, clock: &Arc<SystemClock>, arguments: &Arguments) -> anyhow::Result<Kept> {
    let data = &arguments.data;
    make_private(data)?;
    let files = &*world.files;
    let options = weft_store::Options::at(world.clock.now());
    let path = data.join("store.redb");
    check_store(data, &path, arguments.new_store)?;
    // The store first: its lock keeps a second control plane from touching the rest.
    let store = LocalStore::open(path, &options).map_err(|error| match error {
        StoreError::Damaged { .. } => anyhow::Error::new(error).context(HOW_TO_RESTORE),
        error => error.into(),
    })?;
    let store = Arc::new(store);
    // Some of what a control plane that was killed had half written are keys.
    if let Err(error) = weft_net::remove_unfinished(data) {
        weft_control::say!("weft control: {}: {error}", data.display());
    }
    let key = control_key(files, data, &store, clock)?;
    let state = KeyFiles::new(data.clone(), TRUST_DOMAIN.parse()?);
    let trust_domain = trust_domain(arguments, Ca::trust_domain_of(&*store, &state)?)?;
    let keys = Arc::new(KeyFiles::new(data.clone(), trust_domain.clone()));
    let ca = Ca::open(store.clone(), keys, clock.clone(), trust_domain.clone())?;
    if arguments.new_store {
        weft_control::say!(
            "weft control: the store is new: apply the resources again, and make join tokens: \
             workloads are registered again once one of their service account has joined by a new \
             token for their Services; roots and revocations are as before"
        );
    }
    Ok(Kept { trust_domain, key, ca, store })
}

/// Checks that `path`, the store, is there where it was before, and is not where it is to be new.
fn check_store(data: &Path, path: &Path, is_new: bool) -> anyhow::Result<()> {
    let is_there = |path: &Path| {
        path.try_exists().with_context(|| format!("cannot look at {}", path.display()))
    };
    if is_there(path)? {
        ensure!(!is_new, "--new-store: {} is there: move it away first", path.display());
        return Ok(());
    }
    for name in [CONTROL_KEY, STATE_FILE] {
        let other = data.join(name);
        ensure!(
            is_new || !is_there(&other)?,
            "{} is gone, and {} is there: {HOW_TO_RESTORE}",
            path.display(),
            other.display()
        );
    }
    Ok(())
}

/// The control plane's key, whose hash `store` keeps: no other takes its place unnoticed.
fn control_key(
    files: &dyn Files,
    data: &Path,
    store: &LocalStore,
    clock: &SystemClock,
) -> anyhow::Result<ControlKey> {
    let path = data.join(CONTROL_KEY);
    let value = store.get_value(CONTROL_KEY_HASH)?;
    let text = value.map(|value| String::from_utf8_lossy(&value.bytes).into_owned());
    let known = text.map(|text| text.parse()).transpose().with_context(|| {
        format!("the store's value {CONTROL_KEY_HASH} is malformed: restore it from a backup")
    })?;
    // A new store knows of none; and it is not a first start where there is more than the key.
    ensure!(
        known.is_some() || path.exists() || !data.join(STATE_FILE).exists(),
        "{} is gone, and {STATE_FILE} is there: restore it from a backup",
        path.display()
    );
    let key = ControlKey::open(files, &path, known)?;
    if known.is_none() {
        let item = Item::put_value(CONTROL_KEY_HASH, key.hash().to_string().into_bytes());
        store.apply(Batch { now: clock.now(), wall: clock.wall(), items: vec![item] })?;
    }
    Ok(key)
}

/// The trust domain, of which nothing can be changed once identities were issued.
fn trust_domain(arguments: &Arguments, before: Option<TrustDomain>) -> anyhow::Result<TrustDomain> {
    match (&arguments.trust_domain, before) {
        (Some(given), Some(before)) if *given != before => bail!(
            "--trust-domain says {given}, and the identities of this control plane are of \
             {before}, which does not change: leave --trust-domain away, or make another control \
             plane with another --data"
        ),
        (_, Some(before)) => Ok(before),
        (Some(given), None) => Ok(given.clone()),
        (None, None) => TRUST_DOMAIN.parse().context("the default of --trust-domain"),
    }
}

/// Whether what is written into credentials and tokens leads to this control plane.
fn check_reachable(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { listen, advertise, .. } = arguments;
    let is_nowhere = |address: &SocketAddr| address.ip().is_unspecified();
    match advertise {
        None => ensure!(
            !is_nowhere(listen),
            "--advertise is needed where --listen is {listen}: credentials and join tokens say how \
             this control plane is reached, and nobody reaches {}. Give a name or an address of \
             this machine, as in `--advertise control.example.com:{}`",
            listen.ip(),
            if listen.port() == 0 { 15010 } else { listen.port() }
        ),
        Some(advertise) => ensure!(
            !advertise.as_str().parse::<SocketAddr>().is_ok_and(|address| is_nowhere(&address)),
            "--advertise: nobody reaches {advertise}: give a name or an address of this machine"
        ),
    }
    Ok(())
}

/// Makes `directory` for its owner only, or checks that it is.
fn make_private(directory: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let found = fs::metadata(directory)
        .with_context(|| format!("cannot look at {}", directory.display()))?;
    ensure!(
        found.mode() & 0o077 == 0,
        "{0} can be read by others, and holds keys: chmod 700 {0}",
        directory.display()
    );
    Ok(())
}
