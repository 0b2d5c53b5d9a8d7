//! The processes of the demo: this same binary, started again, each with a log file of its own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;
use weft_world::World;

use super::metrics;

/// The longest wait for the word that a process is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long processes have to end by themselves before they are killed.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// How often it is looked whether they have ended.
const END_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The longest line of a log. What is longer is broken.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The most bytes of a log file. Then it becomes the `.old` one, and a new one begins.
const LOG_BYTES_MAX: usize = 1 << 20;

/// How many last lines are kept for an error message.
const LAST_LINES: usize = 12;

/// Takes lines of the access log, which are JSON objects.
pub type TakeRecord = Rc<dyn Fn(&str)>;

/// A process. It is ended with this value.
pub struct Process {
    /// What it is called.
    pub name: String,
    child: Child,
    said: Rc<Said>,
    status: Option<ExitStatus>,
}

/// What a process has said on standard error.
#[derive(Default)]
pub struct Said {
    /// The first line that says that it is ready.
    ready: RefCell<Option<String>>,
    /// Where a proxy shows its metrics.
    pub metrics: Cell<Option<SocketAddr>>,
    last: RefCell<VecDeque<String>>,
    has_ended: Cell<bool>,
    news: Notify,
}

impl Said {
    /// Waits until the process `name` says that it is ready, and gives the addresses that it
    /// listens at, in order.
    pub async fn ready(&self, world: &World, name: &str) -> anyhow::Result<Vec<SocketAddr>> {
        let heard = async {
            loop {
                let news = self.news.notified();
                if self.ready.borrow().is_some() || self.has_ended.get() {
                    return;
                }
                news.await;
            }
        };
        let in_time = tokio::select! {
            biased;
            () = heard => true,
            () = world.clock.sleep(READY_TIMEOUT) => false,
        };
        let why = || {
            let last: Vec<_> = self.last.borrow().iter().cloned().collect();
            let what = if in_time { "ended at once" } else { "is not ready after 60 s" };
            format!("the demo's {name} {what}; it said:\n{}", last.join("\n"))
        };
        let ready = self.ready.borrow();
        let line = ready.as_ref().with_context(why)?;
        let found = addresses(line);
        ensure!(!found.is_empty(), "{name}: no address in `{line}`");
        Ok(found)
    }
}

impl Process {
    /// Starts `weft` with `arguments`, called `name`. Records go to `take`, the rest to its log.
    ///
    /// It is killed if the present process goes away without a word, and gets no signals from the
    /// terminal, since the demo ends it.
    pub fn start(
        directory: &Path,
        name: &str,
        arguments: &[String],
        input: Option<OwnedFd>,
        take: Option<TakeRecord>,
    ) -> anyhow::Result<Process> {
        let cannot = || format!("cannot start the demo's {name}");
        let log = Log::open(directory.join(format!("{name}.log"))).with_context(cannot)?;
        let program = std::env::current_exe().with_context(cannot)?;
        let mut child = Command::new(program)
            .args(["demo-process", &std::process::id().to_string()])
            .args(arguments)
            .stdin(input.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(cannot)?;
        let errors = child.stderr.take().context("its standard error").with_context(cannot);
        let process = Process { name: name.to_owned(), child, said: Rc::default(), status: None };
        let errors = Receiver::from_owned_fd(errors?.into()).with_context(cannot)?;
        tokio::task::spawn_local(read(errors, log, process.said.clone(), take));
        Ok(process)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it says, to wait for.
    pub fn said(&self) -> Rc<Said> {
        self.said.clone()
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<String> {
        if self.status.is_none() {
            // An error would mean that somebody else has waited for it.
            self.status = self.child.try_wait().ok().flatten();
        }
        let status = self.status?;
        Some(match (status.code(), status.signal()) {
            (_, Some(9)) => "killed".to_owned(),
            (_, Some(signal)) => format!("signal {signal}"),
            (Some(code), None) => format!("exit {code}"),
            (None, None) => "ended".to_owned(),
        })
    }

    fn terminate(&self) {
        // It may have ended already; it is not waited for yet, so the id is still its own.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Asks `processes` to end, the last started first, and kills those that do not within 3 s.
pub async fn end(world: &World, mut processes: Vec<Process>) {
    let deadline = world.clock.now() + END_TIMEOUT;
    for process in &mut processes {
        if process.ended().is_none() {
            process.terminate();
        }
    }
    while processes.iter_mut().any(|process| process.ended().is_none())
        && world.clock.now() < deadline
    {
        world.clock.sleep(END_LOOK_INTERVAL).await;
    }
}

/// The addresses in `line`.
fn addresses(line: &str) -> Vec<SocketAddr> {
    line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect()
}

async fn read(errors: Receiver, mut log: Log, said: Rc<Said>, take: Option<TakeRecord>) {
    let mut reader = BufReader::new(errors);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let count = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).await;
        if !count.is_ok_and(|count| count > 0) {
            said.has_ended.set(true);
            said.news.notify_waiters();
            return;
        }
        log.write(&bytes);
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end();
        if line.starts_with('{') {
            if let Some(take) = &take {
                take(line);
            }
            continue;
        }
        let mut last = said.last.borrow_mut();
        last.push_back(line.to_owned());
        if last.len() > LAST_LINES {
            last.pop_front();
        }
        if let Some(address) = metrics::address(line) {
            said.metrics.set(Some(address));
        }
        if said.ready.borrow().is_none() && line.contains(": ready") {
            *said.ready.borrow_mut() = Some(line.to_owned());
            said.news.notify_waiters();
        }
    }
}

/// A log file of bounded size.
struct Log {
    path: PathBuf,
    file: File,
    bytes: usize,
}

impl Log {
    /// Opens the one at `path`, which goes on where a process of before has left it.
    fn open(path: PathBuf) -> std::io::Result<Log> {
        let file = File::options().create(true).append(true).open(&path)?;
        let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        Ok(Log { path, file, bytes })
    }

    /// Adds a line. What cannot be written is lost: a full disk must not end the demo.
    fn write(&mut self, line: &[u8]) {
        if self.bytes.saturating_add(line.len()) > LOG_BYTES_MAX {
            let _ = fs::rename(&self.path, self.path.with_extension("log.old"));
            if let Ok(file) = File::create(&self.path) {
                (self.file, self.bytes) = (file, 0);
            }
        }
        if self.file.write_all(line).is_ok() {
            self.bytes += line.len();
        }
    }
}

/// The arguments of `weft demo-process`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The process id of the demo.
    demo: i32,

    /// What `weft` is called with.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<String>,
}

/// Has the system kill this process when the demo goes away, then becomes `weft` as asked for.
///
/// Source: prctl(2), `PR_SET_PDEATHSIG`: it outlives execve(2).
pub fn become_weft(arguments: &Arguments) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("PR_SET_PDEATHSIG")?;
    let parent = getppid().map(|parent| parent.as_raw_nonzero().get());
    if parent != Some(arguments.demo) {
        bail!("the demo, process {}, is not the parent any more", arguments.demo);
    }
    let program = std::env::current_exe().context("the own program")?;
    let error = Command::new(program).args(&arguments.arguments).exec();
    Err(error).context("cannot start the process of the demo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_what_each_program_says() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let control = "weft control: ready at 127.0.0.1:15010, trust domain weft.local";
        assert_eq!(addresses(control), [at(15010)]);
        let proxy = "weft proxy: ready, as spiffe://weft.local/ns/shop/sa/web, listening at \
                     127.0.0.1:1, 127.0.0.1:2";
        assert_eq!(addresses(proxy), [at(1), at(2)]);
        assert_eq!(addresses("weft demo-service: web 1: ready at 127.0.0.1:3"), [at(3)]);
    }

    #[test]
    fn a_log_is_bounded() {
        let directory = std::env::temp_dir().join(format!("weft-log-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut log = Log::open(directory.join("web.log")).unwrap();
        let line = vec![b'x'; 100_000];
        for _ in 0..50 {
            log.write(&line);
        }
        let sizes: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size <= LOG_BYTES_MAX as u64), "{sizes:?}");
    }
}
