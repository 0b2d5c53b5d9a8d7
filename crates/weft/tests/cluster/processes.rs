//! Programs of Weft that run on this machine, beside a cluster, each with a log of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The program under test.
pub const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A program that ends with this value.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `weft` with `arguments`; `name` names its log in `directory`.
    pub fn weft(directory: &Path, name: &str, arguments: &[&str]) -> Process {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let mut command = Command::new(WEFT);
        command.args(arguments).current_dir(directory).stdin(Stdio::null());
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Process { child, log }
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The address that it says behind `before`, once it does.
    pub fn address(&mut self, before: &str) -> SocketAddr {
        let mut found = None;
        wait_until(before, || {
            let log = self.log();
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?}:\n{log}");
            let word = log.split_once(before).map(|(_, rest)| rest);
            let word =
                word.and_then(|rest| rest.split(|it: char| it == ',' || it.is_whitespace()).next());
            found = word.and_then(|word| word.parse().ok());
            found.is_some()
        });
        found.expect("it was waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("==== {}\n{}", self.log.display(), self.log());
        }
    }
}

/// Waits until `holds`, which is called `what`.
#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// What `command` says, and whether it ended well.
pub fn run(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let [out, err] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    (status.success(), out + &err)
}
