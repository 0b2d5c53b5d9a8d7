//! `weft check`: what it says of files, and what it exits with. That a Kubernetes API server says
//! the same, `kubernetes` shows.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[path = "kubernetes/corpus.rs"]
#[expect(dead_code, reason = "what Kubernetes says is for the other test")]
mod corpus;
#[path = "check/hostile.rs"]
mod hostile;
#[path = "../../../bench/src/check/manifests.rs"]
mod manifests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use corpus::Verdict;

const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// A directory of the test's own, which goes away with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weft-check-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `weft check` says, `arguments` behind it, when it is run in `directory` by somebody who has
/// no credential and no mesh.
fn check(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(WEFT);
    command.arg("check").args(arguments).current_dir(directory).stdin(Stdio::null());
    command.env_clear().output().unwrap()
}

fn report(directory: &Path, arguments: &[&str]) -> (serde_json::Value, Option<i32>) {
    let mut all = vec!["-o", "json"];
    all.extend(arguments);
    let output = check(directory, &all);
    let report = serde_json::from_slice(&output.stdout);
    (report.unwrap_or_else(|error| panic!("{error}: {output:?}")), output.status.code())
}

/// Where each file of a report has errors.
fn errors_of(report: &serde_json::Value) -> BTreeMap<&str, Vec<&str>> {
    let mut errors: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for finding in report["findings"].as_array().unwrap() {
        if finding["severity"] == "error" {
            let file = finding["position"]["file"].as_str().unwrap();
            errors.entry(file).or_default().push(finding["path"].as_str().unwrap());
        }
    }
    errors
}

#[test]
fn what_is_wrong_is_found_where_it_is() {
    let directory = Directory::new();
    let cases: Vec<_> = corpus::cases().into_iter().filter(|case| !case.at.is_empty()).collect();
    assert!(cases.iter().filter(|case| case.verdict == Verdict::Wrong).count() >= 100);
    let file = |index: usize| format!("all/{index:03}.yaml");
    fs::create_dir(directory.0.join("all")).unwrap();
    for (index, case) in cases.iter().enumerate() {
        fs::write(directory.0.join(file(index)), &case.yaml).unwrap();
    }
    let (report, code) = report(&directory.0, &["-f", "all"]);
    assert_eq!((code, &report["passed"]), (Some(1), &false.into()));
    assert_eq!(report["objects"], serde_json::json!([]));
    let found = errors_of(&report);
    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let found = found.get(&*file(index)).cloned().unwrap_or_default();
        if found != case.at {
            wrong.push(format!("{}: {found:?}, not {:?}\n{}", case.name, case.at, case.yaml));
        }
    }
    assert!(wrong.is_empty(), "{} cases: {}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_right_is_taken() {
    let mut refused = Vec::new();
    for case in corpus::cases().into_iter().filter(|case| case.at.is_empty()) {
        let parsed = weft_crd::parse("case", case.yaml.as_bytes(), &weft_crd::Options::default());
        if parsed.objects.len() != 1 {
            refused.push(format!("{}: {}", case.name, parsed.render()));
        }
    }
    assert!(refused.is_empty(), "{} cases: {}", refused.len(), refused.join("\n"));
}

const PAGE: &str = include_str!("../../../docs/check.md");

/// The text between the fences of the page, in their order.
fn fenced() -> Vec<&'static str> {
    PAGE.split("```\n").skip(1).step_by(2).collect()
}

const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: cart, namespace: shop }
spec:
  parentRefs: [{ group: \"\", kind: Service, name: cart }]
  rules:
  - backendRefs: [{ name: cart, port: 80, weight: 1 }]
";

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { selector: { app: cart }, ports: [{ port: 80 }] }
";

/// A directory `shop` with a route and the Service that it is for, `change`d.
fn shop(change: impl Fn(&str) -> String) -> Directory {
    let directory = Directory::new();
    fs::create_dir(directory.0.join("shop")).unwrap();
    for (name, text) in [("route.yaml", ROUTE), ("service.yaml", SERVICE)] {
        fs::write(directory.0.join("shop").join(name), change(text)).unwrap();
    }
    directory
}

fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn the_page_shows_what_is_said() {
    let [command, expected, ..] = fenced()[..] else { panic!("{PAGE}") };
    let arguments = command.trim().strip_prefix("weft check ").unwrap();
    let directory = shop(|text| text.replace("weight: 1", "weight: -1"));
    let arguments: Vec<_> = arguments.split(' ').collect();
    let (stdout, stderr, code) = said(&check(&directory.0, &arguments));
    assert_eq!((stdout.as_str(), stderr.as_str(), code), (expected, "", Some(1)));
}

#[test]
fn what_is_right_passes() {
    let directory = shop(str::to_owned);
    let workload = "apiVersion: weft.dev/v1alpha1\nkind: Workload\nmetadata: { name: cart-1, \
                    namespace: shop, labels: { app: cart } }\nspec: { addresses: [192.0.2.1], \
                    serviceAccount: cart, ports: [{ port: 80 }] }\n";
    fs::write(directory.0.join("shop/workload.yaml"), workload).unwrap();
    let (stdout, stderr, code) = said(&check(&directory.0, &["--strict", "-f", "shop"]));
    let expected = "3 objects, nothing is wrong\n";
    assert_eq!((stdout.as_str(), stderr.as_str(), code), (expected, "", Some(0)));
    let (report, code) = report(&directory.0, &["-f", "shop"]);
    assert_eq!((code, &report["passed"]), (Some(0), &true.into()));
    let first = serde_json::json!({ "kind": "HTTPRoute", "namespace": "shop", "name": "cart" });
    assert_eq!(report["objects"][0], first);
}

#[test]
fn five_hundred_manifests_pass_together_and_not_without_each_other() {
    let directory = Directory::new();
    fs::create_dir(directory.0.join("shop")).unwrap();
    let manifests = manifests::manifests();
    for (name, text) in &manifests {
        fs::write(directory.0.join("shop").join(name), text).unwrap();
    }
    let (stdout, stderr, code) = said(&check(&directory.0, &["--strict", "-f", "shop"]));
    let expected = "500 objects, nothing is wrong\n";
    assert_eq!((stdout.as_str(), stderr.as_str(), code), (expected, "", Some(0)));
    // Without the Service that routes and policies are for, each of them says so.
    let (service, _) = &manifests[0];
    fs::remove_file(directory.0.join("shop").join(service)).unwrap();
    let (report, _) = report(&directory.0, &["-f", "shop"]);
    let findings = report["findings"].as_array().unwrap();
    let kinds: BTreeSet<_> =
        findings.iter().map(|finding| finding["object"]["kind"].as_str().unwrap()).collect();
    let expected = ["AuthorizationPolicy", "BackendPolicy", "GRPCRoute", "HTTPRoute"];
    assert_eq!(kinds, BTreeSet::from(expected));
}

#[test]
fn warnings_pass_unless_they_are_not_to() {
    let directory = shop(|text| text.replace("  rules:", "  hostnames: [a.example]\n  rules:"));
    let (stdout, _, code) = said(&check(&directory.0, &["-f", "shop"]));
    assert!(stdout.ends_with("\n0 errors, 1 warning\n"), "{stdout}");
    assert_eq!(code, Some(0));
    assert_eq!(check(&directory.0, &["--strict", "-f", "shop"]).status.code(), Some(1));
}

#[test]
fn what_would_not_be_in_force_is_wrong() {
    let directory = shop(str::to_owned);
    let (stdout, _, code) = said(&check(&directory.0, &["-f", "shop/route.yaml"]));
    assert!(stdout.contains("HTTPRoute shop/cart would not be in force: "), "{stdout}");
    assert!(stdout.contains(" --> shop/route.yaml:5:"), "{stdout}");
    assert_eq!(code, Some(1));
    let (report, _) = report(&directory.0, &["-f", "shop/route.yaml"]);
    assert_eq!(report["objects"][0]["not_accepted"], "NoMatchingParent");
}

#[test]
fn what_cannot_be_checked_is_neither() {
    let directory = shop(|_| "# nothing\n".to_owned());
    for (file, expected) in [
        ("nowhere.yaml", "weft: cannot read nowhere.yaml"),
        ("shop", "weft: there is no object in shop"),
        ("-", "weft: there is no object in standard input"),
    ] {
        let (stdout, stderr, code) = said(&check(&directory.0, &["-f", file]));
        assert!(stderr.starts_with(expected), "{stderr}");
        assert_eq!((stdout.as_str(), code), ("", Some(2)));
    }
}
