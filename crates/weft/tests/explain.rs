//! `weft explain`: what it says of a handful of meshes, and what it exits with. That proxies do
//! what it says, `mesh/explain` shows.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// What `weft explain` says, `arguments` behind it, when it is run in `directory`.
fn explain(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(WEFT);
    command.arg("explain").args(arguments).current_dir(directory).stdin(Stdio::null());
    command.env("WEFT_CREDENTIAL", "/nowhere").output().unwrap()
}

/// All that `weft explain` says of the requests of the mesh called `name`, compared with what was
/// agreed. `UPDATE_EXPECT=1` writes it down anew.
fn check(name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain").join(name);
    let mut found = String::new();
    for request in fs::read_to_string(directory.join("requests")).unwrap().lines() {
        let mut arguments: Vec<_> = request.split(' ').collect();
        arguments.extend(["-f", "mesh.yaml"]);
        let Output { status, stdout, stderr } = explain(&directory, &arguments);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        found.push_str(&format!("$ weft explain {request} -f mesh.yaml\n{}", text(stdout)));
        for line in text(stderr).lines() {
            found.push_str(&format!("stderr: {line}\n"));
        }
        found.push_str(&format!("exit {}\n\n", status.code().unwrap()));
    }
    let path = directory.join("expected");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differs = expected.lines().zip(found.lines()).position(|(one, other)| one != other);
    let line = differs.map_or(0, |line| line + 1);
    assert!(expected == found, "{}:{line} differs (UPDATE_EXPECT=1?):\n{found}", path.display());
}

#[test]
fn a_canary_is_explained() {
    check("canary");
}

#[test]
fn refusals_are_explained() {
    check("refusals");
}

#[test]
fn what_nobody_wrote_is_explained() {
    check("defaults");
}

#[test]
fn calls_and_connections_are_explained() {
    check("protocols");
}

#[test]
fn tls_to_the_outside_is_explained() {
    check("tls");
}

#[test]
fn destinations_outside_are_explained() {
    check("outside");
}

/// The texts of a page, each between a line `begin` and the next line that ends a block.
fn between<'p>(page: &'p str, begin: &str) -> Vec<&'p str> {
    let found = page.split(begin).skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let found: Vec<_> = found.collect();
    assert!(!found.is_empty(), "no block begins with {begin}");
    found
}

/// What the page called `name` shows is what is said about the file that it shows first.
fn check_page(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/{name}.md"));
    let page = fs::read_to_string(&path).unwrap();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("cart.yaml"), between(&page, "```yaml\n")[0]).unwrap();
    let mut updated = page.clone();
    for asked in between(&page, "$ weft explain ") {
        let (command, shown) = asked.split_once('\n').unwrap();
        let Output { stdout, stderr, .. } =
            explain(&directory, &command.split(' ').collect::<Vec<_>>());
        assert_eq!(String::from_utf8(stderr).unwrap(), "", "{name}");
        let found = String::from_utf8(stdout).unwrap();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            updated = updated.replace(asked, &format!("{command}\n{found}"));
        } else {
            assert_eq!(found, shown, "docs/{name}.md: UPDATE_EXPECT=1?");
        }
    }
    if updated != page {
        fs::write(&path, updated).unwrap();
    }
}

#[test]
fn the_pages_are_right() {
    for page in ["balancing", "egress", "faults", "health", "locality", "policies", "subsets"] {
        check_page(page);
    }
}

#[test]
fn what_cannot_be_explained_is_told_from_what_is_refused() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain/canary");
    let said = |arguments: &[&str]| {
        let Output { status, stderr, .. } = explain(&directory, arguments);
        assert_eq!(status.code(), Some(2), "{arguments:?}");
        String::from_utf8(stderr).unwrap()
    };
    let from = ["--from", "shop/web"];
    let file = ["-f", "mesh.yaml"];
    let url = |url| said(&[&["GET", url][..], &from, &file].concat());
    assert!(url("https://cart/").contains("it must begin with http://"));
    assert!(url("http://cart:0/").contains("is no URL to explain"));
    assert!(url("http://localhost/").contains("never leaves the machine"));
    let of = |method, url| said(&[&[method, url][..], &from, &file].concat());
    assert!(of("TCP", "tcp://cart").contains("it names no port"));
    assert!(of("TCP", "http://cart:80").contains("it must begin with tcp://"));
    assert!(of("GRPC", "grpc://cart:80/get").contains("grpc://HOST:PORT/SERVICE/METHOD"));
    assert!(of("GET", "tcp://cart:80").contains("goes with TCP instead of a method"));
    let error = said(&[&["GET", "http://cart/", "-H", "x"][..], &from, &file].concat());
    assert!(error.contains("it is not `NAME: VALUE`"), "{error}");
    let error = said(&[&["GET", "http://cart/", "-f", "requests"][..], &from].concat());
    assert!(error.contains("requests:1"), "{error}");
    let error = said(&[&["GET", "http://cart/"][..], &from].concat());
    assert!(error.contains("no access to the control plane"), "{error}");
}

#[test]
fn json_has_what_the_text_has() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain/canary");
    let url = "http://cart/items";
    let arguments = ["POST", url, "--from", "shop/web", "-f", "mesh.yaml", "-o", "json"];
    let Output { status, stdout, .. } = explain(&directory, &arguments);
    assert_eq!(status.code(), Some(1));
    let said: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!(said["from"], "spiffe://weft.test/ns/shop/sa/web");
    assert_eq!((&said["route"], &said["rule"]), (&"http/shop/cart-canary".into(), &"rest".into()));
    let route = &said["steps"][3];
    assert_eq!(route["because"][0]["field"], "spec.rules[1].matches[0]");
    assert_eq!(route["because"][0]["file"], "mesh.yaml");
    assert_eq!(route["not"][0]["field"], "spec.rules[0].matches[0].path");
    let first = &said["destinations"][0];
    assert_eq!((&first["share"], &first["of"]), (&95.into(), &100.into()));
    assert_eq!(first["endpoints"][0]["workload"], "shop/cart-v1-1");
    assert_eq!(first["endpoints"][0]["outcome"]["reason"], "no-allow-rule");
    assert_eq!(first["endpoints"][0]["outcome"]["status"], 403);
    let late = &first["late"];
    assert_eq!((&late["status"], &late["reason"]), (&504.into(), &"attempt-timeout".into()));
    assert_eq!(said["retry"], serde_json::json!({ "attempts": 2, "codes": [502, 503] }));
    assert_eq!((&said["protocol"], &said["answered"]), (&"http/1.1".into(), &false.into()));
}

/// The blocks of `page` that begin with a line of three backticks and `kind`.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let mut blocks = page.split("```").skip(1).step_by(2);
    let blocks = blocks.by_ref().filter_map(|block| block.strip_prefix(&format!("{kind}\n")));
    blocks.map(str::to_owned).collect()
}

#[test]
fn the_page_of_filters_shows_what_is_said() {
    let page = include_str!("../../../docs/filters.md");
    let directory = std::env::temp_dir().join(format!("weft-filters-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("route.yaml"), &blocks(page, "yaml")[0]).unwrap();
    let mut shown = 0;
    for session in blocks(page, "")[0].split("\n\n") {
        let (command, expected) = session.split_once('\n').unwrap();
        let arguments: Vec<_> = command.split(' ').skip(3).collect();
        assert!(command.starts_with("$ weft explain "), "{command}");
        let Output { status, stdout, stderr } = explain(&directory, &arguments);
        let found = String::from_utf8(stdout).unwrap();
        assert!(status.success(), "{command}: {found}{}", String::from_utf8_lossy(&stderr));
        let told = |line: &&str| {
            let line = line.trim_start();
            line.starts_with("filter: ") || line.starts_with("outcome: ")
        };
        // What stands behind a backend's outcome is the same again.
        let found: Vec<_> =
            found.lines().filter(told).filter(|it| !it.starts_with("  outcome")).collect();
        assert_eq!(found, expected.trim_end().lines().collect::<Vec<_>>(), "{command}");
        shown += 1;
    }
    assert_eq!(shown, 2);
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn the_page_of_routes_shows_what_is_said() {
    let page = include_str!("../../../docs/routes.md");
    let directory = std::env::temp_dir().join(format!("weft-routes-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("routes.yaml"), &blocks(page, "yaml")[0]).unwrap();
    let mut shown = 0;
    for session in blocks(page, "")[0].trim_end().split("\n\n") {
        let (command, expected) = session.split_once('\n').unwrap();
        let arguments: Vec<_> = command.split(' ').skip(3).collect();
        assert!(command.starts_with("$ weft explain "), "{command}");
        let Output { stdout, stderr, .. } = explain(&directory, &arguments);
        let (found, errors) =
            (String::from_utf8(stdout).unwrap(), String::from_utf8_lossy(&stderr));
        assert!(errors.is_empty(), "{command}: {errors}");
        // The page shows of an answer what the section is about.
        let lines: Vec<_> = expected.lines().collect();
        let is_shown = |line: &&str| {
            let begins_alike = |shown: &&str| line.starts_with(&shown[..=shown.find(':').unwrap()]);
            lines.iter().any(begins_alike)
        };
        let found_lines: Vec<_> = found.lines().filter(is_shown).collect();
        assert_eq!(found_lines, lines, "{command}: {found}");
        shown += 1;
    }
    assert_eq!(shown, 9);
    fs::remove_dir_all(&directory).unwrap();
}
