//! `weft watch`, as somebody at a terminal and a program behind a pipe see it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Control, Directory, SERVICE, WEFT, must, refused, weft};

/// A watch under way. It is killed with this value.
struct Watch {
    child: Child,
    lines: Receiver<String>,
    errors: ChildStderr,
}

impl Watch {
    fn start(credential: &Path, arguments: &[&str]) -> Watch {
        // Where these tests run in the background of a script, Ctrl-C is not for them.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT", WEFT, "watch"])
            .args(arguments)
            .env("WEFT_CREDENTIAL", credential);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let errors = child.stderr.take().unwrap();
        let (sender, lines) = sync_channel(1024);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                drop(sender.try_send(line));
            }
        });
        Watch { child, lines, errors }
    }

    fn line(&self) -> String {
        let line = self.lines.recv_timeout(std::time::Duration::from_secs(30));
        line.expect("it shows something")
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended; how, what it showed that nobody looked at, and what it said.
    fn end(mut self) -> (ExitStatus, Vec<String>, String) {
        let mut said = String::new();
        self.errors.read_to_string(&mut said).unwrap();
        let shown = self.lines.iter().collect();
        (self.child.wait().unwrap(), shown, said)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn apply(directory: &Directory, text: &str) {
    let file = directory.file("applied.yaml", text);
    must(weft(&directory.0.join("data/admin"), &["apply", "-f", file.to_str().unwrap()]));
}

/// The version at the end of a line.
fn version(line: &str) -> u64 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_watch_shows_what_is_there_and_then_each_change_until_it_is_interrupted() {
    use std::os::unix::process::ExitStatusExt;
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let credential = directory.0.join("data/admin");
    apply(&directory, SERVICE);

    let all = Watch::start(&credential, &["services"]);
    let one = Watch::start(&credential, &["services", "web", "-n", "shop"]);
    let json = Watch::start(&credential, &["services", "-o", "json"]);
    let there = all.line();
    assert!(there.starts_with("Service shop/cart at version "), "{there}");
    assert_eq!(json.json()["object"]["name"], "cart");

    apply(&directory, &SERVICE.replace("name: cart", "name: web"));
    let created = all.line();
    assert!(created.starts_with("Service shop/web at version "), "{created}");
    // Whether it was there already when this one looked first makes no difference.
    assert_eq!(one.line(), created);
    apply(&directory, &SERVICE.replace("port: 80", "port: 81"));
    let changed = all.line();
    assert!(changed.starts_with("Service shop/cart at version "), "{changed}");
    must(weft(&credential, &["delete", "svc", "web", "-n", "shop"]));
    let deleted = all.line();
    assert!(deleted.starts_with("Service shop/web deleted at version "), "{deleted}");
    let versions = [&there, &created, &changed, &deleted].map(|line| version(line));
    assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");

    // The one that was asked for only, and the same for programs.
    assert_eq!(one.line(), deleted);
    let put = json.json();
    assert_eq!((&put["type"], &put["object"]["name"]), (&"put".into(), &"web".into()));
    assert_eq!(put["object"]["resource_version"], versions[1]);
    let put = json.json();
    assert!(put["object"]["yaml"].as_str().unwrap().contains("port: 81"), "{put}");
    let gone = serde_json::json!({
        "type": "deleted",
        "kind": "Service",
        "namespace": "shop",
        "name": "web",
        "resource_version": versions[3],
    });
    assert_eq!(json.json(), gone);

    // As Ctrl-C does.
    for watch in [all, one, json] {
        watch.signal(Signal::INT);
        let (status, shown, said) = watch.end();
        assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
        assert_eq!((shown, &*said), (vec![], ""));
    }
}

#[test]
fn a_watch_ends_with_its_control_plane_and_says_so() {
    for signal in [Signal::TERM, Signal::KILL] {
        let directory = Directory::new();
        let control = Control::start(&directory, "127.0.0.1:0");
        let credential = directory.0.join("data/admin");
        apply(&directory, SERVICE);
        let watch = Watch::start(&credential, &["services"]);
        watch.line();
        // What is there comes before the watch itself, and this after it.
        apply(&directory, &SERVICE.replace("port: 80", "port: 81"));
        watch.line();
        kill_process(Pid::from_child(&control.child), signal).unwrap();
        let (status, shown, said) = watch.end();
        assert_eq!((status.code(), shown), (Some(1), vec![]), "{signal:?}: {said}");
        let address = control.address.to_string();
        assert!(said.contains(&address), "{signal:?}: {said}");
    }
}

#[test]
fn a_watch_of_nothing_known_is_refused() {
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let credential = directory.0.join("data/admin");
    let error = refused(weft(&credential, &["watch", "teapots"]));
    assert!(error.contains("teapots"), "{error}");
    let error = refused(weft(&credential, &["watch", "services", "-o", "yaml"]));
    assert!(error.contains("-o yaml is for `weft get`"), "{error}");
}
