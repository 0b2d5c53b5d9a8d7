//! The demo, as a newcomer runs it, and with what it invites to try.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// A demo that runs. It is asked to end with this value.
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    /// Where its commands are to be run, once it has said so.
    directory: PathBuf,
    /// The commands, by what they are about, with what is said below each.
    tries: Vec<(String, String, String)>,
}

impl Demo {
    /// Starts one, and waits until it has said what to try.
    fn start(arguments: &[&str]) -> Demo {
        let mut command = Command::new(WEFT);
        command.arg("demo").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut demo = Demo { child, lines, directory: PathBuf::new(), tries: Vec::new() };
        let mut said = Vec::new();
        loop {
            let Some(line) = demo.lines.next() else { panic!("it ended: {said:#?}") };
            let line = line.unwrap().strip_prefix("weft demo: ").unwrap().to_owned();
            if let Some(directory) = line.strip_prefix("Try, in a second terminal:  cd ") {
                demo.directory = directory.into();
            }
            if line.starts_with("Ctrl-C") {
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

    fn about(&self, title: &str) -> &(String, String, String) {
        let found = self.tries.iter().find(|(known, ..)| known == title);
        found.unwrap_or_else(|| panic!("{title}: {:?}", self.tries))
    }

    /// Runs the command about `title`, as somebody would who copies it.
    fn run(&self, title: &str) {
        self.shell(&self.about(title).1);
    }

    /// Runs the command that takes it back, which stands in the text.
    fn run_undo(&self, title: &str) {
        let (_, command) = self.about(title).2.split_once(": ").unwrap();
        self.shell(command);
    }

    fn shell(&self, command: &str) -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(&self.directory).stdin(Stdio::null());
        let output = shell.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {errors}");
        output
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its processes, to wait for.
    fn processes(&self) -> Vec<(String, OwnedFd)> {
        children(self.child.id())
            .into_iter()
            .map(|(id, command)| {
                let id = Pid::from_raw(id.try_into().unwrap()).unwrap();
                (command, pidfd_open(id, PidfdFlags::empty()).unwrap())
            })
            .collect()
    }

    /// Waits for its end, and gives what it printed and what it still said.
    fn wait(mut self) -> (Output, Vec<String>) {
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
fn children(parent: u32) -> Vec<(u32, String)> {
    let of_parent = |(id, _): &(u32, String)| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        status.lines().any(|line| line == format!("PPid:\t{parent}"))
    };
    commands().into_iter().filter(of_parent).collect()
}

/// All processes of this machine, with their command lines.
fn commands() -> Vec<(u32, String)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let command = |id| fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    ids.map(|id| (id, command(id).replace('\0', " "))).collect()
}

/// Waits until all of `processes` have ended.
fn gone(processes: &[(String, OwnedFd)]) {
    for (command, process) in processes {
        let mut waiting = [PollFd::new(process, PollFlags::IN)];
        let most = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(poll(&mut waiting, Some(&most)).unwrap(), 1, "{command} has not ended");
    }
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_demo_answers_every_request_over_mutual_tls_and_leaves_nothing_behind() {
    let demo = Demo::start(&["--duration", "3s", "--output", "json"]);
    let (directory, processes) = (demo.directory.clone(), demo.processes());
    assert_eq!(mode(&directory), 0o700);
    // The control plane, six programs, and a proxy for each of them and for the visitors.
    assert_eq!(processes.len(), 14);
    let (output, said) = demo.wait();
    assert!(output.status.success(), "{said:#?}");
    let summary = json(&output);
    assert_eq!(summary["requests"], 60, "{summary}");
    assert_eq!(summary["failures"], 0, "{summary}");
    assert_eq!(summary["mutual_tls"], true, "{summary}");
    assert_eq!(summary["proxies"], 7, "{summary}");
    assert_eq!(summary["identities"].as_array().unwrap().len(), 5, "{summary}");
    for service in ["web", "cart", "catalog", "motto"] {
        let hop = &summary["services"][service];
        assert!(hop["mutual_tls"].as_u64().unwrap() >= 60, "{service}: {summary}");
        assert_eq!(hop["mutual_tls"], hop["served"], "{service}: {summary}");
    }
    assert!(summary["p99_ms"].as_f64().unwrap() >= summary["p50_ms"].as_f64().unwrap());
    gone(&processes);
    assert!(!directory.exists());
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Where the shop's page is.
fn page(demo: &Demo) -> String {
    let log = fs::read_to_string(demo.directory.join("visitor-1-proxy.log")).unwrap();
    let (_, address) = log.lines().find_map(|line| line.split_once("listening at ")).unwrap();
    format!("http://{address}/")
}

/// What the page shows, asked for 40 times.
fn forty(demo: &Demo) -> Vec<serde_json::Value> {
    let output = demo.shell(&format!("curl -sS '{}api/shop?[1-40]'", page(demo)));
    let answers = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    answers.map(Result::unwrap).collect()
}

/// Asks forty times, again and again, until `is_so`.
fn until(demo: &Demo, what: &str, mut is_so: impl FnMut(&[serde_json::Value]) -> bool) {
    let mut last = Vec::new();
    for _ in 0..200 {
        last = forty(demo);
        if is_so(&last) {
            return;
        }
    }
    panic!("{what}: {last:#?}")
}

fn instances(answers: &[serde_json::Value], name: &str) -> usize {
    answers.iter().filter(|answer| answer["cart"]["instance"] == name).count()
}

fn has_errors(answer: &serde_json::Value) -> bool {
    answer["errors"] != serde_json::json!({})
}

#[test]
fn the_page_and_what_it_shows_are_there_for_a_browser() {
    let demo = Demo::start(&[]);
    let page = demo.shell(&format!("curl -sS --fail {}", page(&demo)));
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("/api/shop"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "it needs nothing else");
    until(&demo, "the stock is streamed", |answers| answers[39]["stock_changes"] != 0);
    for shop in forty(&demo) {
        assert!(!has_errors(&shop), "{shop}");
        assert_eq!(shop["items"].as_array().unwrap().len(), 4, "{shop}");
        let has_total = shop["cart"]["total"].is_string();
        assert_eq!(has_total, shop["cart"]["version"] == "v2", "{shop}");
    }
}

#[test]
fn the_demo_fails_when_a_service_does() {
    for service in ["catalog", "motto"] {
        let demo = Demo::start(&["--duration", "3s", "--output", "json"]);
        let program = format!("demo-service {service} ");
        let processes = children(demo.child.id());
        let (id, _) = processes.iter().find(|(_, command)| command.contains(&program)).unwrap();
        demo.shell(&format!("kill -USR1 {id}"));
        let (output, said) = demo.wait();
        assert!(!output.status.success(), "{said:#?}");
        assert!(json(&output)["failures"].as_u64().unwrap() > 0);
        assert!(said.last().unwrap().contains("requests failed"), "{said:#?}");
    }
}

#[test]
fn no_visitor_notices_a_killed_or_a_broken_instance() {
    for title in ["kill an instance", "break a service"] {
        let demo = Demo::start(&["--duration", "5s", "--output", "json"]);
        demo.run(title);
        let (output, said) = demo.wait();
        assert!(output.status.success(), "{title}: {said:#?}");
        assert_eq!(json(&output)["failures"], 0, "{title}: {said:#?}");
    }
}

#[test]
fn each_command_does_what_the_text_says() {
    let demo = Demo::start(&["--output", "json"]);
    let healthy = |answers: &[serde_json::Value]| !answers.iter().any(has_errors);

    demo.run("shift a canary");
    until(&demo, "half of it is v2", |answers| {
        healthy(answers) && (10..=30).contains(&instances(answers, "cart-v2-1"))
    });
    demo.run_undo("shift a canary");
    until(&demo, "few are v2", |answers| instances(answers, "cart-v2-1") < 10);

    demo.run("deny a caller");
    let is_denied = |answer: &serde_json::Value| {
        let error = answer["errors"]["cart"].as_str().unwrap_or_default();
        error.contains("403") && error.contains("deny") && answer["items"].is_array()
    };
    until(&demo, "the cart is denied, the rest is not", |answers| answers.iter().all(is_denied));
    demo.run_undo("deny a caller");
    until(&demo, "the cart is there again", healthy);

    demo.run("break a service");
    let failures = || {
        let logs = ["cart-v1-1-proxy.log", "cart-v1-1-proxy.log.old"];
        let text = logs.map(|log| fs::read_to_string(demo.directory.join(log)).unwrap_or_default());
        let lines = text.iter().flat_map(|text| text.lines());
        lines.filter(|line| line.contains("\"status\":500")).count()
    };
    let mut seen = 0;
    until(&demo, "it is ejected", |answers| {
        let before = std::mem::replace(&mut seen, failures());
        before >= 3 && before == seen && healthy(answers)
    });
    demo.run("break a service");
    until(&demo, "it is tried again and serves", |answers| {
        healthy(answers) && instances(answers, "cart-v1-1") > 5
    });

    demo.run("kill an instance");
    until(&demo, "the others serve", |answers| {
        healthy(answers) && instances(answers, "cart-v1-2") == 0
    });
    demo.signal(Signal::TERM);
    let (output, said) = demo.wait();
    assert!(output.status.success(), "{said:#?}");
    assert_eq!(json(&output)["mutual_tls"], true, "{output:?}");
}

#[test]
fn nothing_is_left_behind_after_sigterm() {
    let demo = Demo::start(&[]);
    let (directory, processes) = (demo.directory.clone(), demo.processes());
    assert_eq!(processes.len(), 14);
    demo.signal(Signal::TERM);
    let (output, said) = demo.wait();
    assert!(output.status.success(), "{said:#?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("requests"), "a summary");
    gone(&processes);
    assert!(!directory.exists());
}

#[test]
fn nothing_is_left_behind_after_sigterm_while_it_starts() {
    let mut command = Command::new(WEFT);
    command.arg("demo").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let directory = std::env::temp_dir().join(format!("weft-demo-{}", child.id()));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!directory.exists());
    let name = directory.display().to_string();
    let left: Vec<_> = commands().into_iter().filter(|(.., line)| line.contains(&name)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn no_process_is_left_behind_after_sigkill() {
    let demo = Demo::start(&[]);
    let (directory, processes) = (demo.directory.clone(), demo.processes());
    demo.signal(Signal::KILL);
    let (output, _) = demo.wait();
    assert!(!output.status.success());
    gone(&processes);
    fs::remove_dir_all(directory).unwrap(); // Nobody was left to do it.
}

#[test]
fn a_terminal_shows_the_table_and_is_as_before_at_the_end() {
    let command = format!("{WEFT} demo --duration 2s");
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::null());
    let output = script.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let (before, rest) = text.split_once("\x1b[?1049h").expect(&text);
    assert!(before.contains("weft demo: starting"), "{text}");
    let (table, after) = rest.split_once("\x1b[?1049l").expect(&text);
    assert!(table.contains("SERVICE") && table.contains("cart-v2-1"), "{table}");
    assert!(table.contains("\x1b[?25l") && table.contains("\x1b[?25h"), "the cursor is back");
    assert!(after.contains("40 requests, 0 failed"), "{after}");
}
