//! A mesh on the loopback: a control plane, proxies and what is needed to meddle with them. Every
//! program is a process of its own with a log of its own, and is ended by its id.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::app::App;
use crate::clock::Jumping;

/// The program under test.
pub const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// How long anything may take that is not measured.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How many last lines of each log are shown after a failure.
const TAIL_LINES: usize = 25;

/// Tests that load the machine take turns, so that none of them measures the others.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test loads the machine.
pub fn take_turn() -> MutexGuard<'static, ()> {
    // Another test that failed has said so itself.
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A mesh: a directory, and a control plane.
pub struct Lab {
    pub directory: PathBuf,
    control: Mutex<Option<Process>>,
    address: SocketAddr,
}

impl Lab {
    /// Starts a control plane in a new directory.
    pub fn new() -> Lab {
        Lab::prepared(|_| {})
    }

    /// The same, where the control plane listens at `listen`.
    pub fn at(listen: &str) -> Lab {
        Lab::prepared_at(listen, |_| {})
    }

    /// The same, once `prepare` has put into the directory what is to be there before.
    pub fn prepared(prepare: impl FnOnce(&Path)) -> Lab {
        Lab::prepared_at("127.0.0.1:0", prepare)
    }

    fn prepared_at(listen: &str, prepare: impl FnOnce(&Path)) -> Lab {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("weft-mesh-{}-{count}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        prepare(&directory);
        let control = start_control(&directory, listen, &[]);
        let address = ready_addresses(&control, "weft control: ready at ")[0];
        Lab { directory, control: Mutex::new(Some(control)), address }
    }

    /// Ends the control plane without a warning.
    pub fn kill_control(&self) {
        let control = self.control.lock().unwrap().take();
        control.expect("the control plane runs").kill();
    }

    /// Sends it a signal.
    pub fn signal_control(&self, signal: Signal) {
        let control = self.control.lock().unwrap();
        control.as_ref().expect("the control plane runs").signal(signal);
    }

    /// Starts the control plane again, on what it kept and where it was.
    pub fn start_control(&self) {
        self.start_control_with(&[]);
    }

    /// The same with more `arguments`.
    pub fn start_control_with(&self, arguments: &[&str]) {
        let control = start_control(&self.directory, &self.address.to_string(), arguments);
        ready_addresses(&control, "weft control: ready at ");
        let before = self.control.lock().unwrap().replace(control);
        assert!(before.is_none(), "the control plane ran already");
    }

    /// Where the admin credential is.
    pub fn credential(&self) -> PathBuf {
        self.directory.join("control/admin")
    }

    /// Runs `weft` with `arguments` as the admin.
    pub fn weft(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(WEFT);
        command.args(arguments).env("WEFT_CREDENTIAL", self.credential());
        output(&mut command)
    }

    /// Applies `resources`, in YAML.
    pub fn apply(&self, resources: &str) {
        succeeded(self.apply_with(&[], resources));
    }

    /// Applies `resources`, in YAML, by `weft apply` with `options` too, and gives what it said.
    pub fn apply_with(&self, options: &[&str], resources: &str) -> Output {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.file(&format!("applied-{count}.yaml"), resources);
        self.weft(&[&["apply", "-f", path.to_str().unwrap()], options].concat())
    }

    /// Makes a join token, and writes it to a file named after `name`.
    pub fn token(&self, name: &str, account: &str, services: &[&str]) -> PathBuf {
        let mut arguments = vec!["token", "--service-account", account];
        arguments.extend(services.iter().flat_map(|service| ["--service", service]));
        let token = succeeded(self.weft(&arguments));
        self.file(&format!("{name}.token"), &token)
    }

    /// Writes a file.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Starts the replica `name` of `shop/cart`, whose application speaks `protocol`.
    pub fn replica(&self, name: &str, protocol: Option<&str>, app: &App) -> Proxy {
        self.replica_at(name, protocol, app.address)
    }

    /// The same for an application at `address`.
    pub fn replica_at(&self, name: &str, protocol: Option<&str>, address: SocketAddr) -> Proxy {
        self.proxy(&Spec {
            name,
            account: "shop/cart",
            services: &["shop/cart"],
            ports: vec![PortSpec::web(protocol, address)],
            ..Spec::default()
        })
    }

    /// Starts the proxy of a caller of `shop/cart`, with the service account `shop/web`.
    pub fn caller(&self, name: &str) -> Proxy {
        let calls = &[("shop/cart", 80)];
        self.proxy(&Spec { name, account: "shop/web", calls, ..Spec::default() })
    }

    /// Starts the proxy that `spec` describes with a new token, and waits until it is ready.
    pub fn proxy(&self, spec: &Spec<'_>) -> Proxy {
        self.proxy_by(command, spec)
    }

    /// The same, where `program` makes the command that runs the proxy of a file.
    pub fn proxy_by(&self, program: Program, spec: &Spec<'_>) -> Proxy {
        self.token(spec.name, spec.account, spec.services);
        let config = self.file(&format!("{}.yaml", spec.name), &spec.text());
        Proxy::run(&self.directory, spec.name, config, program)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.control.lock().map(|mut control| control.take()));
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
            return;
        }
        // After a failure, the logs are what one wants to see.
        let mut logs: Vec<_> = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        for log in logs {
            eprintln!("--- {}\n{}", log.display(), tail(&log));
        }
    }
}

fn start_control(directory: &Path, listen: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(WEFT);
    command.args(["control", "--listen", listen, "--data"]).arg(directory.join("control"));
    command.args(arguments);
    Process::start(directory, "control", &mut command)
}

/// What a proxy is for.
#[derive(Default)]
pub struct Spec<'s> {
    /// What it is called, which also names its workload in `shop`.
    pub name: &'s str,
    /// Its service account.
    pub account: &'s str,
    /// The Services that it is part of.
    pub services: &'s [&'s str],
    /// The ports of its application. None: it only calls.
    pub ports: Vec<PortSpec<'s>>,
    /// The Services that it calls, each by a listener of its own, in order.
    pub calls: &'s [(&'s str, u16)],
    /// Where it listens for tunnels; by default, at a free port.
    pub listen: Option<SocketAddr>,
}

/// A port of an application.
pub struct PortSpec<'s> {
    /// The port of the workload.
    pub port: u16,
    /// The port of the Service.
    pub service_port: u16,
    /// What is spoken there, if that is declared.
    pub protocol: Option<&'s str>,
    /// Where the application listens.
    pub application: SocketAddr,
}

impl<'s> PortSpec<'s> {
    /// Port 8080 of the workload, which is port 80 of its Service.
    pub fn web(protocol: Option<&'s str>, application: SocketAddr) -> PortSpec<'s> {
        PortSpec { port: 8080, service_port: 80, protocol, application }
    }
}

impl Spec<'_> {
    /// The file for `weft proxy`.
    pub fn text(&self) -> String {
        let Spec { name, account, services, ports, calls, listen } = self;
        let services = services.join(", ");
        let mut text = format!(
            "identity: {{ joinToken: {name}.token, serviceAccount: {account}, \
             services: [{services}] }}\ndata: {name}.data\n"
        );
        if !ports.is_empty() {
            let listen = listen.map_or("127.0.0.1:0".to_owned(), |listen| listen.to_string());
            text.push_str(&format!(
                "workload:\n  name: shop/{name}\n  services: [{services}]\n  listen: '{listen}'\n  \
                 ports:\n"
            ));
        }
        for PortSpec { port, service_port, protocol, application } in ports {
            let protocol =
                protocol.map(|protocol| format!(", protocol: {protocol}")).unwrap_or_default();
            text.push_str(&format!(
                "  - {{ port: {port}, servicePort: {service_port}, application: '{application}'\
                 {protocol} }}\n"
            ));
        }
        if !calls.is_empty() {
            text.push_str("outbound:\n");
        }
        for (service, port) in *calls {
            text.push_str(&format!(
                "- {{ listen: '127.0.0.1:0', service: {service}, port: {port} }}\n"
            ));
        }
        text
    }
}

/// Makes the command that runs the proxy of a file.
pub type Program = fn(&Path) -> Command;

/// A proxy.
pub struct Proxy {
    process: Process,
    directory: PathBuf,
    config: PathBuf,
    /// By what it is run, from the next start on.
    pub program: Program,
    /// Where it listens: for each call in order, then for tunnels.
    pub addresses: Vec<SocketAddr>,
    metrics: SocketAddr,
}

impl Proxy {
    /// Starts the proxy that `text` describes, and waits until it is ready.
    pub fn start(lab: &Lab, name: &str, text: &str) -> Proxy {
        Proxy::start_by(lab, name, text, command)
    }

    /// The same by another `program`.
    pub fn start_by(lab: &Lab, name: &str, text: &str, program: Program) -> Proxy {
        let config = lab.file(&format!("{name}.yaml"), text);
        Proxy::run(&lab.directory, name, config, program)
    }

    fn run(directory: &Path, name: &str, config: PathBuf, program: Program) -> Proxy {
        let process = Process::start(directory, name, &mut program(&config));
        let addresses = ready_addresses(&process, "listening at ");
        let metrics = ready_addresses(&process, "metrics at http://")[0];
        Proxy { process, directory: directory.to_owned(), config, program, addresses, metrics }
    }

    /// Asks it to end, and waits until it has done so, in order.
    pub fn terminate(&mut self) {
        let status = self.process.terminate();
        assert!(status.success(), "{} ended with {status}", self.process.describe());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after its end, with a log that goes on, and waits until it is ready.
    pub fn start_again(&mut self) {
        let (name, config) = (&self.process.name, self.config.clone());
        *self = Proxy::run(&self.directory, name, config, self.program);
    }

    /// Has what it calls listen where it did before, from the next start on.
    pub fn keep_listeners(&mut self) {
        let mut text = fs::read_to_string(&self.config).unwrap();
        for address in &self.addresses {
            text = text.replacen("127.0.0.1:0", &address.to_string(), 1);
        }
        fs::write(&self.config, text).unwrap();
    }

    /// What it has written to its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until its log says `text`, in the part behind the first `from` bytes.
    pub fn wait_for_log(&self, from: usize, text: &str) {
        wait_until(&format!("{} says `{text}`", self.process.name), || {
            self.log().get(from..).is_some_and(|log| log.contains(text))
        });
    }

    /// What is at `path` of its address for scrapes.
    pub fn shown(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.metrics);
        succeeded(output(Command::new("curl").args(["-s", "--max-time", "10", &url])))
    }
}

/// The command that runs the proxy of `config`, with every record in its log.
pub fn command(config: &Path) -> Command {
    let mut command = Command::new(WEFT);
    command.args(["proxy", "--metrics", "127.0.0.1:0", "--access-log", "failures", "--config"]);
    command.arg(config);
    command
}

/// A program at work, whose output goes to a file. It is killed with this value.
pub struct Process {
    pub name: String,
    child: Child,
    log: PathBuf,
    /// How long the log was when it was started.
    begun_at: usize,
}

impl Process {
    /// Starts `command`, called `name`; what it says is added to the log of that name. It goes by
    /// the clock of that name, if there is one.
    pub fn start(directory: &Path, name: &str, command: &mut Command) -> Process {
        Jumping::rule(directory, name, command);
        let log = directory.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let begun_at = usize::try_from(fs::metadata(&log).unwrap().len()).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Process { name: name.to_owned(), child, log, begun_at }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said, and what ran under its name before.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// What it has said itself.
    pub fn said(&self) -> String {
        self.log().split_off(self.begun_at)
    }

    fn describe(&self) -> String {
        format!("{}, process {}", self.name, self.id())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        let what = format!("{} ends", self.describe());
        wait_until(&what, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The addresses that `process` says behind `prefix`, once it does.
pub fn ready_addresses(process: &Process, prefix: &str) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    wait_until(&format!("{} says `{prefix}`", process.describe()), || {
        let said = process.said();
        let Some((_, rest)) = said.split_once(prefix) else { return false };
        let Some((line, _)) = rest.split_once('\n') else { return false };
        let words = line.split([',', ' ', '/']);
        found = words
            .map_while(|word| match word {
                "" => Some(None),
                word => word.parse().ok().map(Some),
            })
            .flatten()
            .collect();
        assert!(!found.is_empty(), "{} says no address: {line}", process.describe());
        true
    });
    found
}

/// What a caller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Why the mesh refused, if it did.
    pub reason: String,
    /// The application that answered, if one did.
    pub app: String,
    pub body: String,
}

/// Sends a request with curl, with these fields, and says what was answered.
pub fn ask(address: SocketAddr, method: &str, path: &str, fields: &[&str]) -> Answer {
    let mut command = Command::new("curl");
    let shown = "\n%{http_code}\n%header{weft-reason}\n%header{x-app}";
    command.args(["-s", "--max-time", "20", "--path-as-is", "-X", method, "-w", shown]);
    command.args(fields.iter().flat_map(|field| ["-H", field]));
    let text = succeeded(output(command.arg(format!("http://{address}{path}"))));
    let mut lines = text.rsplitn(4, '\n').map(str::to_owned);
    let mut line = || lines.next().unwrap();
    let (app, reason, status, body) = (line(), line(), line(), line());
    Answer { status: status.parse().unwrap(), reason, app, body }
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// What a command printed that must succeed.
pub fn succeeded(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}{errors}", output.status);
    text
}

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// The time since `moment`.
pub fn since(moment: Instant) -> Duration {
    now().duration_since(moment)
}

/// Waits until `condition` holds, at most [`PATIENCE`].
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) -> Duration {
    wait_within(PATIENCE, what, condition)
}

/// Waits until `condition` holds, at most `limit`, and says how long that took.
#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
pub fn wait_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let began = now();
    while !condition() {
        assert!(since(began) < limit, "{what}: not within {limit:?}");
        std::thread::sleep(LOOK_INTERVAL);
    }
    since(began)
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
