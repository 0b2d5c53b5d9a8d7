//! `weft proxy`: a proxy with explicit listeners, from a file.

mod file;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context as _;
use weft_control::Joiner;
use weft_identity::{Credentials, MutualTls, Tls, Validity, renew_at};
use weft_proxy::{Parts, Proxy, start};
use weft_telemetry::{AccessLog, Format, Select};
use weft_world::{Files, World};

use self::file::{Identity, Joining};

/// The most bytes of a configuration file, a certificate or a key.
const FILE_BYTES_MAX: usize = 1 << 20;

/// The arguments of `weft proxy`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The file that names identity, listeners and endpoints.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Which requests and connections get a line in the access log, on standard error.
    #[arg(long, value_enum, default_value_t = LogSelect::Failures)]
    access_log: LogSelect,

    /// How a line of the access log looks.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    access_log_format: LogFormat,
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

/// Runs until SIGTERM or SIGINT.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let world = weft_net::world();
    let path = &arguments.config;
    let checked = file::load(&*world.files, path)?;
    let select = match arguments.access_log {
        LogSelect::Off => Select::Off,
        LogSelect::Failures => Select::Failures,
        LogSelect::All => Select::All,
    };
    let format = match arguments.access_log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let (access_log, log_thread) = AccessLog::start(format, select, std::io::stderr())
        .context("cannot start the thread of the access log")?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the event loop")?;
    let result = runtime.block_on(async {
        let tls = match checked.identity {
            Some(identity) => Some(establish(&world, identity).await?),
            None => None,
        };
        let identity = tls.as_ref().map(|tls| tls.identity().to_string());
        let inbound = match &tls {
            Some(tls) => {
                let trust_domain = tls.identity().trust_domain();
                checked.inbound.into_iter().map(|inbound| inbound.of(trust_domain)).collect()
            }
            None => Vec::new(),
        };
        let proxy = Rc::new(Proxy::new(Parts {
            inside: world.network.clone(),
            world,
            tls,
            recorder: Rc::new(access_log),
            configuration: Arc::default(),
            discovery: None,
        }));
        let mut running = start(&proxy, checked.outbound, inbound)
            .with_context(|| format!("the proxy of {} cannot start", path.display()))?;
        let addresses: Vec<_> = running.addresses.iter().map(ToString::to_string).collect();
        eprintln!(
            "weft proxy: ready, as {}, listening at {}",
            identity.as_deref().unwrap_or("nobody (no identity given)"),
            addresses.join(", "),
        );
        tokio::select! {
            biased;
            signal = weft_net::terminated() => {
                eprintln!("weft proxy: ended by {:?}", signal.context("cannot wait for signals")?);
            }
            () = running.wait() => anyhow::bail!("all listeners have ended"),
        }
        Ok(())
    });
    drop(runtime);
    // The last lines of the access log are still on their way.
    let _ = log_thread.join();
    result
}

/// The identity to prove, as the file says; one from a control plane is renewed from now on.
async fn establish(world: &World, identity: Identity) -> anyhow::Result<Rc<dyn Tls>> {
    let set_up =
        |credentials: &Credentials| MutualTls::new(credentials).context("cannot set up TLS");
    match identity {
        Identity::Given(credentials) => Ok(Rc::new(set_up(&credentials)?)),
        Identity::Joined(joining) => {
            let Joining { token, service_account, services } = *joining;
            let joiner = Joiner::new(world.clone(), token, service_account, services);
            let credentials = joiner.join().await.context("cannot join the mesh")?;
            let tls = Rc::new(set_up(&credentials)?);
            let validity = credentials.svid.validity();
            tokio::task::spawn_local(renew(world.clone(), joiner, tls.clone(), validity));
            Ok(tls)
        }
    }
}

/// Renews the certificate behind `tls` for ever.
async fn renew(world: World, mut joiner: Joiner, tls: Rc<MutualTls>, mut validity: Validity) {
    let mut failures = 0;
    loop {
        let now = world.clock.wall();
        let due = renew_at(validity, failures, now, world.entropy.fraction());
        world.clock.sleep(due.0.saturating_sub(now.0)).await;
        let renewed = joiner.renew(tls.svid()).await.map_err(|error| error.to_string());
        let taken = renewed.and_then(|credentials| {
            tls.replace_svid(&credentials.svid).map_err(|error| error.to_string())?;
            tls.replace_trust(credentials.bundle).map_err(|error| error.to_string())?;
            Ok(credentials.svid.validity())
        });
        match taken {
            Ok(renewed) => (validity, failures) = (renewed, 0),
            Err(error) => {
                failures += 1;
                eprintln!(
                    "weft proxy: the certificate is not renewed, attempt {failures}: {error}"
                );
            }
        }
    }
}

/// Reads the file at `path`, with an error that names it.
fn read(files: &dyn Files, path: &Path) -> anyhow::Result<Vec<u8>> {
    files.read(path, FILE_BYTES_MAX).with_context(|| format!("cannot read {}", path.display()))
}
