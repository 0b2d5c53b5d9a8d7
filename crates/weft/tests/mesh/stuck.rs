//! What is said on standard error is waited for by nobody: a log that nobody reads any more stops
//! neither traffic nor anything else.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::app::{App, Executed};
use crate::lab::{Lab, Spec, WEFT, output, succeeded, wait_until};

/// A program whose standard error is a pipe. It is read until the program is ready, and then no
/// more, but not closed.
struct Unread {
    child: Child,
    said: String,
    _unread: Box<dyn std::io::Read>,
}

impl Unread {
    /// Starts `command` with an unnamed pipe, and reads it until it says `last` and the line's end.
    fn start(command: &mut Command, last: &str) -> Unread {
        let (reader, writer) = std::io::pipe().unwrap();
        Unread::run(command.stderr(writer), Box::new(reader), last)
    }

    /// The same with a FIFO at `path`.
    fn start_with_fifo(command: &mut Command, path: &Path, last: &str) -> Unread {
        succeeded(output(Command::new("mkfifo").arg(path)));
        // Whoever opens one end only waits for the other.
        let both = File::options().read(true).write(true).open(path).unwrap();
        let writer = File::options().write(true).open(path).unwrap();
        let reader = File::open(path).unwrap();
        drop(both);
        Unread::run(command.stderr(writer), Box::new(reader), last)
    }

    fn run(command: &mut Command, mut reader: Box<dyn std::io::Read>, last: &str) -> Unread {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        // Otherwise this process holds the pipe open, and would not see the other one end.
        command.stderr(Stdio::null());
        let mut said = String::new();
        while !said.split_once(last).is_some_and(|(_, rest)| rest.contains('\n')) {
            let mut bytes = [0; 256];
            let count = reader.read(&mut bytes).unwrap();
            assert!(count > 0, "it has ended: {said}");
            said.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        Unread { child, said, _unread: reader }
    }

    /// The address behind `prefix` in what it has said.
    fn address(&self, prefix: &str) -> SocketAddr {
        let (_, rest) = self.said.split_once(prefix).unwrap();
        rest.split(['/', ',', ' ', '\n']).next().unwrap().parse().unwrap()
    }

    /// Asks it to end, and waits until it has, in order.
    fn terminate(&mut self) {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut status = None;
        wait_until("it ends although nobody reads its last words", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success());
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many of `count` requests with long paths are answered by the application.
fn answered(address: SocketAddr, count: u32) -> usize {
    let long = "a".repeat(4_000);
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}\n"]);
    let said = output(curl.arg(format!("http://{address}/{long}?[1-{count}]")));
    String::from_utf8_lossy(&said.stdout).lines().filter(|line| *line == "200").count()
}

#[test]
fn a_proxy_whose_log_nobody_reads_goes_on_in_everything() {
    let lab = Lab::new();
    let app = App::start("cart-1", &Executed::default());
    let _server = lab.replica("cart-1", Some("http"), &app);
    lab.token("web", "shop/web", &[]);
    let calls = &[("shop/cart", 80)];
    let spec = Spec { name: "web", account: "shop/web", calls, ..Spec::default() };
    let config = lab.file("web.yaml", &spec.text());
    let mut command = Command::new(WEFT);
    command.args(["proxy", "--metrics", "127.0.0.1:0", "--access-log", "all", "--config"]);
    let fifo = lab.directory.join("web.fifo");
    let mut proxy = Unread::start_with_fifo(command.arg(config), &fifo, "listening at ");
    let (calls, metrics) = (proxy.address("listening at "), proxy.address("metrics at http://"));
    let shown = |line: &str| {
        let url = format!("http://{metrics}/metrics");
        let curl = output(Command::new("curl").args(["-s", "--max-time", "20", &url]));
        succeeded(curl).lines().any(|found| found == line)
    };

    // A pipe holds 64 KiB.
    assert_eq!(answered(calls, 200), 200);
    // What comes and goes with the control plane has something to say each time.
    for _ in 0..2 {
        lab.kill_control();
        wait_until("it notices", || shown("weft_control_connected 0"));
        lab.start_control();
        wait_until("it comes back", || shown("weft_control_connected 1"));
    }
    // More than may wait is dropped, and that is counted.
    assert!(shown("weft_access_log_dropped_total 0"));
    assert_eq!(answered(calls, 1_500), 1_500);
    assert!(!shown("weft_access_log_dropped_total 0"));

    proxy.terminate();
}

#[test]
fn a_control_plane_whose_log_nobody_reads_goes_on() {
    let directory = std::env::temp_dir().join(format!("weft-unread-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let data = directory.join("control");
    let mut command = Command::new(WEFT);
    command.args(["control", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
    let mut control = Unread::start(&mut command, "WEFT_CREDENTIAL=");
    let address = control.address("ready at ");
    // Each of these is worth a line, which together are more than a pipe holds.
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "20", "-o", "/dev/null"]);
    output(curl.arg(format!("http://{address}/?[1-3000]")));
    let mut weft = Command::new("timeout");
    weft.args(["20", WEFT, "get", "mesh"]).env("WEFT_CREDENTIAL", data.join("admin"));
    assert!(succeeded(output(&mut weft)).contains("mesh"));
    control.terminate();
    std::fs::remove_dir_all(&directory).unwrap();
}
