//! Proxies as processes of their own, one of them in a control group with a limit on memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::lab::{must, wait_until};

/// What the proxy may use.
pub const LIMIT_BYTES: u64 = 64 << 20;

/// A directory for the files of a test. It goes away with this value.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weft-overload-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the directory for temporary files is writable");
        Directory(path)
    }

    /// Writes a file, and says where.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the own directory is writable");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // After a failure, the logs are what one wants to see.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A control group with a limit on memory. It goes away with this value.
pub struct Group(PathBuf);

impl Group {
    /// Makes the group, in whichever version of control groups the system has.
    pub fn new() -> Group {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("weft-test-{}", std::process::id());
        let (parent, limit) = if root.join("memory").is_dir() {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            fs::write(root.join("cgroup.subtree_control"), "+memory")
                .expect("as root, groups with a limit on memory can be made");
            (root.to_owned(), "memory.max")
        };
        let group = parent.join(name);
        fs::create_dir(&group).expect("as root, control groups can be made");
        fs::write(group.join(limit), LIMIT_BYTES.to_string()).expect("a limit can be set");
        Group(group)
    }

    /// The most memory that the group ever used, in bytes.
    pub fn most_bytes(&self) -> u64 {
        let files = ["memory.peak", "memory.max_usage_in_bytes"].map(|name| self.0.join(name));
        let text = files.iter().find_map(|path| fs::read_to_string(path).ok());
        let text = text.expect("the kernel keeps the most");
        text.trim().parse().expect("it is a number")
    }

    /// How many processes of the group were killed for want of memory.
    pub fn killed(&self) -> u64 {
        let events = ["memory.events", "memory.oom_control"].map(|name| self.0.join(name));
        let text = events.iter().find_map(|path| fs::read_to_string(path).ok());
        let text = text.expect("the kernel counts whom it kills");
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.parse().ok()).expect("the count is a number")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        wait_until("the group is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

/// A proxy. It ends with this value.
pub struct Proxy {
    child: Child,
    log: PathBuf,
    /// Where it listens.
    pub addresses: Vec<String>,
    metrics: String,
}

impl Proxy {
    /// Starts a proxy with this configuration, in `group` if there is one, and waits until it is
    /// ready.
    pub fn start(directory: &Directory, name: &str, config: &str, group: Option<&Group>) -> Proxy {
        let config = directory.file(&format!("{name}.yaml"), config);
        let log = directory.0.join(format!("{name}.log"));
        let enter = group.map_or(String::new(), |group| {
            format!("echo $$ > {}/cgroup.procs && ", group.0.display())
        });
        let script = format!(
            "{enter}ulimit -n 20000 && exec {} proxy --config {} --metrics 127.0.0.1:0",
            env!("CARGO_BIN_EXE_weft"),
            config.display()
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log).expect("the own directory is writable"))
            .spawn()
            .expect("there is a shell");
        let mut proxy = Proxy { child, log, addresses: Vec::new(), metrics: String::new() };
        wait_until("the proxy is ready", || proxy.log().contains("listening at "));
        let log = proxy.log();
        let behind = |text: &str| {
            let line = log.lines().find_map(|line| line.split_once(text));
            line.expect("it says where").1.to_owned()
        };
        proxy.addresses = behind("listening at ").split(", ").map(str::to_owned).collect();
        proxy.metrics = behind("metrics at ");
        proxy
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The sum of its metrics called `name` whose labels contain all of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let text = must(Command::new("curl").args(["-sS", "--fail", &self.metrics]));
        let of_name = text.lines().filter_map(|line| line.strip_prefix(name));
        let of_name = of_name.filter(|rest| rest.starts_with(['{', ' ']));
        let matching = of_name.filter(|rest| labels.iter().all(|label| rest.contains(label)));
        let values = matching.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<u64>().ok());
        values.sum()
    }

    /// Fails if it has ended.
    pub fn must_live(&mut self, what: &str) {
        let ended = self.child.try_wait().expect("it is a child");
        assert!(ended.is_none(), "it ended ({ended:?}): {what}\n{}", self.log());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
