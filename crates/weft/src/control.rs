//! `weft control`: the control plane of a mesh outside Kubernetes.

use std::convert::Infallible;
use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use weft_control::{Api, AuthoritySlot, Discovery, Issuer, Resources, serve};
use weft_identity::{
    AdminCredential, AdminRecord, Authority, AuthorityError, AuthorityFiles, ControlAddress,
    ControlKey, TrustBundle, TrustSlot,
};
use weft_model::TrustDomain;
use weft_net::SystemClock;
use weft_store::{Batch, Expectation, Item, LocalStore, Store};
use weft_world::{Clock, ListenerOptions, Moment, Timer, UnixTime, World};

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
    authority: Authority,
    files: AuthorityFiles,
    store: Arc<LocalStore>,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let clock = Arc::new(SystemClock::new());
    let world = World { clock: Rc::new(Shared(clock.clone())), ..weft_net::world() };
    let data = &arguments.data;
    let kept = open(&world, arguments)
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
        let roots = [kept.authority.root().clone()];
        let bundle = TrustBundle::new(arguments.trust_domain.clone(), 0, roots, <_>::default())
            .context("the own root")?;
        let trust = TrustSlot::new(bundle);
        let authority = AuthoritySlot::new(kept.authority);
        let issuer = Issuer {
            store: kept.store.clone(),
            authority: authority.clone(),
            trust: trust.clone(),
            address: advertised,
            control_key: kept.key.hash(),
        };
        let discovery = Discovery::open(&world, clock.clone(), kept.store.clone(), trust.clone())?;
        let api = Api {
            discovery,
            resources: Resources::new(kept.store.clone(), weft_crd::Options::default()),
            issuer,
            admins: admins.into(),
            clock,
        };
        eprintln!("weft control: ready at {address}, trust domain {}", arguments.trust_domain);
        let credential = credential.display();
        eprintln!("weft control: for `weft apply` and others: export WEFT_CREDENTIAL={credential}");
        let renewing = renew(&world, &kept.files, &arguments.trust_domain, &authority);
        tokio::select! {
            biased;
            signal = weft_net::terminated() => {
                let signal = signal.context("cannot wait for signals")?;
                eprintln!("weft control: ended by {signal:?}");
                Ok(())
            }
            served = serve(world.clone(), &kept.key, &trust, api, listener) => {
                served.context("the port cannot be served")
            }
            never = renewing => match never {},
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

/// The longest pause between two looks at civil time, which may jump.
const LOOK: Duration = Duration::from_secs(3600);

/// The shortest life of an intermediate before the next, should its root be about to end.
const RENEW_PAUSE: Duration = Duration::from_secs(60);

/// Sees to it for ever that an intermediate signs that holds, and says what it did.
async fn renew(
    world: &World,
    files: &AuthorityFiles,
    trust_domain: &TrustDomain,
    authority: &AuthoritySlot,
) -> Infallible {
    loop {
        let (now, present) = (world.clock.wall(), authority.load());
        let wait = present.renew_at().0.saturating_sub(now.0);
        if !wait.is_zero() {
            world.clock.sleep(wait.min(LOOK)).await;
            continue;
        }
        let end = present.validity().not_after;
        match next_authority(world, files, trust_domain, now) {
            Ok(next) => {
                let next_end = next.validity().not_after;
                eprintln!(
                    "weft control: a new intermediate signs from now on, which holds until \
                     {next_end}; the last one holds until {end}"
                );
                authority.replace(next);
                world.clock.sleep(RENEW_PAUSE).await;
            }
            Err(error) => {
                eprintln!(
                    "weft control: the intermediate, which holds until {end}, is not renewed, and \
                     this is tried again in an hour: {error}"
                );
                world.clock.sleep(LOOK).await;
            }
        }
    }
}

/// The intermediate that somebody has put in place, or a new one.
fn next_authority(
    world: &World,
    files: &AuthorityFiles,
    trust_domain: &TrustDomain,
    now: UnixTime,
) -> Result<Authority, AuthorityError> {
    let found = files.open(&*world.files, trust_domain, now)?;
    if found.renew_at() > now {
        return Ok(found);
    }
    files.renew(&*world.files, trust_domain, now)
}

/// Opens what is in the directory; on the first start, makes it.
fn open(world: &World, arguments: &Arguments) -> anyhow::Result<Kept> {
    let data = &arguments.data;
    make_private(data)?;
    let files = &*world.files;
    let options = weft_store::Options::at(world.clock.now());
    // The store first: its lock keeps a second control plane from touching the rest.
    let store = Arc::new(LocalStore::open(data.join("store.redb"), &options)?);
    let key = ControlKey::open(files, &data.join("control-key.pem"))?;
    let authority_files = AuthorityFiles::new(data, 1);
    let authority = authority_files.open(files, &arguments.trust_domain, world.clock.wall())?;
    Ok(Kept { key, authority, files: authority_files, store })
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
