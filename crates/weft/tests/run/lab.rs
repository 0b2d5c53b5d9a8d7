//! A host of its own with a control plane, an ordinary user, and what that user runs.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The user that runs everything: on every Debian system, and with no rights.
pub const USER: &str = "games";
const USER_ID: u32 = 5;
const GROUP_ID: u32 = 60;

/// How long anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where programs are.
pub const PATH: &str = "/usr/lib/postgresql/17/bin:/usr/lib/postgresql/16/bin:\
                    /usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The address of the host outside of the mesh.
pub const OUTSIDE: &str = "10.77.0.2";

/// A host: a network namespace with loopback only, a directory, and a control plane there.
pub struct Lab {
    pub directory: PathBuf,
    pub host: Host,
    control: Option<Running>,
}

/// A network namespace. It goes away with this value.
pub struct Host {
    pub namespace: String,
}

/// A program. It ends with this value.
pub struct Running {
    pub child: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl Lab {
    /// Makes the host, and starts the control plane.
    pub fn new() -> Lab {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weftrun{}n{count}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(&directory).unwrap();
        chown(&directory, Some(USER_ID), Some(GROUP_ID)).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        // Where it was built, others may have no way to it.
        fs::copy(env!("CARGO_BIN_EXE_weft"), directory.join("weft")).unwrap();
        let mut lab = Lab { directory, host: Host::new(&name), control: None };
        must(lab.host.command("ip").args(["link", "set", "lo", "up"]));
        lab.file("resolv.conf", "nameserver 127.0.0.53\n");
        lab.start_control();
        lab
    }

    /// Starts the control plane, again where it was before.
    pub fn start_control(&mut self) {
        let mut command = self.user("./weft");
        command.args(["control", "--data", "control", "--listen", "127.0.0.1:15010"]);
        let control = self.start("control", command);
        control.wait_for("weft control: ready");
        self.control = Some(control);
    }

    /// Ends the control plane, without a word.
    pub fn stop_control(&mut self) {
        self.control = None;
    }

    /// A command that the ordinary user runs on the host, in the own directory, with the host's
    /// name server being 127.0.0.53, which is asked instead of any real one.
    pub fn user(&self, program: &str) -> Command {
        self.run_by(USER, USER, program)
    }

    /// The same for somebody else of this group.
    pub fn run_by(&self, user: &str, group: &str, program: &str) -> Command {
        let mut command = self.host.command("sh");
        let script = "mount --bind resolv.conf /etc/resolv.conf && exec \"$@\"";
        command.args(["-c", script, "sh", "setpriv", "--reuid", user, "--regid", group]);
        command.args(["--clear-groups", "--", program]);
        command.current_dir(&self.directory).env_clear().env("PATH", PATH).env("LC_ALL", "C");
        command.env("HOME", &self.directory).env("WEFT_CREDENTIAL", "control/admin");
        command
    }

    /// A second host, at [`OUTSIDE`], that the first has a link to.
    pub fn outside(&self) -> Host {
        let (near, far) = (&self.host, Host::new(&format!("{}o", self.host.namespace)));
        let (here, there) = (&near.namespace, &far.namespace);
        must(Command::new("ip").args([
            "link", "add", "veth0", "netns", here, "type", "veth", "peer", "name", "veth0",
            "netns", there,
        ]));
        for (host, address) in [(near, "10.77.0.1"), (&far, OUTSIDE)] {
            let network = format!("{address}/24");
            must(host.command("ip").args(["address", "add", &network, "dev", "veth0"]));
            must(host.command("ip").args(["link", "set", "veth0", "up"]));
            must(host.command("ip").args(["link", "set", "lo", "up"]));
        }
        far
    }

    /// A file of the user's.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, content).unwrap();
        chown(&path, Some(USER_ID), Some(GROUP_ID)).unwrap();
        path
    }

    /// Starts `command` with its output in files called after `name`, and without input.
    pub fn start(&self, name: &str, mut command: Command) -> Running {
        command.stdin(Stdio::null());
        self.start_with_input(name, command)
    }

    /// Starts `command`, whose input is what [`Running::type_in`] says.
    pub fn start_typed(&self, name: &str, mut command: Command) -> Running {
        command.stdin(Stdio::piped());
        self.start_with_input(name, command)
    }

    fn start_with_input(&self, name: &str, command: Command) -> Running {
        let [output, errors] = ["out", "err"].map(|kind| self.file(&format!("{name}.{kind}"), ""));
        Running::start(command, output, errors)
    }

    /// `weft run` for `account`, to be completed with the command; it serves nothing.
    pub fn client(&self, account: &str) -> Command {
        self.confined(account, &[])
    }

    /// `weft run` for `service` with its port, to be completed with the command.
    pub fn server(&self, service: &str, port: &str) -> Command {
        self.confined(service, &["--service", service, "--port", port])
    }

    /// `weft run` for `account` with options and a token, to be completed with the command.
    pub fn confined(&self, account: &str, options: &[&str]) -> Command {
        let arguments = self.arguments(account, options);
        let mut command = self.user(&arguments[0]);
        command.args(&arguments[1..]);
        command
    }

    /// The same, as words for a shell.
    pub fn arguments(&self, account: &str, options: &[&str]) -> Vec<String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let token = format!("{account}-{number}.token");
        let mut make = self.user("./weft");
        let shop = format!("shop/{account}");
        make.args(["token", "--service-account", &shop]);
        if options.contains(&"--service") {
            make.args(["--service", &shop]);
        }
        self.file(&token, must(&mut make));
        let data = format!("{account}-{number}.data");
        let run = ["./weft", "run", "--namespace", "shop", "--service-account", account];
        let state = ["--token", &token, "--data", &data, "--access-log", "all"];
        [&run[..], &state, options, &["--"]].concat().into_iter().map(str::to_owned).collect()
    }

    /// Applies resources.
    pub fn apply(&self, text: &str) {
        let path = self.file("applied.yaml", text);
        must(self.user("./weft").args(["apply", "-f"]).arg(path));
    }

    /// What `shell`, run by `sh` in the mesh as `account`, prints. It must succeed.
    pub fn shell(&self, account: &str, shell: &str) -> String {
        must(self.client(account).args(["sh", "-c", shell]))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.control = None;
        // After a failure, the logs are what one wants to see.
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.directory).unwrap();
        }
    }
}

impl Host {
    /// Makes a network namespace.
    pub fn new(name: &str) -> Host {
        must(Command::new("ip").args(["netns", "add", name]));
        Host { namespace: name.to_owned() }
    }

    /// A command that root runs on this host.
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
    /// Starts `command` with its output in these files.
    pub fn start(mut command: Command, output: PathBuf, errors: PathBuf) -> Running {
        let file =
            |path: &Path| fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        command.stdout(file(&output)).stderr(file(&errors));
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Running { child, output, errors }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap()).into_owned()
    }

    /// What it complained of so far; the access log too.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.errors).unwrap()).into_owned()
    }

    /// Waits until it has said `text`, on either.
    pub fn wait_for(&self, text: &str) {
        let said = || format!("{}{}", self.output(), self.log());
        wait_until_or(|| said().contains(text), || format!("no `{text}`:\n{}", said()));
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

    /// Waits until it has ended.
    pub fn end(&mut self) -> ExitStatus {
        let Running { child, output, errors } = self;
        let said = || [&output, &errors].map(|path| fs::read_to_string(path).unwrap()).concat();
        let explain = || format!("it has not ended:\n{}", said());
        wait_until_or(|| child.try_wait().unwrap().is_some(), explain);
        child.wait().unwrap()
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
    must(Command::new("kill").args([&format!("-{name}"), &process.to_string()]));
}

/// Runs a command that must succeed, and gives what it printed.
pub fn must(command: &mut Command) -> String {
    let output = output(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}:\n{text}{errors}", output.status);
    text
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Waits until `condition` holds.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_or(condition, || format!("{what}: not within {PATIENCE:?}"));
}

/// Waits until `condition` holds; `explain` says what was the matter if it never does.
#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
pub fn wait_until_or(mut condition: impl FnMut() -> bool, explain: impl Fn() -> String) {
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

/// The descendants of `process`, nearest first, with the names of their programs.
pub fn descendants(process: u32) -> Vec<(u32, String)> {
    let mut found: Vec<(u32, String)> = Vec::new();
    let mut parents = vec![process];
    while let Some(parent) = parents.pop() {
        for task in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|id| id.parse().ok()) {
                let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
                found.push((child, name.trim().to_owned()));
                parents.push(child);
            }
        }
    }
    found
}

/// Whether `process` is there and has not ended.
pub fn is_alive(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}
