//! The scenarios, and one run of one of them: start the proxies, load them, read what they used, stop them.

use crate::bulk::{Bulk, Direction};
use crate::clock;
use crate::install::Places;
use crate::load::{CONNECTIONS, Edge, Load, Pace, Tally};
use crate::machine::{Busy, Cores};
use crate::metric::Metric;
use crate::peers::{Hops, Launch, Peer, Protocol, Site};
use crate::process::{self, Memory, Process};
use crate::profile::Recording;
use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The rate of the open loop, requests per second.
pub const FIXED_PER_S: u32 = 1_000;

const START_PATIENCE: Duration = Duration::from_secs(10);
/// Between the first answer and the reading of the memory of an idle proxy.
const SETTLE: Duration = Duration::from_millis(300);
const GIB: f64 = (1_u64 << 30) as f64;
const MIB: f64 = (1_u64 << 20) as f64;
const BULK_WARM_UP_BYTES: u64 = 32 << 20;

/// A way of using the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// HTTP/1.1 through one proxy, plain text.
    #[value(name = "http1-one-hop")]
    Http1OneHop,
    /// HTTP/1.1 through two proxies with mTLS between them.
    #[value(name = "http1-two-hops-mtls")]
    Http1TwoHopsMtls,
    /// One TCP stream through one proxy, plain text.
    #[value(name = "tcp-one-hop")]
    TcpOneHop,
    /// One TCP stream through two proxies with mTLS between them.
    #[value(name = "tcp-two-hops-mtls")]
    TcpTwoHopsMtls,
}

impl Scenario {
    /// All of them, in the order they run.
    pub const ALL: [Self; 4] =
        [Self::Http1OneHop, Self::Http1TwoHopsMtls, Self::TcpOneHop, Self::TcpTwoHopsMtls];

    /// The name on the command line and of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1OneHop => "http1-one-hop",
            Self::Http1TwoHopsMtls => "http1-two-hops-mtls",
            Self::TcpOneHop => "tcp-one-hop",
            Self::TcpTwoHopsMtls => "tcp-two-hops-mtls",
        }
    }

    /// What it is, for a reader.
    pub fn title(self) -> &'static str {
        match self {
            Self::Http1OneHop => "HTTP/1.1, one proxy, plain text",
            Self::Http1TwoHopsMtls => "HTTP/1.1, two proxies, mTLS between them",
            Self::TcpOneHop => "TCP, one connection, one proxy, plain text",
            Self::TcpTwoHopsMtls => "TCP, one connection, two proxies, mTLS between them",
        }
    }

    /// What the proxies are told the bytes are.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Http1OneHop | Self::Http1TwoHopsMtls => Protocol::Http,
            Self::TcpOneHop | Self::TcpTwoHopsMtls => Protocol::Tcp,
        }
    }

    /// How many proxies there are.
    pub fn hops(self) -> Hops {
        match self {
            Self::Http1OneHop | Self::TcpOneHop => Hops::One,
            Self::Http1TwoHopsMtls | Self::TcpTwoHopsMtls => Hops::TwoWithMtls,
        }
    }
}

/// How long and how often.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// How often each subject is measured.
    pub rounds: u32,
    /// Before each window.
    pub warm_up: Duration,
    /// The closed loop.
    pub saturation: Duration,
    /// The open loop, unless it is left out.
    pub fixed: Option<Duration>,
    /// One way of a TCP transfer, bytes.
    pub bulk_bytes: u64,
}

impl Settings {
    /// For results to publish.
    pub fn full() -> Self {
        Self {
            rounds: 3,
            warm_up: Duration::from_secs(2),
            saturation: Duration::from_secs(6),
            fixed: Some(Duration::from_secs(10)),
            bulk_bytes: 1 << 30,
        }
    }

    /// For the inner loop of whoever changes the proxy.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            warm_up: Duration::from_secs(1),
            saturation: Duration::from_secs(4),
            fixed: None,
            bulk_bytes: 256 << 20,
        }
    }
}

/// What is measured: a peer, or for comparison nothing between client and backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Client and backend joined directly.
    Direct,
    /// Through proxies.
    Peer(Peer),
}

impl Subject {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Peer(peer) => peer.name(),
        }
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What one run gave.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Of what.
    pub subject: Subject,
    /// In which round, from 1.
    pub round: u32,
    /// The figures.
    pub values: BTreeMap<Metric, f64>,
    /// Why the figures must not be used.
    pub invalid: Option<String>,
    /// CPU used by others during the main window, percent of one core.
    pub foreign_cpu_percent: f64,
    /// CPU the host withheld during the main window, percent of one core.
    pub steal_percent: f64,
    /// Configuration of each proxy, by role.
    pub configurations: BTreeMap<&'static str, String>,
}

/// Runs one scenario.
pub struct Bench<'a> {
    /// Where things are.
    pub places: &'a Places,
    /// Which cores to use.
    pub cores: Cores,
    /// How long.
    pub settings: &'a Settings,
    /// Which scenario.
    pub scenario: Scenario,
    /// Configurations, certificates and logs.
    pub folder: PathBuf,
    /// Where to draw flame graphs, if they are wanted.
    pub profile: Option<PathBuf>,
}

/// Proxies that are up.
struct Proxies {
    /// Dropped, and so stopped, in this order: the one that faces the client first.
    processes: Vec<Process>,
    entry: SocketAddr,
    started_ns: u64,
    configurations: BTreeMap<&'static str, String>,
}

impl Bench<'_> {
    /// Measures `subject` once; a run that fails comes back invalid rather than as an error.
    pub fn run(&self, subject: Subject, round: u32) -> Run {
        let mut run = Run {
            subject,
            round,
            values: BTreeMap::new(),
            invalid: None,
            foreign_cpu_percent: 0.0,
            steal_percent: 0.0,
            configurations: BTreeMap::new(),
        };
        let measured = match self.scenario.protocol() {
            Protocol::Http => self.run_http(&mut run),
            Protocol::Tcp => self.run_tcp(&mut run),
        };
        // The core of the load is where this thread belongs whatever happened.
        let measured = measured.and(process::pin_to(self.cores.load));
        if let Err(error) = measured {
            run.invalid = Some(format!("{error:#}"));
        }
        run
    }

    fn run_http(&self, run: &mut Run) -> Result<()> {
        let mut load = Load::new()?;
        let mut proxies = self.start(run.subject, load.backend())?;
        load.probe(proxies.entry, START_PATIENCE).with_context(|| proxies.log_tail())?;
        let started_ms = (clock::now_ns() - proxies.started_ns) as f64 / 1e6;
        run.configurations = std::mem::take(&mut proxies.configurations);
        let pids = proxies.pids()?;
        if self.scenario.hops() == Hops::One && !pids.is_empty() {
            run.values.insert(Metric::StartMs, started_ms);
        }
        proxies.record_memory(&pids, run)?;

        load.connect(proxies.entry, CONNECTIONS)?;
        let mut meter = Meter::new(pids.clone());
        let (warm_up, window) = (self.settings.warm_up, self.settings.saturation);
        let recording = self.start_recording(&pids, run)?;
        let tally = load
            .run(Pace::Saturation, warm_up, window, |edge| meter.read(edge))
            .with_context(|| proxies.log_tail())?;
        recording.map(Recording::finish).transpose()?;
        meter.record_foreign(run);
        check(&tally, &proxies)?;
        run.values.insert(Metric::SaturationPerS, tally.per_second());
        if !pids.is_empty() {
            run.values.insert(Metric::SaturationCpuUs, meter.cpu_us() / tally.completed as f64);
            let core_percent = 100.0 * meter.cpu_us() / meter.elapsed_us();
            run.values.insert(Metric::SaturationCorePercent, core_percent);
        }

        let Some(window) = self.settings.fixed else { return Ok(()) };
        // All on one core: waking a process on another costs more here than what is measured.
        process::pin_to(self.cores.proxies)?;
        load.connect(proxies.entry, CONNECTIONS)?;
        let mut meter = Meter::new(pids.clone());
        let pace = Pace::Fixed { per_second: FIXED_PER_S };
        let tally = load
            .run(pace, warm_up, window, |edge| meter.read(edge))
            .with_context(|| proxies.log_tail())?;
        process::pin_to(self.cores.load)?;
        check(&tally, &proxies)?;
        if !pids.is_empty() {
            run.values.insert(Metric::FixedCpuUs, meter.cpu_us() / tally.completed as f64);
        }
        run.values.insert(Metric::FixedP50Us, tally.latency_us(0.50));
        run.values.insert(Metric::FixedP99Us, tally.latency_us(0.99));
        Ok(())
    }

    fn run_tcp(&self, run: &mut Run) -> Result<()> {
        let mut bulk = Bulk::new()?;
        let mut proxies = self.start(run.subject, bulk.backend()?)?;
        run.configurations = std::mem::take(&mut proxies.configurations);
        for direction in [Direction::Download, Direction::Upload] {
            clock::retry(START_PATIENCE, Duration::from_millis(10), || {
                bulk.transfer(proxies.entry, direction, BULK_WARM_UP_BYTES)
            })
            .with_context(|| proxies.log_tail())?;
        }
        let pids = proxies.pids()?;
        let recording = self.start_recording(&pids, run)?;
        let gib = self.settings.bulk_bytes as f64 / GIB;
        let mut cpu_s_per_gib = Vec::new();
        for (direction, cpu, throughput) in [
            (Direction::Download, Metric::DownloadCpuSPerGib, Metric::DownloadMibPerS),
            (Direction::Upload, Metric::UploadCpuSPerGib, Metric::UploadMibPerS),
        ] {
            let mut meter = Meter::new(pids.clone());
            meter.read(Edge::Begin)?;
            let elapsed_ns = bulk
                .transfer(proxies.entry, direction, self.settings.bulk_bytes)
                .with_context(|| proxies.log_tail())?;
            meter.read(Edge::End)?;
            meter.record_foreign(run);
            run.values.insert(throughput, gib * 1024.0 / (elapsed_ns as f64 / 1e9));
            if !pids.is_empty() {
                let used = meter.cpu_us() / 1e6 / gib;
                run.values.insert(cpu, used);
                cpu_s_per_gib.push(used);
            }
        }
        recording.map(Recording::finish).transpose()?;
        if let [down, up] = cpu_s_per_gib[..] {
            run.values.insert(Metric::BulkCpuSPerGib, f64::midpoint(down, up));
        }
        Ok(())
    }

    /// Starts the proxies of `subject` on their core and waits until they accept connections.
    fn start(&self, subject: Subject, backend: SocketAddr) -> Result<Proxies> {
        let mut proxies = Proxies {
            processes: Vec::new(),
            entry: backend,
            started_ns: clock::now_ns(),
            configurations: BTreeMap::new(),
        };
        process::pin_to(self.cores.load)?;
        let Subject::Peer(peer) = subject else { return Ok(proxies) };
        let program = self.places.program(peer, self.profile.is_some());
        let program = program.with_context(|| format!("{} is not installed", peer.name()))?;
        fs::create_dir_all(&self.folder)?;
        let (protocol, hops) = (self.scenario.protocol(), self.scenario.hops());
        let site = Site { program: &program, folder: &self.folder, backend, protocol, hops };
        for launch in peer.launches(&site)? {
            proxies.started_ns = clock::now_ns();
            proxies.start_one(launch, peer, self)?;
        }
        Ok(proxies)
    }

    fn start_recording(&self, pids: &[u32], run: &Run) -> Result<Option<Recording>> {
        let Some(folder) = &self.profile else { return Ok(None) };
        if pids.is_empty() {
            return Ok(None);
        }
        let name = format!("{}-{}", self.scenario.name(), run.subject.name());
        Recording::start(pids, folder, &name).map(Some)
    }
}

impl Proxies {
    fn start_one(&mut self, mut launch: Launch, peer: Peer, bench: &Bench<'_>) -> Result<()> {
        let name = format!("{} ({})", peer.name(), launch.role);
        let log = bench.folder.join(format!("{}-{}.log", peer.name(), launch.role));
        process::pin_to(bench.cores.proxies)?;
        let process = Process::start(&name, &mut launch.command, log);
        process::pin_to(bench.cores.load)?;
        let mut process = process?;
        process.wait_until_accepting(launch.listen, START_PATIENCE)?;
        self.processes.insert(0, process);
        self.configurations.insert(launch.role, launch.configuration);
        self.entry = launch.listen;
        Ok(())
    }

    fn pids(&self) -> Result<Vec<u32>> {
        let trees: Result<Vec<_>> = self.processes.iter().map(Process::tree).collect();
        Ok(trees?.concat())
    }

    fn log_tail(&self) -> String {
        self.processes.iter().map(Process::log_tail).collect::<Vec<_>>().join("\n")
    }

    /// Waits for start-up work to end and reads the memory, as the mean over the proxies.
    fn record_memory(&self, pids: &[u32], run: &mut Run) -> Result<()> {
        if pids.is_empty() {
            return Ok(());
        }
        clock::pause(SETTLE);
        let memory = Memory::of(pids)?;
        let mean_mib = |bytes: u64| bytes as f64 / MIB / self.processes.len() as f64;
        run.values.insert(Metric::IdleRssMib, mean_mib(memory.rss));
        run.values.insert(Metric::IdlePrivateMib, mean_mib(memory.private));
        run.values.insert(Metric::IdleAnonymousMib, mean_mib(memory.anonymous));
        Ok(())
    }
}

fn check(tally: &Tally, proxies: &Proxies) -> Result<()> {
    if let Some(first) = &tally.first_failure {
        anyhow::bail!("{} failures, the first: {first}\n{}", tally.failures, proxies.log_tail());
    }
    anyhow::ensure!(tally.completed > 0, "nothing was answered\n{}", proxies.log_tail());
    Ok(())
}

/// Reads CPU time at both ends of a window.
struct Meter {
    pids: Vec<u32>,
    begin: Option<Reading>,
    end: Option<Reading>,
}

struct Reading {
    at_ns: u64,
    proxies_ns: u64,
    own_ns: u64,
    busy: Busy,
}

impl Meter {
    fn new(pids: Vec<u32>) -> Self {
        Self { pids, begin: None, end: None }
    }

    fn read(&mut self, edge: Edge) -> Result<()> {
        let reading = Reading {
            at_ns: clock::now_ns(),
            proxies_ns: process::cpu_ns(&self.pids)?,
            own_ns: process::own_cpu_ns()?,
            busy: Busy::now()?,
        };
        match edge {
            Edge::Begin => self.begin = Some(reading),
            Edge::End => self.end = Some(reading),
        }
        Ok(())
    }

    /// The growth of a counter within the window.
    fn grown(&self, counter: impl Fn(&Reading) -> u64) -> u64 {
        match (&self.begin, &self.end) {
            (Some(begin), Some(end)) => counter(end).saturating_sub(counter(begin)),
            _ => 0,
        }
    }

    fn cpu_us(&self) -> f64 {
        self.grown(|reading| reading.proxies_ns) as f64 / 1e3
    }

    fn elapsed_us(&self) -> f64 {
        self.grown(|reading| reading.at_ns) as f64 / 1e3
    }

    /// Notes what others used and what the host withheld, keeping the worst of several windows.
    fn record_foreign(&self, run: &mut Run) {
        let percent = |ns: u64| 100.0 * ns as f64 / 1e3 / self.elapsed_us();
        let ours = self.grown(|reading| reading.proxies_ns + reading.own_ns);
        let foreign = self.grown(|reading| reading.busy.work_ns).saturating_sub(ours);
        let steal = self.grown(|reading| reading.busy.steal_ns);
        run.foreign_cpu_percent = run.foreign_cpu_percent.max(percent(foreign));
        run.steal_percent = run.steal_percent.max(percent(steal));
    }
}
