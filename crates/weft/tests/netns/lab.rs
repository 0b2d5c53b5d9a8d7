//! Two hosts with a link between them, and the programs on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::nginx;

/// The address of the host that calls.
pub const CLIENT: &str = "10.77.0.1";

/// The address of the host that is called.
pub const SERVER: &str = "10.77.0.2";

/// How long anything here may take to become ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two network namespaces, a directory for files, and the programs running there.
pub struct Lab {
    pub directory: PathBuf,
    pub client: Host,
    pub server: Host,
}

/// A network namespace. It goes away with this value.
pub struct Host {
    namespace: String,
}

/// A program. It ends with this value.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Lab {
    /// Makes the namespaces, the link and the directory.
    pub fn new() -> Lab {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weft{}n{count}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(&directory).expect("the directory for temporary files is writable");
        let (client, server) = (Host::new(&name, "c"), Host::new(&name, "s"));
        let (near, far) = (&client.namespace, &server.namespace);
        must(Command::new("ip").args([
            "link", "add", "veth0", "netns", near, "type", "veth", "peer", "name", "veth0",
            "netns", far,
        ]));
        for (host, address) in [(&client, CLIENT), (&server, SERVER)] {
            let network = format!("{address}/24");
            must(host.command("ip").args(["address", "add", &network, "dev", "veth0"]));
            must(host.command("ip").args(["link", "set", "veth0", "up"]));
            must(host.command("ip").args(["link", "set", "lo", "up"]));
        }
        Lab { directory, client, server }
    }

    /// Writes a file, and says where.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("the own directory is writable");
        }
        fs::write(&path, content).expect("the own directory is writable");
        path
    }

    /// Starts a program on `host`, with its output in a file.
    pub fn start(&self, host: &Host, name: &str, program: &str, arguments: &[&str]) -> Running {
        let log = self.directory.join(format!("{name}.log"));
        let output = fs::File::create(&log).expect("the own directory is writable");
        let child = host
            .command(program)
            .args(arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("files can be had"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        Running { child, log }
    }

    /// Starts a proxy with this configuration, and waits until it is ready.
    pub fn proxy(&self, host: &Host, name: &str, config: &str) -> Running {
        let path = self.file(&format!("{name}.yaml"), config);
        let path = path.to_str().expect("the path is ours");
        let weft = env!("CARGO_BIN_EXE_weft");
        let arguments = ["proxy", "--config", path, "--access-log", "all"];
        let running = self.start(host, name, weft, &arguments);
        running.wait_for("weft proxy: ready");
        running
    }

    /// Starts nginx on port 8080 of `host`'s loopback, serving the files below `html`.
    pub fn nginx(&self, host: &Host) -> Running {
        let root = self.directory.display();
        let server = format!("server {{ listen 127.0.0.1:8080; root {root}/html; }}");
        let config = nginx::config(&self.directory, &server);
        let path = self.file("nginx.conf", config);
        let path = path.to_str().expect("the path is ours");
        let running = self.start(host, "nginx", "nginx", &["-e", "stderr", "-c", path]);
        wait_until("nginx answers", || {
            let answer = output(host.command("curl").args(["-s", "http://127.0.0.1:8080/"]));
            answer.status.success()
        });
        running
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // After a failure, the logs are what one wants to see.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

impl Host {
    fn new(name: &str, suffix: &str) -> Host {
        let namespace = format!("{name}{suffix}");
        must(Command::new("ip").args(["netns", "add", &namespace]));
        Host { namespace }
    }

    /// A command that will run on this host.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
    }
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it has printed `text`.
    pub fn wait_for(&self, text: &str) {
        wait_until_or(
            || self.log().contains(text),
            || format!("no `{text}` in {}:\n{}", self.log.display(), self.log()),
        );
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) {
        let id = self.child.id().to_string();
        must(Command::new("kill").args(["-TERM", &id]));
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command that must succeed, and gives what it printed.
pub fn must(command: &mut Command) -> String {
    let output = output(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{text}{errors}");
    text
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// Waits until `condition` holds.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_or(condition, || format!("{what}: not within {PATIENCE:?}"));
}

#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
fn wait_until_or(mut condition: impl FnMut() -> bool, explain: impl Fn() -> String) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{}", explain());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The lines of `text` that contain all of `parts`.
pub fn lines<'t>(text: &'t str, parts: &[&str]) -> Vec<&'t str> {
    text.lines().filter(|line| parts.iter().all(|part| line.contains(part))).collect()
}

/// Whether `path` contains `bytes` anywhere.
pub fn contains(path: &Path, bytes: &[u8]) -> bool {
    let content = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    content.windows(bytes.len()).any(|window| window == bytes)
}
