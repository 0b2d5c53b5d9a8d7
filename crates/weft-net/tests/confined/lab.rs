//! Users, programs and what they leave behind.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// With all capabilities.
    Root,
    /// With none, and with files of its own only.
    Nobody,
}

/// The number of the user and of the group that have the least rights by convention.
const NOBODY: u32 = 65534;

impl User {
    /// All that this process can be.
    pub fn all() -> Vec<User> {
        assert!(rustix_is_root(), "these tests are run as root, who can also be somebody else");
        vec![User::Root, User::Nobody]
    }

    /// The user's number.
    pub fn number(self) -> u32 {
        match self {
            User::Root => 0,
            User::Nobody => NOBODY,
        }
    }

    /// `program`, as this user.
    pub fn command(self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        let mut command = match self {
            User::Root => Command::new(program),
            User::Nobody => {
                let mut command = Command::new("setpriv");
                let id = NOBODY.to_string();
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program);
                command
            }
        };
        // Where an ordinary user may look.
        command.current_dir("/").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command
    }

    /// This program, confining `command` as this user.
    pub fn confined(self, command: &[&str]) -> Command {
        self.probe(&[], command)
    }

    /// The same, with options.
    pub fn probe(self, options: &[&str], command: &[&str]) -> Command {
        let mut probe = self.command(this_program());
        probe.arg("--probe").args(options).arg("--").args(command);
        probe
    }
}

fn rustix_is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ids = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    ids.split_ascii_whitespace().nth(2) == Some("0")
}

/// A copy of this program where everybody may read it.
pub fn this_program() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("weft-confined-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let copy = directory.join("confined");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    })
}

/// Takes the copy away.
pub fn clean() {
    let _ = fs::remove_dir_all(this_program().parent().unwrap());
}

/// Runs `command` to its end.
pub fn output(mut command: Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// What `command`, which must succeed, printed.
pub fn must(command: Command) -> String {
    let text = format!("{command:?}");
    let output = output(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A program that runs, whose output is read line by line.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Running {
    /// Starts `command`. Its input is what [`Running::type_in`] says.
    pub fn start(mut command: Command) -> Running {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(1000);
        // Ends with the output, or with its reader.
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Running { child, lines, seen: String::new() }
    }

    /// Its process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads until a line contains `text`, and gives that line.
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push_str(&line);
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no `{text}`, {error}:\n{}", self.seen),
            }
        }
    }

    /// Writes to its input.
    pub fn type_in(&mut self, bytes: &[u8]) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for the end of its output, and says how it ended.
    pub fn end(mut self) -> ExitStatus {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push_str(&line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(error) => panic!("no end, {error}:\n{}", self.seen),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends `process` a signal by name.
pub fn signal(process: u32, name: &str) {
    let mut kill = Command::new("kill");
    kill.args([&format!("-{name}"), &process.to_string()]);
    must(kill);
}

/// The processes that were started with an argument that contains `text`.
pub fn processes_with(text: &str) -> Vec<u32> {
    let numbers = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let named = |process: &u32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|argument| argument.contains(text))
    };
    numbers.filter(named).filter(|process| *process != std::process::id()).collect()
}

/// Whether any process is in the namespace that `link` names, as `net:[4026531840]`.
pub fn is_inhabited(link: &str) -> bool {
    let kind = link.split(':').next().unwrap();
    fs::read_dir("/proc").unwrap().any(|entry| {
        let path = entry.unwrap().path().join("ns").join(kind);
        fs::read_link(path).is_ok_and(|found| found.to_string_lossy() == link.trim())
    })
}

/// Waits until `condition` holds.
#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
