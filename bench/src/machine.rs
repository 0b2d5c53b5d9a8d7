//! The machine of a run: which cores are used, what it is, and who else was busy on it.

use crate::process;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fs;

/// The two cores of a run.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// Where the proxies run.
    pub proxies: usize,
    /// Where the generator and the backend run.
    pub load: usize,
}

impl Cores {
    /// The first two allowed cores that are not two threads of one, or `asked` for.
    pub fn choose(asked: Option<&[usize]>) -> Result<Self> {
        if let Some(asked) = asked {
            let [proxies, load] = asked else { bail!("--cores takes two numbers, such as 0,1") };
            return Ok(Self { proxies: *proxies, load: *load });
        }
        let allowed = process::allowed_cores()?;
        let Some(proxies) = allowed.first().copied() else { bail!("no core is allowed") };
        let siblings = thread_siblings(proxies);
        let load = allowed.iter().copied().skip(1).find(|core| !siblings.contains(core));
        let load = load.or_else(|| allowed.get(1).copied());
        let load = load.context("two cores are needed: one for the proxies, one for the load")?;
        Ok(Self { proxies, load })
    }
}

fn thread_siblings(core: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    fs::read_to_string(path).map(|list| parse_cores(&list)).unwrap_or_default()
}

/// Reads the kernel's way of listing cores: `0-1,8`.
fn parse_cores(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    });
    ranges.flatten().collect()
}

/// What a reader needs to know of the machine. It does not name it.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's model.
    pub processor: String,
    /// How many cores are online.
    pub cores: usize,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Whether it is a virtual machine.
    pub virtual_machine: bool,
    /// TCP congestion control of the sockets.
    pub congestion_control: String,
    /// Whether the run had network and process namespaces of its own.
    pub isolated: bool,
}

impl Machine {
    /// Reads it from `/proc`.
    pub fn here(isolated: bool) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let meminfo = read("/proc/meminfo");
        let memory_kib = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse().ok());
        Self {
            processor: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            memory_bytes: memory_kib.unwrap_or(0_u64) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            virtual_machine: field("flags").is_some_and(|flags| flags.contains("hypervisor")),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
            isolated,
        }
    }

    /// One line for the reader.
    pub fn describe(&self) -> String {
        format!(
            "{} × {}{}, {} GiB, Linux {}, TCP {}, {}",
            self.cores,
            self.processor,
            if self.virtual_machine { " (virtual)" } else { "" },
            self.memory_bytes.div_ceil(1 << 30),
            self.kernel,
            self.congestion_control,
            if self.isolated { "own network namespace" } else { "the host's network namespace" },
        )
    }
}

/// How busy all cores have been since the machine started.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    /// Nanoseconds of work, over all cores.
    pub work_ns: u64,
    /// Nanoseconds the host gave to others while a core here had work.
    pub steal_ns: u64,
}

impl Busy {
    /// Reads it; the kernel counts in steps of 10 ms.
    pub fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        Self::parse(&stat).context("/proc/stat has no line for all cores")
    }

    fn parse(stat: &str) -> Option<Self> {
        const TICK_NS: u64 = 10_000_000;
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|tick| tick.parse().ok()).collect();
        let [user, nice, system, _idle, _waiting, irq, softirq, steal, ..] = ticks[..] else {
            return None;
        };
        let work_ns = (user + nice + system + irq + softirq) * TICK_NS;
        Some(Self { work_ns, steal_ns: steal * TICK_NS })
    }
}

#[cfg(test)]
mod tests;
