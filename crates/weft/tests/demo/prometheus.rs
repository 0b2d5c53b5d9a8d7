//! Prometheus, started as the demo's file says.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::running::Demo;

/// One that runs. It is ended with this value.
pub struct Prometheus {
    child: Child,
    /// Where its API is.
    address: String,
    /// What the file says how to ask.
    pub query: String,
    log: Option<JoinHandle<()>>,
}

impl Prometheus {
    /// Starts it by the command in the demo's file, but for the port, which may be in use.
    pub fn start(demo: &Demo) -> Prometheus {
        let file = fs::read_to_string(demo.directory.join("prometheus.yml")).unwrap();
        let [command, query] = examples(&file).try_into().unwrap();
        let port = ":9090";
        assert!(command.contains(port), "{command}");
        let command = format!("exec {}", command.replace(port, ":0"));
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).current_dir(&demo.directory);
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            let count = errors.read_line(&mut line).unwrap();
            said.push_str(&line);
            assert!(count > 0, "install the Debian package `prometheus`; it ended:\n{said}");
            if let Some((_, rest)) = line.split_once("msg=\"Listening on\" address=") {
                break rest.trim().to_owned();
            }
        };
        // What it still says must not block it.
        let rest = std::thread::spawn(move || {
            let _ = errors.read_to_end(&mut Vec::new());
        });
        Prometheus { child, address, query, log: Some(rest) }
    }

    /// The values of `query` now, by their `label`.
    pub fn numbers(&self, query: &str, label: &str) -> BTreeMap<String, f64> {
        let mut curl = Command::new("curl");
        let url = format!("http://{}/api/v1/query", self.address);
        curl.args(["-sS", "--get", &url, "--data-urlencode", &format!("query={query}")]);
        let output = curl.output().unwrap();
        // It may not be ready yet.
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert_ne!(answer["status"], "error", "{answer}");
        let number = |series: &Value| -> Option<(String, f64)> {
            let name = series["metric"][label].as_str().unwrap_or_default();
            Some((name.to_owned(), series["value"][1].as_str()?.parse().ok()?))
        };
        let series = answer["data"]["result"].as_array();
        series.into_iter().flatten().filter_map(number).collect()
    }
}

/// The examples in the comments of `file`: runs of lines that are indented.
fn examples(file: &str) -> Vec<String> {
    let mut examples: Vec<String> = Vec::new();
    let mut was_one = false;
    for line in file.lines() {
        let example = line.strip_prefix("#   ");
        match example {
            Some(text) if was_one => examples.last_mut().unwrap().push_str(&format!("\n{text}")),
            Some(text) => examples.push(text.to_owned()),
            None => {}
        }
        was_one = example.is_some();
    }
    examples
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }
}
