//! Runs without a name: what they are called, what they leave, and who takes it over.

use std::fs;
use std::process::Command;

use weft_control::api::CaStatus;

use crate::lab::{Lab, must, output, wait_until};

/// `weft run` without a name and a directory, to be completed with options and the command.
fn unnamed(lab: &Lab, account: &str, token: &str) -> Command {
    let mut command = lab.user("./weft");
    let shop = format!("shop/{account}");
    command.args(["run", "--token", token, "--service-account", &shop, "--namespace", "shop"]);
    command
}

fn token(lab: &Lab, account: &str) -> String {
    let name = format!("{account}.token");
    let shop = format!("shop/{account}");
    let mut make = lab.user("./weft");
    // For one use.
    lab.file(&name, must(make.args(["token", "--service-account", &shop])));
    name
}

fn places(lab: &Lab) -> Vec<String> {
    let entries = fs::read_dir(lab.directory.join(".local/state/weft")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn status(lab: &Lab) -> CaStatus {
    let text = must(lab.user("./weft").args(["ca", "status", "-o", "json"]));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_run_takes_over_what_one_before_it_has_left_however_it_ended() {
    let lab = Lab::new();
    let token = token(&lab, "web");
    // A start that fails, since somebody else has a port, uses nothing up.
    for (option, value) in [
        ("--metrics", "127.0.0.1:15010"),
        ("--publish", "127.0.0.1:15010:80"),
        ("--tunnel-port", "15010"),
    ] {
        let mut command = unnamed(&lab, "web", &token);
        let failed = output(command.args([option, value, "--", "true"]));
        let errors = String::from_utf8(failed.stderr).unwrap();
        assert_eq!(failed.status.code(), Some(1), "{errors}");
        assert!(errors.contains(option), "{errors}");
        assert!(errors.contains("cannot listen at 127.0.0.1:15010: "), "{errors}");
        assert!(errors.contains("end what listens there, or give another address"), "{errors}");
    }
    assert!(status(&lab).holders.is_empty());

    let sleep = |name: &str| {
        let mut command = unnamed(&lab, "web", &token);
        command.args(["--", "sh", "-c", "echo it runs; sleep 1000"]);
        let running = lab.start(name, command);
        running.wait_for("it runs");
        running
    };
    let first = sleep("first");
    let before = places(&lab);
    assert_eq!(before.len(), 1, "{before:?}");
    let name = before[0].strip_prefix("shop.").unwrap();
    assert_eq!(name.len(), "web-".len() + 8, "{name}");
    let workload = format!("shop/{name}");
    wait_until(
        "it is known",
        || matches!(&status(&lab).holders[..], [one] if one.workload == workload && !one.left),
    );
    // Killed, it is waited for: it may be cut off and at work. The next one has its place.
    drop(first);
    let rotate =
        |seconds: &str| output(lab.user("./weft").args(["ca", "rotate", "--timeout", seconds]));
    let waits = String::from_utf8(rotate("1").stderr).unwrap();
    assert_eq!(waits.matches("(certificate ").count(), 1, "{waits}");
    assert!(waits.contains(&workload), "{waits}");
    let stray = lab.file("stray", "");
    let place = lab.directory.join(".local/state/weft").join(&before[0]);
    fs::rename(stray, place.join("mesh.state.1.new")).unwrap();
    let mut second = sleep("second");
    assert_eq!(places(&lab), before);
    assert!(!place.join("mesh.state.1.new").exists());
    assert!(rotate("60").status.success());
    assert_eq!(status(&lab).holders.len(), 1);

    // While it runs, another has a place of its own, for which the token has no use left.
    let mut command = unnamed(&lab, "web", &token);
    let other = output(command.args(["--", "true"]));
    assert!(String::from_utf8(other.stderr).unwrap().contains("is used up"));
    second.signal("TERM");
    second.end();
    // In order as well.
    let mut command = unnamed(&lab, "web", &token);
    must(command.args(["--", "true"]));
    assert!(status(&lab).holders.iter().all(|holder| holder.left));
}

#[test]
fn a_name_is_one_runs_until_that_has_ended() {
    let lab = Lab::new();
    let mut make = lab.user("./weft");
    make.args(["token", "--service-account", "shop/cart", "--service", "shop/cart"]);
    lab.file("cart.token", must(&mut make));
    let cart = |shell: &str| {
        let mut command = unnamed(&lab, "cart", "cart.token");
        command.args(["--name", "cart-1", "--service", "cart", "--port", "80:8080"]);
        command.args(["--", "sh", "-c", shell]);
        command
    };
    let start = |name: &str| {
        let running = lab.start(name, cart("echo it runs; sleep 1000"));
        running.wait_for("it runs");
        running
    };
    let mut first = start("first");
    let second = output(&mut cart("true"));
    let errors = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{errors}");
    let words = "is in use by another process: end that one, or give this one another --name";
    assert!(errors.contains(&format!("/weft/shop.cart-1 {words}")), "{errors}");
    let workloads = must(lab.user("./weft").args(["get", "workloads"]));
    assert!(workloads.contains("cart-1"), "{workloads}");
    // However it ends, the next one need not wait.
    for round in 0..5 {
        first.child.kill().unwrap();
        first = start(&format!("round-{round}"));
    }
}

/// How often a route changes between two runs.
const CHANGES: usize = 8;

#[test]
fn a_run_goes_by_what_is_in_force_when_it_starts() {
    let lab = Lab::new();
    let mut command = lab.server("cart", "80:8000/http");
    command.args(["python3", "-u", "-m", "http.server", "8000"]);
    let server = lab.start("server", command);
    server.wait_for("Serving HTTP");
    let token = token(&lab, "web");
    let route = |path: &str| {
        lab.apply(&format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: cart, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: cart, port: 80 }}]
  rules:
  - matches: [{{ path: {{ value: {path} }} }}]
    backendRefs: [{{ name: cart, port: 80 }}]
"
        ));
    };
    let status = || {
        let mut command = unnamed(&lab, "web", &token);
        let curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://cart/"];
        must(command.args(["--name", "web", "--"]).args(curl))
    };
    for _ in 0..CHANGES {
        route("/");
        assert_eq!(status(), "200");
        route("/elsewhere");
        assert_eq!(status(), "404");
    }
}

#[test]
fn a_run_without_a_name_starts_while_the_control_plane_is_away() {
    let mut lab = Lab::new();
    let token = token(&lab, "web");
    let run = |lab: &Lab, data: &[&str]| {
        let mut command = unnamed(lab, "web", &token);
        must(command.args(data).args(["--", "echo", "it runs"]))
    };
    assert_eq!(run(&lab, &[]), "it runs\n");
    lab.stop_control();
    assert_eq!(run(&lab, &[]), "it runs\n");
    assert_eq!(places(&lab).len(), 1);
    // In a directory that was given, too: it keeps the name.
    lab.start_control();
    let given = self::token(&lab, "web");
    assert_eq!(given, token);
    let names = |lab: &Lab| fs::read_to_string(lab.directory.join("given/unnamed")).unwrap();
    run(&lab, &["--data", "given"]);
    let before = names(&lab);
    run(&lab, &["--data", "given"]);
    assert_eq!(names(&lab), before);
}

#[test]
fn what_was_revoked_or_is_of_another_control_plane_is_replaced_by_the_token() {
    let mut lab = Lab::new();
    let run = |lab: &mut Lab, words: &str, anew: bool| {
        if anew {
            token(lab, "web");
        }
        let mut command = unnamed(lab, "web", "web.token");
        let done = output(command.args(["--name", "web", "--", "true"]));
        let errors = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success() && errors.contains(words), "{errors}");
        errors
    };
    run(&mut lab, "", true);
    let serial = status(&lab).holders[0].serial.clone();
    must(lab.user("./weft").args(["ca", "revoke", "--serial", &serial]));
    run(&mut lab, "joined anew, since the certificate of before proves nothing any more", true);
    let said = run(&mut lab, "", false);
    assert!(!said.contains("joined anew"), "{said}");

    // Another control plane at the same place, of the same trust domain.
    lab.stop_control();
    fs::remove_dir_all(lab.directory.join("control")).unwrap();
    lab.start_control();
    let said = run(&mut lab, "joined anew, since the certificate of before", true);
    assert!(!said.contains("starting without all"), "{said}");
}
