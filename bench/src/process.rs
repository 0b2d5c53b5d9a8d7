//! The proxies as processes: started on a core of their own, measured from what the kernel
//! accounts, stopped in `Drop`.

use crate::clock;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const STOP_PATIENCE: Duration = Duration::from_secs(2);
const LOG_TAIL_LINES: usize = 15;

/// The cores this process may run on.
pub fn allowed_cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Keeps the calling thread, and what it starts from here on, on `core`.
pub fn pin_to(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("pinning to core {core}"))
}

/// Runs `command` to its end.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A running proxy. Dropping it ends the process, and with it its workers.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its output going to the file `log`, on the core the calling thread is
    /// pinned to.
    pub fn start(name: &str, command: &mut Command, log: PathBuf) -> Result<Self> {
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let child = command
            .env_remove("RUST_BACKTRACE") // It would push the reason out of the end of the log.
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until `address` accepts connections, at most for `patience`.
    pub fn wait_until_accepting(&mut self, address: SocketAddr, patience: Duration) -> Result<()> {
        let deadline = clock::now_ns() + clock::to_ns(patience);
        while TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended early ({status}):\n{}", self.name, self.log_tail());
            }
            if clock::now_ns() >= deadline {
                bail!("{} does not accept at {address}:\n{}", self.name, self.log_tail());
            }
            clock::pause(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The last lines the process logged.
    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// The process and its descendants.
    pub fn tree(&self) -> Result<Vec<u32>> {
        let mut tree = vec![self.child.id()];
        let parents = parents()?;
        let mut next = 0;
        while let Some(parent) = tree.get(next).copied() {
            tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        Ok(tree)
    }

    /// Ends the process politely, then, after two seconds, less so.
    fn stop(&mut self) {
        let Ok(raw) = i32::try_from(self.child.id()) else { return };
        let Some(pid) = Pid::from_raw(raw) else { return };
        if matches!(self.child.try_wait(), Ok(Some(_))) || kill_process(pid, Signal::TERM).is_err()
        {
            return;
        }
        let deadline = clock::now_ns() + clock::to_ns(STOP_PATIENCE);
        while matches!(self.child.try_wait(), Ok(None)) {
            if clock::now_ns() >= deadline {
                // The process may have gone in between, which is what is wanted.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            clock::pause(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Each running process with its parent.
fn parents() -> Result<Vec<(u32, u32)>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // The name, in brackets, may hold anything; state and parent follow the last bracket.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if let Some(parent) = parent.and_then(|field| field.parse().ok()) {
            parents.push((pid, parent));
        }
    }
    Ok(parents)
}

/// CPU time the processes have used so far, nanoseconds, from the scheduler's own accounting of
/// each thread.
pub fn cpu_ns(pids: &[u32]) -> Result<u64> {
    let mut total_ns = 0;
    for pid in pids {
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("process {pid} has gone"))? {
            total_ns += run_time_ns(&task?.path().join("schedstat"))?;
        }
    }
    Ok(total_ns)
}

/// CPU time the calling thread has used so far, nanoseconds.
pub fn own_cpu_ns() -> Result<u64> {
    run_time_ns(Path::new("/proc/thread-self/schedstat"))
}

fn run_time_ns(schedstat: &Path) -> Result<u64> {
    let Ok(fields) = fs::read_to_string(schedstat) else { return Ok(0) }; // The thread has ended.
    let first = fields.split_whitespace().next().and_then(|field| field.parse().ok());
    first.with_context(|| format!("{} holds {fields:?}", schedstat.display()))
}

/// Memory of a process and its descendants, bytes, summed over the processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident, shared pages counted in each process.
    pub rss: u64,
    /// Resident, written to and shared with nobody. Clean pages of the program's file are left
    /// out: they are private only as long as no second proxy runs from the same file, and can
    /// be dropped at any time.
    pub private: u64,
    /// Anonymous: heap and stacks, not files.
    pub anonymous: u64,
}

impl Memory {
    /// Reads it from the kernel.
    pub fn of(pids: &[u32]) -> Result<Self> {
        let mut memory = Self::default();
        for pid in pids {
            let path = format!("/proc/{pid}/smaps_rollup");
            let rollup = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
            memory.add(&rollup);
        }
        Ok(memory)
    }

    fn add(&mut self, rollup: &str) {
        for line in rollup.lines() {
            let mut words = line.split_whitespace();
            let (Some(field), Some(kib)) = (words.next(), words.next()) else { continue };
            let Ok(kib) = kib.parse::<u64>() else { continue };
            match field {
                "Rss:" => self.rss += kib * 1024,
                "Private_Dirty:" => self.private += kib * 1024,
                "Anonymous:" => self.anonymous += kib * 1024,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
