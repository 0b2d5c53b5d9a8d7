//! `weft proxy`: a proxy with explicit listeners, from a file.

mod file;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context as _;
use weft_identity::{MutualTls, Tls};
use weft_proxy::{Proxy, start};
use weft_telemetry::{AccessLog, Format, Select};
use weft_world::Files;

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

    let mut tls: Option<Rc<dyn Tls>> = None;
    if let Some(credentials) = &checked.credentials {
        tls = Some(Rc::new(MutualTls::new(credentials).context("cannot set up TLS")?));
    }
    let identity = tls.as_ref().map(|tls| tls.identity().to_string());
    let proxy = Rc::new(Proxy { world, tls, recorder: Rc::new(access_log) });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the event loop")?;
    let result = runtime.block_on(async {
        let mut running = start(&proxy, checked.outbound, checked.inbound)
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
    drop((runtime, proxy));
    // The last lines of the access log are still on their way.
    let _ = log_thread.join();
    result
}

/// Reads the file at `path`, with an error that names it.
fn read(files: &dyn Files, path: &Path) -> anyhow::Result<Vec<u8>> {
    files.read(path, FILE_BYTES_MAX).with_context(|| format!("cannot read {}", path.display()))
}
