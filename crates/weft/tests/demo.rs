//! The demo, as a newcomer runs it, and with its service killed under it.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const WEFT: &str = env!("CARGO_BIN_EXE_weft");

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(WEFT);
    command.arg("demo").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The children of process `parent` whose command line contains `word`.
fn children(parent: u32, word: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_meant = |id: &u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let command = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        status.lines().any(|line| line == format!("PPid:\t{parent}")) && command.contains(word)
    };
    ids.filter(is_meant).collect()
}

#[test]
fn the_demo_answers_every_request_over_mutual_tls_and_leaves_nothing_behind() {
    let demo = start(&["--duration", "2", "--output", "json"]);
    let directory = std::env::temp_dir().join(format!("weft-demo-{}", demo.id()));
    let output = demo.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["requests"], 400);
    assert_eq!(summary["failures"], 0);
    assert_eq!(summary["mutual_tls"], 400);
    assert!(!directory.exists());
}

#[test]
fn the_demo_fails_when_its_service_does() {
    let mut demo = start(&["--duration", "3"]);
    let mut lines = BufReader::new(demo.stderr.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("sending")).unwrap().unwrap();
    let services = children(demo.id(), "demo-service");
    assert_eq!(services.len(), 1);
    let killed = Command::new("kill").args(["-9", &services[0].to_string()]).status().unwrap();
    assert!(killed.success());
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(!demo.wait().unwrap().success());
    assert!(rest.iter().any(|line| line.contains("connect-failed")), "{rest:#?}");
}
