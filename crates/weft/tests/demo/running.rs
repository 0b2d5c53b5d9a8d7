//! A demo that runs, and what somebody does with it.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// The longest wait: a program is started anew after 10 s.
const PATIENCE: Duration = Duration::from_secs(150);

pub const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// A demo that runs. It is asked to end with this value.
pub struct Demo {
    pub child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    /// Where the shop's page is, once it has said so.
    pub page: String,
    /// Where its commands are to be run, likewise.
    pub directory: PathBuf,
    /// The commands, by what they are about, with what is said below each.
    pub tries: Vec<(String, String, String)>,
}

/// The processes of the demo `id`, to wait for.
pub fn processes(id: u32) -> Vec<(String, OwnedFd)> {
    children(id)
        .into_iter()
        .map(|(id, command)| {
            let id = Pid::from_raw(id.try_into().unwrap()).unwrap();
            (command, pidfd_open(id, PidfdFlags::empty()).unwrap())
        })
        .collect()
}

impl Demo {
    /// Starts one, and waits until it has said what to try.
    pub fn start(arguments: &[&str]) -> Demo {
        let mut command = Command::new(WEFT);
        command.arg("demo").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (page, directory, tries) = (String::new(), PathBuf::new(), Vec::new());
        let mut demo = Demo { child, lines, page, directory, tries };
        let mut said = Vec::new();
        loop {
            let Some(line) = demo.lines.next() else { panic!("it ended: {said:#?}") };
            let line = line.unwrap().strip_prefix("weft demo: ").unwrap().to_owned();
            if let Some((_, page)) = line.split_once("the shop's page is ") {
                demo.page = page.to_owned();
            }
            if let Some(directory) = line.strip_prefix("Try, in a second terminal:  cd ") {
                demo.directory = directory.into();
            }
            if line.contains("Ctrl-C") {
                return demo;
            }
            if line.starts_with(|first: char| first.is_ascii_digit())
                && let Some((title, command)) = line[2..].split_once("  ")
            {
                demo.tries.push((title.to_owned(), command.trim().to_owned(), String::new()));
            } else if let Some((_, _, expect)) = demo.tries.last_mut() {
                expect.push_str(&line);
            }
            said.push(line);
        }
    }

    pub fn about(&self, title: &str) -> &(String, String, String) {
        let found = self.tries.iter().find(|(known, ..)| known == title);
        found.unwrap_or_else(|| panic!("{title}: {:?}", self.tries))
    }

    /// Runs the command about `title`, as somebody would who copies it.
    pub fn run(&self, title: &str) {
        self.shell(&self.about(title).1);
    }

    /// Runs the command that takes it back, which stands in the text.
    pub fn run_undo(&self, title: &str) {
        let (_, command) = self.about(title).2.split_once(": ").unwrap();
        self.shell(command);
    }

    pub fn shell(&self, command: &str) -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(&self.directory).stdin(Stdio::null());
        // Whoever tries the demo may have told the shell of another mesh.
        shell.env("WEFT_CREDENTIAL", "/nowhere");
        let output = shell.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {errors}");
        output
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its processes, to wait for.
    pub fn processes(&self) -> Vec<(String, OwnedFd)> {
        processes(self.child.id())
    }

    /// Waits for its end, and gives what it printed and what it still said.
    pub fn wait(mut self) -> (Output, Vec<String>) {
        let said = self.lines.by_ref().map(Result::unwrap).collect();
        let mut output = String::new();
        std::io::Read::read_to_string(&mut self.child.stdout.take().unwrap(), &mut output).unwrap();
        let status = self.child.wait().unwrap();
        (Output { status, stdout: output.into(), stderr: Vec::new() }, said)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// The children of process `parent`, with their command lines.
pub fn children(parent: u32) -> Vec<(u32, String)> {
    let of_parent = |(id, _): &(u32, String)| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        status.lines().any(|line| line == format!("PPid:\t{parent}"))
    };
    commands().into_iter().filter(of_parent).collect()
}

/// All processes of this machine, with their command lines.
pub fn commands() -> Vec<(u32, String)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let command = |id| fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    ids.map(|id| (id, command(id).replace('\0', " "))).collect()
}

/// Waits until all of `processes` have ended.
pub fn gone(processes: &[(String, OwnedFd)]) {
    for (command, process) in processes {
        let mut waiting = [PollFd::new(process, PollFlags::IN)];
        let most = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(poll(&mut waiting, Some(&most)).unwrap(), 1, "{command} has not ended");
    }
}

/// What the page shows, asked for 40 times.
pub fn forty(demo: &Demo) -> Vec<serde_json::Value> {
    let output = demo.shell(&format!("curl -sS '{}api/shop?[1-40]'", demo.page));
    let answers = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    answers.map(Result::unwrap).collect()
}

/// Asks forty times, again and again, until `is_so`.
pub fn until(demo: &Demo, what: &str, mut is_so: impl FnMut(&[serde_json::Value]) -> bool) {
    let clock = weft_net::world().clock;
    let began = clock.now();
    loop {
        let last = forty(demo);
        if is_so(&last) {
            return;
        }
        assert!(clock.now().since(began) < PATIENCE, "{what}: {last:#?}");
    }
}
