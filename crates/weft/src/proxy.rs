//! `weft proxy`: a proxy with explicit listeners, from a file.

mod file;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use weft_identity::MutualTls;
use weft_proxy::config::{Inbound, Listen, Outbound, OutboundTo};
use weft_proxy::{Overload, Parts, Proxy, StartError, start};
use weft_telemetry::metrics::{self, Metrics, Registry};
use weft_telemetry::{AccessLog, Both, Format, Lines, Recorder, Select};
use weft_wire::Release;
use weft_wire::discovery::Subscription;
use weft_world::{Files, World};

use self::file::{Checked, FixedInbound, Identity};
use crate::admin::{self, Shown};
use crate::joined::{self, DirectoryLock, Joined, Joining, Workload};
use crate::name_servers::{self, NameServers};
use crate::overload;

/// How long what is under way may take after SIGTERM where nobody says so, in seconds.
const DRAIN_SECONDS: u64 = 30;

/// The most bytes of a configuration file, a certificate or a key.
const FILE_BYTES_MAX: usize = 1 << 20;

/// The arguments of `weft proxy`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The file that names identity, listeners and endpoints.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    #[command(flatten)]
    log: Log,

    /// Where metrics (`/metrics`) and readiness (`/ready`) are shown.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,

    /// How long what is under way may take to come to its end after SIGTERM, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = DRAIN_SECONDS)]
    drain_timeout: u64,
}

/// What is logged of requests and connections.
#[derive(Clone, Copy, clap::Args)]
pub struct Log {
    /// Which requests and connections get a line in the access log, on standard error.
    #[arg(long, value_enum, default_value_t = LogSelect::Failures)]
    access_log: LogSelect,

    /// How a line of the access log looks.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    access_log_format: LogFormat,
}

impl Log {
    /// Starts the log: from now on a thread of its own writes all that goes to standard error.
    pub fn start(&self) -> anyhow::Result<AccessLog> {
        let select = match self.access_log {
            LogSelect::Off => Select::Off,
            LogSelect::Failures => Select::Failures,
            LogSelect::All => Select::All,
        };
        let format = match self.access_log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        };
        let lines = Lines::standard_error().context("cannot start the thread of the log")?;
        Ok(AccessLog::new(format, select, lines))
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LogSelect {
    /// None.
    Off,
    /// Those that failed.
    Failures,
    /// All.
    All,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    /// `key=value` pairs.
    Text,
    /// One JSON object a line.
    Json,
}

/// Runs until SIGTERM or SIGINT, as a proxy of `release`.
pub fn run(arguments: &Arguments, release: Release) -> anyhow::Result<()> {
    let world = weft_net::world();
    let path = &arguments.config;
    let checked = file::load(&*world.files, path)?;
    let access_log = arguments.log.start()?;
    let registry = Registry::new(metrics::Options {
        version: env!("CARGO_PKG_VERSION"),
        ..metrics::Options::default()
    });
    registry.watch_access_log(&access_log);
    let telemetry = Telemetry {
        recorder: Rc::new(Both(Metrics::new(&registry), access_log)),
        registry,
        listen: arguments.metrics,
    };

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the event loop")?;
    let grace = Duration::from_secs(arguments.drain_timeout);
    runtime.block_on(serve(world, checked, telemetry, grace, path, release))
}

/// Where the records go.
struct Telemetry {
    recorder: Rc<dyn Recorder>,
    registry: Arc<Registry>,
    /// Where the metrics are shown.
    listen: Option<SocketAddr>,
}

/// All that the file has listened at.
struct Opened {
    metrics: Option<admin::Opened>,
    outbound: Vec<Outbound>,
    inbound: Vec<FixedInbound>,
    /// The workload that is registered, and where tunnels to it are taken.
    workload: Option<(Workload, Inbound)>,
}

/// Opens what is listened at. What somebody else may have taken comes before what is given once
/// only: a start that fails costs no use of a join token.
fn open(
    world: &World,
    metrics: Option<SocketAddr>,
    outbound: Vec<Outbound>,
    inbound: Vec<FixedInbound>,
    workload: Option<file::Registered>,
    data: Option<&Path>,
) -> anyhow::Result<Opened> {
    let outbound = outbound.into_iter().map(|Outbound { listen, to }| {
        let listen = Listen::Open(weft_proxy::open(&*world.network, listen)?);
        Ok(Outbound { listen, to })
    });
    Ok(Opened {
        metrics: metrics.map(admin::open).transpose()?,
        outbound: outbound.collect::<Result<_, StartError>>()?,
        inbound: inbound.into_iter().map(|it| it.open(world)).collect::<Result<_, _>>()?,
        workload: workload.map(|it| it.open(world, data)).transpose()?,
    })
}

/// Serves as the file says until a signal ends it.
async fn serve(
    world: World,
    checked: Checked,
    telemetry: Telemetry,
    grace: Duration,
    path: &Path,
    release: Release,
) -> anyhow::Result<()> {
    let Checked { identity, outbound, inbound, workload, data } = checked;
    let Telemetry { recorder, registry, listen: metrics } = telemetry;
    let cannot_start = || format!("the proxy of {} cannot start", path.display());
    // Held to the end.
    let _lock = match &data {
        Some(data) => {
            let lock = DirectoryLock::take(&world, data, "another `data`").await;
            Some(lock.with_context(cannot_start)?)
        }
        None => None,
    };
    let opened = open(&world, metrics, outbound, inbound, workload, data.as_deref());
    let opened = opened.with_context(cannot_start)?;
    let Opened { metrics, outbound, inbound, workload } = opened;
    let mut parts = Parts {
        inside: world.network.clone(),
        world: world.clone(),
        tls: None,
        system_roots: crate::system_roots(),
        recorder,
        configuration: Arc::default(),
        discovery: None,
        resolver: Some(Rc::new(name_servers::OfWorker(NameServers::of_host(&world)))),
        overload: Overload::default(),
    };
    let watching = overload::watch(world.clone(), parts.overload.clone(), registry.clone());
    tokio::task::spawn_local(watching);
    let (workload, tunnels) = workload.unzip();
    let needs_own = workload.is_some();
    let mut joined = None;
    match identity {
        Some(Identity::Given(credentials)) => {
            let tls = MutualTls::new(&credentials).context("cannot set up TLS")?;
            parts.tls = Some(Rc::new(tls));
        }
        Some(Identity::Joined(joining)) => {
            let file::Joining { token, service_account, services } = *joining;
            let registry = registry.clone();
            let joining =
                Joining { token, service_account, services, data, workload, registry, release };
            let found = joined::join(&world, joining).await?;
            parts.tls = Some(Rc::new(found.tls.clone()));
            parts.configuration = found.configuration.clone();
            parts.discovery = Some(found.discovery());
            joined = Some(found);
        }
        None => {}
    }
    let mut listeners: Vec<Inbound> = tunnels.into_iter().collect();
    if let Some(tls) = &parts.tls {
        let trust_domain = tls.identity().trust_domain();
        listeners.extend(inbound.into_iter().map(|inbound| inbound.of(trust_domain)));
    }
    let shown = Shown { registry, configuration: parts.configuration.clone(), needs_own };
    let ready = Ready { parts, outbound, listeners, metrics, shown };
    let served = until_told(&world, ready, joined.as_ref(), grace).await;
    // However it ended: what was given out is given back.
    if let Some(joined) = joined {
        joined.leave(&world).await;
    }
    served
}

/// What a proxy is put together from.
struct Ready {
    parts: Parts,
    outbound: Vec<Outbound>,
    listeners: Vec<Inbound>,
    metrics: Option<admin::Opened>,
    shown: Shown,
}

/// Serves until a signal ends it, and what is under way has come to its end.
async fn until_told(
    world: &World,
    ready: Ready,
    joined: Option<&Joined>,
    grace: Duration,
) -> anyhow::Result<()> {
    let Ready { parts, outbound, listeners, metrics, shown } = ready;
    let mut told = pin!(weft_net::terminated());
    if let Some(joined) = joined {
        tokio::select! {
            biased;
            signal = &mut told => return ended_by(signal),
            () = warm(world, joined, shown.needs_own, &outbound) => {}
        }
    }
    let identity = parts.tls.as_ref().map(|tls| tls.identity().to_string());
    let proxy = Rc::new(Proxy::new(parts));
    let mut running = start(&proxy, outbound, listeners).context("the proxy cannot start")?;
    if let Some(metrics) = metrics {
        // Before the word that it is ready, after which nothing is waited for.
        weft_control::say!("weft proxy: metrics at http://{}/metrics", metrics.address);
        metrics.show(shown);
    }
    let addresses: Vec<_> = running.addresses.iter().map(ToString::to_string).collect();
    weft_control::say!(
        "weft proxy: ready, as {}, listening at {}",
        identity.as_deref().unwrap_or("nobody (no identity given)"),
        addresses.join(", "),
    );
    tokio::select! {
        biased;
        signal = told => ended_by(signal)?,
        () = running.wait() => anyhow::bail!("all listeners have ended"),
    }
    if let Some(joined) = joined {
        joined.drain(world).await;
    }
    tokio::select! {
        biased;
        () = proxy.drain() => {}
        () = world.clock.sleep(grace) => {
            weft_control::say!("weft proxy: ended with work still under way after {grace:?}");
        }
        // Who asks twice does not want to wait.
        _ = weft_net::terminated() => {}
    }
    // What is accepted from now on would be cut off in its midst; what is not fails to connect.
    drop(running);
    Ok(())
}

fn ended_by(signal: io::Result<weft_net::Signal>) -> anyhow::Result<()> {
    weft_control::say!("weft proxy: ended by {:?}", signal.context("cannot wait for signals")?);
    Ok(())
}

/// Waits for what the first connections will need, and says what is missing.
async fn warm(world: &World, joined: &Joined, needs_own: bool, outbound: &[Outbound]) {
    let discovery = joined.discovery();
    for listener in outbound {
        if let OutboundTo::Service(name, _) = &listener.to {
            let found = discovery.look(Subscription::Service(name.clone()));
            tokio::task::spawn_local(found);
        }
    }
    joined.ready(world, "weft proxy", needs_own).await;
}

/// Reads the file at `path`, with an error that names it.
pub fn read(files: &dyn Files, path: &Path) -> anyhow::Result<Vec<u8>> {
    files.read(path, FILE_BYTES_MAX).with_context(|| format!("cannot read {}", path.display()))
}
