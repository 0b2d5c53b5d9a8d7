//! What the system says of this process, from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

use weft_world::UnixTime;

use crate::metrics::family::{self, Family};
use crate::metrics::labels::Labels;
use crate::metrics::registry::{Scraped, Value};

/// The parts of a second in which Linux counts CPU time towards programs, on all machines.
/// Source: `proc(5)`, `sysconf(_SC_CLK_TCK)`; `USER_HZ`.
const TICKS_PER_SECOND: u64 = 100;

/// What the system says of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// When it began.
    pub started: UnixTime,
    /// Its memory in RAM, in bytes.
    pub resident_bytes: u64,
    /// Its open file descriptors.
    pub open_fds: u64,
    /// The CPU time it used, in user and system mode.
    pub cpu: Duration,
}

impl Process {
    /// Reads `/proc`, which takes some tens of microseconds: for scrapes, not for the data path.
    ///
    /// # Errors
    /// If `/proc` is not there, or is not that of Linux.
    pub fn read() -> io::Result<Process> {
        let (stat, status) = (text("/proc/self/stat")?, text("/proc/self/status")?);
        let system = text("/proc/stat")?;
        let open_fds = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
        let process = Process::parse(&stat, &status, &system);
        let mut process = process.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "/proc/self/stat, /proc/self/status or /proc/stat is not as on Linux",
            )
        })?;
        // The directory that was just read was one of them.
        process.open_fds = u64::try_from(open_fds).unwrap_or(u64::MAX);
        Ok(process)
    }

    fn parse(stat: &str, status: &str, system: &str) -> Option<Process> {
        // The second field is the program's name, in which anything may be: the rest is behind
        // the last parenthesis and begins with field 3.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let time =
            |ticks: u64| Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND));
        let value = |text: &str, key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        let boot = Duration::from_secs(value(system, "btime ")?);
        Some(Process {
            started: UnixTime(boot + time(ticks(22)?)),
            resident_bytes: value(status, "VmRSS:")?.saturating_mul(1024),
            open_fds: 0,
            cpu: time(ticks(14)?.saturating_add(ticks(15)?)),
        })
    }

    pub(crate) fn show(self, scraped: &mut Vec<Scraped>) {
        let mut show = |family: &'static Family, value| {
            scraped.push(Scraped { family, series: vec![(Labels::from([]), value)] });
        };
        let Process { started, resident_bytes, open_fds, cpu } = self;
        show(&family::PROCESS_START, Value::Float(started.0.as_secs_f64()));
        show(&family::PROCESS_MEMORY, Value::Integer(resident_bytes));
        show(&family::PROCESS_FDS, Value::Integer(open_fds));
        show(&family::PROCESS_CPU, Value::Float(cpu.as_secs_f64()));
    }
}

/// A file of `/proc`, whose size the system limits.
fn text(path: &str) -> io::Result<String> {
    let bytes = fs::read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4711 (a) 1 (b) S 1 4711 4711 0 -1 4194304 900 0 0 0 150 25 0 0 20 0 3 0 \
        12345 24000000 1500 18446744073709551615";
    const STATUS: &str = "Name:\ta) 1 (b\nVmRSS:\t    6000 kB\nThreads:\t3\n";
    const SYSTEM: &str = "cpu  1 2 3\nbtime 1795413823\nprocesses 9\n";

    #[test]
    fn the_files_of_linux_are_read() {
        let process = Process::parse(STAT, STATUS, SYSTEM).unwrap();
        assert_eq!(process.cpu, Duration::from_millis(1_750));
        assert_eq!(process.started, UnixTime(Duration::from_millis(1_795_413_946_450)));
        assert_eq!(process.resident_bytes, 6_144_000);
        for (stat, status, system) in [
            ("", STATUS, SYSTEM),
            (&STAT[..60], STATUS, SYSTEM),
            (STAT, "", SYSTEM),
            (STAT, STATUS, ""),
        ] {
            assert_eq!(Process::parse(stat, status, system), None);
        }
    }

    #[test]
    fn this_process_is_alive() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 100_000, "{process:?}");
        assert!(process.open_fds > 2, "{process:?}");
        assert!(process.started > UnixTime(Duration::from_secs(1_500_000_000)), "{process:?}");
    }
}
