//! Cases: resources in `in.yaml`, what they compile to in `out.yaml`.
//!
//! `UPDATE_EXPECT=1` writes the latter. A comment `# assign: NAME ADDRESS` (or `exhausted`) in the
//! former stands for what the store assigned to a Service, and `# platform: kubernetes` for objects
//! that come from there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use weft_compile::{Assignment, Change, Compiler, Options};
use weft_model::{Address, Network, ObjectName};
use weft_wire::SourceVersion;

use crate::render;

fn assignments(text: &str) -> impl Iterator<Item = Change> {
    text.lines().filter_map(|line| line.strip_prefix("# assign: ")).map(|line| {
        let (name, address) = line.split_once(' ').expect("a name and an address");
        let name: ObjectName = name.parse().expect("NAMESPACE/NAME");
        let assignment = match address {
            "exhausted" => Assignment::Exhausted,
            ip => {
                let address =
                    Address { network: Network::default(), ip: ip.parse().expect("an address") };
                Assignment::Given(BTreeSet::from([address]))
            }
        };
        Change::Assign(name, Some(assignment))
    })
}

fn compile(text: &str) -> String {
    let mut options = weft_crd::Options::default();
    if text.lines().any(|line| line == "# platform: kubernetes") {
        options.platform = weft_crd::Platform::Kubernetes;
    }
    let parsed = weft_crd::parse("in.yaml", text.as_bytes(), &options);
    assert!(!parsed.has_errors(), "{}", parsed.render());
    let objects = parsed.objects.into_iter().map(|object| Change::Put(Arc::new(object)));
    let platform = options.platform;
    let mut compiler = Compiler::new(Options { platform, ..Options::default() });
    compiler.update(objects.chain(assignments(text)), SourceVersion { epoch: 1, revision: 1 });
    render::compiled(&compiler)
}

#[test]
fn cases_compile_to_what_was_agreed() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let is_updating = std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    let mut folders: Vec<_> =
        fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let made = compile(&fs::read_to_string(folder.join("in.yaml")).unwrap());
        let out = folder.join("out.yaml");
        if is_updating {
            fs::write(&out, &made).unwrap();
        } else if fs::read_to_string(&out).unwrap_or_default() != made {
            wrong.push(format!("{name}: this was made instead of out.yaml:\n{made}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_EXPECT=1 takes it", wrong.join("\n"));
}
