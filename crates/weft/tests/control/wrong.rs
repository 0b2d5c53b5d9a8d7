//! Objects that are wrong: whoever looks is told the same, in the same words.
//!
//! A file of `wrong/` holds cases. Each begins with `== NAME`; what follows is what somebody writes
//! beside `wrong/shop.yaml`, and behind `>` stands what is said of it, which `UPDATE_EXPECT=1`
//! writes: whether it is refused or taken, each finding with line and column, and what does not
//! hold of an object. `weft check` says it of the files, `weft apply` when they are applied, and
//! where they are taken `weft get` goes on saying it in the status of the object.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use weft_crd::{Finding, Kind, Position};

use crate::{Control, Directory, WEFT};

/// What the cases are about.
const SHOP: &str = include_str!("wrong/shop.yaml");

const FILES: [(&str, &str); 4] = [
    ("outside", include_str!("wrong/outside")),
    ("policies", include_str!("wrong/policies")),
    ("refused", include_str!("wrong/refused")),
    ("routes", include_str!("wrong/routes")),
];

/// What is written, and what is said of it.
struct Case {
    name: String,
    yaml: String,
    said: Vec<String>,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case { name: name.to_owned(), yaml: String::new(), said: Vec::new() });
            continue;
        }
        let case = cases.last_mut().expect("it begins with a name");
        match line.strip_prefix("> ") {
            Some(said) => case.said.push(said.to_owned()),
            None if line.is_empty() => {}
            None => writeln!(case.yaml, "{line}").unwrap(),
        }
    }
    cases
}

/// Kind, namespace and name.
type Name = (String, String, String);

fn name_of(value: &Value) -> Name {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&value["kind"]), text(&value["namespace"]), text(&value["name"]))
}

fn title((kind, namespace, name): &Name) -> String {
    match namespace.as_str() {
        "" => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}

/// What `weft get` shows of one object.
#[derive(Debug, PartialEq)]
struct Shown {
    version: String,
    findings: Vec<String>,
    /// What does not hold, with the reason.
    lacks: Vec<String>,
}

/// A control plane that has the shop, and somebody who works in a directory beside it.
struct Place {
    directory: Directory,
    _control: Control,
}

impl Place {
    fn new() -> Place {
        let directory = Directory::new();
        let control = Control::start(&directory, "127.0.0.1:0");
        directory.file("shop.yaml", SHOP);
        let place = Place { directory, _control: control };
        let output = place.weft(&["apply", "-f", "shop.yaml"]);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        place
    }

    fn weft(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(WEFT);
        command.args(arguments).current_dir(&self.directory.0).stdin(Stdio::null());
        command.env("WEFT_CREDENTIAL", self.directory.0.join("data/admin")).output().unwrap()
    }

    fn shown(&self) -> BTreeMap<Name, Shown> {
        let output = self.weft(&["get", "-o", "yaml"]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let shown = text.split("---\n").map(|text| {
            let object: Value = serde_saphyr::from_str(text).unwrap();
            let mut metadata = object["metadata"].clone();
            metadata["kind"] = object["kind"].clone();
            let findings = list(&object["status"]["findings"]).into_iter();
            let conditions = list(&object["status"]["conditions"]);
            let lacking = conditions.iter().filter(|condition| condition["status"] == "False");
            let lacks = lacking.map(|condition| {
                let parent = &condition["parentRef"];
                let parent = parent.as_u64().map(|parent| format!("[{parent}]"));
                let text = |field: &str| condition[field].as_str().unwrap().to_owned();
                format!("{}{} {}", text("type"), parent.unwrap_or_default(), text("reason"))
            });
            let shown = Shown {
                version: metadata["resourceVersion"].as_str().unwrap().to_owned(),
                findings: findings.map(|it| it.as_str().unwrap().to_owned()).collect(),
                lacks: lacks.collect(),
            };
            (name_of(&metadata), shown)
        });
        shown.collect()
    }

    /// What is said of `case`, which is the same wherever it is said. `before` is what there is
    /// without it, and again afterwards.
    fn said_of(&self, case: &Case, before: &BTreeMap<Name, Shown>) -> Vec<String> {
        self.directory.file("case.yaml", &case.yaml);
        let files = ["-f", "shop.yaml", "-f", "case.yaml"];
        let with = |first: &[&'static str]| self.weft(&[first, &files[..]].concat());
        let report: Value = serde_json::from_slice(&with(&["check", "-o", "json"]).stdout).unwrap();
        let checked = String::from_utf8(with(&["check"]).stdout).unwrap();
        let applied = with(&["apply"]);
        let is_refused = !applied.status.success();
        let stdout = String::from_utf8(applied.stdout).unwrap();

        // The one and the other, with the lines of the files.
        let said = String::from_utf8(applied.stderr).unwrap();
        assert!(!said.is_empty(), "{}: nothing is said", case.name);
        assert!(checked.starts_with(&said), "{}: {checked}\nbut: {said}", case.name);
        let rest = &checked[said.len()..];

        let findings: Vec<Finding> = serde_json::from_value(report["findings"].clone()).unwrap();
        assert_eq!(said.matches(" --> ").count(), findings.len(), "{}: {said}", case.name);
        let mut lines = vec![if is_refused { "refused" } else { "taken" }.to_owned()];
        let mut of_each: BTreeMap<Name, Vec<String>> = BTreeMap::new();
        for finding in &findings {
            // All that is wrong has a field, which stands somewhere.
            let Finding { severity, path, message: _, help, position, object } = finding;
            assert!(!path.is_empty(), "{}: {finding:?}", case.name);
            let Position { file, line, column, .. } = position.as_ref().expect(&said);
            let file = if file == "case.yaml" { String::new() } else { format!("{file}:") };
            lines.push(format!("{severity} {file}{line}:{column} {finding}"));
            lines.extend(help.as_ref().map(|help| format!("  help: {help}")));
            if let Some(object) = object {
                let name = (object.kind.clone(), object.namespace.clone(), object.name.clone());
                of_each.entry(name).or_default().push(format!("{severity}: {finding}"));
            }
        }
        both_sides_are_named(case, &findings);

        let shown = self.shown();
        if is_refused {
            assert_eq!((report["passed"].as_bool(), stdout.as_str()), (Some(false), ""));
            assert_eq!(&shown, before, "{}", case.name);
            return lines;
        }
        for object in report["objects"].as_array().unwrap() {
            let name = name_of(object);
            let shown = &shown[&name];
            let (mut own, mut kept) =
                (of_each.remove(&name).unwrap_or_default(), shown.findings.clone());
            own.sort();
            kept.sort();
            assert_eq!(kept, own, "{}: {name:?}", case.name);
            let title = title(&name);
            if let Some(reason) = object["not_accepted"].as_str() {
                let applied = format!(", and not in force: {reason}\n");
                let of_it = stdout.split_inclusive('\n').find(|line| line.starts_with(&title));
                assert!(of_it.unwrap().ends_with(&applied), "{}: {stdout}", case.name);
                let of_check = format!("{title} would not be in force: {reason}\n");
                assert!(rest.contains(&of_check), "{}: {checked}", case.name);
                lines.push(format!("{title} is not in force: {reason}"));
                let has = |lacks: &String| lacks.starts_with("Accepted") && lacks.ends_with(reason);
                assert!(shown.lacks.iter().any(has), "{}: {shown:?}", case.name);
            }
            lines.extend(shown.lacks.iter().map(|lacks| format!("{title} not {lacks}")));
        }
        assert!(of_each.is_empty(), "{}: {of_each:?}", case.name);
        for (kind, namespace, name) in shown.keys().filter(|name| !before.contains_key(*name)) {
            let namespace = if namespace.is_empty() { "default" } else { namespace };
            let output = self.weft(&["delete", kind, name, "-n", namespace]);
            assert!(output.status.success(), "{output:?}");
        }
        lines
    }
}

/// Who is beaten by somebody older names it, and is named by it.
fn both_sides_are_named(case: &Case, findings: &[Finding]) {
    let name = |finding: &Finding| finding.object.as_ref().unwrap().name.clone();
    let is_beaten = |pair: &[&str]| matches!(pair, ["is", "older" | "as"]);
    for finding in findings {
        let words: Vec<_> = finding.message.split([' ', ',', ':', ';']).collect();
        let Some(at) = words.windows(2).position(is_beaten) else { continue };
        let winner = words[at - 1].rsplit('/').next().unwrap();
        if winner == "one" {
            continue; // It is the winner itself that speaks.
        }
        let loser = name(finding);
        let names_it = |other: &&Finding| {
            let mut words = other.message.split([' ', ',', ':', '/']);
            name(other) == winner && words.any(|word| word == loser)
        };
        assert!(findings.iter().find(names_it).is_some(), "{}: {finding:?}", case.name);
    }
}

/// Compares what is said of the cases of a file with what is written there.
fn check(file: &str) {
    let (_, text) = FILES.iter().find(|(name, _)| *name == file).unwrap();
    let place = Place::new();
    let before = place.shown();
    assert!(before.values().all(|it| it.findings.is_empty() && it.lacks.is_empty()), "{before:?}");
    let (mut written, mut wrong) = (String::new(), Vec::new());
    for case in cases(text) {
        let said = place.said_of(&case, &before);
        writeln!(written, "== {}\n{}> {}\n", case.name, case.yaml, said.join("\n> ")).unwrap();
        if said != case.said {
            wrong.push(format!("{}:\n{}", case.name, said.join("\n")));
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control/wrong").join(file);
        fs::write(path, format!("{}\n", written.trim_end())).unwrap();
    } else {
        assert!(wrong.is_empty(), "{}\nUPDATE_EXPECT=1 takes it", wrong.join("\n"));
    }
}

#[test]
fn what_is_refused_is_refused_in_the_same_words() {
    check("refused");
}

#[test]
fn routes_without_effect_say_the_same_everywhere() {
    check("routes");
}

#[test]
fn policies_without_effect_say_the_same_everywhere() {
    check("policies");
}

#[test]
fn what_is_outside_and_the_mesh_itself_say_the_same_everywhere() {
    check("outside");
}

#[test]
fn the_cases_are_of_all_kinds() {
    let all: Vec<Case> = FILES.iter().flat_map(|(_, text)| cases(text)).collect();
    let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "two have one name");
    let is = |said: &str| all.iter().filter(|case| case.said[0] == said).count();
    assert!(is("refused") >= 40 && is("taken") >= 40);
    for kind in Kind::ALL {
        let line = format!("kind: {kind}\n");
        assert!(all.iter().any(|case| case.yaml.contains(&line)), "no case is of {kind}");
    }
}

#[test]
fn what_only_a_control_plane_can_know_is_said_where_it_stands() {
    let place = Place::new();
    let before = place.shown();
    let another = SHOP.replace("trustDomain: weft.local", "trustDomain: other.example");
    let from_elsewhere = SHOP.replace(
        "name: cart, namespace: shop }\nspec",
        "name: cart, namespace: shop, \
                     resourceVersion: abc }\nspec",
    );
    let refusal = |files: &[&str]| {
        let output = place.weft(&[&["apply"], files].concat());
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (text, expected) in [
        (
            another,
            "error: spec.trustDomain: other.example is another one: this control plane's is \
             weft.local\n --> case.yaml:5:22\n",
        ),
        (
            from_elsewhere,
            "error: metadata.resourceVersion: `abc` is not one of this store\n --> \
             case.yaml:9:59\n",
        ),
    ] {
        place.directory.file("case.yaml", &text);
        let checked = place.weft(&["check", "-f", "case.yaml"]);
        assert!(checked.status.success(), "{checked:?}");
        let said = refusal(&["-f", "case.yaml"]);
        assert!(said.starts_with(expected), "{said}");
    }
    // What is given beside the files counts as what stands in them.
    let unnamed = "apiVersion: v1\nkind: Service\nmetadata: { name: a }\nspec: { selector: { app: \
                   a }, ports: [{ port: 80 }] }\n";
    place.directory.file("case.yaml", unnamed);
    let said = refusal(&["-f", "case.yaml", "-n", "Not One"]);
    assert!(said.starts_with("error: metadata.namespace: \"Not One\" is not a name: "), "{said}");
    // No file is too large, and all of them are.
    let comment = "#".repeat(8 << 20);
    let parts = ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.yaml"];
    let files: Vec<_> = parts.iter().flat_map(|name| ["-f", name]).collect();
    parts.iter().for_each(|name| drop(place.directory.file(name, &comment)));
    let said = refusal(&files);
    assert!(said.starts_with("weft: the files are a request of 41943"), "{said}");
    assert!(said.ends_with("takes 33554432 at once: apply them in parts\n"), "{said}");
    assert_eq!(place.shown(), before);
}
