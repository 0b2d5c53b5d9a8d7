//! A cluster that ends with the value that stands for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::processes::wait_until;

/// Where `cargo xtask test` puts the programs.
const INSTALLED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/kubernetes");

const LAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../lab/lab");

/// How much of each log is shown when a test fails.
const LOG_LINES: usize = 20;

/// A cluster; only one test at a time has one.
pub struct Cluster {
    name: &'static str,
    /// For what a test makes.
    pub directory: PathBuf,
}

impl Cluster {
    /// Starts one of `nodes` nodes.
    pub fn up(nodes: usize) -> Cluster {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("cluster-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let cluster = Cluster { name: "a", directory };
        said(lab(&["up", cluster.name, &nodes.to_string()]));
        cluster
    }

    /// Has every node know the image in `archive`.
    pub fn load(&self, archive: &Path) {
        said(lab(&["load", self.name, archive.to_str().unwrap()]));
    }

    /// Has it know Gateway API's kinds.
    pub fn install_gateway_api(&self) {
        said(lab(&["crds", self.name]));
    }

    /// By which its administrator asks its API server.
    pub fn kubeconfig(&self) -> PathBuf {
        PathBuf::from(format!("/run/weft-lab/{}/admin.conf", self.name))
    }

    /// What kubectl says, as the cluster's administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        said(self.try_kubectl(arguments))
    }

    /// The same, where it may fail.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        lab(&[&["kubectl", self.name], arguments].concat())
    }

    /// Has the cluster have the resources in `yaml`.
    pub fn apply(&self, yaml: &str) {
        let file = self.directory.join("applied.yaml");
        fs::write(&file, yaml).unwrap();
        self.kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]);
    }

    /// Waits until there are pods of `namespace` that have `labels`, and all of them are ready.
    pub fn wait_for_pods(&self, namespace: &str, labels: &str) {
        // kubectl does not wait for pods that are not made yet.
        let wait = ["wait", "pod", "--for=condition=Ready", "--timeout=1s"];
        let wait = [&wait[..], &["-n", namespace, "-l", labels]].concat();
        wait_until(&format!("pods with {labels} are ready"), || {
            self.try_kubectl(&wait).status.success()
        });
    }

    /// What `command` says in the pod `pod` of `namespace`, and whether it ended well.
    pub fn exec(&self, namespace: &str, pod: &str, command: &[&str]) -> (bool, String) {
        let output = self.try_kubectl(&[&["exec", "-n", namespace, pod, "--"], command].concat());
        let [out, err] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        (output.status.success(), out + &err)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let pods = self.try_kubectl(&["describe", "pods", "--all-namespaces"]);
            println!("{}", String::from_utf8_lossy(&pods.stdout));
            show_logs(self.name);
        }
        let _ = lab(&["down", self.name]);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn show_logs(name: &str) {
    for entry in fs::read_dir(format!("/run/weft-lab/{name}/log")).into_iter().flatten() {
        let path = entry.unwrap().path();
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        println!("==== {}\n{}", path.display(), last.join("\n"));
    }
}

fn lab(arguments: &[&str]) -> Output {
    let mut command = Command::new("bash");
    command.arg(LAB).args(arguments).env("LAB_BIN", INSTALLED).env("LAB_GATEWAY_API", INSTALLED);
    command.stdin(Stdio::null()).output().unwrap()
}

fn said(output: Output) -> String {
    let [out, err] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    assert!(output.status.success(), "{out}{err}");
    out
}
