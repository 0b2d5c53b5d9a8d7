//! The demo, as a newcomer runs it, and with what it invites to try.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[path = "demo/prometheus.rs"]
mod prometheus;
#[path = "demo/running.rs"]
mod running;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use weft_control::api::CaStatus;

use self::prometheus::Prometheus;
use self::running::{Demo, WEFT, children, commands, forty, gone, processes, until};

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_demo_answers_every_request_over_mutual_tls_and_leaves_nothing_behind() {
    let demo = Demo::start(&["--duration", "3s", "--output", "json"]);
    let (directory, processes) = (demo.directory.clone(), demo.processes());
    assert_eq!(mode(&directory), 0o700);
    // The control plane, six programs, and a proxy for each of them and for the visitors.
    assert_eq!(processes.len(), 14);
    let (output, said) = demo.wait();
    assert!(output.status.success(), "{said:#?}");
    let summary = json(&output);
    assert_eq!(summary["requests"], 60, "{summary}");
    assert_eq!(summary["failures"], 0, "{summary}");
    assert_eq!(summary["mutual_tls"], true, "{summary}");
    assert_eq!(summary["proxies"], 7, "{summary}");
    assert_eq!(summary["ended"], serde_json::json!({}), "{summary}");
    assert_eq!(summary["identities"].as_array().unwrap().len(), 5, "{summary}");
    for service in ["web", "cart", "catalog", "motto"] {
        let hop = &summary["services"][service];
        assert!(hop["mutual_tls"].as_u64().unwrap() >= 60, "{service}: {summary}");
        assert_eq!(hop["mutual_tls"], hop["served"], "{service}: {summary}");
    }
    assert!(summary["p99_ms"].as_f64().unwrap() >= summary["p50_ms"].as_f64().unwrap());
    gone(&processes);
    assert!(!directory.exists());
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn instances(answers: &[serde_json::Value], name: &str) -> usize {
    answers.iter().filter(|answer| answer["cart"]["instance"] == name).count()
}

fn has_errors(answer: &serde_json::Value) -> bool {
    answer["errors"] != serde_json::json!({})
}

#[test]
fn the_page_and_what_it_shows_are_there_for_a_browser() {
    let demo = Demo::start(&[]);
    let page = demo.shell(&format!("curl -sS --fail {}", demo.page));
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("/api/shop"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "it needs nothing else");
    until(&demo, "the stock is streamed", |answers| answers[39]["stock_changes"] != 0);
    for shop in forty(&demo) {
        assert!(!has_errors(&shop), "{shop}");
        assert_eq!(shop["items"].as_array().unwrap().len(), 4, "{shop}");
        let has_total = shop["cart"]["total"].is_string();
        assert_eq!(has_total, shop["cart"]["version"] == "v2", "{shop}");
    }
}

#[test]
fn the_demo_fails_when_a_service_does() {
    for service in ["catalog", "motto"] {
        let demo = Demo::start(&["--duration", "3s", "--output", "json"]);
        let program = format!("demo-service {service} ");
        let processes = children(demo.child.id());
        let (id, _) = processes.iter().find(|(_, command)| command.contains(&program)).unwrap();
        demo.shell(&format!("kill -USR1 {id}"));
        let (output, said) = demo.wait();
        assert!(!output.status.success(), "{said:#?}");
        assert!(json(&output)["failures"].as_u64().unwrap() > 0);
        assert!(said.last().unwrap().contains("requests failed"), "{said:#?}");
    }
}

#[test]
fn no_visitor_notices_a_killed_or_a_broken_instance() {
    for title in ["kill an instance", "break a service"] {
        let demo = Demo::start(&["--duration", "5s", "--output", "json"]);
        demo.run(title);
        let (output, said) = demo.wait();
        assert!(output.status.success(), "{title}: {said:#?}");
        let summary = json(&output);
        assert_eq!(summary["failures"], 0, "{title}: {said:#?}");
        let is_named = summary["ended"]["cart-v1-2"] == "killed";
        assert_eq!(is_named, title == "kill an instance", "{summary}");
    }
}

#[test]
fn each_command_does_what_the_text_says() {
    let demo = Demo::start(&["--output", "json"]);
    let healthy = |answers: &[serde_json::Value]| !answers.iter().any(has_errors);

    demo.run("shift a canary");
    until(&demo, "half of it is v2", |answers| {
        healthy(answers) && (10..=30).contains(&instances(answers, "cart-v2-1"))
    });
    demo.run_undo("shift a canary");
    until(&demo, "few are v2", |answers| instances(answers, "cart-v2-1") < 10);

    demo.run("deny a caller");
    let is_denied = |answer: &serde_json::Value| {
        let error = answer["errors"]["cart"].as_str().unwrap_or_default();
        error.contains("403") && error.contains("deny") && answer["items"].is_array()
    };
    until(&demo, "the cart is denied, the rest is not", |answers| answers.iter().all(is_denied));
    demo.run_undo("deny a caller");
    until(&demo, "the cart is there again", healthy);

    demo.run("break a service");
    let failures = || {
        let logs = ["cart-v1-1-proxy.log", "cart-v1-1-proxy.log.old"];
        let text = logs.map(|log| fs::read_to_string(demo.directory.join(log)).unwrap_or_default());
        let lines = text.iter().flat_map(|text| text.lines());
        lines.filter(|line| line.contains("\"status\":500")).count()
    };
    let mut seen = 0;
    until(&demo, "it is ejected", |answers| {
        let before = std::mem::replace(&mut seen, failures());
        before >= 3 && before == seen && healthy(answers)
    });
    demo.run("break a service");
    until(&demo, "it is tried again and serves", |answers| {
        healthy(answers) && instances(answers, "cart-v1-1") > 5
    });

    demo.run("kill an instance");
    until(&demo, "the others serve", |answers| {
        healthy(answers) && instances(answers, "cart-v1-2") == 0
    });
    until(&demo, "it is started anew and serves", |answers| {
        healthy(answers) && instances(answers, "cart-v1-2") > 5
    });
    demo.signal(Signal::TERM);
    let (output, said) = demo.wait();
    assert!(output.status.success(), "{said:#?}");
    assert_eq!(json(&output)["mutual_tls"], true, "{output:?}");
}

#[test]
fn a_rotated_root_costs_no_request_and_no_connection() {
    let demo = Demo::start(&["--output", "json"]);
    let status = || {
        let output = demo.shell("./weft ca status -o json");
        serde_json::from_slice::<CaStatus>(&output.stdout).unwrap()
    };
    // The stock is streamed; it is said when a stream ends.
    let ended_streams = || {
        let log = fs::read_to_string(demo.directory.join("web-1.log")).unwrap();
        log.matches("the watch of the catalog").count()
    };
    until(&demo, "the stock is streamed", |answers| answers[39]["stock_changes"] != 0);
    let (before, ended_before) = (status(), ended_streams());
    demo.run("rotate the root");
    let after = status();
    let [root] = after.roots.as_slice() else { panic!("one root is left: {after:#?}") };
    assert_ne!(root.key, before.roots[0].key);
    assert!(root.signs && root.trusted, "{root:?}");
    assert_eq!(after.holders.len(), 7, "{after:#?}");
    assert!(after.holders.iter().all(|holder| holder.root == root.key), "{after:#?}");
    until(&demo, "all is well", |answers| !answers.iter().any(has_errors));
    assert_eq!(ended_streams(), ended_before);
    demo.signal(Signal::TERM);
    let (output, said) = demo.wait();
    assert!(output.status.success(), "{said:#?}");
    let summary = json(&output);
    assert_eq!(summary["failures"], 0, "{summary}");
    assert_eq!(summary["mutual_tls"], true, "{summary}");
}

#[test]
fn prometheus_scrapes_all_proxies_and_knows_p99_from_the_native_histogram() {
    let demo = Demo::start(&[]);
    let prometheus = Prometheus::start(&demo);
    until(&demo, "all targets are up", |_| prometheus.numbers("sum(up)", "").get("") == Some(&7.0));
    // A classic histogram has no such count.
    let counted = "sum by (service) (histogram_count(weft_request_duration_seconds{\
                   direction=\"outbound\"}))";
    let services = ["shop/cart-v1", "shop/cart-v2", "shop/catalog", "shop/web"];
    until(&demo, "a native histogram of each Service", |_| {
        let counts = prometheus.numbers(counted, "service");
        services.iter().all(|service| counts.get(*service).is_some_and(|count| *count > 0.0))
    });
    until(&demo, "p99 of each Service, as the file says how to ask", |_| {
        let p99 = prometheus.numbers(&prometheus.query, "service");
        services.iter().all(|service| p99.get(*service).is_some_and(|p99| is_plausible(*p99)))
    });
}

/// Whether requests can have taken so many seconds: more than a copy, less than the limits.
fn is_plausible(seconds: f64) -> bool {
    seconds > 1e-5 && seconds < 15.0
}

#[test]
fn nothing_is_left_behind_after_sigterm() {
    let demo = Demo::start(&[]);
    let (directory, processes) = (demo.directory.clone(), demo.processes());
    assert_eq!(processes.len(), 14);
    demo.signal(Signal::TERM);
    let (output, said) = demo.wait();
    assert!(output.status.success(), "{said:#?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("requests"), "a summary");
    gone(&processes);
    assert!(!directory.exists());
}

#[test]
fn nothing_is_left_behind_after_sigterm_while_it_starts() {
    let mut command = Command::new(WEFT);
    command.arg("demo").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let directory = std::env::temp_dir().join(format!("weft-demo-{}", child.id()));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!directory.exists());
    let name = directory.display().to_string();
    let left: Vec<_> = commands().into_iter().filter(|(.., line)| line.contains(&name)).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// As somebody does at a terminal: all processes in its foreground get the signal at once.
#[test]
fn nothing_is_left_behind_after_ctrl_c() {
    let command = format!("stty rows 24 cols 80 && echo $$ && exec {WEFT} demo");
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let mut shown = BufReader::new(script.stdout.take().unwrap());
    let mut line = String::new();
    shown.read_line(&mut line).unwrap();
    let id = line.trim().parse().unwrap();
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("cart-v2-1") {
        // Each drawing moves the cursor.
        assert!(shown.read_until(0x1b, &mut text).unwrap() > 0, "it ended");
    }
    let directory = std::env::temp_dir().join(format!("weft-demo-{id}"));
    assert!(directory.exists());
    let processes = processes(id);
    assert_eq!(processes.len(), 14);
    let mut keyboard = script.stdin.take().unwrap();
    keyboard.write_all(b"\x03").unwrap();
    shown.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(script.wait().unwrap().success(), "{text}");
    let (_, after) = text.rsplit_once("\x1b[?1049l").expect(&text);
    assert!(after.contains(" requests, 0 failed"), "{after}");
    gone(&processes);
    assert!(!directory.exists());
}

#[test]
fn no_process_is_left_behind_after_sigkill() {
    let demo = Demo::start(&[]);
    let (directory, processes) = (demo.directory.clone(), demo.processes());
    demo.signal(Signal::KILL);
    let (output, _) = demo.wait();
    assert!(!output.status.success());
    gone(&processes);
    // Nobody was left to remove the directory; the next demo does.
    let _next = Demo::start(&[]);
    assert!(!directory.exists());
}

#[test]
fn a_terminal_shows_the_table_and_is_as_before_at_the_end() {
    let command = format!("stty rows 24 cols 80 && exec {WEFT} demo --duration 2s");
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::null());
    let output = script.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let (before, rest) = text.split_once("\x1b[?1049h").expect(&text);
    assert!(before.contains("weft demo: starting"), "{text}");
    let (table, after) = rest.split_once("\x1b[?1049l").expect(&text);
    assert!(table.contains("SERVICE") && table.contains("cart-v2-1"), "{table}");
    // What there is no room for is not drawn, and the end of a long line is not seen.
    assert!(table.contains("leaves nothing behind."), "{table}");
    let controls = ["\x1b[K", "\x1b[J", "\x1b[?25l", "\x1b[?25h", "\x1b[?7l", "\x1b[?7h"];
    // Each drawing begins at the top.
    for line in table.replace("\x1b[H", "\n").lines() {
        let line = controls.iter().fold(line.to_owned(), |line, control| line.replace(control, ""));
        assert!(line.trim().chars().count() <= 80, "{line:?}");
    }
    assert!(table.contains("\x1b[?25l") && table.contains("\x1b[?25h"), "the cursor is back");
    assert!(after.contains("40 requests, 0 failed"), "{after}");
}
