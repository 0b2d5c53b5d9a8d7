//! `weft control`: the control plane of a mesh outside Kubernetes.

use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use weft_control::{Api, Ca, Discovery, Issuer, Resources, serve};
use weft_identity::{AdminCredential, AdminRecord, ControlAddress, ControlKey};
use weft_model::TrustDomain;
use weft_net::SystemClock;
use weft_store::{Batch, Expectation, Item, LocalStore, Store};
use weft_telemetry::Lines;
use weft_world::{Clock, ListenerOptions, Moment, Timer, UnixTime, World};

use crate::ca::KeyFiles;

/// The arguments of `weft control`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where everything is kept: resources, the authority's keys, the first admin credential.
    #[arg(long, value_name = "DIRECTORY", default_value = "weft-data")]
    data: PathBuf,

    /// Where to listen.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15010")]
    listen: SocketAddr,

    /// How others reach it, as it is written into credentials. Default: where it listens.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<ControlAddress>,

    /// The trust domain of the identities that it issues.
    #[arg(long, value_name = "NAME", default_value = "weft.local")]
    trust_domain: TrustDomain,
}

/// What a control plane keeps in its directory.
struct Kept {
    key: ControlKey,
    ca: Ca,
    store: Arc<LocalStore>,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // Nobody who does not read what it says may stop it.
    Lines::standard_error().context("cannot start the thread of the log")?;
    let clock = Arc::new(SystemClock::new());
    let world = World { clock: Rc::new(Shared(clock.clone())), ..weft_net::world() };
    let data = &arguments.data;
    let kept = open(&world, &clock, arguments)
        .with_context(|| format!("the control plane of {} cannot start", data.display()))?;
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
        let (admins, credential) = admins(&world, &kept, &data.join("admin"), advertised.clone())?;
        let issuer = Issuer {
            store: kept.store.clone(),
            ca: kept.ca.clone(),
            address: advertised,
            control_key: kept.key.hash(),
        };
        let discovery =
            Discovery::open(&world, clock.clone(), kept.store.clone(), kept.ca.clone())?;
        let api = Api {
            discovery,
            resources: Resources::new(kept.store.clone(), weft_crd::Options::default()),
            issuer,
            admins: admins.into(),
            clock,
        };
        weft_control::say!(
            "weft control: ready at {address}, trust domain {}",
            arguments.trust_domain
        );
        let credential = credential.display();
        weft_control::say!(
            "weft control: for `weft apply` and others: export WEFT_CREDENTIAL={credential}"
        );
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
    // The store first: its lock keeps a second control plane from touching the rest.
    let store = Arc::new(LocalStore::open(data.join("store.redb"), &options)?);
    let key = ControlKey::open(files, &data.join("control-key.pem"))?;
    let trust_domain = arguments.trust_domain.clone();
    let keys = Arc::new(KeyFiles::new(data.clone(), trust_domain.clone()));
    let ca = Ca::open(store.clone(), keys, clock.clone(), trust_domain)?;
    Ok(Kept { key, ca, store })
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

/// The name of an admin's record among the values of the store.
const ADMINS: &str = "admins/";

/// Who may use the API, and where the first one's credential is. It is made on the first start.
fn admins(
    world: &World,
    kept: &Kept,
    path: &Path,
    address: ControlAddress,
) -> anyhow::Result<(Vec<AdminRecord>, PathBuf)> {
    let values = kept.store.list_values(ADMINS)?;
    let mut records = Vec::new();
    for value in &values {
        let record = serde_json::from_slice(&value.bytes);
        records.push(
            record.with_context(|| format!("the store's value {} is malformed", value.name))?,
        );
    }
    if records.is_empty() {
        let (credential, record) = AdminCredential::issue(address, kept.key.hash())?;
        // The file before the record: a credential that nothing knows of is of no use to anybody.
        credential.write(&*world.files, path)?;
        let name = format!("{ADMINS}{}", record.id);
        let item =
            Item::put_value(name, serde_json::to_vec(&record)?).expecting(Expectation::Absent);
        let (now, wall) = (world.clock.now(), world.clock.wall());
        kept.store.apply(Batch { now, wall, items: vec![item] })?;
        records.push(record);
    }
    Ok((records, fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())))
}
