//! `weft demo`: a small mesh of separate processes on this machine, with traffic through it.

mod caller;
mod processes;
pub mod service;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use weft_control::Client;
use weft_control::api::TokenRequest;
use weft_identity::AdminCredential;
use weft_world::World;

use self::caller::Tally;
use self::processes::Process;

/// The arguments of `weft demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// How long to send requests, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    duration: u64,

    /// How many requests to send in a second.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 200,
        value_parser = clap::value_parser!(u64).range(1..=10_000)
    )]
    rate: u64,

    /// Leave everything running until Ctrl-C, for requests of your own.
    #[arg(long)]
    keep: bool,

    /// How the summary is printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// The service accounts of the demo: who calls, and who is called.
const CALLER: &str = "shop/web";
const CALLED: &str = "shop/cart";

/// How often the log is looked at for its last lines, 20 ms apart.
const LOG_LOOKS_MAX: u32 = 100;

/// The processes of the demo, and where they are reached. They end with it, and so does the
/// directory of their files.
struct Mesh {
    directory: PathBuf,
    /// Where to call the service, through both proxies.
    entry: std::net::SocketAddr,
    called: Process,
    _others: Vec<Process>,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Runs the demo, and fails unless every request was answered over mutual TLS.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let world = weft_net::world();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        tokio::select! {
            biased;
            signal = weft_net::terminated() => {
                signal.context("cannot wait for signals")?;
                eprintln!("weft demo: interrupted, everything is ended");
                Ok(())
            }
            result = play(&world, arguments) => result,
        }
    })
}

async fn play(world: &World, arguments: &Arguments) -> anyhow::Result<()> {
    let mesh = start(world).await?;
    eprintln!(
        "weft demo: sending {} requests a second for {} s",
        arguments.rate, arguments.duration
    );
    let duration = Duration::from_secs(arguments.duration);
    let tally = caller::call(world, mesh.entry, arguments.rate, duration).await;
    let proved = proved_requests(world, &mesh.called, tally.requests - tally.failures).await;
    println!("{}", summary(&tally, proved, arguments.output));
    ensure!(tally.failures == 0, "{} of {} requests failed", tally.failures, tally.requests);
    ensure!(
        proved == tally.requests,
        "{proved} of {} requests are known to have come over mutual TLS",
        tally.requests
    );
    if arguments.keep {
        eprintln!("weft demo: try `curl http://{}/`; Ctrl-C ends it", mesh.entry);
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Starts control plane, service and both proxies, each a process of its own.
async fn start(world: &World) -> anyhow::Result<Mesh> {
    let name = format!("weft-demo-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let data = directory.join("control");
    let data_text = data.display().to_string();
    let control = Process::start(
        &directory,
        "control",
        &["control", "--listen", "127.0.0.1:0", "--data", &data_text],
    )?;
    let address = control.ready(world, "weft control: ready at ").await?;
    eprintln!("weft demo: the control plane listens at {address}");

    let service = Process::start(&directory, "service", &["demo-service"])?;
    let application = service.ready(world, "weft demo-service: ready at ").await?;
    eprintln!("weft demo: the service listens at {application}, in plaintext, for its proxy");

    let credential = AdminCredential::read(&*world.files, &data.join("admin"))?;
    let client = Client::new(world.clone(), credential);
    let (caller_token, called_token) = (directory.join("caller"), directory.join("called"));
    join_token(world, &client, CALLER, &caller_token).await?;
    join_token(world, &client, CALLED, &called_token).await?;

    let called_file = directory.join("called.yaml");
    let called = format!(
        "identity: {{ joinToken: called, serviceAccount: {CALLED}, services: [{CALLED}] }}
inbound:
- listen: 127.0.0.1:0
  workload: shop/cart-1
  ports: [{{ port: 80, protocol: http, application: '{application}' }}]
"
    );
    let (called, tunnel) = proxy(world, &directory, &called_file, &called).await?;
    let caller_file = directory.join("caller.yaml");
    let calling = format!(
        "identity: {{ joinToken: caller, serviceAccount: {CALLER} }}
outbound:
- listen: 127.0.0.1:0
  protocol: http
  service: {CALLED}
  endpoints:
  - {{ tunnel: '{tunnel}', identity: 'spiffe://weft.local/ns/shop/sa/cart', workload: shop/cart-1, port: 80 }}
"
    );
    let (caller, entry) = proxy(world, &directory, &caller_file, &calling).await?;
    eprintln!(
        "weft demo: {CALLER} calls {entry}, its proxy; {CALLED} is behind the tunnel at {tunnel}"
    );
    Ok(Mesh { directory, entry, called, _others: vec![control, service, caller] })
}

/// Has a join token made for `account`, and writes it to `path`.
async fn join_token(
    world: &World,
    client: &Client,
    account: &str,
    path: &Path,
) -> anyhow::Result<()> {
    let request = TokenRequest {
        service_account: account.to_owned(),
        services: vec![CALLED.to_owned()],
        uses: 1,
        lifetime_seconds: 60,
    };
    let made = client.token(&request).await?;
    world.files.replace(path, made.token.as_bytes())?;
    Ok(())
}

/// Starts a proxy with `config`, and waits until it listens.
async fn proxy(
    world: &World,
    directory: &Path,
    file: &Path,
    config: &str,
) -> anyhow::Result<(Process, std::net::SocketAddr)> {
    world.files.replace(file, config.as_bytes())?;
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or("proxy");
    let path = file.display().to_string();
    let arguments = ["proxy", "--config", &path, "--access-log", "all"];
    let process = Process::start(directory, name, &arguments)?;
    let address = process.ready(world, "listening at ").await?;
    Ok((process, address))
}

/// How many requests the called side's proxy says it has answered for the caller's identity.
async fn proved_requests(world: &World, called: &Process, expected: u64) -> u64 {
    let is_proved = |line: &&str| {
        line.contains("direction=inbound")
            && line.contains("status=200")
            && line.contains("peer=spiffe://weft.local/ns/shop/sa/web")
    };
    let mut looks = LOG_LOOKS_MAX;
    loop {
        let proved = called.log().lines().filter(is_proved).count() as u64;
        looks -= 1;
        if proved >= expected || looks == 0 {
            return proved;
        }
        // The access log is written behind the data path's back.
        world.clock.sleep(Duration::from_millis(20)).await;
    }
}

fn summary(tally: &Tally, proved: u64, output: Output) -> String {
    let Tally { requests, failures, .. } = *tally;
    let (p50, p99) = (tally.quantile(0.5), tally.quantile(0.99));
    let milliseconds = |duration: Duration| format!("{:.3}", duration.as_secs_f64() * 1000.0);
    match output {
        Output::Text => format!(
            "{requests} requests, {failures} failed, {proved} proved to be over mutual TLS\n\
             half were answered within {} ms, 99 of 100 within {} ms\n\
             2 proxies; spiffe://weft.local/ns/shop/sa/web called spiffe://weft.local/ns/shop/sa/cart",
            milliseconds(p50),
            milliseconds(p99),
        ),
        Output::Json => serde_json::json!({
            "requests": requests,
            "failures": failures,
            "mutual_tls": proved,
            "p50_ms": p50.as_secs_f64() * 1000.0,
            "p99_ms": p99.as_secs_f64() * 1000.0,
            "proxies": 2,
            "identities": [
                "spiffe://weft.local/ns/shop/sa/cart",
                "spiffe://weft.local/ns/shop/sa/web",
            ],
        })
        .to_string(),
    }
}
