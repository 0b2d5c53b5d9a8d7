//! The processes of the demo: this same binary, started again.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use weft_world::World;

/// How often a log is looked at for the word that a process is ready.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How often it is looked at before that takes too long: ten seconds.
const LOOKS_MAX: u32 = 1_000;

/// A process with its log in a file. It is ended with this value.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `weft` with `arguments`, called `name`.
    pub fn start(directory: &Path, name: &str, arguments: &[&str]) -> anyhow::Result<Process> {
        let log = directory.join(format!("{name}.log"));
        let cannot = || format!("cannot start the demo's {name}");
        let output = File::create(&log).with_context(cannot)?;
        let program = std::env::current_exe().with_context(cannot)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .with_context(cannot)?;
        Ok(Process { child, name: name.to_owned(), log })
    }

    /// Waits until the log says `prefix` and behind it an address.
    pub async fn ready(&self, world: &World, prefix: &str) -> anyhow::Result<SocketAddr> {
        for _ in 0..LOOKS_MAX {
            let log = self.log();
            let behind = log.split_once(prefix).and_then(|(_, rest)| rest.split_once('\n'));
            if let Some((line, _)) = behind {
                let address = line.split([',', ' ']).next().unwrap_or_default();
                return address.parse().with_context(|| format!("{}: `{line}`", self.name));
            }
            world.clock.sleep(LOOK_INTERVAL).await;
        }
        bail!("the demo's {} is not ready after 10 s; it said:\n{}", self.name, self.log())
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only the own child; it has nothing to put in order that would outlive the demo.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
