//! `weft demo`: a control plane and a small shop on this machine, each service and each proxy a
//! process of its own, with steady traffic and a live table.

mod caller;
mod latency;
mod mesh;
pub mod processes;
mod records;
mod resources;
pub mod shop;
mod table;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};
use weft_world::{Moment, World};

use self::caller::Tally;
use self::latency::Lately;
use self::mesh::{Mesh, WORKLOADS, Workload};
use self::records::{Counts, Look};
use self::table::{Row, Screen, Try, View};

/// The arguments of `weft demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// End by itself after that long, as in 30s, with an exit status that says whether every
    /// request was answered over mutual TLS. Default: run until Ctrl-C.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,

    /// How many times in a second the shop's page is asked for.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 20,
        value_parser = clap::value_parser!(u64).range(1..=1_000)
    )]
    rate: u64,

    /// How the summary is printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = weft_crd::parse_duration(text)?;
    if duration.is_zero() { Err("0 is not allowed".to_owned()) } else { Ok(duration) }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// How often the table is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(500);

/// How often a line is printed where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The longest wait for the last lines of the access logs, which are written behind the data
/// path's back.
const PROOF_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it is looked whether they have come.
const PROOF_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Runs the demo. With a duration it fails unless every request was answered over mutual TLS.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let world = weft_net::world();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let (mesh, tally) = (Mesh::new(&world)?, Tally::default());
        let result = tokio::select! {
            biased;
            interrupted = interrupted() => interrupted.map(|()| true),
            result = play(&world, arguments, &mesh, &tally) => result.map(|()| false),
        };
        let summary = Summary::of(&mesh, &tally);
        mesh.end(&world).await;
        drop(mesh);
        let is_early = result?;
        say(&summary.text(arguments.output));
        match (arguments.duration, is_early) {
            (Some(_), true) => bail!("ended by a signal, before the time was over"),
            (Some(_), false) => summary.check(),
            // Who has tried the commands has made requests fail.
            (None, _) => Ok(()),
        }
    })
}

/// Waits for a signal to end: SIGINT, SIGTERM, or SIGHUP when the terminal is closed.
async fn interrupted() -> anyhow::Result<()> {
    let cannot = "cannot wait for signals";
    let mut hangup = signal(SignalKind::hangup()).context(cannot)?;
    tokio::select! {
        biased;
        signal = weft_net::terminated() => signal.map(|_| ()).context(cannot),
        _ = hangup.recv() => Ok(()),
    }
}

/// Starts the mesh, sends requests and shows how it goes, until the time is over.
async fn play(
    world: &World,
    arguments: &Arguments,
    mesh: &Mesh,
    tally: &Tally,
) -> anyhow::Result<()> {
    eprintln!("weft demo: starting a control plane, the services of a shop, and their proxies");
    let entry = mesh.start(world).await?;
    let page = format!("http://{entry}/");
    let showing = show(world, mesh, tally, &page);
    let calling = caller::call(world, entry, arguments.rate, arguments.duration, tally);
    tokio::select! {
        biased;
        () = calling => {}
        () = showing => {}
    }
    let deadline = world.clock.now() + PROOF_TIMEOUT;
    while !Summary::of(mesh, tally).is_proved() && world.clock.now() < deadline {
        world.clock.sleep(PROOF_LOOK_INTERVAL).await;
    }
    Ok(())
}

/// Shows how it goes, for ever: as a table on a terminal, else as lines.
async fn show(world: &World, mesh: &Mesh, tally: &Tally, page: &str) {
    let clock = &world.clock;
    let start = clock.now();
    if let Some(screen) = Screen::open() {
        loop {
            screen.draw(&table::lines(&view(clock.now(), start, mesh, tally, page)));
            clock.sleep(DRAW_INTERVAL).await;
        }
    }
    let first = view(start, start, mesh, tally, page);
    eprintln!("weft demo: {} processes; the shop's page is {page}", first.processes);
    for line in table::try_lines(&first.directory, &first.tries) {
        eprintln!("weft demo: {line}");
    }
    loop {
        clock.sleep(LINE_INTERVAL).await;
        let (requests, failures) = tally.counts();
        let Lately { rate, p50, p99, .. } = tally.lately(clock.now());
        let mut line = format!(
            "{requests} requests, {failures} failed; {rate:.1} a second, half within {} ms, 99 of \
             100 within {} ms",
            table::milliseconds(p50),
            table::milliseconds(p99)
        );
        let now = clock.now();
        let last = tally.last_failure().filter(|(at, _)| now.since(*at) <= LINE_INTERVAL);
        if let Some((_, why)) = last {
            line.push_str(&format!("; last failure: {why}"));
        }
        eprintln!("weft demo: {line}");
    }
}

/// What there is to show at `now`.
fn view(now: Moment, start: Moment, mesh: &Mesh, tally: &Tally, page: &str) -> View {
    let mut rows = vec![Row {
        service: "visitors".to_owned(),
        instance: String::new(),
        process: None,
        lately: tally.lately(now),
        failed: tally.counts().1,
        share: None,
        state: String::new(),
    }];
    let looks: Vec<(&Workload, Look)> = WORKLOADS
        .iter()
        .filter_map(|workload| Some((workload, mesh.instances.look(workload.name)?)))
        .collect();
    let rate = |is_meant: &dyn Fn(&Workload) -> bool| -> f64 {
        looks.iter().filter(|(one, _)| is_meant(one)).map(|(_, look)| look.lately.rate).sum()
    };
    for (workload, look) in &looks {
        let service = workload.service();
        let whole = rate(&|one| one.service() == service);
        let is_alone = looks.iter().filter(|(one, _)| one.service() == service).count() == 1;
        rows.push(Row {
            service: service.to_owned(),
            instance: workload.name.to_owned(),
            process: mesh.process(workload.name).map(|(id, _)| id),
            lately: look.lately,
            failed: look.counts.failed,
            share: (!is_alone && whole > 0.0).then(|| look.lately.rate / whole),
            state: state(mesh, workload, look, rate(&|one| one.is_like(workload)) > 0.0),
        });
    }
    let served = |pick: fn(&Counts) -> u64| {
        mesh.instances.services().iter().map(|(_, counts)| pick(counts)).sum()
    };
    let failure = tally.last_failure().map(|(at, why)| (now.since(at), why));
    View {
        elapsed: now.since(start),
        processes: mesh.processes().0,
        page: page.to_owned(),
        rows,
        served: served(|counts| counts.served),
        proved: served(|counts| counts.proved),
        failure,
        directory: mesh::quoted(&mesh.directory.0),
        tries: tries(mesh),
    }
}

/// How an instance is, in a few words. `others_serve` says that its like are called.
fn state(mesh: &Mesh, workload: &Workload, look: &Look, others_serve: bool) -> String {
    let ended = |name: &str| mesh.process(name).and_then(|(_, ended)| ended);
    if let Some(how) = ended(workload.name) {
        return how;
    }
    if let Some(how) = ended(&format!("{}-proxy", workload.name)) {
        return format!("its proxy: {how}");
    }
    match &look.reason {
        Some(reason) => reason.clone(),
        None if look.is_avoided && others_serve => "ejected".to_owned(),
        None if look.lately.failed > 0.0 => format!("{:.0} % fail", look.lately.failed * 100.0),
        None => "ok".to_owned(),
    }
}

/// The commands to try, with the ids of the processes that run.
fn tries(mesh: &Mesh) -> Vec<Try> {
    let id = |name: &str| mesh.process(name).map(|(id, _)| id.to_string()).unwrap_or_default();
    vec![
        Try {
            title: "shift a canary",
            command: "./weft apply -f canary-50.yaml".to_owned(),
            expect: "cart-v2-1 answers half, not 5 of 100. Back: ./weft apply -f canary-5.yaml",
        },
        Try {
            title: "deny a caller",
            command: "./weft apply -f deny.yaml".to_owned(),
            expect: "The cart answers 403. Undo: ./weft delete AuthorizationPolicy deny -n shop",
        },
        Try {
            title: "kill an instance",
            command: format!("kill -9 {}", id("cart-v1-2")),
            expect: "The other instances of the cart answer, and no visitor notices.",
        },
        Try {
            title: "break a service",
            command: format!("kill -USR1 {}", id("cart-v1-1")),
            expect: "It answers 500, and is ejected after 3 of them. The same command mends it.",
        },
    ]
}

/// How it went.
struct Summary {
    requests: u64,
    failures: u64,
    p50: Duration,
    p99: Duration,
    /// How many answers had which version of the cart.
    versions: BTreeMap<String, u64>,
    proxies: usize,
    /// For each Service, how many requests were served and proved.
    services: Vec<(&'static str, Counts)>,
}

impl Summary {
    fn of(mesh: &Mesh, tally: &Tally) -> Summary {
        let (requests, failures) = tally.counts();
        Summary {
            requests,
            failures,
            p50: tally.quantile(0.5),
            p99: tally.quantile(0.99),
            versions: tally.versions(),
            proxies: mesh.processes().1,
            services: mesh.instances.services(),
        }
    }

    /// How many requests must have reached each Service at least: an answer needs all of them.
    fn expected(&self) -> u64 {
        self.requests - self.failures
    }

    /// Whether every answer is known to have come over mutual TLS, on each hop.
    fn is_proved(&self) -> bool {
        self.services.iter().all(|(_, Counts { served, proved, .. })| {
            served == proved && *proved >= self.expected()
        })
    }

    /// Fails unless every request was answered, and every hop was mutual TLS.
    fn check(&self) -> anyhow::Result<()> {
        let Summary { requests, failures, services, .. } = self;
        ensure!(*requests > 0, "no request was sent");
        ensure!(*failures == 0, "{failures} of {requests} requests failed");
        for (service, Counts { served, proved, .. }) in services {
            let expected = self.expected().max(*served);
            ensure!(
                *proved == expected,
                "{proved} of {expected} requests to {service} are known to have come over mutual \
                 TLS"
            );
        }
        Ok(())
    }

    fn text(&self, output: Output) -> String {
        let Summary { requests, failures, p50, p99, versions, proxies, services } = self;
        let sum = |pick: fn(&Counts) -> u64| -> u64 {
            services.iter().map(|(_, counts)| pick(counts)).sum()
        };
        let (served, proved) = (sum(|counts| counts.served), sum(|counts| counts.proved));
        let identities = mesh::identities();
        match output {
            Output::Text => {
                let versions: Vec<_> =
                    versions.iter().map(|(name, count)| format!("{name} {count} times")).collect();
                format!(
                    "{requests} requests, {failures} failed; half were answered within {} ms, 99 \
                     of 100 within {} ms\nthe cart was {}\n{proxies} proxies, {} identities; \
                     {proved} of {served} served requests proved their caller by mutual TLS",
                    table::milliseconds(*p50),
                    table::milliseconds(*p99),
                    if versions.is_empty() { "not seen".to_owned() } else { versions.join(", ") },
                    identities.len(),
                )
            }
            Output::Json => {
                let hops: serde_json::Map<_, _> = services
                    .iter()
                    .map(|(service, Counts { served, proved, failed })| {
                        let hop = serde_json::json!({
                            "served": served,
                            "mutual_tls": proved,
                            "failed": failed,
                        });
                        ((*service).to_owned(), hop)
                    })
                    .collect();
                serde_json::json!({
                    "requests": requests,
                    "failures": failures,
                    "p50_ms": p50.as_secs_f64() * 1000.0,
                    "p99_ms": p99.as_secs_f64() * 1000.0,
                    "proxies": proxies,
                    "identities": identities,
                    "mutual_tls": self.is_proved(),
                    "services": hops,
                    "cart_versions": versions,
                })
                .to_string()
            }
        }
    }
}

/// Prints `text`. Who has closed the pipe does not want it.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
