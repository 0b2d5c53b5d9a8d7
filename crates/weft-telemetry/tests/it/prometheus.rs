//! Debian's Prometheus, on loopback and on a directory of its own.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::target::{Target, connect};

/// How many scrapes, one a second, are waited for until what was counted is stored.
const SCRAPES_MAX: u32 = 60;

/// A running Prometheus that scrapes one target.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
    log: Option<JoinHandle<String>>,
}

impl Prometheus {
    /// Lets it scrape `target` once a second, with `features` switched on.
    pub fn start(name: &str, features: &[&str], target: SocketAddr) -> Prometheus {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("prometheus-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let config = directory.join("prometheus.yml");
        let yaml = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
            scrape_configs:\n\
            - {{ job_name: weft, static_configs: [{{ targets: ['{target}'] }}] }}\n"
        );
        fs::write(&config, yaml).unwrap();
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--enable-feature={}", features.join(",")))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus starts: install the Debian package `prometheus`");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended:\n{log}")).unwrap();
            writeln!(log, "{line}").unwrap();
            if let Some((_, rest)) = line.split_once("msg=\"Listening on\" address=") {
                break rest.parse().unwrap();
            }
        };
        let rest = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                writeln!(log, "{line}").unwrap();
            }
            log
        });
        Prometheus { child, address, directory, log: Some(rest) }
    }

    /// Waits until `is_it` holds for the value of `query`, looking after each scrape of `target`.
    pub fn wait_for(&self, target: &Target, query: &str, is_it: impl Fn(f64) -> bool) {
        let mut last = None;
        for _ in 0..SCRAPES_MAX {
            target.wait_for_scrape();
            last = self.number(query);
            if last.is_some_and(&is_it) {
                return;
            }
        }
        panic!("{query} is {last:?} after {SCRAPES_MAX} scrapes");
    }

    /// The value of `query` now, if it has exactly one.
    pub fn number(&self, query: &str) -> Option<f64> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in query.bytes() {
            write!(path, "%{byte:02x}").unwrap();
        }
        let answer = self.get(&path);
        let [series] = answer["data"]["result"].as_array()?.as_slice() else { return None };
        series["value"][1].as_str()?.parse().ok()
    }

    /// What its API says at `path`; null if it is not ready.
    pub fn get(&self, path: &str) -> Value {
        let mut stream = connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log.take().and_then(|log| log.join().ok()).unwrap_or_default();
        if std::thread::panicking() {
            eprintln!("what Prometheus said:\n{log}");
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}
