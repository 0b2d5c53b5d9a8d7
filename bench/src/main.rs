//! What Weft costs, beside its peers.
//!
//! Run through `cargo xtask bench`; how to read the results is in `bench/README.md`.

mod backend;
mod bulk;
mod certificates;
mod chart;
mod check;
mod clock;
mod install;
mod isolation;
mod load;
mod machine;
mod metric;
mod peers;
mod process;
mod profile;
mod report;
mod scenario;
mod session;

use anyhow::{Context, Result};
use clap::Parser;
use install::Places;
use machine::{Cores, Machine};
use metric::Metric;
use peers::Peer;
use report::Report;
use scenario::{Run, Scenario, Settings, Subject};
use session::Bench;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// Measures what Weft costs, beside its peers.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// One round of the HTTP/1.1 scenarios, saturated only; results are printed, not written
    #[arg(long)]
    quick: bool,
    /// How long `weft check` takes for 500 manifests, and nothing else
    #[arg(
        long,
        conflicts_with_all = ["quick", "only", "profile", "peers", "cores", "priority"]
    )]
    check: bool,
    /// Run only this scenario (may be given again)
    #[arg(long, value_name = "NAME")]
    only: Vec<Scenario>,
    /// How often each peer is measured [default: 3, with --quick 1, with --check 20]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Draw flame graphs (needs perf) of weft, or of --peers, instead of writing results
    #[arg(long)]
    profile: bool,
    /// Measure only these [default: all, with --profile weft]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    peers: Vec<Peer>,
    /// The core of the proxies and that of the load [default: the first two that share no
    /// hardware]
    #[arg(long, value_delimiter = ',', value_name = "P,L")]
    cores: Option<Vec<usize>>,
    /// Stay in the host's network namespace
    #[arg(long)]
    shared_network: bool,
    /// Run ahead of everything else on the machine, which may stall it meanwhile (needs root)
    #[arg(long)]
    priority: bool,
    #[arg(long, hide = true)]
    inside: bool,
}

impl Arguments {
    /// The peers to measure, each once, in the order of the tables.
    fn peers(&self) -> Vec<Peer> {
        let mut peers = match (self.peers.is_empty(), self.profile) {
            (false, _) => self.peers.clone(),
            (true, true) => vec![Peer::Weft],
            (true, false) => vec![Peer::Weft, Peer::Nginx, Peer::Haproxy, Peer::Envoy],
        };
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    fn settings(&self) -> Settings {
        let mut settings = if self.quick { Settings::quick() } else { Settings::full() };
        if self.profile {
            settings.rounds = 1;
            settings.slices = 1; // One flame graph of one window.
            settings.saturation = Duration::from_secs(6);
            settings.fixed = None;
        }
        settings.rounds = self.rounds.unwrap_or(settings.rounds);
        settings
    }

    fn scenarios(&self) -> Vec<Scenario> {
        let only_http = self.quick && self.only.is_empty();
        let chosen = |scenario: &Scenario| match only_http {
            true => scenario.protocol() == peers::Protocol::Http,
            false => self.only.is_empty() || self.only.contains(scenario),
        };
        Scenario::ALL.into_iter().filter(chosen).collect()
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let places = Places::find()?;
    if arguments.check {
        install::ensure_all(&[Peer::Weft], &places, false)?;
        check::run(&places, arguments.rounds)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.inside {
        install::ensure_all(&arguments.peers(), &places, arguments.profile)?;
        // `perf` sees the processes of the host only.
        if !arguments.shared_network && !arguments.profile && isolation::is_possible() {
            let status = isolation::run_inside()?;
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        println!("Running in the host's network namespace.");
    } else {
        isolation::prepare()?;
    }
    if arguments.priority {
        isolation::take_precedence(arguments.inside)?;
    }
    measure_all(arguments, &places)
}

fn measure_all(arguments: &Arguments, places: &Places) -> Result<ExitCode> {
    let cores = Cores::choose(arguments.cores.as_deref())?;
    let settings = arguments.settings();
    let versions = versions(arguments, places)?;
    let mut all_valid = true;
    for scenario in arguments.scenarios() {
        let report = measure(arguments, places, cores, &settings, &versions, scenario)?;
        println!("{}", report.to_text());
        all_valid &= report.runs.iter().all(|run| run.invalid.is_none());
        if !arguments.quick && !arguments.profile {
            report.write(&places.workspace.join("bench/results"))?;
            println!("Written to bench/results/{}.{{md,json,svg}}\n", scenario.name());
        }
    }
    Ok(if all_valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What each peer says of its version, asked before anybody can change the sources.
fn versions(arguments: &Arguments, places: &Places) -> Result<BTreeMap<Peer, String>> {
    let version = |peer: Peer| {
        let program = places.program(peer, arguments.profile);
        let program = program.with_context(|| format!("{} is not installed", peer.name()))?;
        Ok((peer, peer.version(&program, places)?))
    };
    arguments.peers().into_iter().map(version).collect()
}

fn measure(
    arguments: &Arguments,
    places: &Places,
    cores: Cores,
    settings: &Settings,
    versions: &BTreeMap<Peer, String>,
    scenario: Scenario,
) -> Result<Report> {
    let folder = places.target.join("bench-run").join(scenario.name());
    std::fs::create_dir_all(&folder)?;
    certificates::write(&folder)?;
    let mut peers = arguments.peers();
    peers.retain(|peer| peer.supports(scenario));
    let profile = arguments.profile.then(|| places.target.join("bench-profile"));
    let bench = Bench { places, cores, settings, scenario, folder, profile };
    let direct = std::iter::once(Subject::Direct);
    let subjects: Vec<Subject> = direct.chain(peers.iter().copied().map(Subject::Peer)).collect();
    let mut runs = Vec::new();
    for round in 1..=settings.rounds {
        for run in bench.round(&subjects, round) {
            println!("{}", progress(scenario, &run, settings.rounds));
            runs.push(run);
        }
    }
    let mut report = Report {
        scenario,
        finished_unix_s: clock::unix_s(),
        machine: Machine::here(arguments.inside),
        settings: settings.clone(),
        versions: versions.clone().into_iter().filter(|(peer, _)| peers.contains(peer)).collect(),
        runs,
    };
    report.derive_added_latency();
    Ok(report)
}

/// One line for whoever waits.
fn progress(scenario: Scenario, run: &Run, rounds: u32) -> String {
    let outcome = match &run.invalid {
        Some(reason) => format!("INVALID: {reason}"),
        None => {
            let shown = [
                Metric::SaturationCpuUs,
                Metric::SaturationPerS,
                Metric::FixedCpuUs,
                Metric::BulkCpuSPerGib,
                Metric::DownloadMibPerS,
                Metric::UploadMibPerS,
            ];
            let values = shown.iter().filter_map(|metric| {
                let value = run.values.get(metric)?;
                Some(format!("{value:.*} {}", metric.decimals(), metric.title()))
            });
            values.collect::<Vec<_>>().join(", ")
        }
    };
    format!("{} {}/{rounds} {:<8} {outcome}", scenario.name(), run.round, run.subject.name())
}
