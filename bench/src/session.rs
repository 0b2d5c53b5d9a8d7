//! A round: the proxies of all subjects are started, loaded in turns, read, and stopped.

use crate::bulk::{Bulk, Direction};
use crate::clock;
use crate::install::Places;
use crate::load::{CONNECTIONS, Edge, Load, Pace};
use crate::machine::{Busy, Cores};
use crate::metric::Metric;
use crate::peers::{Hops, Launch, MARK, Peer, Protocol, Rules, Site};
use crate::process::{self, Memory, Process};
use crate::profile::Recording;
use crate::scenario::{FIXED_PER_S, Run, Scenario, Settings, Subject};
use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const START_PATIENCE: Duration = Duration::from_secs(10);
/// Between the first answer and the reading of the memory of an idle proxy.
const SETTLE: Duration = Duration::from_millis(300);
const BULK_WARM_UP_BYTES: u64 = 32 << 20;
const MIB: f64 = (1_u64 << 20) as f64;

/// What the rounds of one scenario have in common.
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

/// What a subject does when it is its turn.
#[derive(Clone, Copy)]
enum Turn {
    Requests { pace: Pace, first: bool },
    Transfer(Direction),
}

impl Bench<'_> {
    /// Measures each of `subjects` once; one that fails comes back invalid rather than as an error.
    pub fn round(&self, subjects: &[Subject], round: u32) -> Vec<Run> {
        let mut sessions: Vec<Session<'_>> =
            subjects.iter().map(|subject| Session::new(self, *subject, round)).collect();
        for session in &mut sessions {
            session.attempt(Session::open);
        }
        for turn in self.turns() {
            for session in &mut sessions {
                session.attempt(|session| session.take(turn));
            }
        }
        for session in &mut sessions {
            session.attempt(Session::evaluate);
        }
        sessions.into_iter().map(|session| session.run).collect()
    }

    fn turns(&self) -> Vec<Turn> {
        if self.scenario.protocol() == Protocol::Tcp {
            return vec![Turn::Transfer(Direction::Download), Turn::Transfer(Direction::Upload)];
        }
        let mut paces = vec![Pace::Saturation];
        if self.settings.fixed.is_some() {
            paces.push(Pace::Fixed { per_second: FIXED_PER_S });
        }
        let slices = |pace| {
            (0..self.settings.slices).map(move |slice| Turn::Requests { pace, first: slice == 0 })
        };
        paces.into_iter().flat_map(slices).collect()
    }
}

/// The generator of a session, with its backend.
enum Traffic {
    Http(Load),
    Tcp(Bulk),
}

/// Proxies that are up.
struct Proxies {
    /// Dropped, and so stopped, in this order: the one that faces the client first.
    processes: Vec<Process>,
    /// What they need to work, which is not measured, and is stopped after them.
    beside: Vec<Process>,
    entry: SocketAddr,
    started_ns: u64,
    pids: Vec<u32>,
}

/// Sums over the slices of one pace.
struct Sum {
    completed: u64,
    cpu_ns: u64,
    window_ns: u64,
    latency_ns: Histogram<u64>,
}

/// One subject in one round.
struct Session<'a> {
    bench: &'a Bench<'a>,
    run: Run,
    /// Gone when the session has failed.
    parts: Option<(Proxies, Traffic)>,
    saturation: Sum,
    fixed: Sum,
    others: Others,
}

impl<'a> Session<'a> {
    fn new(bench: &'a Bench<'a>, subject: Subject, round: u32) -> Self {
        let run = Run {
            subject,
            round,
            values: BTreeMap::new(),
            invalid: None,
            foreign_cpu_percent: 0.0,
            steal_percent: 0.0,
            configurations: BTreeMap::new(),
        };
        Self {
            bench,
            run,
            parts: None,
            saturation: Sum::new(),
            fixed: Sum::new(),
            others: Others::default(),
        }
    }

    /// Takes a step unless an earlier one failed; a failure stops the proxies and marks the run.
    fn attempt(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) {
        if self.run.invalid.is_some() {
            return;
        }
        // The core of the load is where this thread belongs, whatever the step did.
        let taken = step(self).and(process::pin_to(self.bench.cores.load));
        if let Err(error) = taken {
            let log = self.parts.take().map(|(proxies, _)| proxies.log_tail()).unwrap_or_default();
            self.run.invalid = Some(format!("{error:#}\n{log}").trim().to_owned());
        }
    }

    /// Starts the proxies, sees that they work, and reads their memory.
    fn open(&mut self) -> Result<()> {
        process::pin_to(self.bench.cores.load)?;
        let mut traffic = match self.bench.scenario.protocol() {
            Protocol::Http => Traffic::Http(Load::new()?),
            Protocol::Tcp => Traffic::Tcp(Bulk::new()?),
        };
        let backend = match &traffic {
            Traffic::Http(load) => load.backend(),
            Traffic::Tcp(bulk) => bulk.backend()?,
        };
        let mut proxies = self.start(backend)?;
        let rules = self.bench.scenario.rules();
        match &mut traffic {
            Traffic::Http(load) => {
                let is_marked = rules == Rules::Mesh && !proxies.pids.is_empty();
                let mark = is_marked.then_some(MARK);
                let probed = load.probe(proxies.entry, mark, START_PATIENCE);
                probed.with_context(|| proxies.log_tail())?;
                if self.bench.scenario.hops() == Hops::One && !proxies.pids.is_empty() {
                    let started_ms = (clock::now_ns() - proxies.started_ns) as f64 / 1e6;
                    self.run.values.insert(Metric::StartMs, started_ms);
                }
            }
            Traffic::Tcp(bulk) => warm_up_bulk(bulk, &proxies)?,
        }
        proxies.find_pids()?;
        if !proxies.pids.is_empty() && self.bench.scenario.protocol() == Protocol::Http {
            proxies.record_memory(&mut self.run)?;
        }
        if let Traffic::Http(load) = &mut traffic {
            load.connect(proxies.entry, CONNECTIONS)?;
        }
        self.parts = Some((proxies, traffic));
        Ok(())
    }

    /// Starts the proxies on their core and waits until they accept connections.
    fn start(&mut self, backend: SocketAddr) -> Result<Proxies> {
        let mut proxies = Proxies {
            processes: Vec::new(),
            beside: Vec::new(),
            entry: backend,
            started_ns: clock::now_ns(),
            pids: Vec::new(),
        };
        let Subject::Peer(peer) = self.run.subject else { return Ok(proxies) };
        let bench = self.bench;
        let program = bench.places.program(peer, bench.profile.is_some());
        let program = program.with_context(|| format!("{} is not installed", peer.name()))?;
        let scenario = bench.scenario;
        let (protocol, hops, rules) = (scenario.protocol(), scenario.hops(), scenario.rules());
        let folder = &bench.folder;
        let site = Site { program: &program, folder, backend, protocol, hops, rules };
        for launch in peer.launches(&site)? {
            self.run.configurations.insert(launch.role, launch.configuration.clone());
            proxies.start_one(launch, peer, bench)?;
        }
        proxies.find_pids()?;
        Ok(proxies)
    }

    fn take(&mut self, turn: Turn) -> Result<()> {
        let (proxies, traffic) = self.parts.as_mut().context("the session is not open")?;
        let settings = self.bench.settings;
        let mut meter = Meter::new(&proxies.pids);
        let recording = match &self.bench.profile {
            Some(folder) if !proxies.pids.is_empty() => {
                let name = format!("{}-{}", self.bench.scenario.name(), self.run.subject.name());
                Some(Recording::start(&proxies.pids, folder, &name)?)
            }
            _ => None,
        };
        match (turn, traffic) {
            (Turn::Requests { pace, first }, Traffic::Http(load)) => {
                let (window, sum) = match pace {
                    Pace::Saturation => (settings.saturation, &mut self.saturation),
                    Pace::Fixed { .. } => {
                        // All on one core: to wake a process on another costs more than what is
                        // measured.
                        process::pin_to(self.bench.cores.proxies)?;
                        (settings.fixed.unwrap_or_default(), &mut self.fixed)
                    }
                };
                let warm_up = if first { settings.warm_up } else { settings.warm_up_again };
                let tally = load.run(pace, warm_up, window, |edge| meter.read(edge))?;
                if let Some(reason) = &tally.first_failure {
                    bail!("{} failures, the first: {reason}", tally.failures);
                }
                ensure!(tally.completed > 0, "nothing was answered");
                sum.completed += tally.completed;
                sum.window_ns += tally.window_ns;
                sum.cpu_ns += meter.cpu_ns();
                sum.latency_ns.add(&tally.latency_ns)?;
            }
            (Turn::Transfer(direction), Traffic::Tcp(bulk)) => {
                meter.read(Edge::Begin)?;
                let elapsed_ns = bulk.transfer(proxies.entry, direction, settings.bulk_bytes)?;
                meter.read(Edge::End)?;
                let (cpu, throughput) = match direction {
                    Direction::Download => (Metric::DownloadCpuSPerGib, Metric::DownloadMibPerS),
                    Direction::Upload => (Metric::UploadCpuSPerGib, Metric::UploadMibPerS),
                };
                let mib = settings.bulk_bytes as f64 / MIB;
                self.run.values.insert(throughput, mib / (elapsed_ns as f64 / 1e9));
                if !proxies.pids.is_empty() {
                    let cpu_s = meter.cpu_ns() as f64 / 1e9;
                    self.run.values.insert(cpu, cpu_s / (mib / 1024.0));
                }
            }
            _ => bail!("requests are for HTTP, transfers for TCP"),
        }
        if turn.is_at_full_load() {
            meter.add_others(&mut self.others);
        }
        recording.map(Recording::finish).transpose()?;
        Ok(())
    }

    /// Turns the sums into figures, and stops the proxies.
    fn evaluate(&mut self) -> Result<()> {
        let (proxies, _) = self.parts.take().context("the session is not open")?;
        let has_proxies = !proxies.pids.is_empty();
        drop(proxies);
        let percent = |ns: u64| 100.0 * ns as f64 / self.others.elapsed_ns.max(1) as f64;
        self.run.foreign_cpu_percent = percent(self.others.work_ns);
        self.run.steal_percent = percent(self.others.steal_ns);
        let values = &mut self.run.values;
        let (saturation, fixed) = (&self.saturation, &self.fixed);
        if saturation.completed > 0 {
            values.insert(Metric::SaturationPerS, saturation.per_second());
            if has_proxies {
                values.insert(Metric::SaturationCpuUs, saturation.cpu_us_each());
                let core = saturation.cpu_ns as f64 / saturation.window_ns as f64;
                values.insert(Metric::SaturationCorePercent, 100.0 * core);
            }
        }
        if fixed.completed > 0 {
            values.insert(Metric::FixedP50Us, fixed.latency_us(0.50));
            values.insert(Metric::FixedP99Us, fixed.latency_us(0.99));
            if has_proxies {
                values.insert(Metric::FixedCpuUs, fixed.cpu_us_each());
            }
        }
        let down = values.get(&Metric::DownloadCpuSPerGib);
        if let (Some(down), Some(up)) = (down, values.get(&Metric::UploadCpuSPerGib)) {
            let mean = f64::midpoint(*down, *up);
            values.insert(Metric::BulkCpuSPerGib, mean);
        }
        Ok(())
    }
}

impl Turn {
    /// Whether the load is as much as the proxies can bear, so that others on the machine would
    /// show.
    fn is_at_full_load(self) -> bool {
        !matches!(self, Self::Requests { pace: Pace::Fixed { .. }, .. })
    }
}

impl Sum {
    fn new() -> Self {
        let latency_ns = Histogram::new(3).expect("three digits are allowed");
        Self { completed: 0, cpu_ns: 0, window_ns: 0, latency_ns }
    }

    fn per_second(&self) -> f64 {
        self.completed as f64 * 1e9 / self.window_ns as f64
    }

    fn cpu_us_each(&self) -> f64 {
        self.cpu_ns as f64 / 1e3 / self.completed as f64
    }

    fn latency_us(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1e3
    }
}

fn warm_up_bulk(bulk: &mut Bulk, proxies: &Proxies) -> Result<()> {
    for direction in [Direction::Download, Direction::Upload] {
        clock::retry(START_PATIENCE, Duration::from_millis(10), || {
            bulk.transfer(proxies.entry, direction, BULK_WARM_UP_BYTES)
        })
        .with_context(|| proxies.log_tail())?;
    }
    Ok(())
}

impl Proxies {
    fn start_one(&mut self, mut launch: Launch, peer: Peer, bench: &Bench<'_>) -> Result<()> {
        let name = format!("{} ({})", peer.name(), launch.role);
        let log = bench.folder.join(format!("{}-{}.log", peer.name(), launch.role));
        for command in &mut launch.before {
            // What was started before listens a moment before it has written its credential.
            clock::retry(START_PATIENCE, Duration::from_millis(50), || process::run(command))?;
        }
        self.started_ns = clock::now_ns();
        process::pin_to(if launch.is_proxy { bench.cores.proxies } else { bench.cores.load })?;
        let process = Process::start(&name, &mut launch.command, log);
        process::pin_to(bench.cores.load)?;
        let mut process = process?;
        process.wait_until_accepting(launch.listen, START_PATIENCE)?;
        if launch.is_proxy {
            self.processes.insert(0, process);
            self.entry = launch.listen;
        } else {
            self.beside.push(process);
        }
        Ok(())
    }

    /// Notes the processes, workers included.
    fn find_pids(&mut self) -> Result<()> {
        let trees: Result<Vec<_>> = self.processes.iter().map(Process::tree).collect();
        self.pids = trees?.concat();
        Ok(())
    }

    fn log_tail(&self) -> String {
        let all = self.processes.iter().chain(&self.beside);
        all.map(Process::log_tail).collect::<Vec<_>>().join("\n")
    }

    /// Waits for start-up work to end and reads the memory, as the mean over the proxies.
    fn record_memory(&self, run: &mut Run) -> Result<()> {
        clock::pause(SETTLE);
        let memory = Memory::of(&self.pids)?;
        let mean_mib = |bytes: u64| bytes as f64 / MIB / self.processes.len() as f64;
        run.values.insert(Metric::IdleRssMib, mean_mib(memory.rss));
        run.values.insert(Metric::IdlePrivateMib, mean_mib(memory.private));
        run.values.insert(Metric::IdleAnonymousMib, mean_mib(memory.anonymous));
        Ok(())
    }
}

/// Reads CPU time at both ends of a window.
struct Meter<'a> {
    pids: &'a [u32],
    begin: Option<Reading>,
    end: Option<Reading>,
}

struct Reading {
    at_ns: u64,
    proxies_ns: u64,
    own_ns: u64,
    busy: Busy,
}

impl<'a> Meter<'a> {
    fn new(pids: &'a [u32]) -> Self {
        Self { pids, begin: None, end: None }
    }

    fn read(&mut self, edge: Edge) -> Result<()> {
        let reading = Reading {
            at_ns: clock::now_ns(),
            proxies_ns: process::cpu_ns(self.pids)?,
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

    /// CPU time of the proxies within the window.
    fn cpu_ns(&self) -> u64 {
        self.grown(|reading| reading.proxies_ns)
    }

    /// Adds what others used and what the host withheld.
    fn add_others(&self, others: &mut Others) {
        let ours = self.grown(|reading| reading.proxies_ns + reading.own_ns);
        others.elapsed_ns += self.grown(|reading| reading.at_ns);
        others.work_ns += self.grown(|reading| reading.busy.work_ns).saturating_sub(ours);
        others.steal_ns += self.grown(|reading| reading.busy.steal_ns);
    }
}

/// What else happened on the machine during the windows at full load.
#[derive(Default)]
struct Others {
    elapsed_ns: u64,
    work_ns: u64,
    steal_ns: u64,
}
